//! A user at a terminal: a pseudo-terminal whose other end is the controlling terminal of a command.

use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

/// No step of a test takes longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Terminal {
    master: OwnedFd,
    /// Kept open, so that the settings outlive the command.
    peer: OwnedFd,
    child: Option<Child>,
    /// All that was shown.
    pub shown: String,
    /// What of it was expected already.
    seen: usize,
}

pub fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Terminal {
    pub fn new(rows: u16, columns: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let peer = ioctl_tiocgptpeer(&master, flags).unwrap();
        tcsetwinsize(&master, size(rows, columns)).unwrap();
        Self { master, peer, child: None, shown: String::new(), seen: 0 }
    }

    /// Runs it here with all three streams, in a session of its own.
    pub fn run(&mut self, command: &Command) {
        let end = || self.peer.try_clone().unwrap();
        let mut session = Command::new("setsid");
        session.arg("--ctty").arg(command.get_program()).args(command.get_args());
        self.child = Some(session.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap());
    }

    pub fn type_in(&mut self, keys: &str) {
        let mut rest = keys.as_bytes();
        while !rest.is_empty() {
            let count = rustix::io::write(&self.master, rest).unwrap();
            rest = &rest[count..];
        }
    }

    /// Reads until `text` is shown after what was expected before, and returns what came before it.
    pub fn expect(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.shown[self.seen..].find(text) {
                let before = self.shown[self.seen..self.seen + at].to_owned();
                self.seen += at + text.len();
                return before;
            }
            assert!(self.read_some(until), "{text:?} was not shown, but {:?}", &self.shown[self.seen..]);
        }
    }

    /// Something was shown before the time was over.
    fn read_some(&mut self, until: Instant) -> bool {
        let Some(left) = until.checked_duration_since(Instant::now()) else { return false };
        let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
        poll(&mut fds, Some(&left.try_into().unwrap())).unwrap();
        if !fds[0].revents().contains(PollFlags::IN) {
            return false;
        }
        let mut buffer = [0; 4096];
        let count = rustix::io::read(&self.master, &mut buffer).unwrap();
        self.shown.push_str(&String::from_utf8_lossy(&buffer[..count]));
        true
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.master, size(rows, columns)).unwrap();
    }

    pub fn settings(&self) -> Termios {
        tcgetattr(&self.peer).unwrap()
    }

    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(self.child.as_ref().unwrap())
    }

    /// Waits for the command's end while reading what it shows.
    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        let ended = rustix::process::pidfd_open(self.pid(), rustix::process::PidfdFlags::empty()).unwrap();
        loop {
            let left = until.checked_duration_since(Instant::now()).expect("the command did not end");
            let mut fds = [PollFd::new(&ended, PollFlags::IN), PollFd::new(&self.master, PollFlags::IN)];
            poll(&mut fds, Some(&left.try_into().unwrap())).unwrap();
            let (ended, shown) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
            if shown {
                self.read_some(until);
            } else if ended {
                return self.child.take().unwrap().wait().unwrap();
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ended = child.kill();
            let _ended = child.wait();
        }
    }
}
