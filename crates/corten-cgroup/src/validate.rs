//! Refuses values that the kernel would refuse with a bare EINVAL, or would quietly change.

use crate::error::{Error, Result};
use crate::resources::{BlockIo, Cpu, Memory, Resources, given};

/// The smallest page of every architecture: the kernel rounds a limit down to pages, so to zero.
const PAGE: i64 = 4096;
/// kernel/sched/core.c: min_cfs_quota_period, max_cfs_quota_period and min_bw, in microseconds.
const PERIOD_US: std::ops::RangeInclusive<u64> = 1_000..=1_000_000;
const MIN_QUOTA_US: i64 = 1_000;
const WEIGHT: std::ops::RangeInclusive<u16> = 10..=1000;

impl Resources {
    /// Checks each value by itself and against its siblings, without a look at the host.
    pub fn validate(&self) -> Result<()> {
        if let Some(memory) = &self.memory {
            check_memory(memory)?;
        }
        if let Some(cpu) = &self.cpu {
            check_cpu(cpu)?;
        }
        if let Some(io) = &self.block_io {
            check_block_io(io)?;
        }
        for h in &self.hugepage_limits {
            let digits = h.page_size.trim_end_matches(['K', 'M', 'G', 'B']);
            let unit = &h.page_size[digits.len()..];
            let number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            if !number || !matches!(unit, "KB" | "MB" | "GB") {
                return Err(invalid(
                    "hugepageLimits.pageSize",
                    &h.page_size,
                    "must look like 64KB, 2MB or 1GB",
                ));
            }
        }
        for p in self.network.iter().flat_map(|n| &n.priorities) {
            if !is_word(&p.name) || p.name.len() > 15 {
                return Err(invalid("network.priorities.name", &p.name, "is no interface name"));
            }
        }
        for device in self.rdma.keys() {
            if !is_word(device) {
                return Err(invalid("rdma", device, "is no device name"));
            }
        }
        for file in self.unified.keys() {
            // Only a file of this very cgroup: CVE class of runc#2960, `../` in a unified key.
            if !is_word(file) || !file.contains('.') || file.starts_with('.') {
                return Err(invalid(
                    "unified",
                    file,
                    "must be the name of a cgroup file such as memory.high",
                ));
            }
        }
        Ok(())
    }
}

fn check_memory(m: &Memory) -> Result<()> {
    for (field, value) in [("memory.limit", m.limit), ("memory.reservation", m.reservation)] {
        if let Some(bytes) = given(value).filter(|b| (1..PAGE).contains(b)) {
            return Err(invalid(field, bytes, "is below one page (4096 bytes)"));
        }
    }
    if let (Some(swap), Some(limit)) = (given(m.swap), given(m.limit)) {
        if swap > 0 && limit > swap {
            let why = format!("is memory and swap together, so it must not be below memory.limit ({limit})");
            return Err(invalid("memory.swap", swap, why));
        }
        if swap > 0 && limit < 0 {
            return Err(invalid("memory.swap", swap, "cannot be limited while memory.limit is unlimited"));
        }
    }
    match m.swappiness {
        Some(s) if s > 100 => Err(invalid("memory.swappiness", s, "must be 0 to 100")),
        _ => Ok(()),
    }
}

fn check_cpu(c: &Cpu) -> Result<()> {
    for (field, period) in [("cpu.period", c.period()), ("cpu.realtimePeriod", c.realtime_period())] {
        // The real-time period has no upper bound of its own.
        if let Some(p) =
            period.filter(|p| p < PERIOD_US.start() || field == "cpu.period" && p > PERIOD_US.end())
        {
            return Err(invalid(field, p, "must be 1000 to 1000000 microseconds"));
        }
    }
    if let Some(quota) = c.quota().filter(|q| (1..MIN_QUOTA_US).contains(q)) {
        return Err(invalid("cpu.quota", quota, "must be at least 1000 microseconds, or negative for none"));
    }
    if let (Some(burst), Some(quota)) = (c.burst, c.quota())
        && quota > 0
        && burst > quota as u64
    {
        return Err(invalid("cpu.burst", burst, format!("must not be above cpu.quota ({quota})")));
    }
    if let Some(idle) = c.idle.filter(|i| !(0..=1).contains(i)) {
        return Err(invalid("cpu.idle", idle, "must be 0 or 1"));
    }
    for (field, list) in [("cpu.cpus", c.cpus()), ("cpu.mems", c.mems())] {
        if let Some(list) = list.filter(|l| !is_list(l)) {
            return Err(invalid(field, list, "must be a list such as 0-3,7"));
        }
    }
    Ok(())
}

