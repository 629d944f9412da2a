//! A message bus with a systemd on it, as far as a container needs one: EXTERNAL by the kernel's word,
//! Hello, AddMatch, and scopes that are really made: the process is moved, and the job reported.
//!
//! It reads and writes D-Bus by code of its own, so that a misreading of the specification would have to
//! be made twice. [`Trick`] makes it lie.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// How it misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    None,
    RejectsEveryone,
    /// An answer to AUTH without an end.
    EndlessLine,
    ClosesAfterHello,
    /// A header that announces 4 GiB.
    HugeMessage,
    /// Random bytes instead of an answer.
    Garbage,
    /// The job's path as a number.
    WrongType,
    NoSuchService,
    /// The job ends as `failed`.
    JobFails,
    /// Somebody else on the bus says that the job is done, before anything was; systemd says it failed.
    ForgedSignal,
    /// `done`, and the process is where it was.
    DoesNotMove,
    /// Signals of others, by the hundred, before the answer.
    Flood,
    /// The signal comes before the answer to the call, as it may.
    SignalFirst,
    /// Nothing is known about the unit any more when it is to be stopped.
    Forgets,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Any {
    Number(u64),
    Text(String),
    List(Vec<Any>),
    Variant(String, Box<Any>),
}

impl Any {
    pub fn text(&self) -> &str {
        match self {
            Any::Text(text) => text,
            other => panic!("no string: {other:?}"),
        }
    }

    pub fn list(&self) -> &[Any] {
        match self {
            Any::List(list) => list,
            other => panic!("no list: {other:?}"),
        }
    }
}

/// A method call as it was understood.
#[derive(Clone, Debug)]
pub struct Called {
    pub member: String,
    pub args: Vec<Any>,
}

impl Called {
    /// The properties among the arguments, each as `TYPE value`.
    pub fn properties(&self) -> BTreeMap<String, (String, Any)> {
        let list = self.args.iter().find_map(|arg| match arg {
            Any::List(list) if !list.is_empty() => Some(list),
            _ => None,
        });
        let pair = |pair: &Any| match pair.list() {
            [Any::Text(name), Any::Variant(kind, value)] => (name.clone(), (kind.clone(), (**value).clone())),
            other => panic!("no property: {other:?}"),
        };
        list.into_iter().flatten().map(pair).collect()
    }
}

pub struct FakeSystemd {
    _dir: tempfile::TempDir,
    pub address: String,
    calls: Arc<Mutex<Vec<Called>>>,
}

impl FakeSystemd {
    /// Makes scopes in these hierarchies (mount points; where controllers are to be handed down, with
    /// `true`).
    pub fn start(hierarchies: Vec<(PathBuf, bool)>, trick: Trick) -> FakeSystemd {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("bus");
        let listener = UnixListener::bind(&socket).unwrap();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let shared = calls.clone();
        // It ends with the test's process; a connection with its client.
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let mut connection = Connection {
                    stream,
                    name: format!(":1.{}", number + 10),
                    serial: 0,
                    hierarchies: hierarchies.clone(),
                    trick,
                    calls: shared.clone(),
                };
                std::thread::spawn(move || connection.serve());
            }
        });
        FakeSystemd { address: format!("unix:path={}", socket.display()), _dir: dir, calls }
    }

    pub fn calls(&self) -> Vec<Called> {
        self.calls.lock().unwrap().clone()
    }

    pub fn call(&self, member: &str) -> Called {
        let calls = self.calls();
        let found = calls.iter().find(|call| call.member == member);
        found.unwrap_or_else(|| panic!("{member} was not called: {calls:?}")).clone()
    }

    pub fn was_called(&self, member: &str) -> bool {
        self.calls().iter().any(|call| call.member == member)
    }
}

struct Connection {
    stream: UnixStream,
    name: String,
    serial: u32,
    hierarchies: Vec<(PathBuf, bool)>,
    trick: Trick,
    calls: Arc<Mutex<Vec<Called>>>,
}

/// systemd's own name on the bus.
const SYSTEMD: &str = ":1.0";
const JOB: &str = "/org/freedesktop/systemd1/job/4711";

