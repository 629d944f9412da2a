//! What starts of the past have left: the cgroups below ours, whoever made them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::Result;
use crate::file;
use crate::layout::{Layout, Version};
use crate::path::CgroupPath;

/// A cgroup below the parent that was asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    pub path: CgroupPath,
    /// Its directory in each hierarchy that has it.
    pub dirs: Vec<PathBuf>,
    /// Whether a process is in it or below it, in any hierarchy.
    pub populated: bool,
}

/// The children of `parent` in every hierarchy, by name. A hierarchy without `parent` has none.
/// [`Cgroup::open`](crate::Cgroup::open) and `remove` collect one; but one without processes can also be a
/// start that has not attached its process yet, so whoever collects must hold the container's lock.
pub fn leftovers(layout: &Layout, parent: &CgroupPath) -> Result<Vec<Leftover>> {
    let mut found: BTreeMap<String, Leftover> = BTreeMap::new();
    for hierarchy in layout.hierarchies() {
        for dir in file::children(&parent.below(&hierarchy.mount))?.unwrap_or_default() {
            // A name that could not be ours (not UTF-8, control characters) is not ours.
            let name = dir.file_name().and_then(|n| n.to_str());
            let Some(Ok(path)) = name.map(|name| parent.join(name)) else { continue };
            let populated = match hierarchy.version {
                Version::V2 => is_populated(&dir)?,
                Version::V1 => !file::procs_below(&dir)?.is_empty(),
            };
            let new = Leftover { path: path.clone(), dirs: Vec::new(), populated: false };
            let leftover = found.entry(path.into()).or_insert(new);
            leftover.dirs.push(dir);
            leftover.populated |= populated;
        }
    }
    Ok(found.into_values().collect())
}

fn is_populated(dir: &std::path::Path) -> Result<bool> {
    let events = file::read_if_there(&dir.join("cgroup.events"))?;
    Ok(events.is_some_and(|text| text.lines().any(|l| l == "populated 1")))
}
