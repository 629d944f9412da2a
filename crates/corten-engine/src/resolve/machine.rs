//! Limits that this machine cannot give, refused in Docker's words.

use std::collections::BTreeSet;

use corten_cgroup::{Controller, Layout, Version};

use crate::config::Resources;
use crate::config::resources::{ResourcesError, cpu_list};
use crate::error::EngineError;

/// The least of `--cpus`: below it the quota would be under the kernel's 1 ms.
const LEAST_NANO_CPUS: i64 = 10_000_000;

pub(crate) fn check(wanted: &Resources) -> Result<(), EngineError> {
    if let Some(nanos) = wanted.nano_cpus.filter(|nanos| *nanos != 0) {
        let mask = rustix::thread::sched_getaffinity(None);
        let count = mask.map_or(0, |mask| i64::from(mask.count()));
        if nanos < LEAST_NANO_CPUS || (count > 0 && nanos > count * 1_000_000_000) {
            return Err(ResourcesError::CpuRange(count).into());
        }
    }
    for (what, file, wanted) in
        [("CPUs", "cpuset.cpus", &wanted.cpuset_cpus), ("memory nodes", "cpuset.mems", &wanted.cpuset_mems)]
    {
        let Some(asked) = wanted.as_deref().filter(|list| !list.is_empty()) else { continue };
        // Without the controller, or without its file, the making of the cgroup says so.
        let Some(available) = available(file)? else { continue };
        if !numbers(asked).is_subset(&numbers(&available)) {
            return Err(ResourcesError::NotAvailable { what, asked: asked.to_owned(), available }.into());
        }
    }
    Ok(())
}

/// What the root of the hierarchy has.
fn available(file: &str) -> Result<Option<String>, EngineError> {
    let layout = Layout::detect()?;
    let Some(hierarchy) = layout.hierarchy(Controller::Cpuset) else { return Ok(None) };
    let path = match hierarchy.version {
        Version::V1 => hierarchy.mount.join(file),
        Version::V2 => hierarchy.mount.join(format!("{file}.effective")),
    };
    Ok(std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
}

fn numbers(list: &str) -> BTreeSet<u16> {
    cpu_list(list).into_iter().flatten().flatten().collect()
}
