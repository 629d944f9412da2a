//! The monitor: one small process a container, which starts it, carries its streams, notes its end and
//! cleans up after it. Its starter is one more client of it and may go at any time.
//!
//! ```text
//!   client ◀──socket──▶ monitor ──clone3──▶ init ──▶ program
//!                          │  ▲                        │
//!                     log.json └──── stdout, stderr (FIFOs) or the terminal
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use corten_runtime::apply::{Options, Started};
use corten_runtime::{Plan, StartError};
use corten_sys::signal::{self, SignalSet};
use corten_sys::wait::Exit;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use crate::config::log::JsonFile;
use crate::dirs::Dirs;
use crate::error::{At, EngineError};
use crate::hold::Hold;
use crate::lease::Lease;
use crate::log::Log;
use crate::record::{self, State, Status};
use crate::session::{self, EXITED, FAILED, RESIZE, SIGNAL, STARTED, STDERR, STDIN, STDOUT};

/// What the monitor takes over from the process that forked it.
pub(crate) struct Monitor {
    pub(crate) dirs: Dirs,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) auto_remove: bool,
    pub(crate) interactive: bool,
    /// Where what the container writes is kept, if it is.
    pub(crate) log: Option<JsonFile>,
    /// It has no pid namespace of its own.
    pub(crate) shares_pids: bool,
    pub(crate) lease: Option<Lease>,
    /// Says that it lives.
    pub(crate) hold: Hold,
    /// Processes whose namespaces are joined.
    pub(crate) joined: Vec<OwnedFd>,
    /// Volumes that go with a container that is removed by itself.
    pub(crate) anonymous: Vec<String>,
    pub(crate) client: OwnedFd,
}

/// `> /dev/stdout` opens the stream again, as whichever user the program is then. From outside nobody can:
/// the directory is ours alone.
const STREAM_MODE: Mode = Mode::from_raw_mode(0o666);

/// The ends of the container's streams, and where its init writes how it ended.
struct Streams {
    exit_record: OwnedFd,
    stdin: Option<OwnedFd>,
    /// No more input comes: what is pending is the last.
    input_ended: bool,
    stdout: OwnedFd,
    stderr: Option<OwnedFd>,
}

impl Monitor {
    /// Runs until the container has ended; the exit code of the monitor itself means nothing.
    pub(crate) fn run(mut self, plan: Plan) -> i32 {
        if let Err(error) = self.detach() {
            return self.fail(&error);
        }
        let (started, streams) = match self.start(plan) {
            Ok(both) => both,
            Err(error) => return self.fail(&error),
        };
        let mut state = State {
            status: Status::Running,
            pid: started.child.pid.as_raw_nonzero().get(),
            boot_id: record::boot_id(),
            started_ns: record::now_ns(),
            first_id: self.lease.as_ref().map_or(0, |lease| lease.first_id),
            unmapped_binds: started.outcome.unmapped_binds.clone(),
            ..State::created()
        };
        state.pid_start = record::start_of(state.pid).unwrap_or(0);
        let live = self.dirs.live(&self.id);
        // Without it `ps` shows a container that was made and not started; it runs all the same.
        let _shown = record::write(&live.join("state.json"), &state, false);
        let mut client = Some(());
        if session::tell(self.client.as_fd(), STARTED, &[]).is_err() {
            client = None;
        }
        let end = self.serve(&started, streams, &mut client);
        self.finish(state, started, end, client)
    }

    /// A session of its own, and nothing of the starter's left open.
    fn detach(&self) -> Result<(), EngineError> {
        rustix::process::setsid().at("setsid", "")?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .at("open", "/dev/null")?;
        for number in 0..3 {
            corten_sys::fd::place(null.as_fd(), number).at("dup2", "/dev/null")?;
        }
        signal::set_mask(&SignalSet::empty());
        // What is made for the container gets the modes that it is given.
        rustix::process::umask(Mode::empty());
        Ok(())
    }

