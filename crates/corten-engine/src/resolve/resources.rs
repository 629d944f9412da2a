//! The cgroup: limits and devices.

use corten_cgroup::resources::{BlockIo, Cpu, Memory, Pids, ThrottleDevice, WeightDevice};
use corten_cgroup::{CgroupPath, DeviceKind as CgroupDevice, DeviceRule};
use corten_runtime::spec::CgroupSpec;

use super::Context;
use crate::config::device::DeviceKind;
use crate::config::{CgroupManager, Config, Resources};
use crate::error::{At, EngineError};

pub(super) fn cgroup(
    config: &Config,
    context: &Context<'_>,
    shifted: bool,
) -> Result<CgroupSpec, EngineError> {
    let wanted = &config.resources;
    let parent = wanted.cgroup_parent.as_deref();
    let (path, scope) = match &config.cgroup_manager {
        CgroupManager::Cgroupfs => {
            let path = CgroupPath::from_oci(parent.unwrap_or("corten"))
                .and_then(|parent| parent.join(context.id))
                .map_err(corten_cgroup::Error::from)?;
            (path, None)
        }
        CgroupManager::Systemd(systemd) => {
            let scope = systemd.scope(parent.unwrap_or(systemd.default_slice()), context.id)?;
            (scope.path()?, Some(scope))
        }
    };
    let mut resources = limits(wanted)?;
    if !config.privileged {
        resources.devices = device_rules(config, shifted)?;
    }
    Ok(CgroupSpec { path, resources, scope })
}

/// The limits as the cgroup takes them; what is not said is not set.
pub(crate) fn limits(wanted: &Resources) -> Result<corten_cgroup::Resources, EngineError> {
    let mut resources = corten_cgroup::Resources::default();
    if wanted.memory_bytes.is_some()
        || wanted.memory_swap_bytes.is_some()
        || wanted.memory_reservation_bytes.is_some()
        || wanted.memory_swappiness.is_some()
        || wanted.oom_kill_disable
    {
        // Docker: as much swap as memory, unless said otherwise.
        let swap =
            wanted.memory_swap_bytes.or_else(|| wanted.memory_bytes.map(|memory| memory.saturating_mul(2)));
        resources.memory = Some(Memory {
            limit: wanted.memory_bytes,
            reservation: wanted.memory_reservation_bytes,
            swap,
            swappiness: wanted.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
            disable_oom_killer: wanted.oom_kill_disable.then_some(true),
            ..Memory::default()
        });
    }
    let (quota, period) = match wanted.nano_cpus {
        Some(nano) => (Some(nano / 10_000), Some(100_000)),
        None => (wanted.cpu_quota_us, wanted.cpu_period_us.and_then(|period| u64::try_from(period).ok())),
    };
    if quota.is_some()
        || period.is_some()
        || wanted.cpu_shares.is_some()
        || wanted.cpuset_cpus.is_some()
        || wanted.cpuset_mems.is_some()
        || wanted.cpu_rt_runtime_us.is_some()
        || wanted.cpu_rt_period_us.is_some()
    {
        resources.cpu = Some(Cpu {
            shares: wanted.cpu_shares,
            quota,
            period,
            realtime_runtime: wanted.cpu_rt_runtime_us,
            realtime_period: wanted.cpu_rt_period_us.and_then(|period| u64::try_from(period).ok()),
            cpus: wanted.cpuset_cpus.clone(),
            mems: wanted.cpuset_mems.clone(),
            ..Cpu::default()
        });
    }
    // As in Docker's API: 0 is no limit either.
    resources.pids = wanted.pids_limit.map(|limit| Pids { limit: Some(if limit <= 0 { -1 } else { limit }) });
    if wanted.blkio != crate::config::blkio::Blkio::default() {
        resources.block_io = Some(block_io(&wanted.blkio)?);
    }
    Ok(resources)
}

/// Limits name devices by their paths on the host; the kernel takes their numbers.
fn block_io(blkio: &crate::config::blkio::Blkio) -> Result<BlockIo, EngineError> {
    let number = |path: &str| -> Result<(u32, u32), EngineError> {
        let stat = rustix::fs::stat(path).at("stat", path)?;
        if stat.st_mode & 0o170_000 != 0o060_000 {
            return Err(EngineError::refused(format!("a limit for {path}"), "it is not a block device"));
        }
        Ok((rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)))
    };
    let throttle = |rates: &[crate::config::blkio::DeviceRate]| {
        rates
            .iter()
            .map(|wanted| {
                let (major, minor) = number(&wanted.path)?;
                Ok(ThrottleDevice { major, minor, rate: wanted.rate })
            })
            .collect::<Result<Vec<_>, EngineError>>()
    };
    let weights = blkio.weight_device.iter().map(|wanted| {
        let (major, minor) = number(&wanted.path)?;
        Ok(WeightDevice { major, minor, weight: u16::try_from(wanted.rate).ok(), leaf_weight: None })
    });
    Ok(BlockIo {
        weight: blkio.weight,
        leaf_weight: None,
        weight_device: weights.collect::<Result<_, EngineError>>()?,
        read_bps: throttle(&blkio.read_bps)?,
        write_bps: throttle(&blkio.write_bps)?,
        read_iops: throttle(&blkio.read_iops)?,
        write_iops: throttle(&blkio.write_iops)?,
    })
}

/// Deny all, then what every container has and what was asked for.
fn device_rules(config: &Config, shifted: bool) -> Result<Vec<DeviceRule>, EngineError> {
    let allow = |kind, major, minor, access| DeviceRule { allow: true, kind, major, minor, access };
    let all = corten_cgroup::Access::ALL;
    let mut rules =
        vec![DeviceRule { allow: false, kind: CgroupDevice::All, major: None, minor: None, access: all }];
    // Any node may be made; only these may be used. In a user namespace the kernel lets nobody make one.
    if !shifted {
        for kind in [CgroupDevice::Char, CgroupDevice::Block] {
            rules.push(allow(kind, None, None, corten_cgroup::Access::MKNOD));
        }
    }
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)] {
        rules.push(allow(CgroupDevice::Char, Some(major), Some(minor), all));
    }
    rules.push(allow(CgroupDevice::Char, Some(136), None, all));
    for node in super::devices::nodes(config)? {
        let kind = match node.kind {
            rustix::fs::FileType::BlockDevice => CgroupDevice::Block,
            _ => CgroupDevice::Char,
        };
        rules.push(allow(kind, Some(node.major), Some(node.minor), access(&node.access.to_string())?));
    }
    for rule in &config.resources.device_cgroup_rules {
        let kind = match rule.kind {
            DeviceKind::All => CgroupDevice::All,
            DeviceKind::Block => CgroupDevice::Block,
            DeviceKind::Char => CgroupDevice::Char,
        };
        rules.push(allow(kind, rule.major, rule.minor, access(&rule.access.to_string())?));
    }
    Ok(rules)
}

fn access(text: &str) -> Result<corten_cgroup::Access, EngineError> {
    corten_cgroup::Access::try_from(text.to_owned())
        .map_err(|error| EngineError::refused("a device's access", error.to_string()))
}
