//! `logs`: what a container wrote, read back from its files, in constant memory.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::files::Opened;
use super::follow::Follower;
use super::printer::{Entry, Printer};
use super::{json, local, sink, tail};
use crate::config::log::Driver;
use crate::container;
use crate::dirs::Dirs;
use crate::error::{At, EngineError};

/// What is shown, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Show {
    /// Until the container has ended.
    pub follow: bool,
    /// Nanoseconds since 1970: what came earlier is left out.
    pub since_ns: Option<i128>,
    /// What came later too.
    pub until_ns: Option<i128>,
    /// The last so many entries; absent: all.
    pub tail: Option<u64>,
    /// With the time in front.
    pub timestamps: bool,
    /// With the labels and variables that `--log-opt` named.
    pub details: bool,
    /// Standard error is printed as standard output: both go to the same place, where the order matters.
    pub merged: bool,
}

/// Takes what is printed; the first says whether it is standard error.
pub type Output<'a> = &'a mut dyn FnMut(bool, &[u8]) -> std::io::Result<()>;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Local,
}

/// How much is read at once.
const BLOCK: usize = 256 << 10;
/// How often the files are looked for while they are moved on.
const TRIES: u32 = 1000;
/// No entry is longer.
const LONGEST: usize = 16 << 20;

/// Prints the log of a container.
///
/// # Errors
/// [`EngineError::NoSuchContainer`], [`EngineError::LogNotRead`]; what a call says.
pub fn logs(dirs: &Dirs, name: &str, show: &Show, output: Output<'_>) -> Result<(), EngineError> {
    let container = container::find(dirs, name)?;
    let record = &container.record;
    let driver = record.config.log.parsed()?.driver;
    let format = match driver {
        Driver::JsonFile(_) => Format::Json,
        Driver::Local(_) => Format::Local,
        Driver::None => return Err(EngineError::LogNotRead("the log driver is none".into())),
        Driver::Journald => {
            let command = format!("journalctl CONTAINER_ID_FULL={}", record.id);
            return Err(EngineError::LogNotRead(format!("the journal has it: {command}")));
        }
    };
    let newest = dirs.container(&record.id).join(sink::file_name(&driver).unwrap_or_default());
    if record.config.auto_remove && !newest.exists() {
        return Err(EngineError::LogNotRead("a --rm container in the foreground keeps none".into()));
    }
    let mut printer = Printer::new(show, output);
    let mut follower = match show.follow && container.state.is_alive() {
        true => Follower::new(dirs, &container, &newest)?,
        false => None,
    };
    let files = open_all(&newest, follower.as_mut())?;
    let start = match show.tail {
        Some(count) => tail::start(format, &files, count).at("read", &newest)?,
        None => tail::Start { file: files.len().saturating_sub(1), at: 0, skip: 0 },
    };
    let mut reader = Reader { format, carry: Vec::new(), newest };
    for (index, opened) in files.into_iter().enumerate().rev() {
        if index > start.file || (index > 0 && older_than(&opened, show.since_ns)) {
            continue;
        }
        let (at, skip) = if index == start.file { (start.at, start.skip) } else { (0, 0) };
        reader.carry.clear();
        let mut input = opened.reader(at).at("read", &reader.newest)?;
        reader.print(&mut *input, skip, &mut printer)?;
        if index == 0
            && let Some(follower) = follower.take()
        {
            return follower.follow(opened, input, reader, &mut printer, show.until_ns);
        }
    }
    printer.flush().at("write", "the output")
}

/// Opens all files of a log, the newest first. While files are moved on their numbers say nothing: then it is
/// tried again, unless a writer was killed at that and left it so.
fn open_all(newest: &Path, mut follower: Option<&mut Follower>) -> Result<Vec<Opened>, EngineError> {
    for _ in 0..TRIES {
        if let Some(files) = open_once(newest, follower.as_deref_mut(), false)? {
            return Ok(files);
        }
        std::thread::yield_now();
    }
    Ok(open_once(newest, follower, true)?.unwrap_or_default())
}

/// `None` if a file was moved on meanwhile; not so if whatever there is will do.
fn open_once(
    newest: &Path,
    mut follower: Option<&mut Follower>,
    whatever: bool,
) -> Result<Option<Vec<Opened>>, EngineError> {
    let find = |number| Opened::find(newest, number).at("open", newest);
    let first = match &mut follower {
        Some(follower) => follower.open_newest()?,
        None => find(0)?,
    };
    let mut files: Vec<Opened> = first.into_iter().collect();
    let mut number = 1;
    loop {
        match find(number)? {
            Some(found) if files.last().is_some_and(|last| last.inode == found.inode) => {}
            Some(found) => files.push(found),
            None if find(number + 1)?.is_none() => break,
            None if whatever => {}
            None => return Ok(None),
        }
        number += 1;
    }
    let moved = match follower {
        Some(follower) => follower.is_passed(),
        None => find(0)?.map(|found| found.inode) != files.first().map(|first| first.inode),
    };
    Ok((!moved || whatever).then_some(files))
}

