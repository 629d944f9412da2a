//! Control files: one open, one read or write, one close.
//!
//! A path from the root costs the kernel under a microsecond; a descriptor of the directory would cost
//! two system calls more for every hierarchy of v1, where most have one file written in their life.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::error::{Call, Error, Result};

pub(crate) fn open_read(path: &Path) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
}

pub(crate) fn open_write(path: &Path) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()))
}

/// Reads to the end.
pub(crate) fn read(path: &Path) -> Result<String> {
    let fd = open_read(path).map_err(|e| Call::Open(path.to_owned()).failed(e))?;
    let mut bytes = Vec::new();
    let mut room = [0; 16384];
    loop {
        match retry_on_intr(|| rustix::io::read(&fd, &mut room)) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&room[..n]),
            Err(e) => return Err(Call::Read(path.to_owned()).failed(e)),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// As [`read`], and `None` where the file does not exist.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<String>> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(Error::Call { errno: Errno::NOENT, .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Reads a file that the kernel gives in one piece (below one page): no second read to see the end.
pub(crate) fn read_short(path: &Path) -> Result<String> {
    let fd = open_read(path).map_err(|e| Call::Open(path.to_owned()).failed(e))?;
    reread(fd.as_fd(), path)
}

/// Reads an open short file from its start; this also arms the next POLLPRI of kernfs.
pub(crate) fn reread(fd: impl AsFd, path: &Path) -> Result<String> {
    let mut room = [0; 4096];
    let n = retry_on_intr(|| rustix::io::pread(&fd, &mut room, 0))
        .map_err(|e| Call::Read(path.to_owned()).failed(e))?;
    Ok(String::from_utf8_lossy(&room[..n]).into_owned())
}

/// One number, `max` and v1's page-rounded `LONG_MAX` being `None`.
pub(crate) fn read_limit(path: &Path) -> Result<Option<u64>> {
    let text = read_short(path)?;
    parse_limit(&text).ok_or_else(|| Error::Format { path: path.to_owned(), text })
}

pub(crate) fn read_u64(path: &Path) -> Result<u64> {
    let text = read_short(path)?;
    text.trim().parse().map_err(|_| Error::Format { path: path.to_owned(), text })
}

/// The outer `None` is a fault, the inner one no limit.
pub(crate) fn parse_limit(text: &str) -> Option<Option<u64>> {
    // memcg v1 prints PAGE_COUNTER_MAX * PAGE_SIZE: LONG_MAX less a part of a page (64 KiB at most).
    const V1_UNLIMITED: u64 = i64::MAX as u64 & !0xffff;
    match text.trim() {
        "max" | "-1" => Some(None),
        number => number.parse().ok().map(|n| (n < V1_UNLIMITED).then_some(n)),
    }
}

pub(crate) fn write(path: &Path, value: &str) -> Result<()> {
    let fd = open_write(path).map_err(|e| Call::OpenWrite(path.to_owned()).failed(e))?;
    write_to(&fd, path, value)
}

/// Control files take a value whole or not at all.
pub(crate) fn write_to(fd: impl AsFd, path: &Path, value: &str) -> Result<()> {
    retry_on_intr(|| rustix::io::write(&fd, value.as_bytes()))
        .map(drop)
        .map_err(|e| Call::Write(path.to_owned(), value.to_owned()).failed(e))
}

/// The directories in `dir`: a cgroup's children. `None` where `dir` does not exist.
pub(crate) fn children(dir: &Path) -> Result<Option<Vec<PathBuf>>> {
    // kernfs counts a directory's directories in its links: most have none, and one stat is cheaper than
    // a listing (fs/kernfs/inode.c, kernfs_refresh_inode).
    let entries = std::fs::metadata(dir).and_then(|meta| match meta.nlink() {
        2 => Ok(None),
        _ => std::fs::read_dir(dir).map(Some),
    });
    let entries = match entries {
        Ok(Some(entries)) => entries,
        Ok(None) => return Ok(Some(Vec::new())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Call::Open(dir.to_owned()).failed(errno(&e))),
    };
    let mut found = Vec::new();
    for entry in entries {
        // A cgroup that vanishes under the listing is no error.
        let entry = match entry {
            Ok(entry) => entry,
            Err(e) if matches!(errno(&e), Errno::NOENT | Errno::NODEV) => break,
            Err(e) => return Err(Call::Getdents(dir.to_owned()).failed(errno(&e))),
        };
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(Some(found))
}

/// `dir` and every cgroup below it, parents first.
pub(crate) fn subtree(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut all = vec![dir.to_owned()];
    let mut next = 0;
    while next < all.len() {
        let below = children(&all[next])?.unwrap_or_default();
        all.extend(below);
        next += 1;
    }
    Ok(all)
}

/// The processes in `dir` itself, none where it is gone. A threaded cgroup of v2 gives its threads.
pub(crate) fn procs(dir: &Path) -> Result<Vec<i32>> {
    let path = dir.join("cgroup.procs");
    let text = match read(&path) {
        Ok(text) => text,
        Err(Error::Call { errno: Errno::NOENT | Errno::NODEV, .. }) => return Ok(Vec::new()),
        Err(Error::Call { errno: Errno::OPNOTSUPP, .. }) => read(&dir.join("cgroup.threads"))?,
        Err(e) => return Err(e),
    };
    text.lines()
        .map(|l| l.parse().map_err(|_| Error::Format { path: path.clone(), text: l.to_owned() }))
        .collect()
}

/// As [`procs`], of `dir` and all below it.
pub(crate) fn procs_below(dir: &Path) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    for dir in subtree(dir)? {
        pids.extend(procs(&dir)?);
    }
    Ok(pids)
}

fn errno(e: &std::io::Error) -> Errno {
    Errno::from_io_error(e).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        assert_eq!(parse_limit("max\n"), Some(None));
        assert_eq!(parse_limit("9223372036854771712\n"), Some(None));
        assert_eq!(parse_limit("536870912\n"), Some(Some(536870912)));
        assert_eq!(parse_limit("lots"), None);
    }
}
