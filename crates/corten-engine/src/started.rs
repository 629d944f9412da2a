//! That a kept container was started last, where a power cut does not take it: under /run is nothing after one, and
//! what ran would look as if it never had. A link is made in one step and has no content that could be torn; it leads
//! to the time of the start, which the state on disk has too once the end is known.

use std::path::Path;

use rustix::io::Errno;

use crate::error::{At, EngineError};
use crate::record::{self, State, Status};

const NAME: &str = "started";

/// Notes a start.
///
/// # Errors
/// The call that failed.
pub(crate) fn note(kept: &Path, started_ns: u128) -> Result<(), EngineError> {
    forget(kept)?;
    let path = kept.join(NAME);
    rustix::fs::symlink(started_ns.to_string(), &path).at("symlink", &path)
}

/// What was noted is no more what happened last.
///
/// # Errors
/// The call that failed.
pub(crate) fn forget(kept: &Path) -> Result<(), EngineError> {
    let path = kept.join(NAME);
    match rustix::fs::unlink(&path) {
        Err(Errno::NOENT) => Ok(()),
        other => other.at("unlink", &path),
    }
}

/// The state on disk, or that of one that ran when the machine went down.
///
/// # Errors
/// What cannot be read or is damaged.
pub(crate) fn last_state(kept: &Path) -> Result<State, EngineError> {
    let state = record::read::<State>(&kept.join("state.json"))?.unwrap_or_else(State::created);
    Ok(match noted(kept)?.filter(|&started_ns| started_ns != state.started_ns) {
        None => state,
        Some(started_ns) => State {
            status: Status::Exited,
            exit_code: 255,
            error: "the machine went down while it ran".to_owned(),
            started_ns,
            // That is all that is known: before this boot.
            finished_ns: booted_ns().max(started_ns),
            ..State::created()
        },
    })
}

/// When a container was started whose end nobody noted.
///
/// # Errors
/// As [`last_state`].
pub(crate) fn unended(kept: &Path) -> Result<Option<u128>, EngineError> {
    let state = record::read::<State>(&kept.join("state.json"))?;
    let ended_ns = state.map_or(0, |state| state.started_ns);
    Ok(noted(kept)?.filter(|&started_ns| started_ns != ended_ns))
}

fn noted(kept: &Path) -> Result<Option<u128>, EngineError> {
    let path = kept.join(NAME);
    Ok(match rustix::fs::readlink(&path, Vec::new()) {
        Err(Errno::NOENT) => None,
        other => other.at("readlink", &path)?.to_str().ok().and_then(|time| time.parse().ok()),
    })
}

/// When this boot began, in nanoseconds since 1970.
pub(crate) fn booted_ns() -> u128 {
    let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let up_ns = u128::from(up.tv_sec.unsigned_abs()) * 1_000_000_000 + u128::from(up.tv_nsec.unsigned_abs());
    record::now_ns().saturating_sub(up_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_when_the_machine_went_down_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path();
        assert_eq!(last_state(kept).unwrap(), State::created());
        note(kept, 7).unwrap();
        note(kept, 8).unwrap();
        let lost = last_state(kept).unwrap();
        assert_eq!((lost.status, lost.exit_code, lost.started_ns), (Status::Exited, 255, 8));
        assert!(lost.finished_ns > 8 && lost.finished_ns <= record::now_ns());
        // Its end was noted after all.
        let end = State { status: Status::Exited, exit_code: 3, started_ns: 8, ..State::created() };
        record::write(&kept.join("state.json"), &end, true).unwrap();
        assert_eq!(last_state(kept).unwrap(), end);
        note(kept, 9).unwrap();
        forget(kept).unwrap();
        assert_eq!(last_state(kept).unwrap(), end);
    }
}
