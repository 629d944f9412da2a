//! Adopting a container: the monitor that takes the place of one that was killed, while the container runs or rests
//! between two starts. A command that finds the container without one forks it, whatever that command is for.
//!
//! So it may run from a file that the container's root could write to, once it starts the container again
//! (`exec/seal.rs`): there it executes itself again first, as `corten internal monitor`, and with it go the
//! descriptors that nobody could open again without a moment in which the container's end would be missed. And of an
//! ordinary user it is outside the engine's user namespace, where it stays until it has to start the container: only
//! there it is the owner of the namespaces that health checks enter.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

use super::clients::Clients;
use super::streams::Streams;
use super::{Monitor, Running};
use crate::container::{self, Container};
use crate::dirs::Dirs;
use crate::error::{At, EngineError};
use crate::exec::seal;
use crate::hold::Hold;
use crate::lease::Lease;
use crate::record::{Record, State};
use crate::run::Launch;
use crate::{session, start, stdio};

/// The step of `corten internal` that [`main`] is.
const STEP: &str = "monitor";

/// What is held of a container that is adopted.
struct Adopted {
    hold: Hold,
    /// Of one that rests there is nothing else.
    running: Option<Alive>,
}

/// What is held of one that runs.
struct Alive {
    pidfd: OwnedFd,
    /// Of its streams.
    ends: Vec<OwnedFd>,
}

/// Forks a monitor for a container that runs and has none. The caller holds it, and one thread.
///
/// # Errors
/// What is needed of the container is not there any more; it goes on as it is.
pub(crate) fn adopt(dirs: &Dirs, record: &Record, state: State, hold: Hold) -> Result<(), EngineError> {
    let pidfd = container::process(&state)?.ok_or_else(|| EngineError::NotRunning(record.id.clone()))?;
    let terminal = record.config.tty.then_some(corten_runtime::init::MASTER);
    let master = match terminal {
        Some(number) => {
            Some(pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()).at("pidfd_getfd", "the terminal")?)
        }
        None => None,
    };
    let running = Alive { pidfd, ends: Streams::ends(&dirs.live(&record.id), master)? };
    Adopted { hold, running: Some(running) }.fork(dirs, record, state)
}

/// Forks a monitor for a container that rests and has none: it starts it again. As [`adopt`].
///
/// # Errors
/// The fork; it goes on resting.
pub(crate) fn resume(dirs: &Dirs, record: &Record, state: State, hold: Hold) -> Result<(), EngineError> {
    Adopted { hold, running: None }.fork(dirs, record, state)
}

/// What a sealed monitor does, if these are the words that it was executed with again.
pub(crate) fn main(dirs: &Dirs, words: &[OsString]) -> Result<Option<i32>, EngineError> {
    let Some((id, fds)) = seal::told(STEP, words)? else { return Ok(None) };
    let Some(adopted) = Adopted::of(fds) else { return Ok(None) };
    let Container { record, state } = container::of_id(dirs, &id)?;
    adopted.attend(dirs, &record, state)
}

impl Adopted {
    fn fork(self, dirs: &Dirs, record: &Record, state: State) -> Result<(), EngineError> {
        corten_sys::clone::fork(|| {
            if stdio::detach(&self.fds()).is_err() {
                return 1;
            }
            if start::exposes_us(dirs, &record.config) {
                // Unsealed it attends what runs, and starts nothing (`make_ready`).
                let _unsealed = seal::again(dirs, STEP, &record.id, &self.fds());
            }
            self.attend(dirs, record, state).ok().flatten().unwrap_or(1)
        })
        .map(drop)
        .at("fork", "monitor")
    }

    /// In the order of [`Adopted::of`].
    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let mut fds = vec![self.hold.as_fd()];
        if let Some(Alive { pidfd, ends }) = &self.running {
            fds.push(pidfd.as_fd());
            fds.extend(ends.iter().map(AsFd::as_fd));
        }
        fds
    }

    fn of(fds: Vec<OwnedFd>) -> Option<Self> {
        let mut fds = fds.into_iter();
        let hold = Hold::inherited(fds.next()?);
        let running = fds.next().map(|pidfd| Alive { pidfd, ends: fds.collect() });
        Some(Self { hold, running })
    }

    /// Returns when the container has ended for good.
    fn attend(self, dirs: &Dirs, record: &Record, state: State) -> Result<Option<i32>, EngineError> {
        let Self { hold, running } = self;
        let streams = match running {
            Some(Alive { pidfd, ends }) => match Streams::adopt(ends)? {
                Some(streams) => Some((pidfd, streams)),
                None => return Ok(None),
            },
            None => None,
        };
        let shares_pids = record.config.pid.is_some();
        let monitor = Monitor::new(dirs, record, shares_pids, hold, Launch::default())?;
        let mut clients = Clients::new(dirs.container(&record.id));
        // Nobody can attach then; all else goes on.
        let _alone = clients.listen(&monitor.hold);
        let mut buffer = vec![0; session::CHUNK];
        let Some((pidfd, streams)) = streams else {
            return Ok(Some(monitor.go_on(state, clients, &mut buffer)));
        };
        let cgroup = container::cgroup(record)?;
        let lease = Lease::of(dirs, &record.id);
        let checks = monitor.resumed_checks(&state);
        let oom = monitor.watch_memory(cgroup.as_ref(), state.oom_killed);
        let running = Running { pidfd, cgroup, streams, state, checks, oom };
        Ok(Some(monitor.live(running, lease, clients, &mut buffer)))
    }
}
