//! GNU tar as the oracle: what it packs in any of its formats, we unpack to the same tree, attribute by
//! attribute; and what we write, it unpacks to the same tree.

mod common;

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use common::{have, run, skip, tree, unpack};
use corten_store::UnpackOptions;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

/// A tree with one of everything that a distribution's root file system has, and what is odd besides.
fn odd_tree(root: &Path) {
    let at = |name: &str| root.join(name);
    std::fs::create_dir_all(at("usr/bin")).unwrap();
    std::fs::create_dir_all(at(&("deep/".repeat(40) + "down"))).unwrap();
    for (name, content) in
        [("usr/bin/true", "ELF"), ("empty", ""), ("with blank", "1"), ("new\nline", "2"), ("été", "3")]
    {
        std::fs::write(at(name), content).unwrap();
    }
    std::fs::write(root.join(std::ffi::OsStr::from_bytes(b"not-utf8-\xff")), "4").unwrap();
    std::fs::write(at(&("deep/".repeat(40) + "down/" + &"n".repeat(200))), "long name").unwrap();
    std::fs::write(at("large"), vec![7u8; 3 << 20]).unwrap();
    let sparse = std::fs::File::create(at("sparse")).unwrap();
    for n in 0..60u64 {
        std::os::unix::fs::FileExt::write_at(&sparse, b"data", n * 100_000 + 4096).unwrap();
    }
    sparse.set_len(8 << 20).unwrap();
    std::fs::File::create(at("all-hole")).unwrap().set_len(1 << 20).unwrap();
    std::os::unix::fs::symlink("usr/bin", at("bin")).unwrap();
    std::os::unix::fs::symlink("/nowhere/".to_owned() + &"x".repeat(180), at("dangling")).unwrap();
    std::fs::hard_link(at("usr/bin/true"), at("usr/bin/false")).unwrap();
    rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(CWD, at("null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), null)
        .unwrap();
    for (name, mode) in
        [("usr/bin/true", 0o4755), ("empty", 0o400), ("usr", 0o2775), ("deep", 0o1777), ("large", 0o666)]
    {
        rustix::fs::chmodat(CWD, at(name), Mode::from_raw_mode(mode), AtFlags::empty()).unwrap();
    }
    for (name, uid, gid) in
        [("with blank", 1000, 1001), ("bin", 5, 6), ("deep/deep", 2_500_000, 7), ("fifo", 9, 9)]
    {
        std::os::unix::fs::lchown(at(name), Some(uid), Some(gid)).unwrap();
    }
    let xattr = |name: &str, key: &str, value: &[u8]| {
        rustix::fs::lsetxattr(at(name), key, value, XattrFlags::empty()).unwrap();
    };
    xattr("large", "user.note", b"binary\0=\nvalue");
    xattr("usr", "user.dir", b"1");
    xattr(
        "usr/bin/true",
        "security.capability",
        &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    for (n, entry) in ["empty", "bin", "usr", "usr/bin", "fifo", "sparse", "new\nline"].iter().enumerate() {
        let when = time(1_000_000_000 + n as i64, n as i64 * 1_000_001);
        let times = Timestamps { last_access: when, last_modification: when };
        rustix::fs::utimensat(CWD, at(entry), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// What a format cannot say does not count against us: compare with what GNU tar itself unpacks.
fn compare(format: &[&str], keeps_xattrs: bool) {
    let dir = tempfile::tempdir_in(target()).unwrap();
    let (source, theirs, ours) = (dir.path().join("s"), dir.path().join("t"), dir.path().join("o"));
    std::fs::create_dir_all(&source).unwrap();
    odd_tree(&source);
    let archive = dir.path().join("a.tar");
    let mut args = format.to_vec();
    args.extend(["-cf", archive.to_str().unwrap(), "-C", source.to_str().unwrap(), "."]);
    // ustar has no room for some of the names and ids; tar says so and goes on.
    let output = Command::new("tar").args(&args).output().unwrap();
    assert!(format.contains(&"--format=ustar") || output.status.success(), "{output:?}");
    std::fs::create_dir(&theirs).unwrap();
    let xattrs = ["--xattrs", "--xattrs-include=*"];
    let mut args = if keeps_xattrs { xattrs.to_vec() } else { Vec::new() };
    args.extend(["--numeric-owner", "-xpf", archive.to_str().unwrap(), "-C", theirs.to_str().unwrap()]);
    run("tar", &args);
    let bytes = std::fs::read(&archive).unwrap();
    let unpacked = unpack(&bytes, &ours, &UnpackOptions::of_this_process()).unwrap();
    assert!(unpacked.skipped.is_empty(), "{:?}", unpacked.skipped);
    assert_eq!(unpacked.diff_id, corten_oci::Digest::sha256(&bytes));
    similar_asserts(&tree(&theirs), &tree(&ours), format);
}

fn similar_asserts(
    theirs: &std::collections::BTreeMap<String, String>,
    ours: &std::collections::BTreeMap<String, String>,
    what: &[&str],
) {
    let mut wrong = Vec::new();
    for (path, text) in theirs {
        if ours.get(path) != Some(text) {
            wrong.push(format!("{path}\n  theirs {text}\n  ours   {:?}", ours.get(path)));
        }
    }
    wrong.extend(
        ours.keys().filter(|path| !theirs.contains_key(*path)).map(|path| format!("{path}: ours only")),
    );
    assert!(wrong.is_empty(), "{what:?}\n{}", wrong.join("\n"));
}

/// Not tmpfs: it has no user attributes before Linux 6.6. In tests/uml the disk: hostfs has none either.
fn target() -> std::ffi::OsString {
    std::env::var_os("UML_DISK").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into())
}

fn can_run() -> bool {
    if !common::is_root() || !have("tar") {
        skip("needs root and GNU tar");
        return false;
    }
    true
}

#[test]
fn formats() {
    if !can_run() {
        return;
    }
    compare(&["--format=gnu"], false);
    compare(&["--format=ustar"], false);
    compare(&["--format=posix"], false);
    compare(&["--format=posix", "--xattrs", "--xattrs-include=*"], true);
    compare(&["--format=gnu", "--sparse"], false);
    for version in ["0.0", "0.1", "1.0"] {
        compare(&["--format=posix", "--sparse", &format!("--sparse-version={version}")], false);
    }
}

/// Every entry of the tree through our writer.
fn pack(root: &Path) -> Vec<u8> {
    use corten_store::tar::{END, Entry, EntryKind, Time, encode, padding};
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let mut archive = Vec::new();
    let mut links = std::collections::HashMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(path) = todo.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let name = if name.is_empty() { b"./".to_vec() } else { name };
        let t = meta.file_type();
        let device = meta.rdev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let first = links.entry(meta.ino()).or_insert_with(|| name.clone()).clone();
        let kind = if t.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            EntryKind::Directory
        } else if first != name {
            EntryKind::HardLink { target: first }
        } else if t.is_symlink() {
            EntryKind::Symlink { target: std::fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec() }
        } else if t.is_fifo() {
            EntryKind::Fifo
        } else if t.is_char_device() {
            EntryKind::CharDevice { major, minor }
        } else {
            EntryKind::File
        };
        let data = if kind == EntryKind::File { std::fs::read(&path).unwrap() } else { Vec::new() };
        let entry = Entry {
            path: name,
            kind,
            mode: meta.mode() & 0o7777,
            uid: meta.uid().into(),
            gid: meta.gid().into(),
            mtime: Time { secs: meta.mtime(), nanos: meta.mtime_nsec() as u32 },
            size: data.len() as u64,
            xattrs: Vec::new(),
        };
        archive.extend(encode(&entry));
        archive.extend(&data);
        archive.extend(padding(entry.size));
    }
    archive.extend(END);
    archive
}

#[test]
fn gnu_tar_reads_what_we_write() {
    if !can_run() {
        return;
    }
    let dir = tempfile::tempdir_in(target()).unwrap();
    let (source, theirs, ours) = (dir.path().join("s"), dir.path().join("t"), dir.path().join("o"));
    std::fs::create_dir_all(&source).unwrap();
    odd_tree(&source);
    let bytes = pack(&source);
    let archive = dir.path().join("a.tar");
    std::fs::write(&archive, &bytes).unwrap();
    std::fs::create_dir(&theirs).unwrap();
    run("tar", &["--numeric-owner", "-xpf", archive.to_str().unwrap(), "-C", theirs.to_str().unwrap()]);
    unpack(&bytes, &ours, &UnpackOptions::of_this_process()).unwrap();
    similar_asserts(&tree(&theirs), &tree(&ours), &["our writer"]);
}

#[test]
fn a_whole_debian() {
    let archive = Path::new("/work/cache/debian-rootfs.tar");
    if !can_run() || !archive.exists() {
        return skip("/work/cache/debian-rootfs.tar is not here");
    }
    let dir = tempfile::tempdir_in(target()).unwrap();
    let (theirs, ours) = (dir.path().join("t"), dir.path().join("o"));
    std::fs::create_dir(&theirs).unwrap();
    std::fs::create_dir(&ours).unwrap();
    run("tar", &["--numeric-owner", "-xpf", archive.to_str().unwrap(), "-C", theirs.to_str().unwrap()]);
    let root = std::fs::File::open(&ours).unwrap();
    let input = std::fs::File::open(archive).unwrap();
    corten_store::unpack::unpack(input, root.as_fd(), &ours, &UnpackOptions::of_this_process()).unwrap();
    similar_asserts(&tree(&theirs), &tree(&ours), &["debian"]);
}
