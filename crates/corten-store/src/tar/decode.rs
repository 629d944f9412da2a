//! The reading side: a state machine that is given whatever bytes there are.
//!
//! ```text
//!            ┌──────────── x, g, L, K: Extension ───────────┐
//!            ▼                                              │
//! ─────▶ Header ── S with more map: OldMap ──▶ Data ──▶ Padding ──▶ Header …
//!            │  └─ pax sparse 1.0: DataMap ───▲
//!            └─ two zero blocks ──▶ Ended: nothing but zeros
//! ```

use super::header::{Format, Header};
use super::pax::{Extended, check_global};
use super::sparse::{MapReader, Segment, SparseForm, check};
use super::{BLOCK, Entry, EntryKind, MAX_EXTENSION_BYTES, Reason, TarError, Time};

/// What the archive says next.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    Entry(Box<Entry>),
    /// data of the current entry; what is skipped between two offsets, and before `size`, is a hole
    Data {
        offset: u64,
        bytes: &'a [u8],
    },
    /// all data of the current entry was given
    EntryEnd,
}

#[derive(Default)]
pub struct Decoder {
    state: State,
    block: Block,
    /// bytes taken so far, and where the current header began
    position: u64,
    header_at: u64,
    extended: Option<Extended>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    zero_blocks: u32,
}

#[derive(Default)]
enum State {
    #[default]
    Header,
    Extension {
        kind: u8,
        remaining: u64,
        data: Vec<u8>,
    },
    OldMap {
        entry: Box<Entry>,
        map: Vec<Segment>,
        stored: u64,
    },
    DataMap {
        entry: Box<Entry>,
        reader: MapReader,
        stored: u64,
    },
    Data(Body),
    Padding(u64),
    Ended,
}

/// The data still to come of a file.
struct Body {
    map: Vec<Segment>,
    at: usize,
    /// of the current segment
    done: u64,
    padding: u64,
}

/// A block that may arrive in pieces.
struct Block {
    bytes: [u8; BLOCK],
    filled: usize,
}

impl Default for Block {
    fn default() -> Block {
        Block { bytes: [0; BLOCK], filled: 0 }
    }
}

impl Block {
    fn fill(&mut self, input: &mut &[u8]) -> Option<[u8; BLOCK]> {
        let n = (BLOCK - self.filled).min(input.len());
        self.bytes[self.filled..self.filled + n].copy_from_slice(&input[..n]);
        *input = &input[n..];
        self.filled += n;
        (self.filled == BLOCK).then(|| {
            self.filled = 0;
            self.bytes
        })
    }
}

impl Decoder {
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Takes from the front of `input`; `None` when all of it is taken and more is needed.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, TarError> {
        let before = input.len();
        let result = self.step(input);
        self.position += (before - input.len()) as u64;
        result.map_err(|reason| TarError { at: self.header_at, reason })
    }

    /// To be asked when there is no more input: an archive need not have its end marker, but must not end
    /// inside a member.
    pub fn finish(&self) -> Result<(), TarError> {
        let reason = match &self.state {
            State::Ended => return Ok(()),
            State::Header if self.block.filled == 0 => {
                if self.extended.is_some() || self.long_name.is_some() || self.long_link.is_some() {
                    Reason::DanglingExtension
                } else {
                    return Ok(());
                }
            }
            // The padding behind the last member may be missing as the end marker may.
            State::Padding(_) => return Ok(()),
            _ => Reason::Truncated,
        };
        Err(TarError { at: self.header_at, reason })
    }

