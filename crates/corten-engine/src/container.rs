//! Containers that exist: finding, listing, removing.

use std::os::fd::OwnedFd;

use corten_cgroup::{Cgroup, CgroupPath, Layout};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::collect::{self, Attended};
use crate::config::CgroupManager;
use crate::dirs::Dirs;
use crate::error::{At, EngineError};
use crate::events;
use crate::hold::Hold;
use crate::record::{self, Record, State, Status};

/// A container with its present state.
#[derive(Debug, Clone)]
pub struct Container {
    /// What it was made as.
    pub record: Record,
    /// What it is now.
    pub state: State,
}

/// Whether anything of that id is there.
pub(crate) fn exists(dirs: &Dirs, id: &str) -> bool {
    dirs.container(id).exists() || dirs.live(id).exists()
}

/// The container of this id.
pub(crate) fn of_id(dirs: &Dirs, id: &str) -> Result<Container, EngineError> {
    read(dirs, id)?.ok_or_else(|| EngineError::NoSuchContainer(id.to_owned()))
}

fn read(dirs: &Dirs, id: &str) -> Result<Option<Container>, EngineError> {
    read_knowing(dirs, id, &Attended::default())
}

fn read_knowing(dirs: &Dirs, id: &str, attended: &Attended) -> Result<Option<Container>, EngineError> {
    let (live, kept) = (dirs.live(id), dirs.container(id));
    let mut record: Option<Record> = None;
    // Most have theirs on disk; `create --rm` moves it there while we look.
    for dir in [&kept, &live, &kept] {
        record = record::read(&dir.join("config.json"))?;
        if record.is_some() {
            break;
        }
    }
    let Some(record) = record else { return Ok(None) };
    let state = || -> Result<State, EngineError> {
        let state = match record::read(&live.join("state.json"))? {
            None => crate::started::last_state(&kept)?,
            Some(state) => state,
        };
        Ok(state)
    };
    let mut now = state()?;
    if now.status == Status::Running && !attended.contains(id) && !now.is_alive() {
        // Attended, it stays as it was until its monitor says what becomes of it: perhaps it is started again.
        let hold = Hold::try_existing(dirs, id)?;
        if hold.is_some() || !live.exists() {
            // Whoever held it may just have said so.
            now = collect::ended(&live, state()?);
        }
    }
    let mut state = now;
    state.paused = state.status == Status::Running && live.join(crate::monitor::PAUSED).exists();
    Ok(Some(Container { record, state }))
}

/// All containers, newest first.
///
/// # Errors
/// A record that is damaged, by its path.
pub fn list(dirs: &Dirs) -> Result<Vec<Container>, EngineError> {
    list_knowing(dirs, &Attended::default())
}

/// As [`list`]; of those that are known to be attended it is not asked whether they live.
///
/// # Errors
/// As [`list`].
pub fn list_knowing(dirs: &Dirs, attended: &Attended) -> Result<Vec<Container>, EngineError> {
    let mut found = Vec::new();
    for id in ids(dirs)? {
        found.extend(read_knowing(dirs, &id, attended)?);
    }
    found.sort_by_key(|container| std::cmp::Reverse(container.record.created_ns));
    Ok(found)
}

/// The names of the containers' directories. One that is being made or removed has no record.
pub(crate) fn ids(dirs: &Dirs) -> Result<Vec<String>, EngineError> {
    let path = dirs.root.join("containers");
    let entries = match std::fs::read_dir(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at("opendir", &path)?,
    };
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.at("readdir", &path).map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

/// Finds a container by id, name or the unique beginning of an id.
///
/// # Errors
/// [`EngineError::NoSuchContainer`], [`EngineError::AmbiguousId`].
pub fn find(dirs: &Dirs, name: &str) -> Result<Container, EngineError> {
    let missing = || EngineError::NoSuchContainer(name.to_owned());
    let bare = name.strip_prefix('/').unwrap_or(name);
    if bare.is_empty() || bare.contains(['/', '\0']) || bare == "." || bare == ".." {
        return Err(missing());
    }
    match rustix::fs::readlink(dirs.name(bare), Vec::new()) {
        Ok(id) => read(dirs, &id.to_string_lossy())?.ok_or_else(missing),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => by_id(dirs, bare)?.ok_or_else(missing),
        Err(errno) => Err(errno).at("readlink", dirs.name(bare)),
    }
}

/// By the beginning of an id; only what may be meant is read.
fn by_id(dirs: &Dirs, beginning: &str) -> Result<Option<Container>, EngineError> {
    if collect::is_id(beginning) {
        return read(dirs, beginning);
    }
    let mut only = None;
    for id in ids(dirs)?.iter().filter(|id| id.starts_with(beginning)) {
        let Some(found) = read(dirs, id)? else { continue };
        if only.replace(found).is_some() {
            return Err(EngineError::AmbiguousId(beginning.to_owned()));
        }
    }
    Ok(only)
}

/// The first process of a container that runs, held by a descriptor; `None` if it has ended. Its number is its
/// own only until it ends: what is then opened by it is the container's if [`has_ended`] says no afterwards.
///
/// # Errors
/// What a call says: that something cannot be looked at does not mean that it is gone.
pub(crate) fn process(state: &State) -> Result<Option<OwnedFd>, EngineError> {
    let running = state.status == Status::Running;
    let Some(pid) = Pid::from_raw(state.pid).filter(|_| running) else { return Ok(None) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(None),
        other => other.at("pidfd_open", state.pid.to_string())?,
    };
    // Only now: the number may have been given away before it was held.
    Ok(state.is_same_process()?.then_some(pidfd))
}

/// Whether a process that is held has ended.
pub(crate) fn has_ended(pidfd: &OwnedFd) -> Result<bool, EngineError> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)).at("poll", "pidfd")? > 0)
}

