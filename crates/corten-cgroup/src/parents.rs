//! The cgroups above a container's own: made where they are missing, and gone with the last that is below.
//!
//! What was made here is told by an extended attribute from what somebody else made, perhaps to set limits in it,
//! which stays. It can be removed between the making of a parent and that of a child: who makes the child finds
//! it missing and makes it again.

use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;

use crate::cgroup::Cgroup;
use crate::error::Result;
use crate::layout::Layout;
use crate::path::CgroupPath;

/// Only root of the host's user namespace reads and writes attributes of this kind: nobody else makes parents.
const MARK: &str = "trusted.corten.made";

/// Remembers that this directory was made for what is below it. Without that it stays, which is no harm.
pub(crate) fn mark(dir: &Path) {
    let _unmarked = rustix::fs::setxattr(dir, MARK, b"1", XattrFlags::empty());
}

impl Cgroup {
    /// As [`Cgroup::remove`], and then the parents that were made for containers and are empty.
    pub fn remove_with_parents(self) -> Result<()> {
        let path = self.path().clone();
        let mounts: Vec<PathBuf> = self.members().iter().map(|member| member.mount.clone()).collect();
        self.remove()?;
        mounts.iter().for_each(|mount| remove_above(mount, &path));
        Ok(())
    }
}

/// The same for one whose cgroup is gone.
pub fn remove_parents(layout: &Layout, path: &CgroupPath) {
    layout.hierarchies().for_each(|hierarchy| remove_above(&hierarchy.mount, path));
}

/// From the nearest upwards, until one is in use or somebody else's.
pub(crate) fn remove_above(mount: &Path, path: &CgroupPath) {
    let mut above = path.parent();
    while let Some(path) = above {
        let dir = path.below(mount);
        let ours = rustix::fs::getxattr(&dir, MARK, &mut [0u8; 8]).is_ok();
        if !ours || rustix::fs::rmdir(&dir).is_err() {
            return;
        }
        above = path.parent();
    }
}
