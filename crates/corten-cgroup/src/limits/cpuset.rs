//! Sources: cgroup-v1/cpusets.rst, cgroup-v2.rst "Cpuset Interface Files". The files have the same
//! names; on v1 they must be filled before a process can be attached, which is the plan's affair.

use super::Setting;
use crate::resources::Resources;

pub(super) fn both(resources: &Resources) -> Vec<Setting> {
    let cpu = resources.cpu.as_ref();
    let cpus = cpu.and_then(|c| c.cpus()).map(|list| Setting::new("cpuset.cpus", list));
    let mems = cpu.and_then(|c| c.mems()).map(|list| Setting::new("cpuset.mems", list));
    cpus.into_iter().chain(mems).collect()
}
