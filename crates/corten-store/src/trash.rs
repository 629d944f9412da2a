//! Removing trees, of any depth and shape, with few descriptors and no recursion.
//!
//! Names of an archive can nest thousands deep: too deep for the stack, for open descriptors, and for
//! paths. So a directory that is met at depth `DEEP` is moved up beside the first and removed from there.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{At, SysError};

const DEEP: usize = 32;

/// Removes `name` in `parent`, whatever it is; what is gone already is no error.
pub(crate) fn remove_at(parent: BorrowedFd<'_>, name: &[u8], path: &Path) -> Result<(), SysError> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(SysError { call: "unlinkat", path: path.into(), errno }),
    }
    let name = CString::new(name).map_err(|_| SysError {
        call: "unlinkat",
        path: path.into(),
        errno: Errno::INVAL,
    })?;
    let mut hoisted = Hoisted { parent, path, count: 0, waiting: VecDeque::from([name]) };
    while let Some(name) = hoisted.waiting.pop_front() {
        empty(parent, &name, &mut hoisted, path)?;
        match rustix::fs::unlinkat(parent, &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(SysError { call: "rmdir", path: path.into(), errno }),
        }
    }
    Ok(())
}

/// Directories moved up, to be removed later.
struct Hoisted<'a> {
    parent: BorrowedFd<'a>,
    path: &'a Path,
    count: u64,
    waiting: VecDeque<CString>,
}

impl Hoisted<'_> {
    fn take(&mut self, from: BorrowedFd<'_>, name: &CStr) -> Result<(), SysError> {
        loop {
            self.count += 1;
            let up = CString::new(format!(".corten-trash-{}-{}", std::process::id(), self.count))
                .unwrap_or_default();
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(from, name, self.parent, &up, flags) {
                Ok(()) => {
                    self.waiting.push_back(up);
                    return Ok(());
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(SysError { call: "renameat2", path: self.path.into(), errno }),
            }
        }
    }
}

/// A directory being emptied, and its name in the one above.
struct Level {
    dir: Dir,
    fd: OwnedFd,
    name: CString,
}

fn open(parent: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<Option<Level>, SysError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        // Not root, and the archive had a directory that its owner cannot read.
        Err(Errno::ACCESS) => {
            let _ = rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty());
            rustix::fs::openat(parent, name, flags, Mode::empty())
        }
        other => other,
    };
    let fd = match opened {
        Err(Errno::NOENT) => return Ok(None),
        other => other.at("openat", path)?,
    };
    // What is in it cannot be unlinked unless it can be written.
    if !rustix::process::geteuid().is_root() {
        rustix::fs::fchmod(&fd, Mode::RWXU).at("fchmod", path)?;
    }
    let dir = Dir::read_from(&fd).at("openat", path)?;
    Ok(Some(Level { dir, fd, name: name.into() }))
}

fn empty(
    parent: BorrowedFd<'_>,
    name: &CStr,
    hoisted: &mut Hoisted<'_>,
    path: &Path,
) -> Result<(), SysError> {
    let mut levels: Vec<Level> = open(parent, name, path)?.into_iter().collect();
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.dir.read() else {
            let Some(done) = levels.pop() else { break };
            if let Some(above) = levels.last() {
                match rustix::fs::unlinkat(&above.fd, &done.name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(SysError { call: "rmdir", path: path.into(), errno }),
                }
            }
            continue;
        };
        let entry = entry.at("getdents64", path)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let unlinked = match entry.file_type() {
            FileType::Directory => Err(Errno::ISDIR),
            _ => rustix::fs::unlinkat(&level.fd, name, AtFlags::empty()),
        };
        match unlinked {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => {
                let name = name.to_owned();
                if levels.len() >= DEEP {
                    let from = levels[levels.len() - 1].fd.as_fd();
                    hoisted.take(from, &name)?;
                } else {
                    let child = open(levels[levels.len() - 1].fd.as_fd(), &name, path)?;
                    levels.extend(child);
                }
            }
            Err(errno) => return Err(SysError { call: "unlinkat", path: path.into(), errno }),
        }
    }
    Ok(())
}
