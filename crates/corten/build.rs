//! Links the functions of a start next to each other (`start.order`, made by `bench/order.sh`): a page of the
//! binary is mapped when it is first used, and scattered functions are a quarter more page faults.
//!
//! Only for release builds by the linker that rustc brings; any other gets no such flag. Names that are not there
//! any more are passed over.

use std::env;
use std::path::Path;
use std::process::Command;

const ORDER: &str = "start.order";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={ORDER}");
    let var = |name: &str| env::var(name).unwrap_or_default();
    let target = var("TARGET");
    let chosen = var("CARGO_ENCODED_RUSTFLAGS");
    if var("PROFILE") != "release"
        || target != "x86_64-unknown-linux-gnu"
        || !var("RUSTC_LINKER").is_empty()
        || chosen.contains("fuse-ld")
        || chosen.contains("linker")
        || !has_lld(&var("RUSTC"), &target)
    {
        return;
    }
    let order = Path::new(&var("CARGO_MANIFEST_DIR")).join(ORDER);
    println!("cargo:rustc-link-arg-bins=-Wl,--symbol-ordering-file={}", order.display());
    println!("cargo:rustc-link-arg-bins=-Wl,--no-warn-symbol-ordering");
}

/// Whether rustc brings lld, which it then links with on this target (since 1.90).
fn has_lld(rustc: &str, target: &str) -> bool {
    let output = Command::new(rustc).args(["--print", "sysroot"]).output();
    let Ok(output) = output else { return false };
    let root = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Path::new(&root).join("lib/rustlib").join(target).join("bin/gcc-ld/ld.lld").exists()
}
