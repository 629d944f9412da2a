//! Where the members of an archive are: spooled from a stream, or in a directory.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use corten_oci::Algorithm;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::LoadError;
use crate::blob::BlobWriter;
use crate::error::{At, Result, SysError};
use crate::session::{Sealed, Session};
use crate::sys::Dir;
use crate::tar::{Decoder, EntryKind, Event};
use crate::unpack::{Limits, UnpackError, plain_stream};

const MAX_MEMBERS: usize = 100_000;
const MAX_LINKS: usize = 8;

pub(super) enum Source {
    Spooled(HashMap<Vec<u8>, Member>),
    Directory { dir: Dir, copied: HashMap<String, Sealed> },
}

pub(super) enum Member {
    Blob(Sealed),
    /// to a cleaned path
    Link(Vec<u8>),
}

impl Source {
    pub(super) fn directory(path: &Path) -> Result<Source> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).at("open", path)?;
        Ok(Source::Directory { dir: Dir { fd, path: path.into() }, copied: HashMap::new() })
    }

    /// Writes every file of the stream into the session's directory under a number, and hashes it.
    pub(super) fn spool(session: &Session<'_>, input: impl Read + Send) -> Result<Source> {
        let free = rustix::fs::fstatvfs(&session.dir.fd).at("fstatvfs", &session.dir.path)?;
        let allowed = free.f_bavail.saturating_mul(free.f_frsize) / 5 * 4;
        let mut spool = Spool { session, members: HashMap::new(), current: None, needed: 0, allowed };
        plain_stream(input, &Limits::default(), |chunks| -> Result<()> {
            let mut decoder = Decoder::new();
            for chunk in chunks.iter() {
                let chunk = chunk?;
                let mut bytes = &chunk[..];
                while let Some(event) = decoder.next(&mut bytes).map_err(UnpackError::from)? {
                    spool.event(event)?;
                }
                chunks.recycle(chunk);
            }
            Ok(decoder.finish().map_err(UnpackError::from)?)
        })
        .map_err(UnpackError::from)??;
        Ok(Source::Spooled(spool.members))
    }

    pub(super) fn has(&mut self, session: &Session<'_>, path: &str) -> Result<bool> {
        Ok(self.blob(session, path)?.is_some())
    }

    /// A small member's content.
    pub(super) fn read(&mut self, session: &Session<'_>, path: &str, limit: u64) -> Result<Vec<u8>> {
        let sealed = self.need(session, path)?;
        session.read_sealed(&sealed, path, limit)
    }

    /// As `blob`, for what has to be there.
    pub(super) fn need(&mut self, session: &Session<'_>, path: &str) -> Result<Sealed> {
        Ok(self.blob(session, path)?.ok_or_else(|| LoadError::Missing(path.into()))?)
    }

    /// A member, spooled and hashed: by sha512 if it lies under `blobs/sha512`, else by sha256.
    pub(super) fn blob(&mut self, session: &Session<'_>, path: &str) -> Result<Option<Sealed>> {
        let Some(clean) = clean(path.as_bytes()) else { return Err(LoadError::Link(path.into()).into()) };
        match self {
            Source::Spooled(members) => lookup(members, clean),
            Source::Directory { dir, copied } => {
                if let Some(known) = copied.get(path) {
                    return Ok(Some(known.clone()));
                }
                let Some(file) = open_beneath(dir, &clean)? else { return Ok(None) };
                let sealed = copy(session, file, &clean, &dir.path.join(OsStr::from_bytes(&clean)))?;
                copied.insert(path.into(), sealed.clone());
                Ok(Some(sealed))
            }
        }
    }
}

fn lookup(members: &HashMap<Vec<u8>, Member>, path: Vec<u8>) -> Result<Option<Sealed>> {
    let mut at = &path;
    for _ in 0..MAX_LINKS {
        match members.get(at) {
            Some(Member::Blob(sealed)) => return Ok(Some(sealed.clone())),
            Some(Member::Link(target)) => at = target,
            None if at == &path => return Ok(None),
            None => break,
        }
    }
    Err(LoadError::Link(OsStr::from_bytes(&path).into()).into())
}

/// Links inside the directory are followed, out of it not.
fn open_beneath(dir: &Dir, path: &[u8]) -> Result<Option<File>> {
    let shown = dir.path.join(OsStr::from_bytes(path));
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = match rustix::fs::openat2(&dir.fd, path, flags, Mode::empty(), resolve) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(Errno::XDEV | Errno::LOOP) => return Err(LoadError::Link(shown).into()),
        other => other.at("openat2", &shown)?,
    };
    let stat = rustix::fs::fstat(&file).at("fstat", &shown)?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return Ok(None);
    }
    Ok(Some(file.into()))
}

