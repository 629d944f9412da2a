//! keyctl(2): a session keyring of its own, so that a container does not hold its starter's keys.

use std::ffi::CStr;

use rustix::io::Errno;

use crate::check;

/// `KEYCTL_JOIN_SESSION_KEYRING` with a name (or anonymous): a new or joined keyring for this process.
///
/// # Errors
/// `ENOSYS` on a kernel without keys; `EDQUOT` where the user's quota is used up.
pub fn join_session(name: Option<&CStr>) -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: the kernel reads a C string, or takes NULL for an anonymous keyring.
    check(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            name.map_or(std::ptr::null(), CStr::as_ptr),
        )
    })
    .map(drop)
}
