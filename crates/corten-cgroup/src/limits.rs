//! From `Resources` to files and values: pure, one file a controller, each with `v1` and `v2`.

mod cpu;
mod cpuset;
mod hugetlb;
mod io;
mod memory;
mod network;
mod pids;
mod rdma;

pub(crate) use cpu::weight_of_shares;
pub(crate) use io::io_weight;
pub(crate) use memory::swap_max;

use std::borrow::Cow;

use crate::controller::Controller;
use crate::error::{Error, Result};
use crate::layout::Version;
use crate::resources::Resources;

/// A control file and what is written to it, one write a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub file: Cow<'static, str>,
    pub values: Vec<String>,
    pub absent: Absent,
}

/// What it means that the kernel has no such file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The limit cannot be set: an error.
    Fail,
    /// Nothing is lost.
    Skip,
    /// Nothing is lost if the kernel cannot swap at all (no /proc/swaps), else an error.
    SkipWithoutSwap,
    /// Another file takes its place.
    Use(Box<Setting>),
}

impl Setting {
    pub(crate) fn new(file: impl Into<Cow<'static, str>>, value: impl ToString) -> Setting {
        Setting::lines(file, vec![value.to_string()])
    }

    pub(crate) fn lines(file: impl Into<Cow<'static, str>>, values: Vec<String>) -> Setting {
        Setting { file: file.into(), values, absent: Absent::Fail }
    }

    pub(crate) fn or(self, absent: Absent) -> Setting {
        Setting { absent, ..self }
    }
}

/// The settings of one controller, in an order that a fresh cgroup takes.
pub(crate) fn settings(
    controller: Controller,
    version: Version,
    resources: &Resources,
) -> Result<Vec<Setting>> {
    use Version::{V1, V2};
    Ok(match (controller, version) {
        (Controller::Memory, V1) => memory::v1(resources),
        (Controller::Memory, V2) => memory::v2(resources)?,
        (Controller::Cpu, V1) => cpu::v1(resources),
        (Controller::Cpu, V2) => cpu::v2(resources)?,
        (Controller::Cpuset, _) => cpuset::both(resources),
        (Controller::Pids, _) => pids::both(resources),
        (Controller::Io, V1) => io::v1(resources),
        (Controller::Io, V2) => io::v2(resources),
        (Controller::Hugetlb, V1) => hugetlb::v1(resources),
        (Controller::Hugetlb, V2) => hugetlb::v2(resources),
        (Controller::NetCls, V1) => network::classid(resources),
        (Controller::NetPrio, V1) => network::priorities(resources),
        (Controller::Rdma, _) => rdma::both(resources),
        _ => Vec::new(),
    })
}

fn unsupported(field: &'static str, why: &'static str) -> Error {
    Error::Unsupported { field, why }
}

/// `max` for a negative number.
fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}
