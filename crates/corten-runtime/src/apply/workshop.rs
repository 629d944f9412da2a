//! A private mount namespace for the parent, for what can only be put together on attached mounts:
//! layers of an overlay before Linux 6.15, and trees of mounts whose ids are shifted one by one.
//!
//! The parent enters it, builds, takes the result out as a detached mount and goes back. Nothing is ever
//! mounted where the host could see it, and the namespace is gone with the last descriptor.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use corten_sys::CallError;
use corten_sys::clone::{CLONE_NEWNS, setns, unshare};
use corten_sys::error::Context;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

/// Inside of it until dropped.
pub(crate) struct Workshop {
    home: OwnedFd,
    cwd: OwnedFd,
    count: usize,
}

impl Workshop {
    /// Enters, with an empty tmpfs at `at` as the working directory. Whoever mounts, a stranger too, may
    /// walk it; nobody else is in here.
    pub(crate) fn enter(at: &Path) -> Result<Self, CallError> {
        let open = |path: &str, flags: OFlags| {
            rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).call(|| format!("open({path:?})"))
        };
        let home = open("/proc/thread-self/ns/mnt", OFlags::RDONLY)?;
        let cwd = open(".", OFlags::PATH | OFlags::DIRECTORY)?;
        unshare(CLONE_NEWNS).call(|| "unshare(CLONE_NEWNS)")?;
        let workshop = Self { home, cwd, count: 0 };
        let private = u64::from(
            (rustix::mount::MountPropagationFlags::REC | rustix::mount::MountPropagationFlags::PRIVATE)
                .bits(),
        );
        corten_sys::mount::mount(c"none", c"/", None, private, None)
            .call(|| "mount(\"/\", MS_REC|MS_PRIVATE)")?;
        let place = crate::plan::path_string(at)
            .ok_or(CallError::new(format!("mount(\"tmpfs\", {})", at.display()), rustix::io::Errno::INVAL))?;
        corten_sys::mount::mount(c"tmpfs", &place, Some(c"tmpfs"), 0, Some(c"mode=711"))
            .call(|| format!("mount(\"tmpfs\", {place:?})"))?;
        rustix::process::chdir(place.as_c_str()).call(|| format!("chdir({place:?})"))?;
        Ok(workshop)
    }

    /// Attaches a detached mount under a new name in the working directory.
    pub(crate) fn attach(&mut self, tree: BorrowedFd<'_>, directory: bool) -> Result<CString, CallError> {
        let name = self.place(directory)?;
        self.attach_at(tree, &name)?;
        Ok(name)
    }

    /// A new, empty place in the working directory.
    pub(crate) fn place(&mut self, directory: bool) -> Result<CString, CallError> {
        let name = CString::new(self.count.to_string()).unwrap_or_default();
        self.count += 1;
        if directory {
            rustix::fs::mkdir(name.as_c_str(), Mode::from_raw_mode(0o700))
        } else {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::WRONLY;
            rustix::fs::open(name.as_c_str(), flags, Mode::from_raw_mode(0o600)).map(drop)
        }
        .call(|| format!("mkdir({name:?})"))?;
        Ok(name)
    }

    /// Attaches a detached mount at a path below the working directory.
    pub(crate) fn attach_at(&self, tree: BorrowedFd<'_>, path: &CStr) -> Result<(), CallError> {
        move_mount(tree, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .call(|| format!("move_mount({path:?})"))
    }

    /// A detached copy of what is mounted at `name`.
    pub(crate) fn take(&self, name: &CStr, recursive: bool) -> Result<OwnedFd, CallError> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
        open_tree(CWD, name, flags).call(|| format!("open_tree({name:?}, OPEN_TREE_CLONE)"))
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // This was our own namespace a moment ago, and going back needs no right that entering it did not.
        // Should it fail all the same, staying inside is harmless: what follows uses descriptors.
        if setns(self.home.as_fd(), CLONE_NEWNS).is_ok() {
            let _stays_at_root = rustix::process::fchdir(&self.cwd);
        }
    }
}
