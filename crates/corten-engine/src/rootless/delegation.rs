//! A subtree of cgroup2 that is the user's: systemd delegates one to each user's own service manager.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use corten_cgroup::{CgroupPath, Kind, Layout};
use rustix::fs::{Access, access};

/// The cgroup below which the user can make others and move this process there: the nearest one above it
/// that is the user's and has no process itself, since one that has cannot hand controllers down
/// (cgroups(7), "no internal processes").
pub(crate) fn delegated_parent(layout: &Layout) -> Option<CgroupPath> {
    let unified = layout.unified.as_ref().filter(|_| layout.kind == Kind::V2)?;
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut at = CgroupPath::new(own).ok();
    while let Some(path) = at {
        if is_ours(&path.below(&unified.mount)) {
            return Some(path);
        }
        at = path.parent();
    }
    None
}

fn is_ours(dir: &Path) -> bool {
    let me = rustix::process::geteuid().as_raw();
    let writable = |name: &str| access(dir.join(name), Access::WRITE_OK).is_ok();
    // Who owns it, and not only what this process may: root of a user namespace may nothing more here.
    dir.metadata().is_ok_and(|stat| stat.uid() == me)
        && writable("cgroup.procs")
        && writable("cgroup.subtree_control")
        && std::fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|procs| procs.is_empty())
}
