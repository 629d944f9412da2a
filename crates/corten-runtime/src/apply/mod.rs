//! Carrying a plan out.
//!
//! ```text
//!  parent                                 child
//!    cgroup, clone3 ─────────────────────▶ waits
//!    joins it to its cgroups, maps its ids
//!    makes every mount, as descriptors
//!    GO with the descriptors ────────────▶ moves them into place, pivot_root
//!                                          │ forks ─▶ payload: user, capabilities, seccomp, execve
//!    end of file: it runs ◀────────────────┴ becomes init
//! ```
//!
//! Whatever fails, the child is killed and reaped and the cgroup removed before the error is returned:
//! with the child its namespaces go, and with those every mount.

pub(crate) mod child;
mod exec;
mod mounts;
mod parent;
pub(crate) mod payload;
mod scene;
mod stranger;
pub(crate) mod target;
mod view;
pub(crate) mod wire;
mod workshop;

use std::os::fd::{BorrowedFd, OwnedFd};

use corten_cgroup::Cgroup;
use corten_sys::clone::Child;

pub use exec::{ExecOptions, Executed, exec};
pub(crate) use mounts::Maker;
pub(crate) use parent::{FsOwner, still_there};
pub use parent::{sealed_program, start};
pub use scene::{Scene, stage};
pub use view::view;

/// What the starter hands to the container.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// Standard input, output and error; not used if the container has a terminal.
    pub stdio: Option<[BorrowedFd<'a>; 3]>,
    /// Where corten's init writes how the payload ended: `exit CODE` or `signal NUMBER`.
    pub exit_record: Option<BorrowedFd<'a>>,
    /// What is still in its streams when it ends and nobody has that record locked goes there too; `stdio` is then
    /// open for both directions.
    pub keep_unread: bool,
    /// A FIFO at which the program waits before it is executed: its opening end blocks until `start`.
    pub start_gate: Option<BorrowedFd<'a>>,
    /// What the starter holds as a sign that it lives (a lock): the container's processes close their
    /// copies at once.
    pub starter_only: &'a [BorrowedFd<'a>],
    /// Processes, as pidfds, whose namespaces the specification joins as `/proc/PID/ns/…`. Each must still
    /// be there after those files were opened: else the number may have become another process's.
    pub joined: &'a [BorrowedFd<'a>],
}

/// A container that runs.
#[derive(Debug)]
pub struct Started {
    /// Its first process.
    pub child: Child,
    /// Its cgroup.
    pub cgroup: Option<Cgroup>,
    /// The master of its terminal.
    pub terminal: Option<OwnedFd>,
    /// What could not be done as asked and need not have been, for `inspect` to show.
    pub outcome: Outcome,
}

/// How far the host went along.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Sources of binds whose file systems cannot shift ids, so that they look as on the host.
    pub unmapped_binds: Vec<String>,
    /// Whether the overlay's layers were attached and given by path: a kernel before 6.15.
    pub layers_by_path: bool,
}
