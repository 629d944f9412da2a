//! `import ROOT TAR [NAME]`: for measuring; the command line is elsewhere.

use std::time::Instant;

use corten_store::{ImportOptions, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, root, tar, rest @ ..] = &args[..] else { return Err("import ROOT TAR [NAME]".into()) };
    let store = Store::open(root.as_ref())?;
    let reference = rest.first().map(|name| name.parse()).transpose()?;
    let started = Instant::now();
    let image =
        store.import(std::fs::File::open(tar)?, &ImportOptions { reference, ..Default::default() })?;
    println!("{} {:?} {:?}", image.id, image.size_bytes, started.elapsed());
    Ok(())
}
