//! The attached client of a container: the streams and signals of the command in the foreground.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_sys::signal::{self, SignalSet};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, Winsize};

use crate::config::{Config, Stream};
use crate::detach_keys::{DetachKeys, Spotter};
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

    pub(crate) fn all() -> Self {
        Self { stdin: true, stdout: true, stderr: true }
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
    /// What leaves the container, typed on a terminal.
    pub(crate) detach_keys: DetachKeys,
    pub(crate) attached: Attached,
}

/// The user's terminal, without line editing, echo and signals of its own: those are the container's
/// terminal's to do. Put back as it was when dropped.
struct Raw(Option<Termios>);

impl Raw {
    fn make(wanted: bool) -> Self {
        let raw = Raw(wanted.then(|| rustix::termios::tcgetattr(rustix::stdio::stdin()).ok()).flatten());
        raw.set();
        raw
    }

    fn set(&self) {
        if let Some(before) = &self.0 {
            let mut raw = before.clone();
            raw.make_raw();
            let _gone = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw);
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _gone = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

/// What is on its way to the monitor. Waiting for room would be a deadlock: it may be waiting for us to
/// read what the program wrote.
#[derive(Default)]
struct Unsent(VecDeque<(u8, Vec<u8>)>);

impl Unsent {
    fn send(&mut self, socket: BorrowedFd<'_>) {
        while let Some((kind, body)) = self.0.front() {
            match session::try_tell(socket, *kind, body) {
                Err(Errno::AGAIN) => break,
                // Gone: what it said last is still to be read.
                Ok(()) | Err(_) => drop(self.0.pop_front()),
            }
        }
    }

    fn put(&mut self, kind: u8, body: Vec<u8>) {
        self.0.push_back((kind, body));
    }

    /// The size of the user's terminal.
    fn put_size(&mut self) {
        if let Some(size) = terminal_size() {
            let mut body = size.ws_row.to_ne_bytes().to_vec();
            body.extend_from_slice(&size.ws_col.to_ne_bytes());
            self.put(RESIZE, body);
        }
    }
}

/// The size of the terminal that the output goes to, or else of that which the input comes from.
pub(crate) fn terminal_size() -> Option<Winsize> {
    let of = |fd: BorrowedFd<'_>| rustix::termios::tcgetwinsize(fd).ok();
    of(rustix::stdio::stdout()).or_else(|| of(rustix::stdio::stdin()))
}

impl Client {
    /// Carries streams and signals until the end is told or the user leaves; `None` if the monitor went
    /// without telling it.
    pub(crate) fn attend(&self, buffer: &mut [u8]) -> Option<Outcome> {
        let watched = self.watched();
        let before = signal::set_mask(&watched);
        let signals = signal::signalfd(&watched).ok()?;
        let mut input = self.interactive && self.attached.stdin;
        let raw = Raw::make(self.tty && input);
        let mut spotter = self.tty.then(|| Spotter::new(&self.detach_keys));
        let mut unsent = Unsent::default();
        let (mut detached, mut killed) = (false, None);
        if self.tty {
            // It may have changed before we began to watch.
            unsent.put_size();
        }
        let outcome = loop {
            unsent.send(self.socket.as_fd());
            let idle = unsent.0.is_empty();
            if detached && idle {
                break Some(Outcome::Detached);
            }
            let wanted = if idle { PollFlags::IN } else { PollFlags::IN.union(PollFlags::OUT) };
            let mut fds = vec![PollFd::new(&self.socket, wanted), PollFd::new(&signals, PollFlags::IN)];
            let stdin = rustix::stdio::stdin();
            if input && idle {
                fds.push(PollFd::new(&stdin, PollFlags::IN));
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => break None,
            }
            let heard = fds[0].revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready[1] {
                killed = self.take_signals(&signals, &raw, &mut unsent);
                if killed.is_some() {
                    break None;
                }
            }
            if ready.get(2) == Some(&true) {
                let count = rustix::io::read(stdin, &mut buffer[..session::CHUNK / 2]).unwrap_or(0);
                input = count > 0;
                let mut typed = Vec::with_capacity(count);
                match &mut spotter {
                    None => typed.extend_from_slice(&buffer[..count]),
                    Some(spotter) => detached = spotter.feed(&buffer[..count], &mut typed),
                }
                if let (false, Some(spotter)) = (input, &mut spotter) {
                    typed.extend_from_slice(spotter.end());
                }
                // An empty message is the end.
                if !typed.is_empty() {
                    unsent.put(STDIN, typed);
                }
                if detached {
                    input = false;
                } else if !input {
                    unsent.put(STDIN, Vec::new());
                }
            }
            if heard {
                match session::hear(self.socket.as_fd(), buffer) {
                    None => break None,
                    Some((STDOUT, bytes)) if self.attached.stdout => {
                        if let Err(errno) = write_all(rustix::stdio::stdout(), bytes) {
                            break Some(Outcome::Unheard(errno));
                        }
                    }
                    Some((STDERR, bytes)) if self.attached.stderr => {
                        if let Err(errno) = write_all(rustix::stdio::stderr(), bytes) {
                            break Some(Outcome::Unheard(errno));
                        }
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
        if let Some(number) = killed {
            // The terminal is as it was: now the signal may do what it does to any other command.
            let _delivered = signal::kill(rustix::process::getpid().as_raw_nonzero().get(), number);
        }
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

    /// The signals that are taken from a descriptor instead of being delivered.
    fn watched(&self) -> SignalSet {
        if self.proxy {
            return SignalSet::all()
                .without(signal::SIGCHLD)
                .without(signal::SIGPIPE)
                .without(signal::SIGTTIN)
                .without(signal::SIGTTOU);
        }
        let watched = SignalSet::empty().with(signal::SIGWINCH).with(signal::SIGCONT);
        DEADLY.into_iter().fold(watched, SignalSet::with)
    }

    /// Passes signals on, or returns the one to die of.
    fn take_signals(&self, signals: &OwnedFd, raw: &Raw, unsent: &mut Unsent) -> Option<i32> {
        let mut record = [0u8; signal::SIGNALFD_RECORD];
        while let Ok(4..) = rustix::io::read(signals, &mut record) {
            let number = i32::from_ne_bytes([record[0], record[1], record[2], record[3]]);
            if self.tty && matches!(number, signal::SIGWINCH | signal::SIGCONT) {
                if number == signal::SIGCONT {
                    // Whoever had the terminal meanwhile left it in its own way.
                    raw.set();
                }
                unsent.put_size();
            }
            match u8::try_from(number) {
                _ if number == signal::SIGWINCH => {}
                Ok(byte) if self.proxy => unsent.put(SIGNAL, vec![byte]),
                _ if DEADLY.contains(&number) => return Some(number),
                _ => {}
            }
        }
        None
    }
}

/// What ends a command that does not pass signals on.
const DEADLY: [i32; 4] = [signal::SIGHUP, signal::SIGINT, signal::SIGQUIT, signal::SIGTERM];

fn write_all(fd: impl AsFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&fd, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
                let _again = poll(&mut fds, None);
            }
            // A terminal that was hung up: SIGHUP says what follows.
            Err(Errno::IO) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
