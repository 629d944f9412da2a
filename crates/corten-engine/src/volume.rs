//! Volumes: directories that outlive containers and move between them.
//!
//! ```text
//! volumes/                 0700; flock: shared while a container takes volumes into use, exclusive to remove
//!   <name>/                flock, exclusive: while it is filled
//!     volume.json          what it is
//!     _data/               what a container sees; ids as in the container
//!     filling/  ready/     a copy of the image's content, under way and whole (see `fill.rs`)
//!   .new-<random>/         becomes <name>/ by one rename
//!   .old-<random>/         was a volume
//! ```
//!
//! A volume is there whole or not at all. What begins with a dot and is not locked is what a killed process
//! left. Who uses a volume is in the records of the containers; a script of `--explain` has none, and names its
//! volumes by empty files `<run>/<id>/volumes/<name>`.

mod copy;
mod fill;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub(crate) use fill::{Content, fill};
pub(crate) use wanted::settle;

use crate::collect::is_id;
use crate::config::mount::is_volume_name;
use crate::config::{Config, MountSource};
use crate::container;
use crate::dirs::{Dirs, make_private};
use crate::error::{At, EngineError};
use crate::events;
use crate::record;

/// The version of volume.json.
const VERSION: u32 = 1;

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The version of the file that this is kept in.
    pub version: u32,
    /// Its name: for an anonymous one 64 hexadecimal digits.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created_ns: u128,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Nobody gave it a name.
    pub anonymous: bool,
}

/// What [`prune`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Their names.
    pub names: Vec<String>,
    /// Bytes that they took.
    pub bytes: u64,
}

/// The directory that containers see.
#[must_use]
pub fn mountpoint(dirs: &Dirs, name: &str) -> PathBuf {
    dirs.volumes().join(name).join("_data")
}

/// Makes a volume; one of that name that is there already is what comes back, as with Docker.
///
/// # Errors
/// A name that is none; what a call says.
pub fn create(
    dirs: &Dirs,
    name: Option<&str>,
    labels: BTreeMap<String, String>,
) -> Result<Volume, EngineError> {
    let anonymous = name.is_none();
    let name = match name {
        Some(name) => checked(name)?.to_owned(),
        None => random_name()?,
    };
    let _lock = lock(dirs, FlockOperation::LockShared)?;
    ensure(dirs, &name, labels, anonymous)
}

/// A volume by its name.
///
/// # Errors
/// [`EngineError::NoSuchVolume`].
pub fn inspect(dirs: &Dirs, name: &str) -> Result<Volume, EngineError> {
    let missing = || EngineError::NoSuchVolume(name.to_owned());
    let name = checked(name).map_err(|_| missing())?;
    record::read(&dirs.volumes().join(name).join("volume.json"))?.ok_or_else(missing)
}

