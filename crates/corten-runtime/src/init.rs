//! Corten's init: process 1 of a container, whose only child is the program.
//!
//! It reaps whatever becomes an orphan, passes signals on to the program, and when that ends writes how
//! into the exit record and ends itself, whereupon the kernel kills what is left. It is the `corten`
//! binary under another name, executed from a mount that nobody can write to, holds one capability
//! (CAP_KILL) and no memory of the host's.
//!
//! Where its output is kept and nobody attends it at its end, init reads what is still in its streams, which go
//! with the last process that has them open, and adds it to the exit record (`unread`). Whoever attends it has a
//! lock on that record (fcntl(2), `F_SETLK`), which the kernel drops with the process.
//!
//! Arguments: the program's process id, the number of the descriptor of the exit record, and where its output is to
//! be kept `PIPES` or `TERMINAL`, as one string: [`with_init`](crate::apply) fills it in after the clone, where
//! nothing is allocated.

use std::ffi::CStr;
use std::fmt::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_sys::signal::{self, SignalSet};
use corten_sys::wait::{Exit, reap_any};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, fcntl_getlk};

/// The number of the descriptor of the terminal's master that init keeps open, if there is a terminal: whoever
/// takes the container over finds it there.
pub const MASTER: i32 = 100;

/// Standard output and error are pipes, open for both directions.
pub(crate) const PIPES: i32 = 1;
/// There is a terminal, whose master is [`MASTER`].
pub(crate) const TERMINAL: i32 = 2;
/// How much of a stream is kept: what a pipe holds at most.
const MOST_UNREAD: usize = 1 << 20;
/// How long an exit record can be.
pub const MAX_RECORD: usize = 2 * MOST_UNREAD + (8 << 10);

/// The name under which the binary is init.
pub const NAME: &CStr = c"corten-init";

/// Runs as init; the exit code is that of the program.
#[must_use]
pub fn main(argument: &str) -> i32 {
    let mut numbers = argument.split(' ').map(str::parse::<i32>);
    let (Some(Ok(payload)), Some(Ok(record))) = (numbers.next(), numbers.next()) else {
        eprintln!("corten-init: is started by corten with two numbers, not with {argument:?}");
        return 125;
    };
    let streams = numbers.next().and_then(Result::ok).unwrap_or(0);
    // All signals have been blocked since before the program was forked, so none was lost.
    let all = SignalSet::all();
    let mut end = None;
    loop {
        end = end.or(reap(payload));
        if let Some(end) = end {
            return report(record, end, streams);
        }
        let signal = signal::wait(&all);
        if signal != signal::SIGCHLD {
            // If the program is gone already, it is about to be reaped.
            let _gone = signal::kill(payload, signal);
        }
    }
}

/// Reaps everything that has ended; how the program ended, if it did.
fn reap(payload: i32) -> Option<Exit> {
    loop {
        match reap_any() {
            Ok(Some(reaped)) if reaped.pid == payload => return Some(reaped.exit),
            Ok(Some(_)) => {}
            Ok(None) => return None,
            // No children at all: the program was reaped before we could see it, which cannot be.
            Err(Errno::CHILD) => return Some(Exit::Code(125)),
            Err(_) => return None,
        }
    }
}

/// The record begins with a line: `exit 3` or `signal 9`. What nobody read follows, in pieces: a line with the
/// number of the stream and the length, and as many bytes.
fn report(record: i32, end: Exit, streams: i32) -> i32 {
    let mut text = String::new();
    let _infallible = match end {
        Exit::Code(code) => writeln!(text, "exit {code}"),
        Exit::Signal(signal) => writeln!(text, "signal {signal}"),
    };
    // If the disk is full the code still goes to whoever waits for us.
    let _told = corten_sys::fd::write_to(record, text.as_bytes());
    if streams != 0 {
        let _lost = keep_unread(record, streams);
    }
    i32::from(end.shell_code())
}

fn keep_unread(record: i32, streams: i32) -> Result<(), Errno> {
    let file = corten_sys::fd::inherited(record)?;
    // An error is no proof that nobody attends it, who would miss what is taken here.
    if fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?.is_some() {
        return Ok(());
    }
    if streams == TERMINAL {
        return keep(&file, 1, corten_sys::fd::inherited(MASTER)?.as_fd());
    }
    keep(&file, 1, corten_sys::fd::standard(1))?;
    keep(&file, 2, corten_sys::fd::standard(2))
}

fn keep(record: &OwnedFd, number: u8, stream: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = rustix::fs::fcntl_getfl(stream)?;
    rustix::fs::fcntl_setfl(stream, flags | OFlags::NONBLOCK)?;
    let mut buffer = vec![0; 16 << 10];
    let mut left = MOST_UNREAD;
    while left > 0 {
        let room = buffer.len().min(left);
        match rustix::io::read(stream, &mut buffer[..room]) {
            Ok(count @ 1..) => {
                left -= count;
                write_all(record, format!("{number} {count}\n").as_bytes())?;
                write_all(record, &buffer[..count])?;
            }
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => break,
        }
    }
    Ok(())
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        bytes = &bytes[rustix::io::write(file, bytes)?..];
    }
    Ok(())
}

/// Reads an exit record; `None` if it is not complete.
#[must_use]
pub fn parse_record(record: &[u8]) -> Option<Exit> {
    let (kind, number) = std::str::from_utf8(line(record)?.0).ok()?.split_once(' ')?;
    let number = number.parse().ok()?;
    match kind {
        "exit" => Some(Exit::Code(number)),
        "signal" => Some(Exit::Signal(number)),
        _ => None,
    }
}

/// What an exit record has of output that nobody read, by stream.
pub fn unread(record: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = line(record).map_or(&[][..], |(_, rest)| rest);
    std::iter::from_fn(move || {
        let (head, body) = line(rest)?;
        let (stream, length) = std::str::from_utf8(head).ok()?.split_once(' ')?;
        let stream = stream.parse().ok().filter(|stream| matches!(stream, 1 | 2))?;
        let bytes;
        // The disk may have been full.
        (bytes, rest) = body.split_at(length.parse::<usize>().ok()?.min(body.len()));
        Some((stream, bytes))
    })
}

/// The first line, without its end, and what follows.
fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    Some((&text[..end], &text[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_whole_or_not_at_all() {
        assert_eq!(parse_record(b"exit 3\n"), Some(Exit::Code(3)));
        assert_eq!(parse_record(b"signal 9\n1 3\nout"), Some(Exit::Signal(9)));
        for torn in ["", "exit", "exit 1", "exit 256\n", "left 1\n", "\nexit 1\n"] {
            assert_eq!(parse_record(torn.as_bytes()), None, "{torn:?}");
        }
    }

    #[test]
    fn what_nobody_read_is_read_back_as_far_as_it_goes() {
        let pieces = |record: &'static [u8]| unread(record).collect::<Vec<_>>();
        assert_eq!(pieces(b"exit 0\n"), []);
        let record = b"exit 0\n1 4\na\n\xff\n2 0\n2 3\nerr1 9\ntorn";
        let all: [(u8, &[u8]); 4] = [(1, b"a\n\xff\n"), (2, b""), (2, b"err"), (1, b"torn")];
        assert_eq!(pieces(record), all);
        for none in [&b""[..], b"exit 0", b"exit 0\n3 1\nx", b"exit 0\n1 -1\nx", b"exit 0\n1\nx"] {
            assert_eq!(pieces(none), [], "{none:?}");
        }
    }
}
