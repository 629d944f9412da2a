//! The engine's own steps of a script, one function each, for `corten internal`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_runtime::step::Joined;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::container;
use crate::dirs::{Dirs, make_private};
use crate::error::EngineError;
use crate::volume::{self, Content};
use crate::{lease, record};

/// Makes what a container of the image `host` needs in its directory.
///
/// # Errors
/// The call that failed.
pub fn prepare_host_image(container_dir: &Path) -> Result<(), EngineError> {
    make_private(container_dir)?;
    crate::host_image::prepare(container_dir, false).map(drop)
}

/// Makes a volume that nobody gave a name to.
///
/// # Errors
/// As [`volume::create`].
pub fn make_volume(dirs: &Dirs, name: &str) -> Result<(), EngineError> {
    volume::create_anonymous(dirs, name).map(drop)
}

/// Finishes the filling of a volume that was begun. An empty one gets what is at `path` in these layers, the
/// uppermost first, if there are any; `scratch` is a directory of the container's own.
///
/// # Errors
/// The call that failed.
pub fn fill_volume(volume: &Path, path: &str, lowers: &[PathBuf], scratch: &Path) -> Result<(), EngineError> {
    let content = Content { lowers, mounts: &[], scratch };
    volume::fill(volume, path, (!lowers.is_empty()).then_some(&content))
}

/// The first process of a container that runs with this block of ids (0: it has none of its own), as
/// [`Process::open`] takes it.
///
/// # Errors
/// It does not run, or was started again since.
pub fn running(dirs: &Dirs, id: &str, first_id: u32) -> Result<String, EngineError> {
    let found = container::find(dirs, id)?;
    let refuse = |why: &str| EngineError::Join {
        what: "namespaces",
        name: found.record.name.clone(),
        why: why.to_owned(),
    };
    if !found.state.is_alive() {
        return Err(refuse("it is not running"));
    }
    if found.state.first_id != first_id {
        return Err(refuse("it was started again since, with other user ids: print the script again"));
    }
    Ok(format!("{}:{}", found.state.pid, found.state.pid_start))
}

/// Gives back the blocks of user ids that a container holds.
///
/// # Errors
/// The call that failed.
pub fn release(dirs: &Dirs, id: &str) -> Result<(), EngineError> {
    lease::release_of(dirs, id)
}

/// A process that is held on to.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    pidfd: OwnedFd,
}

impl Process {
    /// Finds it by `PID:START`, its number and when it started. `None`: it has ended.
    #[must_use]
    pub fn open(text: &str) -> Option<Self> {
        let (pid, start) = text.split_once(':')?;
        let (pid, start): (i32, u64) = (pid.parse().ok()?, start.parse().ok()?);
        let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        // Only now is the number held.
        (record::start_of(pid).ok()? == Some(start)).then_some(Self { pid, pidfd })
    }

    /// As the runtime takes it.
    #[must_use]
    pub fn joined(&self) -> Joined<'_> {
        Joined { pid: self.pid, pidfd: self.pidfd.as_fd() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let start = record::start_of(pid).unwrap().unwrap();
        assert_eq!(Process::open(&format!("{pid}:{start}")).unwrap().joined().pid, pid);
        for wrong in [format!("{pid}:{}", start + 1), format!("{pid}"), "0:0".to_owned(), "x:1".to_owned()] {
            assert!(Process::open(&wrong).is_none(), "{wrong}");
        }
    }
}
