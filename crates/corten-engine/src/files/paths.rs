//! A tree of files and the paths in it, by the rules of `docker cp`.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use corten_sys::open::openat2;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::error::{At, EngineError};

/// Links that a destination may be, one after the other.
const MAX_LINKS: usize = 10;
const PLACE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// A file system and its root.
pub(super) struct Tree {
    root: OwnedFd,
    /// This process's descriptors as files, to open a file again that was only looked at.
    own: OwnedFd,
    resolve: ResolveFlags,
    /// Links below a destination lead nowhere but inside: they may be followed.
    pub(super) enclosed: bool,
}

/// A file or directory that was found.
pub(super) struct Found {
    /// Refers to it (`O_PATH`).
    pub(super) fd: OwnedFd,
    pub(super) kind: FileType,
}

/// Where something is to be copied to.
pub(super) struct Destination {
    /// The directory itself if it is one, else the one that it is or will be in.
    pub(super) dir: OwnedFd,
    /// `None`: nothing is there yet. Else whether it is a directory.
    pub(super) existing: Option<bool>,
    /// Its name, if it is no directory.
    pub(super) name: Vec<u8>,
}

impl Tree {
    /// The process's root directory is the container's.
    pub(super) fn of_container(root: OwnedFd, own: OwnedFd) -> Self {
        Self { root, own, resolve: ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS, enclosed: true }
    }

    pub(super) fn of_host() -> Result<Self, EngineError> {
        let open = |path: &str, flags: OFlags| {
            rustix::fs::open(path, flags | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .at("open", path)
        };
        let (root, own) = (open("/", OFlags::PATH)?, open("/proc/thread-self/fd", OFlags::RDONLY)?);
        Ok(Self { root, own, resolve: ResolveFlags::empty(), enclosed: false })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// /proc/self/fd, as a directory.
    pub(super) fn own_descriptors(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }

    /// Opens something that was only looked at; its kind is known.
    pub(super) fn reopen(&self, fd: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
        use std::os::fd::AsRawFd;
        openat(&self.own, fd.as_raw_fd().to_string(), flags | OFlags::CLOEXEC, Mode::empty())
    }

    fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        openat2(&self.root, path, flags, Mode::empty(), self.resolve)
    }

    /// What is at a path; the path's last part is followed if `follow`, or if it asks for a directory.
    pub(super) fn find(&self, path: &Path, follow: bool) -> Result<Found, Errno> {
        let path = absolute(path);
        let directory = asserts_directory(&path);
        let mut flags = PLACE;
        flags.set(OFlags::NOFOLLOW, !follow && !directory);
        let fd = self.open(&path, flags)?;
        let kind = FileType::from_raw_mode(fstat(&fd)?.st_mode);
        if directory && kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        Ok(Found { fd, kind })
    }

    /// Where a copy to `path` goes: its links are followed; all but the last part has to be there.
    pub(super) fn destination(&self, path: &Path) -> Result<Destination, EngineError> {
        let mut path = absolute(path);
        for _ in 0..=MAX_LINKS {
            match self.find(&path, true) {
                Ok(Found { fd, kind: FileType::Directory }) => {
                    return Ok(Destination { dir: fd, existing: Some(true), name: Vec::new() });
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).at("openat2", &path),
            }
            let (parent, name) = split(&path);
            let dir = self.open(&parent, PLACE | OFlags::DIRECTORY).at("openat2", &parent)?;
            match statat(&dir, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => return Ok(Destination { dir, existing: None, name }),
                Err(errno) => return Err(errno).at("fstatat", &path),
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink => {
                    return Ok(Destination { dir, existing: Some(false), name });
                }
                Ok(_) => {}
            }
            let target = readlinkat(&dir, name.as_slice(), Vec::new()).at("readlinkat", &path)?;
            path = parent.join(OsStr::from_bytes(target.to_bytes()));
        }
        Err(Errno::LOOP).at("readlinkat", path)
    }
}

impl Destination {
    /// Docker's rules for what a source becomes there: the names in front of what is below it. `base` is the
    /// source's name, `None` if its content is meant.
    pub(super) fn prefix(
        &self,
        base: Option<&[u8]>,
        source_is_dir: bool,
        asserts_directory: bool,
    ) -> Result<Vec<Vec<u8>>, EngineError> {
        let refuse = |message: &str| EngineError::Failed { message: message.to_owned(), code: 1 };
        match self.existing {
            Some(true) => Ok(base.map(<[u8]>::to_vec).into_iter().collect()),
            Some(false) if source_is_dir => Err(refuse("cannot copy directory")),
            None if asserts_directory && !source_is_dir => Err(refuse("no such directory")),
            _ => Ok(vec![self.name.clone()]),
        }
    }
}

/// A path from the root; a slash or `/.` at its end stays.
pub(super) fn absolute(path: &Path) -> PathBuf {
    match path.has_root() {
        true => path.to_owned(),
        false => {
            let mut bytes = b"/".to_vec();
            bytes.extend_from_slice(path.as_os_str().as_bytes());
            OsString::from_vec(bytes).into()
        }
    }
}

/// Whether a path says that it is a directory.
pub(super) fn asserts_directory(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.ends_with(b"/")
        || bytes.ends_with(b"/.")
        || bytes.ends_with(b"/..")
        || bytes == b"."
        || bytes == b".."
}

/// The name under which a source is copied; `None` for its content (`/.`) and for the root.
pub(super) fn base(path: &Path) -> Option<Vec<u8>> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.ends_with(b"/.") || bytes == b"." {
        return None;
    }
    path.file_name().map(|name| name.as_bytes().to_vec())
}

/// The directory of a path and the name in it.
fn split(path: &Path) -> (PathBuf, Vec<u8>) {
    let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
    (parent, path.file_name().unwrap_or(OsStr::new(".")).as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sources() {
        let name = |path: &str| base(Path::new(path)).map(|name| String::from_utf8(name).unwrap());
        for (path, wanted) in [
            ("/a/b", Some("b")),
            ("/a/b/", Some("b")),
            ("/a/b/.", None),
            (".", None),
            ("/", None),
            ("a", Some("a")),
        ] {
            assert_eq!(name(path).as_deref(), wanted, "{path}");
        }
        assert!(asserts_directory(Path::new("/a/")) && asserts_directory(Path::new("/a/.")));
        assert!(!asserts_directory(Path::new("/a/b")) && !asserts_directory(Path::new("/a/.b")));
    }

    #[test]
    fn destinations_follow_links_to_what_is_not_there_yet() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("d")).unwrap();
        std::fs::write(at("f"), "").unwrap();
        std::os::unix::fs::symlink("d/new", at("dangling")).unwrap();
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        let tree = Tree::of_host().unwrap();
        let find = |name: &str| tree.destination(&at(name)).map(|found| (found.existing, found.name));
        assert_eq!(find("d").unwrap(), (Some(true), vec![]));
        assert_eq!(find("f").unwrap(), (Some(false), b"f".to_vec()));
        assert_eq!(find("dangling").unwrap(), (None, b"new".to_vec()));
        assert_eq!(find("x").unwrap(), (None, b"x".to_vec()));
        assert!(find("x/y").is_err() && find("loop").is_err());
    }
}
