//! The parent's mounts: each is made as a descriptor of a detached mount that exists nowhere else.

use std::cell::RefCell;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use corten_sys::CallError;
use corten_sys::error::Context;
use corten_sys::mount::{Change, attr, fsconfig_set_fd, mount_setattr};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, open_tree,
};

use super::stranger::as_stranger;
use super::workshop::Workshop;
use crate::plan::{DevOp, NodeOp, OverlayOp};
use crate::spec::{Bind, BindIds, IdMaps, Writable};

type Made = Result<OwnedFd, CallError>;

/// `MS_PRIVATE`, as mount_setattr(2) takes it.
pub(crate) const PRIVATE: u64 = 1 << 18;

/// What every mount needs to know of the container.
pub(crate) struct Maker<'a> {
    /// Its user namespace, if it has one of its own.
    pub(crate) userns: Option<BorrowedFd<'a>>,
    /// Its maps.
    pub(crate) maps: Option<&'a IdMaps>,
    /// Where a workshop can be put up.
    pub(crate) run_dir: &'a Path,
    /// Where descriptors go that are not needed any more.
    pub(crate) pool: &'a corten_sys::fd::Pool,
    /// Where a shift of ids was refused.
    pub(crate) unshiftable: RefCell<Option<PathBuf>>,
}

fn clone_flags(recursive: bool) -> OpenTreeFlags {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    flags
}

fn tree(path: &CStr) -> Made {
    open_tree(CWD, path, clone_flags(false)).call(|| format!("open_tree({path:?}, OPEN_TREE_CLONE)"))
}

fn attributes(bits: u64) -> MountAttrFlags {
    MountAttrFlags::from_bits_retain(bits as u32)
}

