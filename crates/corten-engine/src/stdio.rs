//! Of whoever attends a program, the monitor of a container or the attendant of an exec: its own standard
//! streams, and what it does with the program's.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use corten_sys::signal::{self, SignalSet};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::Winsize;

use crate::error::{At, EngineError};
use crate::session;

/// `> /dev/stdout` opens the stream again, as whichever user the program is then. From outside nobody can.
pub(crate) const STREAM_MODE: Mode = Mode::from_raw_mode(0o666);

/// Leaves the process that forked this one: a session of its own, nothing of the other's left open but
/// `keep`, no directory of it held. The standard streams are /dev/null.
pub(crate) fn detach(keep: &[BorrowedFd<'_>]) -> Result<(), EngineError> {
    corten_sys::fd::close_all_but(0, keep).at("close_range", "all but what is kept")?;
    rustix::process::setsid().at("setsid", "")?;
    // The lowest number that is free is that of standard input.
    let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty()).at("open", "/dev/null")?;
    for number in (0..3).filter(|number| *number != null.as_raw_fd()) {
        corten_sys::fd::place(null.as_fd(), number).at("dup2", "/dev/null")?;
    }
    std::mem::forget(null);
    rustix::process::chdir("/").at("chdir", "/")?;
    signal::set_mask(&SignalSet::empty());
    // What is made for the program gets the modes that it is given.
    rustix::process::umask(Mode::empty());
    Ok(())
}

/// What a program is given for a stream: after [`detach`] that is /dev/null where there is none.
pub(crate) fn or_null(stream: &Option<OwnedFd>) -> BorrowedFd<'_> {
    stream.as_ref().map_or_else(|| rustix::stdio::stdin(), AsFd::as_fd)
}

/// A pipe for a stream: its end for reading, its end for writing.
pub(crate) fn pipe(name: &str) -> Result<(OwnedFd, OwnedFd), EngineError> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).at("pipe", name)?;
    rustix::fs::fchmod(&read, STREAM_MODE).at("fchmod", name)?;
    Ok((read, write))
}

pub(crate) fn set_nonblocking(fd: impl AsFd) -> Result<(), EngineError> {
    let flags = rustix::fs::fcntl_getfl(&fd).at("fcntl", "stream")?;
    rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK).at("fcntl", "stream")
}

/// The size in a message of kind [`session::RESIZE`].
pub(crate) fn window_size(body: &[u8]) -> Option<Winsize> {
    let [r0, r1, c0, c1] = *body else { return None };
    Some(Winsize {
        ws_row: u16::from_ne_bytes([r0, r1]),
        ws_col: u16::from_ne_bytes([c0, c1]),
        ws_xpixel: 0,
        ws_ypixel: 0,
    })
}

/// What is on its way to a program's standard input.
#[derive(Default)]
pub(crate) struct Input {
    /// Our end, until the program takes no more.
    to: Option<OwnedFd>,
    /// What the program has not taken yet.
    pending: Vec<u8>,
    /// No more comes: what is pending is the last.
    ended: bool,
    is_terminal: bool,
}

impl Input {
    /// A pipe's end for writing; one that does not wait.
    pub(crate) fn pipe(to: OwnedFd) -> Self {
        Self { to: Some(to), ..Self::default() }
    }

    /// That of a terminal, by its master.
    pub(crate) fn terminal(master: &OwnedFd) -> Result<Self, EngineError> {
        let to = rustix::io::fcntl_dupfd_cloexec(master, 3).at("dup", "the terminal")?;
        Ok(Self { to: Some(to), is_terminal: true, ..Self::default() })
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// No more comes. A terminal goes on: its end of file is a character that the user types.
    pub(crate) fn end(&mut self) {
        self.ended = !self.is_terminal;
    }

    /// What the program does not take is not to be read from a client either.
    pub(crate) fn is_full(&self) -> bool {
        self.pending.len() >= session::CHUNK
    }

    /// Where room is waited for, if something is pending.
    pub(crate) fn waits(&self) -> Option<&OwnedFd> {
        self.to.as_ref().filter(|_| !self.pending.is_empty())
    }

    /// Writes what the program takes now.
    pub(crate) fn flush(&mut self) {
        let Some(to) = &self.to else {
            self.pending.clear();
            return;
        };
        while !self.pending.is_empty() {
            match rustix::io::write(to, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => {
                    self.pending.clear();
                    self.to = None;
                    return;
                }
            }
        }
        if self.ended {
            self.to = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_waits_for_room_and_ends_behind_its_last_byte() {
        let (read, write) = pipe("test").unwrap();
        set_nonblocking(&write).unwrap();
        set_nonblocking(&read).unwrap();
        let mut input = Input::pipe(write);
        let sent: Vec<u8> = (0..200_000_u32).map(|number| number as u8).collect();
        input.put(&sent);
        input.end();
        let mut got = Vec::new();
        let mut buffer = [0; 4096];
        input.flush();
        assert!(input.is_full() && input.waits().is_some(), "a pipe holds no more than 64 KiB");
        loop {
            match rustix::io::read(&read, &mut buffer) {
                Ok(0) => break,
                Ok(count) => got.extend_from_slice(&buffer[..count]),
                Err(errno) => {
                    assert_eq!(errno, Errno::AGAIN);
                    input.flush();
                }
            }
        }
        assert!(got == sent && input.waits().is_none());
    }

    #[test]
    fn a_program_that_takes_no_input_holds_nobody_up() {
        let (read, write) = pipe("test").unwrap();
        drop(read);
        let mut input = Input::pipe(write);
        input.put(b"x");
        input.flush();
        assert!(input.waits().is_none() && !input.is_full());
        let mut none = Input::default();
        none.put(&[0; session::CHUNK]);
        none.flush();
        assert!(!none.is_full());
    }

    #[test]
    fn a_size_is_four_bytes() {
        let size = window_size(&[40, 0, 80, 0]).map(|size| (size.ws_row, size.ws_col));
        assert_eq!(size, Some((u16::from_ne_bytes([40, 0]), u16::from_ne_bytes([80, 0]))));
        assert!(window_size(&[1, 2, 3]).is_none() && window_size(&[0; 5]).is_none());
    }
}
