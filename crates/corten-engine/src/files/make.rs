//! New files in a directory. What a new file gets there by itself is looked at once, and spares each of the
//! others the calls that would set it.

use std::os::fd::OwnedFd;
use std::path::Path;

use corten_store::tar::Entry;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, fstat, ftruncate, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::error::{At, EngineError};

/// A directory that files are made in.
pub(super) struct Parent {
    /// Its names below the destination.
    pub(super) path: Vec<Vec<u8>>,
    pub(super) dir: OwnedFd,
    /// Whose files are that are made here, if one was looked at: a set-group-id bit or a mount option may say so.
    owner: Option<(Uid, Gid)>,
    /// Bits of a mode that a file made here keeps: umask and default access control list take none of them.
    bits: u32,
    /// They took others.
    takes_bits: bool,
}

impl Parent {
    pub(super) fn new(path: Vec<Vec<u8>>, dir: OwnedFd) -> Self {
        Self { path, dir, owner: None, bits: 0, takes_bits: false }
    }

    /// A new file in it, and whether it is made with its owner and mode. Where it
    /// is not known to be made with its owner, nobody else may open it until that is set.
    pub(super) fn file(
        &mut self,
        name: &[u8],
        entry: &Entry,
        owner: Option<(Uid, Gid)>,
        path: &Path,
    ) -> Result<(OwnedFd, bool), EngineError> {
        let stat = |fd: &OwnedFd| fstat(fd).at("fstat", path);
        let special = entry.mode & 0o7000 != 0 || !entry.xattrs.is_empty();
        if special || self.takes_bits || (owner.is_some() && self.owner.is_some() && owner != self.owner) {
            return create_file(&self.dir, name, PRIVATE, path).map(|(fd, _)| (fd, false));
        }
        if owner.is_some() && self.owner.is_none() {
            let (fd, fresh) = create_file(&self.dir, name, PRIVATE, path)?;
            if fresh {
                let stat = stat(&fd)?;
                self.owner = Some((Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid)));
            }
            return Ok((fd, false));
        }
        let (fd, fresh) = create_file(&self.dir, name, Mode::from_raw_mode(entry.mode), path)?;
        if fresh && entry.mode & !self.bits != 0 {
            self.takes_bits = stat(&fd)?.st_mode & 0o7777 != entry.mode;
            if self.takes_bits {
                return Ok((fd, false));
            }
            self.bits |= entry.mode;
        }
        Ok((fd, fresh))
    }
}

pub(super) fn is_directory(dir: &OwnedFd, name: &[u8]) -> bool {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Docker's words.
pub(super) fn cannot_overwrite(path: &Path, directory: bool) -> EngineError {
    let name = path.display();
    let message = match directory {
        true => format!("cannot overwrite directory {name:?} with non-directory"),
        false => format!("cannot overwrite non-directory {name:?} with directory"),
    };
    EngineError::Failed { message, code: 1 }
}

/// Makes something that is no directory; what is there goes first, unless it is one.
pub(super) fn replace(
    dir: &OwnedFd,
    name: &[u8],
    path: &Path,
    call: &'static str,
    make: impl Fn() -> Result<(), Errno>,
) -> Result<(), EngineError> {
    match make() {
        Err(Errno::EXIST) => {}
        other => return other.at(call, path),
    }
    if is_directory(dir, name) {
        return Err(cannot_overwrite(path, true));
    }
    unlinkat(dir, name, AtFlags::empty()).at("unlinkat", path)?;
    make().at(call, path)
}

/// Of a file whose owner is not set yet.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A new file, or for one that is mounted there (/etc/hosts) the old one emptied; whether it is new.
fn create_file(dir: &OwnedFd, name: &[u8], mode: Mode, path: &Path) -> Result<(OwnedFd, bool), EngineError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let create = || openat(dir, name, flags, mode).map(|fd| (fd, true));
    match create() {
        Err(Errno::EXIST) => {}
        other => return other.at("openat", path),
    }
    if is_directory(dir, name) {
        return Err(cannot_overwrite(path, true));
    }
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => create().at("openat", path),
        Err(Errno::BUSY) => {
            let flags =
                OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let there = openat(dir, name, flags, Mode::empty()).at("openat", path)?;
            let mode = fstat(&there).at("fstat", path)?.st_mode;
            if FileType::from_raw_mode(mode) != FileType::RegularFile {
                return Err(Errno::BUSY).at("unlinkat", path);
            }
            ftruncate(&there, 0).at("ftruncate", path)?;
            Ok((there, false))
        }
        Err(errno) => Err(errno).at("unlinkat", path),
    }
}
