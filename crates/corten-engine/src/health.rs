//! Health checks, as Docker has them: a pure state machine. Time and ends of probes go in, what is to be done
//! comes out; whoever attends the container drives it.
//!
//! ```text
//!                 due                     its end
//!   Waiting ─────────────▶ Probing ─────────────────────▶ Waiting
//!     ▲ │                     │ timeout: Kill                ▲
//!     └─┘ put_off             └──────────▶ Killing ──────────┘ its end: a failure
//!
//!   starting ──success──▶ healthy ◀──success── unhealthy
//!       └────────┴─ `retries` failures in a row ───▶ ┘        (none counts in the start period, until a success)
//! ```
//!
//! Between two probes lies an interval from the end of one to the start of the next; so does the first from
//! the container's start. A container that is paused is not probed: what is due is put off by an interval.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Health as Config, HealthTest};

/// Docker's `maxOutputLen`.
pub const MAX_OUTPUT_BYTES: usize = 4096;
/// Docker's `maxLogEntries`.
const MAX_LOG: usize = 5;
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// What is checked, and when: the container's flags over the image's HEALTHCHECK, every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The command of a probe.
    pub command: Vec<String>,
    /// From one probe to the next.
    pub interval: Duration,
    /// After which a probe is killed, and has failed.
    pub timeout: Duration,
    /// After the container's start, in which failures do not count until the first success.
    pub start_period: Duration,
    /// From one probe to the next in that time.
    pub start_interval: Duration,
    /// So many failures in a row make it unhealthy.
    pub retries: u32,
}

impl Check {
    /// `None`: there is no check.
    #[must_use]
    pub fn of(config: &Config) -> Option<Self> {
        let command = match config.test.as_ref()? {
            HealthTest::None => return None,
            HealthTest::Exec(words) => words.clone(),
            HealthTest::Shell(line) => {
                let default = ["/bin/sh".to_owned(), "-c".to_owned()];
                let shell = if config.shell.is_empty() { &default[..] } else { &config.shell };
                [shell, std::slice::from_ref(line)].concat()
            }
        };
        if command.is_empty() {
            return None;
        }
        let choose = |said: Option<i64>, default: Duration| {
            said.filter(|ns| *ns > 0).map_or(default, |ns| Duration::from_nanos(ns.unsigned_abs()))
        };
        Some(Self {
            command,
            interval: choose(config.interval_ns, INTERVAL),
            timeout: choose(config.timeout_ns, TIMEOUT),
            start_period: choose(config.start_period_ns, Duration::ZERO),
            start_interval: choose(config.start_interval_ns, START_INTERVAL),
            retries: config.retries.filter(|retries| *retries > 0).unwrap_or(RETRIES),
        })
    }
}

/// Docker's `State.Health.Status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// No probe has succeeded yet, and not enough have failed.
    Starting,
    /// The last one that counted succeeded, or not enough have failed since.
    Healthy,
    /// Too many have failed in a row.
    Unhealthy,
}

impl Status {
    /// Docker's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// The event that tells of it.
    #[must_use]
    pub fn event(self) -> String {
        format!("health_status: {}", self.as_str())
    }
}

/// One probe, as the log shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Nanoseconds since 1970.
    pub start_ns: u128,
    /// Nanoseconds since 1970.
    pub end_ns: u128,
    /// 0 is healthy; -1 if it could not be made or took too long.
    pub exit_code: i32,
    /// Its last words, at most [`MAX_OUTPUT_BYTES`].
    pub output: String,
}

/// What is to be shown of a container's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// What it is.
    pub status: Status,
    /// Failures since the last success.
    pub failing_streak: u32,
    /// The last probes, the newest last.
    pub log: VecDeque<Probe>,
}

impl Shown {
    /// The container has ended: nobody checks it any more, and Docker calls that unhealthy.
    pub fn end(&mut self) {
        self.status = Status::Unhealthy;
    }
}

/// A moment, by a clock that never jumps and by the one on the wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since the same moment always.
    pub monotonic: Duration,
    /// Nanoseconds since 1970.
    pub wall_ns: u128,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start a probe and tell of its end.
    Probe,
    /// Kill the probe, and tell of its end.
    Kill,
}

/// How a probe ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It exited.
    Exited {
        /// The code as a shell shows it.
        code: u8,
        /// What it wrote.
        output: String,
    },
    /// It could not be started.
    Failed(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting { due: Duration },
    Probing { start_ns: u128, start: Duration },
    Killing { start_ns: u128, start: Duration },
}

/// The health of a container that runs.
#[derive(Debug)]
pub struct Health {
    check: Check,
    started: Duration,
    phase: Phase,
    shown: Shown,
}

