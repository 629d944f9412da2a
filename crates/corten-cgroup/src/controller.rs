//! The kernel's controllers and sets of them.
//!
//! Sources: cgroups(7), Documentation/admin-guide/cgroup-v1/ and cgroup-v2.rst. A controller is
//! either on one v1 hierarchy or on cgroup2, never on both.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One controller. `Io` is called `blkio` on v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Controller {
    Cpu,
    /// v1 only; on v2 `cpu.stat` is in every cgroup.
    Cpuacct,
    Cpuset,
    Memory,
    Pids,
    /// v1 only; on v2 a BPF program takes its place.
    Devices,
    /// v1 only; on v2 `cgroup.freeze` is in every cgroup.
    Freezer,
    Io,
    Hugetlb,
    NetCls,
    NetPrio,
    PerfEvent,
    Rdma,
    Misc,
}

impl Controller {
    pub const ALL: [Controller; 14] = [
        Controller::Cpu,
        Controller::Cpuacct,
        Controller::Cpuset,
        Controller::Memory,
        Controller::Pids,
        Controller::Devices,
        Controller::Freezer,
        Controller::Io,
        Controller::Hugetlb,
        Controller::NetCls,
        Controller::NetPrio,
        Controller::PerfEvent,
        Controller::Rdma,
        Controller::Misc,
    ];

    /// The name in `cgroup.controllers` and `cgroup.subtree_control`.
    pub const fn name(self) -> &'static str {
        match self {
            Controller::Cpu => "cpu",
            Controller::Cpuacct => "cpuacct",
            Controller::Cpuset => "cpuset",
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Devices => "devices",
            Controller::Freezer => "freezer",
            Controller::Io => "io",
            Controller::Hugetlb => "hugetlb",
            Controller::NetCls => "net_cls",
            Controller::NetPrio => "net_prio",
            Controller::PerfEvent => "perf_event",
            Controller::Rdma => "rdma",
            Controller::Misc => "misc",
        }
    }

    /// The name among the options of a v1 mount.
    pub const fn v1_name(self) -> &'static str {
        match self {
            Controller::Io => "blkio",
            other => other.name(),
        }
    }

    /// By either world's name.
    pub fn from_name(name: &str) -> Option<Controller> {
        Controller::ALL.into_iter().find(|c| c.name() == name || c.v1_name() == name)
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of controllers. Its Display is the form of `cgroup.controllers`: names with spaces between.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Vec<String>", from = "Vec<String>")]
pub struct Controllers(u16);

impl Controllers {
    pub const NONE: Controllers = Controllers(0);
    /// Every one there is, and those to come.
    pub const ALL: Controllers = Controllers(!0);

    pub const fn with(self, controller: Controller) -> Controllers {
        Controllers(self.0 | 1 << controller as u8)
    }

    pub const fn contains(self, controller: Controller) -> bool {
        self.0 & 1 << controller as u8 != 0
    }

    pub const fn union(self, other: Controllers) -> Controllers {
        Controllers(self.0 | other.0)
    }

    pub const fn intersection(self, other: Controllers) -> Controllers {
        Controllers(self.0 & other.0)
    }

    pub const fn without(self, other: Controllers) -> Controllers {
        Controllers(self.0 & !other.0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn contains_all(self, other: Controllers) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn iter(self) -> impl Iterator<Item = Controller> {
        Controller::ALL.into_iter().filter(move |c| self.contains(*c))
    }

    /// Reads names that `separator` divides; a name that is no controller (`rw`, `name=systemd`) is left out.
    pub fn parse(text: &str, separator: impl Fn(char) -> bool) -> Controllers {
        text.split(separator).filter_map(|name| Controller::from_name(name.trim())).collect()
    }
}

impl FromIterator<Controller> for Controllers {
    fn from_iter<I: IntoIterator<Item = Controller>>(iter: I) -> Self {
        iter.into_iter().fold(Controllers::NONE, Controllers::with)
    }
}

impl fmt::Display for Controllers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, c) in self.iter().enumerate() {
            write!(f, "{}{c}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Controllers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

impl From<Controllers> for Vec<String> {
    fn from(set: Controllers) -> Self {
        set.iter().map(|c| c.name().to_owned()).collect()
    }
}

impl From<Vec<String>> for Controllers {
    fn from(names: Vec<String>) -> Self {
        names.iter().filter_map(|n| Controller::from_name(n)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_worlds_names_are_read() {
        let v1 = Controllers::parse("rw,cpu,cpuacct,blkio,name=systemd", |c| c == ',');
        assert_eq!(v1.to_string(), "cpu cpuacct io");
        let v2 =
            Controllers::parse("cpuset cpu io memory hugetlb pids rdma misc dmem\n", char::is_whitespace);
        assert_eq!(v2.to_string(), "cpu cpuset memory pids io hugetlb rdma misc");
        assert!(v2.without(v1).contains(Controller::Rdma));
        assert!(!v2.without(v1).contains(Controller::Io));
    }
}
