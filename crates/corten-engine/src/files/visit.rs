//! A visit: a child process that sees a container's file system as the container does.
//!
//! A running container's: the child enters its user and mount namespaces and becomes root there, so ids are
//! those of inside, what it may not do as that root the kernel refuses, and mounts are where they are. It
//! does not enter the pid namespace: nobody in the container can see it, and it is not dumpable.
//!
//! A stopped container's: the child puts the layers together in a mount namespace of its own. The
//! container's lock is held meanwhile, so it neither starts nor goes.
//!
//! Either way the child's root directory is the container's. It is our own code and nothing else: a static
//! program has nothing to load from there (CVE-2019-14271).

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use corten_runtime::apply::{Scene, stage};
use corten_runtime::spec::{Bind, BindIds};
use corten_sys::clone::{CLONE_NEWNS, CLONE_NEWUSER, Child, fork, setns};
use corten_sys::mount::attr;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{getpid, getppid};

use super::paths::Tree;
use crate::collect;
use crate::config::{Config, MountSource};
use crate::container::{self, Container};
use crate::dirs::Dirs;
use crate::error::{At, EngineError};
use crate::hold::{Hold, Waiting};
use crate::record::Record;

/// How much a visitor tells of a failure.
const MAX_MESSAGE: u64 = 64 << 10;

/// What of the container is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// With everything that is mounted in it.
    Everything,
    /// The root file system alone.
    Root,
}

/// A visit under way. Dropped without [`Visit::end`] it goes on until its pipe is closed.
pub(super) struct Visit {
    child: Child,
    failure: File,
    dirs: Dirs,
    record: Record,
    /// The lock of one that does not run.
    stopped: Option<Hold>,
}

/// Where the child goes.
enum Way {
    Running { user: Option<OwnedFd>, mounts: OwnedFd, _pidfd: OwnedFd },
    Stopped(Box<(Scene, PathBuf, Dirs)>),
}

