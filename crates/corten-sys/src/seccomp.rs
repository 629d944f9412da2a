//! seccomp(2).

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::check;

/// One instruction of classic BPF, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if the test holds.
    pub jt: u8,
    /// Instructions to skip if it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;

/// `SECCOMP_SET_MODE_FILTER`: installs the filter for this thread and what it starts. With
/// [`FLAG_NEW_LISTENER`] in `flags` the listener's descriptor comes back.
///
/// # Errors
/// `EACCES` without `no_new_privs` or `CAP_SYS_ADMIN`; `EINVAL` for a program that the kernel refuses.
pub fn set_mode_filter(program: &[Instruction], flags: u32) -> Result<Option<OwnedFd>, Errno> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let fprog = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: `Instruction` has the layout of sock_filter; the kernel only reads `length` of them.
    let ret = check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const fprog)
    })?;
    if flags & FLAG_NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with NEW_LISTENER the return value is a new descriptor that nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(ret as i32) }))
}
