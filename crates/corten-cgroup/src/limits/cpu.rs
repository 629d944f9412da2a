//! Sources: Documentation/scheduler/sched-bwc.rst, cgroup-v2.rst "CPU Interface Files".

use super::{Setting, or_max, unsupported};
use crate::error::Result;
use crate::resources::{Cpu, Resources};

/// kernel/sched/sched.h: MIN_SHARES, MAX_SHARES. The kernel clamps; so that what is written is what is
/// read back, we do.
const SHARES: (u64, u64) = (2, 262_144);

pub(super) fn v1(resources: &Resources) -> Vec<Setting> {
    let Some(c) = &resources.cpu else { return Vec::new() };
    let mut out = Vec::new();
    if let Some(idle) = c.idle {
        out.push(Setting::new("cpu.idle", idle));
    }
    if let Some(shares) = weighted(c) {
        out.push(Setting::new("cpu.shares", shares.clamp(SHARES.0, SHARES.1)));
    }
    if let Some(period) = c.period() {
        out.push(Setting::new("cpu.cfs_period_us", period));
    }
    if let Some(quota) = c.quota() {
        out.push(Setting::new("cpu.cfs_quota_us", quota.max(-1)));
    }
    if let Some(burst) = c.burst {
        out.push(Setting::new("cpu.cfs_burst_us", burst));
    }
    if let Some(period) = c.realtime_period() {
        out.push(Setting::new("cpu.rt_period_us", period));
    }
    if let Some(runtime) = c.realtime_runtime() {
        out.push(Setting::new("cpu.rt_runtime_us", runtime));
    }
    out
}

pub(super) fn v2(resources: &Resources) -> Result<Vec<Setting>> {
    let Some(c) = &resources.cpu else { return Ok(Vec::new()) };
    if c.realtime_runtime().is_some() || c.realtime_period().is_some() {
        return Err(unsupported("cpu.realtimeRuntime", "cgroup2 does not share out real-time time"));
    }
    let mut out = Vec::new();
    if let Some(idle) = c.idle {
        out.push(Setting::new("cpu.idle", idle));
    }
    if let Some(shares) = weighted(c) {
        out.push(Setting::new("cpu.weight", weight_of_shares(shares)));
    }
    // A quota alone leaves the period as it is.
    match (c.quota(), c.period()) {
        (Some(quota), Some(period)) => {
            out.push(Setting::new("cpu.max", format!("{} {period}", or_max(quota))))
        }
        (Some(quota), None) => out.push(Setting::new("cpu.max", or_max(quota))),
        (None, Some(period)) => out.push(Setting::new("cpu.max", format!("max {period}"))),
        (None, None) => {}
    }
    if let Some(burst) = c.burst {
        out.push(Setting::new("cpu.max.burst", burst));
    }
    Ok(out)
}

/// An idle cgroup has a fixed weight; to write one is EINVAL.
fn weighted(c: &Cpu) -> Option<u64> {
    c.shares().filter(|_| c.idle != Some(1))
}

/// Shares (2 to 262144, 1024 the default) as a weight (1 to 10000, 100 the default).
///
/// The straight line that runtimes used first put the default of one at 39 of the other, so containers
/// lost against everything beside them. runc 1.4, crun 1.23 and the Kubernetes documentation have since
/// agreed on this curve through all three points (opencontainers/cgroups#20).
pub(crate) fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        s if s >= SHARES.1 => 10_000,
        s => {
            let l = (s as f64).log2();
            10f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0).ceil() as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_goes_through_both_ends_and_the_default() {
        let table =
            [(0, 1), (2, 1), (3, 2), (102, 17), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000)];
        for (shares, weight) in table {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        assert!((2..262_144).is_sorted_by_key(weight_of_shares));
        assert_eq!(weight_of_shares(u64::MAX), 10_000);
    }

    #[test]
    fn quota_and_period() {
        let max = |quota, period| {
            let cpu = Cpu { quota, period, ..Cpu::default() };
            let settings = v2(&Resources { cpu: Some(cpu), ..Resources::default() }).unwrap();
            settings.first().map(|s| s.values[0].clone())
        };
        assert_eq!(max(Some(50_000), Some(100_000)).as_deref(), Some("50000 100000"));
        assert_eq!(max(Some(50_000), None).as_deref(), Some("50000"));
        assert_eq!(max(Some(-1), None).as_deref(), Some("max"));
        assert_eq!(max(None, Some(50_000)).as_deref(), Some("max 50000"));
        assert_eq!(max(Some(0), Some(0)), None);
    }

    #[test]
    fn an_idle_cgroup_gets_no_weight() {
        let cpu = Cpu { idle: Some(1), shares: Some(512), ..Cpu::default() };
        let r = Resources { cpu: Some(cpu), ..Resources::default() };
        assert_eq!(v1(&r), [Setting::new("cpu.idle", 1)]);
        assert_eq!(v2(&r).unwrap(), [Setting::new("cpu.idle", 1)]);
    }
}