fn copy(session: &Session<'_>, file: File, clean: &[u8], shown: &Path) -> Result<Sealed> {
    let mut blob = session.blob()?.hashing(algorithm(clean));
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = crate::sys::retry(|| rustix::io::read(file.as_fd(), &mut buffer[..])).at("read", shown)?;
        if n == 0 {
            break;
        }
        blob.append(&buffer[..n])?;
    }
    Ok(blob.seal()?)
}

fn algorithm(path: &[u8]) -> Algorithm {
    if path.starts_with(b"blobs/sha512/") { Algorithm::Sha512 } else { Algorithm::Sha256 }
}

struct Spool<'a, 's> {
    session: &'a Session<'s>,
    members: HashMap<Vec<u8>, Member>,
    current: Option<(Vec<u8>, BlobWriter<'a>)>,
    needed: u64,
    allowed: u64,
}

impl Spool<'_, '_> {
    fn event(&mut self, event: Event<'_>) -> Result<()> {
        match event {
            Event::Entry(entry) => {
                let outside = || LoadError::Link(PathBuf::from(OsStr::from_bytes(&entry.path)));
                let path = clean(&entry.path).ok_or_else(outside)?;
                match &entry.kind {
                    EntryKind::File => self.begin(path, entry.size),
                    // A symbolic link starts at its own directory, a hard link at the top.
                    EntryKind::Symlink { target } => {
                        let base = path.iter().rposition(|c| *c == b'/').map_or(&b""[..], |at| &path[..at]);
                        let full = if target.starts_with(b"/") {
                            target.clone()
                        } else {
                            [base, b"/", target].concat()
                        };
                        let target = resolve(&full).ok_or_else(outside)?;
                        self.insert(path, Member::Link(target))
                    }
                    EntryKind::HardLink { target } => {
                        let target = clean(target).ok_or_else(outside)?;
                        self.insert(path, Member::Link(target))
                    }
                    _ => Ok(()),
                }
            }
            Event::Data { offset, bytes } => {
                let Some((_, blob)) = &mut self.current else { return Ok(()) };
                // Holes are hashed and stored as the zeros that they stand for.
                blob.pad_to(offset)?;
                Ok(blob.append(bytes)?)
            }
            Event::EntryEnd => {
                if let Some((path, blob)) = self.current.take() {
                    let sealed = blob.seal()?;
                    self.insert(path, Member::Blob(sealed))?;
                }
                Ok(())
            }
        }
    }

    fn begin(&mut self, path: Vec<u8>, size: u64) -> Result<()> {
        self.needed = self.needed.saturating_add(size);
        if self.needed > self.allowed {
            return Err(LoadError::Bytes { needed: self.needed, allowed: self.allowed }.into());
        }
        let blob = self.session.blob()?.hashing(algorithm(&path)).of_size(size);
        self.current = Some((path, blob));
        Ok(())
    }

    /// The same path twice is two archives in one for two readers, unless both are the same.
    fn insert(&mut self, path: Vec<u8>, member: Member) -> Result<()> {
        if self.members.len() >= MAX_MEMBERS {
            return Err(LoadError::Members(MAX_MEMBERS).into());
        }
        let same = match (self.members.get(&path), &member) {
            (None, _) => true,
            (Some(Member::Blob(old)), Member::Blob(new)) => old.digest == new.digest,
            (Some(Member::Link(old)), Member::Link(new)) => old == new,
            _ => false,
        };
        if !same {
            return Err(LoadError::Twice(OsStr::from_bytes(&path).into()).into());
        }
        self.members.insert(path, member);
        Ok(())
    }
}

/// Without `.` and empty parts; `None` for names with `..`.
fn clean(path: &[u8]) -> Option<Vec<u8>> {
    let mut parts = Vec::new();
    for part in path.split(|c| *c == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return None,
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

/// As `clean`, `..` taken as text; `None` where it would leave the archive.
fn resolve(path: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|c| *c == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

impl Session<'_> {
    pub(super) fn read_sealed(&self, blob: &Sealed, path: &str, limit: u64) -> Result<Vec<u8>> {
        if blob.size > limit {
            return Err(LoadError::TooLarge { path: path.into(), size: blob.size, limit }.into());
        }
        let mut bytes = Vec::new();
        let mut file = self.open_sealed(blob)?;
        file.read_to_end(&mut bytes).map_err(|error| SysError {
            call: "read",
            path: self.path_of(&blob.name),
            errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        })?;
        Ok(bytes)
    }
}