impl Maker<'_> {
    fn idmapped(&self, path: &CStr, idmap: bool) -> Made {
        if !idmap {
            // With all below it: who may not see what a mount hides cannot leave the mount out.
            return open_tree(CWD, path, clone_flags(true))
                .call(|| format!("open_tree({path:?}, OPEN_TREE_CLONE|AT_RECURSIVE)"));
        }
        let tree = tree(path)?;
        if let Some(userns) = self.userns {
            self.shift(&tree, userns, Path::new(OsStr::from_bytes(path.to_bytes())))?;
        }
        Ok(tree)
    }

    /// Shifts the ids of one mount.
    fn shift(&self, tree: &OwnedFd, userns: BorrowedFd<'_>, path: &Path) -> Result<(), CallError> {
        mount_setattr(tree.as_fd(), Change { userns: Some(userns), ..Change::default() })
            .call(|| format!("mount_setattr({path:?}, MOUNT_ATTR_IDMAP)"))
            .inspect_err(|_| drop(self.unshiftable.replace(Some(path.to_owned()))))
    }

    /// An overlay, and whether its layers had to be attached first.
    pub(crate) fn overlay(&self, overlay: &OverlayOp, bits: u64) -> Result<(OwnedFd, bool), CallError> {
        if let (true, [only]) = (overlay.writable.is_none(), overlay.lowers.as_slice()) {
            // Overlay wants two layers where none is written to; one alone is what it would show.
            let tree = self.idmapped(only, overlay.idmap)?;
            let change = Change { set: bits, propagation: PRIVATE, ..Change::default() };
            mount_setattr(tree.as_fd(), change).call(|| format!("mount_setattr({only:?}, {bits:#x})"))?;
            return Ok((tree, false));
        }
        let lowers = overlay
            .lowers
            .iter()
            .map(|path| self.idmapped(path, overlay.idmap))
            .collect::<Result<Vec<_>, _>>()?;
        let own = overlay.writable.as_ref().map(|own| self.own_layer(own, overlay.idmap)).transpose()?;
        if !overlay.screened {
            return self.put_together(overlay, lowers, own, bits, false);
        }
        let (screen, by_path) = self.put_together(overlay, lowers, None, bits, true)?;
        match own {
            None => Ok((screen, by_path)),
            Some(own) => self.put_together(overlay, vec![screen], Some(own), bits, false),
        }
    }

    /// What holds `upper` and `work`. Memory needs no shifting: who makes it is the container's root already.
    fn own_layer(&self, own: &Writable<std::ffi::CString>, idmap: bool) -> Made {
        match own {
            Writable::Directory(path) => self.idmapped(path, idmap),
            Writable::Memory { mode } => {
                let tree = self.memory(&[(c"mode", "700".to_owned())], 0)?;
                for (name, mode) in [(c"upper", *mode), (c"work", 0o700)] {
                    rustix::fs::mkdirat(&tree, name, Mode::from_raw_mode(mode))
                        .call(|| format!("mkdirat(a layer in memory, {name:?})"))?;
                }
                // Whatever the umask of a step's process is.
                rustix::fs::chmodat(&tree, c"upper", Mode::from_raw_mode(*mode), AtFlags::empty())
                    .call(|| format!("fchmodat(a layer in memory, \"upper\", {mode:o})"))?;
                Ok(tree)
            }
        }
    }

    fn put_together(
        &self,
        overlay: &OverlayOp,
        lowers: Vec<OwnedFd>,
        own: Option<OwnedFd>,
        bits: u64,
        stranger: bool,
    ) -> Result<(OwnedFd, bool), CallError> {
        let made = match self.overlay_by_descriptor(overlay, &lowers, own.as_ref(), bits, stranger) {
            // Detached mounts as layers came with 6.15, layers by descriptor with 6.13: before, EINVAL, and
            // before that EOPNOTSUPP.
            Err(error) if matches!(error.errno, Errno::INVAL | Errno::OPNOTSUPP) => {
                self.overlay_by_path(overlay, &lowers, own.as_ref(), bits, stranger).map(|fd| (fd, true))
            }
            made => made.map(|fd| (fd, false)),
        };
        lowers.into_iter().chain(own).for_each(|fd| self.pool.give(fd));
        made
    }

    fn overlay_by_descriptor(
        &self,
        overlay: &OverlayOp,
        lowers: &[OwnedFd],
        own: Option<&OwnedFd>,
        bits: u64,
        stranger: bool,
    ) -> Made {
        let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).call(|| {
            let whose = if overlay.userxattr { " in a user namespace, which Linux 5.11 allows" } else { "" };
            format!("fsopen(\"overlay\"){whose}")
        })?;
        let set = |key: &CStr, fd: BorrowedFd<'_>| {
            fsconfig_set_fd(fs.as_fd(), key, fd)
                .call(|| format!("fsconfig(overlay, FSCONFIG_SET_FD, {key:?})"))
        };
        fsconfig_set_string(fs.as_fd(), c"source", c"overlay").call(|| "fsconfig(overlay, \"source\")")?;
        for lower in lowers {
            set(c"lowerdir+", lower.as_fd())?;
        }
        if let Some(own) = own {
            for (key, name) in [(c"upperdir", c"upper"), (c"workdir", c"work")] {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let dir = rustix::fs::openat(own, name, flags, Mode::empty())
                    .call(|| format!("openat({:?}, {name:?})", overlay.writable))?;
                set(key, dir.as_fd())?;
                self.pool.give(dir);
            }
        }
        for flag in flags_of(overlay, own.is_some()) {
            fsconfig_set_flag(fs.as_fd(), flag).call(|| format!("fsconfig(overlay, {flag:?})"))?;
        }
        let create = || {
            fsconfig_create(fs.as_fd())
                .call(|| format!("fsconfig(overlay of {:?}, FSCONFIG_CMD_CREATE)", overlay.lowers))
        };
        if stranger { as_stranger(create) } else { create() }?;
        let made = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes(bits))
            .call(|| "fsmount(overlay)")?;
        self.pool.give(fs);
        Ok(made)
    }

    fn overlay_by_path(
        &self,
        overlay: &OverlayOp,
        lowers: &[OwnedFd],
        own: Option<&OwnedFd>,
        bits: u64,
        stranger: bool,
    ) -> Made {
        let mut workshop = Workshop::enter(self.run_dir)?;
        let mut options = String::from("lowerdir=");
        for (index, lower) in lowers.iter().enumerate() {
            let name = workshop.attach(lower.as_fd(), true)?;
            let separator = if index == 0 { "" } else { ":" };
            options += &format!("{separator}{}", name.to_string_lossy());
        }
        if let Some(own) = own {
            let name = workshop.attach(own.as_fd(), true)?;
            let name = name.to_string_lossy();
            options += &format!(",upperdir={name}/upper,workdir={name}/work");
        }
        for flag in flags_of(overlay, own.is_some()) {
            options += &format!(",{}", flag.to_string_lossy());
        }
        let place = workshop.place(true)?;
        let options = std::ffi::CString::new(options).unwrap_or_default();
        let mount = || {
            corten_sys::mount::mount(c"overlay", &place, Some(c"overlay"), 0, Some(&options))
                .call(|| format!("mount(overlay of {:?}, {options:?})", overlay.lowers))
        };
        if stranger { as_stranger(mount) } else { mount() }?;
        let made = workshop.take(&place, false)?;
        if bits != 0 {
            mount_setattr(made.as_fd(), Change { set: bits, ..Change::default() })
                .call(|| "mount_setattr(overlay)")?;
        }
        Ok(made)
    }

    /// A tmpfs whose root belongs to whoever the caller is for file systems at the moment.
    pub(crate) fn memory(&self, options: &[(&CStr, String)], bits: u64) -> Made {
        let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).call(|| "fsopen(\"tmpfs\")")?;
        fsconfig_set_string(fs.as_fd(), c"source", c"tmpfs").call(|| "fsconfig(tmpfs, \"source\")")?;
        for (key, value) in options {
            fsconfig_set_string(fs.as_fd(), *key, value.as_str())
                .call(|| format!("fsconfig(tmpfs, {key:?}, {value:?})"))?;
        }
        fsconfig_create(fs.as_fd()).call(|| "fsconfig(tmpfs, FSCONFIG_CMD_CREATE)")?;
        let made =
            fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes(bits)).call(|| "fsmount(tmpfs)")?;
        self.pool.give(fs);
        Ok(made)
    }

    /// /dev.
    pub(crate) fn dev(&self, dev: &DevOp) -> Made {
        let options = [(c"mode", "755".to_owned()), (c"size", "65536k".to_owned())];
        let tree = self.memory(&options, attr::NOSUID | attr::NOEXEC | attr::STRICTATIME)?;
        for (path, mode) in &dev.directories {
            rustix::fs::mkdirat(&tree, path.as_c_str(), Mode::from_raw_mode(*mode))
                .call(|| format!("mkdirat(dev, {path:?})"))?;
        }
        for node in &dev.nodes {
            self.node(&tree, node)?;
        }
        for (name, to) in &dev.links {
            rustix::fs::symlinkat(to.as_c_str(), &tree, name.as_c_str())
                .call(|| format!("symlinkat({to:?}, dev, {name:?})"))?;
        }
        for name in &dev.files {
            rustix::fs::mknodat(&tree, name.as_c_str(), FileType::RegularFile, Mode::from_raw_mode(0o600), 0)
                .call(|| format!("mknodat(dev, {name:?})"))?;
        }
        Ok(tree)
    }

    fn node(&self, dev: &OwnedFd, node: &NodeOp) -> Result<(), CallError> {
        let kind = FileType::from_raw_mode(node.mode);
        let mode = Mode::from_raw_mode(node.mode & 0o7777);
        rustix::fs::mknodat(dev, node.path.as_c_str(), kind, mode, node.device)
            .call(|| format!("mknodat(dev, {:?}, {:o}, {:#x})", node.path, node.mode, node.device))?;
        if node.uid == 0 && node.gid == 0 {
            return Ok(());
        }
        let host = |maps: fn(&IdMaps, u32) -> Option<u32>, id| match self.maps {
            Some(known) => maps(known, id).unwrap_or(id),
            None => id,
        };
        let (uid, gid) = (host(IdMaps::host_user, node.uid), host(IdMaps::host_group, node.gid));
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(dev, node.path.as_c_str(), owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
            .call(|| format!("fchownat(dev, {:?}, {uid}, {gid})", node.path))
    }

    /// A bind mount; `unmapped` is told if its ids could not be shifted and need not be.
    pub(crate) fn bind(
        &self,
        bind: &Bind,
        bits: u64,
        recursive_attributes: bool,
        propagation: u64,
        mut unmapped: impl FnMut(),
    ) -> Made {
        let top = self.source(bind)?;
        let userns = if bind.ids == BindIds::Host { None } else { self.userns };
        let change = Change { set: bits, propagation, userns, recursive: bind.recursive, clear: 0 };
        let described = || format!("mount_setattr({:?}, {bits:#x})", bind.source);
        // All in one call where the attributes hold for the same mounts as the rest.
        if recursive_attributes == bind.recursive || bits == 0 {
            match mount_setattr(top.as_fd(), change) {
                Err(Errno::INVAL | Errno::PERM) if userns.is_some() => {}
                result => return result.call(described).map(|()| top),
            }
        }
        let top = match userns {
            None => top,
            Some(userns) => match self.shift_one_by_one(bind, top, userns) {
                Err(error)
                    if matches!(error.errno, Errno::INVAL | Errno::PERM)
                        && bind.ids == BindIds::MapIfPossible =>
                {
                    unmapped();
                    self.unshiftable.take();
                    self.source(bind)?
                }
                made => made?,
            },
        };
        let rest = Change { set: 0, propagation, userns: None, recursive: bind.recursive, clear: 0 };
        mount_setattr(top.as_fd(), rest).call(described)?;
        let flags = Change { set: bits, recursive: recursive_attributes, ..Change::default() };
        mount_setattr(top.as_fd(), flags).call(described)?;
        Ok(top)
    }

    fn source(&self, bind: &Bind) -> Made {
        let Some(subpath) = &bind.subpath else {
            return open_tree(CWD, bind.source.as_path(), clone_flags(bind.recursive))
                .call(|| format!("open_tree({:?}, OPEN_TREE_CLONE)", bind.source));
        };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let base = rustix::fs::open(&bind.source, flags, Mode::empty())
            .call(|| format!("open({:?})", bind.source))?;
        // A volume's content belongs to containers: a link in it must not lead out of it.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let inner = corten_sys::open::openat2(&base, subpath.as_str(), flags, Mode::empty(), resolve)
            .call(|| format!("openat2({:?}, {subpath:?}, RESOLVE_BENEATH)", bind.source))?;
        open_tree(&inner, c"", clone_flags(bind.recursive) | OpenTreeFlags::AT_EMPTY_PATH)
            .call(|| format!("open_tree({subpath:?}, OPEN_TREE_CLONE)"))
    }

    /// A tree of mounts cannot be shifted in one call, nor one that is not detached: each is cloned,
    /// shifted, and put together again.
    fn shift_one_by_one(&self, bind: &Bind, top: OwnedFd, userns: BorrowedFd<'_>) -> Made {
        let shift = |tree: &OwnedFd, path: &Path| self.shift(tree, userns, path);
        let below =
            if bind.recursive && bind.subpath.is_none() { mounts_below(&bind.source)? } else { Vec::new() };
        if below.is_empty() {
            shift(&top, &bind.source)?;
            return Ok(top);
        }
        let single = |path: &Path| {
            let tree = open_tree(CWD, path, clone_flags(false))
                .call(|| format!("open_tree({path:?}, OPEN_TREE_CLONE)"))?;
            shift(&tree, path).map(|()| tree)
        };
        let base = single(&bind.source)?;
        let trees: Vec<(PathBuf, OwnedFd)> = below
            .into_iter()
            .map(|path| single(&path).map(|tree| (path, tree)))
            .collect::<Result<_, CallError>>()?;
        let source = std::fs::canonicalize(&bind.source).call(|| format!("realpath({:?})", bind.source))?;
        let mut workshop = Workshop::enter(self.run_dir)?;
        let place = workshop.attach(base.as_fd(), true)?;
        for (path, tree) in trees {
            let relative = path.strip_prefix(&source).unwrap_or(&path);
            let at = Path::new(std::ffi::OsStr::new(place.to_str().unwrap_or("0"))).join(relative);
            if let Some(at) = crate::plan::path_string(&at) {
                workshop.attach_at(tree.as_fd(), &at)?;
            }
        }
        workshop.take(&place, true)
    }

    /// A file made for this container. The caller is its owner-to-be for file systems at the moment.
    pub(crate) fn file(&self, path: &Path, content: &[u8], bits: u64) -> Made {
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            rustix::fs::open(path, flags, Mode::from_raw_mode(0o644)).call(|| format!("open({path:?})"))?;
        let mut rest = content;
        while !rest.is_empty() {
            let count = rustix::io::write(&file, rest).call(|| format!("write({path:?})"))?;
            rest = &rest[count..];
        }
        let tree = open_tree(&file, c"", clone_flags(false) | OpenTreeFlags::AT_EMPTY_PATH)
            .call(|| format!("open_tree({path:?}, OPEN_TREE_CLONE)"))?;
        mount_setattr(tree.as_fd(), Change { set: bits, propagation: PRIVATE, ..Change::default() })
            .call(|| format!("mount_setattr({path:?})"))?;
        self.pool.give(file);
        Ok(tree)
    }

    /// A directory as it is.
    pub(crate) fn directory(&self, path: &Path, bits: u64, recursive: bool) -> Made {
        let tree = open_tree(CWD, path, clone_flags(recursive))
            .call(|| format!("open_tree({path:?}, OPEN_TREE_CLONE)"))?;
        let change = Change { set: bits, propagation: PRIVATE, recursive, ..Change::default() };
        mount_setattr(tree.as_fd(), change).call(|| format!("mount_setattr({path:?})"))?;
        Ok(tree)
    }

    /// A directory or file below what a mount shows, as a mount of its own. Links are followed inside only.
    pub(crate) fn below(&self, tree: OwnedFd, path: &str) -> Made {
        let mut workshop = Workshop::enter(self.run_dir)?;
        let place = workshop.attach(tree.as_fd(), true)?;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let base =
            rustix::fs::open(place.as_c_str(), flags, Mode::empty()).call(|| format!("open({place:?})"))?;
        let inner = corten_sys::open::openat2(&base, path, flags, Mode::empty(), resolve)
            .call(|| format!("openat2({path:?}, RESOLVE_IN_ROOT)"))?;
        open_tree(&inner, c"", clone_flags(false) | OpenTreeFlags::AT_EMPTY_PATH)
            .call(|| format!("open_tree({path:?}, OPEN_TREE_CLONE)"))
    }

    /// What is mounted at a path of another container. Only from inside its mount namespace, which is that
    /// of a hostile process, can it be cloned: no link is followed there, and only a mount itself is taken.
    pub(crate) fn taken_from(&self, namespace: &Path, path: &CStr, bits: u64) -> Made {
        use corten_sys::clone::{CLONE_NEWNS, setns};
        let open = |path: &Path, flags: OFlags| {
            rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).call(|| format!("open({path:?})"))
        };
        let other = open(namespace, OFlags::RDONLY)?;
        let own = open(Path::new("/proc/thread-self/ns/mnt"), OFlags::RDONLY)?;
        let cwd = open(Path::new("."), OFlags::PATH | OFlags::DIRECTORY)?;
        setns(other.as_fd(), CLONE_NEWNS).call(|| format!("setns({namespace:?}, CLONE_NEWNS)"))?;
        let made = mount_at(path).and_then(|tree| {
            let change = Change { set: bits, propagation: PRIVATE, ..Change::default() };
            mount_setattr(tree.as_fd(), change).call(|| format!("mount_setattr({path:?})"))?;
            Ok(tree)
        });
        setns(own.as_fd(), CLONE_NEWNS).call(|| "setns(own mount namespace)")?;
        rustix::process::fchdir(&cwd).call(|| "fchdir(working directory)")?;
        made
    }
}

