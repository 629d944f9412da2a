//! ioctl(2): the loopback interface and terminals.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::check;

/// Brings the loopback interface of this network namespace up (`SIOCSIFFLAGS`, netdevice(7)); the kernel
/// then gives it 127.0.0.1 and ::1.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` over the network namespace.
pub fn loopback_up(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq.
    check(i64::from(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }))
        .map(drop)
}

/// `TIOCSCTTY`: makes the terminal the controlling one of this session.
///
/// # Errors
/// `EPERM` if this process is not a session leader or has a terminal already.
pub fn set_controlling_terminal(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the argument is an integer.
    check(i64::from(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) })).map(drop)
}

/// `TIOCGPTPEER`: the other end of a pseudo-terminal, by its master and not by a path that a container
/// could have replaced (CVE-2025-52565).
///
/// # Errors
/// What ioctl_tty(2) says.
pub fn pty_peer(master: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the argument is an integer.
    let fd = check(i64::from(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }))?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// `TIOCSPTLCK`: unlocks the other end of a pseudo-terminal.
///
/// # Errors
/// What ioctl_tty(2) says.
pub fn pty_unlock(master: BorrowedFd<'_>) -> Result<(), Errno> {
    let unlocked: libc::c_int = 0;
    // SAFETY: the kernel reads one int.
    check(i64::from(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) }))
        .map(drop)
}

/// `NS_GET_USERNS`: the user namespace that owns the namespace behind `fd` (ioctl_nsfs(2)).
///
/// # Errors
/// `EPERM` if it is not the caller's own or below it.
pub fn owning_user_namespace(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    const NS_GET_USERNS: libc::c_ulong = 0xb701;
    // SAFETY: the request takes no argument.
    let fd = check(i64::from(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_USERNS) }))?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
