//! `rename`: another name for a container.
//!
//! ```text
//!   names/NEW -> ID     exclusively: NEW is its, or somebody else's
//!   config.json         says NEW
//!   names/OLD           goes
//! ```
//!
//! Killed in between, it has two names until the next command looks: the one that its record does not say
//! goes then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::config::name::parse_container_name;
use crate::container;
use crate::dirs::Dirs;
use crate::edit::Edit;
use crate::error::{At, EngineError};
use crate::record::Record;

/// Renames a container, running or not.
///
/// # Errors
/// [`EngineError::NameTaken`]; a name that is none; what a call says.
pub fn rename(dirs: &Dirs, name: &str, new: &str) -> Result<(), EngineError> {
    let refuse = |message: String| EngineError::Failed { message, code: 1 };
    if name.is_empty() || new.is_empty() {
        return Err(refuse("Neither old nor new names may be empty".to_owned()));
    }
    let new = new.strip_prefix('/').unwrap_or(new);
    let new = parse_container_name(new)
        .map_err(|error| refuse(format!("Error when allocating new name: {error}")))?;
    let container::Container { record: Record { id, .. }, state } = container::find(dirs, name)?;
    let (edit, mut record) = Edit::begin(dirs, &id)?;
    if record.name == new {
        return Err(refuse("Renaming a container with the same name as its current name".to_owned()));
    }
    let path = dirs.name(&new);
    loop {
        match rustix::fs::symlink(&id, &path) {
            Ok(()) => break,
            Err(Errno::EXIST) => {
                let owner = match std::fs::read_link(&path) {
                    Ok(owner) => owner.to_string_lossy().into_owned(),
                    Err(_) => continue,
                };
                if owner == id {
                    // Left by a rename that was killed.
                    break;
                }
                if !container::exists(dirs, &owner) {
                    crate::collect::settle_missing(dirs, &owner);
                }
                if container::exists(dirs, &owner) {
                    return Err(EngineError::NameTaken { name: new, id: owner });
                }
            }
            Err(errno) => return Err(errno).at("symlink", &path),
        }
    }
    let old = std::mem::replace(&mut record.name, new);
    if let Err(error) = edit.write(&record) {
        crate::collect::remove_file(&path)?;
        return Err(error);
    }
    crate::collect::remove_file(&dirs.name(&old))?;
    crate::events::tell(dirs, &record, "rename", &[("oldName", &format!("/{old}"))]);
    drop(edit);
    if state.is_alive() {
        // What its monitor tells from now on bears the new name.
        crate::start::look_again(dirs, &id);
    }
    Ok(())
}

/// Takes away names that a killed rename left; `names` are all that there are, each with its container.
pub(crate) fn settle(dirs: &Dirs, names: &[(PathBuf, String)]) {
    let mut of: BTreeMap<&str, Vec<&Path>> = BTreeMap::new();
    for (path, id) in names {
        of.entry(id).or_default().push(path);
    }
    for (id, paths) in of.into_iter().filter(|(_, paths)| paths.len() > 1) {
        // Whoever is at it finishes it.
        let Ok((_edit, record)) = Edit::begin(dirs, id) else { continue };
        for path in paths.iter().filter(|path| **path != dirs.name(&record.name)) {
            // What cannot go now goes the next time.
            let _left = crate::collect::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_too_many_goes() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs { root: dir.path().join("root"), run: dir.path().join("run"), rootless: None };
        std::fs::create_dir_all(dirs.root.join("names")).unwrap();
        let id = "0".repeat(64);
        for name in ["a", "b"] {
            std::os::unix::fs::symlink(&id, dirs.name(name)).unwrap();
        }
        // No record: nothing is known, nothing is done.
        settle(&dirs, &["a", "b"].map(|name| (dirs.name(name), id.clone())));
        assert!(dirs.name("a").is_symlink() && dirs.name("b").is_symlink());
    }
}