/// A copy of the mount that is at exactly this path.
fn mount_at(path: &CStr) -> Made {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let place = corten_sys::open::openat2(CWD, path, flags, Mode::empty(), resolve)
        .call(|| format!("openat2({path:?}, RESOLVE_NO_SYMLINKS) in the other container"))?;
    let stat = rustix::fs::statx(&place, c"", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::TYPE)
        .call(|| format!("statx({path:?})"))?;
    if !stat.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT) {
        return Err(CallError::new(
            format!("statx({path:?}) in the other container: no mount"),
            Errno::INVAL,
        ));
    }
    open_tree(&place, c"", clone_flags(false) | OpenTreeFlags::AT_EMPTY_PATH)
        .call(|| format!("open_tree({path:?}, OPEN_TREE_CLONE)"))
}

/// The type of the file system that a path is on, as /proc/self/mountinfo names it.
pub(crate) fn file_system_of(path: &Path) -> String {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let table = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let mut best: Option<(usize, String)> = None;
    for line in table.lines() {
        let mut fields = line.split(' ');
        let Some(point) = fields.nth(4).map(|field| PathBuf::from(corten_sys::mountinfo::unescape(field)))
        else {
            continue;
        };
        let kind = fields.skip_while(|field| *field != "-").nth(1).unwrap_or("file system");
        // Of two at one place the later one is on top.
        let length = point.as_os_str().len();
        if path.starts_with(&point) && best.as_ref().is_none_or(|(known, _)| length >= *known) {
            best = Some((length, kind.to_owned()));
        }
    }
    best.map_or_else(|| "file system".to_owned(), |(_, kind)| kind)
}

fn flags_of(overlay: &OverlayOp, has_upper: bool) -> impl Iterator<Item = &'static CStr> {
    [(overlay.volatile && has_upper, c"volatile"), (overlay.userxattr, c"userxattr")]
        .into_iter()
        .filter_map(|(on, flag)| on.then_some(flag))
}

/// What is mounted below a directory, parents first.
fn mounts_below(path: &Path) -> Result<Vec<PathBuf>, CallError> {
    let path = std::fs::canonicalize(path).call(|| format!("realpath({path:?})"))?;
    let table = std::fs::read_to_string("/proc/thread-self/mountinfo")
        .call(|| "read(/proc/thread-self/mountinfo)")?;
    Ok(table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|field| PathBuf::from(corten_sys::mountinfo::unescape(field)))
        .filter(|point| point.starts_with(&path) && *point != path)
        .collect())
}
