//! mount_setattr(2), umount2(2) and the parts of the mount interface that rustix lacks.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::check;

/// `MOUNT_ATTR_*` of `linux/mount.h`.
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-ID bits and file capabilities have no effect.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// Programs cannot be executed.
    pub const NOEXEC: u64 = 0x8;
    /// The bits of the access-time setting (relatime is none of them).
    pub const ATIME: u64 = 0x70;
    /// Access times are never updated.
    pub const NOATIME: u64 = 0x10;
    /// Access times are always updated.
    pub const STRICTATIME: u64 = 0x20;
    /// Access times of directories are not updated.
    pub const NODIRATIME: u64 = 0x80;
    /// Ids are shifted by the user namespace that comes with it.
    pub const IDMAP: u64 = 0x0010_0000;
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// A change of a mount's attributes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change<'a> {
    /// Attributes to set, of [`attr`].
    pub set: u64,
    /// Attributes to clear.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0 to leave it.
    pub propagation: u64,
    /// The user namespace of an id shift; sets [`attr::IDMAP`].
    pub userns: Option<BorrowedFd<'a>>,
    /// The whole tree below, not the one mount.
    pub recursive: bool,
}

/// mount_setattr(2) on the mount that `fd` refers to.
///
/// # Errors
/// What mount_setattr(2) says; `EINVAL` for an id shift of a file system that has none.
pub fn mount_setattr(fd: BorrowedFd<'_>, change: Change<'_>) -> Result<(), Errno> {
    mount_setattr_at(fd, c"", change)
}

/// As [`mount_setattr`], on the mount at `path` below the directory `fd`.
///
/// # Errors
/// As [`mount_setattr`].
pub fn mount_setattr_at(fd: BorrowedFd<'_>, path: &CStr, change: Change<'_>) -> Result<(), Errno> {
    let mut attr =
        MountAttr { set: change.set, clear: change.clear, propagation: change.propagation, userns: 0 };
    if let Some(userns) = change.userns {
        attr.set |= attr::IDMAP;
        attr.userns = userns.as_raw_fd() as u64;
    }
    let flags = libc::AT_EMPTY_PATH | if change.recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the kernel reads the size that is given; the path is a C string.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attr,
            std::mem::size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// mount(2), as it always was: one call for a mount whose target was resolved before.
///
/// # Errors
/// What mount(2) says.
pub fn mount(
    source: &CStr,
    target: &CStr,
    kind: Option<&CStr>,
    flags: u64,
    data: Option<&CStr>,
) -> Result<(), Errno> {
    let kind = kind.map_or(std::ptr::null(), CStr::as_ptr);
    let data = data.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: every pointer is NULL or a C string that outlives the call; no file system that Corten
    // mounts this way takes binary data.
    check(unsafe { libc::syscall(libc::SYS_mount, source.as_ptr(), target.as_ptr(), kind, flags, data) })
        .map(drop)
}

/// fsconfig(2) with `FSCONFIG_SET_FD`, or with `FSCONFIG_SET_STRING` and the like: by number, without a copy.
///
/// # Errors
/// What fsconfig(2) says.
pub fn fsconfig_set_fd(fs: BorrowedFd<'_>, key: &CStr, fd: BorrowedFd<'_>) -> Result<(), Errno> {
    const FSCONFIG_SET_FD: u32 = 5;
    // SAFETY: the key is a C string; SET_FD takes no value pointer.
    check(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            fs.as_raw_fd(),
            FSCONFIG_SET_FD,
            key.as_ptr(),
            std::ptr::null::<libc::c_void>(),
            fd.as_raw_fd(),
        )
    })
    .map(drop)
}

/// umount2(2) with `MNT_DETACH`.
///
/// # Errors
/// What umount2(2) says.
pub fn detach(target: &CStr) -> Result<(), Errno> {
    // SAFETY: the target is a C string.
    check(i64::from(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) })).map(drop)
}

/// pivot_root(2).
///
/// # Errors
/// What pivot_root(2) says.
pub fn pivot_root(new_root: &CStr, put_old: &CStr) -> Result<(), Errno> {
    // SAFETY: both are C strings.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, new_root.as_ptr(), put_old.as_ptr()) }).map(drop)
}
