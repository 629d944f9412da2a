//! What parent and child say to each other during a start, over one pair of connected sockets that keep
//! message boundaries (`SOCK_SEQPACKET`).
//!
//! ```text
//!   parent                              child
//!     │  MAPPED                  ▶        │   only where a helper joins namespaces first
//!     │                       ◀  CLONED   │   likewise: the number of the real first process
//!     │  GO: identity, descriptors ▶      │
//!     │                      ◀  TERMINAL  │   the master, if there is a terminal
//!     │                      ◀  EXEC      │   from here on only execve(2) can fail
//!     │                   (end of file)   │   both its processes executed: it runs
//!     │                      ◀  FAILED    │   or: which operation, which call, which errno
//! ```
//!
//! The child's side allocates nothing.

use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use crate::user::MAX_GROUPS;

/// The kernel's limit for one message is 253.
pub(crate) const MAX_FDS: usize = 253;
/// Room for the identity: ids, groups, home.
const BUFFER: usize = 16 + 4 * MAX_GROUPS + 4096;

pub(crate) const MAPPED: u8 = b'M';
pub(crate) const GO: u8 = b'G';
pub(crate) const CLONED: u8 = b'C';
pub(crate) const TERMINAL: u8 = b'T';
pub(crate) const EXEC: u8 = b'E';
pub(crate) const FAILED: u8 = b'F';

/// One message.
pub(crate) struct Message {
    bytes: [u8; BUFFER],
    length: usize,
}

impl Message {
    pub(crate) fn new(kind: u8) -> Self {
        let mut message = Self { bytes: [0; BUFFER], length: 1 };
        message.bytes[0] = kind;
        message
    }

    pub(crate) fn empty() -> Self {
        Self { bytes: [0; BUFFER], length: 0 }
    }

    /// Its kind, or `None` at the end of the stream.
    pub(crate) fn kind(&self) -> Option<u8> {
        (self.length > 0).then_some(self.bytes[0])
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[1.min(self.length)..self.length]
    }

    /// Appends bytes; whether they fitted.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        let Some(room) = self.bytes.get_mut(self.length..self.length + bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        self.length += bytes.len();
        true
    }

    pub(crate) fn push_u32(&mut self, value: u32) -> bool {
        self.push(&value.to_ne_bytes())
    }

    /// The `index`th 32-bit number of the body.
    pub(crate) fn u32_at(&self, index: usize) -> Option<u32> {
        let bytes = self.body().get(index * 4..index * 4 + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    }
}

pub(crate) fn send(socket: BorrowedFd<'_>, message: &Message, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::TOOMANYREFS);
    }
    let data = [std::io::IoSlice::new(&message.bytes[..message.length])];
    // A peer that died is an error to report, not a signal to die of.
    sendmsg(socket, &data, &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// Receives one message; `take` gets its descriptors in order.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    message: &mut Message,
    mut take: impl FnMut(OwnedFd),
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut data = [std::io::IoSliceMut::new(&mut message.bytes)];
    let received = loop {
        match recvmsg(socket, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC) {
            // The other side went without reading what we sent. That is told once, before its own last words.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            other => break other?,
        }
    };
    message.length = received.bytes;
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = item {
            fds.for_each(&mut take);
        }
    }
    Ok(())
}

/// The calls that the child makes, as it reports them: a number on the wire, a name in the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Call {
    Recvmsg,
    Sendmsg,
    Setresuid,
    Setresgid,
    Setgroups,
    Unshare,
    Setns,
    Clone3,
    Mount,
    MoveMount,
    OpenTree,
    MountSetattr,
    Fchdir,
    Openat2,
    Mkdirat,
    Symlinkat,
    Mknodat,
    Fstat,
    Write,
    Socket,
    Ioctl,
    Sethostname,
    Setdomainname,
    PivotRoot,
    Umount2,
    Chdir,
    Getcwd,
    Setsid,
    Dup2,
    Fchown,
    Keyctl,
    Prlimit,
    Prctl,
    Capset,
    Seccomp,
    CloseRange,
    Fcntl,
    Execve,
    Execveat,
    Notify,
}

