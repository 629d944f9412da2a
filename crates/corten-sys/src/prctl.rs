//! prctl(2).

use rustix::io::Errno;

use crate::check;

/// Effective-capability fix-ups on set*uid are off.
pub const SECBIT_NO_SETUID_FIXUP: u64 = 1 << 2;
/// Uid 0 gives no capabilities at exec.
pub const SECBIT_NOROOT: u64 = 1 << 0;
/// `SECBIT_NOROOT` cannot be changed any more.
pub const SECBIT_NOROOT_LOCKED: u64 = 1 << 1;

fn prctl(option: i32, arg2: u64, arg3: u64) -> Result<i64, Errno> {
    // SAFETY: only options whose arguments are integers come through here.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, arg2, arg3, 0u64, 0u64) })
}

/// `PR_SET_SECUREBITS`.
///
/// # Errors
/// What prctl(2) says.
pub fn set_secure_bits(bits: u64) -> Result<(), Errno> {
    prctl(libc::PR_SET_SECUREBITS, bits, 0).map(drop)
}

/// `PR_SET_KEEPCAPS`: permitted capabilities survive the next change to a user that is not root.
///
/// # Errors
/// What prctl(2) says.
pub fn set_keep_caps(keep: bool) -> Result<(), Errno> {
    prctl(libc::PR_SET_KEEPCAPS, u64::from(keep), 0).map(drop)
}

/// `PR_SET_NO_NEW_PRIVS`: no exec gives more than this process has.
///
/// # Errors
/// What prctl(2) says.
pub fn set_no_new_privs() -> Result<(), Errno> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// `PR_SET_DUMPABLE`: whether others may ptrace this process and open its `/proc/PID/fd`.
///
/// # Errors
/// What prctl(2) says.
pub fn set_dumpable(dumpable: bool) -> Result<(), Errno> {
    prctl(libc::PR_SET_DUMPABLE, u64::from(dumpable), 0).map(drop)
}

/// `PR_SET_PDEATHSIG`: the signal that this process gets when its parent dies.
///
/// # Errors
/// What prctl(2) says.
pub fn set_parent_death_signal(signal: i32) -> Result<(), Errno> {
    prctl(libc::PR_SET_PDEATHSIG, signal as u64, 0).map(drop)
}

/// `PR_SET_CHILD_SUBREAPER`: orphans below this process become its children.
///
/// # Errors
/// What prctl(2) says.
pub fn set_child_subreaper() -> Result<(), Errno> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0).map(drop)
}

/// `PR_CAPBSET_DROP`.
///
/// # Errors
/// `EINVAL` for a capability that the kernel does not know.
pub fn drop_bounding(capability: u8) -> Result<(), Errno> {
    prctl(libc::PR_CAPBSET_DROP, u64::from(capability), 0).map(drop)
}

/// `PR_CAP_AMBIENT_RAISE`.
///
/// # Errors
/// `EPERM` if the capability is not both permitted and inheritable.
pub fn raise_ambient(capability: u8) -> Result<(), Errno> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, u64::from(capability)).map(drop)
}

/// `PR_CAP_AMBIENT_CLEAR_ALL`.
///
/// # Errors
/// What prctl(2) says.
pub fn clear_ambient() -> Result<(), Errno> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0).map(drop)
}

/// `PR_SET_NAME`: the name that ps shows for this thread, at most 15 bytes.
///
/// # Errors
/// What prctl(2) says.
pub fn set_name(name: &std::ffi::CStr) -> Result<(), Errno> {
    // SAFETY: the kernel reads a C string of at most 16 bytes, or fewer where it ends before.
    check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_NAME, name.as_ptr(), 0u64, 0u64, 0u64) })
        .map(drop)
}
