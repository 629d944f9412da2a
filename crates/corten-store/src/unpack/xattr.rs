//! Which extended attributes of an archive are applied.
//!
//! `user.` and file capabilities and POSIX ACLs are content. What belongs to overlayfs is refused, for it
//! would forge the merge (opaque, redirect, metacopy). Labels of security modules and `trusted.` are the
//! host's business, not the image's, and are left out.

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::{Refusal, Skipped, UnpackError};
use crate::error::At;

const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
const ACLS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];
const CAPABILITY: &[u8] = b"security.capability";

pub(super) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Before anything of the entry is made.
pub(super) fn check(xattrs: &Xattrs, limit: usize) -> Result<(), Refusal> {
    let size = xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > limit {
        return Err(Refusal::XattrSize { size, limit });
    }
    match xattrs.iter().find(|(name, _)| OVERLAY.iter().any(|prefix| name.starts_with(prefix))) {
        Some((name, _)) => Err(Refusal::OverlayXattr(String::from_utf8_lossy(name).into_owned())),
        None => Ok(()),
    }
}

fn is_content(name: &[u8], value: &[u8]) -> bool {
    match name {
        CAPABILITY => is_for_root(value),
        name => name.starts_with(b"user.") || ACLS.contains(&name),
    }
}

/// A capability of version 3 is bound to the user namespace whose root has a given id on the machine where
/// it was made; only those for id 0, which are as version 2, mean anything here.
fn is_for_root(value: &[u8]) -> bool {
    match value {
        [_, _, _, 2, ..] => value.len() == 20,
        [_, _, _, 3, ..] => value.len() == 24 && value[20..] == [0; 4],
        _ => false,
    }
}

/// On a file or directory that is open, after its owner is set (chown takes capabilities away).
pub(super) fn apply(
    file: BorrowedFd<'_>,
    path: &Path,
    xattrs: &Xattrs,
    skipped: &mut Skipped,
) -> Result<(), UnpackError> {
    for (name, value) in xattrs {
        if !is_content(name, value) {
            skipped.xattrs += 1;
            continue;
        }
        match rustix::fs::fsetxattr(file, &name[..], value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOTSUP | Errno::PERM) => skipped.xattrs += 1,
            // An ACL that is no ACL, a capability that is none: the kernel says EINVAL.
            Err(errno) => return Err(Err::<(), _>(errno).at("fsetxattr", path).unwrap_err().into()),
        }
    }
    Ok(())
}
