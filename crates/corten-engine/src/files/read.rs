//! Files become tar, each found by its descriptor: whatever is renamed meanwhile, no link is followed and
//! nothing but regular files and directories is opened.

use std::collections::HashMap;
use std::ffi::CString;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use corten_store::tar::{self, Entry, EntryKind, Time};
use rustix::fs::{FileType, Mode, OFlags, RawDir, Stat, fstat, major, minor, openat, readlinkat};
use rustix::io::Errno;

use super::diff::{is_whiteout, marks};
use super::paths::{Found, Tree};
use crate::error::{At, EngineError};

/// Directories in directories; each holds a descriptor.
const MAX_DEPTH: usize = 400;
const BUFFER: usize = 256 << 10;
const MAX_XATTR_BYTES: usize = 64 << 10;
/// File systems that have no files: proc, sysfs, cgroup, cgroup2, devpts, mqueue, debugfs, tracefs, securityfs, bpf.
const WITHOUT_FILES: [u32; 10] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x1cd1,
    0x1980_0202,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xcafe_4a11,
];

/// Writes a tar of what it is shown.
pub(super) struct Packer<'a, W: Write> {
    tree: &'a Tree,
    out: W,
    /// Where the stream goes, for errors.
    to: &'a str,
    held: Vec<u8>,
    /// It is an overlay's own layer, to be one of an image.
    layer: bool,
    /// Of the directory that is read.
    device: u64,
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl<'a, W: Write> Packer<'a, W> {
    pub(super) fn new(tree: &'a Tree, out: W, to: &'a str) -> Self {
        Self {
            tree,
            out,
            to,
            held: Vec::with_capacity(2 * BUFFER),
            layer: false,
            device: 0,
            links: HashMap::new(),
        }
    }

    /// As an image's layer has it: what overlay marks becomes `.wh.` names.
    pub(super) fn of_layer(tree: &'a Tree, out: W, to: &'a str) -> Self {
        Self { layer: true, ..Self::new(tree, out, to) }
    }

    /// One file, or a directory with all that is below it, called `name` in the tar (`.` for content alone).
    pub(super) fn add(&mut self, found: &Found, name: &[u8], shown: &Path) -> Result<(), EngineError> {
        self.entry(&found.fd, name.to_vec(), shown, 0)
    }

    /// What is in a directory, by its names alone.
    pub(super) fn add_content(&mut self, found: &Found, shown: &Path) -> Result<(), EngineError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(&found.fd, ".", flags, Mode::empty()).at("openat", shown)?;
        self.device = fstat(&dir).at("fstat", shown)?.st_dev;
        self.content(&dir, b"", shown, 0)
    }

    /// The end of the archive.
    pub(super) fn finish(mut self) -> Result<W, EngineError> {
        self.held.extend_from_slice(&tar::END);
        self.flush()?;
        self.out.flush().at("write", self.to)?;
        Ok(self.out)
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        self.out.write_all(&self.held).at("write", self.to)?;
        self.held.clear();
        Ok(())
    }

    fn header(&mut self, entry: &Entry) -> Result<(), EngineError> {
        self.held.extend_from_slice(&tar::encode(entry));
        if self.held.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn entry(&mut self, fd: &OwnedFd, path: Vec<u8>, shown: &Path, depth: usize) -> Result<(), EngineError> {
        let stat = fstat(fd).at("fstat", shown)?;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        let (major, minor) = (major(stat.st_rdev), minor(stat.st_rdev));
        let kind = match file_type {
            FileType::Directory => EntryKind::Directory,
            FileType::RegularFile => EntryKind::File,
            FileType::Symlink => {
                let target = readlinkat(fd, "", Vec::new()).at("readlinkat", shown)?;
                EntryKind::Symlink { target: target.into_bytes() }
            }
            FileType::Fifo => EntryKind::Fifo,
            FileType::CharacterDevice if self.layer && is_whiteout(&stat) => {
                let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
                let mut entry = Entry::file([&path[..at], b".wh.", &path[at..]].concat());
                entry.mtime = time(&stat);
                return self.header(&entry);
            }
            FileType::CharacterDevice => EntryKind::CharDevice { major, minor },
            FileType::BlockDevice => EntryKind::BlockDevice { major, minor },
            // A tar has no sockets, and a copy of one would be nobody's.
            _ => return Ok(()),
        };
        let mut entry = Entry::new(path, kind, stat.st_mode & 0o7777);
        (entry.uid, entry.gid) = (stat.st_uid.into(), stat.st_gid.into());
        entry.mtime = time(&stat);
        if file_type != FileType::Directory && stat.st_nlink > 1 {
            match self.links.get(&(stat.st_dev, stat.st_ino)) {
                Some(first) => {
                    entry.kind = EntryKind::HardLink { target: first.clone() };
                    return self.header(&entry);
                }
                None => drop(self.links.insert((stat.st_dev, stat.st_ino), entry.path.clone())),
            }
        }
        match file_type {
            FileType::RegularFile => self.file(fd, entry, &stat, shown),
            // What a kernel shows in a container that runs is no content of it: as Docker has it, empty. One that was
            // named is looked into.
            FileType::Directory if depth > 0 && stat.st_dev != self.device && has_no_files(fd, shown)? => {
                self.header(&entry)
            }
            FileType::Directory => {
                let outer = std::mem::replace(&mut self.device, stat.st_dev);
                self.directory(fd, entry, shown, depth)?;
                self.device = outer;
                Ok(())
            }
            _ => self.header(&entry),
        }
    }

    fn file(&mut self, fd: &OwnedFd, mut entry: Entry, stat: &Stat, shown: &Path) -> Result<(), EngineError> {
        let file = self.tree.reopen(fd, OFlags::RDONLY | OFlags::NOCTTY).at("open", shown)?;
        if self.layer {
            marks(&file, shown)?;
        }
        entry.xattrs = xattrs(file.as_fd(), shown)?;
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        self.header(&entry)?;
        let mut rest = entry.size;
        while rest > 0 {
            let start = self.held.len();
            let want = usize::try_from(rest).unwrap_or(BUFFER).min(BUFFER);
            self.held.resize(start + want, 0);
            let count = match rustix::io::read(&file, &mut self.held[start..]) {
                Err(Errno::INTR) => {
                    self.held.truncate(start);
                    continue;
                }
                other => other.at("read", shown)?,
            };
            // What was cut off meanwhile is zeros: the header has been written.
            let count = if count == 0 { want } else { count };
            self.held.truncate(start + count);
            rest -= count as u64;
            if self.held.len() >= BUFFER {
                self.flush()?;
            }
        }
        self.held.extend_from_slice(tar::padding(entry.size));
        Ok(())
    }

    fn directory(
        &mut self,
        fd: &OwnedFd,
        mut entry: Entry,
        shown: &Path,
        depth: usize,
    ) -> Result<(), EngineError> {
        if depth > MAX_DEPTH {
            let what = format!("copying {}", shown.display());
            return Err(EngineError::refused(what, format!("it is more than {MAX_DEPTH} directories deep")));
        }
        let dir = openat(fd, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .at("openat", shown)?;
        entry.xattrs = xattrs(dir.as_fd(), shown)?;
        self.header(&entry)?;
        if self.layer && marks(&dir, shown)? {
            self.header(&Entry::file([&entry.path[..], b"/.wh..wh..opq"].concat()))?;
        }
        self.content(&dir, &[&entry.path[..], b"/"].concat(), shown, depth)
    }

    fn content(
        &mut self,
        dir: &OwnedFd,
        prefix: &[u8],
        shown: &Path,
        depth: usize,
    ) -> Result<(), EngineError> {
        for name in names(dir, shown)? {
            let shown = shown.join(std::ffi::OsStr::from_bytes(name.as_bytes()));
            if self.layer && name.as_bytes().starts_with(b".wh.") {
                let why = "names with .wh. in front stand for what a layer deletes: no image can have it";
                return Err(EngineError::refused(shown.display().to_string(), why));
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = match openat(dir, name.as_c_str(), flags, Mode::empty()) {
                // Gone meanwhile.
                Err(Errno::NOENT) => continue,
                other => other.at("openat", &shown)?,
            };
            let path = [prefix, name.as_bytes()].concat();
            self.entry(&inner, path, &shown, depth + 1)?;
        }
        Ok(())
    }
}

fn has_no_files(dir: &OwnedFd, shown: &Path) -> Result<bool, EngineError> {
    let kind = rustix::fs::fstatfs(dir).at("fstatfs", shown)?.f_type;
    Ok(WITHOUT_FILES.contains(&(kind as u32)))
}

/// What is in a directory, in the order of the bytes.
pub(super) fn names(dir: &OwnedFd, shown: &Path) -> Result<Vec<CString>, EngineError> {
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry.at("getdents64", shown)?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

pub(super) fn time(stat: &Stat) -> Time {
    Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 }
}

type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// The attributes that are content: users' own, file capabilities, access control lists.
pub(super) fn xattrs(file: BorrowedFd<'_>, shown: &Path) -> Result<Xattrs, EngineError> {
    let content = |name: &[u8]| {
        name == b"security.capability"
            || name == b"system.posix_acl_access"
            || name == b"system.posix_acl_default"
            || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
    };
    all_xattrs(file, shown, content)
}

/// Those that `wanted` chooses, in the order of their names.
pub(super) fn all_xattrs(
    file: BorrowedFd<'_>,
    shown: &Path,
    wanted: impl Fn(&[u8]) -> bool,
) -> Result<Xattrs, EngineError> {
    let mut first = [0u8; 256];
    let length = match rustix::fs::flistxattr(file, &mut first[..]) {
        Ok(0) | Err(Errno::NOTSUP | Errno::PERM) => return Ok(Vec::new()),
        other => other,
    };
    let mut buffer = Vec::new();
    let list = match length {
        Ok(length) => &first[..length],
        Err(Errno::RANGE) => {
            buffer.resize(MAX_XATTR_BYTES, 0);
            let length = rustix::fs::flistxattr(file, &mut buffer[..]).at("flistxattr", shown)?;
            &buffer[..length]
        }
        Err(errno) => return Err(errno).at("flistxattr", shown),
    };
    let mut found = Xattrs::new();
    for name in list.split(|byte| *byte == 0).filter(|name| !name.is_empty() && wanted(name)) {
        let mut value = vec![0u8; MAX_XATTR_BYTES];
        let length = match rustix::fs::fgetxattr(file, name, &mut value[..]) {
            // Gone meanwhile, or an id that has no place here.
            Err(Errno::NODATA | Errno::OVERFLOW | Errno::NOTSUP) => continue,
            other => other.at("fgetxattr", shown)?,
        };
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}
