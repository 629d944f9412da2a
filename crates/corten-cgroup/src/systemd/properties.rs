//! Limits as properties of a unit.
//!
//! Limits are also written to the cgroup's own files, where every one of them can be said; systemd has
//! to know those that it manages itself, or a `systemctl daemon-reload` would put its own values back.
//! The mapping is that of runc and crun (opencontainers/cgroups `systemd/v1.go`, `v2.go`; crun
//! `cgroup-systemd.c`). Devices on v2 are filtered by a program of ours, which systemd does not touch,
//! beside its own.
//! Source: systemd.resource-control(5), org.freedesktop.systemd1(5).

use super::value::Value;
use crate::devices::{DeviceKind, DevicePolicy};
use crate::layout::Version;
use crate::limits::{io_weight, swap_max, weight_of_shares};
use crate::resources::{Cpu, Resources, given};

pub(crate) type Property = (&'static str, Value);

/// "No limit" of every number.
const INFINITY: u64 = u64::MAX;

/// systemd counts CPU time in steps of a hundredth of a second in each second.
const CPU_STEP_US: u64 = 10_000;

/// What the kernel takes where no period is given: sched-bwc.rst.
const PERIOD_US: u64 = 100_000;

/// A property and the version of systemd that brought it, if it may be missing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mapped {
    pub(crate) always: Vec<Property>,
    /// Since 242.
    pub(crate) cpu_period: Option<Property>,
    /// Since 244.
    pub(crate) cpusets: Vec<Property>,
}

impl Mapped {
    /// Whether any depends on systemd's version, which is only asked for then.
    pub(crate) fn needs_version(&self) -> bool {
        self.cpu_period.is_some() || !self.cpusets.is_empty()
    }

    /// Those that a systemd of this version knows. The others are only in the cgroup's files then, and
    /// no older systemd has a value of its own to put in their place.
    pub(crate) fn known_to(self, version: u32) -> Vec<Property> {
        let mut all = self.always;
        all.extend(self.cpu_period.filter(|_| version >= 242));
        all.extend(self.cpusets.into_iter().filter(|_| version >= 244));
        all
    }
}

/// What every scope has.
pub(crate) fn scope(slice: &str, pid: u32, version: Version) -> Vec<Property> {
    let io = if version == Version::V1 { "BlockIOAccounting" } else { "IOAccounting" };
    vec![
        ("Description", "Corten container".into()),
        ("Slice", slice.into()),
        // The cgroup below is ours: systemd neither looks into it nor moves anything there.
        ("Delegate", Value::Bool(true)),
        ("PIDs", Value::U32s(vec![pid])),
        // No order against shutdown.target and the like: who started it stops it.
        ("DefaultDependencies", Value::Bool(false)),
        // One whose process was killed for memory is failed, and would stay for ever.
        ("CollectMode", "inactive-or-failed".into()),
        ("CPUAccounting", Value::Bool(true)),
        ("MemoryAccounting", Value::Bool(true)),
        ("TasksAccounting", Value::Bool(true)),
        (io, Value::Bool(true)),
    ]
}

/// The limits that systemd has a property for.
pub(crate) fn limits(resources: &Resources, version: Version) -> crate::error::Result<Mapped> {
    let mut always = Vec::new();
    let mut mapped = Mapped { always: Vec::new(), cpu_period: None, cpusets: Vec::new() };
    if let Some(memory) = &resources.memory {
        let names = match version {
            Version::V1 => ("MemoryLimit", None),
            Version::V2 => ("MemoryMax", Some("MemoryLow")),
        };
        always.extend(given(memory.limit).map(|limit| (names.0, limit_of(limit))));
        let reservation = given(memory.reservation);
        always.extend(names.1.zip(reservation).map(|(name, bytes)| (name, limit_of(bytes))));
        if version == Version::V2 {
            always.extend(swap_max(memory)?.map(|bytes| ("MemorySwapMax", limit_of(bytes))));
        }
    }
    if let Some(cpu) = &resources.cpu {
        match (cpu.shares(), version) {
            (Some(shares), Version::V1) => always.push(("CPUShares", Value::U64(shares))),
            (Some(shares), Version::V2) => {
                always.push(("CPUWeight", Value::U64(weight_of_shares(shares))));
            }
            (None, _) => {}
        }
        always.extend(cpu.quota().map(|quota| ("CPUQuotaPerSecUSec", quota_of(quota, cpu))));
        mapped.cpu_period = cpu
            .period()
            .filter(|period| *period != PERIOD_US)
            .map(|period| ("CPUQuotaPeriodUSec", Value::U64(period)));
        if version == Version::V2 {
            let lists = [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())];
            let mask = |(name, list): (_, Option<&str>)| Some((name, Value::Bytes(bitmask(list?)?)));
            mapped.cpusets = lists.into_iter().filter_map(mask).collect();
        }
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        // 0 would be "unset"; see limits/pids.rs.
        always.push(("TasksMax", limit_of(if limit == 0 { 1 } else { limit })));
    }
    if let Some(weight) = resources.block_io.as_ref().and_then(|io| io.weight).filter(|w| *w != 0) {
        always.push(match version {
            Version::V1 => ("BlockIOWeight", Value::U64(weight.into())),
            Version::V2 => ("IOWeight", Value::U64(io_weight(weight))),
        });
    }
    always.extend(devices(resources));
    mapped.always = always;
    Ok(mapped)
}

