//! Source: cgroup-v2.rst. A group is `None` where its controller was not handed down to the cgroup.

use std::collections::BTreeMap;
use std::path::Path;

use rustix::io::Errno;

use super::parse::{self, flat, get};
use super::{CpuStats, HugetlbStats, IoStats, MemoryStats, PidsStats, Pressure, Throttling};
use crate::error::Result;
use crate::file;

pub(super) fn cpu(dir: &Path) -> Result<Option<CpuStats>> {
    let Some(text) = file::read_if_there(&dir.join("cpu.stat"))? else { return Ok(None) };
    let stat = flat(&text);
    let ns = |key: &str| get(&stat, key) * 1000;
    Ok(Some(CpuStats {
        usage_ns: ns("usage_usec"),
        user_ns: ns("user_usec"),
        system_ns: ns("system_usec"),
        percpu_ns: Vec::new(),
        throttling: Throttling {
            periods: get(&stat, "nr_periods"),
            throttled_periods: get(&stat, "nr_throttled"),
            throttled_ns: ns("throttled_usec"),
            bursts: get(&stat, "nr_bursts"),
            burst_ns: ns("burst_usec"),
        },
        pressure: pressure(dir, "cpu.pressure")?,
    }))
}

pub(super) fn memory(dir: &Path) -> Result<Option<MemoryStats>> {
    let Some(usage) = number(dir, "memory.current")? else { return Ok(None) };
    let stat = flat(&file::read(&dir.join("memory.stat"))?);
    let swap_max = file::read_if_there(&dir.join("memory.swap.max"))?;
    let events = flat(&file::read_short(&dir.join("memory.events"))?);
    Ok(Some(MemoryStats {
        usage_bytes: usage,
        limit_bytes: file::read_limit(&dir.join("memory.max"))?,
        max_usage_bytes: number(dir, "memory.peak")?,
        rss_bytes: get(&stat, "anon"),
        cache_bytes: get(&stat, "file"),
        inactive_file_bytes: get(&stat, "inactive_file"),
        swap_bytes: number(dir, "memory.swap.current")?,
        swap_limit_bytes: swap_max.and_then(|text| file::parse_limit(&text).flatten()),
        limit_hits: get(&events, "max"),
        stat,
        pressure: pressure(dir, "memory.pressure")?,
    }))
}

/// The files are the same on v1.
pub(super) fn pids(dir: &Path) -> Result<Option<PidsStats>> {
    let Some(current) = number(dir, "pids.current")? else { return Ok(None) };
    Ok(Some(PidsStats { current, limit: file::read_limit(&dir.join("pids.max"))? }))
}

pub(super) fn io(dir: &Path) -> Result<Option<Vec<IoStats>>> {
    Ok(file::read_if_there(&dir.join("io.stat"))?.map(|text| io_stat(&text)))
}

/// Lines of `8:0 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0`.
fn io_stat(text: &str) -> Vec<IoStats> {
    let mut all = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some(d) = words.next().and_then(|name| parse::device(&mut all, name)) else { continue };
        for (key, value) in words.filter_map(|pair| pair.split_once('=')) {
            let Ok(n) = value.parse() else { continue };
            match key {
                "rbytes" => d.read_bytes = n,
                "wbytes" => d.write_bytes = n,
                "dbytes" => d.discard_bytes = n,
                "rios" => d.read_ops = n,
                "wios" => d.write_ops = n,
                "dios" => d.discard_ops = n,
                _ => {}
            }
        }
    }
    all
}

pub(super) fn hugetlb(dir: &Path) -> Result<Option<BTreeMap<String, HugetlbStats>>> {
    let mut all = BTreeMap::new();
    for size in page_sizes(dir, ".current") {
        let Some(usage_bytes) = number(dir, &format!("hugetlb.{size}.current"))? else { continue };
        let events = file::read_if_there(&dir.join(format!("hugetlb.{size}.events")))?.unwrap_or_default();
        let limit_hits = get(&flat(&events), "max");
        all.insert(size, HugetlbStats { usage_bytes, max_usage_bytes: None, limit_hits });
    }
    Ok((!all.is_empty()).then_some(all))
}

/// `2MB` of each file `hugetlb.2MB` and `suffix`.
pub(super) fn page_sizes(dir: &Path, suffix: &str) -> Vec<String> {
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.file_name());
    let size = |name: std::ffi::OsString| {
        let size = name.to_str()?.strip_prefix("hugetlb.")?.strip_suffix(suffix)?;
        (!size.contains('.')).then(|| size.to_owned())
    };
    names.filter_map(size).collect()
}

fn number(dir: &Path, name: &str) -> Result<Option<u64>> {
    let path = dir.join(name);
    match file::read_u64(&path) {
        Err(e) if e.errno() == Some(Errno::NOENT) => Ok(None),
        other => other.map(Some),
    }
}

/// `None` where PSI is not built in, or off (EOPNOTSUPP at open).
fn pressure(dir: &Path, name: &str) -> Result<Option<Pressure>> {
    match file::read_short(&dir.join(name)) {
        Ok(text) => Ok(parse::pressure(&text)),
        Err(e) if matches!(e.errno(), Some(Errno::NOENT | Errno::OPNOTSUPP)) => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_of_two_devices() {
        let all =
            io_stat("8:16 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:0 rbytes=90 foo=x\n254:0 \n");
        assert_eq!((all[0].read_bytes, all[0].write_ops, all[1].read_bytes), (10, 2, 90));
    }
}
