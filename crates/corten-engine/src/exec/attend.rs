//! The attendant of an exec: the program's parent. It never waits for its client: a program whose parent does
//! not reap it keeps the container's pid namespace, and so the container's end, from being over.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_runtime::ExecPlan;
use corten_runtime::apply::Executed;
use corten_sys::wait::Exit;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use super::Story;
use crate::error::EngineError;
use crate::session::{self, EXITED, FAILED, Heard, RESIZE, STARTED, STDERR, STDIN, STDOUT};
use crate::stdio::{self, Input, window_size};

/// What the attendant takes over from the process that forked it.
pub(super) struct Attendant<'a> {
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
    pub(super) story: &'a Story,
}

/// Our ends of the program's streams.
struct Streams {
    input: Input,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    terminal: bool,
}

/// The program's ends; where there is none it gets /dev/null.
#[derive(Default)]
struct Theirs([Option<OwnedFd>; 3]);

impl Attendant<'_> {
    /// Runs until the program has ended; the exit code of the attendant itself means nothing.
    pub(super) fn run(self, plan: ExecPlan) -> i32 {
        let terminal = plan.spec.process.terminal.is_some();
        // The cgroup has no descriptor yet.
        let detached = stdio::detach(&[self.init.as_fd(), self.client.as_fd(), self.story.journal.as_fd()]);
        let (mut streams, theirs) = match detached.and_then(|()| self.streams(terminal)) {
            Ok(streams) => streams,
            Err(error) => return self.fail(super::exit_code(&error), &error.to_string()),
        };
        let stdio = theirs.0.each_ref().map(stdio::or_null);
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
        self.story.started();
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

    fn streams(&self, terminal: bool) -> Result<(Streams, Theirs), EngineError> {
        let mut streams = Streams { input: Input::default(), stdout: None, stderr: None, terminal };
        if terminal || self.detached {
            return Ok((streams, Theirs::default()));
        }
        let (stdout, their_out) = stdio::pipe("stdout")?;
        let (stderr, their_err) = stdio::pipe("stderr")?;
        for end in [&stdout, &stderr] {
            stdio::set_nonblocking(end)?;
        }
        (streams.stdout, streams.stderr) = (Some(stdout), Some(stderr));
        let mut their_in = None;
        if self.interactive {
            let (read, write) = stdio::pipe("stdin")?;
            stdio::set_nonblocking(&write)?;
            (streams.input, their_in) = (Input::pipe(write), Some(read));
        }
        Ok((streams, Theirs([their_in, Some(their_out), Some(their_err)])))
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
                let code = corten_sys::wait::wait_pidfd(program).unwrap_or(Exit::Code(125));
                self.story.ended(code.shell_code());
                end = Some(code);
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
            streams.input.flush();
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
            wanted.set(PollFlags::IN, !ended && !streams.input.is_full());
            wanted.set(PollFlags::OUT, client.is_waiting());
            // Also with nothing wanted, for its going; but not again and again after the program's end.
            watched.push((|ready| ready.client = true, PollFd::from_borrowed_fd(client.socket, wanted)));
        }
        if !ended && !client.is_waiting() {
            for stream in streams.stdout.iter().chain(&streams.stderr) {
                watched.push((|ready| ready.output = true, PollFd::new(stream, PollFlags::IN)));
            }
        }
        if let Some(input) = streams.input.waits() {
            // What there is room for is written after each wait.
            watched.push((|_| (), PollFd::new(input, PollFlags::OUT)));
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
        stdio::set_nonblocking(&master)?;
        self.input = Input::terminal(&master)?;
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
                Ok(_) => *stream = None,
                Err(Errno::IO) if self.terminal => *stream = None,
                Err(errno) => {
                    let lost = format!("corten: the rest of the program's output cannot be read: {errno}\n");
                    client.put(STDERR, lost.into_bytes());
                    *stream = None;
                }
            }
        }
        any
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
        match session::hear_now(self.socket, buffer) {
            Heard::Gone => {
                self.leave();
                // Whoever typed is gone: for a pipe that is the end of the input.
                streams.input.end();
            }
            Heard::Message(STDIN, []) => streams.input.end(),
            Heard::Message(STDIN, bytes) => streams.input.put(bytes),
            Heard::Message(RESIZE, body) => {
                let master = streams.stdout.as_ref().filter(|_| streams.terminal);
                if let (Some(master), Some(size)) = (master, window_size(body)) {
                    // Its program is gone, and with that the terminal.
                    let _gone = rustix::termios::tcsetwinsize(master, size);
                }
            }
            Heard::Message(..) | Heard::Nothing => {}
        }
    }
}
