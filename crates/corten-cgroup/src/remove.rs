//! Removal: one rmdir a hierarchy if all is as it should be.

use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use crate::cgroup::Cgroup;
use crate::error::{Call, Error, Result};
use crate::file;
use crate::layout::Version;
use crate::systemd::Scope;
use crate::wait::{self, Deadline};

/// A process that was killed has left its cgroups before its parent is told, save on kernels from 6.19
/// on, which take it out a moment later.
const PATIENCE: Duration = Duration::from_secs(5);

impl Cgroup {
    /// Removes it in every hierarchy, with the cgroups that were made below it. It kills nothing: if
    /// there are processes that do not end by themselves in 5 seconds it fails with
    /// [`Error::Populated`]. To remove what is already gone is no error.
    pub fn remove(self) -> Result<()> {
        let deadline = Deadline::after(PATIENCE);
        self.members().iter().try_for_each(|m| remove_tree(&m.dir, m.version, &deadline))?;
        // Only when it is empty: systemd would kill what is in it.
        self.scope().map_or(Ok(()), Scope::stop)
    }
}

fn remove_tree(dir: &Path, version: Version, deadline: &Deadline) -> Result<()> {
    let mut pause = Duration::from_micros(100);
    loop {
        match rustix::fs::rmdir(dir) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) => {}
            Err(e) => return Err(Call::Rmdir(dir.to_owned()).failed(e)),
        }
        let Some(left) = deadline.left() else { return Err(busy(dir)?) };
        let below = file::children(dir)?.unwrap_or_default();
        if below.is_empty() {
            let emptied = match version {
                Version::V2 => wait::v2_event(dir, "populated 0", "empty", left),
                Version::V1 => wait::v1_empty(dir, left),
            };
            match emptied {
                Err(Error::Timeout { .. }) => return Err(busy(dir)?),
                other => other?,
            }
            // Empty and yet EBUSY: the kernel is about to let go of the last process.
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(20));
        } else {
            below.iter().try_for_each(|dir| remove_tree(dir, version, deadline))?;
        }
    }
}

fn busy(dir: &Path) -> Result<Error> {
    let pids = file::procs_below(dir)?;
    Ok(match pids.is_empty() {
        true => Call::Rmdir(dir.to_owned()).failed(Errno::BUSY),
        false => Error::Populated { dir: dir.to_owned(), pids },
    })
}
