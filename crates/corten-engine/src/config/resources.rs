//! What the container may use of the machine: the numbers of `--memory`, `--cpus`, `--pids-limit` ….

use serde::{Deserialize, Serialize};

use super::blkio::Blkio;
use super::device::{Device, DeviceCgroupRule};
use super::ulimit::Ulimit;

/// Absent is "not said". Sizes are bytes, times microseconds; -1 is "no limit" where Docker has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    pub memory_bytes: Option<i64>,
    pub memory_reservation_bytes: Option<i64>,
    /// Memory and swap together; -1: unlimited swap.
    pub memory_swap_bytes: Option<i64>,
    /// 0 to 100; -1: the kernel's default.
    pub memory_swappiness: Option<i64>,
    pub oom_kill_disable: bool,
    pub oom_score_adj: Option<i32>,
    pub nano_cpus: Option<i64>,
    pub cpu_shares: Option<u64>,
    pub cpu_period_us: Option<i64>,
    pub cpu_quota_us: Option<i64>,
    pub cpu_rt_period_us: Option<i64>,
    pub cpu_rt_runtime_us: Option<i64>,
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    pub pids_limit: Option<i64>,
    pub blkio: Blkio,
    pub devices: Vec<Device>,
    pub device_cgroup_rules: Vec<DeviceCgroupRule>,
    pub ulimits: Vec<Ulimit>,
    pub cgroup_parent: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourcesError {
    #[error("Minimum memory limit allowed is 6MB")]
    MemoryTooSmall,
    #[error("Minimum memoryswap limit should be larger than memory limit, see usage")]
    SwapBelowMemory,
    #[error("You should always set the Memory limit when using Memoryswap limit, see usage")]
    SwapWithoutMemory,
    #[error("Minimum memory limit can not be less than memory reservation limit, see usage")]
    MemoryBelowReservation,
    #[error("Invalid value: {0}, valid memory swappiness range is 0-100")]
    Swappiness(i64),
    #[error("Conflicting options: CPU {0} cannot be updated as NanoCPUs has already been set")]
    CpuConflict(&'static str),
    #[error("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")]
    CpuPeriod,
    #[error("CPU cfs quota can not be less than 1ms (i.e. 1000)")]
    CpuQuota,
    #[error("Range of CPUs is from 0.01 to {0}.00, as there are only {0} CPUs available")]
    CpuRange(i64),
    #[error("Requested {what} are not available - requested {asked}, available: {available}")]
    NotAvailable { what: &'static str, asked: String, available: String },
    #[error("Invalid value {value} for cpuset {which}")]
    Cpuset { which: &'static str, value: String },
    #[error("Invalid value {0}, range for oom score adj is [-1000, 1000]")]
    OomScoreAdj(i32),
    #[error("--pids-limit {0}: the most that the kernel counts is {MOST_PIDS}; -1 is no limit")]
    PidsLimit(i64),
}

/// include/linux/threads.h: `PID_MAX_LIMIT`, of 64 bits.
const MOST_PIDS: i64 = 4 << 20;

impl Resources {
    /// What the numbers must hold among each other, in Docker's words; the host is not asked.
    pub fn check(&self) -> Result<(), ResourcesError> {
        let positive = |value: Option<i64>| value.filter(|v| *v > 0);
        let memory = positive(self.memory_bytes);
        if memory.is_some_and(|memory| memory < 6 << 20) {
            return Err(ResourcesError::MemoryTooSmall);
        }
        if let Some(swap) = positive(self.memory_swap_bytes) {
            match memory {
                None => return Err(ResourcesError::SwapWithoutMemory),
                Some(memory) if swap < memory => return Err(ResourcesError::SwapBelowMemory),
                Some(_) => {}
            }
        }
        if let (Some(memory), Some(reservation)) = (memory, positive(self.memory_reservation_bytes))
            && memory < reservation
        {
            return Err(ResourcesError::MemoryBelowReservation);
        }
        if let Some(swappiness) = self.memory_swappiness.filter(|s| !(-1..=100).contains(s)) {
            return Err(ResourcesError::Swappiness(swappiness));
        }
        if let Some(adj) = self.oom_score_adj.filter(|adj| !(-1000..=1000).contains(adj)) {
            return Err(ResourcesError::OomScoreAdj(adj));
        }
        if let Some(limit) = self.pids_limit.filter(|limit| *limit > MOST_PIDS) {
            return Err(ResourcesError::PidsLimit(limit));
        }
        self.check_cpu()
    }

    fn check_cpu(&self) -> Result<(), ResourcesError> {
        let said = |value: Option<i64>| value.is_some_and(|v| v != 0);
        if said(self.nano_cpus) {
            for (name, value) in [("Period", self.cpu_period_us), ("Quota", self.cpu_quota_us)] {
                if said(value) {
                    return Err(ResourcesError::CpuConflict(name));
                }
            }
        }
        if self.cpu_period_us.is_some_and(|us| us != 0 && !(1_000..=1_000_000).contains(&us)) {
            return Err(ResourcesError::CpuPeriod);
        }
        if self.cpu_quota_us.is_some_and(|us| us > 0 && us < 1_000) {
            return Err(ResourcesError::CpuQuota);
        }
        for (which, value) in [("cpus", &self.cpuset_cpus), ("mems", &self.cpuset_mems)] {
            if let Some(value) = value.as_deref().filter(|value| cpu_list(value).is_none()) {
                return Err(ResourcesError::Cpuset { which, value: value.to_owned() });
            }
        }
        Ok(())
    }
}

/// `0-2,7`, as cpuset(7) writes lists; an empty one has nothing.
pub(crate) fn cpu_list(text: &str) -> Option<Vec<std::ops::RangeInclusive<u16>>> {
    let number = |text: &str| -> Option<u16> {
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    };
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        (first <= last).then_some(first..=last)
    };
    if text.is_empty() { Some(Vec::new()) } else { text.split(',').map(range).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Resources)) -> String {
        let mut resources = Resources::default();
        change(&mut resources);
        resources.check().map_or_else(|e| e.to_string(), |()| String::new())
    }

    #[test]
    fn together() {
        assert_eq!(check(|_| ()), "");
        assert_eq!(check(|r| r.memory_bytes = Some(4 << 20)), "Minimum memory limit allowed is 6MB");
        assert!(check(|r| r.memory_swap_bytes = Some(1 << 30)).starts_with("You should always set"));
        assert_eq!(check(|r| r.memory_swap_bytes = Some(-1)), "");
        let swap = |r: &mut Resources| {
            r.memory_bytes = Some(1 << 30);
            r.memory_swap_bytes = Some(1 << 20);
        };
        assert!(check(swap).contains("larger than memory limit"));
        let cpu = |r: &mut Resources| {
            r.nano_cpus = Some(1);
            r.cpu_quota_us = Some(1);
        };
        assert!(check(cpu).contains("CPU Quota cannot be updated"));
        assert!(check(|r| r.cpu_period_us = Some(1)).contains("cfs period"));
        assert!(check(|r| r.cpuset_cpus = Some("1-0".into())).contains("cpuset cpus"));
        assert_eq!(check(|r| r.cpuset_cpus = Some("0-2,7".into())), "");
        assert!(check(|r| r.oom_score_adj = Some(1001)).contains("1001"));
        assert_eq!(check(|r| r.pids_limit = Some(4_194_304)), "");
        assert!(check(|r| r.pids_limit = Some(4_194_305)).contains("--pids-limit 4194305"));
        assert!(check(|r| r.memory_swappiness = Some(101)).contains("101"));
    }
}
