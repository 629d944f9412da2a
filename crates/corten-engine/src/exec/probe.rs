//! The attendant of a health check's probe: an exec of its own kind, whose client is the monitor.
//!
//! ```text
//!   monitor ◀──socket──▶ attendant ──clone3──▶ probe (in the container)
//! ```
//!
//! One message goes to the monitor: how it ended, and the first of what it wrote. The rest is thrown away, so
//! nobody's memory grows and the probe never waits for a reader. When the monitor shuts its side down, or is
//! killed, the attendant kills the probe with its process group (its session's first, which only processes
//! that made a group of their own have left), reaps it, and goes too. Killed itself, it takes the probe's first
//! process with it (`PR_SET_PDEATHSIG`).

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_runtime::StartError;
use corten_runtime::apply::{ExecOptions, Executed};
use corten_runtime::plan::exec as plan;
use corten_sys::clone::Child;
use corten_sys::wait::Exit;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use rustix::process::{Signal, kill_process_group, pidfd_send_signal};

use super::{ExecConfig, Running, seal};
use crate::container;
use crate::dirs::Dirs;
use crate::error::{At, EngineError};
use crate::health::{Check, MAX_OUTPUT_BYTES};
use crate::session::{self, Heard};

/// The step of `corten internal` that [`main`] is.
const STEP: &str = "health-probe";
/// Enough to see that it was more.
const KEPT: usize = MAX_OUTPUT_BYTES + 1;
/// The kinds of the message.
const EXITED: u8 = b'X';
const KILLED: u8 = b'K';
const FAILED: u8 = b'F';
const NOTHING: u8 = b'N';

/// What a probe came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ended {
        exit: Exit,
        output: Vec<u8>,
    },
    /// It did not start.
    Failed(String),
    /// The container has ended, or is frozen: there was no probe.
    Nothing,
}

impl Outcome {
    fn send(&self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        let (kind, body) = match self {
            Self::Ended { exit: Exit::Code(code), output } => {
                (EXITED, [&[*code], output.as_slice()].concat())
            }
            Self::Ended { exit: Exit::Signal(number), output } => {
                (KILLED, [&[*number], output.as_slice()].concat())
            }
            Self::Failed(why) => (FAILED, why.as_bytes()[..why.len().min(KEPT)].to_vec()),
            Self::Nothing => (NOTHING, Vec::new()),
        };
        session::try_tell(socket, kind, &body)
    }

    /// What the attendant, which has ended, has said.
    pub(crate) fn hear(socket: BorrowedFd<'_>) -> Self {
        let mut buffer = [0; KEPT + 2];
        match session::hear_now(socket, &mut buffer) {
            Heard::Message(EXITED, [code, output @ ..]) => {
                Self::Ended { exit: Exit::Code(*code), output: output.to_vec() }
            }
            Heard::Message(KILLED, [number, output @ ..]) => {
                Self::Ended { exit: Exit::Signal(*number), output: output.to_vec() }
            }
            Heard::Message(FAILED, why) => Self::Failed(String::from_utf8_lossy(why).into_owned()),
            Heard::Message(NOTHING, _) => Self::Nothing,
            _ => Self::Failed("the attendant of the probe was killed".to_owned()),
        }
    }
}

/// Forks the attendant of a probe in this container; its end of the socket is kept here.
pub(crate) fn start(dirs: &Dirs, id: &str) -> Result<(Child, OwnedFd), EngineError> {
    let (ours, theirs) = session::pair().at("socketpair", "probe")?;
    let child = corten_sys::clone::fork(|| {
        // The container's lock above all: who is killed must not seem to hold it still.
        if corten_sys::fd::close_all_but(3, &[theirs.as_fd()]).is_err() {
            return 1;
        }
        attend(dirs, id, theirs.as_fd())
    });
    Ok((child.at("fork", "probe")?, ours))
}

/// What a sealed attendant does, if these are the words that it was executed with again.
pub(crate) fn main(dirs: &Dirs, words: &[OsString]) -> Result<Option<i32>, EngineError> {
    let Some((id, fds)) = seal::told(STEP, words)? else { return Ok(None) };
    Ok(fds.first().map(|socket| attend(dirs, &id, socket.as_fd())))
}

fn attend(dirs: &Dirs, id: &str, socket: BorrowedFd<'_>) -> i32 {
    let _anonymous = corten_sys::prctl::set_name(c"corten-health");
    let outcome = match probe(dirs, id, socket) {
        Ok(outcome) => outcome,
        Err(EngineError::NotRunning(_) | EngineError::Paused(_) | EngineError::Start(StartError::Ended)) => {
            Outcome::Nothing
        }
        Err(error) => Outcome::Failed(error.to_string()),
    };
    i32::from(outcome.send(socket).is_err())
}

