//! Directories of the layer: the descriptors of those lately used, and what each is to be at the end.
//!
//! While a layer is unpacked all its directories are 0700 and the caller's: so nothing inherits a group or
//! a default ACL, and a directory of mode 0555 can be filled by a plain user. Owners, modes, attributes and
//! times come last, children first.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::xattr::Xattrs;
use super::{Refusal, UnpackError};
use crate::error::SysError;
use crate::sys::retry;
use crate::tar::Time;

const CACHED: usize = 32;
const MEMORY: usize = 256 << 20;

/// What a directory is to be.
#[derive(Debug, Clone, Default)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    pub(super) xattrs: Xattrs,
    pub(super) opaque: bool,
}

pub(super) struct Dirs<'a> {
    root: BorrowedFd<'a>,
    root_path: &'a Path,
    /// most lately used first
    cache: Vec<(Vec<u8>, Rc<OwnedFd>)>,
    metas: BTreeMap<Vec<u8>, Meta>,
    memory: usize,
    pub(super) made: u64,
}

impl<'a> Dirs<'a> {
    pub(super) fn new(root: BorrowedFd<'a>, root_path: &'a Path) -> Dirs<'a> {
        let implied = Meta { mode: 0o755, ..Meta::default() };
        let metas = BTreeMap::from([(Vec::new(), implied)]);
        Dirs { root, root_path, cache: Vec::new(), metas, memory: 0, made: 0 }
    }

    pub(super) fn shown(&self, path: &[u8]) -> PathBuf {
        self.root_path.join(OsStr::from_bytes(path))
    }

    /// The directory at `path`, made with its parents if it is missing. Links on the way are followed, as
    /// the container would follow them.
    pub(super) fn get(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, UnpackError> {
        if let Some(at) = self.cache.iter().position(|(known, _)| known == path) {
            let found = self.cache.remove(at);
            let fd = found.1.clone();
            self.cache.insert(0, found);
            return Ok(fd);
        }
        let fd = match self.open(path, OFlags::PATH) {
            Err(error) if error.errno == Errno::NOENT => self.make(path)?,
            Err(error) if error.errno == Errno::NOTDIR => return Err(self.no_parent(path)),
            other => other?,
        };
        let fd = Rc::new(fd);
        self.cache.truncate(CACHED - 1);
        self.cache.insert(0, (path.to_vec(), fd.clone()));
        Ok(fd)
    }

    /// As `get`, but nothing is made.
    pub(super) fn lookup(&self, path: &[u8]) -> Result<Option<OwnedFd>, UnpackError> {
        match self.open(path, OFlags::PATH) {
            Err(error) if matches!(error.errno, Errno::NOENT | Errno::NOTDIR) => Ok(None),
            other => Ok(Some(other?)),
        }
    }

    fn no_parent(&self, path: &[u8]) -> UnpackError {
        UnpackError::Refused { path: OsStr::from_bytes(path).into(), why: Refusal::NoParent }
    }

    /// The missing ones from the top down, without recursion: a path may have two thousand parts.
    fn make(&mut self, path: &[u8]) -> Result<OwnedFd, UnpackError> {
        let ends = path.iter().enumerate().filter(|(_, c)| **c == b'/').map(|(at, _)| at).chain([path.len()]);
        let ends: Vec<usize> = ends.collect();
        let mut existing = ends.len();
        let mut parent = loop {
            existing -= 1;
            let prefix = if existing == 0 { &b""[..] } else { &path[..ends[existing - 1]] };
            match self.open(prefix, OFlags::PATH) {
                Err(error) if error.errno == Errno::NOENT && existing > 0 => {}
                Err(error) if error.errno == Errno::NOTDIR => return Err(self.no_parent(path)),
                other => break other?,
            }
        };
        for at in existing..ends.len() {
            let start = if at == 0 { 0 } else { ends[at - 1] + 1 };
            let (name, prefix) = (&path[start..ends[at]], &path[..ends[at]]);
            match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
                // It exists and does not resolve: a dangling link.
                Err(Errno::EXIST) => return Err(self.no_parent(prefix)),
                Err(errno) => {
                    return Err(SysError { call: "mkdirat", path: self.shown(prefix), errno }.into());
                }
                Ok(()) => {}
            }
            self.made += 1;
            self.set(prefix.to_vec(), Meta { mode: 0o755, ..Meta::default() })?;
            parent = self.open(prefix, OFlags::PATH)?;
        }
        Ok(parent)
    }

    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, SysError> {
        let path_or_dot = if path.is_empty() { &b"."[..] } else { path };
        let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let mut attempts = 0;
        loop {
            let opened = retry(|| rustix::fs::openat2(self.root, path_or_dot, flags, Mode::empty(), resolve));
            match opened {
                // `..` in a link while something, anywhere, is renamed: openat2(2) says to try again.
                Err(Errno::AGAIN) if attempts < 1000 => attempts += 1,
                Err(errno) => return Err(SysError { call: "openat2", path: self.shown(path), errno }),
                Ok(fd) => return Ok(fd),
            }
        }
    }

    /// What the directory at `path` is to be; of two entries the later counts.
    pub(super) fn set(&mut self, path: Vec<u8>, meta: Meta) -> Result<(), UnpackError> {
        let xattrs: usize = meta.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.memory += path.len() + xattrs + size_of::<Meta>();
        if self.memory > MEMORY {
            return Err(UnpackError::Memory(MEMORY));
        }
        let opaque = self.metas.get(&path).is_some_and(|known| known.opaque);
        self.metas.insert(path, Meta { opaque: opaque || meta.opaque, ..meta });
        Ok(())
    }

    pub(super) fn set_opaque(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        let meta = self.metas.get(path).cloned().unwrap_or(Meta { mode: 0o755, ..Meta::default() });
        self.set(path.to_vec(), Meta { opaque: true, ..meta })
    }

    /// Something at `path` was removed: descriptors may lead into what is gone.
    pub(super) fn forget(&mut self, path: &[u8]) {
        self.cache.clear();
        self.metas.remove(path);
        let below = [path, b"/"].concat();
        let gone: Vec<Vec<u8>> = self
            .metas
            .range(below.clone()..)
            .map(|(known, _)| known)
            .take_while(|k| k.starts_with(&below))
            .cloned()
            .collect();
        for path in gone {
            self.metas.remove(&path);
        }
    }

    /// All directories with what they are to be, children first.
    pub(super) fn finish(
        self,
        mut apply: impl FnMut(BorrowedFd<'_>, &Path, &Meta) -> Result<(), UnpackError>,
    ) -> Result<(), UnpackError> {
        for (path, meta) in self.metas.iter().rev() {
            match self.open(path, OFlags::RDONLY) {
                Ok(fd) => apply(fd.as_fd(), &self.shown(path), meta)?,
                // Reached through a link that another entry has since replaced.
                Err(error) if matches!(error.errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