fn check_block_io(b: &BlockIo) -> Result<()> {
    if b.leaf_weight.is_some() || b.weight_device.iter().any(|d| d.leaf_weight.is_some()) {
        return Err(Error::Unsupported {
            field: "blockIO.leafWeight",
            why: "the CFQ scheduler, which alone had it, was removed in Linux 5.0",
        });
    }
    let weights = b.weight_device.iter().map(|d| ("blockIO.weightDevice", d.weight));
    for (field, weight) in weights.chain([("blockIO.weight", b.weight)]) {
        // Zero takes the setting of a device back.
        if let Some(w) = weight.filter(|w| *w != 0 && !WEIGHT.contains(w)) {
            return Err(invalid(field, w, "must be 10 to 1000"));
        }
    }
    Ok(())
}

/// `0-3,7`, as cpuset(7) "List format" has it, without strides.
fn is_list(text: &str) -> bool {
    text.split(',').all(|range| {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        matches!((low.trim().parse::<u32>(), high.trim().parse::<u32>()), (Ok(l), Ok(h)) if l <= h)
    })
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/')
}

pub(crate) fn invalid(field: &str, value: impl ToString, why: impl Into<String>) -> Error {
    Error::Invalid { field: field.to_owned(), value: value.to_string(), why: why.into() }
}

#[cfg(test)]
mod tests {
    use crate::resources::*;

    fn memory(m: Memory) -> Resources {
        Resources { memory: Some(m), ..Resources::default() }
    }

    fn cpu(c: Cpu) -> Resources {
        Resources { cpu: Some(c), ..Resources::default() }
    }

    #[test]
    fn what_is_refused_names_field_and_value() {
        let io = |b| Resources { block_io: Some(b), ..Resources::default() };
        let unified =
            |k: &str| Resources { unified: [(k.into(), "1".into())].into(), ..Resources::default() };
        let table: Vec<(Resources, &str)> = vec![
            (
                memory(Memory { limit: Some(100), ..Memory::default() }),
                "memory.limit: 100: is below one page",
            ),
            (
                memory(Memory { limit: Some(8192), swap: Some(4096), ..Memory::default() }),
                "memory.swap: 4096: is memory and swap together",
            ),
            (
                memory(Memory { limit: Some(-1), swap: Some(4096), ..Memory::default() }),
                "memory.swap: 4096: cannot be limited",
            ),
            (memory(Memory { swappiness: Some(101), ..Memory::default() }), "memory.swappiness: 101"),
            (cpu(Cpu { period: Some(999), ..Cpu::default() }), "cpu.period: 999"),
            (cpu(Cpu { period: Some(1_000_001), ..Cpu::default() }), "cpu.period: 1000001"),
            (cpu(Cpu { quota: Some(999), ..Cpu::default() }), "cpu.quota: 999"),
            (cpu(Cpu { quota: Some(5000), burst: Some(5001), ..Cpu::default() }), "cpu.burst: 5001"),
            (cpu(Cpu { idle: Some(2), ..Cpu::default() }), "cpu.idle: 2"),
            (cpu(Cpu { cpus: Some("0-".into()), ..Cpu::default() }), "cpu.cpus: 0-"),
            (cpu(Cpu { mems: Some("3-1".into()), ..Cpu::default() }), "cpu.mems: 3-1"),
            (io(BlockIo { weight: Some(9), ..BlockIo::default() }), "blockIO.weight: 9"),
            (io(BlockIo { leaf_weight: Some(10), ..BlockIo::default() }), "blockIO.leafWeight cannot be set"),
            (unified("../memory.max"), "unified: ../memory.max"),
            (unified("..memory.max"), "unified: ..memory.max"),
            (unified("tasks"), "unified: tasks"),
        ];
        for (resources, expected) in table {
            let message = resources.validate().unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message:?} for {expected:?}");
        }
        let pages = |s: &str| Resources {
            hugepage_limits: vec![HugepageLimit { page_size: s.into(), limit: 1 }],
            ..Resources::default()
        };
        assert!(pages("2MB").validate().is_ok());
        for bad in ["", "MB", "2", "2TB", "2MB/..", "../2MB", "2MBMB"] {
            assert!(pages(bad).validate().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_taken() {
        let ok = [
            Resources::default(),
            memory(Memory { limit: Some(1 << 29), swap: Some(1 << 29), ..Memory::default() }),
            memory(Memory { limit: Some(1 << 29), swap: Some(-1), ..Memory::default() }),
            cpu(Cpu { quota: Some(-1), period: Some(100_000), cpus: Some("0-3,7".into()), ..Cpu::default() }),
            cpu(Cpu { realtime_period: Some(2_000_000), ..Cpu::default() }),
        ];
        assert!(ok.iter().all(|r| r.validate().is_ok()));
    }
}
