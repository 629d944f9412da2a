//! That the kernel ran out of the memory which a container may use, told when it happens: one descriptor more in the
//! monitor's loop, of a container that has a limit. Of any other it is seen at its end.

use std::os::fd::{AsFd, BorrowedFd};

use corten_cgroup::{Cgroup, OomEvents, Version};

use super::{Monitor, Running};
use crate::record;

pub(super) struct Watch {
    events: OomEvents,
    /// How many were killed when it was last told.
    kills: u64,
}

impl Watch {
    /// Whether it happened since the last time; an error is that there will be no word of it.
    fn has_happened(&mut self, cgroup: &Cgroup) -> corten_cgroup::Result<bool> {
        if !self.events.drain()? {
            return Ok(false);
        }
        if self.events.version() == Version::V1 {
            return Ok(true);
        }
        let before = std::mem::replace(&mut self.kills, cgroup.oom_kills()?);
        Ok(self.kills > before)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

impl Monitor {
    /// `told` of it already, by the monitor before.
    pub(super) fn watch_memory(&self, cgroup: Option<&Cgroup>, told: bool) -> Option<Watch> {
        let cgroup = cgroup.filter(|_| self.config.resources.memory_bytes.is_some_and(|limit| limit > 0))?;
        // Without it it is told at the end.
        let events = cgroup.oom_events().ok()?;
        let kills = if told { cgroup.oom_kills().unwrap_or(0) } else { 0 };
        Some(Watch { events, kills })
    }

    /// Tells of it, if it has happened. The state says so from then on.
    pub(super) fn attend_memory(&self, running: &mut Running) {
        let (Some(watch), Some(cgroup)) = (&mut running.oom, &running.cgroup) else { return };
        match watch.has_happened(cgroup) {
            Ok(false) => return,
            Ok(true) => {}
            Err(_) => {
                running.oom = None;
                return;
            }
        }
        if !self.config.resources.oom_kill_disable && !running.state.oom_killed {
            running.state.oom_killed = true;
            self.show(&running.state);
        }
        self.tell(&[("oom", &[], record::now_ns())]);
    }
}
