//! Who an overlay reads its layers as.
//!
//! Overlay keeps the credentials of whoever mounts it and checks each access to a file of a layer with
//! them. If they are a stranger's, to whom every file is "other" and who has no capability that passes a
//! file's mode over, nobody can read through that overlay what "other" may not read, the host's root
//! included, and whenever the mode came to be.

use corten_sys::CallError;
use corten_sys::caps::{self, CapSet};
use corten_sys::error::Context;
use corten_sys::ids::{set_fs_gid, set_fs_uid, set_groups};
use rustix::io::Errno;

/// The last id that there is; no file is known to have it.
const NOBODY: u32 = u32::MAX - 1;

/// Calls `act` as a stranger who may mount.
pub(crate) fn as_stranger<T>(act: impl FnOnce() -> Result<T, CallError>) -> Result<T, CallError> {
    let before = caps::get().call(|| "capget()")?;
    let groups = rustix::process::getgroups().call(|| "getgroups()")?;
    let groups: Vec<u32> = groups.into_iter().map(rustix::process::Gid::as_raw).collect();
    let (uid, gid) = (set_fs_uid(NOBODY), set_fs_gid(NOBODY));
    let become_one = || {
        // The calls do not tell whether they did it; the next one returns what is now.
        if (set_fs_uid(NOBODY), set_fs_gid(NOBODY)) != (NOBODY, NOBODY) {
            return Err(CallError::new(format!("setfsuid({NOBODY})"), Errno::PERM));
        }
        if !groups.is_empty() {
            set_groups(&[]).call(|| "setgroups([])")?;
        }
        let passing = CapSet::from_names(["DAC_OVERRIDE", "DAC_READ_SEARCH"]).unwrap_or(CapSet::ALL);
        // From the old set: changing the ids may have taken more than these away, which mounting needs.
        let effective = before.effective.without(passing);
        caps::set(caps::ThreadCaps { effective, ..before }).call(|| "capset(without CAP_DAC_OVERRIDE)")
    };
    let done = become_one().and_then(|()| act());
    set_fs_uid(uid);
    set_fs_gid(gid);
    caps::set(before).call(|| "capset(as before)")?;
    if !groups.is_empty() {
        set_groups(&groups).call(|| "setgroups(as before)")?;
    }
    done
}
