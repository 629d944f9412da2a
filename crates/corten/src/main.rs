//! `corten`: chooses the face by name before any thread exists.
#![no_main]

use std::ffi::OsString;

corten_sys::entry!(run);

fn run() -> i32 {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    if name.as_encoded_bytes() == corten_runtime::init::NAME.to_bytes() {
        let argument = args.next().unwrap_or_default();
        return corten_runtime::init::main(&argument.to_string_lossy());
    }
    if let Err(errno) = corten_sys::entry::secure_streams() {
        // Nobody is there to be told.
        return errno.raw_os_error();
    }
    let args: Vec<OsString> = args.collect();
    corten_cli::main(&args, &corten_cli::LocalEngine::open).into()
}
