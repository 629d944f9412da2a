//! `cp`: between a container and this process's own files, or a stream of tar.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use corten_store::tar::{Decoder, EntryKind, Event};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::paths::{Found, Tree, asserts_directory, base};
use super::read::Packer;
use super::visit::{Sight, Visit};
use super::write::{Owner, Writer};
use crate::dirs::Dirs;
use crate::error::{At, EngineError};

/// Bytes in a pipe under way.
const PIPE_BYTES: usize = 1 << 20;
const BUFFER: usize = 256 << 10;

/// How it is copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Owners are the source's.
    pub archive: bool,
    /// A link as source is what it leads to.
    pub follow: bool,
}

/// This side of a copy.
#[derive(Debug)]
pub enum Local<'a> {
    /// A path; a relative one is from the working directory.
    Path(&'a Path),
    /// Standard output or input, as tar.
    Stream(OwnedFd),
}

/// What a copy did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Bytes of tar.
    pub bytes: u64,
    /// Device nodes that were not made.
    pub devices_left: u64,
}

/// Tells how many bytes have passed.
pub type Progress<'a> = &'a mut dyn FnMut(u64);

fn pipe() -> Result<(OwnedFd, OwnedFd), EngineError> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).at("pipe", "cp")?;
    // Beyond a user's limit the pipe stays as small as it is.
    let _smaller = rustix::pipe::fcntl_setpipe_size(&write, PIPE_BYTES);
    Ok((read, write))
}

/// `cp CONTAINER:PATH LOCAL`.
///
/// # Errors
/// Docker's words for paths that are not there; what a call says.
pub fn copy_out(
    dirs: &Dirs,
    name: &str,
    path: &Path,
    to: Local<'_>,
    options: CopyOptions,
    progress: Progress<'_>,
) -> Result<Copied, EngineError> {
    let to = match to {
        Local::Stream(fd) => {
            let visit = Visit::begin(dirs, name, Sight::Everything, &[], |tree| {
                pack(tree, name, path, options.follow, File::from(fd))
            })?;
            return visit.end("archive-path").map(|devices_left| Copied { bytes: 0, devices_left });
        }
        Local::Path(to) => to,
    };
    let host = Tree::of_host()?;
    let to = local(to)?;
    let destination = host.destination(&to)?;
    let (read, write) = pipe()?;
    let visit = Visit::begin(dirs, name, Sight::Everything, &[read.as_fd()], move |tree| {
        pack(tree, name, path, options.follow, File::from(write))
    })?;
    let mut input = File::from(read);
    let mut copied = Copied::default();
    let written = head(&mut input).and_then(|(mut bytes, is_dir)| {
        let Some(is_dir) = is_dir else { return Ok(()) };
        let owner = if options.archive { Owner::Kept } else { Owner::Writer };
        let wanted = base(path);
        let prefix = destination.prefix(wanted.as_deref(), is_dir, asserts_directory(&to))?;
        let mut writer = Writer::new(&host, &destination, usize::from(wanted.is_some()), prefix, owner);
        while !bytes.is_empty() {
            writer.take(&bytes)?;
            copied.bytes += bytes.len() as u64;
            progress(copied.bytes);
            bytes.resize(BUFFER, 0);
            let count = read_some(&mut input, &mut bytes)?;
            bytes.truncate(count);
        }
        copied.devices_left = writer.finish()?.devices;
        Ok(())
    });
    // With its pipe gone the visitor ends.
    drop(input);
    match (written, visit.end("archive-path")) {
        // What failed first is the reason; a visitor that failed is why the tar ended too early.
        (Ok(()), ended) => ended.map(|_| copied),
        (Err(error), Err(EngineError::Failed { message, .. })) if message.contains("EPIPE") => Err(error),
        (Err(_), Err(inside)) => Err(inside),
        (Err(error), Ok(_)) => Err(error),
    }
}

fn read_some(input: &mut File, buffer: &mut [u8]) -> Result<usize, EngineError> {
    loop {
        match input.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other.at("read", "pipe"),
        }
    }
}

/// The beginning of a tar, and whether its first member, which is the source itself, is a directory; `None`
/// if the tar ends before.
fn head(input: &mut File) -> Result<(Vec<u8>, Option<bool>), EngineError> {
    let mut bytes = Vec::new();
    let mut decoder = Decoder::new();
    loop {
        let start = bytes.len();
        bytes.resize(start + BUFFER, 0);
        let count = read_some(input, &mut bytes[start..])?;
        bytes.truncate(start + count);
        if count == 0 {
            return Ok((bytes, None));
        }
        let mut fresh = &bytes[start..];
        // What is wrong with it is what the writer says.
        if let Ok(Some(Event::Entry(entry))) = decoder.next(&mut fresh) {
            return Ok((bytes, Some(entry.kind == EntryKind::Directory)));
        }
    }
}

