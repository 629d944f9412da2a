//! `resolve ROOT NAME`: to count its system calls.

use corten_store::Store;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, root, name] = &args[..] else { return Err("resolve ROOT NAME".into()) };
    let image = Store::open(root.as_ref())?.resolve(name, None)?;
    println!("{} {:?} {:?}", image.id, image.names, image.layers);
    Ok(())
}
