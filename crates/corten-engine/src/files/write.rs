//! Tar becomes files below a directory, whatever is renamed there meanwhile: no link is followed that could
//! lead out of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use corten_store::tar::{Decoder, Entry, EntryKind, Event, TarError};
use corten_sys::open::openat2;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat,
    chownat, fchmod, fchown, fstat, ftruncate, futimens, linkat, makedev, mkdirat, mknodat, openat,
    symlinkat, utimensat,
};
use rustix::io::Errno;

use super::make::{Parent, cannot_overwrite, is_directory, replace};
use super::paths::{Destination, Tree};
use crate::error::{At, EngineError};

/// Whose the files become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// As the tar says.
    Kept,
    /// This user and group.
    Is(u32, u32),
    /// Whoever writes them.
    Writer,
}

/// What there is of a name.
type Path = Vec<Vec<u8>>;

/// What could not be made, and need not be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) devices: u64,
}

/// Writes below a directory.
pub(super) struct Writer<'a> {
    tree: &'a Tree,
    dir: BorrowedFd<'a>,
    /// How many names in front of each member's go, and what takes their place.
    strip: usize,
    prefix: Path,
    owner: Owner,
    devices: bool,
    decoder: Decoder,
    /// The directory of the entry before.
    last: Option<Parent>,
    open: Option<Open>,
    /// Modes and times of directories, when all is in them.
    directories: BTreeMap<Path, Box<Entry>>,
    pub(super) left: Left,
}

struct Open {
    fd: OwnedFd,
    entry: Box<Entry>,
    position: u64,
    shown: PathBuf,
    /// It was made as it is to be: neither its owner nor its mode needs a call.
    as_made: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(tree: &'a Tree, to: &'a Destination, strip: usize, prefix: Path, owner: Owner) -> Self {
        Self {
            tree,
            dir: to.dir.as_fd(),
            strip,
            prefix,
            owner,
            devices: owner != Owner::Writer,
            decoder: Decoder::new(),
            last: None,
            open: None,
            directories: BTreeMap::new(),
            left: Left::default(),
        }
    }

