//! What is asked for: the shape of `linux.resources` of the OCI runtime-spec, word for word, so that a
//! bundle maps one to one.
//!
//! As with runc, a zero where the standard has no use for one (a memory limit, shares, quota, period,
//! weights) means "not given", and a negative limit means "unlimited". `memory.kernel` and
//! `memory.kernelTCP` are taken and have no effect: the kernel dropped both (Linux 5.16, 6.11).
//! Source: runtime-spec config-linux.md, "Control groups".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::controller::Controller;
use crate::devices::DeviceRule;

/// Limits of one cgroup. What is `None` or empty is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<Pids>,
    #[serde(rename = "blockIO", skip_serializing_if = "Option::is_none")]
    pub block_io: Option<BlockIo>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hugepage_limits: Vec<HugepageLimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// By the device's name, such as `mlx5_1`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rdma: BTreeMap<String, Rdma>,
    /// In order; a later rule outweighs an earlier one. Empty: devices are not touched. Not empty: what
    /// no rule names is denied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceRule>,
    /// cgroup2 files and their contents, written last.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unified: BTreeMap<String, String>,
}

/// In bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<i64>,
    /// Memory **and** swap together, as on v1 and in Docker's `--memory-swap`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<i64>,
    #[serde(rename = "kernelTCP", skip_serializing_if = "Option::is_none")]
    pub kernel_tcp: Option<i64>,
    /// 0 to 100; v1 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swappiness: Option<u64>,
    /// v1 only.
    #[serde(rename = "disableOOMKiller", skip_serializing_if = "Option::is_none")]
    pub disable_oom_killer: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_hierarchy: Option<bool>,
    /// Refuse a new limit below the present usage rather than have the kernel kill for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_before_update: Option<bool>,
}

/// Times in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cpu {
    /// 2 to 262144, 1024 being one share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realtime_runtime: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realtime_period: Option<u64>,
    /// A list such as `0-3,7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mems: Option<String>,
    /// 1: SCHED_IDLE for the whole cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pids {
    /// Negative: unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

/// Weights are 10 to 1000.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockIo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_weight: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weight_device: Vec<WeightDevice>,
    #[serde(rename = "throttleReadBpsDevice", skip_serializing_if = "Vec::is_empty")]
    pub read_bps: Vec<ThrottleDevice>,
    #[serde(rename = "throttleWriteBpsDevice", skip_serializing_if = "Vec::is_empty")]
    pub write_bps: Vec<ThrottleDevice>,
    #[serde(rename = "throttleReadIOPSDevice", skip_serializing_if = "Vec::is_empty")]
    pub read_iops: Vec<ThrottleDevice>,
    #[serde(rename = "throttleWriteIOPSDevice", skip_serializing_if = "Vec::is_empty")]
    pub write_iops: Vec<ThrottleDevice>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WeightDevice {
    pub major: u32,
    pub minor: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf_weight: Option<u16>,
}

/// `rate` is bytes or operations a second; 0 lifts the limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottleDevice {
    pub major: u32,
    pub minor: u32,
    pub rate: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HugepageLimit {
    /// `64KB`, `2MB`, `1GB`.
    pub page_size: String,
    /// In bytes.
    pub limit: u64,
}

/// v1 only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Network {
    #[serde(rename = "classID", skip_serializing_if = "Option::is_none")]
    pub class_id: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priorities: Vec<InterfacePriority>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfacePriority {
    pub name: String,
    pub priority: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rdma {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hca_handles: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hca_objects: Option<u32>,
}

impl Resources {
    /// Which controllers the limits need, each with the field that asks for it. Devices and `unified`
    /// are not among them: both depend on the world they are set in.
    pub(crate) fn asks(&self) -> Vec<(Controller, &'static str)> {
        let mut asks = Vec::new();
        let mut ask = |wanted: bool, controller, field| {
            if wanted {
                asks.push((controller, field));
            }
        };
        if let Some(m) = &self.memory {
            let any = given(m.limit).or(given(m.reservation)).or(given(m.swap)).is_some();
            ask(
                any || m.swappiness.is_some() || m.disable_oom_killer == Some(true),
                Controller::Memory,
                "memory",
            );
        }
        if let Some(c) = &self.cpu {
            ask(c.limits_time(), Controller::Cpu, "cpu");
            ask(c.cpus().is_some(), Controller::Cpuset, "cpu.cpus");
            ask(c.cpus().is_none() && c.mems().is_some(), Controller::Cpuset, "cpu.mems");
        }
        ask(self.pids.as_ref().is_some_and(|p| p.limit.is_some()), Controller::Pids, "pids.limit");
        ask(self.block_io.as_ref().is_some_and(|b| *b != BlockIo::default()), Controller::Io, "blockIO");
        ask(!self.hugepage_limits.is_empty(), Controller::Hugetlb, "hugepageLimits");
        if let Some(n) = &self.network {
            ask(n.class_id.is_some(), Controller::NetCls, "network.classID");
            ask(!n.priorities.is_empty(), Controller::NetPrio, "network.priorities");
        }
        ask(!self.rdma.is_empty(), Controller::Rdma, "rdma");
        asks
    }
}

impl Cpu {
    fn limits_time(&self) -> bool {
        self.shares().is_some()
            || self.quota().is_some()
            || self.period().is_some()
            || self.burst.is_some()
            || self.idle.is_some()
            || self.realtime_runtime().is_some()
            || self.realtime_period().is_some()
    }

    pub(crate) fn shares(&self) -> Option<u64> {
        self.shares.filter(|s| *s != 0)
    }

    pub(crate) fn quota(&self) -> Option<i64> {
        given(self.quota)
    }

    pub(crate) fn period(&self) -> Option<u64> {
        self.period.filter(|p| *p != 0)
    }

    pub(crate) fn realtime_runtime(&self) -> Option<i64> {
        given(self.realtime_runtime)
    }

    pub(crate) fn realtime_period(&self) -> Option<u64> {
        self.realtime_period.filter(|p| *p != 0)
    }

    pub(crate) fn cpus(&self) -> Option<&str> {
        self.cpus.as_deref().map(str::trim).filter(|c| !c.is_empty())
    }

    pub(crate) fn mems(&self) -> Option<&str> {
        self.mems.as_deref().map(str::trim).filter(|m| !m.is_empty())
    }
}

/// Zero is "not given".
pub(crate) fn given(value: Option<i64>) -> Option<i64> {
    value.filter(|v| *v != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_ask_for_nothing() {
        let zeros = Resources {
            memory: Some(Memory { limit: Some(0), swap: Some(0), ..Memory::default() }),
            cpu: Some(Cpu { shares: Some(0), quota: Some(0), cpus: Some(String::new()), ..Cpu::default() }),
            pids: Some(Pids::default()),
            block_io: Some(BlockIo::default()),
            ..Resources::default()
        };
        assert_eq!(zeros.asks(), []);
    }

    #[test]
    fn each_field_asks_for_its_controller() {
        let all = Resources {
            memory: Some(Memory { limit: Some(-1), ..Memory::default() }),
            cpu: Some(Cpu { shares: Some(2), mems: Some("0".into()), ..Cpu::default() }),
            pids: Some(Pids { limit: Some(-1) }),
            network: Some(Network { class_id: Some(1), ..Network::default() }),
            ..Resources::default()
        };
        let names: Vec<_> = all.asks().into_iter().map(|(c, _)| c.name()).collect();
        assert_eq!(names, ["memory", "cpu", "cpuset", "pids", "net_cls"]);
    }
}
