//! A change of a container's record. Whoever makes one holds flock(2) on the container's directory on disk,
//! so that none is lost; readers see one record or the next.

use std::os::fd::OwnedFd;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use crate::dirs::Dirs;
use crate::error::{At, EngineError};
use crate::record::{self, Record};

/// Held while a record is changed.
pub(crate) struct Edit {
    path: std::path::PathBuf,
    durable: bool,
    _lock: OwnedFd,
}

impl Edit {
    /// Waits for whoever changes it now, and reads it.
    pub(crate) fn begin(dirs: &Dirs, id: &str) -> Result<(Self, Record), EngineError> {
        let dir = dirs.container(id);
        let missing = || EngineError::NoSuchContainer(id.to_owned());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock = match rustix::fs::open(&dir, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Err(missing()),
            other => other.at("open", &dir)?,
        };
        while let Err(errno) = flock(&lock, FlockOperation::LockExclusive) {
            if errno != Errno::INTR {
                return Err(errno).at("flock", &dir);
            }
        }
        for (dir, durable) in [(dirs.live(id), false), (dir, true)] {
            let path = dir.join("config.json");
            if let Some(record) = record::read(&path)? {
                return Ok((Self { path, durable, _lock: lock }, record));
            }
        }
        Err(missing())
    }

    /// Writes it, whole or not at all.
    pub(crate) fn write(&self, record: &Record) -> Result<(), EngineError> {
        record::write(&self.path, record, self.durable)
    }
}
