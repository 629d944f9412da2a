//! Small files and directories, with the path in every error.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, IFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{At, Result, StoreError, SysError};

/// A directory of the store and the path that errors give for it.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) fd: OwnedFd,
    pub(crate) path: Box<Path>,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

impl Dir {
    pub(crate) fn open_at(&self, name: impl AsRef<Path>) -> Result<Dir, SysError> {
        let path = self.path.join(&name);
        let fd = rustix::fs::openat(&self.fd, name.as_ref(), DIRECTORY, Mode::empty()).at("openat", &path)?;
        Ok(Dir { fd, path: path.into() })
    }

    /// Opens a directory of ours and makes it first where it is missing.
    pub(crate) fn make_at(&self, name: impl AsRef<Path>, mode: u32) -> Result<Dir, SysError> {
        match self.open_at(&name) {
            Err(error) if error.errno == Errno::NOENT => {
                let path = self.path.join(&name);
                match rustix::fs::mkdirat(&self.fd, name.as_ref(), Mode::from_raw_mode(mode)) {
                    Ok(()) | Err(Errno::EXIST) => self.open_at(name),
                    Err(errno) => Err(SysError { call: "mkdirat", path, errno }),
                }
            }
            other => other,
        }
    }

    pub(crate) fn sync(&self) -> Result<(), SysError> {
        rustix::fs::fsync(&self.fd).at("fsync", &self.path)
    }

    /// The whole of a regular file of at most `limit` bytes; `expected` is what it probably has, and spares
    /// the second read. `None` if there is no such file.
    pub(crate) fn read(
        &self,
        name: impl AsRef<Path>,
        expected: usize,
        limit: u64,
    ) -> Result<Option<Vec<u8>>> {
        let path = self.path.join(&name);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&self.fd, name.as_ref(), flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.at("openat", &path)?,
        };
        let mut bytes = Vec::new();
        let mut room = expected.min(limit as usize) + 1;
        loop {
            let start = bytes.len();
            bytes.resize(start + room, 0);
            let n = retry(|| rustix::io::read(&file, &mut bytes[start..])).at("read", &path)?;
            bytes.truncate(start + n);
            if bytes.len() as u64 > limit {
                return Err(StoreError::TooLarge { path, limit });
            }
            if n < room {
                return Ok(Some(bytes));
            }
            room = bytes.len();
        }
    }

    /// Replaces a small file: written beside, synced, renamed, the directory synced.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), SysError> {
        let beside = format!(".{name}.new");
        let path = self.path.join(&beside);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file =
            rustix::fs::openat(&self.fd, &beside, flags, Mode::from_raw_mode(mode)).at("openat", &path)?;
        let written = write_all(&file, bytes).at("write", &path);
        let synced = written.and_then(|()| rustix::fs::fsync(&file).at("fsync", &path));
        if let Err(error) = synced {
            let _ = rustix::fs::unlinkat(&self.fd, &beside, AtFlags::empty());
            return Err(error);
        }
        rustix::fs::renameat(&self.fd, &beside, &self.fd, name).at("renameat", self.path.join(name))?;
        self.sync()
    }
}

pub(crate) fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

pub(crate) fn write_all(file: impl AsFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let n = retry(|| rustix::io::write(&file, bytes))?;
        bytes = &bytes[n..];
    }
    Ok(())
}

impl Dir {
    /// A new small file where nobody looks yet; not synced.
    pub(crate) fn write_new(&self, name: &str, bytes: &[u8]) -> Result<(), SysError> {
        let path = self.path.join(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR).at("openat", &path)?;
        write_all(&file, bytes).at("write", &path)
    }

    /// What is in it, without `.` and `..`.
    pub(crate) fn names(&self) -> Result<Vec<std::ffi::CString>, SysError> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).at("openat", &self.path)? {
            let entry = entry.at("getdents64", &self.path)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        Ok(names)
    }
}

/// Tells the file system that the subdirectories of this one have nothing to do with each other (`chattr +T`). ext4
/// then puts each into a block group of its own: starts at the same time do not queue for one group's lock, and
/// without a journal no new inode has to be looked for among all that were freed in the last half minute. A file
/// system that has no such groups does not know the flag, and nothing is lost.
pub fn spread(dir: impl AsFd) {
    let flags = rustix::fs::ioctl_getflags(&dir);
    let _not_known = flags.and_then(|flags| rustix::fs::ioctl_setflags(&dir, flags | IFlags::TOPDIR));
}
