//! The file system of a container that does not run, put up for whoever copies into it or out of it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_sys::CallError;
use corten_sys::clone::{CLONE_NEWNS, unshare};
use corten_sys::error::Context;
use corten_sys::open::openat2;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, move_mount};

use super::mounts::{Maker, PRIVATE};
use crate::plan::{OverlayOp, path_string};
use crate::spec::{Bind, Writable};

/// What is put up.
#[derive(Debug, Clone, Default)]
pub struct Scene {
    /// The layers of the root, the uppermost first.
    pub layers: Vec<PathBuf>,
    /// The directory that holds `upper` and `work`.
    pub writable: PathBuf,
    /// Overlay's own attributes are `user.*`.
    pub userxattr: bool,
    /// What is bound into it: the place inside, the source, `MOUNT_ATTR_*`. One whose place or source is not
    /// there is left out.
    pub binds: Vec<(String, Bind, u64)>,
}

/// Puts it up over `at`, in a mount namespace that this process, which has one thread, enters and stays in;
/// ids are those on disk. Nobody else sees any of it, and it goes with the process.
///
/// # Errors
/// The call that failed.
pub fn stage(scene: &Scene, at: &Path) -> Result<OwnedFd, CallError> {
    unshare(CLONE_NEWNS).call(|| "unshare(CLONE_NEWNS)")?;
    let private = u64::from((MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).bits());
    corten_sys::mount::mount(c"none", c"/", None, private, None)
        .call(|| "mount(\"/\", MS_REC|MS_PRIVATE)")?;
    let text = |path: &Path| {
        path_string(path).ok_or_else(|| CallError::new(format!("mount({path:?})"), Errno::INVAL))
    };
    let lowers = scene.layers.iter().map(|layer| text(layer)).collect::<Result<_, _>>()?;
    let writable = Some(Writable::Directory(text(&scene.writable)?));
    let overlay = OverlayOp { lowers, writable, userxattr: scene.userxattr, ..OverlayOp::default() };
    let pool = corten_sys::fd::Pool::default();
    let maker = Maker { userns: None, maps: None, run_dir: at, pool: &pool, unshiftable: Default::default() };
    let (tree, _) = maker.overlay(&overlay, 0)?;
    let to = text(at)?;
    move_mount(&tree, c"", CWD, to.as_c_str(), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .call(|| format!("move_mount({at:?})"))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(to.as_c_str(), flags, Mode::empty()).call(|| format!("open({at:?})"))?;
    for (place, bind, attributes) in &scene.binds {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let path = OFlags::PATH | OFlags::CLOEXEC;
        let place = match openat2(root.as_fd(), place.as_str(), path, Mode::empty(), resolve) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            other => other.call(|| format!("openat2({place:?}, RESOLVE_IN_ROOT)"))?,
        };
        let tree = match maker.bind(bind, *attributes, false, PRIVATE, || ()) {
            Err(error) if error.errno == Errno::NOENT => continue,
            other => other?,
        };
        let both = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        match move_mount(&tree, c"", &place, c"", both) {
            // A file where a directory is, or the other way round: the container would not start so either.
            Err(Errno::NOTDIR | Errno::ISDIR) => {}
            other => other.call(|| format!("move_mount({:?})", bind.source))?,
        }
    }
    Ok(root)
}
