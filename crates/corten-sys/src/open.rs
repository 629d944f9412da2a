//! openat2(2) that is not put off by what others rename.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How often a path is tried again. Each try is lost only to a rename or mount that somebody, anywhere on the
/// machine, makes in the very moment.
const TRIES: u32 = 1000;

/// openat2(2). With `RESOLVE_IN_ROOT` and `RESOLVE_BENEATH` the kernel gives up with `EAGAIN` on a `..` while
/// anything on the machine is renamed or mounted; that is tried again.
///
/// # Errors
/// What openat2(2) says.
pub fn openat2(
    dir: impl AsFd,
    path: impl rustix::path::Arg,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    path.into_with_c_str(|path| {
        for _ in 1..TRIES {
            match rustix::fs::openat2(&dir, path, flags, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
        rustix::fs::openat2(&dir, path, flags, mode, resolve)
    })
}
