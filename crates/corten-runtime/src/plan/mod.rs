//! The plan: a list of small operations, in the order in which they happen.
//!
//! Building it makes no system call. Everything that an operation needs is in it already as the C
//! strings that the kernel takes, so that the child, which walks its part after the clone, allocates
//! nothing. Each operation says who carries it out and can describe itself.

mod build;
mod convert;
pub mod exec;
mod op;
mod sysctl;

pub use build::build;
pub use convert::STANDARD_NODES;
pub(crate) use convert::{c_string, overlay_op, search_places};
pub use exec::{ExecPlan, ExecSpec};
pub(crate) use op::c_path as path_string;
pub use op::{Actor, CloneOp, DevOp, NodeOp, Op, OverlayOp, Slot};
pub use sysctl::{SysctlNamespace, sysctl_namespace};

use std::ffi::CString;

use corten_sys::exec::StringVector;

use crate::spec::Spec;

/// How a container is made.
#[derive(Debug)]
pub struct Plan {
    /// What happens, in order; [`Op::actor`] says who does it.
    pub ops: Vec<Op>,
    /// How many descriptors the parent prepares for the child.
    pub slots: usize,
    /// The program's environment; the last entry is the reserved `HOME=`, if `fill_home`.
    pub env: StringVector,
    /// Whether `HOME` comes from the user's entry.
    pub fill_home: bool,
    /// Where the program is looked for: `PATH` of its environment.
    pub search_path: Vec<CString>,
    /// The specification that it was made from.
    pub spec: Spec,
}

impl Plan {
    /// The operations of one actor, with their positions in the plan.
    pub fn of(&self, actor: Actor) -> impl Iterator<Item = (usize, &Op)> {
        self.ops.iter().enumerate().filter(move |(_, op)| op.actor() == actor)
    }
}