    fn start(&mut self, plan: Plan) -> Result<(Started, Streams), EngineError> {
        let live = self.dirs.live(&self.id);
        let exit = live.join("exit");
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::RDWR | OFlags::CLOEXEC;
        let record = rustix::fs::open(&exit, flags, Mode::from_raw_mode(0o600)).at("open", &exit)?;
        let joined = crate::joins::borrowed(&self.joined);
        if plan.spec.process.terminal.is_some() {
            let starter_only = &[self.hold.as_fd()];
            let options = Options {
                exit_record: Some(record.as_fd()),
                starter_only,
                joined: &joined,
                ..Options::default()
            };
            let mut started = corten_runtime::apply::start(plan, &options)?;
            let Some(master) = started.terminal.take() else {
                return Err(StartError::Killed("a terminal that was not made".to_owned()).into());
            };
            let stdin = rustix::io::fcntl_dupfd_cloexec(&master, 3).at("dup", "the terminal")?;
            set_nonblocking(&master)?;
            return Ok((
                started,
                Streams {
                    exit_record: record,
                    stdin: Some(stdin),
                    input_ended: false,
                    stdout: master,
                    stderr: None,
                },
            ));
        }
        let (out, out_end) = self.fifo(&live.join("stdout"))?;
        let (err, err_end) = self.fifo(&live.join("stderr"))?;
        let (input, input_end) = if self.interactive {
            let (read, write) =
                rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).at("pipe", "stdin")?;
            rustix::fs::fchmod(&read, STREAM_MODE).at("fchmod", "stdin")?;
            (Some(write), read)
        } else {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            (None, rustix::fs::open("/dev/null", flags, Mode::empty()).at("open", "/dev/null")?)
        };
        let stdio = [input_end.as_fd(), out_end.as_fd(), err_end.as_fd()];
        let starter_only = &[self.hold.as_fd()];
        let options = Options {
            stdio: Some(stdio),
            exit_record: Some(record.as_fd()),
            starter_only,
            joined: &joined,
            ..Options::default()
        };
        let started = corten_runtime::apply::start(plan, &options)?;
        if let Some(input) = &input {
            set_nonblocking(input)?;
        }
        let streams =
            Streams { exit_record: record, stdin: input, input_ended: false, stdout: out, stderr: Some(err) };
        Ok((started, streams))
    }

    /// A named pipe, open for reading here (and for writing, so that it never ends by itself), and its
    /// other end for the container.
    fn fifo(&self, path: &Path) -> Result<(OwnedFd, OwnedFd), EngineError> {
        match rustix::fs::mknodat(CWD, path, FileType::Fifo, STREAM_MODE, 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).at("mknod", path),
        }
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let read = rustix::fs::open(path, flags, Mode::empty()).at("open", path)?;
        let write =
            rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).at("open", path)?;
        Ok((read, write))
    }

    /// Carries bytes and signals until the first process has ended and everything it wrote is read.
    fn serve(&self, started: &Started, mut streams: Streams, client: &mut Option<()>) -> Exit {
        let path = self.dirs.container(&self.id).join("log.json");
        let mut log = self.log.and_then(|limits| Log::open(&path, limits).ok());
        let mut buffer = vec![0; session::CHUNK];
        let mut pending = Vec::new();
        loop {
            let (ended, heard, writable) = {
                let mut fds = vec![
                    PollFd::new(&started.child.pidfd, PollFlags::IN),
                    PollFd::new(&streams.stdout, PollFlags::IN),
                ];
                if let Some(err) = &streams.stderr {
                    fds.push(PollFd::new(err, PollFlags::IN));
                }
                let client_at = fds.len();
                // Input that the program does not take is not read from the client either.
                if client.is_some() && pending.len() < session::CHUNK {
                    fds.push(PollFd::new(&self.client, PollFlags::IN));
                }
                let input_at = fds.len();
                if let (Some(input), false) = (&streams.stdin, pending.is_empty()) {
                    fds.push(PollFd::new(input, PollFlags::OUT));
                }
                match poll(&mut fds, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(_) => break,
                }
                let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
                (ready(0), client_at < input_at && ready(client_at), ready(input_at))
            };
            if ended {
                break;
            }
            self.pump(&streams, &mut buffer, &mut log, client, 1);
            if writable {
                flush(&mut streams, &mut pending);
            }
            if heard {
                self.obey(started, &mut streams, &mut buffer, &mut pending, client);
                flush(&mut streams, &mut pending);
            }
        }
        self.pump(&streams, &mut buffer, &mut log, client, usize::MAX);
        if let Some(log) = &mut log {
            log.finish();
        }
        let end = corten_sys::wait::wait_pidfd(started.child.pidfd.as_fd()).unwrap_or(Exit::Code(125));
        let mut record = [0; 32];
        let count = rustix::io::pread(&streams.exit_record, &mut record, 0).unwrap_or(0);
        let record = std::str::from_utf8(&record[..count]).ok();
        // The process is about to end, and with it every descriptor.
        std::mem::forget(streams);
        record.and_then(corten_runtime::init::parse_record).unwrap_or(end)
    }

    /// Reads what the container wrote, `most` times from each stream or until nothing is there. A program
    /// that never stops writing must not keep the user's interrupt from it.
    fn pump(
        &self,
        streams: &Streams,
        buffer: &mut [u8],
        log: &mut Option<Log>,
        client: &mut Option<()>,
        most: usize,
    ) {
        let ends = [(STDOUT, Some(&streams.stdout)), (STDERR, streams.stderr.as_ref())];
        for (kind, fd) in ends.into_iter().filter_map(|(kind, fd)| fd.map(|fd| (kind, fd))) {
            // One byte less: the message's kind comes in front.
            for _ in 0..most {
                let Ok(count @ 1..) = rustix::io::read(fd, &mut buffer[1..]) else { break };
                if let Some(log) = log {
                    log.write(kind, &buffer[1..=count]);
                }
                if client.is_some() && session::tell(self.client.as_fd(), kind, &buffer[1..=count]).is_err() {
                    *client = None;
                }
            }
        }
    }

    /// Does what the client asks for.
    fn obey(
        &self,
        started: &Started,
        streams: &mut Streams,
        buffer: &mut [u8],
        pending: &mut Vec<u8>,
        client: &mut Option<()>,
    ) {
        match session::hear(self.client.as_fd(), buffer) {
            None => {
                *client = None;
                // Whoever typed is gone: for a pipe that is the end of the input.
                streams.input_ended = streams.stderr.is_some();
            }
            // A terminal has its own end of file: the character that the user types.
            Some((STDIN, [])) => streams.input_ended = streams.stderr.is_some(),
            Some((STDIN, bytes)) => pending.extend_from_slice(bytes),
            Some((SIGNAL, [number, ..])) => {
                if let Some(signal) = Signal::from_named_raw(i32::from(*number)) {
                    // Ended already: its exit is about to be told.
                    let _gone = pidfd_send_signal(&started.child.pidfd, signal);
                }
            }
            Some((RESIZE, [r0, r1, c0, c1])) => {
                let size = rustix::termios::Winsize {
                    ws_row: u16::from_ne_bytes([*r0, *r1]),
                    ws_col: u16::from_ne_bytes([*c0, *c1]),
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                };
                let _not_a_terminal = rustix::termios::tcsetwinsize(&streams.stdout, size);
            }
            Some(_) => {}
        }
    }

    fn finish(self, mut state: State, started: Started, end: Exit, client: Option<()>) -> ! {
        state.status = Status::Exited;
        state.finished_ns = record::now_ns();
        state.exit_code = i32::from(end.shell_code());
        state.pid = 0;
        let mut left = false;
        if let Some(cgroup) = started.cgroup {
            state.oom_killed = cgroup.oom_kills().is_ok_and(|kills| kills > 0);
            // With process 1 the kernel ends the rest; without a pid namespace they are ours to end.
            if self.shares_pids {
                let _gone = cgroup.kill_all();
            }
            left = cgroup.remove().is_err();
        }
        if let Some(lease) = &self.lease {
            lease.release();
        }
        if left {
            // The record stays where the next command finds it and tries again.
            let _shown = record::write(&self.dirs.live(&self.id).join("state.json"), &state, false);
        } else if self.auto_remove {
            crate::volume::discard(&self.dirs, &self.id, &self.anonymous);
            let _left = crate::collect::forget(&self.dirs, &self.id, Some(&self.name));
        } else {
            // Kept on disk: what runs no more outlives the boot.
            let _shown = record::write(&self.dirs.container(&self.id).join("state.json"), &state, true);
            let _left = crate::collect::remove_tree(&self.dirs, &self.dirs.live(&self.id));
        }
        if client.is_some() {
            let code = [state.exit_code as u8, u8::from(state.oom_killed)];
            let _gone = session::tell(self.client.as_fd(), EXITED, &code);
        }
        // The process ends here, and with it every descriptor: the lock as the last.
        std::process::exit(0)
    }

    fn fail(self, error: &EngineError) -> i32 {
        if !self.auto_remove {
            let code = i32::from(error.exit_code());
            let state = State { error: error.to_string(), exit_code: code, ..State::created() };
            let _shown = record::write(&self.dirs.container(&self.id).join("state.json"), &state, true);
        }
        // What cannot be removed now is found unlocked, and removed, by the next command.
        let _left = crate::collect::finish(&self.dirs, &self.id);
        let mut body = vec![error.exit_code()];
        body.extend_from_slice(error.to_string().as_bytes());
        body.truncate(session::CHUNK - 1);
        let _gone = session::tell(self.client.as_fd(), FAILED, &body);
        1
    }
}

/// Writes what the program takes now.
fn flush(streams: &mut Streams, pending: &mut Vec<u8>) {
    let Some(input) = &streams.stdin else {
        pending.clear();
        return;
    };
    while !pending.is_empty() {
        match rustix::io::write(input, pending) {
            Ok(count) => drop(pending.drain(..count)),
            Err(Errno::AGAIN) => return,
            Err(Errno::INTR) => {}
            Err(_) => {
                pending.clear();
                streams.stdin = None;
                return;
            }
        }
    }
    if streams.input_ended {
        streams.stdin = None;
    }
}

fn set_nonblocking(fd: &impl AsFd) -> Result<(), EngineError> {
    let fd: BorrowedFd<'_> = fd.as_fd();
    let flags = rustix::fs::fcntl_getfl(fd).at("fcntl", "stream")?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK).at("fcntl", "stream")
}
