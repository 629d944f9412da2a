//! Waiting for a state of a cgroup, by the kernel's own events wherever there are any.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use crate::error::{Call, Error, Result};
use crate::file;

/// A point in time by which something must be so.
pub(crate) struct Deadline {
    start: Instant,
    limit: Duration,
}

impl Deadline {
    pub(crate) fn after(limit: Duration) -> Deadline {
        Deadline { start: Instant::now(), limit }
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    pub(crate) fn left(&self) -> Option<Duration> {
        self.limit.checked_sub(self.start.elapsed()).filter(|left| !left.is_zero())
    }

    pub(crate) fn passed(&self, dir: &Path, wanted: &'static str) -> Error {
        Error::Timeout { dir: dir.to_owned(), wanted, waited_ms: self.limit.as_millis() as u64 }
    }
}

/// Polls one descriptor for `flags`; false when the time is over.
pub(crate) fn poll(fd: impl AsFd, flags: PollFlags, limit: Duration) -> Result<bool, Errno> {
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
    let mut fds = [PollFd::new(&fd, flags)];
    match rustix::event::poll(&mut fds, Some(&limit)) {
        Ok(n) => Ok(n > 0),
        Err(Errno::INTR) => Ok(true),
        Err(e) => Err(e),
    }
}

/// Waits until `cgroup.events` of v2 has `line` (`populated 0`, `frozen 1`). kernfs raises POLLPRI at
/// each change since the last read. A cgroup that is gone (ENODEV, ENOENT) counts as unpopulated.
pub(crate) fn v2_event(dir: &Path, line: &str, wanted: &'static str, limit: Duration) -> Result<()> {
    let path = dir.join("cgroup.events");
    let gone = line == "populated 0";
    let deadline = Deadline::after(limit);
    let fd = match file::open_read(&path) {
        Ok(fd) => fd,
        Err(Errno::NOENT) if gone => return Ok(()),
        Err(e) => return Err(Call::Open(path).failed(e)),
    };
    loop {
        match file::reread(&fd, &path) {
            Ok(text) if text.lines().any(|l| l == line) => return Ok(()),
            Err(e) if gone && e.errno() == Some(Errno::NODEV) => return Ok(()),
            other => other?,
        };
        let left = deadline.left().ok_or_else(|| deadline.passed(dir, wanted))?;
        poll(&fd, PollFlags::PRI, left).map_err(|e| Call::Poll(path.clone()).failed(e))?;
    }
}

/// Waits on v1, which tells nothing by itself, until no process is left: by a pidfd of each.
pub(crate) fn v1_empty(dir: &Path, limit: Duration) -> Result<()> {
    let deadline = Deadline::after(limit);
    let mut pause = Duration::from_micros(50);
    loop {
        let pids = file::procs_below(dir)?;
        let Some(pid) = pids.first() else { return Ok(()) };
        let left = deadline.left().ok_or_else(|| deadline.passed(dir, "empty"))?;
        let pidfd = Pid::from_raw(*pid).map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()));
        match pidfd {
            Some(Ok(pidfd)) => {
                poll(&pidfd, PollFlags::IN, left).map_err(|e| Call::Poll(dir.to_owned()).failed(e))?;
            }
            // Dead and not yet out of the list, or of another pid namespace (0): nothing to poll.
            _ => {
                std::thread::sleep(pause.min(left));
                pause = (pause * 2).min(Duration::from_millis(10));
            }
        }
    }
}
