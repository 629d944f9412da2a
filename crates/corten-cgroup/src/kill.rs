//! Signals to every process of a cgroup.

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::cgroup::Cgroup;
use crate::controller::Controller;
use crate::error::{Call, Result};
use crate::file;
use crate::wait::{self, Deadline};

/// Rounds for which a cgroup that cannot be frozen is searched for processes.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Kills everything in it and below. When it returns every process has its SIGKILL; none is left to
    /// fork. [`Cgroup::wait_empty`] waits until they are gone.
    pub fn kill_all(&self) -> Result<()> {
        if let Some(unified) = self.unified() {
            // One write, and the kernel keeps forks out (Linux 5.14).
            match file::write(&unified.dir.join("cgroup.kill"), "1") {
                Err(e) if e.errno() == Some(Errno::NOENT) && unified.dir.exists() => {}
                Err(e) if matches!(e.errno(), Some(Errno::NOENT | Errno::NODEV)) => return Ok(()),
                // EOPNOTSUPP: a threaded cgroup.
                Err(e) if e.errno() == Some(Errno::OPNOTSUPP) => {}
                other => return other,
            }
        }
        self.signal_all(Signal::KILL)
    }

    /// Sends `signal` to each process once. All are frozen meanwhile, so none can fork away from it and
    /// no pid can be given to another.
    pub fn signal_all(&self, signal: Signal) -> Result<()> {
        if self.unified().is_none() && self.dir(Controller::Freezer).is_none() {
            return self.signal_until_empty(signal);
        }
        let was_frozen = self.is_frozen()?;
        if !was_frozen {
            self.freeze()?;
        }
        let sent = self.procs().and_then(|pids| pids.into_iter().try_for_each(|pid| kill(pid, signal)));
        // v2 lets a frozen process die of SIGKILL; on v1 it must be thawed for that.
        if !was_frozen || signal == Signal::KILL {
            self.thaw()?;
        }
        sent
    }

    /// Without a freezer: again and again, for what was forked since the last look. A pidfd is taken
    /// before the list is read a second time, so what gets the signal is still in the cgroup.
    fn signal_until_empty(&self, signal: Signal) -> Result<()> {
        let deadline = Deadline::after(PATIENCE);
        let mut done = std::collections::BTreeSet::new();
        loop {
            let new: Vec<i32> = self.procs()?.into_iter().filter(|pid| done.insert(*pid)).collect();
            if new.is_empty() {
                return Ok(());
            }
            let open = |pid: i32| rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok();
            let held: Vec<_> = new.into_iter().filter_map(|pid| Some((pid, open(pid)?))).collect();
            let present = self.procs()?;
            for (pid, pidfd) in held.iter().filter(|(pid, _)| present.contains(pid)) {
                match rustix::process::pidfd_send_signal(pidfd, signal) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(e) => return Err(Call::Kill(*pid).failed(e)),
                }
            }
            deadline.left().ok_or_else(|| deadline.passed(self.life(), "empty"))?;
        }
    }

    /// Waits until no process is left in it and below.
    pub fn wait_empty(&self, limit: Duration) -> Result<()> {
        match self.unified() {
            Some(unified) => wait::v2_event(&unified.dir, "populated 0", "empty", limit),
            None => wait::v1_empty(self.life(), limit),
        }
    }
}

fn kill(pid: i32, signal: Signal) -> Result<()> {
    // 0 is a process that has no number in our pid namespace.
    let Some(pid) = Pid::from_raw(pid) else { return Err(Call::Kill(pid).failed(Errno::SRCH)) };
    match rustix::process::kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(e) => Err(Call::Kill(pid.as_raw_nonzero().get()).failed(e)),
    }
}
