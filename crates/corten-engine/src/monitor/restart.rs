//! Restart policies: whether a container that ended is started again, and after which pause.

use std::time::Duration;

use crate::config::Restart;
use crate::dirs::Dirs;
use crate::record::{Record, State};

/// Docker's: the pause doubles with each end that comes soon, from 100 ms to a minute.
pub(super) const FIRST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_secs(60);
/// Who ran so long starts afresh.
const LONG: Duration = Duration::from_secs(10);

/// Whether a container that nobody attends is to be started again after this end; `decided` if whoever attended it
/// had said so already.
pub(crate) fn is_due(dirs: &Dirs, record: &Record, end: &State, decided: bool) -> bool {
    let policy = record.config.restart.unwrap_or_default();
    let ran = u64::try_from(end.finished_ns.saturating_sub(end.started_ns)).unwrap_or(0);
    let after = || Restarts::new(end.restart_count).after(policy, end.exit_code, Duration::from_nanos(ran));
    let again = if decided { policy != Restart::No } else { after().is_some() };
    again && !super::is_stopped(dirs, &record.id)
}

/// What was restarted so far. The policy itself may change meanwhile (`update --restart`).
pub(super) struct Restarts {
    restarts: u32,
    next: Duration,
}

impl Restarts {
    /// Of a container that was started again so often already.
    pub(super) fn new(restarts: u32) -> Self {
        Self { restarts, next: FIRST }
    }

    /// After an end with this exit code and this much life: the pause before the next start, if any.
    pub(super) fn after(&mut self, policy: Restart, exit_code: i32, ran: Duration) -> Option<Duration> {
        if ran >= LONG {
            (self.restarts, self.next) = (0, FIRST);
        }
        let again = match policy {
            Restart::No => false,
            Restart::Always | Restart::UnlessStopped => true,
            Restart::OnFailure { max_retries } => {
                exit_code != 0 && (max_retries == 0 || self.restarts < max_retries)
            }
        };
        let pause = self.next;
        self.restarts += 1;
        self.next = (self.next * 2).min(MOST);
        again.then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(policy: Restart, code: i32, ran_s: u64, times: usize) -> Vec<Option<u128>> {
        let mut restarts = Restarts::new(0);
        let ran = Duration::from_secs(ran_s);
        let after = |_| restarts.after(policy, code, ran).map(|pause| pause.as_millis());
        (0..times).map(after).collect()
    }

    #[test]
    fn the_pause_doubles_up_to_a_minute() {
        let all = pauses(Restart::Always, 0, 0, 12);
        assert_eq!(all[..4], [Some(100), Some(200), Some(400), Some(800)]);
        assert_eq!(all[9..], [Some(51_200), Some(60_000), Some(60_000)]);
        assert_eq!(pauses(Restart::UnlessStopped, 3, 10, 3), [Some(100); 3]);
    }

    #[test]
    fn failures_are_counted() {
        assert_eq!(pauses(Restart::No, 1, 0, 1), [None]);
        assert_eq!(pauses(Restart::OnFailure { max_retries: 2 }, 0, 0, 1), [None]);
        assert_eq!(pauses(Restart::OnFailure { max_retries: 2 }, 1, 0, 3), [Some(100), Some(200), None]);
        assert_eq!(pauses(Restart::OnFailure { max_retries: 0 }, 1, 0, 3).last().unwrap(), &Some(400));
        let mut adopted = Restarts::new(2);
        assert_eq!(adopted.after(Restart::OnFailure { max_retries: 2 }, 1, Duration::ZERO), None);
    }
}
