//! Containers that exist: finding, listing, removing.

use rustix::io::Errno;

use crate::collect;
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

fn read(dirs: &Dirs, id: &str) -> Result<Option<Container>, EngineError> {
    let (live, kept) = (dirs.live(id), dirs.container(id));
    let record: Option<Record> = match record::read(&live.join("config.json"))? {
        None => record::read(&kept.join("config.json"))?,
        some => some,
    };
    let Some(record) = record else { return Ok(None) };
    let state = || -> Result<State, EngineError> {
        let state = match record::read(&live.join("state.json"))? {
            None => record::read(&kept.join("state.json"))?,
            some => some,
        };
        Ok(state.unwrap_or_else(State::created))
    };
    let mut now = state()?;
    if now.status == Status::Running && !now.is_alive() {
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
    let id = match rustix::fs::readlink(dirs.name(bare), Vec::new()) {
        Ok(id) => id.to_string_lossy().into_owned(),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => {
            let mut ids = list(dirs)?.into_iter().map(|c| c.record.id).filter(|id| id.starts_with(bare));
            let id = ids.next().ok_or_else(missing)?;
            if id != bare && ids.next().is_some() {
                return Err(EngineError::AmbiguousId(bare.to_owned()));
            }
            id
        }
        Err(errno) => return Err(errno).at("readlink", dirs.name(bare)),
    };
    read(dirs, &id)?.ok_or_else(missing)
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
        let actor = events::Actor::container(&container.record);
        events::emit(dirs, &actor, "kill", &[("signal", "9")]);
        crate::start::stop(dirs, &id, Some(rustix::process::Signal::KILL.as_raw()), None)?;
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
    events::emit(dirs, &events::Actor::container(&container.record), "destroy", &[]);
    drop(hold);
    Ok(id)
}
