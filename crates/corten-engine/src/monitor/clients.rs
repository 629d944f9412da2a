//! The clients of a monitor: the command that started the container, and whoever attached since.
//!
//! None of them can hold the container up. What a client does not take at once waits for it, first in memory,
//! then in a file that has no name; one that leaves more than a gigabyte waiting is let go.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen};

use crate::hold::Hold;
use crate::session::{self, ATTACH};

/// How much waits in memory for one client.
const IN_MEMORY: usize = 256 << 10;
/// How much waits for one client at most.
const MOST: u64 = 1 << 30;
/// The name of the socket in the container's directory of the living.
pub(crate) const SOCKET: &str = "sock";

/// Messages that a client has not taken yet, in order: those in memory come before those in the file.
struct Backlog {
    memory: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Where the file is made.
    dir: PathBuf,
    file: Option<File>,
    read_at: u64,
    write_at: u64,
}

impl Backlog {
    fn new(dir: PathBuf) -> Self {
        Self { memory: VecDeque::new(), bytes: 0, dir, file: None, read_at: 0, write_at: 0 }
    }

    fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.read_at == self.write_at
    }

    fn push(&mut self, message: &[u8]) -> Result<(), Errno> {
        if self.read_at == self.write_at && self.bytes + message.len() <= IN_MEMORY {
            self.bytes += message.len();
            self.memory.push_back(message.to_vec());
            return Ok(());
        }
        if self.write_at - self.read_at > MOST {
            return Err(Errno::NOBUFS);
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
                File::from(rustix::fs::open(&self.dir, flags, Mode::RUSR | Mode::WUSR)?)
            }
        };
        let mut framed = (message.len() as u32).to_ne_bytes().to_vec();
        framed.extend_from_slice(message);
        file.write_all_at(&framed, self.write_at).map_err(|_| Errno::NOSPC)?;
        self.write_at += framed.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    /// The next message, without taking it.
    fn front(&mut self) -> Option<&[u8]> {
        if self.memory.is_empty() && self.read_at < self.write_at {
            let file = self.file.as_ref()?;
            let mut length = [0; 4];
            file.read_exact_at(&mut length, self.read_at).ok()?;
            let mut message = vec![0; u32::from_ne_bytes(length) as usize];
            file.read_exact_at(&mut message, self.read_at + 4).ok()?;
            self.read_at += 4 + message.len() as u64;
            if self.read_at == self.write_at {
                // All is read: the space goes back to the disk.
                (self.file, self.read_at, self.write_at) = (None, 0, 0);
            }
            self.bytes += message.len();
            self.memory.push_back(message);
        }
        self.memory.front().map(Vec::as_slice)
    }

    fn pop(&mut self) {
        if let Some(message) = self.memory.pop_front() {
            self.bytes -= message.len();
        }
    }
}

/// One client.
pub(crate) struct Client {
    socket: OwnedFd,
    /// It takes what the container writes.
    output: bool,
    /// It is the command that started the container: when it goes, the input has ended.
    pub(crate) starter: bool,
    backlog: Backlog,
}

impl Client {
    /// Whether something waits for it.
    pub(crate) fn is_behind(&self) -> bool {
        !self.backlog.is_empty()
    }

    pub(super) fn tell(&mut self, message: &[u8]) -> Result<(), Errno> {
        if self.backlog.is_empty() {
            match session::send_now(self.socket.as_fd(), message) {
                Err(Errno::AGAIN) => {}
                other => return other,
            }
        }
        self.backlog.push(message)
    }

    fn catch_up(&mut self) -> Result<(), Errno> {
        while let Some(message) = self.backlog.front() {
            match session::send_now(self.socket.as_fd(), message) {
                Ok(()) => self.backlog.pop(),
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Attaches it to the output.
    pub(crate) fn attach(&mut self) {
        self.output = true;
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// All clients, and the socket where more come.
pub(crate) struct Clients {
    listener: Option<OwnedFd>,
    pub(crate) list: Vec<Client>,
    spill: PathBuf,
}

impl Clients {
    /// `spill` is a directory on a disk.
    pub(crate) fn new(spill: PathBuf) -> Self {
        Self { listener: None, list: Vec::new(), spill }
    }

    /// Takes the command that started the container.
    pub(crate) fn add_starter(&mut self, socket: OwnedFd) {
        let backlog = Backlog::new(self.spill.clone());
        self.list.push(Client { socket, output: true, starter: true, backlog });
    }

    /// Listens in the directory that is held. Without it nobody can attach; the container runs all the same.
    pub(crate) fn listen(&mut self, hold: &Hold) -> Result<(), Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let address = address(hold.as_fd())?;
        match bind(&socket, &address) {
            // That of a monitor before.
            Err(Errno::ADDRINUSE) => {
                rustix::fs::unlinkat(hold, SOCKET, rustix::fs::AtFlags::empty())?;
                bind(&socket, &address)?;
            }
            other => other?,
        }
        listen(&socket, 16)?;
        self.listener = Some(socket);
        Ok(())
    }

    /// Whether the command that started the container is still there.
    pub(crate) fn has_starter(&self) -> bool {
        self.list.iter().any(|client| client.starter)
    }

    pub(crate) fn listener(&self) -> Option<&OwnedFd> {
        self.listener.as_ref()
    }

    /// Takes whoever came.
    pub(crate) fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        while let Ok(socket) = accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            let backlog = Backlog::new(self.spill.clone());
            self.list.push(Client { socket, output: false, starter: false, backlog });
        }
    }

    /// Tells all that take the output; those that went are let go.
    pub(crate) fn output(&mut self, kind: u8, bytes: &[u8]) {
        if self.list.iter().any(|client| client.output) {
            let message = session::message(kind, bytes);
            self.list.retain_mut(|client| !client.output || client.tell(&message).is_ok());
        }
    }

    /// Tells everybody.
    pub(crate) fn all(&mut self, kind: u8, bytes: &[u8]) {
        let message = session::message(kind, bytes);
        self.list.retain_mut(|client| client.tell(&message).is_ok());
    }

    /// Gives those that are behind what they take now.
    pub(crate) fn catch_up(&mut self) {
        self.list.retain_mut(|client| client.catch_up().is_ok());
    }
}

/// The socket's address: through the descriptor, since a path may be longer than an address.
pub(crate) fn address(dir: BorrowedFd<'_>) -> Result<SocketAddrUnix, Errno> {
    use std::os::fd::AsRawFd;
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()))
}

/// Whether a message attaches its sender.
pub(crate) fn attaches(kind: u8) -> bool {
    kind == ATTACH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_comes_in_order_from_memory_and_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut backlog = Backlog::new(dir.path().to_owned());
        let message = |number: usize| format!("{number}:{}", "x".repeat(number % 40_000)).into_bytes();
        let (mut pushed, mut taken) = (0, 0);
        for round in 0..50 {
            for _ in 0..round {
                backlog.push(&message(pushed * 997)).unwrap();
                pushed += 1;
            }
            for _ in 0..round.min(40) / 2 {
                assert_eq!(backlog.front().unwrap(), message(taken * 997));
                backlog.pop();
                taken += 1;
            }
        }
        assert!(backlog.file.is_some(), "some of it was in the file");
        while let Some(front) = backlog.front() {
            assert_eq!(front, message(taken * 997));
            backlog.pop();
            taken += 1;
        }
        assert_eq!(taken, pushed);
        assert!(backlog.is_empty() && backlog.file.is_none() && backlog.bytes == 0);
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "the file has no name");
    }
}