/// Whether all of it was written before.
fn older_than(opened: &Opened, since_ns: Option<i128>) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Some(since) = since_ns else { return false };
    // A compressed file is younger than what is in it.
    !opened.compressed
        && opened.file.metadata().is_ok_and(|meta| {
            // File systems may note the time a tick too early.
            i128::from(meta.mtime() + 1) * 1_000_000_000 + i128::from(meta.mtime_nsec()) < since
        })
}

/// Reads on where it stopped: what is not a whole entry yet is kept.
pub(super) struct Reader {
    format: Format,
    carry: Vec<u8>,
    pub(super) newest: PathBuf,
}

impl Reader {
    /// Prints what there is.
    pub(super) fn print(
        &mut self,
        input: &mut dyn Read,
        skip: u64,
        printer: &mut Printer<'_>,
    ) -> Result<(), EngineError> {
        let mut carry = std::mem::take(&mut self.carry);
        let printed = entries_from(self.format, &mut carry, input, skip, &mut |entry| {
            printer.print(entry)?;
            Ok(!printer.ended())
        });
        self.carry = carry;
        printed.at("read", &self.newest)
    }

    /// The next file begins with an entry of its own.
    pub(super) fn next_file(&mut self) {
        self.carry.clear();
    }
}

/// What is done with an entry; false: no more.
type Visit<'a> = &'a mut dyn FnMut(&Entry<'_>) -> std::io::Result<bool>;

pub(super) fn entries(
    format: Format,
    input: &mut dyn Read,
    skip: u64,
    visit: Visit<'_>,
) -> std::io::Result<()> {
    entries_from(format, &mut Vec::new(), input, skip, visit)
}

/// `carry` is what came before, and what is left at the end.
fn entries_from(
    format: Format,
    carry: &mut Vec<u8>,
    input: &mut dyn Read,
    mut skip: u64,
    visit: Visit<'_>,
) -> std::io::Result<()> {
    let mut buffer = std::mem::take(carry);
    let mut have = buffer.len();
    let mut scratch = Vec::new();
    buffer.resize(have.max(BLOCK / 2) + BLOCK / 2, 0);
    loop {
        if buffer.len() - have < BLOCK / 2 {
            if buffer.len() > LONGEST {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            buffer.resize(buffer.len() * 2, 0);
        }
        let count = match input.read(&mut buffer[have..]) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if count == 0 {
            break;
        }
        have += count;
        let mut at = 0;
        let goes_on = match format {
            Format::Json => lines(&buffer[..have], &mut at, &mut skip, &mut scratch, visit)?,
            Format::Local => records(&buffer[..have], &mut at, &mut skip, visit)?,
        };
        buffer.copy_within(at..have, 0);
        have -= at;
        if !goes_on {
            break;
        }
    }
    buffer.truncate(have);
    *carry = buffer;
    Ok(())
}

fn lines(
    bytes: &[u8],
    at: &mut usize,
    skip: &mut u64,
    scratch: &mut Vec<u8>,
    visit: Visit<'_>,
) -> std::io::Result<bool> {
    loop {
        let rest = &bytes[*at..];
        if *skip == 0
            && let Some((entry, used)) = json::first(rest)
        {
            *at += used;
            if !visit(&entry)? {
                return Ok(false);
            }
            continue;
        }
        let Some(end) = memchr::memchr(b'\n', rest) else { return Ok(true) };
        *at += end + 1;
        if *skip > 0 {
            *skip -= 1;
        } else if let Some(entry) = json::decode(&rest[..end], scratch)
            && !visit(&entry)?
        {
            return Ok(false);
        }
    }
}

fn records(bytes: &[u8], at: &mut usize, skip: &mut u64, visit: Visit<'_>) -> std::io::Result<bool> {
    loop {
        match local::decode(&bytes[*at..]) {
            local::Found::More => return Ok(true),
            // Whatever follows cannot be told apart any more.
            local::Found::Damaged => return Err(std::io::ErrorKind::InvalidData.into()),
            local::Found::Whole(entry, next) => {
                *at += next;
                if *skip > 0 {
                    *skip -= 1;
                } else if !visit(&entry)? {
                    return Ok(false);
                }
            }
        }
    }
}
