//! Health checks, driven by the monitor's loop: a wait of the loop ends when one is due, and each probe has an
//! attendant of its own (`exec/probe.rs`), which the loop sees end. A container without a check has none of
//! this, and its loop no timeout.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use corten_sys::clone::Child;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Signal, pidfd_send_signal};

use super::{Monitor, PAUSED, Running};
use crate::error::EngineError;
use crate::exec::probe::{self, Outcome};
use crate::health::{Action, Check, End, Health, Now, Shown, Status};
use crate::record::{self, State};

/// After which an attendant that was to kill its probe and has not ended is killed itself: what it waits for
/// is of the container's files, and there is no probe yet.
const GRACE: Duration = Duration::from_secs(5);
/// How long the end of the container waits for the attendant.
const FAREWELL: Duration = Duration::from_secs(1);
/// include/linux/sched.h: `PF_EXITING`.
const PF_EXITING: u64 = 4;

/// The health checks of a container that runs.
pub(super) struct Checks {
    health: Health,
    /// The container had run so long already…
    ran: Duration,
    /// …at this moment.
    since: Instant,
    probe: Option<Probe>,
}

struct Probe {
    attendant: Child,
    socket: OwnedFd,
    /// It was told to kill the probe, and is killed itself at this time.
    kill_at: Option<Duration>,
}

impl Checks {
    /// Of a container that starts now.
    pub(super) fn new(check: Check) -> Self {
        let (ran, since) = (Duration::ZERO, Instant::now());
        Self { health: Health::new(check, moment(ran, since)), ran, since, probe: None }
    }

    /// Of one that runs already, as its state says.
    pub(super) fn resume(check: Check, state: &State) -> Self {
        let age = |ns: u128| nanoseconds(record::now_ns().saturating_sub(ns));
        let (ran, since) = (age(state.started_ns), Instant::now());
        let now = moment(ran, since);
        let Some(shown) = state.health.clone() else { return Self::new(check) };
        let idle = age(shown.log.back().map_or(state.started_ns, |probe| probe.end_ns));
        Self { health: Health::resumed(check, shown, Duration::ZERO, idle, now), ran, since, probe: None }
    }

    pub(super) fn shown(&self) -> &Shown {
        self.health.shown()
    }

    /// How long there is nothing to do, unless the attendant ends; `None`: for ever.
    pub(super) fn idle(&self) -> Option<Duration> {
        let kill = self.probe.as_ref().and_then(|probe| probe.kill_at);
        let next = self.health.due().into_iter().chain(kill).min()?;
        Some(next.saturating_sub(self.now().monotonic))
    }

    /// Ends when the probe has.
    pub(super) fn attendant(&self) -> Option<BorrowedFd<'_>> {
        self.probe.as_ref().map(|probe| probe.attendant.pidfd.as_fd())
    }

    /// Notes what the probe came to, whose attendant has ended; the status if it is another one now.
    fn note_end(&mut self, init: i32, now: Now) -> Option<Status> {
        let end = match self.probe.take()?.outcome() {
            Outcome::Nothing => None,
            Outcome::Ended { exit, output } => {
                let output = String::from_utf8_lossy(&output).into_owned();
                Some(End::Exited { code: exit.shell_code(), output })
            }
            Outcome::Failed(why) => Some(End::Failed(why)),
        };
        // A container that ends kills the probe before it has ended itself: that is no failure.
        match end.filter(|end| matches!(end, End::Exited { code: 0, .. }) || !is_ending(init)) {
            Some(end) => self.health.ended(end, now),
            None => {
                self.health.put_off(now);
                None
            }
        }
    }

    /// Starts or kills a probe if it is time; the status if it is another one now.
    fn proceed(&mut self, monitor: &Monitor, now: Now) -> Option<Status> {
        let action = self.health.tick(now);
        let late =
            self.probe.as_ref().is_some_and(|probe| probe.kill_at.is_some_and(|at| at <= now.monotonic));
        if action.is_none() && !late {
            return None;
        }
        let paused = monitor.is_paused();
        if let Some(probe) = self.probe.as_mut().filter(|_| late || action == Some(Action::Kill)) {
            probe.give_up();
            if late && !paused {
                let _gone = pidfd_send_signal(&probe.attendant.pidfd, Signal::KILL);
            }
            // What is frozen may not be able to end before it is thawed.
            probe.kill_at = Some(now.monotonic + GRACE);
        }
        match action {
            Some(_) if paused => self.health.put_off(now),
            // Put off before: it has not ended yet.
            Some(Action::Probe) if self.probe.is_some() => self.health.put_off(now),
            Some(Action::Probe) => match Probe::start(monitor) {
                Ok(probe) => self.probe = Some(probe),
                Err(error) => return self.health.ended(End::Failed(error.to_string()), now),
            },
            Some(Action::Kill) | None => {}
        }
        None
    }

    /// When the last probe began.
    fn last(&self) -> Option<u128> {
        self.shown().log.back().map(|probe| probe.start_ns)
    }

    /// The container has ended, and with it the probe: nobody is left behind.
    pub(super) fn finish(mut self) {
        let Some(probe) = self.probe.take() else { return };
        probe.give_up();
        if !probe.has_ended(FAREWELL) {
            let _gone = pidfd_send_signal(&probe.attendant.pidfd, Signal::KILL);
        }
        if probe.has_ended(FAREWELL) {
            let _reaped = corten_sys::wait::wait_pidfd(probe.attendant.pidfd.as_fd());
        }
    }

    fn now(&self) -> Now {
        moment(self.ran, self.since)
    }
}

