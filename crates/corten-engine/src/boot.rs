//! After a boot: containers whose policy says so are started again, by the first command that looks. Docker's daemon
//! does the same when it starts: `always` even if the user had stopped it, `unless-stopped` if it ran.

use crate::config::Restart;
use crate::container;
use crate::dirs::Dirs;
use crate::hold::Hold;
use crate::monitor;
use crate::record::{self, Record, State, Status};
use crate::started::{self, booted_ns};

/// Starts those that are due. What cannot be started now is shown as it was.
pub(crate) fn start_due(dirs: &Dirs) {
    for id in container::ids(dirs).unwrap_or_default() {
        if due(dirs, &id).is_none() {
            continue;
        }
        let Ok(Some(hold)) = Hold::try_take(dirs, &id) else { continue };
        // Again: another command may have been first.
        match due(dirs, &id) {
            None => drop(crate::collect::remove_tree(dirs, &dirs.live(&id))),
            Some((record, state)) => {
                let shown = record::write(&dirs.live(&id).join("state.json"), &state, false);
                let _as_it_was = shown.and_then(|()| monitor::resume(dirs, &record, state, hold));
            }
        }
    }
}

/// A container that is to be started, and its state from now on.
fn due(dirs: &Dirs, id: &str) -> Option<(Record, State)> {
    let kept = dirs.container(id);
    let record = record::read::<Record>(&kept.join("config.json")).ok()??;
    let lost = started::unended(&kept).ok()?;
    // One that was started since the boot may run, wherever its directory of the living went.
    if dirs.live(id).join("state.json").exists() || lost.is_some_and(|started_ns| started_ns >= booted_ns()) {
        return None;
    }
    let state = started::last_state(&kept).ok()?;
    let due = match record.config.restart.unwrap_or_default() {
        Restart::Always if lost.is_none() => {
            state.status == Status::Exited && state.finished_ns <= booted_ns()
        }
        Restart::Always | Restart::UnlessStopped => lost.is_some(),
        Restart::No | Restart::OnFailure { .. } => false,
    };
    due.then_some((record, State { status: Status::Restarting, restart_count: 0, ..state }))
}
