//! `stats`: what a container uses now, from its cgroup and its network namespace.

use rustix::io::Errno;

use crate::container::{self, Container};
use crate::error::EngineError;
use crate::record;

/// What one container uses. `None`: it has no cgroup with that controller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// All time on all CPUs, since it was started.
    pub cpu_ns: Option<u64>,
    /// Without what the kernel would drop first.
    pub memory_bytes: Option<u64>,
    /// Its limit, or all that the machine has.
    pub memory_limit_bytes: Option<u64>,
    /// Received and sent, on all interfaces but the loopback.
    pub network_bytes: (u64, u64),
    /// Read and written.
    pub block_bytes: Option<(u64, u64)>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// What it uses; nothing at all if it does not run (any more).
///
/// # Errors
/// The kernel's files cannot be read.
pub fn usage(container: &Container) -> Result<Option<Usage>, EngineError> {
    if !container.state.is_alive() {
        return Ok(None);
    }
    let mut usage = Usage { network_bytes: network(container.state.pid), ..Usage::default() };
    let Some(cgroup) = container::cgroup(&container.record)? else { return Ok(Some(usage)) };
    let stats = match cgroup.stats() {
        Ok(stats) => stats,
        // It ended while it was looked at.
        Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::NODEV)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    usage.cpu_ns = stats.cpu.map(|cpu| cpu.usage_ns);
    usage.pids = match stats.pids {
        Some(pids) => Some(pids.current),
        None => cgroup.procs().ok().map(|all| all.len() as u64),
    };
    if let Some(memory) = stats.memory {
        let all = memory_of_the_machine();
        usage.memory_bytes = Some(memory.working_set());
        usage.memory_limit_bytes = Some(memory.limit_bytes.map_or(all, |limit| limit.min(all)));
    }
    usage.block_bytes = stats.io.map(|devices| {
        devices
            .iter()
            .fold((0, 0), |(read, written), device| (read + device.read_bytes, written + device.write_bytes))
    });
    Ok(Some(usage))
}

fn memory_of_the_machine() -> u64 {
    let text = record::read_text("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok()).map_or(0, |kb| kb * 1024)
}

fn network(pid: i32) -> (u64, u64) {
    parse_network(&record::read_text(&format!("/proc/{pid}/net/dev")).unwrap_or_default())
}

/// Lines of `eth0: 8 numbers of what was received, bytes first, 8 of what was sent`.
fn parse_network(text: &str) -> (u64, u64) {
    let mut sum = (0, 0);
    for (name, numbers) in text.lines().filter_map(|line| line.split_once(':')) {
        let numbers: Vec<u64> = numbers.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
        if let (false, [received, _, _, _, _, _, _, _, sent, ..]) = (name.trim() == "lo", &numbers[..]) {
            sum = (sum.0 + received, sum.1 + sent);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_added_up_but_for_the_loopback() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
                    face |bytes    packets errs drop fifo frame compressed multicast|bytes\n    \
                    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0\n  \
                    eth0:    1000      2    0    0    0     0          0         0      30       1    0    0    0     0       0          0\n  \
                    eth1:5 2 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n";
        assert_eq!(parse_network(text), (1005, 37));
    }
}
