//! The attached client of a container: the streams and signals of the command in the foreground.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use corten_sys::signal::{self, SignalSet};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios};

use crate::config::{Config, Stream};
use crate::run::Outcome;
use crate::session::{self, EXITED, RESIZE, SIGNAL, STDERR, STDIN, STDOUT};

/// The streams that it takes part in: those of `-a`, or what Docker attaches without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attached {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Attached {
    pub(crate) fn of(config: &Config) -> Self {
        let said = |stream| config.attach.is_empty() || config.attach.contains(&stream);
        Self { stdin: said(Stream::Stdin), stdout: said(Stream::Stdout), stderr: said(Stream::Stderr) }
    }

    pub(crate) fn only_input(self) -> bool {
        !self.stdout && !self.stderr
    }
}

/// The command's own process in the foreground.
pub(crate) struct Client {
    pub(crate) socket: OwnedFd,
    pub(crate) tty: bool,
    pub(crate) interactive: bool,
    /// Signals are passed on.
    pub(crate) proxy: bool,
    pub(crate) attached: Attached,
}

/// Puts the terminal back as it was.
struct Raw(Option<Termios>);

impl Raw {
    fn make(wanted: bool) -> Self {
        let stdin = rustix::stdio::stdin();
        let Some(before) = wanted.then(|| rustix::termios::tcgetattr(stdin).ok()).flatten() else {
            return Raw(None);
        };
        let mut raw = before.clone();
        raw.make_raw();
        let set = rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw);
        Raw(set.is_ok().then_some(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _gone = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

impl Client {
    /// Carries streams and signals until the end is told; `None` if the monitor went without telling it.
    pub(crate) fn attend(&self, buffer: &mut [u8]) -> Option<Outcome> {
        let watched = SignalSet::all()
            .without(signal::SIGCHLD)
            .without(signal::SIGPIPE)
            .without(signal::SIGTTIN)
            .without(signal::SIGTTOU);
        let watched = if self.proxy { watched } else { SignalSet::empty().with(signal::SIGWINCH) };
        let before = signal::set_mask(&watched);
        let signals = signal::signalfd(&watched).ok()?;
        let mut input = self.interactive && self.attached.stdin;
        let raw = Raw::make(self.tty && input);
        // What the monitor had no room for yet. Waiting for room would be a deadlock: it may be waiting
        // for us to read what the program wrote.
        let mut unsent = VecDeque::new();
        let outcome = loop {
            let wanted = if unsent.is_empty() { PollFlags::IN } else { PollFlags::IN.union(PollFlags::OUT) };
            let mut fds = vec![PollFd::new(&self.socket, wanted), PollFd::new(&signals, PollFlags::IN)];
            let stdin = rustix::stdio::stdin();
            if input && unsent.is_empty() {
                fds.push(PollFd::new(&stdin, PollFlags::IN));
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => break None,
            }
            let heard = fds[0].revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready[1] {
                self.pass_signal(&signals, &mut unsent);
            }
            if ready.get(2) == Some(&true) {
                let room = session::CHUNK - 1;
                let count = rustix::io::read(stdin, &mut buffer[..room]).unwrap_or(0);
                input = count > 0;
                unsent.push_back((STDIN, buffer[..count].to_vec()));
            }
            while let Some((kind, body)) = unsent.front() {
                match session::try_tell(self.socket.as_fd(), *kind, body) {
                    Err(Errno::AGAIN) => break,
                    // Gone: what it said last is still to be read.
                    Ok(()) | Err(_) => drop(unsent.pop_front()),
                }
            }
            if heard {
                match session::hear(self.socket.as_fd(), buffer) {
                    None => break None,
                    Some((STDOUT, bytes)) if self.attached.stdout => {
                        write_all(rustix::stdio::stdout(), bytes)
                    }
                    Some((STDERR, bytes)) if self.attached.stderr => {
                        write_all(rustix::stdio::stderr(), bytes)
                    }
                    Some((EXITED, [code, oom])) => {
                        break Some(Outcome::Exited { code: *code, oom_killed: *oom != 0 });
                    }
                    Some(_) => {}
                }
            }
        };
        drop(raw);
        signal::set_mask(&before);
        outcome
    }

    /// Carries standard input to its end and nothing else: `-a stdin`. What the container writes is read and
    /// dropped, so that it is not held up; its log has it.
    pub(crate) fn feed(&self, buffer: &mut [u8]) {
        if self.interactive {
            let _ended_first = self.carry_input(buffer);
        }
    }

    fn carry_input(&self, buffer: &mut [u8]) -> Option<()> {
        let stdin = rustix::stdio::stdin();
        let mut unsent: Option<Vec<u8>> = None;
        loop {
            let wanted = if unsent.is_some() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            let mut fds = vec![PollFd::new(&self.socket, wanted)];
            if unsent.is_none() {
                fds.push(PollFd::new(&stdin, PollFlags::IN));
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return None,
            }
            let heard = fds[0].revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
            let typed = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
            if typed {
                let count = rustix::io::read(stdin, &mut buffer[..session::CHUNK - 1]).unwrap_or(0);
                unsent = Some(buffer[..count].to_vec());
            }
            if let Some(body) = unsent.take() {
                match session::try_tell(self.socket.as_fd(), STDIN, &body) {
                    Err(Errno::AGAIN) => unsent = Some(body),
                    Err(_) => return None,
                    // The end of the input was told.
                    Ok(()) if body.is_empty() => return Some(()),
                    Ok(()) => {}
                }
            }
            if heard && matches!(session::hear(self.socket.as_fd(), buffer), None | Some((EXITED, _))) {
                return None;
            }
        }
    }

    fn pass_signal(&self, signals: &OwnedFd, unsent: &mut VecDeque<(u8, Vec<u8>)>) {
        let mut record = [0u8; signal::SIGNALFD_RECORD];
        while let Ok(count) = rustix::io::read(signals, &mut record) {
            if count < 4 {
                return;
            }
            let number = i32::from_ne_bytes([record[0], record[1], record[2], record[3]]);
            if number == signal::SIGWINCH {
                if let (true, Ok(size)) = (self.tty, rustix::termios::tcgetwinsize(rustix::stdio::stdin())) {
                    let mut body = size.ws_row.to_ne_bytes().to_vec();
                    body.extend_from_slice(&size.ws_col.to_ne_bytes());
                    unsent.push_back((RESIZE, body));
                }
            } else if let Ok(number) = u8::try_from(number) {
                unsent.push_back((SIGNAL, vec![number]));
            }
        }
    }
}

fn write_all(fd: impl AsFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(&fd, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
                let _again = poll(&mut fds, None);
            }
            // Nobody reads any more; the container goes on.
            Err(_) => return,
        }
    }
}
