//! The log of a container: what it wrote, kept by one of four drivers.
//!
//! ```text
//!   monitor ──socket──▶ log writer ──▶ log.json, log.json.1, …   json-file   `json.rs`
//!    (queue)             (a process)   log.local, log.local.1, …  local       `local.rs`
//!                                      /run/systemd/journal/socket journald   `journald.rs`
//! ```
//!
//! The writer is a process of its own, forked when there is something to write: a disk that hangs or is
//! full holds the writer up and never the monitor, which waits for room in the socket for half a second and
//! then drops what comes, until there is room again. How much was dropped is noted in the log. The writer
//! ends when the monitor closes the socket, or dies.
//!
//! A file that has reached `max-size` becomes `log.json.1`, that one `log.json.2`, and so on (`files.rs`);
//! `read.rs` reads them all.

mod files;
mod follow;
mod journald;
mod json;
mod local;
mod printer;
pub mod read;
mod sink;
mod tail;
mod writer;

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use corten_sys::clone::Child;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

use crate::error::{At, EngineError};
pub(crate) use sink::Sink;

/// How long the container may wait for its log; Docker's `mode=non-blocking` waits not at all.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long the end of the container waits until the rest is written.
const FAREWELL: Duration = Duration::from_secs(1);
/// What the writer may lag behind.
const QUEUE_BYTES: usize = 1 << 20;
/// Longest body of a message: what the monitor reads at once.
const CHUNK: usize = 32 << 10;
/// The kinds of messages besides 1 and 2, the streams: so many bytes, so many lines were dropped.
const DROPPED: u8 = 0;
/// Kind and time.
const HEAD: usize = 9;

/// Whether there is a journal.
pub(crate) fn check_journal() -> Result<(), crate::config::log::LogError> {
    match std::path::Path::new(journald::SOCKET).exists() {
        true => Ok(()),
        false => Err(crate::config::log::LogError::NoJournal(journald::SOCKET)),
    }
}

/// The monitor's end.
#[derive(Debug)]
pub(crate) struct Log {
    sink: Sink,
    dir: PathBuf,
    patience: Duration,
    queue: Queue,
    dropped: Dropped,
}

#[derive(Debug)]
enum Queue {
    /// Nothing was written yet.
    Idle,
    Open(OwnedFd, Child),
    /// There is no writer, and there will be none.
    Broken,
}

/// What was dropped since the writer last had room.
#[derive(Debug, Default, Clone, Copy)]
struct Dropped {
    bytes: u64,
    lines: u64,
}

impl Log {
    /// Of the container whose files are in `dir`; its first file is made, so that it can be followed.
    pub(crate) fn open(dir: PathBuf, sink: Sink) -> Result<Self, EngineError> {
        if let Some(name) = sink.file_name() {
            let path = dir.join(name);
            files::append(&path).at("open", &path)?;
        }
        let patience = if sink.non_blocking { Duration::ZERO } else { PATIENCE };
        Ok(Self { sink, dir, patience, queue: Queue::Idle, dropped: Dropped::default() })
    }

    /// Adds what the container wrote; `stream` is 1 or 2. Waits at most [`PATIENCE`].
    pub(crate) fn write(&mut self, stream: u8, bytes: &[u8]) {
        if matches!(self.queue, Queue::Idle) {
            self.queue = start(&self.sink, &self.dir);
        }
        for chunk in bytes.chunks(CHUNK) {
            self.put(stream, chunk);
        }
    }

    /// Lets the writer write what it has, and waits a while for it.
    pub(crate) fn finish(&mut self) {
        self.note();
        if let Queue::Open(socket, child) = std::mem::replace(&mut self.queue, Queue::Broken) {
            drop(socket);
            let _late = wait(&child.pidfd, PollFlags::IN, FAREWELL);
        }
    }

    fn put(&mut self, stream: u8, chunk: &[u8]) {
        // Once it has waited in vain it does not wait again until there was room.
        let patience = if self.dropped.bytes > 0 { Duration::ZERO } else { self.patience };
        if !self.note() || !self.send(&message(stream, chunk), patience) {
            self.dropped.bytes += chunk.len() as u64;
            self.dropped.lines += memchr::memchr_iter(b'\n', chunk).count() as u64;
        }
    }

    /// Tells the writer what was dropped, if anything was and there is room now.
    fn note(&mut self) -> bool {
        if self.dropped.bytes == 0 {
            return true;
        }
        let mut body = self.dropped.bytes.to_ne_bytes().to_vec();
        body.extend_from_slice(&self.dropped.lines.to_ne_bytes());
        let told = self.send(&message(DROPPED, &body), Duration::ZERO);
        if told {
            self.dropped = Dropped::default();
        }
        told
    }

    fn send(&mut self, message: &[u8], patience: Duration) -> bool {
        let Queue::Open(socket, _) = &self.queue else { return false };
        let until = Instant::now() + patience;
        loop {
            match send(socket, message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(_) => return true,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) => {
                    let rest = until.saturating_duration_since(Instant::now());
                    if rest.is_zero() || !wait(socket, PollFlags::OUT, rest) {
                        return false;
                    }
                }
                Err(_) => {
                    self.queue = Queue::Broken;
                    return false;
                }
            }
        }
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEAD + body.len());
    message.push(kind);
    message.extend_from_slice(&now_ns().to_ne_bytes());
    message.extend_from_slice(body);
    message
}

fn now_ns() -> u64 {
    u64::try_from(crate::record::now_ns()).unwrap_or(u64::MAX)
}

/// Whether it came within that time.
fn wait(fd: &impl AsFd, what: PollFlags, within: Duration) -> bool {
    let timeout = Timespec { tv_sec: within.as_secs() as i64, tv_nsec: i64::from(within.subsec_nanos()) };
    poll(&mut [PollFd::new(fd, what)], Some(&timeout)).is_ok_and(|count| count > 0)
}

/// Forks the writer.
fn start(sink: &Sink, dir: &std::path::Path) -> Queue {
    let flags = SocketFlags::CLOEXEC;
    let Ok((ours, theirs)) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None) else {
        return Queue::Broken;
    };
    // As much as the machine allows; the kernel counts its own overhead too.
    let _less = rustix::net::sockopt::set_socket_send_buffer_size(&ours, QUEUE_BYTES);
    let child = corten_sys::clone::fork(|| {
        if corten_sys::fd::place(theirs.as_fd(), 0).is_err() || corten_sys::fd::close_all_but(3, &[]).is_err()
        {
            return 1;
        }
        let _anonymous = corten_sys::prctl::set_name(c"corten-log");
        writer::run(corten_sys::fd::standard(0), sink, dir);
        0
    });
    match child {
        Ok(child) => Queue::Open(ours, child),
        Err(_) => Queue::Broken,
    }
}
