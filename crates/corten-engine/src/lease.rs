//! Blocks of user ids: every running container has one of its own, so that root in one is nobody on the
//! host and nobody in another.
//!
//! A lease is a symbolic link `ids/<n>` to the container's id: made in one call, exclusive, readable.
//! Blocks lie above what systemd-nspawn picks from (below 1 879 048 192) and below 2^31, which old
//! programs take for a sign.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::dirs::{Dirs, make_private};
use crate::error::{At, EngineError};

const FIRST_ID: u32 = 0x7000_0000;
/// Ids a block.
pub(crate) const BLOCK: u32 = 65_536;
const BLOCKS: u32 = 4094;

/// A block that is leased until it is released.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) first_id: u32,
    path: PathBuf,
}

impl Lease {
    /// Takes a free block for the container, starting to look where its id says: no two start at the same.
    pub(crate) fn take(dirs: &Dirs, id: &str) -> Result<Self, EngineError> {
        for (first_id, path) in candidates(dirs, id) {
            match rustix::fs::symlink(id, &path) {
                Ok(()) => return Ok(Self { first_id, path }),
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => {
                    make_private(&dirs.leases())?;
                    rustix::fs::symlink(id, &path).at("symlink", &path)?;
                    return Ok(Self { first_id, path });
                }
                Err(errno) => return Err(errno).at("symlink", &path),
            }
        }
        Err(EngineError::NoIds(BLOCKS))
    }

    /// A block that is free at the moment, and the link that would take it.
    pub(crate) fn look(dirs: &Dirs, id: &str) -> Result<(u32, PathBuf), EngineError> {
        candidates(dirs, id)
            .find(|(_, path)| std::fs::symlink_metadata(path).is_err())
            .ok_or(EngineError::NoIds(BLOCKS))
    }

    pub(crate) fn release(&self) {
        // Left behind it is found by its container's absence.
        let _left = rustix::fs::unlink(&self.path);
    }
}

/// The blocks that the host has not given away: their first ids, and their links.
fn candidates(dirs: &Dirs, id: &str) -> impl Iterator<Item = (u32, PathBuf)> {
    let start = u32::from_str_radix(id.get(..8).unwrap_or("0"), 16).unwrap_or(0) % BLOCKS;
    let (taken, leases) = (claimed_by_host(), dirs.leases());
    (0..BLOCKS).filter_map(move |step| {
        let block = (start + step) % BLOCKS;
        let first_id = FIRST_ID + block * BLOCK;
        let claimed =
            |&(from, count): &(u32, u32)| from < first_id + BLOCK && first_id < from.saturating_add(count);
        (!taken.iter().any(claimed)).then(|| (first_id, leases.join(block.to_string())))
    })
}

/// Releases what a container that is gone still holds.
pub(crate) fn release_of(dirs: &Dirs, id: &str) {
    let Ok(entries) = std::fs::read_dir(dirs.leases()) else { return };
    for entry in entries.flatten() {
        if std::fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == id) {
            let _gone = std::fs::remove_file(entry.path());
        }
    }
}

/// Ranges that subuid(5) and subgid(5) gave to users.
fn claimed_by_host() -> Vec<(u32, u32)> {
    let mut ranges = Vec::new();
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = crate::record::read_text(file).unwrap_or_default();
        ranges.extend(text.lines().filter_map(|line| {
            let mut fields = line.split(':').skip(1);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        }));
    }
    ranges
}
