//! Blocks of user ids: every running container has one of its own, so that root in one is nobody on the
//! host and nobody in another.
//!
//! A lease is a symbolic link `ids/<n>` to the container's id: made in one call, exclusive, readable.
//! A container that joins the user namespace of another holds its block too, as `ids/<n>+<its id>`; whoever
//! has the lease hands it over when it ends.
//!
//! Blocks lie above what systemd-nspawn picks from (below 1 879 048 192) and below 2^31, which old
//! programs take for a sign.

use std::path::{Path, PathBuf};

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
    /// There if a container that joined this one's user namespace holds the block too.
    marker: PathBuf,
    /// Whose container: for one that joined, the link's own target.
    joined: Option<String>,
}

impl Lease {
    /// Takes a free block for the container, starting to look where its id says: no two start at the same.
    pub(crate) fn take(dirs: &Dirs, id: &str) -> Result<Self, EngineError> {
        let made = |first_id, path| Self { first_id, path, marker: marker(dirs, id), joined: None };
        for (first_id, path) in candidates(dirs, id) {
            match rustix::fs::symlink(id, &path) {
                Ok(()) => return Ok(made(first_id, path)),
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => {
                    make_private(&dirs.leases())?;
                    rustix::fs::symlink(id, &path).at("symlink", &path)?;
                    return Ok(made(first_id, path));
                }
                Err(errno) => return Err(errno).at("symlink", &path),
            }
        }
        Err(EngineError::NoIds(BLOCKS))
    }

    /// The lease that a container has, if any.
    pub(crate) fn of(dirs: &Dirs, id: &str) -> Option<Self> {
        let entry = std::fs::read_dir(dirs.leases())
            .ok()?
            .flatten()
            .find(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == id))?;
        let path = entry.path();
        let name = entry.file_name().into_string().ok()?;
        let (block, joined) = match name.split_once('+') {
            None => (name.as_str(), None),
            Some((block, _)) => (block, Some(id.to_owned())),
        };
        let first_id = FIRST_ID + block.parse::<u32>().ok()? * BLOCK;
        Some(Self { first_id, path, marker: marker(dirs, id), joined })
    }

    /// A block that is free at the moment, and the link that would take it.
    pub(crate) fn look(dirs: &Dirs, id: &str) -> Result<(u32, PathBuf), EngineError> {
        candidates(dirs, id)
            .find(|(_, path)| std::fs::symlink_metadata(path).is_err())
            .ok_or(EngineError::NoIds(BLOCKS))
    }

    /// Holds the block of a container whose user namespace is joined, so that it stays leased after that
    /// container's end. The caller checks afterwards that the other still runs: then it sees the hold when
    /// it ends.
    pub(crate) fn join(dirs: &Dirs, id: &str, other: &str, first_id: u32) -> Result<Self, EngineError> {
        let path = marker(dirs, other);
        std::fs::File::create(&path).at("open", &path)?;
        let path = dirs.leases().join(format!("{}+{id}", block_of(first_id)));
        rustix::fs::symlink(id, &path).at("symlink", &path)?;
        Ok(Self { first_id, path, marker: marker(dirs, id), joined: Some(id.to_owned()) })
    }

    pub(crate) fn release(&self) {
        match &self.joined {
            Some(id) => give_back(&self.path, id),
            // Left behind it is found by its container's absence.
            None if !self.marker.exists() => drop(rustix::fs::unlink(&self.path)),
            None => hand_over(&self.path),
        }
    }
}

/// The number of the block that begins with an id.
pub(crate) fn block_of(first_id: u32) -> u32 {
    first_id.saturating_sub(FIRST_ID) / BLOCK
}

fn marker(dirs: &Dirs, id: &str) -> PathBuf {
    dirs.live(id).join("joined")
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
///
/// # Errors
/// They cannot be read: then it must be tried again.
pub(crate) fn release_of(dirs: &Dirs, id: &str) -> Result<(), EngineError> {
    let leases = dirs.leases();
    let entries = match std::fs::read_dir(&leases) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.at("opendir", &leases)?,
    };
    for entry in entries {
        let path = entry.at("readdir", &leases)?.path();
        if std::fs::read_link(&path).is_ok_and(|to| to.as_os_str() == id) {
            give_back(&path, id);
        }
    }
    Ok(())
}

/// Releases one link of a container: a hold, or the lease itself, which a hold may have become meanwhile.
fn give_back(path: &Path, id: &str) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let lease = match name.split_once('+') {
        None => path.to_owned(),
        Some(_) if rustix::fs::unlink(path) != Err(Errno::NOENT) => return,
        Some((block, _)) => path.with_file_name(block),
    };
    if std::fs::read_link(&lease).is_ok_and(|to| to.as_os_str() == id) {
        hand_over(&lease);
    }
}

/// Gives the lease to a container that holds the block too, or up if there is none.
fn hand_over(lease: &Path) {
    let own = lease.file_name().unwrap_or_default().to_string_lossy();
    loop {
        let mut entries = lease.parent().and_then(|dir| std::fs::read_dir(dir).ok()).into_iter().flatten();
        let hold = entries.find_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name();
            let of = name.to_str()?.split_once('+')?.0;
            (of == own).then(|| entry.path())
        });
        let Some(hold) = hold else {
            let _left = rustix::fs::unlink(lease);
            return;
        };
        // The hold was released in this moment: look for another.
        if rustix::fs::rename(&hold, lease) != Err(Errno::NOENT) {
            return;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_stays_leased_until_its_last_container_ends() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs { root: dir.path().join("root"), run: dir.path().join("run"), rootless: None };
        let names = ["a", "b", "c"].map(|letter| letter.repeat(64));
        names.iter().for_each(|id| make_private(&dirs.live(id)).unwrap());
        let links = || {
            let mut links: Vec<String> = std::fs::read_dir(dirs.leases())
                .unwrap()
                .map(|entry| entry.unwrap())
                .map(|entry| {
                    let name = entry.file_name().into_string().unwrap();
                    let to = std::fs::read_link(entry.path()).unwrap();
                    format!("{}{}", if name.contains('+') { "+" } else { "" }, &to.to_str().unwrap()[..1])
                })
                .collect();
            links.sort();
            links.concat()
        };
        let a = Lease::take(&dirs, &names[0]).unwrap();
        let b = Lease::join(&dirs, &names[1], &names[0], a.first_id).unwrap();
        let c = Lease::join(&dirs, &names[2], &names[1], a.first_id).unwrap();
        assert_eq!(links(), "+b+ca");
        b.release();
        assert_eq!(links(), "+ca");
        a.release();
        assert_eq!(links(), "c", "the lease is handed over");
        // Another container that starts to look at the same block gets another one.
        let other = Lease::take(&dirs, &names[0]).unwrap();
        assert_ne!(other.first_id, c.first_id);
        other.release();
        c.release();
        assert_eq!(links(), "");
        let a = Lease::take(&dirs, &names[0]).unwrap();
        let _b = Lease::join(&dirs, &names[1], &names[0], a.first_id).unwrap();
        release_of(&dirs, &names[0]).unwrap();
        assert_eq!(links(), "b");
        release_of(&dirs, &names[1]).unwrap();
        assert_eq!(links(), "");
    }
}
