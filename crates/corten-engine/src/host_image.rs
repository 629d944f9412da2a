//! The image `host`: the machine's own programs, read-only under layers that are thrown away.
//!
//! By allow-list. Each tree of programs, and each mount below one, becomes two overlays:
//!
//! ```text
//!   upper                the container's, in memory: what it writes and deletes
//!   ── screen ─────────  an overlay of the two below, mounted as a stranger: the kernel refuses everybody
//!   hidden               what "other" may not read; whiteouts for it
//!   /usr                 the machine's, ids shifted
//! ```
//!
//! The screen is what keeps secrets: it holds whatever the scan missed or a later chmod made private. The
//! scan (`scan.rs`) is what takes private things out of sight. What was tried instead: lowers without the
//! host's root in their map, so that "other" rules by itself: such ids cannot be written, so nothing can be
//! made in a directory of theirs or copied up. One overlay mounted as a stranger: its upper layer would be
//! the stranger's too. Scanning alone: a second at each start, and blind afterwards.
//!
//! A machine whose own /usr is an overlay has no room for a second one above it (the kernel stacks two):
//! there only the scan stands, at each start and in full. /etc is not the machine's: a few files and
//! directories that programs need are copied, as far as anybody may read them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use corten_runtime::spec::{Bind, BindIds, Mount, MountSource, Overlay, Writable};

use crate::dirs::make_private;
use crate::error::{At, EngineError};

mod scan;
mod submounts;

/// Trees of programs; a link (merged /usr) stays a link. Of /etc those whose copy would be hundreds of files.
const TREES: [&str; 13] = [
    "/etc/alternatives",
    "/etc/pki",
    "/etc/ssl",
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
const ETC: [&str; 33] = [
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
    "profile",
    "protocols",
    "python3",
    "services",
    "shells",
    "skel",
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
///
/// An ordinary user owns what is made here, and sees what the machine's root owns as nobody's.
pub(crate) fn prepare(container: &Path, rootless: bool) -> Result<HostImage, EngineError> {
    let skeleton = container.join("host/root");
    for (dir, mode) in EMPTY {
        let path = skeleton.join(dir);
        fs::create_dir_all(&path).at("mkdir", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).at("chmod", &path)?;
    }
    copy_etc(&skeleton.join("etc"))?;
    let mut mounts = Vec::new();
    let mut layers = Layers { container, count: 0, rootless };
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
        let (below, closed) = submounts::below(Path::new(tree))?;
        mounts.push(layers.over(Path::new(tree), stat.mode(), &closed)?);
        for submount in below {
            mounts.push(layers.submount(&submount)?);
        }
    }
    mounts.sort_by_key(|mount| mount.target.matches('/').count());
    Ok(HostImage { skeleton, mounts })
}

/// Where the layers of the trees are made, numbered.
struct Layers<'a> {
    container: &'a Path,
    count: usize,
    /// Nothing is shifted, and the machine's files are nobody's: whiteouts alone hide, made at each start.
    rootless: bool,
}

impl Layers<'_> {
    fn next(&mut self) -> PathBuf {
        self.count += 1;
        self.container.join("host").join(self.count.to_string())
    }

    /// A tree that can be written over. `closed` is hidden besides what "other" may not read.
    fn over(&mut self, tree: &Path, mode: u32, closed: &[PathBuf]) -> Result<Mount, EngineError> {
        let own = self.next();
        let mode = mode & 0o7777;
        make_private(&own.join("hidden"))?;
        let writable = if self.rootless {
            for dir in ["upper", "work"] {
                make_private(&own.join(dir))?;
            }
            // The upper directory's mode is that of the mount's root.
            let upper = own.join("upper");
            fs::set_permissions(&upper, fs::Permissions::from_mode(mode)).at("chmod", &upper)?;
            Writable::Directory(own.clone())
        } else {
            Writable::Memory { mode }
        };
        let screened = !self.rootless && has_room(tree)?;
        let memory = self.container.parent().and_then(Path::parent).map(|root| {
            // One file a tree; its name is the tree's path.
            let name: String = tree.to_string_lossy().replace('%', "%25").replace('/', "%2f");
            root.join("host-image").join(name)
        });
        let mut private = scan::private_paths(tree, memory.as_deref().filter(|_| screened))?;
        private.extend_from_slice(closed);
        let hidden = own.join("hidden");
        scan::hide(tree, &hidden, &private, self.rootless)?;
        let lowers = vec![hidden, tree.to_owned()];
        let overlay = Overlay {
            lowers,
            writable: Some(writable),
            volatile: true,
            idmap: true,
            screened,
            ..Overlay::default()
        };
        Ok(mount(tree, MountSource::Overlay(overlay), 0))
    }

    fn submount(&mut self, submount: &submounts::Submount) -> Result<Mount, EngineError> {
        const RDONLY: u64 = corten_sys::mount::attr::RDONLY;
        if !submount.is_dir() {
            let source = submount.path.clone();
            // To whom the file is nobody's, its mode rules for "other", whatever it becomes.
            let bind = Bind { source, subpath: None, recursive: false, ids: BindIds::Host };
            return Ok(mount(&submount.path, MountSource::Bind(bind), RDONLY));
        }
        if submount.shiftable || self.rootless {
            return self.over(&submount.path, submount.mode, &[]);
        }
        // Nobody's files cannot be written over: only the screen, which reads any file system.
        let hidden = self.next();
        make_private(&hidden)?;
        scan::hide(&submount.path, &hidden, &[], false)?;
        let lowers = vec![hidden, submount.path.clone()];
        let overlay = Overlay { lowers, screened: true, ..Overlay::default() };
        Ok(mount(&submount.path, MountSource::Overlay(overlay), RDONLY))
    }
}

fn mount(target: &Path, source: MountSource, attributes: u64) -> Mount {
    let target = target.to_string_lossy().into_owned();
    Mount { target, source, attributes, recursive_attributes: false, propagation: 0 }
}

/// Whether two more overlays can stand on a tree.
fn has_room(tree: &Path) -> Result<bool, EngineError> {
    const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;
    let kind = rustix::fs::statfs(tree).at("statfs", tree)?.f_type;
    Ok(kind != OVERLAYFS_SUPER_MAGIC)
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
    if !scan::others_may_read(stat.mode()) {
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
