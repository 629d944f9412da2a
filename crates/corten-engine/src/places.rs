//! The layer below every image: empty places for what each container has mounted.
//!
//! An image seldom has /etc/hosts or /sys. Made in the container's own layer at each start, these places
//! would cost a copy of /etc, three files and three directories on the disk, and again to remove them; and
//! they would show as changes of the container. Whatever an image has at their paths goes before.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::dirs::{Dirs, make_private};
use crate::error::{At, EngineError};

/// Grows when the list below does.
const VERSION: &str = "1";
const DIRECTORIES: [(&str, u32); 4] = [("dev", 0o755), ("etc", 0o755), ("proc", 0o555), ("sys", 0o555)];
const FILES: [&str; 3] = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];

/// Where the start of a container makes it; what is left there is collected with the container.
pub(crate) fn beside(dirs: &Dirs, id: &str) -> PathBuf {
    dirs.root.join("places").join(id)
}

/// The layer, made if this store has none yet: whole under its name, or not at all.
pub(crate) fn layer(dirs: &Dirs, id: &str) -> Result<PathBuf, EngineError> {
    let places = dirs.root.join("places");
    let layer = places.join(VERSION);
    if rustix::fs::stat(&layer).is_ok() {
        return Ok(layer);
    }
    make_private(&places)?;
    let beside = beside(dirs, id);
    make_private(&beside)?;
    let mode = |path: &PathBuf, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    for (name, bits) in DIRECTORIES {
        let path = beside.join(name);
        make_private(&path)?;
        mode(&path, bits).at("chmod", &path)?;
    }
    for name in FILES {
        let path = beside.join(name);
        fs::write(&path, "").at("write", &path)?;
        mode(&path, 0o644).at("chmod", &path)?;
    }
    mode(&beside, 0o755).at("chmod", &beside)?;
    match rustix::fs::rename(&beside, &layer) {
        Ok(()) => {}
        // Another start was faster.
        Err(_) if layer.exists() => crate::collect::remove_tree(dirs, &beside)?,
        Err(errno) => return Err(errno).at("rename", &layer),
    }
    Ok(layer)
}
