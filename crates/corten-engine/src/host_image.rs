//! The image `host`: the machine's own programs, read-only under layers that are thrown away.
//!
//! By allow-list. Each tree of programs becomes an overlay of its own: the machine's directory below, a
//! layer that hides what "other" may not read above it, the container's writable layer on top. /etc is not
//! the machine's: a few files and directories that programs need are copied, as far as anybody may read
//! them. The check is made at each start, since a mode can change without a trace in its directory.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use corten_runtime::spec::{Mount, MountSource, Overlay};
use rustix::fs::{CWD, FileType, Mode};

use crate::dirs::make_private;
use crate::error::{At, EngineError};

/// Trees of programs; a link (merged /usr) stays a link.
const TREES: [&str; 10] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/var/lib/dpkg",
    "/var/lib/rpm",
    "/var/lib/apt",
];
/// What of /etc programs need.
const ETC: [&str; 36] = [
    "alternatives",
    "apt",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "debian_version",
    "default",
    "deluser.conf",
    "adduser.conf",
    "dpkg",
    "environment",
    "gai.conf",
    "group",
    "host.conf",
    "inputrc",
    "issue",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "login.defs",
    "machine-info",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "perl",
    "pki",
    "profile",
    "protocols",
    "python3",
    "services",
    "shells",
    "skel",
    "ssl",
];
/// Directories that every system has.
const EMPTY: [(&str, u32); 14] = [
    ("dev", 0o755),
    ("home", 0o755),
    ("media", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var/tmp", 0o1777),
    ("var/log", 0o755),
    ("var/cache/apt/archives/partial", 0o755),
];
/// No single file of /etc that is copied is larger.
const MAX_ETC_FILE: u64 = 8 << 20;

/// The root's lower layer and the mounts over it.
pub(crate) struct HostImage {
    pub(crate) skeleton: PathBuf,
    pub(crate) mounts: Vec<Mount>,
}

/// Prepares it in the container's own directory, with which it goes.
pub(crate) fn prepare(container: &Path) -> Result<HostImage, EngineError> {
    let skeleton = container.join("host/root");
    for (dir, mode) in EMPTY {
        let path = skeleton.join(dir);
        fs::create_dir_all(&path).at("mkdir", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).at("chmod", &path)?;
    }
    copy_etc(&skeleton.join("etc"))?;
    let mut mounts = Vec::new();
    for tree in TREES {
        let Ok(stat) = fs::symlink_metadata(tree) else { continue };
        let place = skeleton.join(&tree[1..]);
        if stat.is_symlink() {
            let to = fs::read_link(tree).at("readlink", tree)?;
            symlink(&to, &place).at("symlink", &place)?;
            continue;
        }
        if !stat.is_dir() {
            continue;
        }
        fs::create_dir_all(&place).at("mkdir", &place)?;
        let own = container.join("host").join(tree[1..].replace('/', "-"));
        for dir in ["upper", "work", "hidden"] {
            make_private(&own.join(dir))?;
        }
        // The upper directory's mode is that of the mount's root.
        let upper = own.join("upper");
        fs::set_permissions(&upper, fs::Permissions::from_mode(stat.mode() & 0o7777)).at("chmod", &upper)?;
        let hidden = own.join("hidden");
        let any = hide_unreadable(Path::new(tree), &hidden)?;
        let mut lowers = Vec::new();
        if any {
            lowers.push(hidden);
        }
        lowers.push(PathBuf::from(tree));
        let overlay =
            Overlay { lowers, writable: Some(own), volatile: true, idmap: true, ..Overlay::default() };
        mounts.push(Mount {
            target: tree.to_owned(),
            source: MountSource::Overlay(overlay),
            attributes: 0,
            recursive_attributes: false,
            propagation: 0,
        });
    }
    mounts.sort_by_key(|mount| mount.target.matches('/').count());
    Ok(HostImage { skeleton, mounts })
}

fn others_may_read(stat: &fs::Metadata) -> bool {
    let need = if stat.is_dir() { 0o005 } else { 0o004 };
    stat.mode() & need == need
}

/// Makes a whiteout in `hidden` for all below `tree` that "other" may not read; whether there was any.
fn hide_unreadable(tree: &Path, hidden: &Path) -> Result<bool, EngineError> {
    let mut pending = vec![PathBuf::new()];
    let mut any = false;
    while let Some(relative) = pending.pop() {
        let dir = tree.join(&relative);
        for entry in fs::read_dir(&dir).at("opendir", &dir)? {
            let entry = entry.at("readdir", &dir)?;
            // What vanishes meanwhile needs no hiding.
            let Ok(stat) = entry.metadata() else { continue };
            if stat.is_symlink() {
                continue;
            }
            let path = relative.join(entry.file_name());
            if !others_may_read(&stat) {
                whiteout(tree, hidden, &path)?;
                any = true;
            } else if stat.is_dir() {
                pending.push(path);
            }
        }
    }
    Ok(any)
}

/// A whiteout of overlayfs: a character device 0:0. The directories above it look as they do below.
fn whiteout(tree: &Path, hidden: &Path, path: &Path) -> Result<(), EngineError> {
    if let Some(parent) = path.parent() {
        let mut relative = PathBuf::new();
        for part in parent {
            relative.push(part);
            let place = hidden.join(&relative);
            if !place.exists() {
                let like = fs::metadata(tree.join(&relative)).at("stat", tree.join(&relative))?;
                fs::create_dir(&place).at("mkdir", &place)?;
                std::os::unix::fs::chown(&place, Some(like.uid()), Some(like.gid())).at("chown", &place)?;
                fs::set_permissions(&place, fs::Permissions::from_mode(like.mode() & 0o7777))
                    .at("chmod", &place)?;
            }
        }
        if relative.as_os_str().is_empty() {
            let like = fs::metadata(tree).at("stat", tree)?;
            fs::set_permissions(hidden, fs::Permissions::from_mode(like.mode() & 0o7777))
                .at("chmod", hidden)?;
        }
    }
    let place = hidden.join(path);
    rustix::fs::mknodat(CWD, &place, FileType::CharacterDevice, Mode::empty(), 0).at("mknod", &place)
}

fn copy_etc(to: &Path) -> Result<(), EngineError> {
    fs::create_dir_all(to).at("mkdir", to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).at("chmod", to)?;
    for name in ETC {
        copy(&Path::new("/etc").join(name), &to.join(name))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), EngineError> {
    let Ok(stat) = fs::symlink_metadata(from) else { return Ok(()) };
    if stat.is_symlink() {
        let link = fs::read_link(from).at("readlink", from)?;
        return symlink(link, to).at("symlink", to);
    }
    if !others_may_read(&stat) {
        return Ok(());
    }
    if stat.is_dir() {
        fs::create_dir(to).at("mkdir", to)?;
        for entry in fs::read_dir(from).at("opendir", from)? {
            let entry = entry.at("readdir", from)?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if stat.is_file() && stat.size() <= MAX_ETC_FILE {
        fs::copy(from, to).at("copy", from)?;
    } else {
        return Ok(());
    }
    fs::set_permissions(to, fs::Permissions::from_mode(stat.mode() & 0o7777)).at("chmod", to)
}
