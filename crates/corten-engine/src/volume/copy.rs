//! Copying a tree with everything that it has: owners, modes, times, extended attributes, hard links, nodes.
//!
//! The source is an image's and hostile: every step is made by descriptor and follows no link, and the depth
//! is bounded. The destination is a directory that only this process knows.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    fgetxattr, flistxattr, fsetxattr, fstat, linkat, mkdirat, mknodat, openat, readlinkat, statat, symlinkat,
    utimensat,
};
use rustix::io::Errno;

use crate::error::{At, EngineError};

/// Directories in directories; each holds two descriptors.
const MAX_DEPTH: usize = 200;
const MAX_XATTR_BYTES: usize = 64 << 10;
const LOOK: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Copies what is in `source` into the empty directory `copy`, and the attributes of `source` itself.
pub(super) fn copy_tree(source: &OwnedFd, copy: &OwnedFd, target: &str) -> Result<(), EngineError> {
    let mut copier = Copier { root: copy.as_fd(), links: HashMap::new(), path: target.into(), depth: 0 };
    copier.directory(source, copy, Path::new(""))?;
    copy_attributes(source, copy, Path::new(target))
}

struct Copier<'a> {
    root: BorrowedFd<'a>,
    /// Files with several names: the first of them, below the root.
    links: HashMap<(u64, u64), PathBuf>,
    /// For errors.
    path: PathBuf,
    depth: usize,
}

impl Copier<'_> {
    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, below: &Path) -> Result<(), EngineError> {
        let path = self.path.join(below);
        if self.depth > MAX_DEPTH {
            let what = format!("filling a volume from {}", path.display());
            return Err(EngineError::refused(what, format!("it is more than {MAX_DEPTH} directories deep")));
        }
        self.depth += 1;
        for entry in Dir::read_from(from).at("readdir", &path)? {
            let entry = entry.at("readdir", &path)?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                self.entry(from, to, name, below)?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn entry(&mut self, from: &OwnedFd, to: &OwnedFd, name: &CStr, below: &Path) -> Result<(), EngineError> {
        let relative = below.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let path = self.path.join(&relative);
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW).at("fstatat", &path)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                return linkat(self.root, first, to, name, AtFlags::empty()).at("linkat", &path);
            }
            self.links.insert((stat.st_dev, stat.st_ino), relative.clone());
        }
        match kind {
            FileType::Directory => {
                mkdirat(to, name, Mode::RWXU).at("mkdirat", &path)?;
                let flags = LOOK | OFlags::DIRECTORY;
                let inner = openat(from, name, flags, Mode::empty()).at("openat", &path)?;
                let copy = openat(to, name, flags, Mode::empty()).at("openat", &path)?;
                self.directory(&inner, &copy, &relative)?;
                return copy_attributes(&inner, &copy, &path);
            }
            FileType::RegularFile => {
                let inner = openat(from, name, LOOK | OFlags::NONBLOCK, Mode::empty()).at("openat", &path)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let copy = openat(to, name, flags, Mode::RUSR | Mode::WUSR).at("openat", &path)?;
                let (mut inner, mut copy) = (File::from(inner), File::from(copy));
                std::io::copy(&mut inner, &mut copy).at("copy_file_range", &path)?;
                return copy_attributes(&OwnedFd::from(inner), &OwnedFd::from(copy), &path);
            }
            FileType::Symlink => {
                let text = readlinkat(from, name, Vec::new()).at("readlinkat", &path)?;
                symlinkat(text, to, name).at("symlinkat", &path)?;
            }
            _ => mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev).at("mknodat", &path)?,
        }
        let (uid, gid) = owner(&stat);
        chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).at("fchownat", &path)?;
        if kind != FileType::Symlink {
            chmodat(to, name, mode(&stat), AtFlags::empty()).at("fchmodat", &path)?;
        }
        utimensat(to, name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW).at("utimensat", &path)
    }
}

