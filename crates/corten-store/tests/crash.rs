//! kill -9, and a disk that is full, at every kind of system call that changes the store: what remains is
//! absent or whole, the image that had the name before still has it, and one collection leaves no trace.
//!
//! strace injects the fault into a child, which is this very test program again.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{Archive, gzip, have, skip, tree};
use corten_oci::Digest;
use corten_store::{ImportOptions, InUse, Store};

const ROOT: &str = "CORTEN_TEST_CRASH_ROOT";

fn archive(content: &str) -> Vec<u8> {
    let mut archive = Archive::new().dir("./").dir("bin").file(".wh.gone", "");
    for n in 0..4 {
        archive = archive.file(format!("bin/{n}"), content);
    }
    gzip(&archive.symlink("sh", "bin/0").end())
}

fn import(root: &Path, content: &str) -> Result<corten_store::Image, corten_store::StoreError> {
    let reference = Some("app".parse().unwrap());
    let options =
        ImportOptions { reference, created: Some(std::time::UNIX_EPOCH), ..ImportOptions::default() };
    Store::open(root)?.import(&archive(content)[..], &options)
}

/// Not a test: the child that is killed.
#[test]
fn child() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    if let Err(error) = import(root.as_ref(), "new") {
        eprintln!("FAILED {error}");
        std::process::exit(3);
    }
}

fn injected(root: &Path, fault: &str) -> Output {
    Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={fault}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(ROOT, root)
        .output()
        .unwrap()
}

/// Absent or whole, and clean after one collection.
fn check(root: &Path, old: &str, new: &str, when: &str) {
    let store = Store::open(root).unwrap();
    let image = store.resolve("app", None).unwrap_or_else(|error| panic!("{when}: {error}"));
    let content = std::fs::read_to_string(image.layers[0].join("bin/3")).unwrap();
    assert!(["old", "new"].contains(&content.as_str()), "{when}: {content}");
    let wanted = if content == "old" { old } else { new };
    assert_eq!(format!("{:?}", tree(&image.layers[0])), wanted, "{when}");
    store.gc(|| Ok(InUse::default())).unwrap();
    let names = |path: &str| -> Vec<String> {
        let entries = std::fs::read_dir(root.join(path)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names("tmp"), Vec::<String>::new(), "{when}");
    for name in names("blobs/sha256") {
        let bytes = std::fs::read(root.join("blobs/sha256").join(&name)).unwrap();
        assert_eq!(Digest::sha256(bytes).hex(), name, "{when}");
    }
    let images = store.images().unwrap();
    assert_eq!(names("blobs/sha256").len(), images.len() * 3, "{when}");
    assert_eq!(names("layers").len(), images.len(), "{when}");
    assert!(images.iter().all(|listed| listed.image.is_ok()), "{when}");
}

fn each_fault(calls: &[&str], fault: &str, judge: impl Fn(&Output, &str) -> bool) {
    if !have("strace") {
        return skip("strace is not here");
    }
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("old"), dir.path().join("new"));
    let old = format!("{:?}", tree(&import(&a, "old").unwrap().layers[0]));
    let new = format!("{:?}", tree(&import(&b, "new").unwrap().layers[0]));
    let mut hits = 0;
    for call in calls {
        // Until the call is not made that often any more.
        for n in 1..200 {
            let root = dir.path().join(format!("{call}-{n}"));
            import(&root, "old").unwrap();
            let spec = format!("{call}:{fault}:when={n}");
            let output = injected(&root, &spec);
            check(&root, &old, &new, &spec);
            std::fs::remove_dir_all(&root).unwrap();
            if !judge(&output, &spec) {
                break;
            }
            hits += 1;
        }
    }
    eprintln!("{hits} faults injected");
    assert!(hits > calls.len(), "{hits}");
}

#[test]
fn killed_at_every_change() {
    let calls = [
        "mkdirat",
        "renameat,renameat2",
        "syncfs",
        "fsync",
        "mknodat",
        "symlinkat",
        "utimensat",
        "flock",
        "unlinkat",
        "write",
        "openat",
    ];
    each_fault(&calls, "signal=KILL", |output, _| output.status.code().is_none_or(|code| code == 137));
}

#[test]
fn no_space_at_every_change() {
    let calls = ["mkdirat", "renameat,renameat2", "mknodat", "symlinkat", "fsync", "syncfs"];
    each_fault(&calls, "error=ENOSPC", |output, spec| {
        let text = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            return false;
        }
        assert_eq!(output.status.code(), Some(3), "{spec}: {text}");
        assert!(text.contains("ENOSPC") && text.contains("no space is left"), "{spec}: {text}");
        true
    });
}

const SMALL: &str = "CORTEN_TEST_SMALL_DISK";

/// Not a test: runs in a mount namespace with a file system of 512 KiB at `SMALL`.
#[test]
fn small_disk_child() {
    let Some(root) = std::env::var_os(SMALL) else { return };
    let root: &Path = root.as_ref();
    let old = import(root, "old").unwrap();
    // 260 KiB for the blob and as much for the layer: each fits, both do not.
    let mut noise = 1u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (noise >> 56) as u8
    })
    .take(260 << 10)
    .collect();
    let archive = Archive::new().entry(corten_store::tar::Entry::file("noise"), &bytes).end();
    let options = ImportOptions { reference: Some("app".parse().unwrap()), ..ImportOptions::default() };
    let error = Store::open(root).unwrap().import(&archive[..], &options).unwrap_err().to_string();
    // Blob and layer are written at once: when the layer's first file comes, the blob may have left too
    // little room for it already (as on one processor).
    let full = error.contains("ENOSPC") && error.contains("/tmp/") && error.contains("no space is left");
    assert!(full || error.contains("may be used (80 % of what is free there)"), "{error}");
    let tree = format!("{:?}", tree(&old.layers[0]));
    check(root, &tree, &tree, "disk full");
}

#[test]
fn a_disk_that_is_full() {
    if !common::is_root() || !have("unshare") {
        return skip("needs root and unshare");
    }
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=512k tmpfs \"$CORTEN_TEST_SMALL_DISK\" && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "small_disk_child", "--nocapture"])
        .env(SMALL, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
