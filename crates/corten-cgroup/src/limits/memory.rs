//! Sources: cgroup-v1/memory.rst, cgroup-v2.rst "Memory Interface Files".
//!
//! On v1 swap is limited together with memory, as in the runtime-spec; on v2 by itself.

use super::{Absent, Setting, or_max, unsupported};
use crate::error::Result;
use crate::resources::{Memory, Resources, given};
use crate::validate::invalid;

pub(super) fn v1(resources: &Resources) -> Vec<Setting> {
    let Some(m) = &resources.memory else { return Vec::new() };
    let mut out = Vec::new();
    let limit = given(m.limit);
    if let Some(limit) = limit {
        out.push(Setting::new("memory.limit_in_bytes", limit.max(-1)));
    }
    match (limit, given(m.swap)) {
        (_, Some(swap)) => {
            out.push(Setting::new("memory.memsw.limit_in_bytes", swap.max(-1)).or(Absent::SkipWithoutSwap));
        }
        // Unlimited memory below a limit of memory and swap together would be no such thing.
        (Some(limit), None) if limit < 0 => {
            out.push(Setting::new("memory.memsw.limit_in_bytes", -1).or(Absent::Skip));
        }
        _ => {}
    }
    if let Some(reservation) = given(m.reservation) {
        out.push(Setting::new("memory.soft_limit_in_bytes", reservation.max(-1)));
    }
    if let Some(swappiness) = m.swappiness {
        out.push(Setting::new("memory.swappiness", swappiness));
    }
    if let Some(disable) = m.disable_oom_killer {
        out.push(Setting::new("memory.oom_control", u8::from(disable)));
    }
    out
}

pub(super) fn v2(resources: &Resources) -> Result<Vec<Setting>> {
    let Some(m) = &resources.memory else { return Ok(Vec::new()) };
    if m.disable_oom_killer == Some(true) {
        return Err(unsupported("memory.disableOOMKiller", "cgroup2 has no such switch; use memory.high"));
    }
    if m.swappiness.is_some() {
        return Err(unsupported("memory.swappiness", "cgroup2 has it for the whole host only"));
    }
    let mut out = Vec::new();
    if let Some(limit) = given(m.limit) {
        out.push(Setting::new("memory.max", or_max(limit)));
    }
    if let Some(swap) = swap_max(m)? {
        out.push(Setting::new("memory.swap.max", or_max(swap)).or(Absent::SkipWithoutSwap));
    }
    if let Some(reservation) = given(m.reservation) {
        out.push(Setting::new("memory.low", or_max(reservation)));
    }
    Ok(out)
}

/// Swap by itself, of memory and swap together. As runc, crun and systemd do it.
pub(crate) fn swap_max(m: &Memory) -> Result<Option<i64>> {
    Ok(match (given(m.limit), given(m.swap)) {
        (Some(limit), None) if limit < 0 => Some(-1),
        (_, None) => None,
        (_, Some(swap)) if swap < 0 => Some(-1),
        (Some(limit), Some(swap)) => Some(swap - limit),
        (None, Some(swap)) => {
            let why = "is memory and swap together, and cgroup2 limits swap by itself: give memory.limit too";
            return Err(invalid("memory.swap", swap, why));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(limit: Option<i64>, swap: Option<i64>) -> (String, String) {
        let memory = Memory { limit, swap, ..Memory::default() };
        let resources = Resources { memory: Some(memory), ..Resources::default() };
        let show = |settings: Vec<Setting>| {
            settings.iter().map(|s| format!("{}={}", s.file, s.values[0])).collect::<Vec<_>>().join(" ")
        };
        (show(v1(&resources)), v2(&resources).map_or_else(|e| e.to_string(), show))
    }

    #[test]
    fn memory_and_swap_in_both_worlds() {
        let m = 1 << 20;
        let table = [
            (Some(m), None, "memory.limit_in_bytes=1048576", "memory.max=1048576"),
            (
                Some(m),
                Some(2 * m),
                "memory.limit_in_bytes=1048576 memory.memsw.limit_in_bytes=2097152",
                "memory.max=1048576 memory.swap.max=1048576",
            ),
            (
                Some(m),
                Some(m),
                "memory.limit_in_bytes=1048576 memory.memsw.limit_in_bytes=1048576",
                "memory.max=1048576 memory.swap.max=0",
            ),
            (
                Some(m),
                Some(-1),
                "memory.limit_in_bytes=1048576 memory.memsw.limit_in_bytes=-1",
                "memory.max=1048576 memory.swap.max=max",
            ),
            (
                Some(-1),
                None,
                "memory.limit_in_bytes=-1 memory.memsw.limit_in_bytes=-1",
                "memory.max=max memory.swap.max=max",
            ),
            (Some(0), Some(0), "", ""),
        ];
        for (limit, swap, one, two) in table {
            assert_eq!(both(limit, swap), (one.to_owned(), two.to_owned()), "{limit:?} {swap:?}");
        }
        assert!(both(None, Some(m)).1.starts_with("memory.swap: 1048576: is memory and swap together"));
    }
}
