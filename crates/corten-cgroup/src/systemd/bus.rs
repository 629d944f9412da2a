//! A connection to a message bus: authenticate, call methods, wait for one signal.
//!
//! One at a time and without a thread: a start asks for two or three things, and the process that asks
//! is about to clone. A D-Bus library would bring an executor, its threads and 80 crates (zbus 5, by
//! `cargo tree`) for what is an array of variants and a handful of short replies.
//!
//! Source: dbus-specification.html, "Authentication Protocol", "Server Addresses", "Message Bus".

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send,
    socket_with,
};

use super::fault::BusFault;
use super::wire::{self, ERROR, HEADER, Message, RETURN, SIGNAL, Writer};
use crate::wait::{Deadline, poll};

/// For one answer of a bus, or of systemd to a call that only queues a job.
const PATIENCE: Duration = Duration::from_secs(10);

/// Signals that came while another message was waited for. More than a few are not for us.
const MAX_QUEUED: usize = 64;

/// An answer to authentication is one short line.
const MAX_LINE: usize = 512;

#[derive(Debug)]
pub(crate) struct Bus {
    fd: OwnedFd,
    serial: u32,
    queued: VecDeque<Message>,
}

impl Bus {
    /// Connects to the first address of the list that can be reached, and says Hello.
    pub(crate) fn connect(addresses: &str) -> Result<Bus, BusFault> {
        let mut fault = BusFault::Address;
        for address in addresses.split(';').filter(|address| !address.is_empty()) {
            match Bus::open(address) {
                Ok(fd) => {
                    let mut bus = Bus { fd, serial: 0, queued: VecDeque::new() };
                    bus.authenticate()?;
                    let hello = Message::call(
                        "org.freedesktop.DBus",
                        "/org/freedesktop/DBus",
                        "org.freedesktop.DBus",
                        "Hello",
                    );
                    bus.ask(hello, "Hello")?.read("s")?;
                    return Ok(bus);
                }
                Err(other) => fault = other,
            }
        }
        Err(fault)
    }

    fn open(address: &str) -> Result<OwnedFd, BusFault> {
        let to = parse_address(address).ok_or(BusFault::Address)?;
        let failed = |call| move |errno| BusFault::Call { call, errno };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(failed("socket(AF_UNIX, SOCK_STREAM)"))?;
        // A full backlog is EAGAIN at once, since the socket does not block.
        let deadline = Deadline::after(PATIENCE);
        loop {
            match connect(&fd, &to) {
                Ok(()) => return Ok(fd),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if deadline.left().is_some() => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(errno) => return Err(BusFault::Call { call: "connect()", errno }),
            }
        }
    }

    /// EXTERNAL without naming oneself: the bus asks the kernel (SO_PEERCRED), whose answer is right in
    /// any user namespace.
    fn authenticate(&mut self) -> Result<(), BusFault> {
        let deadline = Deadline::after(PATIENCE);
        self.write(b"\0AUTH EXTERNAL\r\nDATA\r\n", &deadline, "AUTH")?;
        let mut answer = self.line(&deadline)?;
        if answer.trim_end() == "DATA" {
            answer = self.line(&deadline)?;
        }
        if !answer.starts_with("OK ") {
            return Err(BusFault::Rejected { answer });
        }
        self.write(b"BEGIN\r\n", &deadline, "AUTH")
    }

