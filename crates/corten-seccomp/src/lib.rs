//! A seccomp profile, in OCI or Docker form, compiled to classic BPF.
//!
//! ```text
//!   JSON ──Profile::from_json──▶ Profile ──compile(&Profile, &Context)──▶ Filter ──▶ seccomp(2)
//!                                   ▲                                        │
//!   static tables: DEFAULT                                        evaluate(&program, &SeccompData)
//! ```
//!
//! No system call is made here: a filter is bytes until the runtime installs it.
//!
//! Sources: seccomp(2); linux/seccomp.h, linux/filter.h; OCI runtime-spec config-linux.md, "Seccomp";
//! libseccomp 2.5 for what the specification leaves open.

#![forbid(unsafe_code)]

mod action;
mod arch;
mod bpf;
mod capability;
mod compile;
mod default;
mod error;
mod eval;
mod filter;
mod profile;
mod table;

pub use action::Action;
pub use arch::{Arch, ArchName, ArchSet};
pub use bpf::{Insn, MAX_INSNS};
pub use compile::{Context, compile};
pub use default::DEFAULT;
pub use error::Error;
pub use eval::{Evaluation, SeccompData, evaluate, run};
pub use filter::Filter;
pub use profile::{Architectures, Comparison, Condition, Flags, Gate, Op, Profile, Rule};
pub use table::Syscall;
