//! Signals: masks, sigtimedwait(2), signalfd(2), kill(2).

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::check;

pub use libc::{
    SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGQUIT, SIGSTOP, SIGTERM, SIGTTIN, SIGTTOU, SIGWINCH,
};

/// A set of signals.
#[derive(Clone, Copy)]
pub struct SignalSet(libc::sigset_t);

impl SignalSet {
    /// Every signal.
    #[must_use]
    pub fn all() -> Self {
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: sigfillset initialises the whole set.
        unsafe {
            libc::sigfillset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    /// No signal.
    #[must_use]
    pub fn empty() -> Self {
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the whole set.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    /// The set with one signal more.
    #[must_use]
    pub fn with(mut self, signal: i32) -> Self {
        // SAFETY: the set is initialised; a signal number out of range is an error and changes nothing.
        unsafe { libc::sigaddset(&raw mut self.0, signal) };
        self
    }

    /// The set with one signal fewer.
    #[must_use]
    pub fn without(mut self, signal: i32) -> Self {
        // SAFETY: as in `with`.
        unsafe { libc::sigdelset(&raw mut self.0, signal) };
        self
    }
}

/// Replaces the mask of blocked signals and returns the one before.
pub fn set_mask(set: &SignalSet) -> SignalSet {
    let mut old = SignalSet::empty();
    // SAFETY: both sets are initialised; SIG_SETMASK with valid pointers cannot fail.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set.0, &raw mut old.0) };
    old
}

/// Waits until one of the blocked signals in `set` is pending, takes it and returns its number.
pub fn wait(set: &SignalSet) -> i32 {
    loop {
        // SAFETY: the set is initialised; no information is asked for.
        let signal = unsafe { libc::sigwaitinfo(&raw const set.0, std::ptr::null_mut()) };
        if signal > 0 {
            return signal;
        }
    }
}

/// signalfd(2): a descriptor that yields the blocked signals of `set`, close-on-exec and non-blocking.
///
/// # Errors
/// What signalfd(2) says.
pub fn signalfd(set: &SignalSet) -> Result<OwnedFd, Errno> {
    // SAFETY: the set is initialised; -1 asks for a new descriptor.
    let fd = check(i64::from(unsafe {
        libc::signalfd(-1, &raw const set.0, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    }))?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The size of one record that a signalfd yields; its first four bytes are the signal's number.
pub const SIGNALFD_RECORD: usize = std::mem::size_of::<libc::signalfd_siginfo>();

/// Sets the action of every signal that a container's program could inherit as ignored back to the
/// default: `corten` itself ignores SIGPIPE, and what started us may have ignored more.
pub fn reset_ignored() {
    for signal in [libc::SIGPIPE, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: SIG_DFL is a valid action for each of these.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Makes writing to a closed pipe an error and not the end.
pub fn ignore_pipe() {
    // SAFETY: SIG_IGN is a valid action for SIGPIPE.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// kill(2). A negative `pid` names a process group, -1 everything that may be signalled.
///
/// # Errors
/// What kill(2) says.
pub fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: no memory is involved.
    check(i64::from(unsafe { libc::kill(pid, signal) })).map(drop)
}

/// The names of the signals 1 to 31 without `SIG`, x86-64 and arm64.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The number of the signal that a user names: `9`, `KILL`, `SIGKILL`, `RTMIN+3`, in any case.
#[must_use]
pub fn parse(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(position) = NAMES.iter().position(|&known| known == bare) {
        return Some(position as i32 + 1);
    }
    match bare {
        "IOT" => return Some(libc::SIGABRT),
        "POLL" => return Some(libc::SIGIO),
        "CLD" => return Some(libc::SIGCHLD),
        "RTMIN" => return Some(34),
        "RTMAX" => return Some(64),
        _ => {}
    }
    let number = if let Some(offset) = bare.strip_prefix("RTMIN+") {
        34 + offset.parse::<i32>().ok()?
    } else {
        64 - bare.strip_prefix("RTMAX-")?.parse::<i32>().ok()?
    };
    (34..=64).contains(&number).then_some(number)
}

/// The name of a signal with `SIG`, as Docker prints it.
#[must_use]
pub fn name(signal: i32) -> String {
    match usize::try_from(signal) {
        Ok(number @ 1..=31) => format!("SIG{}", NAMES[number - 1]),
        _ if signal == 34 => "SIGRTMIN".to_owned(),
        _ => format!("SIGRTMIN+{}", signal - 34),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [
            ("9", Some(9)),
            ("KILL", Some(9)),
            ("sigterm", Some(15)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("0", None),
            ("65", None),
            ("SIGNOPE", None),
            ("RTMIN+99", None),
        ] {
            assert_eq!(parse(text), number, "{text}");
        }
        assert_eq!(name(15), "SIGTERM");
        assert_eq!(name(37), "SIGRTMIN+3");
    }
}