fn probe(dirs: &Dirs, id: &str, socket: BorrowedFd<'_>) -> Result<Outcome, EngineError> {
    // As the record has it now: its limits may have been updated.
    let running = Running::of(container::of_id(dirs, id)?)?;
    let Some(check) = running.record.config.health.as_ref().and_then(Check::of) else {
        return Ok(Outcome::Nothing);
    };
    if running.may_write_to_us(dirs) {
        // Its monitor may have been forked by a command that needed no seal itself.
        seal::again(dirs, STEP, id, &[socket])?;
    }
    let plan =
        plan::build(running.spec(dirs, &ExecConfig { command: check.command, ..ExecConfig::default() })?)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .at("open", "/dev/null")?;
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).at("pipe", "probe")?;
    rustix::fs::fchmod(&read, crate::stdio::STREAM_MODE).at("fchmod", "probe")?;
    let options = ExecOptions {
        init: running.init.as_fd(),
        init_pid: running.state.pid,
        cgroup: running.cgroup.as_ref(),
        stdio: [null.as_fd(), write.as_fd(), write.as_fd()],
        give_up: Some(socket),
        dies_with_parent: true,
    };
    let Executed { child, .. } = corten_runtime::apply::exec(plan, &options)?;
    drop(write);
    let mut output = Output { pipe: Some(read), kept: Vec::new(), null };
    let exit = output.carry(&child, socket).at("poll", "probe");
    if exit.is_err() {
        kill(&child);
        let _reaped = corten_sys::wait::wait_pidfd(child.pidfd.as_fd());
    }
    Ok(Outcome::Ended { exit: exit?, output: output.kept })
}

/// With all of its process group: the program made its session before it was executed, so the number is the
/// group's too, and stays that as long as the program is not reaped.
fn kill(child: &Child) {
    let _gone = kill_process_group(child.pid, Signal::KILL);
    let _gone = pidfd_send_signal(&child.pidfd, Signal::KILL);
}

/// What a probe writes.
struct Output {
    /// Until all who had the other end have closed it.
    pipe: Option<OwnedFd>,
    kept: Vec<u8>,
    null: OwnedFd,
}

impl Output {
    /// Reads until the program has ended; kills it when the monitor does not want it any more.
    fn carry(&mut self, child: &Child, socket: BorrowedFd<'_>) -> Result<Exit, Errno> {
        loop {
            let mut fds = vec![
                PollFd::new(&child.pidfd, PollFlags::IN),
                PollFd::from_borrowed_fd(socket, PollFlags::IN),
            ];
            fds.extend(self.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            let ready = |at: usize| fds.get(at).is_some_and(|fd: &PollFd<'_>| !fd.revents().is_empty());
            let (ended, unwanted, written) = (ready(0), ready(1), ready(2));
            if unwanted {
                kill(child);
            }
            if ended || unwanted {
                let exit = corten_sys::wait::wait_pidfd(child.pidfd.as_fd())?;
                self.take_the_rest();
                return Ok(exit);
            }
            if written {
                self.take();
            }
        }
    }

    /// Takes what is there; there is something.
    fn take(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        let room = KEPT - self.kept.len();
        let taken = if room > 0 {
            let mut buffer = [0; KEPT];
            let taken = rustix::io::read(pipe, &mut buffer[..room]);
            self.kept.extend_from_slice(&buffer[..taken.unwrap_or(0)]);
            taken
        } else {
            splice(pipe, None, &self.null, None, 1 << 20, SpliceFlags::NONBLOCK)
        };
        if !matches!(taken, Ok(1..) | Err(Errno::AGAIN | Errno::INTR)) {
            self.pipe = None;
        }
    }

    /// What the program had written when it ended; others, who may have its streams still, are not waited for.
    fn take_the_rest(&mut self) {
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        while let Some(pipe) = self.pipe.as_ref().filter(|_| self.kept.len() < KEPT) {
            let mut fds = [PollFd::new(pipe, PollFlags::IN)];
            match poll(&mut fds, Some(&now)) {
                Ok(1..) => self.take(),
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_heard() {
        let long = vec![b'x'; KEPT];
        for outcome in [
            Outcome::Ended { exit: Exit::Code(3), output: b"out".to_vec() },
            Outcome::Ended { exit: Exit::Signal(9), output: long },
            Outcome::Failed("not found".to_owned()),
            Outcome::Nothing,
        ] {
            let (here, there) = session::pair().unwrap();
            outcome.send(there.as_fd()).unwrap();
            drop(there);
            assert_eq!(Outcome::hear(here.as_fd()), outcome);
        }
        let (here, there) = session::pair().unwrap();
        drop(there);
        assert!(matches!(Outcome::hear(here.as_fd()), Outcome::Failed(_)), "it went without a word");
        let (here, there) = session::pair().unwrap();
        Outcome::Failed("é".repeat(KEPT)).send(there.as_fd()).unwrap();
        assert!(matches!(Outcome::hear(here.as_fd()), Outcome::Failed(why) if why.starts_with('é')));
    }
}