fn pack(tree: &Tree, name: &str, path: &Path, follow: bool, out: File) -> Result<u64, EngineError> {
    let found = match tree.find(path, follow) {
        Err(Errno::NOENT) => return Err(not_found(name, path)),
        other => other.at("openat2", path)?,
    };
    let mut packer = Packer::new(tree, out, "pipe");
    packer.add(&found, &base(path).unwrap_or_else(|| b".".to_vec()), path)?;
    packer.finish().map(|_| 0)
}

/// Docker's words.
fn not_found(name: &str, path: &Path) -> EngineError {
    let message = format!("Could not find the file {} in container {name}", path.display());
    EngineError::Failed { message, code: 1 }
}

/// `cp LOCAL CONTAINER:PATH`.
///
/// # Errors
/// As [`copy_out`].
pub fn copy_in(
    dirs: &Dirs,
    name: &str,
    from: Local<'_>,
    path: &Path,
    options: CopyOptions,
    progress: Progress<'_>,
) -> Result<Copied, EngineError> {
    let from = match from {
        Local::Stream(fd) => {
            let visit = Visit::begin(dirs, name, Sight::Everything, &[], |tree| {
                let to = tree.destination(path)?;
                if to.existing != Some(true) {
                    let message = format!("destination \"{name}:{}\" must be a directory", path.display());
                    return Err(EngineError::Failed { message, code: 1 });
                }
                let mut writer = Writer::new(tree, &to, 0, Vec::new(), Owner::Kept);
                corten_store::tar::plain(File::from(fd), |bytes| writer.take(bytes))?;
                writer.finish().map(|left| left.devices)
            })?;
            return visit.end("extract-to-dir").map(|devices_left| Copied { bytes: 0, devices_left });
        }
        Local::Path(from) => from,
    };
    let host = Tree::of_host()?;
    let wanted = base(from);
    let from = local(from)?;
    let found = host.find(&from, options.follow).map_err(|errno| match errno {
        Errno::NOENT => EngineError::Failed {
            message: format!("lstat {}: no such file or directory", from.display()),
            code: 1,
        },
        errno => EngineError::Call { call: "openat2", path: from.clone(), errno },
    })?;
    let is_dir = found.kind == FileType::Directory;
    let (read, write) = pipe()?;
    let owner = if options.archive { Owner::Kept } else { Owner::Is(0, 0) };
    let strip = usize::from(wanted.is_some());
    let inside_base = wanted.clone();
    let visit = Visit::begin(dirs, name, Sight::Everything, &[write.as_fd()], move |tree| {
        let to = tree.destination(path).map_err(|error| match error {
            EngineError::Call { errno: Errno::NOENT, .. } => not_found(name, path),
            error => error,
        })?;
        let prefix = to.prefix(inside_base.as_deref(), is_dir, asserts_directory(path))?;
        let mut writer = Writer::new(tree, &to, strip, prefix, owner);
        let (mut input, mut buffer) = (File::from(read), vec![0; BUFFER]);
        loop {
            match read_some(&mut input, &mut buffer)? {
                0 => break,
                count => writer.take(&buffer[..count])?,
            }
        }
        writer.finish().map(|left| left.devices)
    })?;
    let mut counted = Counted { out: File::from(write), bytes: 0, progress };
    let sent = send(&host, &found, &wanted.unwrap_or_else(|| b".".to_vec()), &from, &mut counted);
    let bytes = counted.bytes;
    drop(counted);
    match (sent, visit.end("extract-to-dir")) {
        (Ok(()), ended) => ended.map(|devices_left| Copied { bytes, devices_left }),
        // The visitor closed the pipe: it has the reason.
        (Err(EngineError::Call { errno: Errno::PIPE, .. }), Err(inside)) => Err(inside),
        (Err(error), _) => Err(error),
    }
}

fn send(
    host: &Tree,
    found: &Found,
    name: &[u8],
    from: &Path,
    out: &mut Counted<'_>,
) -> Result<(), EngineError> {
    let mut packer = Packer::new(host, out, "pipe");
    packer.add(found, name, from)?;
    packer.finish().map(drop)
}

struct Counted<'a> {
    out: File,
    bytes: u64,
    progress: Progress<'a>,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.bytes += count as u64;
        (self.progress)(self.bytes);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// From the root; what the end of the path says (`/`, `/.`) stays.
fn local(path: &Path) -> Result<std::path::PathBuf, EngineError> {
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    let cwd = std::env::current_dir().at("getcwd", "")?;
    let text = [cwd.as_os_str().as_bytes(), b"/", path.as_os_str().as_bytes()].concat();
    Ok(OsStr::from_bytes(&text).into())
}
