//! What a cgroup uses: read from the kernel, in base units (nanoseconds, bytes).
//!
//! A group is `None` where the cgroup has no such controller: on v1 a container joins blkio and hugetlb
//! only if a limit of theirs was asked for.

mod parse;
mod v1;
mod v2;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::controller::Controller;
use crate::error::Result;
use crate::layout::Version;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    pub cpu: Option<CpuStats>,
    pub memory: Option<MemoryStats>,
    pub pids: Option<PidsStats>,
    pub io: Option<Vec<IoStats>>,
    /// By page size, such as `2MB`.
    pub hugetlb: Option<BTreeMap<String, HugetlbStats>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuStats {
    pub usage_ns: u64,
    pub user_ns: u64,
    pub system_ns: u64,
    /// Of each possible CPU; v1 only, else empty.
    pub percpu_ns: Vec<u64>,
    pub throttling: Throttling,
    pub pressure: Option<Pressure>,
}

/// CFS bandwidth control.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttling {
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_ns: u64,
    pub bursts: u64,
    pub burst_ns: u64,
}

/// `None` of a limit is no limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryStats {
    /// With the page cache; [`MemoryStats::working_set`] is what `docker stats` shows.
    pub usage_bytes: u64,
    pub limit_bytes: Option<u64>,
    /// `None` before memory.peak of cgroup2 (Linux 5.19).
    pub max_usage_bytes: Option<u64>,
    /// Anonymous memory.
    pub rss_bytes: u64,
    /// Page cache.
    pub cache_bytes: u64,
    /// Page cache that was not used lately.
    pub inactive_file_bytes: u64,
    /// Swap by itself; `None` if the kernel does not account it.
    pub swap_bytes: Option<u64>,
    /// Swap by itself on v2, memory and swap together on v1.
    pub swap_limit_bytes: Option<u64>,
    /// How often a limit was hit; on v1 that of memory and swap counts too.
    pub limit_hits: u64,
    /// memory.stat, whole.
    pub stat: BTreeMap<String, u64>,
    pub pressure: Option<Pressure>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidsStats {
    pub current: u64,
    pub limit: Option<u64>,
}

/// Of one block device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoStats {
    pub major: u32,
    pub minor: u32,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub discard_bytes: u64,
    pub read_ops: u64,
    pub write_ops: u64,
    pub discard_ops: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugetlbStats {
    pub usage_bytes: u64,
    /// v1 only.
    pub max_usage_bytes: Option<u64>,
    pub limit_hits: u64,
}

/// Pressure stall information (accounting/psi.rst): shares of time in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    pub some: PressureLine,
    /// The kernel has none for cpu before 5.13.
    pub full: Option<PressureLine>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PressureLine {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total_us: u64,
}

impl MemoryStats {
    /// Usage without what the kernel would drop first: Docker's and the kubelet's "usage".
    pub fn working_set(&self) -> u64 {
        self.usage_bytes.saturating_sub(self.inactive_file_bytes)
    }
}

impl Cgroup {
    /// Reads everything. A few dozen system calls: for `stats`, not for a start.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        for member in self.members() {
            let dir = &member.dir;
            let has = |c| member.controllers.contains(c);
            match member.version {
                Version::V1 => {
                    if has(Controller::Cpuacct) {
                        v1::cpuacct(dir, stats.cpu.get_or_insert_default())?;
                    }
                    if has(Controller::Cpu) {
                        stats.cpu.get_or_insert_default().throttling = v1::throttling(dir)?;
                    }
                    if has(Controller::Memory) {
                        stats.memory = Some(v1::memory(dir)?);
                    }
                    if has(Controller::Io) {
                        stats.io = Some(v1::io(dir)?);
                    }
                    if has(Controller::Hugetlb) {
                        stats.hugetlb = Some(v1::hugetlb(dir)?);
                    }
                }
                Version::V2 => {
                    // Every cgroup has cpu.stat; on a hybrid host v1's is the one with limits.
                    if stats.cpu.is_none() {
                        stats.cpu = v2::cpu(dir)?;
                    }
                    if has(Controller::Memory) {
                        stats.memory = v2::memory(dir)?;
                    }
                    if has(Controller::Io) {
                        stats.io = v2::io(dir)?;
                    }
                    if has(Controller::Hugetlb) {
                        stats.hugetlb = v2::hugetlb(dir)?;
                    }
                }
            }
            if has(Controller::Pids) {
                stats.pids = v2::pids(dir)?;
            }
        }
        Ok(stats)
    }
}