impl Connection {
    /// Until the client goes.
    fn serve(&mut self) -> Option<()> {
        self.authenticate()?;
        loop {
            let (header, body) = self.receive()?;
            let field = |code: u8| header.get(&code).map(|value| value.text().to_owned()).unwrap_or_default();
            let args = parse_all(&field(8), &body);
            let member = field(3);
            self.calls.lock().unwrap().push(Called { member: member.clone(), args: args.clone() });
            let Some(Any::Number(serial)) = header.get(&0) else { panic!("no serial") };
            self.answer(*serial as u32, &member, &args)?;
        }
    }

    fn authenticate(&mut self) -> Option<()> {
        let peer = rustix::net::sockopt::socket_peercred(&self.stream).unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"BEGIN\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).ok()?;
            text.push(byte[0]);
            if text.ends_with(b"AUTH EXTERNAL\r\n") {
                assert_eq!(text[0], 0, "a NUL comes first");
                match self.trick {
                    Trick::RejectsEveryone => self.write(b"REJECTED EXTERNAL\r\n")?,
                    Trick::EndlessLine => self.write(&[b'x'; 100_000])?,
                    _ => self.write(b"DATA\r\n")?,
                }
            } else if text.ends_with(b"\r\nDATA\r\n") {
                assert!(peer.uid.is_root());
                self.write(b"OK 0123456789abcdef0123456789abcdef\r\n")?;
            }
        }
        Some(())
    }

    fn write(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).ok()
    }

    fn receive(&mut self) -> Option<(BTreeMap<u8, Any>, Vec<u8>)> {
        let mut fixed = [0; 16];
        self.stream.read_exact(&mut fixed).ok()?;
        assert_eq!((fixed[0], fixed[1], fixed[3]), (b'l', 1, 1), "a call, little-endian, version 1");
        let number = |at: usize| u32::from_le_bytes(fixed[at..at + 4].try_into().unwrap());
        let (body, fields) = (number(4) as usize, number(12) as usize);
        let mut rest = vec![0; fields.next_multiple_of(8) + body];
        self.stream.read_exact(&mut rest).ok()?;
        let mut header = BTreeMap::from([(0, Any::Number(number(8).into()))]);
        let mut cursor = Cursor { bytes: &rest[..fields], at: 0 };
        while cursor.at < fields {
            cursor.align(8);
            let code = cursor.number(1) as u8;
            let Any::Variant(_, value) = cursor.value("v").0 else { unreachable!() };
            header.insert(code, *value);
        }
        Some((header, rest[fields.next_multiple_of(8)..].to_vec()))
    }

    fn answer(&mut self, serial: u32, member: &str, args: &[Any]) -> Option<()> {
        match (member, self.trick) {
            ("Hello", Trick::ClosesAfterHello) => {
                self.reply(serial, "org.freedesktop.DBus", "s", &string(&self.name.clone()))?;
                None
            }
            ("Hello", _) => self.reply(serial, "org.freedesktop.DBus", "s", &string(&self.name.clone())),
            ("AddMatch", _) => {
                assert!(args[0].text().contains("member='JobRemoved'"), "{args:?}");
                self.reply(serial, "org.freedesktop.DBus", "", &[])
            }
            ("Get", _) => {
                let mut body = vec![1, b's', 0, 0];
                body.extend(string("252.22-1~deb12u1"));
                self.reply(serial, SYSTEMD, "v", &body)
            }
            ("StartTransientUnit", Trick::HugeMessage) => {
                let mut bytes = vec![b'l', 2, 0, 1];
                bytes.extend([0xff; 12]);
                self.write(&bytes)
            }
            ("StartTransientUnit", Trick::Garbage) => self.write(&[0x5a; 4096]),
            ("StartTransientUnit", Trick::WrongType) => self.reply(serial, SYSTEMD, "u", &7u32.to_le_bytes()),
            ("StartTransientUnit", Trick::NoSuchService) => self.error(
                serial,
                "org.freedesktop.DBus.Error.ServiceUnknown",
                "The name org.freedesktop.systemd1 was not provided by any .service files",
            ),
            ("StartTransientUnit", trick) => {
                let unit = args[0].text().to_owned();
                if trick == Trick::Flood {
                    for _ in 0..500 {
                        self.job_removed(":1.9", "/org/freedesktop/systemd1/job/1", "x.service", "done")?;
                    }
                }
                if trick == Trick::ForgedSignal {
                    self.job_removed(":1.66", JOB, &unit, "done")?;
                }
                if !matches!(trick, Trick::DoesNotMove | Trick::ForgedSignal | Trick::JobFails) {
                    self.make_scope(args);
                }
                let fails = matches!(trick, Trick::JobFails | Trick::ForgedSignal);
                self.finish(serial, &unit, if fails { "failed" } else { "done" })
            }
            ("StopUnit" | "ResetFailedUnit", Trick::Forgets | Trick::DoesNotMove) => {
                self.remove_scope(args[0].text());
                self.error(serial, "org.freedesktop.systemd1.NoSuchUnit", "Unit is not loaded.")
            }
            ("StopUnit", _) => {
                let unit = args[0].text().to_owned();
                self.remove_scope(&unit);
                self.finish(serial, &unit, "done")
            }
            ("SetUnitProperties" | "ResetFailedUnit", _) => self.reply(serial, SYSTEMD, "", &[]),
            _ => self.error(serial, "org.freedesktop.DBus.Error.UnknownMethod", member),
        }
    }

    /// The answer with a job, and the job's end, in one order or the other.
    fn finish(&mut self, serial: u32, unit: &str, result: &str) -> Option<()> {
        if self.trick == Trick::SignalFirst {
            self.job_removed(SYSTEMD, JOB, unit, result)?;
            return self.reply(serial, SYSTEMD, "o", &string(JOB));
        }
        self.reply(serial, SYSTEMD, "o", &string(JOB))?;
        // Another's job, then ours.
        self.job_removed(SYSTEMD, "/org/freedesktop/systemd1/job/1", "x.service", "failed")?;
        self.job_removed(SYSTEMD, JOB, unit, result)
    }

    /// As systemd: the slices, the scope, the controllers, the processes.
    fn make_scope(&self, args: &[Any]) {
        let call = Called { member: String::new(), args: args.to_vec() };
        let properties = call.properties();
        let slices = slices(properties["Slice"].1.text());
        let path = slices.last().unwrap().join(args[0].text());
        for (mount, hand_down) in &self.hierarchies {
            std::fs::create_dir_all(mount.join(&path)).unwrap();
            let above = slices.iter().map(|slice| mount.join(slice));
            for dir in std::iter::once(mount.clone()).chain(above).filter(|_| *hand_down) {
                let available = std::fs::read_to_string(dir.join("cgroup.controllers")).unwrap();
                for controller in available.split_whitespace() {
                    std::fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}")).unwrap();
                }
            }
            for pid in properties["PIDs"].1.list() {
                let Any::Number(pid) = pid else { panic!("{pid:?}") };
                std::fs::write(mount.join(&path).join("cgroup.procs"), pid.to_string()).unwrap();
            }
        }
    }

    /// From the slice that it was started in.
    fn remove_scope(&self, unit: &str) {
        let calls = self.calls.lock().unwrap().clone();
        let started = |call: &&Called| call.member == "StartTransientUnit" && call.args[0].text() == unit;
        let Some(started) = calls.iter().find(started) else { return };
        let path = slices(started.properties()["Slice"].1.text()).pop().unwrap().join(unit);
        for (mount, _) in &self.hierarchies {
            let _not_here = std::fs::remove_dir(mount.join(&path));
        }
    }

    fn reply(&mut self, serial: u32, sender: &str, signature: &str, body: &[u8]) -> Option<()> {
        let fields = [(5, "u", serial.to_le_bytes().to_vec()), (7, "s", string(sender))];
        self.send(2, &fields, signature, body)
    }

    fn error(&mut self, serial: u32, name: &str, text: &str) -> Option<()> {
        let fields =
            [(4, "s", string(name)), (5, "u", serial.to_le_bytes().to_vec()), (7, "s", string(SYSTEMD))];
        self.send(3, &fields, "s", &string(text))
    }

    fn job_removed(&mut self, sender: &str, job: &str, unit: &str, result: &str) -> Option<()> {
        let fields = [
            (1, "o", string("/org/freedesktop/systemd1")),
            (2, "s", string("org.freedesktop.systemd1.Manager")),
            (3, "s", string("JobRemoved")),
            (7, "s", string(sender)),
        ];
        let mut body = 4711u32.to_le_bytes().to_vec();
        for text in [job, unit, result] {
            body.resize(body.len().next_multiple_of(4), 0);
            body.extend(string(text));
        }
        self.send(4, &fields, "uoss", &body)
    }

    fn send(&mut self, kind: u8, fields: &[(u8, &str, Vec<u8>)], signature: &str, body: &[u8]) -> Option<()> {
        let mut header = Vec::new();
        let mut all = fields.to_vec();
        if !signature.is_empty() {
            let mut value = vec![signature.len() as u8];
            value.extend(signature.bytes().chain([0]));
            all.push((8, "g", value));
        }
        for (code, kind, value) in all {
            header.resize(header.len().next_multiple_of(8), 0);
            header.extend([code, 1, kind.as_bytes()[0], 0]);
            header.extend(value);
        }
        self.serial += 1;
        let mut bytes = vec![b'l', kind, 1, 1];
        for number in [body.len() as u32, self.serial, header.len() as u32] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(header);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(body);
        self.write(&bytes)
    }
}

