//! Sources: cgroup-v1/net_cls.rst, net_prio.rst. v1 only: on cgroup2 nftables matches the cgroup itself.

use super::Setting;
use crate::resources::Resources;

pub(super) fn classid(resources: &Resources) -> Vec<Setting> {
    let id = resources.network.as_ref().and_then(|n| n.class_id);
    id.map(|id| Setting::new("net_cls.classid", id)).into_iter().collect()
}

pub(super) fn priorities(resources: &Resources) -> Vec<Setting> {
    let all = resources.network.iter().flat_map(|n| &n.priorities);
    let lines: Vec<_> = all.map(|p| format!("{} {}", p.name, p.priority)).collect();
    if lines.is_empty() { Vec::new() } else { vec![Setting::lines("net_prio.ifpriomap", lines)] }
}