fn owner(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

fn mode(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode & 0o7777)
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as i64 };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Owner, extended attributes, mode and times, in this order: a change of owner takes set-id bits and file
/// capabilities away.
pub(super) fn copy_attributes(from: &OwnedFd, to: &OwnedFd, path: &Path) -> Result<(), EngineError> {
    let stat = fstat(from).at("fstat", path)?;
    let (uid, gid) = owner(&stat);
    rustix::fs::fchown(to, Some(uid), Some(gid)).at("fchown", path)?;
    copy_xattrs(from, to, path)?;
    rustix::fs::fchmod(to, mode(&stat)).at("fchmod", path)?;
    rustix::fs::futimens(to, &times(&stat)).at("futimens", path)
}

fn copy_xattrs(from: &OwnedFd, to: &OwnedFd, path: &Path) -> Result<(), EngineError> {
    let mut names = vec![0u8; MAX_XATTR_BYTES];
    let length = match flistxattr(from, names.as_mut_slice()) {
        Err(Errno::NOTSUP) => return Ok(()),
        other => other.at("flistxattr", path)?,
    };
    let mut value = Vec::new();
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        // Overlay's own say nothing here, labels are the destination's, and measurements would not hold.
        let foreign: [&[u8]; 5] =
            [b"trusted.overlay.", b"user.overlay.", b"security.selinux", b"security.ima", b"security.evm"];
        if foreign.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        value.resize(MAX_XATTR_BYTES, 0);
        let length = fgetxattr(from, name, value.as_mut_slice()).at("fgetxattr", path)?;
        fsetxattr(to, name, &value[..length], XattrFlags::empty()).at("fsetxattr", path)?;
    }
    Ok(())
}

/// Bytes of all files below a directory, as far as they can be read.
pub(super) fn bytes_of(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut waiting = vec![path.to_owned()];
    let mut bytes = 0;
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            // Not followed.
            let Ok(stat) = entry.metadata() else { continue };
            if stat.is_dir() {
                waiting.push(entry.path());
            } else {
                bytes += stat.size() / stat.nlink().max(1);
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, LOOK | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    #[test]
    fn a_copy_has_what_the_original_has() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("sub")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("sub/file"), "text").unwrap();
        std::fs::hard_link(from.join("sub/file"), from.join("again")).unwrap();
        std::fs::set_permissions(from.join("again"), PermissionsExt::from_mode(0o4711)).unwrap();
        symlink("/etc/passwd", from.join("link")).unwrap();
        std::fs::set_permissions(from.join("sub"), PermissionsExt::from_mode(0o1777)).unwrap();
        copy_tree(&open(&from), &open(&to), "/t").unwrap();
        let stat = std::fs::metadata(to.join("again")).unwrap();
        assert_eq!((stat.mode() & 0o7777, stat.nlink(), stat.size()), (0o4711, 2, 4));
        assert_eq!(stat.ino(), std::fs::metadata(to.join("sub/file")).unwrap().ino());
        assert_eq!(std::fs::read_link(to.join("link")).unwrap(), Path::new("/etc/passwd"));
        assert_eq!(std::fs::metadata(to.join("sub")).unwrap().mode() & 0o7777, 0o1777);
        let times = |path: &Path| std::fs::metadata(path).unwrap().mtime_nsec();
        assert_eq!(times(&from.join("sub")), times(&to.join("sub")));
        assert_eq!(bytes_of(&to), 4 + 11);
    }

    #[test]
    fn what_is_too_deep_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let mut deep = from.clone();
        (0..MAX_DEPTH + 2).for_each(|_| deep.push("d"));
        std::fs::create_dir_all(deep).unwrap();
        std::fs::create_dir(&to).unwrap();
        let refused = copy_tree(&open(&from), &open(&to), "/t").unwrap_err().to_string();
        assert!(refused.contains("directories deep"), "{refused}");
    }
}