/// `a-b.slice`: `a.slice`, `a.slice/a-b.slice`.
fn slices(name: &str) -> Vec<PathBuf> {
    let stem = name.trim_end_matches(".slice");
    let mut path = PathBuf::new();
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    ends.map(|end| {
        path.push(format!("{}.slice", &stem[..end]));
        path.clone()
    })
    .collect()
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u32).to_le_bytes().to_vec();
    bytes.extend(text.bytes().chain([0]));
    bytes
}

fn parse_all(signature: &str, body: &[u8]) -> Vec<Any> {
    let mut cursor = Cursor { bytes: body, at: 0 };
    let mut rest = signature;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (value, used) = cursor.value(rest);
        all.push(value);
        rest = &rest[used..];
    }
    assert_eq!(cursor.at, body.len(), "all of the body is used");
    all
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn align(&mut self, to: usize) {
        while !self.at.is_multiple_of(to) {
            assert_eq!(self.bytes[self.at], 0, "padding is zero");
            self.at += 1;
        }
    }

    fn number(&mut self, size: usize) -> u64 {
        self.align(size);
        let mut number = [0; 8];
        number[..size].copy_from_slice(&self.bytes[self.at..self.at + size]);
        self.at += size;
        u64::from_le_bytes(number)
    }

    fn text(&mut self, length: usize) -> String {
        let text = String::from_utf8(self.bytes[self.at..self.at + length].to_vec()).unwrap();
        assert_eq!(self.bytes[self.at + length], 0, "a string ends with NUL");
        self.at += length + 1;
        text
    }

    /// The first value of `signature`, and how much of the signature it was.
    fn value(&mut self, signature: &str) -> (Any, usize) {
        match signature.as_bytes()[0] {
            b'y' => (Any::Number(self.number(1)), 1),
            b'b' => {
                let number = self.number(4);
                assert!(number < 2, "a boolean is 0 or 1");
                (Any::Number(number), 1)
            }
            b'u' => (Any::Number(self.number(4)), 1),
            b't' => (Any::Number(self.number(8)), 1),
            b's' | b'o' => {
                let length = self.number(4) as usize;
                (Any::Text(self.text(length)), 1)
            }
            b'g' => {
                let length = self.number(1) as usize;
                (Any::Text(self.text(length)), 1)
            }
            b'v' => {
                let length = self.number(1) as usize;
                let kind = self.text(length);
                let (value, used) = self.value(&kind);
                assert_eq!(used, kind.len(), "one type in a variant");
                (Any::Variant(kind, Box::new(value)), 1)
            }
            b'(' => {
                self.align(8);
                let (mut used, mut list) = (1, Vec::new());
                while signature.as_bytes()[used] != b')' {
                    let (value, more) = self.value(&signature[used..]);
                    list.push(value);
                    used += more;
                }
                (Any::List(list), used + 1)
            }
            b'a' => {
                let element = &signature[1..];
                let length = self.number(4) as usize;
                self.align(if element.starts_with(['(', 't']) {
                    8
                } else if element.starts_with(['y', 'v']) {
                    1
                } else {
                    4
                });
                let end = self.at + length;
                let mut list = Vec::new();
                while self.at < end {
                    list.push(self.value(element).0);
                }
                assert_eq!(self.at, end, "an array ends where its length says");
                (Any::List(list), 1 + width(element))
            }
            other => panic!("type {:?} is not known here", char::from(other)),
        }
    }
}

/// How much of a signature its first type is.
fn width(signature: &str) -> usize {
    match signature.as_bytes()[0] {
        b'a' => 1 + width(&signature[1..]),
        b'(' => {
            let mut used = 1;
            while signature.as_bytes()[used] != b')' {
                used += width(&signature[used..]);
            }
            used + 1
        }
        _ => 1,
    }
}