impl Call {
    const ALL: [(Call, &'static str); 40] = [
        (Call::Recvmsg, "recvmsg"),
        (Call::Sendmsg, "sendmsg"),
        (Call::Setresuid, "setresuid"),
        (Call::Setresgid, "setresgid"),
        (Call::Setgroups, "setgroups"),
        (Call::Unshare, "unshare"),
        (Call::Setns, "setns"),
        (Call::Clone3, "clone3"),
        (Call::Mount, "mount"),
        (Call::MoveMount, "move_mount"),
        (Call::OpenTree, "open_tree"),
        (Call::MountSetattr, "mount_setattr"),
        (Call::Fchdir, "fchdir"),
        (Call::Openat2, "openat2"),
        (Call::Mkdirat, "mkdirat"),
        (Call::Symlinkat, "symlinkat"),
        (Call::Mknodat, "mknodat"),
        (Call::Fstat, "fstat"),
        (Call::Write, "write"),
        (Call::Socket, "socket"),
        (Call::Ioctl, "ioctl"),
        (Call::Sethostname, "sethostname"),
        (Call::Setdomainname, "setdomainname"),
        (Call::PivotRoot, "pivot_root"),
        (Call::Umount2, "umount2"),
        (Call::Chdir, "chdir"),
        (Call::Getcwd, "getcwd"),
        (Call::Setsid, "setsid"),
        (Call::Dup2, "dup2"),
        (Call::Fchown, "fchown"),
        (Call::Keyctl, "keyctl(KEYCTL_JOIN_SESSION_KEYRING)"),
        (Call::Prlimit, "prlimit64"),
        (Call::Prctl, "prctl"),
        (Call::Capset, "capset"),
        (Call::Seccomp, "seccomp(SECCOMP_SET_MODE_FILTER)"),
        (Call::CloseRange, "close_range"),
        (Call::Fcntl, "fcntl"),
        (Call::Execve, "execve"),
        (Call::Execveat, "execveat"),
        (Call::Notify, "seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER)"),
    ];

    pub(crate) fn from_number(number: u32) -> Option<Call> {
        Self::ALL.iter().find(|(call, _)| *call as u32 == number).map(|&(call, _)| call)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(call, _)| *call == self).map_or("?", |&(_, name)| name)
    }
}

/// A call of the child that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) call: Call,
    pub(crate) errno: Errno,
}

pub(crate) trait At<T> {
    fn at(self, call: Call) -> Result<T, Failure>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, call: Call) -> Result<T, Failure> {
        self.map_err(|errno| Failure { call, errno })
    }
}

/// Tells the parent what failed. If it is gone, there is nobody to tell.
pub(crate) fn report(socket: BorrowedFd<'_>, operation: usize, failure: Failure) {
    let mut message = Message::new(FAILED);
    let fits = message.push_u32(operation as u32)
        && message.push_u32(failure.call as u32)
        && message.push_u32(failure.errno.raw_os_error() as u32);
    if fits {
        let _gone = send(socket, &message, &[]);
    }
}

/// A pair of connected sockets.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn messages_carry_numbers_and_descriptors_in_order() {
        let (here, there) = pair().unwrap();
        let mut message = Message::new(GO);
        assert!(message.push_u32(7) && message.push_u32(8) && message.push(b"home"));
        let (one, two) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        rustix::io::write(&one, b"1").unwrap();
        send(here.as_fd(), &message, &[one.as_fd(), two.as_fd()]).unwrap();
        drop(here);
        let (mut back, mut sizes) = (Message::empty(), Vec::new());
        receive(there.as_fd(), &mut back, |fd| sizes.push(rustix::fs::fstat(&fd).unwrap().st_size)).unwrap();
        assert_eq!((back.kind(), back.u32_at(0), back.u32_at(1)), (Some(GO), Some(7), Some(8)));
        assert_eq!((&back.body()[8..], sizes), (&b"home"[..], vec![1, 0]));
        receive(there.as_fd(), &mut back, drop).unwrap();
        assert_eq!(back.kind(), None);
    }

    #[test]
    fn the_last_words_of_who_died_without_listening_are_heard() {
        let (here, there) = pair().unwrap();
        send(here.as_fd(), &Message::new(GO), &[]).unwrap();
        send(there.as_fd(), &Message::new(FAILED), &[]).unwrap();
        drop(there);
        let mut back = Message::empty();
        receive(here.as_fd(), &mut back, drop).unwrap();
        assert_eq!(back.kind(), Some(FAILED));
        receive(here.as_fd(), &mut back, drop).unwrap();
        assert_eq!(back.kind(), None);
    }

    #[test]
    fn every_call_has_a_name() {
        for (number, &(call, name)) in Call::ALL.iter().enumerate() {
            assert_eq!((call as usize, Call::from_number(number as u32)), (number, Some(call)), "{name}");
        }
    }
}
