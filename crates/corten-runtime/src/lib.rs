//! A container from its specification.
//!
//! ```text
//!   Spec ──plan::build──▶ Plan ──apply::start──▶ Container
//!                          └────explain::script─▶ a shell script
//! ```
//!
//! A [`spec::Spec`] is resolved and valid. [`plan::build`] turns it into a list of small operations and
//! makes no system call. [`apply::start`] carries the list out: each operation says who does it, the
//! parent, which has the host's capabilities, or the child, which has those of its own user namespace.
//!
//! Nothing here knows images, networks or the names of containers.

#![forbid(unsafe_code)]

pub mod apply;
pub mod error;
pub mod explain;
pub mod init;
pub mod plan;
pub mod spec;
pub mod step;
pub mod user;

pub use error::{SpecError, StartError};
pub use plan::{ExecPlan, Op, Plan};
pub use spec::Spec;
