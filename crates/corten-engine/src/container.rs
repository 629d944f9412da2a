//! Containers that exist: finding, listing, removing, and collecting what a killed process left.

use std::path::Path;

use corten_cgroup::{Cgroup, CgroupPath, Layout};
use rustix::fs::{AtFlags, CWD};

use crate::dirs::Dirs;
use crate::error::{At, EngineError};
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

fn read(dirs: &Dirs, id: &str) -> Result<Option<Container>, EngineError> {
    let (live, kept) = (dirs.live(id), dirs.container(id));
    let record: Option<Record> = match record::read(&live.join("config.json"))? {
        None => record::read(&kept.join("config.json"))?,
        some => some,
    };
    let Some(record) = record else { return Ok(None) };
    let state: Option<State> = match record::read(&live.join("state.json"))? {
        None => record::read(&kept.join("state.json"))?,
        some => some,
    };
    let mut state = state.unwrap_or_else(State::created);
    if state.status == Status::Running && !state.is_alive() {
        // Ended without a monitor to say so: init's own record has the code.
        state.status = Status::Exited;
        let end = std::fs::read_to_string(live.join("exit")).unwrap_or_default();
        state.exit_code =
            corten_runtime::init::parse_record(&end).map_or(255, |end| i32::from(end.shell_code()));
        state.pid = 0;
    }
    Ok(Some(Container { record, state }))
}

/// All containers, newest first.
///
/// # Errors
/// A record that is damaged, by its path.
pub fn list(dirs: &Dirs) -> Result<Vec<Container>, EngineError> {
    let mut found = Vec::new();
    let path = dirs.root.join("containers");
    let entries = match std::fs::read_dir(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        other => other.at("opendir", &path)?,
    };
    for entry in entries {
        let entry = entry.at("readdir", &path)?;
        found.extend(read(dirs, &entry.file_name().to_string_lossy())?);
    }
    found.sort_by_key(|container| std::cmp::Reverse(container.record.created_ns));
    Ok(found)
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
    let id = match std::fs::read_link(dirs.name(bare)) {
        Ok(id) => id.to_string_lossy().into_owned(),
        Err(_) => {
            let mut ids = list(dirs)?.into_iter().map(|c| c.record.id).filter(|id| id.starts_with(bare));
            let id = ids.next().ok_or_else(missing)?;
            if id != bare && ids.next().is_some() {
                return Err(EngineError::AmbiguousId(bare.to_owned()));
            }
            id
        }
    };
    read(dirs, &id)?.ok_or_else(missing)
}

/// Removes a container; one that runs only if forced. With `volumes` its anonymous volumes go too.
///
/// # Errors
/// [`EngineError::Running`]; what a call says.
pub fn remove(dirs: &Dirs, name: &str, force: bool, volumes: bool) -> Result<String, EngineError> {
    let container = find(dirs, name)?;
    let id = container.record.id.clone();
    if container.state.is_alive() {
        if !force {
            return Err(EngineError::Running(container.record.name));
        }
        kill(dirs, &container)?;
    }
    release(dirs, &container.record);
    if volumes || container.record.config.auto_remove {
        crate::volume::discard(dirs, &id, &crate::volume::anonymous_in(&container.record.config));
    }
    forget(dirs, &id, &container.record.name);
    Ok(id)
}

/// Kills everything in it and waits until its monitor has cleaned up, or nobody is there to.
fn kill(dirs: &Dirs, container: &Container) -> Result<(), EngineError> {
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    let pid = Pid::from_raw(container.state.pid);
    let Some(pidfd) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else { return Ok(()) };
    // The number may have been given away between the check and the open: only now is it held.
    if record::start_of(container.state.pid) != Some(container.state.pid_start) {
        return Ok(());
    }
    let _gone = pidfd_send_signal(&pidfd, Signal::KILL);
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, None).at("poll", "pidfd")?;
    // The monitor holds the lock as long as it lives; taking it is waiting for it.
    let lock = dirs.live(&container.record.id).join("lock");
    if let Ok(file) = std::fs::File::open(&lock) {
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockShared).at("flock", &lock)?;
    }
    Ok(())
}

/// Gives back what a container without a monitor may still hold.
fn release(dirs: &Dirs, record: &Record) {
    crate::lease::release_of(dirs, &record.id);
    let Some(path) = record.cgroup.as_deref().and_then(|path| CgroupPath::new(path).ok()) else { return };
    let Ok(layout) = Layout::detect() else { return };
    if let Ok(cgroup) = Cgroup::open(&layout, &path) {
        let _gone = cgroup.kill_all();
        let _left = cgroup.remove();
    }
}

/// Removes all files of a container, the name last, so that a killed removal can be repeated.
pub(crate) fn forget(dirs: &Dirs, id: &str, name: &str) {
    let container = dirs.container(id);
    // What a volatile overlay leaves, innermost first: known, so it needs no reading of directories.
    for name in ["work/work/incompat/volatile/dirty", "work/work/incompat/volatile", "work/work/incompat"] {
        let directory = !name.ends_with("dirty");
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        if rustix::fs::unlinkat(CWD, container.join(name), flags).is_err() {
            break;
        }
    }
    remove_tree(&container);
    remove_tree(&dirs.live(id));
    let path = dirs.name(name);
    if std::fs::read_link(&path).is_ok_and(|to| to.as_os_str() == id) {
        let _gone = std::fs::remove_file(path);
    }
}

/// What is missing is gone already; what cannot be removed is found again by the next collection.
pub(crate) fn remove_tree(path: &Path) {
    let _gone = corten_sys::tree::remove(path);
}

/// Collects what killed processes left: containers whose monitor and first process are both gone.
///
/// # Errors
/// What a call says.
pub fn collect(dirs: &Dirs) -> Result<(), EngineError> {
    crate::volume::collect(dirs)?;
    let entries = match std::fs::read_dir(&dirs.run) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.at("opendir", &dirs.run)?,
    };
    for entry in entries {
        let entry = entry.at("readdir", &dirs.run)?;
        let id = entry.file_name().to_string_lossy().into_owned();
        if id.len() != 64 {
            continue;
        }
        let lock = entry.path().join("lock");
        let Ok(file) = std::fs::File::open(&lock) else { continue };
        if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        let Some(container) = read(dirs, &id)? else { continue };
        if container.state.is_alive() {
            continue;
        }
        release(dirs, &container.record);
        if container.record.config.auto_remove {
            crate::volume::discard(dirs, &id, &crate::volume::anonymous_in(&container.record.config));
            forget(dirs, &id, &container.record.name);
        } else {
            record::write(&dirs.container(&id).join("state.json"), &container.state, true)?;
            remove_tree(&entry.path());
        }
    }
    Ok(())
}