fn limit_of(value: i64) -> Value {
    Value::U64(u64::try_from(value).unwrap_or(INFINITY))
}

fn quota_of(quota: i64, cpu: &Cpu) -> Value {
    let Ok(quota) = u64::try_from(quota) else { return Value::U64(INFINITY) };
    let per_second = quota.saturating_mul(1_000_000) / cpu.period().unwrap_or(PERIOD_US);
    Value::U64(per_second.next_multiple_of(CPU_STEP_US))
}

/// Bit n of byte n/8 for each number of a list; `None` for one that the kernel would not take either.
fn bitmask(list: &str) -> Option<Vec<u8>> {
    const MOST: usize = 8192;
    let mut mask = Vec::new();
    for range in list.split(',') {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        let (low, high) = (low.trim().parse::<usize>().ok()?, high.trim().parse::<usize>().ok()?);
        if high >= MOST {
            return None;
        }
        mask.resize(mask.len().max(high / 8 + 1), 0);
        (low..=high).for_each(|n| mask[n / 8] |= 1 << (n % 8));
    }
    Some(mask)
}

/// A default of "denied" with its exceptions. What systemd cannot say is left to the cgroup's own filter:
/// `auto` without a list lets everything through to it.
fn devices(resources: &Resources) -> Vec<Property> {
    if resources.devices.is_empty() {
        return Vec::new();
    }
    match DevicePolicy::from_rules(&resources.devices) {
        Ok(policy) if !policy.allow => {
            // A list that is given anew is emptied first; what is left in it is asked for again.
            let pairs = policy.exceptions.iter().map(|((kind, major, minor), access)| {
                let name = device_name(*kind, *major, *minor)?;
                Some((name, access.to_string()))
            });
            match pairs.collect::<Option<Vec<_>>>() {
                Some(pairs) => vec![("DevicePolicy", "strict".into()), ("DeviceAllow", Value::Pairs(pairs))],
                None => vec![("DevicePolicy", "auto".into())],
            }
        }
        _ => vec![("DevicePolicy", "auto".into())],
    }
}

