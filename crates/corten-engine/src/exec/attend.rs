//! The attendant of an exec: the program's parent. It never waits for its client: a program whose parent does
//! not reap it keeps the container's pid namespace, and so the container's end, from being over.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_runtime::ExecPlan;
use corten_runtime::apply::Executed;
use corten_sys::signal::{self, SignalSet};
use corten_sys::wait::Exit;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use crate::error::{At, EngineError};
use crate::session::{self, EXITED, FAILED, RESIZE, STARTED, STDERR, STDIN, STDOUT};

/// `> /dev/stdout` opens the stream again, as whichever user the program is then.
pub(super) const STREAM_MODE: Mode = Mode::from_raw_mode(0o666);

/// What the attendant takes over from the process that forked it.
pub(super) struct Attendant {
    /// The container's first process.
    pub(super) init: OwnedFd,
    pub(super) init_pid: i32,
    pub(super) cgroup: Option<corten_cgroup::Cgroup>,
    /// The kernel does not end the program with the container's first process.
    pub(super) shares_pids: bool,
    pub(super) interactive: bool,
    /// Nobody hears what the program writes.
    pub(super) detached: bool,
    pub(super) client: OwnedFd,
}

/// Our ends of the program's streams.
struct Streams {
    stdin: Option<OwnedFd>,
    /// No more input comes: what is pending is the last.
    input_ended: bool,
    /// Input for the program, not taken yet.
    pending: Vec<u8>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    terminal: bool,
}

/// The program's ends.
struct Theirs([OwnedFd; 3]);

impl Attendant {
    /// Runs until the program has ended; the exit code of the attendant itself means nothing.
    pub(super) fn run(self, plan: ExecPlan) -> i32 {
        let terminal = plan.spec.process.terminal.is_some();
        let prepared = detach().and_then(|null| Ok((null.try_clone().at("dup", "/dev/null")?, null)));
        let streams = prepared.and_then(|(other, null)| self.streams(terminal, other, null));
        let (mut streams, theirs) = match streams {
            Ok(streams) => streams,
            Err(error) => return self.fail(super::exit_code(&error), &error.to_string()),
        };
        let stdio = [theirs.0[0].as_fd(), theirs.0[1].as_fd(), theirs.0[2].as_fd()];
        let started = match super::start(plan, &self, stdio) {
            Ok(started) => started,
            Err(error) => {
                let (code, message) = super::failure(error);
                return self.fail(code, &message);
            }
        };
        // Its copies alone keep its streams open now.
        drop(theirs);
        let Executed { child, terminal: master } = started;
        if let Some(master) = master
            && let Err(error) = streams.take_terminal(master)
        {
            let _gone = pidfd_send_signal(&child.pidfd, Signal::KILL);
            let _reaped = corten_sys::wait::wait_pidfd(child.pidfd.as_fd());
            return self.fail(126, &error.to_string());
        }
        let mut client = Talk { socket: self.client.as_fd(), here: true, unsent: VecDeque::new() };
        client.put(STARTED, Vec::new());
        let end = self.serve(child.pidfd.as_fd(), &mut streams, &mut client);
        client.put(EXITED, vec![end.shell_code(), 0]);
        client.finish();
        0
    }

    fn fail(&self, code: u8, message: &str) -> i32 {
        let mut body = vec![code];
        body.extend_from_slice(message.as_bytes());
        body.truncate(session::CHUNK - 1);
        let _gone = session::tell(self.client.as_fd(), FAILED, &body);
        1
    }

    fn streams(
        &self,
        terminal: bool,
        null: OwnedFd,
        other: OwnedFd,
    ) -> Result<(Streams, Theirs), EngineError> {
        let mut streams = Streams {
            stdin: None,
            input_ended: false,
            pending: Vec::new(),
            stdout: None,
            stderr: None,
            terminal,
        };
        let third = other.try_clone().at("dup", "/dev/null")?;
        if terminal || self.detached {
            return Ok((streams, Theirs([null, other, third])));
        }
        let (stdout, their_out) = pipe("stdout")?;
        let (stderr, their_err) = pipe("stderr")?;
        for end in [&stdout, &stderr] {
            set_nonblocking(end)?;
        }
        (streams.stdout, streams.stderr) = (Some(stdout), Some(stderr));
        let mut their_in = null;
        if self.interactive {
            let (read, write) = pipe("stdin")?;
            set_nonblocking(&write)?;
            (streams.stdin, their_in) = (Some(write), read);
        }
        Ok((streams, Theirs([their_in, their_out, their_err])))
    }

