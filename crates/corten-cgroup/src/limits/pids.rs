//! Source: cgroup-v1/pids.rst; the file is the same on v2.

use super::{Setting, or_max};
use crate::resources::Resources;

pub(super) fn both(resources: &Resources) -> Vec<Setting> {
    let limit = resources.pids.as_ref().and_then(|p| p.limit);
    // A limit of none lets the first process in and never fork, which is a limit of one. systemd cannot
    // say 0, so runc (opencontainers/cgroups fs/pids.go) writes 1, and both drivers agree.
    limit
        .map(|l| Setting::new("pids.max", if l == 0 { "1".to_owned() } else { or_max(l) }))
        .into_iter()
        .collect()
}