impl Visit {
    /// Begins one. `act` runs in the child, which has closed its copies of `ours`; what it counts is the result
    /// of the visit.
    pub(super) fn begin(
        dirs: &Dirs,
        name: &str,
        sight: Sight,
        ours: &[BorrowedFd<'_>],
        act: impl FnOnce(&Tree) -> Result<u64, EngineError>,
    ) -> Result<Self, EngineError> {
        let (way, record, stopped) = way(dirs, name, sight)?;
        let (failure, told) = pipe_with(PipeFlags::CLOEXEC).at("pipe", "visit")?;
        let parent = getpid();
        let visitor = || {
            for fd in ours.iter().chain([&failure.as_fd()]) {
                corten_sys::fd::close_copy(*fd);
            }
            let done = enter(way, sight).and_then(|tree| {
                // After the change of ids, which takes it away.
                corten_sys::prctl::set_parent_death_signal(9).at("prctl", "PR_SET_PDEATHSIG")?;
                if getppid() != Some(parent) {
                    return Err(EngineError::Failed { message: "whoever asked is gone".to_owned(), code: 1 });
                }
                act(&tree)
            });
            match done {
                // Nobody to be told is as good.
                Ok(count) => {
                    let _gone = rustix::io::write(&told, count.to_string().as_bytes());
                    0
                }
                Err(error) => {
                    let _gone = rustix::io::write(&told, error.to_string().as_bytes());
                    1
                }
            }
        };
        let child = fork(visitor).at("fork", "visit")?;
        drop(told);
        Ok(Self { child, failure: failure.into(), dirs: dirs.clone(), record, stopped })
    }

    /// Waits for its end, and tells of it as `event`; what it counted, or what failed in it.
    pub(super) fn end(self, event: &str) -> Result<u64, EngineError> {
        let mut message = String::new();
        self.failure.take(MAX_MESSAGE).read_to_string(&mut message).at("read", "visit")?;
        let exit = corten_sys::wait::wait_pidfd(self.child.pidfd.as_fd()).at("waitid", "visit")?;
        if let Some(hold) = self.stopped {
            collect::remove_tree(&self.dirs, &self.dirs.live(&self.record.id))?;
            drop(hold);
        }
        match exit {
            corten_sys::wait::Exit::Code(0) => {
                crate::events::tell(&self.dirs, &self.record, event, &[]);
                Ok(message.parse().unwrap_or(0))
            }
            _ if message.is_empty() => {
                let message = format!("the process in the container ended with {}", exit.shell_code());
                Err(EngineError::Failed { message, code: 1 })
            }
            _ => Err(EngineError::Failed { message, code: 1 }),
        }
    }
}

type Found = (Way, Record, Option<Hold>);

fn way(dirs: &Dirs, name: &str, sight: Sight) -> Result<Found, EngineError> {
    loop {
        let container = container::find(dirs, name)?;
        if container.state.is_alive() {
            if let Some(way) = running(&container)? {
                return Ok((way, container.record, None));
            }
            continue;
        }
        let id = container.record.id.clone();
        let Some(hold) = hold_stopped(dirs, &id)? else { continue };
        // Whoever held it may have changed it.
        let container = container::find(dirs, &id)?;
        let record = &container.record;
        if record.config.image == "host" {
            let what = format!("the files of container {}, which does not run,", record.name);
            return Err(EngineError::refused(
                what,
                "it is one of the image host, which is there while it runs",
            ));
        }
        let binds = if sight == Sight::Everything { binds(dirs, &record.config) } else { Vec::new() };
        let userxattr = dirs.rootless.is_some();
        let layers = layers(dirs, record)?;
        let scene = Scene { layers, writable: dirs.container(&id), userxattr, binds };
        let way = Way::Stopped(Box::new((scene, dirs.live(&id), dirs.clone())));
        return Ok((way, container.record, Some(hold)));
    }
}

/// The lock of a container that does not run; `None` if it does by now.
pub(super) fn hold_stopped(dirs: &Dirs, id: &str) -> Result<Option<Hold>, EngineError> {
    loop {
        let is_alive = || Ok::<_, EngineError>(container::find(dirs, id)?.state.is_alive());
        if let Some(hold) = Hold::try_take(dirs, id)? {
            return Ok((!is_alive()?).then_some(hold));
        }
        let Some(waiting) = Waiting::begin(dirs, id)? else { continue };
        if is_alive()? {
            return Ok(None);
        }
        if let Some(hold) = waiting.end()? {
            return Ok((!is_alive()?).then_some(hold));
        }
    }
}

/// `None` if it has just ended.
fn running(container: &Container) -> Result<Option<Way>, EngineError> {
    let state = &container.state;
    let Some(pidfd) = container::process(state)? else { return Ok(None) };
    let path = |kind: &str| PathBuf::from(format!("/proc/{}/ns/{kind}", state.pid));
    let open = |path: &Path| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let (user_path, mounts_path) = (path("user"), path("mnt"));
    let (user, mounts) = (open(&user_path), open(&mounts_path));
    // What was opened by number was the container's only if it has not ended.
    if container::has_ended(&pidfd)? {
        return Ok(None);
    }
    let (user, mounts) = (user.at("open", &user_path)?, mounts.at("open", &mounts_path)?);
    let inode = |path: &Path| std::fs::metadata(path).map(|stat| stat.ino()).at("stat", path);
    let own = inode(Path::new("/proc/self/ns/user"))?;
    let theirs = rustix::fs::fstat(&user).at("fstat", &user_path)?.st_ino;
    Ok(Some(Way::Running { user: (theirs != own).then_some(user), mounts, _pidfd: pidfd }))
}

/// The layers of a container's root below its own, the uppermost first.
pub(super) fn layers(dirs: &Dirs, record: &Record) -> Result<Vec<PathBuf>, EngineError> {
    let store = corten_store::Store::open(&dirs.root)?;
    let mut layers: Vec<PathBuf> = match store.resolve(&record.image_id, None) {
        Ok(image) => image.layers.iter().rev().cloned().collect(),
        // Its name was taken away by force; the layers are kept for the container's sake.
        Err(corten_store::StoreError::NotFound(_)) if record.mounted_images.is_empty() => {
            let path = |layer: &String| layer.parse().ok().map(|layer| store.layer_path(&layer));
            record.layers.iter().rev().filter_map(path).collect()
        }
        Err(error) => return Err(error.into()),
    };
    layers.push(crate::places::layer(dirs, &record.id)?);
    Ok(layers)
}

fn binds(dirs: &Dirs, config: &Config) -> Vec<(String, Bind, u64)> {
    let bind = |mount: &crate::config::Mount| {
        let (source, subpath) = match &mount.source {
            MountSource::Bind(bind) => (PathBuf::from(&bind.source), bind.subpath.clone()),
            MountSource::Volume(volume) => {
                (crate::volume::mountpoint(dirs, volume.name.as_deref()?), volume.subpath.clone())
            }
            MountSource::Tmpfs(_) | MountSource::Image(_) => return None,
        };
        let attributes = if mount.read_only { attr::RDONLY } else { 0 };
        let bind = Bind { source, subpath, recursive: false, ids: BindIds::Host };
        Some((mount.target.clone(), bind, attributes | attr::NODEV))
    };
    let mut binds: Vec<_> = config.mounts.iter().filter_map(bind).collect();
    binds.sort_by_key(|(target, ..)| target.matches('/').count());
    binds
}

fn enter(way: Way, sight: Sight) -> Result<Tree, EngineError> {
    rustix::process::umask(Mode::empty());
    let opened = |path: &str, flags: OFlags| {
        rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).at("open", path)
    };
    match way {
        Way::Running { user, mounts, .. } => {
            corten_sys::prctl::set_dumpable(false).at("prctl", "PR_SET_DUMPABLE")?;
            let own = opened("/proc/thread-self/fd", OFlags::RDONLY | OFlags::DIRECTORY)?;
            if let Some(user) = &user {
                setns(user.as_fd(), CLONE_NEWUSER).at("setns", "user namespace")?;
            }
            setns(mounts.as_fd(), CLONE_NEWNS).at("setns", "mount namespace")?;
            if user.is_some() {
                become_root()?;
            }
            let root = match sight {
                Sight::Everything => opened("/", OFlags::PATH | OFlags::DIRECTORY)?,
                // The one mount without what is mounted on it.
                Sight::Root => {
                    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
                    open_tree(CWD, "/", flags).at("open_tree", "/")?
                }
            };
            Ok(Tree::of_container(root, own))
        }
        Way::Stopped(stopped) => {
            let (scene, at, mut dirs) = *stopped;
            dirs.enter()?;
            let own = opened("/proc/thread-self/fd", OFlags::RDONLY | OFlags::DIRECTORY)?;
            let root = stage(&scene, &at).map_err(|call| corten_runtime::StartError::Operation {
                operation: "a stopped container's files".to_owned(),
                call,
            })?;
            rustix::process::fchdir(&root).at("fchdir", &at)?;
            rustix::process::chroot(".").at("chroot", &at)?;
            corten_sys::prctl::set_dumpable(false).at("prctl", "PR_SET_DUMPABLE")?;
            Ok(Tree::of_container(root, own))
        }
    }
}

fn become_root() -> Result<(), EngineError> {
    match corten_sys::ids::set_groups(&[]) {
        // A namespace of one id lets nobody change them.
        Ok(()) | Err(rustix::io::Errno::PERM) => {}
        Err(errno) => return Err(errno).at("setgroups", ""),
    }
    corten_sys::ids::set_gid(0).at("setresgid", "0")?;
    corten_sys::ids::set_uid(0).at("setresuid", "0")
}