/// The cgroup of a container; `None` if it has none of its own, or none any more.
pub(crate) fn cgroup(record: &Record) -> Result<Option<Cgroup>, EngineError> {
    match cgroup_path(record)? {
        Some(path) => cgroup_at(&Layout::detect()?, record, &path),
        None => Ok(None),
    }
}

/// Where it is, if it has one of its own.
pub(crate) fn cgroup_path(record: &Record) -> Result<Option<CgroupPath>, EngineError> {
    let path = record.cgroup.as_deref().map(CgroupPath::new).transpose();
    Ok(path.map_err(corten_cgroup::Error::from)?)
}

/// What is there.
pub(crate) fn cgroup_at(
    layout: &Layout,
    record: &Record,
    path: &CgroupPath,
) -> Result<Option<Cgroup>, EngineError> {
    match Cgroup::open(layout, path) {
        Ok(cgroup) => match &record.config.cgroup_manager {
            CgroupManager::Systemd(systemd) => Ok(Some(cgroup.of_scope(systemd.scope_at(path)?))),
            CgroupManager::Cgroupfs => Ok(Some(cgroup)),
        },
        Err(error) if error.errno() == Some(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// That of one that runs, for `what` cannot be done without.
///
/// # Errors
/// It has none, or does not run any more.
pub(crate) fn needed_cgroup(record: &Record, what: &str) -> Result<Cgroup, EngineError> {
    if record.cgroup.is_none() {
        let why = "the container has no cgroup: an ordinary user's has one where cgroup v2 is delegated";
        return Err(EngineError::refused(what, why));
    }
    cgroup(record)?.ok_or_else(|| EngineError::NotRunning(record.id.clone()))
}

/// Removes a container; one that runs only if forced. With `volumes` its anonymous volumes go too.
///
/// # Errors
/// [`EngineError::Running`], [`EngineError::Starting`]; what a call says.
pub fn remove(dirs: &Dirs, name: &str, force: bool, volumes: bool) -> Result<String, EngineError> {
    let container = find(dirs, name)?;
    let id = container.record.id.clone();
    if container.state.is_alive() || container.state.status == Status::Restarting {
        if !force {
            return Err(EngineError::Running(container.record.name));
        }
        crate::start::end(dirs, &container, Some(rustix::process::Signal::KILL.as_raw()), None)?;
    }
    let hold = match Hold::try_take(dirs, &id)? {
        Some(hold) => hold,
        // What has not been started yet may run for ever once it is.
        None if container.state.status == Status::Created => {
            return Err(EngineError::Starting(container.record.name));
        }
        // Its monitor is about to note the end, or another removes it.
        None => Hold::take(dirs, &id)?,
    };
    // The record again: whoever was waited for may have removed it.
    let record = read(dirs, &id)?.map(|container| container.record);
    collect::release(dirs, &id, record.as_ref())?;
    // First of the files: no half of a container is shown, and a removal that is killed is finished.
    collect::remove_file(&dirs.container(&id).join("config.json"))?;
    if volumes || container.record.config.auto_remove {
        crate::volume::discard(dirs, &id, &crate::volume::anonymous_in(&container.record.config));
    }
    collect::forget(dirs, &id, Some(&container.record.name))?;
    events::tell(dirs, &container.record, "destroy", &[]);
    drop(hold);
    Ok(id)
}