/// `char-*`, `char-136` (a number for the driver's name since 240), `/dev/char/1:3`, which need not
/// exist. There is no word for one minor of every major.
fn device_name(kind: DeviceKind, major: Option<u32>, minor: Option<u32>) -> Option<String> {
    let kind = if kind == DeviceKind::Block { "block" } else { "char" };
    Some(match (major, minor) {
        (None, None) => format!("{kind}-*"),
        (Some(major), None) => format!("{kind}-{major}"),
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
        (None, Some(_)) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceRule;
    use crate::resources::{BlockIo, Memory, Pids};

    fn shown(resources: &Resources, version: Version, systemd: u32) -> Vec<String> {
        let mapped = limits(resources, version).unwrap();
        mapped.known_to(systemd).iter().map(|(name, value)| format!("{name} {value}")).collect()
    }

    #[test]
    fn limits_in_both_worlds() {
        let mib = 1 << 20;
        let resources = Resources {
            memory: Some(Memory {
                limit: Some(64 * mib),
                swap: Some(96 * mib),
                reservation: Some(mib),
                ..Memory::default()
            }),
            cpu: Some(Cpu {
                shares: Some(512),
                quota: Some(12_345),
                period: Some(50_000),
                cpus: Some("0-2,9".into()),
                mems: Some("0".into()),
                ..Cpu::default()
            }),
            pids: Some(Pids { limit: Some(77) }),
            block_io: Some(BlockIo { weight: Some(500), ..BlockIo::default() }),
            ..Resources::default()
        };
        let two = [
            "MemoryMax 't' 67108864",
            "MemoryLow 't' 1048576",
            "MemorySwapMax 't' 33554432",
            "CPUWeight 't' 59",
            "CPUQuotaPerSecUSec 't' 250000",
            "TasksMax 't' 77",
            "IOWeight 't' 4950",
        ];
        assert_eq!(shown(&resources, Version::V2, 239), two);
        let newer = ["CPUQuotaPeriodUSec 't' 50000", "AllowedCPUs 'ay' 2 7 2", "AllowedMemoryNodes 'ay' 1 1"];
        assert_eq!(shown(&resources, Version::V2, 252), [&two[..], &newer[..]].concat());
        let one = [
            "MemoryLimit 't' 67108864",
            "CPUShares 't' 512",
            "CPUQuotaPerSecUSec 't' 250000",
            "TasksMax 't' 77",
            "BlockIOWeight 't' 500",
            "CPUQuotaPeriodUSec 't' 50000",
        ];
        assert_eq!(shown(&resources, Version::V1, 252), one);
        assert!(limits(&resources, Version::V2).unwrap().needs_version());
    }

    #[test]
    fn unlimited_is_the_largest_number() {
        let resources = Resources {
            memory: Some(Memory { limit: Some(-1), ..Memory::default() }),
            cpu: Some(Cpu { quota: Some(-1), period: Some(100_000), ..Cpu::default() }),
            pids: Some(Pids { limit: Some(-1) }),
            ..Resources::default()
        };
        let max = u64::MAX;
        let expected = [
            format!("MemoryMax 't' {max}"),
            format!("MemorySwapMax 't' {max}"),
            format!("CPUQuotaPerSecUSec 't' {max}"),
            format!("TasksMax 't' {max}"),
        ];
        assert_eq!(shown(&resources, Version::V2, 252), expected);
        assert!(!limits(&resources, Version::V2).unwrap().needs_version());
        assert!(shown(&Resources::default(), Version::V2, 252).is_empty());
    }

    #[test]
    fn devices_are_a_list_or_left_to_the_filter() {
        let rule = |allow, kind, major, minor, access: &str| DeviceRule {
            allow,
            kind,
            major,
            minor,
            access: access.parse().unwrap(),
        };
        let with = |rules: &[DeviceRule]| Resources { devices: rules.to_vec(), ..Resources::default() };
        let (char, block) = (DeviceKind::Char, DeviceKind::Block);
        let rules = [
            rule(false, DeviceKind::All, None, None, "rwm"),
            rule(true, char, None, None, "m"),
            rule(true, char, Some(1), Some(3), "rwm"),
            rule(true, char, Some(136), None, "rw"),
            rule(true, block, Some(8), Some(0), "r"),
        ];
        let expected = [
            "DevicePolicy 's' 'strict'".to_owned(),
            "DeviceAllow 'a(ss)' 4 'char-*' 'm' '/dev/char/1:3' 'rwm' 'char-136' 'rw' '/dev/block/8:0' 'r'"
                .to_owned(),
        ];
        assert_eq!(shown(&with(&rules), Version::V2, 252), expected);
        let auto = ["DevicePolicy 's' 'auto'"];
        let all = [rule(true, DeviceKind::All, None, None, "rwm")];
        assert_eq!(shown(&with(&all), Version::V2, 252), auto);
        assert_eq!(shown(&with(&[rule(true, char, None, Some(1), "r")]), Version::V2, 252), auto);
        // More than v1's list can say, which on v2 our program can.
        let part = [rule(true, char, None, None, "rwm"), rule(false, char, Some(1), Some(3), "w")];
        assert_eq!(shown(&with(&part), Version::V2, 252), auto);
    }

    #[test]
    fn masks() {
        assert_eq!(bitmask("0"), Some(vec![1]));
        assert_eq!(bitmask("7-8"), Some(vec![0x80, 1]));
        assert_eq!(bitmask("0-4294967295"), None);
        assert_eq!(bitmask("x"), None);
    }
}
