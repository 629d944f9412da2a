//! exit_group(2) and waitid(2): the end of a process.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::check;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code, 0 to 255.
    Code(u8),
    /// It was killed by this signal.
    Signal(u8),
}

impl Exit {
    /// As a shell shows it: the code, or 128 plus the signal.
    #[must_use]
    pub fn shell_code(self) -> u8 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128u8.saturating_add(signal),
        }
    }
}

/// Ends this process at once: no destructor, no `atexit` handler, no buffer of a copied parent flushed.
pub fn exit(code: i32) -> ! {
    // SAFETY: never returns; leaves nothing behind that this process would still use.
    unsafe { libc::_exit(code) }
}

/// A child that was reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaped {
    /// Its number in the caller's pid namespace.
    pub pid: i32,
    /// How it ended.
    pub exit: Exit,
}

fn wait(kind: libc::idtype_t, id: libc::id_t, flags: i32) -> Result<Option<Reaped>, Errno> {
    // SAFETY: an all-zero siginfo_t is valid; si_pid stays 0 if WNOHANG found nothing.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `info` is valid for writes during the call.
        match check(i64::from(unsafe { libc::waitid(kind, id, &raw mut info, flags | libc::WEXITED) })) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => break,
        }
    }
    // SAFETY: waitid filled the SIGCHLD members, or left the zeroes.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let exit = if info.si_code == libc::CLD_EXITED {
        Exit::Code(status as u8)
    } else {
        Exit::Signal((status & 0x7f) as u8)
    };
    Ok(Some(Reaped { pid, exit }))
}

/// Waits for the child behind `pidfd` and reaps it.
///
/// # Errors
/// `ECHILD` if it is not a child of the caller.
pub fn wait_pidfd(pidfd: BorrowedFd<'_>) -> Result<Exit, Errno> {
    wait(libc::P_PIDFD, pidfd.as_raw_fd() as libc::id_t, 0)?.map(|reaped| reaped.exit).ok_or(Errno::CHILD)
}

/// Reaps any child that has ended, without waiting.
///
/// # Errors
/// `ECHILD` if there are no children at all.
pub fn reap_any() -> Result<Option<Reaped>, Errno> {
    wait(libc::P_ALL, 0, libc::WNOHANG)
}
