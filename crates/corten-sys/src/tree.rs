//! Removal of directory trees whose content somebody else made.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, openat, renameat, unlinkat};
use rustix::io::Errno;

/// How many directories are open at once at most. What lies deeper is moved up first.
const MAX_DEPTH: usize = 32;

/// Removes a file or a directory with all that is below it; one that is missing is no error. Links are
/// removed and never followed, mounts are not entered, and no depth of nesting exhausts the stack or the
/// descriptors. Allocates.
///
/// # Errors
/// What openat(2), getdents(2), unlinkat(2) say; what could be removed is gone then.
pub fn remove(path: &Path) -> Result<(), Errno> {
    remove_at(CWD, path)
}

/// As [`remove`], of `name` in the directory `at`.
///
/// # Errors
/// As [`remove`].
pub fn remove_at(at: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Result<(), Errno> {
    name.into_with_c_str(|name| match gone(unlinkat(at, name, AtFlags::REMOVEDIR)) {
        Err(Errno::NOTDIR) => gone(unlinkat(at, name, AtFlags::empty())),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {
            let mut walk = Walk { buffer: Vec::with_capacity(16 << 10), moved: 0 };
            walk.directory(at, name, 0, None)
        }
        other => other,
    })
}

/// A missing file is as good as one that was removed.
fn gone(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

struct Walk {
    buffer: Vec<u8>,
    /// How many directories were moved up into the one that is being removed.
    moved: u64,
}

impl Walk {
    /// Empties and removes a directory that is not empty. `top` is the one where all began.
    fn directory(
        &mut self,
        at: BorrowedFd<'_>,
        name: &CStr,
        depth: usize,
        top: Option<BorrowedFd<'_>>,
    ) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match openat(at, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(()),
            other => other?,
        };
        loop {
            for (name, directory) in self.entries(&dir)? {
                self.entry(&dir, &name, directory, depth, top.unwrap_or(dir.as_fd()))?;
            }
            match gone(unlinkat(at, name, AtFlags::REMOVEDIR)) {
                // What was moved up, or came meanwhile: once more, as long as something goes.
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    rustix::fs::seek(&dir, rustix::fs::SeekFrom::Start(0))?
                }
                other => return other,
            };
        }
    }

    /// Some of the directory's entries, and whether each is a directory; none only if there are none.
    fn entries(&mut self, dir: &OwnedFd) -> Result<Vec<(CString, bool)>, Errno> {
        let mut names = Vec::new();
        let mut entries = RawDir::new(dir, self.buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                let directory = entry.file_type() == rustix::fs::FileType::Directory;
                names.push((entry.file_name().to_owned(), directory));
            }
            // One reading is enough: the rmdir that follows tells whether there is more.
            if entries.is_buffer_empty() && !names.is_empty() {
                break;
            }
        }
        Ok(names)
    }

    fn entry(
        &mut self,
        dir: &OwnedFd,
        name: &CStr,
        directory: bool,
        depth: usize,
        top: BorrowedFd<'_>,
    ) -> Result<(), Errno> {
        if !directory {
            match gone(unlinkat(dir, name, AtFlags::empty())) {
                // A file system that does not tell kinds, or a change meanwhile.
                Err(Errno::ISDIR) => {}
                other => return other,
            }
        }
        match gone(unlinkat(dir, name, AtFlags::REMOVEDIR)) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            other => return other,
        }
        if depth + 1 < MAX_DEPTH {
            return self.directory(dir.as_fd(), name, depth + 1, Some(top));
        }
        self.moved += 1;
        let up = format!(".corten-moved-{}", self.moved);
        match gone(renameat(dir, name, top, up.as_str())) {
            // Somebody's file has that name: the next number.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => self.entry(dir, name, true, depth, top),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_trees_go_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("file"), "x").unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b/c")).unwrap();
        for number in 0..3000 {
            std::fs::write(tree.join(format!("a/b/{number}")), "").unwrap();
        }
        std::os::unix::fs::symlink(&kept, tree.join("a/link")).unwrap();
        remove(&tree).unwrap();
        assert!(!tree.exists() && kept.join("file").exists());
        remove(&tree).unwrap();
        std::os::unix::fs::symlink(&kept, &tree).unwrap();
        remove(&tree).unwrap();
        assert!(tree.symlink_metadata().is_err() && kept.join("file").exists());
        assert_eq!(remove(&kept.join("file/below")), Err(Errno::NOTDIR));
    }

    #[test]
    fn a_tree_deeper_than_descriptors_and_paths_go_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut at = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        for name in std::iter::once("tree").chain(std::iter::repeat_n("deep", 5000)) {
            rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o700)).unwrap();
            rustix::fs::mkdirat(&at, "beside", Mode::from_raw_mode(0o700)).unwrap();
            at = openat(&at, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        }
        remove(&dir.path().join("tree")).unwrap();
        assert!(!dir.path().join("tree").exists());
    }
}
