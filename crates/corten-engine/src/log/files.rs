//! A log in files: the newest is appended to; a full one is moved on and, if asked for, compressed.
//!
//! ```text
//!   log.json ─▶ log.json.1[.gz] ─▶ log.json.2[.gz] ─▶ … ─▶ gone
//! ```
//!
//! No file is ever cut short and written again from its start: a reader that has it open reads it to its end.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use corten_sys::clone::Child;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::config::log::Files;

/// The files of one log, as their writer has them.
#[derive(Debug)]
pub(super) struct Rotated {
    file: File,
    path: PathBuf,
    bytes: u64,
    limits: Files,
    /// Compresses the last full one.
    compressing: Option<Child>,
}

impl Rotated {
    pub(super) fn open(path: PathBuf, limits: Files) -> std::io::Result<Self> {
        let file = append(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, path, bytes, limits, compressing: None })
    }

    /// Whether the file is full when these bytes are added to it.
    pub(super) fn is_full_with(&self, bytes: usize) -> bool {
        self.limits.max_bytes.is_some_and(|most| self.bytes + bytes as u64 >= most)
    }

    /// Adds whole records, all or none of them.
    pub(super) fn add(&mut self, records: &[u8]) -> Result<(), Errno> {
        if self.is_full_with(0) && !self.is_compressing() {
            self.rotate();
        }
        match self.file.write_all(records) {
            Ok(()) => {
                self.bytes += records.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half of a record would spoil the next.
                let _torn = self.file.set_len(self.bytes);
                Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
            }
        }
    }

    /// Adds a record for which the newest others make room, if there is no other. `start_of` finds where a
    /// record begins that lies so far from the end that the room suffices.
    pub(super) fn add_by_force(
        &mut self,
        record: &[u8],
        start_of: impl FnOnce(&File, u64) -> Option<u64>,
    ) -> Result<(), Errno> {
        let failed = match self.add(record) {
            Ok(()) => return Ok(()),
            Err(errno) => errno,
        };
        let wanted = self.bytes.saturating_sub(record.len() as u64);
        let Some(start) = start_of(&self.file, wanted).filter(|start| *start < self.bytes) else {
            return Err(failed);
        };
        if self.file.set_len(start).is_err() {
            return Err(failed);
        }
        self.bytes = start;
        self.add(record)
    }

    /// Moves each file one on; what cannot be moved is written to further, which loses nothing.
    fn rotate(&mut self) {
        let last = self.limits.max_files - 1;
        let moved = if last == 0 {
            std::fs::remove_file(&self.path)
        } else {
            for suffix in ["", ".gz"] {
                let _none = std::fs::remove_file(with_suffix(&self.path, last, suffix));
            }
            for number in (1..last).rev() {
                for suffix in ["", ".gz"] {
                    let from = with_suffix(&self.path, number, suffix);
                    let _not_there_yet = std::fs::rename(from, with_suffix(&self.path, number + 1, suffix));
                }
            }
            std::fs::rename(&self.path, with_suffix(&self.path, 1, ""))
        };
        if moved.is_ok()
            && let Ok(file) = append(&self.path)
        {
            self.file = file;
            self.bytes = 0;
            if last > 0 && self.limits.compress {
                let full = with_suffix(&self.path, 1, "");
                self.compressing = corten_sys::clone::fork(|| i32::from(compress(&full).is_err())).ok();
            }
        }
    }

    /// Until that is done no file may change its number.
    fn is_compressing(&mut self) -> bool {
        let Some(child) = &self.compressing else { return false };
        let mut fds = [PollFd::new(&child.pidfd, PollFlags::IN)];
        if poll(&mut fds, Some(&Timespec::default())) == Ok(0) {
            return true;
        }
        let _reaped = corten_sys::wait::wait_pidfd(std::os::fd::AsFd::as_fd(&child.pidfd));
        self.compressing = None;
        false
    }
}

/// `log.json.2.gz`.
pub(super) fn with_suffix(path: &Path, number: u32, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    if number > 0 {
        name.push(format!(".{number}{suffix}"));
    }
    name.into()
}

/// Beside it, and in its place when it is whole.
fn compress(path: &Path) -> std::io::Result<()> {
    let done = path.with_extension("1.gz");
    let partial = path.with_extension("gz.new");
    let written = (|| {
        let mut from = File::open(path)?;
        let to = File::options().create(true).write(true).truncate(true).mode(0o600).open(&partial)?;
        let mut to = flate2::write::GzEncoder::new(to, flate2::Compression::fast());
        std::io::copy(&mut from, &mut to)?;
        to.finish()?;
        std::fs::rename(&partial, &done)?;
        std::fs::remove_file(path)
    })();
    if written.is_err() {
        let _none = std::fs::remove_file(&partial);
    }
    written
}

/// Opened for appending, and made if it is not there.
pub(super) fn append(path: &Path) -> std::io::Result<File> {
    File::options().create(true).append(true).read(true).mode(0o600).open(path)
}

/// A log file as its reader has it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) inode: u64,
    pub(super) compressed: bool,
}

impl Opened {
    /// File `number` of a log, 0 the newest; `None` if there is none.
    pub(super) fn find(newest: &Path, number: u32) -> std::io::Result<Option<Self>> {
        // Compressed meanwhile: looked for once more as it was. The newest never is.
        let suffixes: &[&str] = if number == 0 { &[""] } else { &["", ".gz", ""] };
        for suffix in suffixes {
            match File::open(with_suffix(newest, number, suffix)) {
                Ok(file) => {
                    let inode = file.metadata()?.ino();
                    return Ok(Some(Self { file, inode, compressed: *suffix == ".gz" }));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// From a place in it, which is 0 if it is compressed; as often as one likes.
    pub(super) fn reader(&self, start: u64) -> std::io::Result<Box<dyn Read>> {
        let file = From { file: self.file.try_clone()?, at: start };
        Ok(match self.compressed {
            true => Box::new(flate2::read::MultiGzDecoder::new(std::io::BufReader::new(file))),
            false => Box::new(file),
        })
    }
}

/// Reads on wherever the file has grown since.
struct From {
    file: File,
    at: u64,
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
