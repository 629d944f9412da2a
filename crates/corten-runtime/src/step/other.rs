//! What a script takes of a container that runs. Its processes see none of the script's: that would take
//! its pid namespace, which no script joins.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_sys::caps::{self, CapSet, ThreadCaps};
use corten_sys::clone::{CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWUSER, CLONE_NEWUTS};
use corten_sys::error::Context;
use rustix::fs::{Mode, OFlags};

use super::{Inside, StepError};
use crate::apply::{Maker, still_there};
use crate::error::StartError;

/// A process whose namespaces are used: it is known by its pidfd, its number is the same as long as that
/// has not ended.
#[derive(Debug, Clone, Copy)]
pub struct Joined<'a> {
    /// Its number.
    pub pid: i32,
    /// It.
    pub pidfd: BorrowedFd<'a>,
}

impl Joined<'_> {
    fn file(&self, kind: &str) -> PathBuf {
        format!("/proc/{}/ns/{kind}", self.pid).into()
    }

    fn still_there(&self) -> Result<(), StepError> {
        still_there(&[self.pidfd]).map_err(|error| match error {
            StartError::Operation { call, .. } => call.into(),
            _ => StepError::OtherEnded,
        })
    }
}

/// The namespaces that [`join`] knows, in the order in which they are entered: the user's first, which the
/// rights over the others come from.
const KINDS: [(&str, i32); 5] = [
    ("user", CLONE_NEWUSER),
    ("net", CLONE_NEWNET),
    ("ipc", CLONE_NEWIPC),
    ("uts", CLONE_NEWUTS),
    ("cgroup", CLONE_NEWCGROUP),
];

/// Enters namespaces of running containers: for each kind whose. In a user namespace the capabilities are kept
/// over an exec: who has no id there is no root.
///
/// # Errors
/// The call that failed; a container that has ended.
pub fn join<'a>(whose: impl Fn(&str) -> Option<Joined<'a>>) -> Result<(), StepError> {
    let mut files: Vec<(i32, OwnedFd)> = Vec::new();
    for (kind, bit) in KINDS {
        let Some(joined) = whose(kind) else { continue };
        let path = joined.file(kind);
        let opened = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        joined.still_there()?;
        files.push((bit, opened.call(|| format!("open({path:?})"))?));
    }
    for (bit, file) in &files {
        corten_sys::clone::setns(file.as_fd(), *bit).call(|| format!("setns({bit:#x})"))?;
    }
    if files.iter().any(|(bit, _)| *bit == CLONE_NEWUSER) {
        let all = caps::get().call(|| "capget()")?;
        caps::set(ThreadCaps { inheritable: all.permitted, ..all }).call(|| "capset()")?;
        for number in (0..CapSet::ALL.names().len() as u8).filter(|number| all.permitted.has(*number)) {
            corten_sys::prctl::raise_ambient(number)
                .call(|| format!("prctl(PR_CAP_AMBIENT_RAISE, {number})"))?;
        }
    }
    Ok(())
}

/// Attaches what a container has mounted at a path also at another path, whose place is made, in the mount
/// namespace of the file `into`.
///
/// # Errors
/// The call that failed; a container that has ended; a path with no mount of its own there.
pub fn taken(from: Joined<'_>, path: &str, attributes: u64, into: &Path, at: &Path) -> Result<(), StepError> {
    let into = Inside::open(into)?;
    let pool = corten_sys::fd::Pool::default();
    let maker = Maker { userns: None, maps: None, run_dir: at, pool: &pool, unshiftable: Default::default() };
    let path = crate::plan::c_string("mount source", path)?;
    let made = maker.taken_from(&from.file("mnt"), &path, attributes);
    from.still_there()?;
    into.attach(&made?, at)
}
