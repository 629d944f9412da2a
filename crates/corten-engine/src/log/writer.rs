//! The writer's process: takes what the monitor sends apart into lines and writes them.
//!
//! Docker splits lines at 16 KiB. What cannot be written, because the disk is full or fails, is dropped, and
//! the log says so where it is missing.

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::files::Rotated;
use super::journald::Journal;
use super::sink::Sink;
use super::{CHUNK, DROPPED, Dropped, HEAD, json, local};
use crate::config::log::Driver;

const MAX_LINE: usize = 16 << 10;

enum Target {
    Json(Rotated),
    Local(Rotated),
    Journal(Journal),
}

struct Writer {
    target: Target,
    attrs: String,
    /// What came without its newline yet, for stdout and stderr, and when its first byte came.
    partial: [(Vec<u8>, u64); 2],
    /// Records that are written together.
    records: Vec<u8>,
    lines: u64,
    /// What was lost since the last note, and why.
    lost: Dropped,
    reason: String,
    /// No try before then: else each moment of room would be a note of its own.
    retry_ns: u64,
}

/// So much is written at once; on a full disk it is all or nothing.
const BATCH: usize = 16 << 10;
const PAUSE_NS: u64 = 1_000_000_000;

/// Until the other side of the socket is closed.
pub(super) fn run(socket: BorrowedFd<'_>, sink: &Sink, dir: &Path) {
    let Some(target) = open(sink, dir) else { return };
    let mut writer = Writer {
        target,
        attrs: sink.attrs_json(),
        partial: Default::default(),
        records: Vec::new(),
        lines: 0,
        lost: Dropped::default(),
        reason: String::new(),
        retry_ns: 0,
    };
    let mut buffer = vec![0; HEAD + CHUNK];
    loop {
        match recv(socket, buffer.as_mut_slice(), RecvFlags::empty()) {
            Err(Errno::INTR) => {}
            Ok((count @ HEAD.., _)) => writer.take(&buffer[..count]),
            _ => break,
        }
    }
    writer.finish();
}

fn open(sink: &Sink, dir: &Path) -> Option<Target> {
    let file = || Rotated::open(dir.join(sink.file_name()?), sink.files()).ok();
    match sink.driver {
        Driver::None => None,
        Driver::JsonFile(_) => file().map(Target::Json),
        Driver::Local(_) => file().map(Target::Local),
        Driver::Journald => Journal::open(sink).ok().map(Target::Journal),
    }
}

