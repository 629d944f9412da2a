//! One [`Cgroup`] over v1, hybrid and v2: limits, statistics, freeze, kill, OOM events.
//!
//! ```text
//! Layout::detect ─┐
//! CgroupPath ─────┼─► Plan (pure, prints as shell) ─► Cgroup ─► attach, set, stats, freeze,
//! Resources ──────┘                                             kill_all, oom_events, remove
//! ```
//!
//! A cgroup is the same path in several hierarchies ([`plan::Member`]): on v2 there is one, on v1 one
//! for each group of controllers, on a hybrid host both. Nothing is kept in memory that the kernel does
//! not have, so any process can [`Cgroup::open`] what another made.
//!
//! The cgroup **namespace** of a container is rooted where the process is at the moment it is made. Only
//! on pure v2 does clone3 with `CLONE_INTO_CGROUP` do both in the right order; on v1 and hybrid the
//! child unshares it after it was attached ([`Layout::cgroup_namespace_at_clone`]).
//!
//! There are two [`Driver`]s. That of cgroupfs makes directories; that of [`systemd`] asks pid 1 over
//! D-Bus for a scope around a process that is there already, and then uses the same files below it.

mod apply;
mod cgroup;
pub mod controller;
mod devices;
mod error;
mod file;
mod freeze;
mod kill;
mod layout;
mod leftovers;
mod limits;
mod oom;
mod parents;
mod path;
pub mod plan;
mod remove;
pub mod resources;
pub mod stats;
pub mod systemd;
mod validate;
mod wait;

pub use cgroup::{Cgroup, Driver};
pub use controller::{Controller, Controllers};
pub use devices::{Access, AccessError, DeviceKind, DeviceRule, RuleError, install_device_filter};
pub use error::{Call, Error, Result};
pub use layout::{Hierarchy, Kind, Layout, Position, Version};
pub use leftovers::{Leftover, leftovers};
pub use limits::{Absent, Setting};
pub use oom::OomEvents;
pub use parents::remove_parents;
pub use path::{CgroupPath, PathError};
pub use plan::{CgroupOp, Plan};
pub use resources::Resources;
pub use stats::Stats;
pub use systemd::Systemd;
