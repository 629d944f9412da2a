//! `corten`: chooses the face by name before any thread exists.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    if name.as_encoded_bytes() == corten_runtime::init::NAME.to_bytes() {
        let argument = args.next().unwrap_or_default();
        std::process::exit(corten_runtime::init::main(&argument.to_string_lossy()));
    }
    let args: Vec<OsString> = args.collect();
    ExitCode::from(corten_cli::main(&args, &corten_cli::LocalEngine::open))
}