    /// Carries bytes until the program has ended and everything it wrote is on its way.
    fn serve(&self, program: BorrowedFd<'_>, streams: &mut Streams, client: &mut Talk<'_>) -> Exit {
        let mut buffer = vec![0; session::CHUNK];
        let mut end = None;
        let mut container_ended = false;
        loop {
            client.send();
            if let (Some(end), false) = (end, client.is_waiting()) {
                // What it wrote last is there: nothing more is waited for, as others may hold the streams.
                while streams.read(&mut buffer, client) {
                    client.send();
                    if client.is_waiting() {
                        break;
                    }
                }
                if !client.is_waiting() {
                    return end;
                }
            }
            let ready = match self.wait(program, streams, client, end.is_some(), container_ended) {
                Some(ready) => ready,
                None => continue,
            };
            if ready.program {
                end = Some(corten_sys::wait::wait_pidfd(program).unwrap_or(Exit::Code(125)));
            }
            if ready.container {
                container_ended = true;
                if self.shares_pids {
                    let _gone = pidfd_send_signal(program, Signal::KILL);
                }
            }
            if ready.client {
                client.hear(streams, &mut buffer);
            }
            if ready.output && !client.is_waiting() {
                streams.read(&mut buffer, client);
            }
            streams.flush();
        }
    }

    /// Waits until something is to be done; `None` is a signal.
    fn wait(
        &self,
        program: BorrowedFd<'_>,
        streams: &Streams,
        client: &Talk<'_>,
        ended: bool,
        container_ended: bool,
    ) -> Option<Ready> {
        let mut watched: Vec<(Role, PollFd<'_>)> = Vec::with_capacity(6);
        if !ended {
            watched.push((|ready| ready.program = true, PollFd::from_borrowed_fd(program, PollFlags::IN)));
        }
        if !ended && !container_ended {
            watched.push((|ready| ready.container = true, PollFd::new(&self.init, PollFlags::IN)));
        }
        if client.here {
            let mut wanted = PollFlags::empty();
            // Input that the program does not take is not read from the client either.
            wanted.set(PollFlags::IN, !ended && streams.pending.len() < session::CHUNK);
            wanted.set(PollFlags::OUT, client.is_waiting());
            // Also with nothing wanted, for its going; but not again and again after the program's end.
            watched.push((|ready| ready.client = true, PollFd::from_borrowed_fd(client.socket, wanted)));
        }
        if !ended && !client.is_waiting() {
            for stream in streams.stdout.iter().chain(&streams.stderr) {
                watched.push((|ready| ready.output = true, PollFd::new(stream, PollFlags::IN)));
            }
        }
        if let (Some(stdin), false) = (&streams.stdin, streams.pending.is_empty()) {
            // What there is room for is written after each wait.
            watched.push((|_| (), PollFd::new(stdin, PollFlags::OUT)));
        }
        let (roles, mut fds): (Vec<_>, Vec<_>) = watched.into_iter().unzip();
        poll(&mut fds, None).ok()?;
        let mut ready = Ready::default();
        for (fd, role) in fds.iter().zip(&roles) {
            // That a client takes more now is no news of it.
            if !fd.revents().difference(PollFlags::OUT).is_empty() {
                role(&mut ready);
            }
        }
        Some(ready)
    }
}

/// What is to be noted of a descriptor on which something has happened.
type Role = fn(&mut Ready);

#[derive(Default)]
struct Ready {
    program: bool,
    container: bool,
    client: bool,
    output: bool,
}

impl Streams {
    fn take_terminal(&mut self, master: OwnedFd) -> Result<(), EngineError> {
        set_nonblocking(&master)?;
        self.stdin = Some(rustix::io::fcntl_dupfd_cloexec(&master, 3).at("dup", "the terminal")?);
        self.stdout = Some(master);
        Ok(())
    }

