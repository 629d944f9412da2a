//! The power fails in the middle of an import, a load, a commit: the store is on an ext4 of its own in a loop file,
//! the process is killed at a system call, and a copy of the file is what the disk has then. What was told to be
//! done before is there; what was under way is there whole or not at all.
//!
//! The file system is mounted so that it forgives nothing (data=writeback, noauto_da_alloc, a journal that is
//! written only on demand). Two copies of each moment: as it is, and with the journal written, so that names are on
//! the disk while the content of files that nobody has synced is not.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Archive, have, run, skip, tree};
use corten_oci::{Digest, ImageConfig, Platform};
use corten_store::{Commit, Image, ImportOptions, InUse, LoadOptions, Store, StoreError};

const OPERATION: &str = "CORTEN_TEST_POWER_OPERATION";
const ROOT: &str = "CORTEN_TEST_POWER_ROOT";
/// What changes the store, and every how manieth of it is tried.
const CALLS: [(&str, usize); 8] = [
    ("mkdirat", 1),
    ("renameat,renameat2", 1),
    ("syncfs", 1),
    ("fsync", 1),
    ("symlinkat", 1),
    ("unlinkat", 1),
    ("openat", 7),
    ("write", 3),
];

fn layer(content: &str) -> Archive {
    (0..4).fold(Archive::new().dir("./").dir("bin"), |archive, n| {
        // Longer than what ext4 keeps in an inode.
        archive.file(format!("bin/{n}"), &content.repeat(400))
    })
}

fn import(root: &Path, content: &str) -> Result<Image, StoreError> {
    let reference = Some("app".parse().unwrap());
    let created = Some(std::time::UNIX_EPOCH);
    let options = ImportOptions { reference, created, ..ImportOptions::default() };
    Store::open(root)?.import(&layer(content).symlink("sh", "bin/0").end()[..], &options)
}

/// A Docker archive of two layers.
fn archive() -> Vec<u8> {
    let layers = [layer("new").end(), layer("newer").end()];
    let mut config = ImageConfig::new(&Platform::host());
    config.rootfs.diff_ids = layers.iter().map(Digest::sha256).collect();
    let config = String::from_utf8(config.to_bytes()).unwrap();
    let manifest = r#"[{"Config":"c.json","RepoTags":["app:latest"],"Layers":["0.tar","1.tar"]}]"#;
    let add = |archive: Archive, (name, bytes): (&str, &[u8])| {
        archive.entry(corten_store::tar::Entry::file(name), bytes)
    };
    let members =
        [("0.tar", &layers[0][..]), ("1.tar", &layers[1][..])].into_iter().fold(Archive::new(), add);
    members.file("c.json", &config).file("manifest.json", manifest).end()
}

/// Gives the name `app`, which another image has, to a new one.
fn operate(operation: &str, root: &Path) -> Result<(), StoreError> {
    let store = Store::open(root)?;
    match operation {
        "import" => import(root, "new").map(drop),
        "load" => store.load(&archive()[..], &LoadOptions::default()).map(drop),
        "commit" => {
            let new = Commit {
                reference: Some("app".parse().unwrap()),
                author: None,
                message: None,
                created_by: String::new(),
                config: corten_oci::Config::default(),
            };
            let base = store.resolve("app", None)?;
            store.commit(&base, &layer("new").end()[..], &new).map(drop)
        }
        other => panic!("no operation {other}"),
    }
}

/// Not a test: the child that is killed.
#[test]
fn child() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    operate(&std::env::var(OPERATION).unwrap(), root.as_ref()).unwrap();
}

fn killed(operation: &str, root: &Path, call: &str, nth: usize) -> Output {
    Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("inject={call}:signal=KILL:when={nth}"))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(OPERATION, operation)
        .env(ROOT, root)
        .output()
        .unwrap()
}

/// The trees of all layers of the image that has the name.
fn trees(root: &Path) -> Vec<String> {
    let image = Store::open(root).unwrap().resolve("app", None).unwrap();
    image.layers.iter().map(|layer| format!("{:?}", tree(layer))).collect()
}

