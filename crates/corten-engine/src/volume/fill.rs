//! Filling an empty volume with what the image has at its place, as Docker does.
//!
//! ```text
//!   _data empty ──copy──▶ filling/ ──rename──▶ ready/ ──entry by entry──▶ _data
//! ```
//!
//! Killed before the rename nothing has happened; killed after it the next user finishes the move before
//! its container starts. The volume's own lock keeps two from filling it at once.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_runtime::spec::{Mount, MountSource};
use corten_sys::open::openat2;
use rustix::fs::{Dir, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags, open, openat, renameat_with};
use rustix::io::Errno;

use super::copy::{copy_attributes, copy_tree};
use super::remove_tree;
use crate::dirs::make_private;
use crate::error::{At, EngineError};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What a container would find without its volumes.
pub(crate) struct Content<'a> {
    /// The layers of its root, the uppermost first.
    pub(crate) lowers: &'a [PathBuf],
    /// Mounts that the image itself brings (`host`).
    pub(crate) mounts: &'a [Mount],
    /// A directory of the container's own, for mounts in a private namespace.
    pub(crate) scratch: &'a Path,
}

impl Content<'_> {
    /// The layers that have what is at a path, and where in them.
    pub(crate) fn layers_of<'t>(&self, target: &'t str) -> (&[PathBuf], &'t str) {
        let mut layers = self.lowers;
        let mut rest = target;
        for mount in self.mounts {
            let below =
                target.strip_prefix(&mount.target).filter(|rest| rest.is_empty() || rest.starts_with('/'));
            if let (Some(below), MountSource::Overlay(overlay)) = (below, &mount.source)
                && below.len() < rest.len()
            {
                layers = &overlay.lowers;
                rest = below;
            }
        }
        (layers, rest)
    }

    /// The directory at a path, with every link resolved inside the image; `None` if there is none.
    fn directory(&self, target: &str) -> Result<Option<OwnedFd>, EngineError> {
        let (layers, rest) = self.layers_of(target);
        let view = corten_runtime::apply::view(layers, self.scratch).map_err(|call| {
            corten_runtime::StartError::Operation { operation: "filling a volume".to_owned(), call }
        })?;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let path = rest.trim_start_matches('/');
        let path = if path.is_empty() { "." } else { path };
        match openat2(&view, path, DIRECTORY, Mode::empty(), resolve) {
            Ok(dir) => Ok(Some(dir)),
            // A file there is what the mount itself will complain of.
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(errno).at("openat2", target),
        }
    }
}

/// Finishes what was begun, and fills the volume if it is empty and `content` is given.
pub(crate) fn fill(volume: &Path, target: &str, content: Option<&Content<'_>>) -> Result<(), EngineError> {
    let lock = open(volume, DIRECTORY, Mode::empty()).at("open", volume)?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).at("flock", volume)?;
    let (data, filling, ready) = (volume.join("_data"), volume.join("filling"), volume.join("ready"));
    if ready.exists() {
        move_in(&lock, &data, &ready)?;
    }
    remove_tree(&filling)?;
    let Some(content) = content.filter(|_| is_empty(&data)) else { return Ok(()) };
    let Some(source) = content.directory(target)? else { return Ok(()) };
    make_private(&filling)?;
    let copy = open(&filling, DIRECTORY, Mode::empty()).at("open", &filling)?;
    copy_tree(&source, &copy, target)?;
    rustix::fs::syncfs(&copy).at("syncfs", &filling)?;
    rustix::fs::rename(&filling, &ready).at("rename", &ready)?;
    rustix::fs::fsync(&lock).at("fsync", volume)?;
    move_in(&lock, &data, &ready)
}

fn is_empty(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Moves what was copied into its place; what a container wrote there meanwhile stays.
fn move_in(lock: &OwnedFd, data: &Path, ready: &Path) -> Result<(), EngineError> {
    let from = open(ready, DIRECTORY, Mode::empty()).at("open", ready)?;
    // Not followed: only this engine makes `_data`, and what is in it is hostile.
    let to = openat(lock, "_data", DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).at("open", data)?;
    for entry in Dir::read_from(&from).at("readdir", ready)? {
        let entry = entry.at("readdir", ready)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match renameat_with(from.as_fd(), name, to.as_fd(), name, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).at("rename", data),
        }
    }
    copy_attributes(&from, &to, data)?;
    rustix::fs::fsync(&to).at("fsync", data)?;
    remove_tree(ready)
}
