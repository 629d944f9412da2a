//! Archives made by hand, trees to compare, and the reasons to skip.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};

use corten_store::tar::{END, Entry, EntryKind, encode, padding};
use corten_store::{UnpackError, UnpackOptions, Unpacked};

/// A tar archive under construction.
#[derive(Default, Clone)]
pub struct Archive(pub Vec<u8>);

impl Archive {
    pub fn new() -> Archive {
        Archive::default()
    }

    pub fn entry(mut self, mut entry: Entry, data: &[u8]) -> Archive {
        entry.size = data.len() as u64;
        self.0.extend(encode(&entry));
        self.0.extend(data);
        self.0.extend(padding(entry.size));
        self
    }

    pub fn file(self, path: impl AsRef<[u8]>, data: &str) -> Archive {
        self.entry(Entry::file(path.as_ref()), data.as_bytes())
    }

    pub fn dir(self, path: &str) -> Archive {
        self.entry(Entry::new(path, EntryKind::Directory, 0o755), b"")
    }

    pub fn symlink(self, path: &str, target: &str) -> Archive {
        self.entry(Entry::new(path, EntryKind::Symlink { target: target.into() }, 0o777), b"")
    }

    pub fn hardlink(self, path: &str, target: &str) -> Archive {
        self.entry(Entry::new(path, EntryKind::HardLink { target: target.into() }, 0o644), b"")
    }

    pub fn xattr(self, path: &str, name: &str, value: &[u8]) -> Archive {
        let mut entry = Entry::file(path);
        entry.xattrs = vec![(name.into(), value.to_vec())];
        self.entry(entry, b"x")
    }

    /// Bytes as they are: a header that the writer would never make.
    pub fn raw(mut self, bytes: &[u8]) -> Archive {
        self.0.extend(bytes);
        self
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.extend(END);
        self.0
    }
}

/// A ustar header of which any field can be set, sealed with its checksum.
pub fn header(path: &str, flag: u8, fields: &[(usize, &[u8])]) -> [u8; 512] {
    let mut block = [0u8; 512];
    block[..path.len()].copy_from_slice(path.as_bytes());
    for (at, text) in
        [(100, "0000644"), (108, "0000000"), (116, "0000000"), (124, "00000000000"), (136, "00000000000")]
    {
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    for (at, bytes) in fields {
        block[*at..*at + bytes.len()].copy_from_slice(bytes);
    }
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// An extension header with its data.
pub fn extension(flag: u8, data: &[u8]) -> Vec<u8> {
    let size = format!("{:011o}", data.len());
    let mut out = header("ext", flag, &[(124, size.as_bytes())]).to_vec();
    out.extend(data);
    out.extend(padding(data.len() as u64));
    out
}

pub fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = String::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest..).find(|n| n.to_string().len() + rest == *n).unwrap();
        data += &format!("{length} {key}={value}\n");
    }
    extension(b'x', data.as_bytes())
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn unpack(archive: &[u8], root: &Path, options: &UnpackOptions) -> Result<Unpacked, UnpackError> {
    std::fs::create_dir_all(root).unwrap();
    let fd = std::fs::File::open(root).unwrap();
    corten_store::unpack::unpack(archive, fd.as_fd(), root, options)
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says why, so that a skipped test is seen.
pub fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

pub fn have(program: &str) -> bool {
    let status = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok()
}

pub fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Everything that a tree is, as text: type, mode, owner, size, time, device, links, attributes, content.
pub fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut inodes: BTreeMap<u64, String> = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(path) = todo.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let shown = format!("{:?}", path.strip_prefix(root).unwrap());
        let mut text = format!(
            "{:o} {}:{} {}.{:09}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        if kind.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if kind.is_file() {
            text += &format!(" {}", corten_oci::Digest::sha256(std::fs::read(&path).unwrap()));
        } else if kind.is_symlink() {
            text += &format!(" -> {:?}", std::fs::read_link(&path).unwrap());
        } else if kind.is_char_device() || kind.is_block_device() {
            text += &format!(" dev {}", meta.rdev());
        }
        if !kind.is_dir() && meta.nlink() > 1 {
            // Which of several names comes first differs; the set is the same.
            let group = inodes.entry(meta.ino()).or_default();
            *group += &format!("{shown} ");
        }
        text += &xattrs(&path);
        found.insert(shown, text);
    }
    let mut groups: Vec<String> = Vec::new();
    for group in inodes.values() {
        let mut names: Vec<&str> = group.split_whitespace().collect();
        names.sort_unstable();
        groups.push(names.join(" "));
    }
    groups.sort();
    found.insert("hard links".into(), groups.join("; "));
    found
}

fn xattrs(path: &Path) -> String {
    let mut names = vec![0u8; 64 << 10];
    let n = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut text = String::new();
    let mut sorted: Vec<&[u8]> = names[..n].split(|c| *c == 0).filter(|name| !name.is_empty()).collect();
    sorted.sort_unstable();
    for name in sorted {
        let mut value = vec![0u8; 64 << 10];
        let n = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        text += &format!(" {}={:?}", String::from_utf8_lossy(name), &value[..n]);
    }
    text
}
