//! What the monitor and an attached client say to each other: messages on a `SOCK_SEQPACKET` pair, the
//! first byte the kind.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

/// The most that one message carries.
pub(crate) const CHUNK: usize = 32 * 1024;

/// Monitor → client: standard output, standard error.
pub(crate) const STDOUT: u8 = 1;
pub(crate) const STDERR: u8 = 2;
/// Monitor → client: it runs.
pub(crate) const STARTED: u8 = b'S';
/// Monitor → client: it does not; exit code, then the reason.
pub(crate) const FAILED: u8 = b'F';
/// Monitor → client: it ended; exit code, whether for memory.
pub(crate) const EXITED: u8 = b'X';
/// Client → monitor: standard input; with nothing in it, its end.
pub(crate) const STDIN: u8 = b'I';
/// Client → monitor: a signal for the program.
pub(crate) const SIGNAL: u8 = b'K';
/// Client → monitor: the terminal's size, rows and columns.
pub(crate) const RESIZE: u8 = b'R';

pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Client → monitor, over the socket: what the container writes is wanted.
pub(crate) const ATTACH: u8 = b'A';
/// Client → monitor: the container is about to be stopped and is not to be started again.
pub(crate) const STOPPING: u8 = b'T';

/// Client → monitor: the container's record has changed; the answer, of the same kind, is that it was read.
pub(crate) const RECORD: u8 = b'N';

/// A message as it is sent.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(body.len() + 1);
    message.push(kind);
    message.extend_from_slice(body);
    message
}

/// Sends one message if there is room for it now; `AGAIN` if not.
pub(crate) fn send_now(socket: BorrowedFd<'_>, message: &[u8]) -> Result<(), Errno> {
    loop {
        match send(socket, message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Sends one message; waits until there is room for it.
pub(crate) fn tell(socket: BorrowedFd<'_>, kind: u8, body: &[u8]) -> Result<(), Errno> {
    let message = message(kind, body);
    loop {
        match send(socket, &message, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}

/// As [`send_now`].
pub(crate) fn try_tell(socket: BorrowedFd<'_>, kind: u8, body: &[u8]) -> Result<(), Errno> {
    send_now(socket, &message(kind, body))
}

/// Receives one message into `buffer`; `None` when the other side is gone.
pub(crate) fn hear<'a>(socket: BorrowedFd<'_>, buffer: &'a mut [u8]) -> Option<(u8, &'a [u8])> {
    let mut failed = false;
    let count = loop {
        match recv(socket, &mut *buffer, RecvFlags::empty()) {
            // The other side went without reading what we said last. The kernel tells that once, before what
            // it said last itself, which is still to be had.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Ok((count, _)) => break count,
            // Of one that is only not heard the end would be awaited for ever.
            Err(_) if !failed => failed = true,
            Err(_) => return None,
        }
    };
    buffer[..count].split_first().map(|(kind, body)| (*kind, body))
}

/// What came of a look for a message.
pub(crate) enum Heard<'a> {
    Message(u8, &'a [u8]),
    /// Not now.
    Nothing,
    /// The other side is gone.
    Gone,
}

/// As [`hear`], without waiting.
pub(crate) fn hear_now<'a>(socket: BorrowedFd<'_>, buffer: &'a mut [u8]) -> Heard<'a> {
    match recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
        Ok((0, _)) => Heard::Gone,
        Ok((count, _)) => match buffer[..count].split_first() {
            Some((kind, body)) => Heard::Message(*kind, body),
            None => Heard::Gone,
        },
        // Told once, before what is still to be had: see `hear`.
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNRESET) => Heard::Nothing,
        Err(_) => Heard::Gone,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_last_word_of_who_went_without_listening_is_heard() {
        let mut buffer = [0; 16];
        let went = || {
            let (client, monitor) = pair().unwrap();
            try_tell(client.as_fd(), STDIN, b"not read").unwrap();
            tell(monitor.as_fd(), EXITED, &[3, 0]).unwrap();
            client
        };
        let client = went();
        assert_eq!(hear(client.as_fd(), &mut buffer), Some((EXITED, &[3, 0][..])));
        assert_eq!(hear(client.as_fd(), &mut buffer), None);

        let client = went();
        assert!(matches!(hear_now(client.as_fd(), &mut buffer), Heard::Nothing), "the reset");
        assert!(matches!(hear_now(client.as_fd(), &mut buffer), Heard::Message(EXITED, [3, 0])));
        assert!(matches!(hear_now(client.as_fd(), &mut buffer), Heard::Gone));
    }
}