fn moment(ran: Duration, since: Instant) -> Now {
    Now { monotonic: ran + since.elapsed(), wall_ns: record::now_ns() }
}

fn nanoseconds(ns: u128) -> Duration {
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

impl Probe {
    fn start(monitor: &Monitor) -> Result<Self, EngineError> {
        let (attendant, socket) = probe::start(&monitor.dirs, &monitor.id)?;
        Ok(Self { attendant, socket, kill_at: None })
    }

    /// Has it killed by its attendant.
    fn give_up(&self) {
        let _gone = shutdown(&self.socket, Shutdown::Write);
    }

    fn has_ended(&self, within: Duration) -> bool {
        let timeout = Timespec { tv_sec: within.as_secs() as i64, tv_nsec: within.subsec_nanos().into() };
        let mut fds = [PollFd::new(&self.attendant.pidfd, PollFlags::IN)];
        poll(&mut fds, Some(&timeout)).is_ok_and(|count| count > 0)
    }

    /// Of one whose attendant has ended.
    fn outcome(self) -> Outcome {
        let _reaped = corten_sys::wait::wait_pidfd(self.attendant.pidfd.as_fd());
        Outcome::hear(self.socket.as_fd())
    }
}

impl Monitor {
    /// The checks of a container that starts; what is shown of them is noted in its state.
    pub(super) fn checks(&self, state: &mut State) -> Option<Box<Checks>> {
        let checks = Checks::new(self.check()?);
        state.health = Some(checks.shown().clone());
        Some(Box::new(checks))
    }

    /// Those of one that runs already.
    pub(super) fn resumed_checks(&self, state: &State) -> Option<Box<Checks>> {
        Some(Box::new(Checks::resume(self.check()?, state)))
    }

    fn check(&self) -> Option<Check> {
        Check::of(self.config.health.as_ref()?)
    }

    /// Does what is due of the checks; `ended`: the attendant of the probe has.
    pub(super) fn attend_health(&self, running: &mut Running, ended: bool) {
        let Some(checks) = &mut running.checks else { return };
        let now = checks.now();
        let before = checks.last();
        let end = if ended { checks.note_end(running.state.pid, now) } else { None };
        let status = checks.proceed(self, now).or(end);
        if checks.last() == before {
            return;
        }
        running.state.health = Some(checks.shown().clone());
        // First: who hears of it may look at once.
        self.show(&running.state);
        if let Some(status) = status {
            self.tell(&[(&status.event(), &[], now.wall_ns)]);
        }
    }

    fn is_paused(&self) -> bool {
        rustix::fs::stat(self.dirs.live(&self.id).join(PAUSED)).is_ok()
    }
}

/// Whether a process that is not reaped yet has begun to end. The first of a pid namespace kills all others
/// first, and waits until they are reaped: nobody else can tell that it is about to go.
fn is_ending(pid: i32) -> bool {
    record::read_text(&format!("/proc/{pid}/stat")).is_none_or(|stat| stat_is_ending(&stat))
}

/// The third field of proc_pid_stat(5) and the ninth, the kernel's flags.
fn stat_is_ending(stat: &str) -> bool {
    let Some((_, rest)) = stat.rsplit_once(") ") else { return true };
    let mut fields = rest.split(' ');
    let state = fields.next().unwrap_or_default();
    let flags: u64 = fields.nth(5).and_then(|flags| flags.parse().ok()).unwrap_or(0);
    matches!(state, "Z" | "X") || flags & PF_EXITING != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_ending_is_seen() {
        let stat = |state: &str, flags: u64| format!("7 (a) R (b) {state} 1 7 7 0 -1 {flags} 90 0 0 0");
        assert!(!stat_is_ending(&stat("S", 0x40_0100)));
        assert!(stat_is_ending(&stat("S", 0x40_0100 | PF_EXITING)));
        assert!(stat_is_ending(&stat("Z", 0x40_0100)));
        assert!(stat_is_ending("torn"));
        assert!(!is_ending(std::process::id() as i32));
        assert!(is_ending(i32::MAX));
    }
}