    /// Whether the end marker was seen.
    pub fn ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn step<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, Reason> {
        let given = input.len();
        loop {
            match std::mem::take(&mut self.state) {
                State::Header => {
                    if self.block.filled == 0 {
                        self.header_at = self.position + (given - input.len()) as u64;
                    }
                    let Some(block) = self.block.fill(input) else { return Ok(None) };
                    if let Some(entry) = self.header(&block)? {
                        return Ok(Some(Event::Entry(entry)));
                    }
                }
                State::Extension { kind, mut remaining, mut data } => {
                    let n = remaining.min(input.len() as u64) as usize;
                    data.extend_from_slice(&input[..n]);
                    *input = &input[n..];
                    remaining -= n as u64;
                    if remaining > 0 {
                        self.state = State::Extension { kind, remaining, data };
                        return Ok(None);
                    }
                    let padding = padding(data.len() as u64);
                    self.extension(kind, data)?;
                    self.state = State::Padding(padding);
                }
                State::OldMap { entry, mut map, stored } => {
                    let Some(block) = self.block.fill(input) else {
                        self.state = State::OldMap { entry, map, stored };
                        return Ok(None);
                    };
                    Segment::old(&block[..504], &mut map)?;
                    if block[504] != 0 {
                        self.state = State::OldMap { entry, map, stored };
                        continue;
                    }
                    self.begin_sparse(&entry, map, stored, padding(stored))?;
                    return Ok(Some(Event::Entry(entry)));
                }
                State::DataMap { entry, mut reader, stored } => {
                    let Some(block) = self.block.fill(input) else {
                        self.state = State::DataMap { entry, reader, stored };
                        return Ok(None);
                    };
                    let Some(map) = reader.block(&block)? else {
                        self.state = State::DataMap { entry, reader, stored };
                        continue;
                    };
                    let data =
                        stored.checked_sub(reader.read).ok_or(Reason::Sparse("longer than the member"))?;
                    self.begin_sparse(&entry, map, data, padding(data))?;
                    return Ok(Some(Event::Entry(entry)));
                }
                State::Data(mut body) => {
                    while body.map.get(body.at).is_some_and(|part| part.length == body.done) {
                        body.at += 1;
                        body.done = 0;
                    }
                    let Some(part) = body.map.get(body.at).copied() else {
                        self.state = State::Padding(body.padding);
                        return Ok(Some(Event::EntryEnd));
                    };
                    let n = (part.length - body.done).min(input.len() as u64) as usize;
                    if n == 0 {
                        self.state = State::Data(body);
                        return Ok(None);
                    }
                    let (bytes, rest) = input.split_at(n);
                    *input = rest;
                    let offset = part.offset + body.done;
                    body.done += n as u64;
                    self.state = State::Data(body);
                    return Ok(Some(Event::Data { offset, bytes }));
                }
                State::Padding(remaining) => {
                    let n = remaining.min(input.len() as u64);
                    *input = &input[n as usize..];
                    if n < remaining {
                        self.state = State::Padding(remaining - n);
                        return Ok(None);
                    }
                    if !input.is_empty() {
                        continue;
                    }
                    return Ok(None);
                }
                State::Ended => {
                    self.state = State::Ended;
                    if input.iter().any(|byte| *byte != 0) {
                        return Err(Reason::TrailingData);
                    }
                    *input = &[];
                    return Ok(None);
                }
            }
        }
    }

    /// One block where a header is due.
    fn header(&mut self, block: &[u8; BLOCK]) -> Result<Option<Box<Entry>>, Reason> {
        if block.iter().all(|byte| *byte == 0) {
            if self.extended.is_some() || self.long_name.is_some() || self.long_link.is_some() {
                return Err(Reason::DanglingExtension);
            }
            self.zero_blocks += 1;
            if self.zero_blocks == 2 {
                self.state = State::Ended;
            }
            return Ok(None);
        }
        if self.zero_blocks > 0 {
            return Err(Reason::LoneZeroBlock);
        }
        let header = Header(block);
        header.verify_checksum()?;
        match header.typeflag() {
            kind @ (b'x' | b'g' | b'L' | b'K') => self.begin_extension(kind, header.size()?).map(|()| None),
            _ => self.member(&header),
        }
    }

    fn begin_extension(&mut self, kind: u8, size: u64) -> Result<(), Reason> {
        if size > MAX_EXTENSION_BYTES as u64 {
            return Err(Reason::ExtensionSize { size });
        }
        let taken = match kind {
            b'x' => self.extended.is_some(),
            b'L' => self.long_name.is_some(),
            b'K' => self.long_link.is_some(),
            _ => false,
        };
        if taken {
            return Err(Reason::DuplicateExtension(kind.into()));
        }
        self.state = State::Extension { kind, remaining: size, data: Vec::new() };
        Ok(())
    }

    fn extension(&mut self, kind: u8, data: Vec<u8>) -> Result<(), Reason> {
        let name = |data: Vec<u8>| {
            let end = data.iter().position(|c| *c == 0).unwrap_or(data.len());
            if data[end..].iter().any(|c| *c != 0) {
                return Err(Reason::NulInName);
            }
            Ok(Some(data[..end].to_vec()))
        };
        match kind {
            b'x' => self.extended = Some(Extended::parse(&data)?),
            b'g' => check_global(&data)?,
            b'L' => self.long_name = name(data)?,
            _ => self.long_link = name(data)?,
        }
        Ok(())
    }