    /// Some bytes of the tar.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<(), EngineError> {
        loop {
            // The event borrows from `bytes` and not from the decoder.
            match self.decoder.next(&mut bytes).map_err(|error| damaged(&error))? {
                None => return Ok(()),
                Some(Event::Entry(entry)) => self.entry(entry)?,
                Some(Event::Data { offset, bytes }) => self.data(offset, bytes)?,
                Some(Event::EntryEnd) => self.end_of_file()?,
            }
        }
    }

    /// The end of the tar.
    pub(super) fn finish(mut self) -> Result<Left, EngineError> {
        self.decoder.finish().map_err(|error| damaged(&error))?;
        for (path, entry) in std::mem::take(&mut self.directories).into_iter().rev() {
            let shown = shown(&path);
            let dir = match self.resolve(&path) {
                // Taken away or replaced meanwhile.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                other => other.at("openat2", &shown)?,
            };
            let dir = openat(&dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .at("openat", &shown)?;
            self.dress(&dir, &entry, &shown)?;
        }
        Ok(self.left)
    }

    /// Where a member goes; `None` is the destination itself.
    fn place(&self, path: &[u8]) -> Result<Option<Path>, EngineError> {
        let refuse = |why: &str| {
            let what = format!("the archive's member {:?}", OsStr::from_bytes(path));
            Err(EngineError::refused(what, why))
        };
        let mut names = Path::new();
        for name in path.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => return refuse("its name has `..` in it"),
                name if name.contains(&0) || name.len() > 255 => return refuse("its name is none"),
                name => names.push(name.to_vec()),
            }
        }
        let below = names.split_off(self.strip.min(names.len()));
        let place: Path = self.prefix.iter().cloned().chain(below).collect();
        Ok((!place.is_empty()).then_some(place))
    }

    /// A directory below the destination.
    fn resolve(&self, path: &[Vec<u8>]) -> Result<OwnedFd, Errno> {
        let text = if path.is_empty() { b".".to_vec() } else { path.join(&b'/') };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let strict = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let open = |resolve| openat2(self.dir, text.as_slice(), flags, Mode::empty(), resolve);
        match open(strict) {
            // Inside of a container a link leads nowhere else: its root is ours.
            Err(Errno::LOOP) if self.tree.enclosed => open(ResolveFlags::NO_MAGICLINKS),
            other => other,
        }
    }

    /// The directory that something goes into, made where it is missing.
    fn parent(&mut self, place: &[Vec<u8>]) -> Result<&OwnedFd, EngineError> {
        let parent = &place[..place.len() - 1];
        if self.last.as_ref().is_none_or(|last| last.path != parent) {
            let dir = match self.resolve(parent) {
                Err(Errno::NOENT) => {
                    for depth in 1..=parent.len() {
                        let above =
                            self.resolve(&parent[..depth - 1]).at("openat2", shown(&parent[..depth - 1]))?;
                        match mkdirat(&above, parent[depth - 1].as_slice(), Mode::from_raw_mode(0o755)) {
                            Ok(()) | Err(Errno::EXIST) => {}
                            Err(errno) => return Err(errno).at("mkdirat", shown(&parent[..depth])),
                        }
                    }
                    self.resolve(parent)
                }
                other => other,
            };
            let dir = dir.at("openat2", shown(parent))?;
            self.last = Some(Parent::new(parent.to_vec(), dir));
        }
        match &self.last {
            Some(last) => Ok(&last.dir),
            None => unreachable!("set above"),
        }
    }

    fn entry(&mut self, mut entry: Box<Entry>) -> Result<(), EngineError> {
        let Some(place) = self.place(&entry.path)? else {
            // The destination itself stays as it is.
            return Ok(());
        };
        let path = shown(&place);
        let name = place[place.len() - 1].clone();
        let name = name.as_slice();
        if self.owner != Owner::Kept {
            // Of another owner these would give somebody else's rights away.
            entry.mode &= 0o1777;
            entry.xattrs.retain(|(name, _)| name != b"security.capability");
        }
        let devices = self.devices;
        let link = match &entry.kind {
            EntryKind::HardLink { target } => {
                let Some(target) = self.place(target)? else { return Err(Errno::PERM).at("linkat", &path) };
                let dir = self.resolve(&target[..target.len() - 1]).at("openat2", shown(&target))?;
                Some((dir, target[target.len() - 1].clone()))
            }
            _ => None,
        };
        let dir = self.parent(&place)?;
        match &entry.kind {
            EntryKind::Directory => {
                match mkdirat(dir, name, Mode::RWXU) {
                    Ok(()) => {}
                    Err(Errno::EXIST) if is_directory(dir, name) => {}
                    Err(Errno::EXIST) => return Err(cannot_overwrite(&path, false)),
                    Err(errno) => return Err(errno).at("mkdirat", &path),
                }
                self.directories.insert(place, entry);
                return Ok(());
            }
            EntryKind::File => {
                let owner = self.ids(&entry)?;
                let Some(parent) = &mut self.last else { unreachable!("found above") };
                let (fd, as_made) = parent.file(name, &entry, owner, &path)?;
                self.open = Some(Open { fd, entry, position: 0, shown: path, as_made });
                return Ok(());
            }
            EntryKind::HardLink { .. } => {
                let Some((from, target)) = link else { return Ok(()) };
                let make = || linkat(&from, target.as_slice(), dir, name, AtFlags::empty());
                return replace(dir, name, &path, "linkat", make);
            }
            EntryKind::Symlink { target } => {
                replace(dir, name, &path, "symlinkat", || symlinkat(target.as_slice(), dir, name))?;
            }
            EntryKind::Fifo => {
                replace(dir, name, &path, "mknodat", || mknodat(dir, name, FileType::Fifo, Mode::RWXU, 0))?;
            }
            EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
                let block = matches!(entry.kind, EntryKind::BlockDevice { .. });
                let kind = if block { FileType::BlockDevice } else { FileType::CharacterDevice };
                let device = makedev(*major, *minor);
                let make = || mknodat(dir, name, kind, Mode::from_raw_mode(0o600), device);
                let made = if devices { replace(dir, name, &path, "mknodat", make) } else { Err(none()) };
                if let Err(error) = made {
                    match error {
                        EngineError::Call { errno: Errno::PERM, .. } => {
                            self.left.devices += 1;
                            return Ok(());
                        }
                        error => return Err(error),
                    }
                }
            }
        }
        let owner = self.ids(&entry)?;
        let dir = self.parent(&place)?;
        if let Some((uid, gid)) = owner {
            chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).at("fchownat", &path)?;
        }
        if !matches!(entry.kind, EntryKind::Symlink { .. }) {
            // By a descriptor of the very node: at its name there may be a link by now.
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let node = openat(dir, name, flags, Mode::empty()).at("openat", &path)?;
            let is_link =
                FileType::from_raw_mode(fstat(&node).at("fstat", &path)?.st_mode) == FileType::Symlink;
            if !is_link {
                self.tree.chmod(&node, Mode::from_raw_mode(entry.mode)).at("fchmodat", &path)?;
            }
        }
        let dir = self.parent(&place)?;
        utimensat(dir, name, &times(&entry), AtFlags::SYMLINK_NOFOLLOW).at("utimensat", &path)
    }

    fn data(&mut self, offset: u64, mut bytes: &[u8]) -> Result<(), EngineError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        while !bytes.is_empty() {
            let at = offset.max(open.position);
            match rustix::io::pwrite(&open.fd, bytes, at) {
                Err(Errno::INTR) => {}
                other => {
                    let count = other.at("write", &open.shown)?;
                    open.position = at + count as u64;
                    bytes = &bytes[count..];
                }
            }
        }
        Ok(())
    }

    fn end_of_file(&mut self) -> Result<(), EngineError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        if open.position < open.entry.size {
            ftruncate(&open.fd, open.entry.size).at("ftruncate", &open.shown)?;
        }
        if open.as_made {
            return futimens(&open.fd, &times(&open.entry)).at("futimens", &open.shown);
        }
        self.dress(&open.fd, &open.entry, &open.shown)
    }

    /// Owner, attributes, mode, times, in this order: a change of owner takes set-id bits away.
    fn dress(&self, fd: &OwnedFd, entry: &Entry, path: &std::path::Path) -> Result<(), EngineError> {
        if let Some((uid, gid)) = self.ids(entry)? {
            fchown(fd, Some(uid), Some(gid)).at("fchown", path)?;
        }
        for (name, value) in &entry.xattrs {
            // What would forge an overlay, or is the host's to say, does not come from an archive.
            let overlay = name.starts_with(b"user.overlay.");
            let known = name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_");
            if overlay || !(known || name == b"security.capability") {
                continue;
            }
            match rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
                Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
                Err(errno) => return Err(errno).at("fsetxattr", path),
            }
        }
        fchmod(fd, Mode::from_raw_mode(entry.mode)).at("fchmod", path)?;
        futimens(fd, &times(entry)).at("futimens", path)
    }

    fn ids(&self, entry: &Entry) -> Result<Option<(Uid, Gid)>, EngineError> {
        let (uid, gid) = match self.owner {
            Owner::Writer => return Ok(None),
            Owner::Is(uid, gid) => (uid, gid),
            Owner::Kept => {
                let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
                match (id(entry.uid), id(entry.gid)) {
                    (Some(uid), Some(gid)) => (uid, gid),
                    _ => return Err(Errno::OVERFLOW).at("fchown", OsStr::from_bytes(&entry.path)),
                }
            }
        };
        Ok(Some((Uid::from_raw(uid), Gid::from_raw(gid))))
    }
}

impl Tree {
    /// fchmodat(2) of what a descriptor that was not opened refers to.
    fn chmod(&self, node: &OwnedFd, mode: Mode) -> Result<(), Errno> {
        use std::os::fd::AsRawFd;
        chmodat(self.own_descriptors(), node.as_raw_fd().to_string(), mode, AtFlags::empty())
    }
}

fn none() -> EngineError {
    EngineError::Call { call: "mknodat", path: PathBuf::new(), errno: Errno::PERM }
}

fn damaged(error: &TarError) -> EngineError {
    EngineError::Failed { message: error.to_string(), code: 1 }
}

fn shown(place: &[Vec<u8>]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&place.join(&b'/')))
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime.secs, tv_nsec: entry.mtime.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}
