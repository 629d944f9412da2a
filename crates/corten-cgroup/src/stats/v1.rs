//! Sources: cgroup-v1/cpuacct.rst, memory.rst, blkio-controller.rst, hugetlb.rst.

use std::collections::BTreeMap;
use std::path::Path;

use super::parse::{self, flat, get};
use super::{CpuStats, HugetlbStats, IoStats, MemoryStats, Throttling};
use crate::error::Result;
use crate::file;

/// cpuacct.stat counts USER_HZ, which is 100 on every architecture that we run on.
const NS_PER_TICK: u64 = 1_000_000_000 / 100;

pub(super) fn cpuacct(dir: &Path, cpu: &mut CpuStats) -> Result<()> {
    cpu.usage_ns = file::read_u64(&dir.join("cpuacct.usage"))?;
    let stat = flat(&file::read_short(&dir.join("cpuacct.stat"))?);
    cpu.user_ns = get(&stat, "user") * NS_PER_TICK;
    cpu.system_ns = get(&stat, "system") * NS_PER_TICK;
    cpu.percpu_ns = parse::numbers(&file::read(&dir.join("cpuacct.usage_percpu"))?);
    Ok(())
}

pub(super) fn throttling(dir: &Path) -> Result<Throttling> {
    let stat = flat(&file::read_short(&dir.join("cpu.stat"))?);
    Ok(Throttling {
        periods: get(&stat, "nr_periods"),
        throttled_periods: get(&stat, "nr_throttled"),
        throttled_ns: get(&stat, "throttled_time"),
        bursts: get(&stat, "nr_bursts"),
        burst_ns: get(&stat, "burst_time"),
    })
}

pub(super) fn memory(dir: &Path) -> Result<MemoryStats> {
    let number = |name: &str| file::read_u64(&dir.join(name));
    let stat = flat(&file::read(&dir.join("memory.stat"))?);
    let usage_bytes = number("memory.usage_in_bytes")?;
    let both = file::read_if_there(&dir.join("memory.memsw.usage_in_bytes"))?;
    let both_limit = file::read_if_there(&dir.join("memory.memsw.limit_in_bytes"))?;
    let swap_hits = file::read_if_there(&dir.join("memory.memsw.failcnt"))?;
    Ok(MemoryStats {
        usage_bytes,
        limit_bytes: file::read_limit(&dir.join("memory.limit_in_bytes"))?,
        max_usage_bytes: Some(number("memory.max_usage_in_bytes")?),
        // use_hierarchy is always on since 5.11; `total_` has the cgroups below too.
        rss_bytes: get(&stat, "total_rss"),
        cache_bytes: get(&stat, "total_cache"),
        inactive_file_bytes: get(&stat, "total_inactive_file"),
        swap_bytes: both.map(|_| get(&stat, "total_swap")),
        swap_limit_bytes: both_limit.and_then(|text| file::parse_limit(&text).flatten()),
        // Where both limits are the same it is that of memory and swap that is hit.
        limit_hits: number("memory.failcnt")? + swap_hits.map_or(0, |text| text.trim().parse().unwrap_or(0)),
        stat,
        pressure: None,
    })
}

/// The throttling layer counts every request; BFQ's files count only its own.
pub(super) fn io(dir: &Path) -> Result<Vec<IoStats>> {
    let mut all = Vec::new();
    for (file, bytes) in
        [("blkio.throttle.io_service_bytes_recursive", true), ("blkio.throttle.io_serviced_recursive", false)]
    {
        let text = file::read_if_there(&dir.join(file))?.unwrap_or_default();
        add(&mut all, &text, bytes);
    }
    Ok(all)
}

/// Lines of `8:0 Read 4096`.
fn add(all: &mut Vec<IoStats>, text: &str, bytes: bool) {
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(name), Some(kind), Some(Ok(n))) =
            (words.next(), words.next(), words.next().map(str::parse))
        else {
            continue;
        };
        let Some(d) = parse::device(all, name) else { continue };
        match (kind, bytes) {
            ("Read", true) => d.read_bytes = n,
            ("Write", true) => d.write_bytes = n,
            ("Discard", true) => d.discard_bytes = n,
            ("Read", false) => d.read_ops = n,
            ("Write", false) => d.write_ops = n,
            ("Discard", false) => d.discard_ops = n,
            _ => {}
        }
    }
}

pub(super) fn hugetlb(dir: &Path) -> Result<BTreeMap<String, HugetlbStats>> {
    let mut all = BTreeMap::new();
    for size in super::v2::page_sizes(dir, ".usage_in_bytes") {
        let number = |name: &str| file::read_u64(&dir.join(format!("hugetlb.{size}.{name}")));
        let stats = HugetlbStats {
            usage_bytes: number("usage_in_bytes")?,
            max_usage_bytes: Some(number("max_usage_in_bytes")?),
            limit_hits: number("failcnt")?,
        };
        all.insert(size, stats);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blkio() {
        let mut all = Vec::new();
        add(
            &mut all,
            "8:0 Read 4096\n8:0 Write 512\n8:0 Sync 1\n8:0 Total 4608\n8:16 Discard 9\nTotal 4617\n",
            true,
        );
        add(&mut all, "8:0 Read 1\n8:0 Write 2\nTotal 3\n", false);
        assert_eq!(all.len(), 2);
        let d = &all[0];
        assert_eq!((d.read_bytes, d.write_bytes, d.read_ops, d.write_ops), (4096, 512, 1, 2));
        assert_eq!(all[1].discard_bytes, 9);
    }
}
