//! `unpack DIRECTORY TAR`: the unpacker alone, without sync, to compare with `tar xf`.

use std::os::fd::AsFd;
use std::time::Instant;

use corten_store::UnpackOptions;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, directory, tar] = &args[..] else { return Err("unpack DIRECTORY TAR".into()) };
    std::fs::create_dir_all(directory)?;
    let root = std::fs::File::open(directory)?;
    let started = Instant::now();
    let options = UnpackOptions::of_this_process();
    let unpacked =
        corten_store::unpack::unpack(std::fs::File::open(tar)?, root.as_fd(), directory.as_ref(), &options)?;
    println!("{unpacked:?} {:?}", started.elapsed());
    Ok(())
}
