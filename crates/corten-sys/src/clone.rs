//! clone3(2), used as a fork that makes namespaces at once.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::check;

pub use libc::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS,
    CLONE_PARENT,
};

/// `CLONE_NEWTIME`: clone3 takes it since Linux 5.6 (clone(2) has no bit left for it).
pub const CLONE_NEWTIME: i32 = 0x80;
/// `CLONE_INTO_CGROUP`: cgroup v2 only, since Linux 5.7.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What the new process gets of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct CloneArgs<'a> {
    /// `CLONE_NEW*` bits.
    pub namespaces: u64,
    /// The cgroup (v2) that the child starts in.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// A child and the descriptor that stands for it.
#[derive(Debug)]
pub struct Child {
    /// The process id in the caller's pid namespace.
    pub pid: Pid,
    /// Refers to this very process, whatever happens to its number.
    pub pidfd: OwnedFd,
}

// glibc's own record of whether a second thread was ever started (since glibc 2.32).
unsafe extern "C" {
    static __libc_single_threaded: libc::c_char;
}

/// Whether this process has only ever had one thread, as glibc knows it.
#[must_use]
pub fn single_threaded() -> bool {
    // SAFETY: a byte that glibc defines and only writes from a lone thread or with a lock held.
    unsafe { std::ptr::read_volatile(&raw const __libc_single_threaded) != 0 }
}

/// Makes a child in new namespaces; the child runs `child` and exits with what that returns.
///
/// The address space is copied, not shared, so to the child this is a fork. Memory of a process with
/// threads may be in the middle of another thread's change, so such a caller gets `EDEADLK` and no
/// child. Panics of `child` abort it.
///
/// # Errors
/// What clone3(2) says; `EDEADLK` for a process that has threads.
pub fn clone3(args: CloneArgs<'_>, child: impl FnOnce() -> i32) -> Result<Child, Errno> {
    if !single_threaded() {
        return Err(Errno::DEADLK);
    }
    let mut pidfd: libc::c_int = -1;
    // SAFETY: an all-zero clone_args is the documented "nothing asked for".
    let mut raw: libc::clone_args = unsafe { std::mem::zeroed() };
    raw.flags = args.namespaces | libc::CLONE_PIDFD as u64;
    raw.pidfd = (&raw mut pidfd) as u64;
    raw.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = args.cgroup {
        raw.flags |= CLONE_INTO_CGROUP;
        raw.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: no CLONE_VM and no stack: the child goes on with a copy of this stack, as after fork(2);
    // there is no second thread whose locks could be held in the copy. `raw` and `pidfd` outlive the call.
    let ret = check(unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut raw, std::mem::size_of::<libc::clone_args>())
    })?;
    if ret == 0 {
        crate::wait::exit(child());
    }
    // SAFETY: with CLONE_PIDFD the kernel stored a new descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let pid = Pid::from_raw(ret as i32).ok_or(Errno::SRCH)?;
    Ok(Child { pid, pidfd })
}

/// A plain fork: [`clone3`] without namespaces.
///
/// # Errors
/// As [`clone3`].
pub fn fork(child: impl FnOnce() -> i32) -> Result<Child, Errno> {
    clone3(CloneArgs::default(), child)
}

/// Makes a child of the *caller's parent* (`CLONE_PARENT`): what joins namespaces first and clones then
/// leaves the result to whoever waits for it. Only its number, in the caller's pid namespace, comes back.
///
/// # Errors
/// As [`clone3`].
pub fn clone3_sibling(namespaces: u64, child: impl FnOnce() -> i32) -> Result<Pid, Errno> {
    if !single_threaded() {
        return Err(Errno::DEADLK);
    }
    // SAFETY: an all-zero clone_args is the documented "nothing asked for".
    let mut raw: libc::clone_args = unsafe { std::mem::zeroed() };
    // The exit signal is that of the caller; clone3 requires the field to be 0 with CLONE_PARENT.
    raw.flags = namespaces | CLONE_PARENT as u64;
    // SAFETY: as in `clone3`.
    let ret = check(unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut raw, std::mem::size_of::<libc::clone_args>())
    })?;
    if ret == 0 {
        crate::wait::exit(child());
    }
    Pid::from_raw(ret as i32).ok_or(Errno::SRCH)
}

/// unshare(2) for a process of one thread.
///
/// # Errors
/// What unshare(2) says; `EDEADLK` for a process that has threads.
pub fn unshare(namespaces: i32) -> Result<(), Errno> {
    if !single_threaded() {
        return Err(Errno::DEADLK);
    }
    // SAFETY: no memory is involved; without threads, none can be surprised by the change.
    check(i64::from(unsafe { libc::unshare(namespaces) })).map(drop)
}

/// setns(2): enters the namespaces that `fd` (a namespace file, or a pidfd with several `CLONE_NEW*`
/// bits) stands for.
///
/// # Errors
/// What setns(2) says.
pub fn setns(fd: BorrowedFd<'_>, namespaces: i32) -> Result<(), Errno> {
    // SAFETY: no memory is involved.
    check(i64::from(unsafe { libc::setns(fd.as_raw_fd(), namespaces) })).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Test binaries have threads, so the successful path is exercised by `tests/clone.rs`, which has none.
    #[test]
    fn a_process_with_threads_gets_no_child() {
        std::thread::spawn(|| assert_eq!(fork(|| 0).unwrap_err(), Errno::DEADLK)).join().unwrap();
    }
}
