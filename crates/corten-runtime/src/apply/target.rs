//! The place of a mount inside the container's root, made if it is not there. Allocates nothing.
//!
//! Every path is resolved by the kernel inside the root (`RESOLVE_IN_ROOT`), whatever links the image
//! holds, and what is used afterwards is the descriptor, not the path.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_sys::open::openat2;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, mkdirat, readlinkat_raw};
use rustix::io::Errno;

use super::wire::{At, Call, Failure};

/// The longest path that is handled here, as the kernel's own PATH_MAX.
const PATH_MAX: usize = 4096;
/// How many dangling links in a row are followed.
const MAX_LINKS: usize = 8;

fn in_root() -> ResolveFlags {
    ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS
}

/// Opens what is at `path` below `root` as a place, without following a link to outside.
pub(crate) fn open(root: BorrowedFd<'_>, path: &CStr, extra: ResolveFlags) -> Result<OwnedFd, Errno> {
    openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), in_root() | extra)
}

/// Opens the place for a mount, making a directory or an empty file there and the directories above.
pub(crate) fn open_or_make(
    root: BorrowedFd<'_>,
    path: &CStr,
    directory: bool,
    extra: ResolveFlags,
) -> Result<OwnedFd, Failure> {
    match open(root, path, extra) {
        Err(Errno::NOENT) => make(root, path, directory, extra),
        other => other.at(Call::Openat2),
    }
}

/// Makes and opens the place for a mount that was not there.
pub(crate) fn make(
    root: BorrowedFd<'_>,
    path: &CStr,
    directory: bool,
    extra: ResolveFlags,
) -> Result<OwnedFd, Failure> {
    let mut buffer = Buffer::new();
    if !buffer.push(path.to_bytes()) {
        return Err(Failure { call: Call::Openat2, errno: Errno::NAMETOOLONG });
    }
    if let Some(place) = make_last(root, &mut buffer, directory)? {
        return Ok(place);
    }
    make_all(root, &mut buffer, directory, 0)?;
    open(root, path, extra).at(Call::Openat2)
}

/// The usual case in few calls: only the last part is missing and is no dangling link. `None` if not so.
fn make_last(root: BorrowedFd<'_>, path: &mut Buffer, directory: bool) -> Result<Option<OwnedFd>, Failure> {
    let slash = path.bytes[..path.length].iter().rposition(|&b| b == b'/');
    let parent = match slash {
        None => None,
        Some(end) => match path.prefix(end, |above| open(root, above, ResolveFlags::empty())) {
            Ok(parent) => Some(parent),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(Failure { call: Call::Openat2, errno }),
        },
    };
    let at = parent.as_ref().map_or(root, AsFd::as_fd);
    let mut name = Buffer::new();
    name.push(&path.bytes[slash.map_or(0, |slash| slash + 1)..path.length]);
    match create(at, &mut name, directory) {
        Err(Failure { errno: Errno::EXIST, .. }) => return Ok(None),
        other => other?,
    }
    // It was made a moment ago; whatever took its place since is not followed.
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    let length = name.length;
    let place =
        name.prefix(length, |name| openat2(at, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve));
    // Close-on-exec: one call less.
    std::mem::forget(parent);
    place.at(Call::Openat2).map(Some)
}

/// Makes the directory at `path` and those above it.
pub(crate) fn make_directories(root: BorrowedFd<'_>, path: &CStr) -> Result<(), Failure> {
    open_or_make(root, path, true, ResolveFlags::empty()).map(drop)
}

/// A path on the stack, always followed by a NUL.
struct Buffer {
    bytes: [u8; PATH_MAX + 1],
    length: usize,
}

impl Buffer {
    fn new() -> Self {
        Self { bytes: [0; PATH_MAX + 1], length: 0 }
    }

    fn push(&mut self, more: &[u8]) -> bool {
        if self.length + more.len() > PATH_MAX {
            return false;
        }
        self.bytes[self.length..self.length + more.len()].copy_from_slice(more);
        self.length += more.len();
        self.bytes[self.length] = 0;
        true
    }

    fn truncate(&mut self, length: usize) {
        self.length = length;
        self.bytes[length] = 0;
    }

    /// The first `length` bytes as a C string, for the time of `use_it`.
    fn prefix<T>(
        &mut self,
        length: usize,
        use_it: impl FnOnce(&CStr) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let kept = std::mem::replace(&mut self.bytes[length], 0);
        let result = CStr::from_bytes_until_nul(&self.bytes).map_err(|_| Errno::INVAL).and_then(use_it);
        self.bytes[length] = kept;
        result
    }
}