    /// Reads once from each stream; whether anything came.
    fn read(&mut self, buffer: &mut [u8], client: &mut Talk<'_>) -> bool {
        let mut any = false;
        for (kind, stream) in [(STDOUT, &mut self.stdout), (STDERR, &mut self.stderr)] {
            let Some(fd) = stream else { continue };
            // One byte less: the message's kind comes in front.
            match rustix::io::read(&*fd, &mut buffer[1..]) {
                Ok(count @ 1..) => {
                    any = true;
                    client.put(kind, buffer[1..=count].to_vec());
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                // Closed by all who had it; a terminal says EIO.
                Ok(_) | Err(_) => *stream = None,
            }
        }
        any
    }

    /// Writes what the program takes now.
    fn flush(&mut self) {
        let Some(input) = &self.stdin else {
            self.pending.clear();
            return;
        };
        while !self.pending.is_empty() {
            match rustix::io::write(input, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => {
                    self.pending.clear();
                    self.stdin = None;
                    return;
                }
            }
        }
        if self.input_ended {
            self.stdin = None;
        }
    }
}

/// The client, and what it has not taken yet.
struct Talk<'a> {
    socket: BorrowedFd<'a>,
    here: bool,
    unsent: VecDeque<(u8, Vec<u8>)>,
}

impl Talk<'_> {
    fn put(&mut self, kind: u8, body: Vec<u8>) {
        if self.here {
            self.unsent.push_back((kind, body));
        }
    }

    fn is_waiting(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Sends what there is room for.
    fn send(&mut self) {
        while let Some((kind, body)) = self.unsent.front() {
            match session::try_tell(self.socket, *kind, body) {
                Ok(()) => drop(self.unsent.pop_front()),
                Err(Errno::AGAIN) => return,
                Err(_) => self.leave(),
            }
        }
    }

    /// Sends the rest; the program is reaped, so now there is time.
    fn finish(&mut self) {
        while let Some((kind, body)) = self.unsent.pop_front() {
            if session::tell(self.socket, kind, &body).is_err() {
                return;
            }
        }
    }

    fn leave(&mut self) {
        self.here = false;
        self.unsent.clear();
    }

    /// Does what the client asks for.
    fn hear(&mut self, streams: &mut Streams, buffer: &mut [u8]) {
        let flags = rustix::net::RecvFlags::DONTWAIT;
        let count = match rustix::net::recv(self.socket, &mut *buffer, flags) {
            Err(Errno::AGAIN | Errno::INTR) => return,
            Ok((count, _)) => count,
            Err(_) => 0,
        };
        match buffer[..count].split_first() {
            None => {
                self.leave();
                // Whoever typed is gone: for a pipe that is the end of the input.
                streams.input_ended = !streams.terminal;
            }
            // A terminal has its own end of file: the character that the user types.
            Some((&STDIN, [])) => streams.input_ended = !streams.terminal,
            Some((&STDIN, bytes)) => streams.pending.extend_from_slice(bytes),
            Some((&RESIZE, [r0, r1, c0, c1])) => {
                let size = rustix::termios::Winsize {
                    ws_row: u16::from_ne_bytes([*r0, *r1]),
                    ws_col: u16::from_ne_bytes([*c0, *c1]),
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                };
                if let Some(master) = streams.stdout.as_ref().filter(|_| streams.terminal) {
                    // Its program is gone, and with that the terminal.
                    let _gone = rustix::termios::tcsetwinsize(master, size);
                }
            }
            Some(_) => {}
        }
    }
}

/// A session of its own, and nothing of the starter's left open; /dev/null, once more for the program.
fn detach() -> Result<OwnedFd, EngineError> {
    rustix::process::setsid().at("setsid", "")?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .at("open", "/dev/null")?;
    for number in 0..3 {
        corten_sys::fd::place(null.as_fd(), number).at("dup2", "/dev/null")?;
    }
    // Not to hold what the command was started in.
    rustix::process::chdir("/").at("chdir", "/")?;
    signal::set_mask(&SignalSet::empty());
    Ok(null)
}

/// A pipe, close-on-exec: its end for reading, its end for writing.
fn pipe(name: &str) -> Result<(OwnedFd, OwnedFd), EngineError> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).at("pipe", name)?;
    rustix::fs::fchmod(&read, STREAM_MODE).at("fchmod", name)?;
    Ok((read, write))
}

fn set_nonblocking(fd: &OwnedFd) -> Result<(), EngineError> {
    let flags = rustix::fs::fcntl_getfl(fd).at("fcntl", "stream")?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK).at("fcntl", "stream")
}