impl Writer {
    fn take(&mut self, message: &[u8]) {
        let (head, body) = message.split_at(HEAD);
        let number = |at: usize, bytes: &[u8]| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            u64::from_ne_bytes(number)
        };
        let time_ns = number(1, head);
        match head[0] {
            DROPPED if body.len() == 16 => {
                self.lost.bytes += number(0, body);
                self.lost.lines += number(8, body);
                if self.lost.bytes == number(0, body) {
                    "the log could not be written as fast as it came".clone_into(&mut self.reason);
                }
                if time_ns >= self.retry_ns {
                    self.note(time_ns);
                }
            }
            stream => self.split(usize::from(stream == 2), body, time_ns),
        }
        self.write(time_ns);
    }

    fn split(&mut self, index: usize, mut body: &[u8], time_ns: u64) {
        while !body.is_empty() {
            let room = MAX_LINE - self.partial[index].0.len();
            let end = memchr::memchr(b'\n', body).map_or(body.len(), |at| at + 1).min(room);
            let (piece, rest) = body.split_at(end);
            body = rest;
            let (partial, since_ns) = &mut self.partial[index];
            if partial.is_empty() {
                *since_ns = time_ns;
            }
            if piece.ends_with(b"\n") || partial.len() + piece.len() >= MAX_LINE {
                if partial.is_empty() {
                    self.add(index == 1, piece, time_ns);
                } else {
                    let mut line = std::mem::take(partial);
                    let since_ns = *since_ns;
                    line.extend_from_slice(piece);
                    self.add(index == 1, &line, since_ns);
                }
            } else {
                partial.extend_from_slice(piece);
            }
        }
    }

    /// Adds one record to those that are written together: as many as the file takes.
    fn add(&mut self, stderr: bool, text: &[u8], time_ns: u64) {
        self.encode(stderr, text, time_ns);
        let full = match &self.target {
            Target::Json(file) | Target::Local(file) => file.is_full_with(self.records.len()),
            Target::Journal(_) => false,
        };
        if full || self.records.len() >= BATCH {
            self.write(time_ns);
        }
    }

    fn encode(&mut self, stderr: bool, text: &[u8], time_ns: u64) {
        self.lines += 1;
        match &self.target {
            Target::Json(_) => {
                let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(time_ns);
                json::encode(&mut self.records, stderr, text, &self.attrs, &corten_oci::time::rfc3339(time));
            }
            Target::Local(_) => local::encode(&mut self.records, stderr, text, &self.attrs, time_ns),
            Target::Journal(journal) => {
                if let Err(errno) = journal.send(stderr, text, time_ns) {
                    self.lose(1, text.len(), errno);
                }
            }
        }
    }

    fn lose(&mut self, lines: u64, bytes: usize, errno: Errno) {
        self.lost.lines += lines;
        self.lost.bytes += bytes as u64;
        self.reason = format!("writing the log: {} ({errno})", corten_sys::errno_name(errno));
    }

    fn write(&mut self, time_ns: u64) {
        let lines = std::mem::take(&mut self.lines);
        let records = std::mem::take(&mut self.records);
        if records.is_empty() {
            return;
        }
        let failed_before = self.lost.bytes > 0;
        if failed_before && time_ns >= self.retry_ns {
            self.note(time_ns);
        }
        if self.lost.bytes > 0 {
            // Not even the note had room.
            self.lost.lines += lines;
            self.lost.bytes += records.len() as u64;
        } else {
            let written = match &mut self.target {
                Target::Json(file) | Target::Local(file) => file.add(&records),
                Target::Journal(_) => Ok(()),
            };
            if let Err(errno) = written {
                self.lose(lines, records.len(), errno);
                self.retry_ns = time_ns.saturating_add(PAUSE_NS);
                if !failed_before {
                    self.note_by_force(time_ns);
                }
            }
        }
        self.records = records;
        self.records.clear();
    }

    /// Says in the log what is missing here.
    fn note(&mut self, time_ns: u64) {
        let lost = self.lost;
        let text = format!(
            "corten: {} lines ({} bytes) of this log were dropped: {}\n",
            lost.lines, lost.bytes, self.reason
        );
        let mut record = Vec::new();
        std::mem::swap(&mut record, &mut self.records);
        let lines = self.lines;
        self.encode(true, text.as_bytes(), time_ns);
        self.lines = lines;
        std::mem::swap(&mut record, &mut self.records);
        let noted = match &mut self.target {
            Target::Json(file) | Target::Local(file) => file.add(&record).is_ok(),
            // It went with `add`, or is lost too.
            Target::Journal(_) => true,
        };
        if noted {
            self.lost = Dropped::default();
        }
    }

    /// The first note of a disk that is full: it may stay so.
    fn note_by_force(&mut self, time_ns: u64) {
        let text = format!("corten: lines of this log are dropped from here on: {}\n", self.reason);
        let mut record = Vec::new();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(time_ns);
        let _no_room = match &mut self.target {
            Target::Json(file) => {
                let time = corten_oci::time::rfc3339(time);
                json::encode(&mut record, true, text.as_bytes(), &self.attrs, &time);
                file.add_by_force(&record, super::tail::line_before)
            }
            Target::Local(file) => {
                local::encode(&mut record, true, text.as_bytes(), &self.attrs, time_ns);
                file.add_by_force(&record, super::tail::record_before)
            }
            Target::Journal(_) => Ok(()),
        };
    }

    /// Writes what has no newline.
    fn finish(&mut self) {
        let now_ns = super::now_ns();
        for index in 0..2 {
            let (text, since_ns) = std::mem::take(&mut self.partial[index]);
            if !text.is_empty() {
                self.add(index == 1, &text, since_ns);
            }
        }
        self.write(now_ns);
        if self.lost.bytes > 0 {
            self.note(now_ns);
        }
    }
}