fn make_all(root: BorrowedFd<'_>, path: &mut Buffer, directory: bool, depth: usize) -> Result<(), Failure> {
    let mut parent: Option<OwnedFd> = None;
    let mut start = 0;
    loop {
        while path.bytes[start] == b'/' {
            start += 1;
        }
        if start >= path.length {
            return Ok(());
        }
        let end = path.bytes[start..path.length]
            .iter()
            .position(|&b| b == b'/')
            .map_or(path.length, |at| start + at);
        let last = path.bytes[end..path.length].iter().all(|&b| b == b'/');
        let found = path.prefix(end, |whole| open(root, whole, ResolveFlags::empty()));
        let next = match found {
            Ok(fd) => fd,
            Err(Errno::NOENT) => {
                let mut name = Buffer::new();
                name.push(&path.bytes[start..end]);
                let at = parent.as_ref().map_or(root, AsFd::as_fd);
                match create(at, &mut name, directory || !last) {
                    Ok(()) => {}
                    // A link that leads nowhere yet: what it names is made, inside the root.
                    Err(Failure { errno: Errno::EXIST, .. }) if depth < MAX_LINKS => {
                        follow(root, path, start, end, &mut name, at, directory || !last, depth)?;
                    }
                    Err(failure) => return Err(failure),
                }
                path.prefix(end, |whole| open(root, whole, ResolveFlags::empty())).at(Call::Openat2)?
            }
            Err(errno) => return Err(Failure { call: Call::Openat2, errno }),
        };
        if last {
            return Ok(());
        }
        parent = Some(next);
        start = end;
    }
}

fn create(at: BorrowedFd<'_>, name: &mut Buffer, directory: bool) -> Result<(), Failure> {
    let length = name.length;
    if directory {
        return name.prefix(length, |name| mkdirat(at, name, Mode::from_raw_mode(0o755))).at(Call::Mkdirat);
    }
    name.prefix(length, |name| {
        rustix::fs::mknodat(at, name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0)
    })
    .at(Call::Mknodat)
}

#[allow(clippy::too_many_arguments, reason = "one step of `make_all`, split off for its length")]
fn follow(
    root: BorrowedFd<'_>,
    path: &Buffer,
    start: usize,
    end: usize,
    name: &mut Buffer,
    at: BorrowedFd<'_>,
    directory: bool,
    depth: usize,
) -> Result<(), Failure> {
    debug_assert!(start <= end);
    let mut link = [0u8; PATH_MAX];
    let length = name.length;
    let text = name.prefix(length, |name| readlinkat_raw(at, name, &mut link[..])).at(Call::Openat2)?;
    let mut joined = Buffer::new();
    let absolute = link[..text].first() == Some(&b'/');
    let fits = (absolute || joined.push(&path.bytes[..start])) && joined.push(&link[..text]);
    if !fits {
        return Err(Failure { call: Call::Openat2, errno: Errno::NAMETOOLONG });
    }
    while joined.length > 0 && joined.bytes[joined.length - 1] == b'/' {
        let shorter = joined.length - 1;
        joined.truncate(shorter);
    }
    make_all(root, &mut joined, directory, depth + 1)
}

/// Whether the descriptor is a directory.
pub(crate) fn is_directory(fd: BorrowedFd<'_>) -> Result<bool, Failure> {
    let stat = rustix::fs::statat(fd, c"", AtFlags::EMPTY_PATH).at(Call::Fstat)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        let fd =
            rustix::fs::open(dir.path().join("root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        (dir, fd)
    }

    fn make_at(fd: &OwnedFd, path: &CStr, directory: bool) -> Result<OwnedFd, Failure> {
        open_or_make(fd.as_fd(), path, directory, ResolveFlags::empty())
    }

    #[test]
    fn directories_and_files_are_made_below_the_root() {
        let (dir, fd) = root();
        make_at(&fd, c"a/b/c", true).unwrap();
        make_at(&fd, c"a/b/file", false).unwrap();
        assert!(dir.path().join("root/a/b/c").is_dir());
        assert!(dir.path().join("root/a/b/file").is_file());
    }

    #[test]
    fn a_dangling_link_is_followed_inside_the_root_only() {
        let (dir, fd) = root();
        let base = dir.path().join("root");
        std::fs::create_dir(base.join("etc")).unwrap();
        symlink("../run/systemd/stub.conf", base.join("etc/resolv.conf")).unwrap();
        symlink(dir.path().join("outside/evil"), base.join("abs")).unwrap();
        symlink("../../../outside/evil2", base.join("up")).unwrap();
        symlink("loop2", base.join("loop1")).unwrap();
        symlink("loop1", base.join("loop2")).unwrap();
        make_at(&fd, c"etc/resolv.conf", false).unwrap();
        assert!(base.join("run/systemd/stub.conf").is_file());
        make_at(&fd, c"abs", true).unwrap();
        make_at(&fd, c"up", false).unwrap();
        assert!(base.join("outside/evil2").is_file());
        assert!(std::fs::read_dir(dir.path().join("outside")).unwrap().next().is_none());
        assert_eq!(make_at(&fd, c"loop1", true).unwrap_err().errno, Errno::LOOP);
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let (dir, fd) = root();
        std::fs::write(dir.path().join("root/file"), "").unwrap();
        assert_eq!(make_at(&fd, c"file/below", true).unwrap_err().errno, Errno::NOTDIR);
    }
}