impl Health {
    /// Of a container that was started now.
    #[must_use]
    pub fn new(check: Check, now: Now) -> Self {
        let shown =
            Shown { status: Status::Starting, failing_streak: 0, log: VecDeque::with_capacity(MAX_LOG) };
        Self::resumed(check, shown, now.monotonic, Duration::ZERO, now)
    }

    /// Of a container that was `started` before somebody else checked it; the last probe, or its start, was so
    /// long ago.
    #[must_use]
    pub fn resumed(check: Check, shown: Shown, started: Duration, idle: Duration, now: Now) -> Self {
        let mut health = Self { check, started, phase: Phase::Waiting { due: now.monotonic }, shown };
        let due = now.monotonic + health.interval(now).saturating_sub(idle);
        health.phase = Phase::Waiting { due };
        health
    }

    /// What is shown of it.
    #[must_use]
    pub fn shown(&self) -> &Shown {
        &self.shown
    }

    /// When [`Health::tick`] has something to do, on the monotonic clock; `None`: not before something else
    /// has happened.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        match self.phase {
            Phase::Waiting { due } => Some(due),
            Phase::Probing { start, .. } => Some(start + self.check.timeout),
            Phase::Killing { .. } => None,
        }
    }

    /// Time has passed.
    #[must_use]
    pub fn tick(&mut self, now: Now) -> Option<Action> {
        if self.due().is_none_or(|due| now.monotonic < due) {
            return None;
        }
        match self.phase {
            Phase::Waiting { .. } => {
                self.phase = Phase::Probing { start_ns: now.wall_ns, start: now.monotonic };
                Some(Action::Probe)
            }
            Phase::Probing { start_ns, start } => {
                self.phase = Phase::Killing { start_ns, start };
                Some(Action::Kill)
            }
            Phase::Killing { .. } => None,
        }
    }

    /// The probe has ended; the new status if it is another one than before. An end that nobody waits for is
    /// ignored.
    pub fn ended(&mut self, end: End, now: Now) -> Option<Status> {
        let (start_ns, start, timed_out) = match self.phase {
            Phase::Probing { start_ns, start } => (start_ns, start, false),
            Phase::Killing { start_ns, start } => (start_ns, start, true),
            Phase::Waiting { .. } => return None,
        };
        let limit = self.check.timeout;
        let (exit_code, output) = match end {
            End::Exited { output, .. } if timed_out && !output.is_empty() => {
                (-1, format!("Health check exceeded timeout ({limit:?}): {output}"))
            }
            _ if timed_out => (-1, format!("Health check exceeded timeout ({limit:?})")),
            End::Exited { code, output } => (i32::from(code), output),
            End::Failed(why) => (-1, why),
        };
        let before = self.shown.status;
        self.count(exit_code == 0, start);
        while self.shown.log.len() >= MAX_LOG {
            self.shown.log.pop_front();
        }
        let output = shortened(output);
        self.shown.log.push_back(Probe { start_ns, end_ns: now.wall_ns, exit_code, output });
        self.wait(now);
        (self.shown.status != before).then_some(self.shown.status)
    }

    /// What is due waits for another interval, and a probe under way has no result: the container is paused, or
    /// is about to end.
    pub fn put_off(&mut self, now: Now) {
        self.wait(now);
    }

    fn wait(&mut self, now: Now) {
        self.phase = Phase::Waiting { due: now.monotonic + self.interval(now) };
    }

    fn interval(&self, now: Now) -> Duration {
        let starting = self.shown.status == Status::Starting
            && now.monotonic.saturating_sub(self.started) < self.check.start_period;
        if starting { self.check.start_interval } else { self.check.interval }
    }

    fn count(&mut self, success: bool, start: Duration) {
        if success {
            self.shown.failing_streak = 0;
            self.shown.status = Status::Healthy;
            return;
        }
        let excused = self.shown.status == Status::Starting
            && start.saturating_sub(self.started) < self.check.start_period;
        if !excused {
            self.shown.failing_streak = self.shown.failing_streak.saturating_add(1);
            if self.shown.failing_streak >= self.check.retries {
                self.shown.status = Status::Unhealthy;
            }
        }
    }
}

fn shortened(mut output: String) -> String {
    if output.len() > MAX_OUTPUT_BYTES {
        let mut end = MAX_OUTPUT_BYTES;
        while !output.is_char_boundary(end) {
            end -= 1;
        }
        output.truncate(end);
        output.push_str("...");
    }
    output
}

#[cfg(test)]
#[path = "health/tests.rs"]
mod tests;