/// Every blob is what its name says, the name leads to the image before or to the new one, and that is whole.
fn check(root: &Path, wanted: &[Vec<String>; 2], when: &str) {
    assert!(wanted.contains(&trees(root)), "{when}: {:#?}", trees(root));
    let store = Store::open(root).unwrap();
    store.gc(|| Ok(InUse::default())).unwrap();
    assert!(store.images().unwrap().iter().all(|listed| listed.image.is_ok()), "{when}");
    for blob in std::fs::read_dir(root.join("blobs/sha256")).unwrap().map(Result::unwrap) {
        let bytes = std::fs::read(blob.path()).unwrap();
        assert_eq!(Digest::sha256(bytes).hex(), blob.file_name().to_str().unwrap(), "{when}");
    }
    assert_eq!(std::fs::read_dir(root.join("tmp")).unwrap().count(), 0, "{when}");
}

/// An ext4 in a file, mounted.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    fn mount(image: &Path, at: &Path) -> Disk {
        std::fs::create_dir_all(at).unwrap();
        let options = "loop,data=writeback,noauto_da_alloc,commit=300,noatime";
        run("mount", &["-t", "ext4", "-o", options, image.to_str().unwrap(), at.to_str().unwrap()]);
        Disk { image: image.into(), at: at.into() }
    }

    /// What the disk has at this moment.
    fn copy(&self, to: &Path) {
        run("cp", &["--sparse=always", self.image.to_str().unwrap(), to.to_str().unwrap()]);
    }

    /// Has the journal written, and the content of no file.
    fn commit(&self) {
        let file = std::fs::File::create(self.at.join("journal")).unwrap();
        file.sync_all().unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &[self.at.to_str().unwrap()]);
    }
}

const DIRECTORY: &str = "CORTEN_TEST_POWER_DIRECTORY";

/// Not a test: runs in a mount namespace of its own.
#[test]
fn cuts() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let dir: &Path = dir.as_ref();
    let empty = dir.join("empty");
    run("truncate", &["-s", "24M", empty.to_str().unwrap()]);
    run("mkfs.ext4", &["-q", "-F", "-b", "4096", empty.to_str().unwrap()]);
    let (disk, cut) = (dir.join("disk"), dir.join("cut"));
    let mut hits = 0;
    let operation = std::env::var(OPERATION).unwrap();
    let reference = dir.join("reference");
    import(&reference, "old").unwrap();
    let old = trees(&reference);
    operate(&operation, &reference).unwrap();
    let wanted = [old, trees(&reference)];
    for (call, stride) in CALLS {
        for nth in (1..500).step_by(stride) {
            run("cp", &["--sparse=always", empty.to_str().unwrap(), disk.to_str().unwrap()]);
            let live = Disk::mount(&disk, &dir.join("live"));
            let root = live.at.join("root");
            // Whoever was told that this is done can rely on it.
            import(&root, "old").unwrap();
            let output = killed(&operation, &root, call, nth);
            for (what, prepare) in [("as it is", (|_| ()) as fn(&Disk)), ("names alone", Disk::commit)] {
                prepare(&live);
                live.copy(&cut);
                let after = Disk::mount(&cut, &dir.join("after"));
                check(&after.at.join("root"), &wanted, &format!("{operation}, {call} {nth}, {what}"));
            }
            // Told to be done, and so it is.
            if output.status.success() {
                assert_eq!(trees(&root), wanted[1], "{operation}");
                break;
            }
            hits += 1;
        }
    }
    eprintln!("{operation}: {hits} cuts");
    assert!(hits > CALLS.len(), "{hits}");
}

fn cut_at_every_change(operation: &str) {
    if !common::is_root() || !have("unshare") || !have("strace") || !have("mkfs.ext4") {
        return skip("needs root, unshare, strace and mkfs.ext4");
    }
    if !Path::new("/dev/loop-control").exists() {
        return skip("this kernel has no loop devices");
    }
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["-m", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "cuts", "--nocapture"])
        .env(OPERATION, operation)
        .env(DIRECTORY, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    eprintln!("{text}");
}

#[test]
fn of_an_import() {
    cut_at_every_change("import");
}

#[test]
fn of_a_load() {
    cut_at_every_change("load");
}

#[test]
fn of_a_commit() {
    cut_at_every_change("commit");
}
