//! setresuid(2) and its kin, by the raw calls: they change the calling thread only, which is right for
//! a process of one thread and spares glibc's broadcast to threads.

use rustix::io::Errno;

use crate::check;

/// setresuid(2) with the same id three times.
///
/// # Errors
/// What setresuid(2) says.
pub fn set_uid(uid: u32) -> Result<(), Errno> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// setresgid(2) with the same id three times.
///
/// # Errors
/// What setresgid(2) says.
pub fn set_gid(gid: u32) -> Result<(), Errno> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// setgroups(2): exactly these supplementary groups.
///
/// # Errors
/// What setgroups(2) says.
pub fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: the kernel reads `groups.len()` ids from the slice.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// setfsuid(2): who file system checks and new files are done as. The call cannot report failure; what
/// comes back is the id before it.
pub fn set_fs_uid(uid: u32) -> u32 {
    // SAFETY: no memory is involved.
    unsafe { libc::syscall(libc::SYS_setfsuid, uid) as u32 }
}

/// setfsgid(2), as [`set_fs_uid`].
pub fn set_fs_gid(gid: u32) -> u32 {
    // SAFETY: no memory is involved.
    unsafe { libc::syscall(libc::SYS_setfsgid, gid) as u32 }
}
