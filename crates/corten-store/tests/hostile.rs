//! Archives that mean harm, or are only odd: each has its verdict, and none touches what lies outside.

mod common;

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use common::{Archive, extension, gzip, header, pax, tree, unpack};
use corten_store::tar::{Entry, EntryKind, Time};
use corten_store::{Ids, Limits, OverlayXattr, UnpackOptions};

enum Verdict {
    /// refused, with these words
    No(&'static str),
    /// taken, and then this holds of the root
    Yes(fn(&Path) -> bool),
}
use Verdict::{No, Yes};

fn entry(path: &str, kind: EntryKind, mode: u32) -> Entry {
    Entry::new(path, kind, mode)
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn reads(path: &Path, text: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|content| content == text)
}

fn whiteout(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == 0)
}

fn opaque(path: &Path) -> bool {
    let mut value = [0; 8];
    let name = if common::is_root() { "trusted.overlay.opaque" } else { "user.overlay.opaque" };
    rustix::fs::lgetxattr(path, name, &mut value[..]).is_ok_and(|n| &value[..n] == b"y")
}

fn options() -> UnpackOptions {
    UnpackOptions::of_this_process()
}

/// Runs the table; `canary` in paths and targets stands for a directory outside the root.
fn judge(cases: Vec<(&str, Vec<u8>, Verdict)>, options: &UnpackOptions) {
    let mut wrong = Vec::new();
    for (name, archive, verdict) in cases {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("canary")).unwrap();
        std::fs::write(dir.path().join("canary/secret"), "untouched").unwrap();
        let before = tree(&dir.path().join("canary"));
        let host = std::fs::read("/etc/passwd").unwrap();
        let root = dir.path().join("a/b/root");
        let result = unpack(&archive, &root, options);
        match (&verdict, &result) {
            (No(words), Err(error)) if error.to_string().contains(words) => {}
            (Yes(holds), Ok(_)) if holds(&root) => {}
            (Yes(_), Ok(_)) => {
                wrong.push(format!("{name}: taken, but the tree is wrong: {:#?}", tree(&root)))
            }
            (No(words), other) => {
                wrong.push(format!("{name}: wanted a refusal with {words:?}, got {other:?}"))
            }
            (Yes(_), Err(error)) => wrong.push(format!("{name}: refused: {error}")),
        }
        if tree(&dir.path().join("canary")) != before || std::fs::read("/etc/passwd").unwrap() != host {
            wrong.push(format!("{name}: THE CANARY IS DEAD"));
        }
        if std::fs::read_dir(dir.path()).unwrap().count() != 2 {
            wrong.push(format!("{name}: something new lies outside the root"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names() {
    let deep = "d/".repeat(2040) + "f";
    judge(
        vec![
            ("dot-dot", Archive::new().file("../x", "").end(), No("`..`")),
            ("dot-dot inside", Archive::new().file("a/../../x", "").end(), No("`..`")),
            ("dot-dot last", Archive::new().dir("a/..").end(), No("`..`")),
            ("absolute", Archive::new().file("/abs", "1").end(), Yes(|r| reads(&r.join("abs"), "1"))),
            ("double slash", Archive::new().file("//a///b", "1").end(), Yes(|r| reads(&r.join("a/b"), "1"))),
            ("the root", Archive::new().dir("./").file("./f", "1").end(), Yes(|r| reads(&r.join("f"), "1"))),
            ("the root as file", Archive::new().file(".", "1").end(), No("only be a directory")),
            ("the root as link", Archive::new().symlink("./", "/etc").end(), No("only be a directory")),
            ("empty", Archive::new().raw(&header("", b'0', &[])).end(), No("empty")),
            (
                "NUL",
                Archive::new().raw(&pax(&[("path", "a\0b")])).raw(&header("x", b'0', &[])).end(),
                No("NUL"),
            ),
            (
                "4097 bytes",
                Archive::new().file("x".repeat(200) + "/" + &"y/".repeat(1948) + "z", "").end(),
                No("4095"),
            ),
            ("256-byte part", Archive::new().file("x".repeat(256), "").end(), No("255")),
            (
                "255-byte part",
                Archive::new().file("x".repeat(255), "1").end(),
                Yes(|r| reads(&r.join("x".repeat(255)), "1")),
            ),
            ("2040 levels", Archive::new().file(&deep, "").end(), Yes(|r| exists(&r.join("d/d/d/d")))),
            (
                "not UTF-8",
                Archive::new().file(b"\xff\xfe", "1").end(),
                Yes(|r| std::fs::read_dir(r).unwrap().count() == 1),
            ),
            (
                "trailing slash on a file",
                Archive::new().raw(&header("d/", b'0', &[])).end(),
                Yes(|r| r.join("d").is_dir()),
            ),
            (
                "trailing slash on a file with data",
                Archive::new().raw(&header("d/", b'0', &[(124, b"00000000010")])).raw(&[0; 512]).end(),
                No("data"),
            ),
            (
                "backslashes",
                Archive::new().file("..\\..\\x", "1").end(),
                Yes(|r| reads(&r.join("..\\..\\x"), "1")),
            ),
            (
                "case collision",
                Archive::new().file("a", "1").file("A", "2").end(),
                Yes(|r| reads(&r.join("a"), "1") && reads(&r.join("A"), "2")),
            ),
            (
                "Unicode collision",
                Archive::new().file("é", "1").file("e\u{301}", "2").end(),
                Yes(|r| reads(&r.join("é"), "1")),
            ),
        ],
        &options(),
    );
}

#[test]
fn links() {
    let chain = (0..41).fold(Archive::new().dir("end"), |archive, n| {
        let target = if n == 0 { "end".into() } else { format!("l{}", n - 1) };
        archive.symlink(&format!("l{n}"), &target)
    });
    judge(
        vec![
            (
                "write through a relative link",
                Archive::new().symlink("l", "../../../canary").file("l/secret", "evil").end(),
                No("nowhere"),
            ),
            (
                "write through a relative link to what is inside",
                Archive::new().dir("canary").symlink("l", "../../../canary").file("l/secret", "in").end(),
                Yes(|r| reads(&r.join("canary/secret"), "in")),
            ),
            (
                "write through an absolute link",
                Archive::new().symlink("l", "/etc").file("l/passwd", "evil").end(),
                No("nowhere"),
            ),
            (
                "absolute link to what is inside",
                Archive::new().dir("etc").symlink("l", "/etc").file("l/passwd", "in").end(),
                Yes(|r| reads(&r.join("etc/passwd"), "in")),
            ),
            ("41 links", chain.clone().file("l40/x", "").end(), No("ELOOP")),
            ("39 links", chain.file("l38/x", "1").end(), Yes(|r| reads(&r.join("end/x"), "1"))),
            ("loop", Archive::new().symlink("a", "b").symlink("b", "a").file("a/x", "").end(), No("ELOOP")),
            (
                "file over a link",
                Archive::new().symlink("l", "/etc/passwd").file("l", "own").end(),
                Yes(|r| reads(&r.join("l"), "own") && !r.join("l").is_symlink()),
            ),
            (
                "through a hard link to a link",
                Archive::new().symlink("s", "/etc/passwd").hardlink("h", "s").file("h", "own").end(),
                Yes(|r| reads(&r.join("h"), "own") && r.join("s").is_symlink()),
            ),
            (
                "hard link to the host",
                Archive::new().hardlink("h", "/etc/passwd").end(),
                No("not in this layer"),
            ),
            (
                "hard link with dot-dot",
                Archive::new().hardlink("h", "../../../canary/secret").end(),
                No("`..`"),
            ),
            (
                "hard link through a link out",
                Archive::new().symlink("s", "../../../canary").hardlink("h", "s/secret").end(),
                No("not in this layer"),
            ),
            (
                "absolute hard link inside",
                Archive::new().file("a/f", "1").hardlink("h", "/a/f").end(),
                Yes(|r| r.join("h").metadata().unwrap().nlink() == 2),
            ),
            (
                "hard link to a later entry",
                Archive::new().hardlink("h", "f").file("f", "").end(),
                No("not in this layer"),
            ),
            (
                "hard link to a directory",
                Archive::new().dir("d").hardlink("h", "d").end(),
                No("not in this layer"),
            ),
            (
                "hard link to a whiteout",
                Archive::new().file(".wh.x", "").hardlink("h", "x").end(),
                No("not in this layer"),
            ),
            (
                "hard link to itself",
                Archive::new().file("f", "1").hardlink("f", "f").end(),
                Yes(|r| reads(&r.join("f"), "1")),
            ),
            ("empty target", Archive::new().symlink("l", "").end(), No("target")),
            (
                "directory over a link",
                Archive::new().symlink("l", "/etc").dir("l").file("l/x", "1").end(),
                Yes(|r| r.join("l").symlink_metadata().unwrap().is_dir() && reads(&r.join("l/x"), "1")),
            ),
            (
                "link over a directory",
                Archive::new().file("d/x", "1").dir("e").symlink("d", "e").file("d/y", "2").end(),
                Yes(|r| reads(&r.join("e/y"), "2") && !exists(&r.join("e/x"))),
            ),
            ("file under a file", Archive::new().file("f", "").file("f/x", "").end(), No("no directory")),
            (
                "through /proc",
                Archive::new().symlink("p", "/proc/self/cwd").file("p/x", "").end(),
                No("nowhere"),
            ),
        ],
        &options(),
    );
}

#[test]
fn twice() {
    judge(
        vec![
            (
                "last wins",
                Archive::new().file("f", "1").file("f", "22").end(),
                Yes(|r| reads(&r.join("f"), "22")),
            ),
            (
                "file to directory",
                Archive::new().file("f", "1").file("f2", "").dir("f").file("f/x", "2").end(),
                Yes(|r| reads(&r.join("f/x"), "2")),
            ),
            (
                "directory to file",
                Archive::new().file("d/a/b", "1").file("d", "2").end(),
                Yes(|r| reads(&r.join("d"), "2")),
            ),
            (
                "directory stays and takes the last mode",
                Archive::new().file("d/x", "1").entry(entry("d", EntryKind::Directory, 0o700), b"").end(),
                Yes(|r| {
                    reads(&r.join("d/x"), "1") && r.join("d").metadata().unwrap().mode() & 0o7777 == 0o700
                }),
            ),
            (
                "a linked file is replaced, not written",
                Archive::new().file("a", "1").hardlink("b", "a").file("b", "2").end(),
                Yes(|r| reads(&r.join("a"), "1") && reads(&r.join("b"), "2")),
            ),
        ],
        &options(),
    );
}

#[test]
fn whiteouts() {
    judge(
        vec![
            (
                "a whiteout",
                Archive::new().dir("d").file("d/.wh.x", "").end(),
                Yes(|r| whiteout(&r.join("d/x"))),
            ),
            (
                "without its directory",
                Archive::new().file("a/b/.wh.x", "").end(),
                Yes(|r| whiteout(&r.join("a/b/x"))),
            ),
            (
                "twice",
                Archive::new().file(".wh.x", "").file(".wh.x", "").end(),
                Yes(|r| whiteout(&r.join("x"))),
            ),
            (
                "with data",
                Archive::new().file(".wh.x", "data").file("y", "1").end(),
                Yes(|r| whiteout(&r.join("x")) && reads(&r.join("y"), "1")),
            ),
            ("of nothing", Archive::new().file(".wh.", "").end(), No("whiteout")),
            ("of dot", Archive::new().file(".wh..", "").end(), No("whiteout")),
            ("of dot-dot", Archive::new().file("a/.wh...", "").end(), No("whiteout")),
            ("with something below", Archive::new().file(".wh.../x", "").end(), No(".wh.")),
            (
                "then the file",
                Archive::new().file(".wh.x", "").file("x", "1").end(),
                Yes(|r| reads(&r.join("x"), "1")),
            ),
            (
                "after the file",
                Archive::new().file("x", "1").file(".wh.x", "").end(),
                Yes(|r| reads(&r.join("x"), "1")),
            ),
            (
                "then the directory",
                Archive::new().file(".wh.x", "").file("x/y", "1").dir("x").end(),
                No("no directory"),
            ),
            (
                "then the directory's entry",
                Archive::new().file(".wh.x", "").dir("x").file("x/y", "1").end(),
                Yes(|r| opaque(&r.join("x"))),
            ),
            (
                "after the directory",
                Archive::new().dir("x").file("x/y", "1").file(".wh.x", "").end(),
                Yes(|r| opaque(&r.join("x"))),
            ),
            (
                "opaque first",
                Archive::new().dir("d").file("d/.wh..wh..opq", "").file("d/x", "1").end(),
                Yes(|r| opaque(&r.join("d")) && reads(&r.join("d/x"), "1")),
            ),
            (
                "opaque last",
                Archive::new().dir("d").file("d/x", "1").file("d/.wh..wh..opq", "").end(),
                Yes(|r| opaque(&r.join("d")) && reads(&r.join("d/x"), "1")),
            ),
            (
                "opaque before the entry",
                Archive::new().file("d/.wh..wh..opq", "").dir("d").end(),
                Yes(|r| opaque(&r.join("d"))),
            ),
            ("opaque root", Archive::new().file(".wh..wh..opq", "").end(), Yes(opaque)),
            (
                "AUFS' leavings",
                Archive::new().file(".wh..wh.plnk/1.2", "x").file(".wh..wh.aufs", "").end(),
                Yes(|r| std::fs::read_dir(r).unwrap().count() == 0),
            ),
            (
                "through a link out",
                Archive::new().symlink("l", "../../../canary").file("l/.wh.secret", "").end(),
                No("nowhere"),
            ),
            (
                "through a link in",
                Archive::new().dir("d").symlink("l", "/d").file("l/.wh.x", "").end(),
                Yes(|r| whiteout(&r.join("d/x"))),
            ),
            (
                "opaque on a link out",
                Archive::new().symlink("l", "/etc").file("l/.wh..wh..opq", "").end(),
                No("nowhere"),
            ),
            (
                "a literal 0:0",
                Archive::new()
                    .entry(entry("x", EntryKind::CharDevice { major: 0, minor: 0 }, 0o666), b"")
                    .end(),
                No("whiteout"),
            ),
        ],
        &options(),
    );
}

#[test]
fn types_and_modes() {
    if !common::is_root() {
        return common::skip("devices and owners need root");
    }
    let device = |major, minor| EntryKind::CharDevice { major, minor };
    judge(
        vec![
            (
                "char 1:1",
                Archive::new().entry(entry("mem", device(1, 1), 0o640), b"").end(),
                Yes(|r| r.join("mem").metadata().unwrap().rdev() == 0x101),
            ),
            (
                "block 8:0",
                Archive::new()
                    .entry(entry("sda", EntryKind::BlockDevice { major: 8, minor: 0 }, 0o660), b"")
                    .end(),
                Yes(|r| r.join("sda").metadata().unwrap().file_type().is_block_device()),
            ),
            (
                "fifo",
                Archive::new().entry(entry("etc/passwd", EntryKind::Fifo, 0o644), b"").end(),
                Yes(|r| r.join("etc/passwd").metadata().unwrap().file_type().is_fifo()),
            ),
            ("unknown type", Archive::new().raw(&header("x", b'Z', &[])).end(), No("type flag")),
            ("socket of Solaris", Archive::new().raw(&header("x", b's', &[])).end(), No("type flag")),
            ("multi-volume", Archive::new().raw(&header("x", b'M', &[])).end(), No("type flag")),
            (
                "setuid, setgid and sticky",
                Archive::new()
                    .entry(entry("su", EntryKind::File, 0o6755), b"x")
                    .entry(entry("t", EntryKind::Directory, 0o3777), b"")
                    .file("t/f", "")
                    .end(),
                Yes(|r| {
                    r.join("su").metadata().unwrap().permissions().mode() & 0o7777 == 0o6755
                        && r.join("t").metadata().unwrap().mode() & 0o7777 == 0o3777
                        && r.join("t/f").metadata().unwrap().gid() == 0
                }),
            ),
            (
                "setuid of another owner",
                Archive::new()
                    .entry(Entry { uid: 1000, gid: 1000, ..entry("su", EntryKind::File, 0o4755) }, b"x")
                    .end(),
                Yes(|r| {
                    r.join("su").metadata().unwrap().mode() & 0o7777 == 0o4755
                        && r.join("su").metadata().unwrap().uid() == 1000
                }),
            ),
            (
                "uid 2^32-1",
                Archive::new().entry(Entry { uid: u64::from(u32::MAX), ..Entry::file("f") }, b"").end(),
                No("owner"),
            ),
            (
                "uid 2^40",
                Archive::new().entry(Entry { uid: 1 << 40, ..Entry::file("f") }, b"").end(),
                No("owner"),
            ),
            (
                "mtime before 1970",
                Archive::new()
                    .entry(Entry { mtime: Time { secs: -2, nanos: 5 }, ..Entry::file("f") }, b"")
                    .end(),
                Yes(|r| r.join("f").metadata().unwrap().mtime() == -2),
            ),
        ],
        &options(),
    );
}

#[test]
fn numbers() {
    let negative = [0xffu8; 12];
    let huge = [0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0];
    judge(
        vec![
            (
                "negative size",
                Archive::new().raw(&header("x", b'0', &[(124, &negative)])).end(),
                No("negative"),
            ),
            ("size 2^63", Archive::new().raw(&header("x", b'0', &[(124, &huge)])).end(), No("2^63")),
            (
                "negative uid",
                Archive::new().raw(&header("x", b'0', &[(108, &[0xff; 8])])).end(),
                No("negative"),
            ),
            (
                "pax size 2^63",
                Archive::new()
                    .raw(&pax(&[("size", "9223372036854775808")]))
                    .raw(&header("x", b'0', &[]))
                    .end(),
                No("2^63"),
            ),
            (
                "pax size negative",
                Archive::new().raw(&pax(&[("size", "-1")])).raw(&header("x", b'0', &[])).end(),
                No("negative"),
            ),
            (
                "mtime inf",
                Archive::new().raw(&pax(&[("mtime", "inf")])).raw(&header("x", b'0', &[])).end(),
                No("mtime"),
            ),
            (
                "mtime NaN",
                Archive::new().raw(&pax(&[("mtime", "nan")])).raw(&header("x", b'0', &[])).end(),
                No("mtime"),
            ),
            (
                "more than fits",
                Archive::new()
                    .raw(&pax(&[("size", "4611686018427387904")]))
                    .raw(&header("x", b'0', &[]))
                    .end(),
                No("may be used"),
            ),
            (
                "pax size wins",
                Archive::new()
                    .raw(&pax(&[("size", "600")]))
                    .raw(&header("x", b'0', &[(124, b"00000000001")]))
                    .raw(&[b'y'; 1024])
                    .end(),
                Yes(|r| r.join("x").metadata().unwrap().len() == 600),
            ),
            ("checksum", Archive::new().raw(&[b'x'; 512]).end(), No("checksum")),
            (
                "size on a link",
                Archive::new()
                    .raw(&header("l", b'2', &[(124, b"00000000001"), (157, b"t")]))
                    .raw(&[0; 512])
                    .end(),
                No("data"),
            ),
            (
                "size on a directory",
                Archive::new().raw(&header("d", b'5', &[(124, b"00000000001")])).raw(&[0; 512]).end(),
                No("data"),
            ),
        ],
        &options(),
    );
}

#[test]
fn extension_headers() {
    let file = |name: &str| header(name, b'0', &[]);
    let global = |key: &str, value: &str| {
        let mut bytes = pax(&[(key, value)]);
        let block = header("g", b'g', &[(124, &bytes[124..135])]);
        bytes[..512].copy_from_slice(&block);
        bytes
    };
    let many: String = (0..70_000).map(|n| format!("{},0,", n * 2)).collect::<String>() + "1,0";
    let map = |text: &str, stored: &[u8]| {
        let mut data = text.as_bytes().to_vec();
        data.resize(data.len().next_multiple_of(512), 0);
        data.extend(stored);
        let size = format!("{:011o}", data.len());
        data.resize(data.len().next_multiple_of(512), 0);
        let records = [
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", "s"),
            ("GNU.sparse.realsize", "2000"),
        ];
        Archive::new()
            .raw(&pax(&records))
            .raw(&header("GNUSparseFile.0/s", b'0', &[(124, size.as_bytes())]))
            .raw(&data)
            .end()
    };
    judge(
        vec![
            ("global path", Archive::new().raw(&global("path", "../x")).raw(&file("f")).end(), No("global")),
            ("global size", Archive::new().raw(&global("size", "7")).raw(&file("f")).end(), No("global")),
            ("global uid", Archive::new().raw(&global("uid", "7")).raw(&file("f")).end(), No("global")),
            (
                "global comment",
                Archive::new().raw(&global("comment", "7")).raw(&file("f")).end(),
                Yes(|r| exists(&r.join("f"))),
            ),
            (
                "two pax headers",
                Archive::new().raw(&pax(&[("path", "a")])).raw(&pax(&[("path", "b")])).raw(&file("f")).end(),
                No("two extension"),
            ),
            (
                "pax and GNU name",
                Archive::new()
                    .raw(&pax(&[("path", "a")]))
                    .raw(&extension(b'L', b"b\0"))
                    .raw(&file("f"))
                    .end(),
                No("both"),
            ),
            (
                "GNU name",
                Archive::new().raw(&extension(b'L', b"long\0")).raw(&file("f")).end(),
                Yes(|r| exists(&r.join("long"))),
            ),
            (
                "GNU name with NUL",
                Archive::new().raw(&extension(b'L', b"a\0b\0")).raw(&file("f")).end(),
                No("NUL"),
            ),
            (
                "2 MiB of pax",
                Archive::new().raw(&header("x", b'x', &[(124, b"00010000000")])).end(),
                No("extension header"),
            ),
            ("dangling", Archive::new().raw(&pax(&[("path", "a")])).end(), No("no member")),
            (
                "bad record",
                Archive::new().raw(&extension(b'x', b"99 a=b\n")).raw(&file("f")).end(),
                No("pax record"),
            ),
            (
                "dot-dot in pax",
                Archive::new().raw(&pax(&[("path", "../../x")])).raw(&file("f")).end(),
                No("`..`"),
            ),
            (
                "sparse 1.0",
                map("1\n1000\n3\n", b"abc"),
                Yes(|r| {
                    std::fs::read(r.join("s")).is_ok_and(|d| d.len() == 2000 && &d[1000..1003] == b"abc")
                }),
            ),
            ("sparse map of 10^12", map("1000000000000\n0\n", b""), No("too many")),
            ("sparse beyond the end", map("1\n1999\n3\n", b"abc"), No("beyond")),
            ("sparse overlap", map("2\n10\n2\n11\n1\n", b"abc"), No("overlap")),
            ("sparse short", map("1\n0\n2\n", b"abc"), No("exactly")),
            ("sparse words", map("1\nabc\n", b""), No("cannot be read")),
            (
                "sparse 0.1 of 70 000 parts",
                Archive::new()
                    .raw(&pax(&[("GNU.sparse.map", &many), ("GNU.sparse.size", "200000")]))
                    .raw(&file("f"))
                    .end(),
                No("too many"),
            ),
            (
                "sparse real size of 2^62",
                Archive::new()
                    .raw(&pax(&[("GNU.sparse.map", "0,0"), ("GNU.sparse.size", "4611686018427387904")]))
                    .raw(&file("f"))
                    .end(),
                No("may be used"),
            ),
        ],
        &options(),
    );
}

#[test]
fn extended_attributes() {
    let capability = |version: u8, rootid: &[u8]| [&[1, 0, 0, version], &[0u8; 16][..], rootid].concat();
    fn got(r: &Path, name: &str) -> bool {
        let mut value = [0u8; 64];
        rustix::fs::lgetxattr(r.join("f"), name, &mut value[..]).is_ok()
    }
    let big = vec![b'x'; 65 << 10];
    let mut cases = vec![
        ("user", Archive::new().xattr("f", "user.a", b"1").end(), Yes(|r| got(r, "user.a"))),
        (
            "trusted.overlay",
            Archive::new().xattr("f", "trusted.overlay.redirect", b"/etc").end(),
            No("overlayfs"),
        ),
        ("user.overlay", Archive::new().xattr("f", "user.overlay.metacopy", b"").end(), No("overlayfs")),
        (
            "opaque by attribute",
            Archive::new()
                .entry(
                    Entry {
                        xattrs: vec![(b"trusted.overlay.opaque".into(), b"y".into())],
                        ..entry("d", EntryKind::Directory, 0o755)
                    },
                    b"",
                )
                .end(),
            No("overlayfs"),
        ),
        ("64 KiB", Archive::new().xattr("f", "user.a", &big).end(), No("extended attributes")),
        ("other trusted", Archive::new().xattr("f", "trusted.x", b"1").end(), Yes(|r| !got(r, "trusted.x"))),
        (
            "label",
            Archive::new().xattr("f", "security.selinux", b"system_u").end(),
            Yes(|r| !got(r, "security.selinux")),
        ),
    ];
    if common::is_root() {
        let acl = [
            2u8, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 4, 0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255,
            255, 255, 255,
        ];
        cases.extend([
            (
                "capability 2",
                Archive::new().xattr("f", "security.capability", &capability(2, b"")).end(),
                Yes(|r| got(r, "security.capability")),
            ),
            (
                "capability 3 of another root",
                Archive::new().xattr("f", "security.capability", &capability(3, &[1, 0, 0, 0])).end(),
                Yes(|r| !got(r, "security.capability")),
            ),
            (
                "ACL",
                Archive::new().xattr("f", "system.posix_acl_access", &acl).end(),
                Yes(|r| exists(&r.join("f"))),
            ),
            (
                "no ACL",
                Archive::new().xattr("f", "system.posix_acl_access", b"junk").end(),
                Yes(|r| !got(r, "system.posix_acl_access")),
            ),
        ]);
    }
    judge(cases, &options());
}

#[test]
fn ends() {
    let whole = Archive::new().file("f", "12345").end();
    let member = &whole[..1024];
    let zero = [0u8; 512];
    judge(
        vec![
            ("no end marker", member.to_vec(), Yes(|r| reads(&r.join("f"), "12345"))),
            ("no padding", whole[..517].to_vec(), Yes(|r| reads(&r.join("f"), "12345"))),
            ("cut in the data", whole[..514].to_vec(), No("middle")),
            ("cut in the header", whole[..300].to_vec(), No("middle")),
            ("one zero block", [member, &zero, member].concat(), No("one block of zeros")),
            ("data behind the end", [&whole[..], member].concat(), No("after the end")),
            (
                "zeros behind the end",
                [&whole[..], &[0; 20480]].concat(),
                Yes(|r| reads(&r.join("f"), "12345")),
            ),
            ("nothing at all", Vec::new(), Yes(|r| std::fs::read_dir(r).unwrap().count() == 0)),
        ],
        &options(),
    );
}

#[test]
fn compression() {
    let whole = Archive::new().file("f", "12345").end();
    let good: fn(&Path) -> bool = |r| reads(&r.join("f"), "12345");
    let gz = gzip(&whole);
    let two = [gzip(&whole[..700]), gzip(&whole[700..])].concat();
    let zst = zstd::encode_all(&whole[..], 3).unwrap();
    let frames =
        [zstd::encode_all(&whole[..700], 3).unwrap(), zstd::encode_all(&whole[700..], 3).unwrap()].concat();
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3], &zst[..]].concat();
    // A frame header without single-segment whose window descriptor says 2^31.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    let mut damaged = gz.clone();
    let at = damaged.len() - 6;
    damaged[at] ^= 1;
    judge(
        vec![
            ("gzip", gz.clone(), Yes(good)),
            ("gzip of two members", two, Yes(good)),
            ("gzip padded with zeros", [&gz[..], &[0; 600]].concat(), Yes(good)),
            ("gzip with something behind", [&gz[..], b"garbage"].concat(), No("something else")),
            ("gzip cut short", gz[..gz.len() - 10].to_vec(), No("too early")),
            ("gzip with a wrong sum", damaged, No("damaged")),
            ("zstd", zst.clone(), Yes(good)),
            ("zstd of two frames", frames, Yes(good)),
            ("zstd with a skippable frame", skippable, Yes(good)),
            ("zstd cut short", zst[..zst.len() - 3].to_vec(), No("too early")),
            ("zstd with something behind", [&zst[..], b"garbage!"].concat(), No("something else")),
            ("zstd with a window of 2 GiB", window.to_vec(), No("128 MiB")),
            ("xz", b"\xfd7zXZ\0\0\0".to_vec(), No("xz")),
            ("bzip2", b"BZh91AY".to_vec(), No("bzip2")),
        ],
        &options(),
    );
}

#[test]
fn bulk() {
    let limits = |limits: Limits| UnpackOptions { limits, ..options() };
    let files = (0..2000).fold(Archive::new(), |archive, n| archive.file(format!("f{n}"), "")).end();
    let implied = (0..10)
        .fold(Archive::new(), |archive, n| archive.file(format!("{n}/{}f", "d/".repeat(500)), ""))
        .end();
    let few = limits(Limits { entries: 1000, ..Limits::default() });
    judge(
        vec![
            ("too many files", files, No("more than 1000 entries")),
            ("too many implied directories", implied, No("more than 1000 entries")),
        ],
        &few,
    );
    let bomb = Archive::new().entry(Entry::file("zeros"), &vec![0; 32 << 20]).end();
    let tight = limits(Limits { ratio_from: 1 << 20, ratio: 50, ..Limits::default() });
    judge(
        vec![
            ("a bomb", gzip(&bomb), No("decompression bomb")),
            ("no bomb", bomb, Yes(|r| exists(&r.join("zeros")))),
        ],
        &tight,
    );
    let small = limits(Limits { bytes: 10, ..Limits::default() });
    judge(vec![("too many bytes", Archive::new().file("f", "12345678901").end(), No("may be used"))], &small);
    let links = (0..20_000)
        .fold(Archive::new().file("f", "1"), |archive, n| archive.hardlink(&format!("d/{n}"), "f"))
        .end();
    judge(
        vec![("20 000 hard links", links, Yes(|r| r.join("f").metadata().unwrap().nlink() == 20_001))],
        &options(),
    );
}

#[test]
fn a_single_user_gets_what_a_user_can_have() {
    let options =
        UnpackOptions { ids: Ids::SingleUser, overlay: OverlayXattr::User, limits: Limits::default() };
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::new()
        .entry(Entry { uid: 5, ..Entry::file("f") }, b"1")
        .entry(entry("null", EntryKind::CharDevice { major: 1, minor: 3 }, 0o666), b"")
        .entry(entry("ro", EntryKind::Directory, 0o555), b"")
        .file("ro/x", "1")
        .file(".wh.gone", "")
        .file("ro/.wh..wh..opq", "")
        .end();
    let unpacked = unpack(&archive, dir.path(), &options).unwrap();
    assert_eq!((unpacked.skipped.devices, unpacked.skipped.owners), (1, 1));
    assert!(!exists(&dir.path().join("null")) && whiteout(&dir.path().join("gone")));
    assert_eq!(dir.path().join("f").metadata().unwrap().uid(), rustix::process::geteuid().as_raw());
    assert_eq!(dir.path().join("ro").metadata().unwrap().mode() & 0o7777, 0o555);
    let mut value = [0; 8];
    assert_eq!(rustix::fs::lgetxattr(dir.path().join("ro"), "user.overlay.opaque", &mut value[..]), Ok(1));
}
