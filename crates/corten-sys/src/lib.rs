//! The kernel: wrappers, named as their man pages are, for the calls that `rustix` lacks, and probes
//! of kernel features.
//!
//! This is the only crate of Corten that says `unsafe`. It holds no policy: it neither decides which
//! call to make nor what to do when one fails. Every function is callable from a process that has
//! just been cloned: none allocates, unless its documentation says so.

#![allow(unsafe_code)]

pub mod bpf;
pub mod caps;
pub mod clone;
pub mod cwd;
pub mod entry;
pub mod error;
pub mod exec;
pub mod fd;
pub mod ids;
pub mod ioctl;
pub mod keyring;
pub mod mount;
pub mod mountinfo;
pub mod open;
pub mod prctl;
pub mod rlimit;
pub mod seccomp;
pub mod signal;
pub mod tree;
pub mod wait;

pub use error::{CallError, errno_name};

use rustix::io::Errno;

/// The result of a raw system call: its value, or the `errno` that the kernel left.
fn check(ret: libc::c_long) -> Result<libc::c_long, Errno> {
    if ret < 0 {
        // SAFETY: errno is a thread-local integer; glibc guarantees a valid pointer to it.
        Err(Errno::from_raw_os_error(unsafe { *libc::__errno_location() }))
    } else {
        Ok(ret)
    }
}
