//! What is mounted below a tree of programs. An overlay of the tree does not see it: each such mount is
//! given one of its own, at its own place.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::scan;
use crate::error::{At, EngineError};

/// File systems that can be mounted with shifted ids.
const SHIFTABLE: [&str; 14] = [
    "bcachefs", "btrfs", "ceph", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "squashfs", "tmpfs",
    "vfat", "xfs", "zfs",
];

/// A mount that can be seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Submount {
    pub(super) path: PathBuf,
    pub(super) mode: u32,
    /// Its ids can be shifted, so it can be a layer that is written over.
    pub(super) shiftable: bool,
}

impl Submount {
    pub(super) fn is_dir(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::Directory
    }
}

/// The mounts below `tree` that "other" can see, and the paths of those that it cannot.
pub(super) fn below(tree: &Path) -> Result<(Vec<Submount>, Vec<PathBuf>), EngineError> {
    let table = "/proc/thread-self/mountinfo";
    let text = std::fs::read(table).at("read", table)?;
    let (mut open, mut closed) = (Vec::new(), Vec::new());
    for line in text.split(|&byte| byte == b'\n') {
        let Some(mount) = Line::parse(line).filter(|mount| mount.point.starts_with(tree)) else { continue };
        // Gone, or covered by a later mount; the tree itself is no mount below it.
        let Some((mode, _)) = scan::mount_of(&mount.point).filter(|(_, id)| *id == mount.id) else {
            continue;
        };
        let Ok(relative) = mount.point.strip_prefix(tree) else { continue };
        if relative.as_os_str().is_empty() {
            continue;
        }
        let way = |path: &&Path| *path != mount.point && path.starts_with(tree);
        let reached = mount
            .point
            .ancestors()
            .filter(way)
            .all(|path| scan::mount_of(path).is_some_and(|(mode, _)| scan::others_may_read(mode)));
        let kind = FileType::from_raw_mode(mode);
        let usable = matches!(kind, FileType::Directory | FileType::RegularFile);
        // An autofs point is a promise to mount something; keeping it is not for us to ask.
        if reached && usable && scan::others_may_read(mode) && mount.kind != "autofs" {
            let shiftable = SHIFTABLE.contains(&mount.kind.as_str());
            open.push(Submount { path: mount.point, mode, shiftable });
        } else {
            closed.push(relative.to_owned());
        }
    }
    closed.sort_by_key(|path| path.components().count());
    Ok((open, closed))
}

/// What a line of mountinfo says (proc_pid_mountinfo(5)).
#[derive(Debug, PartialEq, Eq)]
struct Line {
    id: u64,
    point: PathBuf,
    kind: String,
}

impl Line {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let point = PathBuf::from(plain(fields.nth(3)?));
        fields.find(|field| *field == b"-")?;
        let kind = String::from_utf8_lossy(fields.next()?).into_owned();
        Some(Self { id, point, kind })
    }
}

/// Blank, tab, newline and backslash are written as three octal digits.
fn plain(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.filter(|_| byte == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) => {
                bytes.push(code);
                rest = &after[3..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo() {
        let line = br"36 35 98:0 /mnt1 /usr/a\040b\134 rw,noatime master:1 shared:2 - ext3 /dev/root rw";
        let parsed = Line { id: 36, point: PathBuf::from(r"/usr/a b\"), kind: "ext3".to_owned() };
        assert_eq!(Line::parse(line), Some(parsed));
        for bad in [&b""[..], b"36 35 98:0 / /usr rw", b"x 35 98:0 / /usr rw - ext3 a b"] {
            assert_eq!(Line::parse(bad), None);
        }
    }

    #[test]
    fn the_mounts_of_this_machine() {
        let (open, closed) = below(Path::new("/proc")).unwrap();
        assert!(closed.iter().all(|path| path.is_relative()));
        assert!(open.iter().all(|mount| mount.path.starts_with("/proc") && mount.path != Path::new("/proc")));
    }
}
