//! The container's streams, on the monitor's side.
//!
//! Named pipes in the container's directory of the living, opened for both directions at both ends: neither
//! end vanishes with a process, so a container whose monitor was killed writes on, and the next monitor finds
//! what it wrote. A terminal's master is kept open by init for the same reason.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use corten_runtime::apply::{Options, Started};
use corten_runtime::init::MAX_RECORD;
use corten_runtime::{Plan, StartError};
use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, fcntl_lock};
use rustix::io::Errno;

use crate::error::{At, EngineError};
use crate::stdio::{self, Input, STREAM_MODE};

/// The ends of the container's streams, and where its init writes how it ended.
pub(super) struct Streams {
    exit_record: OwnedFd,
    pub(super) input: Input,
    pub(super) stdout: OwnedFd,
    /// None with a terminal.
    pub(super) stderr: Option<OwnedFd>,
}

impl Streams {
    /// Starts the container with streams of its own in `live`. `keep_unread`: what it writes is not to be lost when
    /// nobody attends it at its end.
    pub(super) fn start(
        live: &Path,
        plan: Plan,
        interactive: bool,
        keep_unread: bool,
        options: Options<'_>,
    ) -> Result<(Started, Self), EngineError> {
        let exit_record = open_exit(live, OFlags::CREATE | OFlags::TRUNC)?;
        // Without the lock its init would take what is ours.
        let keep_unread = keep_unread && lock(&exit_record).is_ok();
        let exit_record_fd = Some(exit_record.as_fd());
        let options = Options { keep_unread, ..options };
        if plan.spec.process.terminal.is_some() {
            let options = Options { exit_record: exit_record_fd, ..options };
            let mut started = corten_runtime::apply::start(plan, &options)?;
            let Some(master) = started.terminal.take() else {
                return Err(StartError::Killed("a terminal that was not made".to_owned()).into());
            };
            return Ok((started, Self::of_terminal(exit_record, master)?));
        }
        let (out, out_end) = fifo(&live.join("stdout"))?;
        let (err, err_end) = fifo(&live.join("stderr"))?;
        let (input, input_end) = if interactive {
            let (read, write) = stdio::pipe("stdin")?;
            (Some(write), Some(read))
        } else {
            (None, None)
        };
        let stdio = [stdio::or_null(&input_end), out_end.as_fd(), err_end.as_fd()];
        let options = Options { stdio: Some(stdio), exit_record: exit_record_fd, ..options };
        let started = corten_runtime::apply::start(plan, &options)?;
        let input = match input {
            Some(input) => {
                stdio::set_nonblocking(&input)?;
                Input::pipe(input)
            }
            None => Input::default(),
        };
        Ok((started, Self { exit_record, input, stdout: out, stderr: Some(err) }))
    }

    /// The ends of those of a container that runs already, for [`Streams::adopt`]. `master` is its terminal's.
    pub(super) fn ends(live: &Path, master: Option<OwnedFd>) -> Result<Vec<OwnedFd>, EngineError> {
        let exit_record = open_exit(live, OFlags::empty())?;
        if let Some(master) = master {
            return Ok(vec![exit_record, master]);
        }
        let (stdout, _) = fifo(&live.join("stdout"))?;
        let (stderr, _) = fifo(&live.join("stderr"))?;
        Ok(vec![exit_record, stdout, stderr])
    }

    /// `None` if these are not what [`Streams::ends`] gives.
    pub(super) fn adopt(ends: Vec<OwnedFd>) -> Result<Option<Self>, EngineError> {
        let mut ends = ends.into_iter();
        let (Some(exit_record), Some(stdout)) = (ends.next(), ends.next()) else { return Ok(None) };
        // Without it what is read here is less, and the rest is in the record.
        let _unlocked = lock(&exit_record);
        match ends.next() {
            None => Self::of_terminal(exit_record, stdout).map(Some),
            // A pipe for input went with the monitor that held it.
            stderr => Ok(Some(Self { exit_record, input: Input::default(), stdout, stderr })),
        }
    }

    fn of_terminal(exit_record: OwnedFd, master: OwnedFd) -> Result<Self, EngineError> {
        let input = Input::terminal(&master)?;
        stdio::set_nonblocking(&master)?;
        Ok(Self { exit_record, input, stdout: master, stderr: None })
    }

    /// What init wrote at its end.
    pub(super) fn exit_record(&self) -> Vec<u8> {
        let mut record = vec![0; 32];
        let mut length = 0;
        while let Ok(count @ 1..) = rustix::io::pread(&self.exit_record, &mut record[length..], length as u64)
        {
            length += count;
            // A line is less; more is what nobody had read.
            if length < record.len() || record.len() >= MAX_RECORD {
                break;
            }
            record.resize(MAX_RECORD, 0);
        }
        record.truncate(length);
        record
    }
}

/// That of a process, and not of the open file, which init has too.
fn lock(exit_record: &OwnedFd) -> Result<(), Errno> {
    fcntl_lock(exit_record, FlockOperation::NonBlockingLockExclusive)
}

fn open_exit(live: &Path, more: OFlags) -> Result<OwnedFd, EngineError> {
    let path = live.join("exit");
    let flags = OFlags::RDWR | OFlags::CLOEXEC | more;
    rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600)).at("open", &path)
}

/// A named pipe: the end for here, and the one for the container.
fn fifo(path: &Path) -> Result<(OwnedFd, OwnedFd), EngineError> {
    match rustix::fs::mknodat(CWD, path, FileType::Fifo, STREAM_MODE, 0) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).at("mknod", path),
    }
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let here = rustix::fs::open(path, flags | OFlags::NONBLOCK, Mode::empty()).at("open", path)?;
    let there = rustix::fs::open(path, flags, Mode::empty()).at("open", path)?;
    Ok((here, there))
}
