//! Layers as a container would see them, for whoever copies out of them.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use corten_sys::CallError;
use corten_sys::mount::attr;
use rustix::io::Errno;

use super::mounts::Maker;
use crate::plan::{OverlayOp, path_string};

/// A detached, read-only mount of the layers, the uppermost first, with the ids that they have on disk.
/// `scratch` is an empty directory or one that may be mounted over in a private namespace.
///
/// # Errors
/// The call that failed.
pub fn view(layers: &[PathBuf], scratch: &Path) -> Result<OwnedFd, CallError> {
    let lowers = layers
        .iter()
        .map(|layer| path_string(layer).ok_or_else(|| CallError::new(format!("{layer:?}"), Errno::INVAL)))
        .collect::<Result<_, _>>()?;
    let overlay = OverlayOp { lowers, ..OverlayOp::default() };
    let quiet = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
    let pool = corten_sys::fd::Pool::default();
    let maker =
        Maker { userns: None, maps: None, run_dir: scratch, pool: &pool, unshiftable: Default::default() };
    maker.overlay(&overlay, quiet).map(|(tree, _)| tree)
}