    /// Byte by byte: what follows the line may be a message already.
    fn line(&mut self, deadline: &Deadline) -> Result<String, BusFault> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if line.len() >= MAX_LINE {
                return Err(BusFault::Malformed("an answer to AUTH that does not end"));
            }
            let mut byte = [0];
            self.fill(&mut byte, deadline, "AUTH")?;
            line.push(byte[0]);
        }
        line.truncate(line.len() - 2);
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Asks the bus to pass signals on.
    pub(crate) fn add_match(&mut self, rule: &str) -> Result<(), BusFault> {
        let mut body = Writer::default();
        body.string(rule);
        let call = Message::call(
            "org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus",
            "AddMatch",
        );
        self.ask(call.with("s", body), "AddMatch").map(drop)
    }

    /// Calls a method and waits for its answer.
    pub(crate) fn ask(&mut self, mut call: Message, method: &'static str) -> Result<Message, BusFault> {
        self.serial += 1;
        call.serial = self.serial;
        let deadline = Deadline::after(PATIENCE);
        self.write(&call.encode(), &deadline, method)?;
        loop {
            let message = self.receive(&deadline, method)?;
            match message.kind {
                RETURN if message.reply_serial == call.serial => return Ok(message),
                ERROR if message.reply_serial == call.serial => {
                    let text = message.error_text();
                    return Err(BusFault::Refused { method, name: message.error_name, text });
                }
                SIGNAL if self.queued.len() < MAX_QUEUED => self.queued.push_back(message),
                _ => {}
            }
        }
    }

    /// The next signal, from those that came before if there are any.
    pub(crate) fn signal(
        &mut self,
        deadline: &Deadline,
        waiting_for: &'static str,
    ) -> Result<Message, BusFault> {
        if let Some(message) = self.queued.pop_front() {
            return Ok(message);
        }
        loop {
            let message = self.receive(deadline, waiting_for)?;
            if message.kind == SIGNAL {
                return Ok(message);
            }
        }
    }

    fn receive(&mut self, deadline: &Deadline, waiting_for: &'static str) -> Result<Message, BusFault> {
        let mut header = [0; HEADER];
        self.fill(&mut header, deadline, waiting_for)?;
        let mut bytes = header.to_vec();
        bytes.resize(wire::Message::length(&header)?, 0);
        self.fill(&mut bytes[HEADER..], deadline, waiting_for)?;
        Message::decode(&bytes)
    }

    /// Reads until `room` is full.
    fn fill(
        &mut self,
        room: &mut [u8],
        deadline: &Deadline,
        waiting_for: &'static str,
    ) -> Result<(), BusFault> {
        let mut done = 0;
        while done < room.len() {
            match recv(&self.fd, &mut room[done..], RecvFlags::empty()) {
                Ok((0, _)) | Err(Errno::CONNRESET) => return Err(BusFault::Closed { waiting_for }),
                Ok((count, _)) => done += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, deadline, waiting_for)?,
                Err(errno) => return Err(BusFault::Call { call: "recv()", errno }),
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        bytes: &[u8],
        deadline: &Deadline,
        waiting_for: &'static str,
    ) -> Result<(), BusFault> {
        let mut left = bytes;
        while !left.is_empty() {
            match send(&self.fd, left, SendFlags::NOSIGNAL) {
                Ok(count) => left = &left[count..],
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(BusFault::Closed { waiting_for }),
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, deadline, waiting_for)?,
                Err(errno) => return Err(BusFault::Call { call: "send()", errno }),
            }
        }
        Ok(())
    }

    fn wait(&self, flags: PollFlags, deadline: &Deadline, waiting_for: &'static str) -> Result<(), BusFault> {
        let timeout = || BusFault::Timeout { waiting_for, waited: deadline.limit() };
        let left = deadline.left().ok_or_else(timeout)?;
        match poll(self.fd.as_fd(), flags, left) {
            Ok(true) => Ok(()),
            Ok(false) => Err(timeout()),
            Err(errno) => Err(BusFault::Call { call: "poll()", errno }),
        }
    }
}

/// `unix:path=/run/dbus/system_bus_socket`, with `%xx` for bytes, and other keys (`guid`) passed over.
fn parse_address(address: &str) -> Option<SocketAddrUnix> {
    let (transport, pairs) = address.split_once(':')?;
    if transport != "unix" {
        return None;
    }
    let mut pairs = pairs.split(',').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(key, value)| match key {
        "path" => {
            let bytes = unescape(value)?;
            let path = PathBuf::from(std::ffi::OsString::from(String::from_utf8(bytes).ok()?));
            SocketAddrUnix::new(path).ok()
        }
        "abstract" => SocketAddrUnix::new_abstract_name(&unescape(value)?).ok(),
        _ => None,
    })
}

fn unescape(value: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
        let [high, low, after @ ..] = after else { return None };
        bytes.push(digit(high)? << 4 | digit(low)?);
        rest = after;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let path = |address: &str| {
            parse_address(address)
                .and_then(|to| to.path().map(|path| path.into_owned().into_string().unwrap()))
        };
        assert_eq!(path("unix:path=/run/bus").as_deref(), Some("/run/bus"));
        assert_eq!(path("unix:guid=1,path=/a%20b").as_deref(), Some("/a b"));
        assert_eq!(parse_address("unix:abstract=x").unwrap().abstract_name(), Some(&b"x"[..]));
        for bad in ["", "unix", "unix:", "unix:guid=1", "tcp:host=h,port=1", "unix:path=%4", "unix:path=%zz"]
        {
            assert!(parse_address(bad).is_none(), "{bad}");
        }
        assert!(parse_address(&format!("unix:path=/{}", "x".repeat(200))).is_none());
    }
}
