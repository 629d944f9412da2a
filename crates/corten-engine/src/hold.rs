//! The lock of a container: a directory that is there while somebody changes something of it.
//!
//! Whoever makes, starts, attends or removes a container makes `<run>/<id>/` first, holds flock(2) on that
//! very directory all the time, and removes it last. So the directory is the journal of what is under way:
//!
//! ```text
//!   not there          nothing is under way; at most a container that was made and has ended
//!   there and locked   somebody is at work, or a monitor attends it
//!   there, unlocked    whoever that was died: corten_engine::collect finishes it
//! ```
//!
//! The lock belongs to the open file description: the monitor inherits it by fork(2), without a moment in
//! between, and the kernel drops it with the last copy, however its holder ends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_sys::wait::Exit;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, fstat, openat};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use crate::dirs::{Dirs, make_private};
use crate::error::{At, EngineError};

/// How often a collector may remove the directory between our making it and our locking it.
const RACES: u32 = 64;

/// Held until it, and every copy of it in a forked process, is closed.
#[derive(Debug)]
pub(crate) struct Hold(OwnedFd);

impl Hold {
    /// Waits until nobody else holds it.
    pub(crate) fn take(dirs: &Dirs, id: &str) -> Result<Self, EngineError> {
        let path = dirs.live(id);
        for _ in 0..RACES {
            make_private(&path)?;
            if let Some(hold) = Self::take_by(CWD, &path, FlockOperation::LockExclusive)? {
                return Ok(hold);
            }
        }
        Err(Errno::BUSY).at("flock", path)
    }

    /// `None` if somebody else holds it, or nobody has it under way.
    pub(crate) fn try_existing(dirs: &Dirs, id: &str) -> Result<Option<Self>, EngineError> {
        Ok(match Self::try_at(CWD, &dirs.live(id))? {
            Tried::Taken(hold) => Some(hold),
            Tried::Held | Tried::Gone => None,
        })
    }

    /// Without waiting; `path` is from `dir` on. In three system calls.
    pub(crate) fn try_at(dir: impl AsFd, path: &Path) -> Result<Tried, EngineError> {
        match Self::take_by(dir, path, FlockOperation::NonBlockingLockExclusive) {
            Err(EngineError::Call { errno: Errno::WOULDBLOCK, .. }) => Ok(Tried::Held),
            other => Ok(other?.map_or(Tried::Gone, Tried::Taken)),
        }
    }

    /// As [`Hold::try_existing`], making the directory if it is not there.
    pub(crate) fn try_take(dirs: &Dirs, id: &str) -> Result<Option<Self>, EngineError> {
        make_private(&dirs.live(id))?;
        Self::try_existing(dirs, id)
    }

    /// That of a process which executed itself again.
    pub(crate) fn inherited(dir: OwnedFd) -> Self {
        Self(dir)
    }

    fn take_by(dir: impl AsFd, path: &Path, operation: FlockOperation) -> Result<Option<Self>, EngineError> {
        let Some(dir) = open(dir, path)? else { return Ok(None) };
        lock(&dir, operation).at("flock", path)?;
        // Removed while we waited: what is at the path now, if anything, is another directory.
        let there = fstat(&dir).at("fstat", path)?.st_nlink > 0;
        Ok(there.then_some(Self(dir)))
    }
}

/// What a try to take a hold came to.
pub(crate) enum Tried {
    /// Somebody else holds it.
    Held,
    /// Nobody has the container under way.
    Gone,
    Taken(Hold),
}

/// A wait for a lock that somebody holds, which news of the container end too: whoever starts it shows its
/// state and goes on holding it.
pub(crate) struct Waiting {
    path: PathBuf,
    dir: OwnedFd,
    news: OwnedFd,
}

impl Waiting {
    /// News from now on count. `None` if nobody has it under way any more.
    pub(crate) fn begin(dirs: &Dirs, id: &str) -> Result<Option<Self>, EngineError> {
        let path = dirs.live(id);
        let Some(dir) = open(CWD, &path)? else { return Ok(None) };
        let news = inotify::init(CreateFlags::CLOEXEC).at("inotify_init1", "")?;
        match inotify::add_watch(&news, &path, WatchFlags::MOVED_TO | WatchFlags::ONLYDIR) {
            Err(Errno::NOENT) => Ok(None),
            other => other.at("inotify_add_watch", &path).map(|_| Some(Self { path, dir, news })),
        }
    }

    /// Waits; `None` if there are news, or it went with whoever held it. No call waits for both, so a child
    /// waits for the lock: it belongs to the open file, which is this process's as well. The caller has one
    /// thread.
    pub(crate) fn end(self) -> Result<Option<Hold>, EngineError> {
        let waits = || {
            let with_us = corten_sys::prctl::set_parent_death_signal(corten_sys::signal::SIGKILL);
            i32::from(with_us.is_err() || lock(&self.dir, FlockOperation::LockExclusive).is_err())
        };
        let child = corten_sys::clone::fork(waits).at("fork", &self.path)?;
        let mut fds = [PollFd::new(&child.pidfd, PollFlags::IN), PollFd::new(&self.news, PollFlags::IN)];
        while let Err(errno) = poll(&mut fds, None) {
            if errno != Errno::INTR {
                return Err(errno).at("poll", &self.path);
            }
        }
        // If it has just got it, that ends with the descriptor.
        let _ended = pidfd_send_signal(&child.pidfd, Signal::KILL);
        let end = corten_sys::wait::wait_pidfd(child.pidfd.as_fd()).at("waitid", &self.path)?;
        if end != Exit::Code(0) {
            return Ok(None);
        }
        let there = fstat(&self.dir).at("fstat", &self.path)?.st_nlink > 0;
        Ok(there.then_some(Hold(self.dir)))
    }
}

fn open(dir: impl AsFd, path: &Path) -> Result<Option<OwnedFd>, EngineError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(dir, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => Ok(None),
        other => other.at("open", path).map(Some),
    }
}

fn lock(dir: &OwnedFd, operation: FlockOperation) -> Result<(), Errno> {
    loop {
        match flock(dir, operation) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

impl AsFd for Hold {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs() -> (tempfile::TempDir, Dirs) {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs { root: dir.path().join("root"), run: dir.path().join("run"), rootless: None };
        (dir, dirs)
    }

    #[test]
    fn one_holds_and_a_copy_holds_on() {
        let (_dir, dirs) = dirs();
        let hold = Hold::take(&dirs, "a").unwrap();
        assert!(Hold::try_take(&dirs, "a").unwrap().is_none());
        let copy = rustix::io::dup(&hold).unwrap();
        drop(hold);
        assert!(Hold::try_existing(&dirs, "a").unwrap().is_none());
        drop(copy);
        assert!(Hold::try_existing(&dirs, "a").unwrap().is_some());
        assert!(Hold::try_existing(&dirs, "b").unwrap().is_none());
        assert!(!dirs.live("b").exists());
    }

    #[test]
    fn who_waited_for_a_directory_that_went_gets_the_new_one() {
        let (_dir, dirs) = dirs();
        let hold = Hold::take(&dirs, "a").unwrap();
        let waiting = {
            let dirs = dirs.clone();
            std::thread::spawn(move || Hold::take(&dirs, "a").unwrap())
        };
        std::fs::remove_dir(dirs.live("a")).unwrap();
        drop(hold);
        let taken = waiting.join().unwrap();
        assert!(dirs.live("a").is_dir());
        assert!(Hold::try_existing(&dirs, "a").unwrap().is_none());
        drop(taken);
    }
}
