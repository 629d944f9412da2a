//! `diff`: what a container's own layer adds to, changes in and takes from those below it.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use super::read::{all_xattrs, names, time};
use super::visit::layers;
use crate::container;
use crate::dirs::Dirs;
use crate::error::{At, EngineError};

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// How.
    pub kind: ChangeKind,
    /// In the container, from its root.
    pub path: PathBuf,
}

/// How a path differs from the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// The image has none.
    Added,
    /// The image has another, or it is a directory in which something differs.
    Changed,
    /// Only the image has it.
    Deleted,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const MAX_DEPTH: usize = 120;

/// In the order of the paths. An ordinary user has entered its user namespace.
///
/// # Errors
/// What a call says.
pub fn diff(dirs: &Dirs, name: &str) -> Result<Vec<Change>, EngineError> {
    let container = container::find(dirs, name)?;
    let record = &container.record;
    refuse_host(record)?;
    let upper = dirs.container(&record.id).join("upper");
    let own = rustix::fs::open(&upper, DIRECTORY, Mode::empty()).at("open", &upper)?;
    let mut lowers = Vec::new();
    for layer in layers(dirs, record)? {
        lowers.push(rustix::fs::open(&layer, DIRECTORY, Mode::empty()).at("open", &layer)?);
    }
    let mut found = Vec::new();
    compare(&own, &lowers, Path::new("/"), 0, &mut found)?;
    found.sort_by(|one, other| one.path.as_os_str().as_bytes().cmp(other.path.as_os_str().as_bytes()));
    Ok(found)
}

pub(super) fn refuse_host(record: &crate::record::Record) -> Result<(), EngineError> {
    if record.config.image == "host" {
        let what = format!("the changes of container {}", record.name);
        return Err(EngineError::refused(
            what,
            "those of the image host are thrown away: it has no layer of its own",
        ));
    }
    Ok(())
}

/// Whether anything was found.
fn compare(
    own: &OwnedFd,
    lowers: &[OwnedFd],
    path: &Path,
    depth: usize,
    found: &mut Vec<Change>,
) -> Result<bool, EngineError> {
    if depth > MAX_DEPTH {
        let what = format!("comparing {}", path.display());
        return Err(EngineError::refused(what, format!("it is more than {MAX_DEPTH} directories deep")));
    }
    let before = found.len();
    let opaque = marks(own, path)?;
    let mine = names(own, path)?;
    for name in &mine {
        let path = path.join(OsStr::from_bytes(name.as_bytes()));
        let stat = match statat(own, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            other => other.at("fstatat", &path)?,
        };
        let below = lookup(lowers, name, &path)?;
        if is_whiteout(&stat) {
            if below.is_some() {
                found.push(Change { kind: ChangeKind::Deleted, path });
            }
            continue;
        }
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let Some(below) = below else {
            found.push(Change { kind: ChangeKind::Added, path: path.clone() });
            if is_dir {
                let inner = openat(own, name.as_c_str(), DIRECTORY, Mode::empty()).at("openat", &path)?;
                compare(&inner, &[], &path, depth + 1, found)?;
            }
            continue;
        };
        let changed = Change { kind: ChangeKind::Changed, path: path.clone() };
        if !is_dir {
            found.push(changed);
            continue;
        }
        let inner = openat(own, name.as_c_str(), DIRECTORY, Mode::empty()).at("openat", &path)?;
        let any = compare(&inner, &below.directories, &path, depth + 1, found)?;
        let looks = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, time(stat));
        if any || looks(&stat) != looks(&below.stat) {
            found.push(changed);
        }
    }
    if opaque {
        for name in merged_names(lowers, path)? {
            if !mine.contains(&name) {
                let path = path.join(OsStr::from_bytes(name.as_bytes()));
                found.push(Change { kind: ChangeKind::Deleted, path });
            }
        }
    }
    Ok(found.len() > before)
}

/// What the layers below show at a name.
struct Below {
    stat: Stat,
    /// If it is a directory, that of each layer which shows through.
    directories: Vec<OwnedFd>,
}

fn lookup(lowers: &[OwnedFd], name: &CString, path: &Path) -> Result<Option<Below>, EngineError> {
    let mut below: Option<Below> = None;
    for lower in lowers {
        let stat = match statat(lower, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            other => other.at("fstatat", path)?,
        };
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_whiteout(&stat) || (below.is_some() && !is_dir) {
            break;
        }
        let below = below.get_or_insert(Below { stat, directories: Vec::new() });
        if !is_dir {
            break;
        }
        let dir = openat(lower, name.as_c_str(), DIRECTORY, Mode::empty()).at("openat", path)?;
        let opaque = marks(&dir, path)?;
        below.directories.push(dir);
        if opaque {
            break;
        }
    }
    Ok(below)
}

fn merged_names(lowers: &[OwnedFd], path: &Path) -> Result<Vec<CString>, EngineError> {
    let mut all = std::collections::BTreeSet::new();
    for lower in lowers {
        all.extend(names(lower, path)?);
    }
    let mut shown = Vec::new();
    for name in all {
        if lookup(lowers, &name, path)?.is_some() {
            shown.push(name);
        }
    }
    Ok(shown)
}

pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Whether overlay hides what lies below a directory. A mark that says more than that, which only kernels
/// make that were told to (`redirect_dir`), is refused: what it stands for is elsewhere.
pub(super) fn marks(dir: &OwnedFd, path: &Path) -> Result<bool, EngineError> {
    let overlay = |name: &[u8]| name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    let mut opaque = false;
    for (name, value) in all_xattrs(dir.as_fd(), path, overlay)? {
        match name.rsplit(|byte| *byte == b'.').next() {
            Some(b"opaque") => opaque |= value == b"y",
            Some(which @ (b"redirect" | b"metacopy")) => {
                let which = String::from_utf8_lossy(which).into_owned();
                return Err(EngineError::refused(
                    format!("{} in the container's layer", path.display()),
                    format!(
                        "overlay keeps its content elsewhere ({which}): this machine's \
                         /sys/module/overlay/parameters has redirect_dir or metacopy on"
                    ),
                ));
            }
            _ => {}
        }
    }
    Ok(opaque)
}