/// All volumes, by name.
///
/// # Errors
/// A damaged volume.json, by its path.
pub fn list(dirs: &Dirs) -> Result<Vec<Volume>, EngineError> {
    let mut found = Vec::new();
    for name in names(dirs)? {
        // One that was removed meanwhile is not there.
        match inspect(dirs, &name) {
            Err(EngineError::NoSuchVolume(_)) => {}
            other => found.push(other?),
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// Removes a volume that no container uses. With `force` one that is not there is no error.
///
/// # Errors
/// [`EngineError::NoSuchVolume`], [`EngineError::VolumeInUse`].
pub fn remove(dirs: &Dirs, name: &str, force: bool) -> Result<(), EngineError> {
    match remove_unused(dirs, name, None) {
        Err(EngineError::NoSuchVolume(_)) if force => Ok(()),
        other => other,
    }
}

/// Removes the volumes that no container uses and that `chosen` says yes to.
///
/// # Errors
/// What a call says.
pub fn prune(dirs: &Dirs, chosen: impl Fn(&Volume) -> bool) -> Result<Pruned, EngineError> {
    let mut pruned = Pruned::default();
    collect(dirs)?;
    for volume in list(dirs)?.into_iter().filter(|volume| chosen(volume)) {
        let bytes = copy::bytes_of(&mountpoint(dirs, &volume.name));
        match remove_unused(dirs, &volume.name, None) {
            Ok(()) => {
                pruned.bytes += bytes;
                pruned.names.push(volume.name);
            }
            Err(EngineError::VolumeInUse { .. } | EngineError::NoSuchVolume(_)) => {}
            Err(error) => return Err(error),
        }
    }
    events::tell_of_prune(dirs, "volume", pruned.bytes);
    Ok(pruned)
}

/// Which containers use a volume, and how many: name → ids.
///
/// # Errors
/// A damaged record, by its path.
pub fn users(dirs: &Dirs) -> Result<BTreeMap<String, BTreeSet<String>>, EngineError> {
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for container in container::list(dirs)? {
        for name in names_in(&container.record.config) {
            users.entry(name.to_owned()).or_default().insert(container.record.id.clone());
        }
    }
    let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    for script in entries(&dirs.run).filter(|entry| entry.file_name().to_str().is_some_and(is_id)) {
        for name in entries(&script.path().join("volumes")) {
            let name = name.file_name().to_string_lossy().into_owned();
            users.entry(name).or_default().insert(script.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(users)
}

/// The volumes that a resolved configuration uses.
pub(crate) fn names_in(config: &Config) -> impl Iterator<Item = &str> {
    config.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume(volume) => volume.name.as_deref(),
        _ => None,
    })
}

/// Those of them that go with the container.
pub(crate) fn anonymous_in(config: &Config) -> Vec<String> {
    let anonymous = config.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume(volume) if volume.anonymous => volume.name.clone(),
        _ => None,
    });
    anonymous.collect()
}

/// Removes the anonymous volumes of a container that is about to go, as far as no other uses them. What
/// cannot be removed stays for `prune`.
pub(crate) fn discard(dirs: &Dirs, id: &str, names: &[String]) {
    for name in names {
        let _stays = remove_unused(dirs, name, Some(id));
    }
}

/// The same for a container of which only the record is known.
pub(crate) fn discard_of(dirs: &Dirs, id: &str) {
    for dir in [dirs.live(id), dirs.container(id)] {
        if let Ok(Some(record)) = record::read::<record::Record>(&dir.join("config.json")) {
            discard(dirs, id, &anonymous_in(&record.config));
        }
    }
}

/// As [`create`], of a name that was drawn for one that nobody gives a name to.
pub(crate) fn create_anonymous(dirs: &Dirs, name: &str) -> Result<Volume, EngineError> {
    let name = checked(name)?;
    let _lock = lock(dirs, FlockOperation::LockShared)?;
    ensure(dirs, name, BTreeMap::new(), true)
}

/// Makes and fills the volumes of a container whose record is there already, so that none is left without
/// its user if this process is killed. Nobody removes one meanwhile: `held` comes from [`hold`].
pub(crate) fn ready(
    dirs: &Dirs,
    config: &Config,
    content: &Content<'_>,
    held: Option<&OwnedFd>,
) -> Result<(), EngineError> {
    if held.is_none() {
        return Ok(());
    }
    for mount in &config.mounts {
        let MountSource::Volume(volume) = &mount.source else { continue };
        let Some(name) = &volume.name else { continue };
        ensure(dirs, name, volume.labels.clone(), volume.anonymous)?;
        let copies = !volume.no_copy && volume.subpath.is_none();
        fill(&dirs.volumes().join(name), &mount.target, copies.then_some(content))?;
    }
    Ok(())
}

/// Keeps every volume from being removed, if the container has any; from before its record is written until
/// its volumes are there.
pub(crate) fn hold(dirs: &Dirs, config: &Config) -> Result<Option<OwnedFd>, EngineError> {
    let any = names_in(config).next().is_some();
    any.then(|| lock(dirs, FlockOperation::LockShared)).transpose()
}

/// Collects what killed processes left.
///
/// # Errors
/// What a call says.
pub fn collect(dirs: &Dirs) -> Result<(), EngineError> {
    let path = dirs.volumes();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = match rustix::fs::open(&path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.at("open", &path)?,
    };
    match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        // Somebody is at work: next time.
        Err(Errno::AGAIN) => return Ok(()),
        other => other.at("flock", &path)?,
    }
    for entry in std::fs::read_dir(&path).at("opendir", &path)? {
        let entry = entry.at("readdir", &path)?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

fn checked(name: &str) -> Result<&str, EngineError> {
    if is_volume_name(name) && name.len() <= 255 {
        return Ok(name);
    }
    let error = crate::config::mount::MountError::VolumeName(name.to_owned());
    Err(EngineError::refused(format!("volume {name:?}"), error.to_string()))
}

fn random_name() -> Result<String, EngineError> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).at("getrandom", "")?;
    Ok(corten_oci::ContainerId::from_random(bytes).as_str().to_owned())
}

fn names(dirs: &Dirs) -> Result<Vec<String>, EngineError> {
    let path = dirs.volumes();
    let entries = match std::fs::read_dir(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at("opendir", &path)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.at("readdir", &path)?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    Ok(names)
}

fn lock(dirs: &Dirs, how: FlockOperation) -> Result<OwnedFd, EngineError> {
    let path = dirs.volumes();
    make_private(&path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(&path, flags, Mode::empty()).at("open", &path)?;
    rustix::fs::flock(&dir, how).at("flock", &path)?;
    Ok(dir)
}

/// Makes it if it is not there; the caller holds the shared lock.
fn ensure(
    dirs: &Dirs,
    name: &str,
    labels: BTreeMap<String, String>,
    anonymous: bool,
) -> Result<Volume, EngineError> {
    match inspect(dirs, name) {
        Err(EngineError::NoSuchVolume(_)) => {}
        known => return known,
    }
    let created_ns = record::now_ns();
    let volume = Volume { version: VERSION, name: name.to_owned(), created_ns, labels, anonymous };
    let new = dirs.volumes().join(format!(".new-{}", random_name()?));
    let place = dirs.volumes().join(name);
    make_private(&new.join("_data"))?;
    // What the container's root finds there if the image says nothing else.
    let data = new.join("_data");
    rustix::fs::chmod(&data, Mode::from_raw_mode(0o755)).at("chmod", &data)?;
    record::write(&new.join("volume.json"), &volume, true)?;
    match rustix::fs::renameat_with(CWD, &new, CWD, &place, RenameFlags::NOREPLACE) {
        Ok(()) => {
            sync(&dirs.volumes())?;
            events::emit(dirs, &events::Actor::volume(name), "create", &[]);
            Ok(volume)
        }
        Err(Errno::EXIST) => {
            remove_tree(&new)?;
            inspect(dirs, name)
        }
        Err(errno) => Err(errno).at("rename", &place),
    }
}

/// Removes it if no container but `except` uses it.
fn remove_unused(dirs: &Dirs, name: &str, except: Option<&str>) -> Result<(), EngineError> {
    inspect(dirs, name)?;
    let lock = lock(dirs, FlockOperation::LockExclusive)?;
    let mut users = users(dirs)?.remove(name).unwrap_or_default();
    users.retain(|id| Some(id.as_str()) != except);
    if !users.is_empty() {
        let users = users.into_iter().collect();
        return Err(EngineError::VolumeInUse { name: name.to_owned(), users });
    }
    let old = dirs.volumes().join(format!(".old-{}", random_name()?));
    let place = dirs.volumes().join(name);
    match rustix::fs::rename(&place, &old) {
        Err(Errno::NOENT) => return Err(EngineError::NoSuchVolume(name.to_owned())),
        other => other.at("rename", &place)?,
    }
    sync(&dirs.volumes())?;
    drop(lock);
    events::emit(dirs, &events::Actor::volume(name), "destroy", &[]);
    remove_tree(&old)
}

fn sync(path: &Path) -> Result<(), EngineError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty()).at("open", path)?;
    rustix::fs::fsync(&dir).at("fsync", path)
}

/// Another process may remove the same one.
fn remove_tree(path: &Path) -> Result<(), EngineError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.at("rmdir", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs() -> (tempfile::TempDir, Dirs) {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs { root: dir.path().join("root"), run: dir.path().join("run"), rootless: None };
        (dir, dirs)
    }

    #[test]
    fn a_volume_is_made_once_and_goes() {
        let (_dir, dirs) = dirs();
        assert_eq!(list(&dirs).unwrap(), []);
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let made = create(&dirs, Some("data"), labels).unwrap();
        assert_eq!(create(&dirs, Some("data"), BTreeMap::new()).unwrap(), made);
        let other = create(&dirs, None, BTreeMap::new()).unwrap();
        assert!(other.anonymous && other.name.len() == 64);
        assert_eq!(list(&dirs).unwrap().len(), 2);
        assert!(mountpoint(&dirs, "data").is_dir());
        remove(&dirs, "data", false).unwrap();
        let gone = remove(&dirs, "data", false).unwrap_err();
        assert_eq!(gone.to_string(), "get data: no such volume");
        remove(&dirs, "data", true).unwrap();
        std::fs::write(mountpoint(&dirs, &other.name).join("file"), [0; 5000]).unwrap();
        let pruned = prune(&dirs, |volume| volume.anonymous).unwrap();
        assert_eq!((pruned.names, pruned.bytes), (vec![other.name], 5000));
        assert_eq!(std::fs::read_dir(dirs.volumes()).unwrap().count(), 0);
    }

    #[test]
    fn names_that_are_paths_are_none() {
        let (_dir, dirs) = dirs();
        for name in ["..", "a/b", ".x", "", "a", "-a"] {
            assert!(create(&dirs, Some(name), BTreeMap::new()).is_err(), "{name:?}");
            assert!(matches!(inspect(&dirs, name), Err(EngineError::NoSuchVolume(_))), "{name:?}");
        }
    }

    #[test]
    fn what_a_killed_process_left_is_collected_when_nobody_is_at_work() {
        let (_dir, dirs) = dirs();
        collect(&dirs).unwrap();
        create(&dirs, Some("data"), BTreeMap::new()).unwrap();
        let left = dirs.volumes().join(".new-1");
        std::fs::create_dir_all(left.join("_data")).unwrap();
        let held = lock(&dirs, FlockOperation::LockShared).unwrap();
        collect(&dirs).unwrap();
        assert!(left.exists());
        drop(held);
        collect(&dirs).unwrap();
        assert!(!left.exists());
        assert_eq!(list(&dirs).unwrap().len(), 1);
    }
}