    /// A header proper, with what the extension headers before it said.
    fn member(&mut self, header: &Header<'_>) -> Result<Option<Box<Entry>>, Reason> {
        let mut extended = self.extended.take().unwrap_or_default();
        let form = extended.sparse.form()?;
        let path = one_name(
            "path",
            extended.sparse.name.take().or(extended.path.take()),
            self.long_name.take(),
            || header.name(),
        )?;
        let link = one_name("link", extended.link.take(), self.long_link.take(), || header.link().to_vec())?;
        let stored = match extended.size {
            Some(size) => size,
            None => header.size()?,
        };
        let kind = kind(header, link, &path, stored)?;
        let mtime = match extended.mtime {
            Some(time) => time,
            None => Time { secs: header.mtime()?, nanos: 0 },
        };
        let mut entry = Box::new(Entry {
            path,
            mode: header.mode()?,
            uid: extended.uid.map_or_else(|| header.uid(), Ok)?,
            gid: extended.gid.map_or_else(|| header.gid(), Ok)?,
            mtime,
            size: 0,
            xattrs: extended.xattrs,
            kind,
        });
        if entry.kind != EntryKind::File {
            if form != SparseForm::None {
                return Err(Reason::Sparse("on what is no file"));
            }
            self.state = State::Data(Body { map: Vec::new(), at: 0, done: 0, padding: 0 });
            return Ok(Some(entry));
        }
        entry.size = extended.sparse.real_size.unwrap_or(stored);
        match form {
            SparseForm::None if header.typeflag() == b'S' => return self.old_sparse(header, entry, stored),
            SparseForm::None => {
                entry.size = stored;
                let map = vec![Segment { offset: 0, length: stored }];
                self.state = State::Data(Body { map, at: 0, done: 0, padding: padding(stored) });
            }
            SparseForm::Map(map) => self.begin_sparse(&entry, map, stored, padding(stored))?,
            SparseForm::InData => {
                self.state = State::DataMap { entry, reader: MapReader::default(), stored };
                return Ok(None);
            }
        }
        Ok(Some(entry))
    }

    fn old_sparse(
        &mut self,
        header: &Header<'_>,
        mut entry: Box<Entry>,
        stored: u64,
    ) -> Result<Option<Box<Entry>>, Reason> {
        if header.format() != Format::Gnu {
            return Err(Reason::UnknownType('S'));
        }
        let mut map = Vec::new();
        Segment::old(&header.0[386..482], &mut map)?;
        entry.size = super::number::unsigned(&header.0[483..495], "realsize")?;
        if header.0[482] != 0 {
            self.state = State::OldMap { entry, map, stored };
            return Ok(None);
        }
        self.begin_sparse(&entry, map, stored, padding(stored))?;
        Ok(Some(entry))
    }

    fn begin_sparse(
        &mut self,
        entry: &Entry,
        map: Vec<Segment>,
        data: u64,
        padding: u64,
    ) -> Result<(), Reason> {
        check(&map, entry.size, data)?;
        self.state = State::Data(Body { map, at: 0, done: 0, padding });
        Ok(())
    }
}

fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

/// pax, GNU or the header itself: one of the first two at most.
fn one_name(
    what: &'static str,
    pax: Option<Vec<u8>>,
    gnu: Option<Vec<u8>>,
    header: impl FnOnce() -> Vec<u8>,
) -> Result<Vec<u8>, Reason> {
    match (pax, gnu) {
        (Some(_), Some(_)) => Err(Reason::TwoNames(what)),
        (Some(name), None) | (None, Some(name)) => Ok(name),
        (None, None) => Ok(header()),
    }
}

fn kind(header: &Header<'_>, link: Vec<u8>, path: &[u8], stored: u64) -> Result<EntryKind, Reason> {
    let empty = |what: &'static str, kind: EntryKind| match stored {
        0 => Ok(kind),
        size => Err(Reason::DataWhereNoneCanBe(what, size)),
    };
    match header.typeflag() {
        // Before ustar, a slash at the end was how a directory was told.
        b'0' | 0 if path.ends_with(b"/") => empty("directory", EntryKind::Directory),
        b'0' | 0 | b'7' | b'S' => Ok(EntryKind::File),
        // Old GNU tars wrote a linked file's size; everybody takes it for 0.
        b'1' => Ok(EntryKind::HardLink { target: link }),
        b'2' => empty("symbolic link", EntryKind::Symlink { target: link }),
        b'3' => {
            let (major, minor) = header.device()?;
            empty("device", EntryKind::CharDevice { major, minor })
        }
        b'4' => {
            let (major, minor) = header.device()?;
            empty("device", EntryKind::BlockDevice { major, minor })
        }
        b'5' => empty("directory", EntryKind::Directory),
        b'6' => empty("fifo", EntryKind::Fifo),
        other => Err(Reason::UnknownType(other.into())),
    }
}
