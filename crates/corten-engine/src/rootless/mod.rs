//! Ordinary users: the engine itself enters a user namespace first, and the ordinary way goes on in it.
//!
//! ```text
//!   the machine      the engine                 a container
//!   uid 1000     ─▶  0                      ─▶  0
//!   100000…      ─▶  1…65536                ─▶  1…65536     what subuid(5) grants, by newuidmap(1)
//!   all others   ─▶  nobody                 ─▶  nobody
//! ```
//!
//! Without newuidmap(1) or a grant there is the user's own id and no other. The container has a user
//! namespace of its own below the engine's, with the same ids: so it has no capability over the engine's
//! mounts and processes. All containers of a user share the one map, since a user cannot shift ids by
//! idmapped mounts: owners on disk are those of the map, and the store keeps which it was.
//!
//! No process stays to hold the engine's namespace: each command makes its own, and ids agree. A command
//! that only reads needs none.

mod delegation;
mod grant;
mod namespace;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use corten_runtime::spec::{IdMaps, IdRange};

pub(crate) use delegation::delegated_parent;
pub(crate) use namespace::forbidden;

use crate::dirs::make_private;
use crate::error::{At, EngineError};

/// The inode of the machine's first user namespace, `PROC_USER_INIT_INO` of the kernel.
const FIRST_USER_NAMESPACE: &str = "user:[4026531837]";
/// Which ids the store's files have.
const MAP_FILE: &str = "idmap";

/// How a process that is not the machine's root gets on.
#[derive(Debug, Clone)]
pub struct Rootless {
    /// Where newuidmap(1) and newgidmap(1) are looked for.
    search: Vec<PathBuf>,
    inside: Option<Inside>,
}

/// What the engine has once it is in its user namespace.
#[derive(Debug, Clone)]
pub(crate) struct Inside {
    /// The ids of the engine, each mapped to itself: the map of every container.
    pub(crate) maps: IdMaps,
    /// Supplementary groups can be set.
    pub(crate) groups_can_change: bool,
    /// The path of this binary: in the new mount namespace /proc/self/exe does not tell it any more.
    pub(crate) program: PathBuf,
}

impl Inside {
    /// How many group ids there are from 0 on without a gap.
    pub(crate) fn group_count(&self) -> u32 {
        self.maps.groups.iter().fold(0, |end, range| if range.inside == end { end + range.size } else { end })
    }
}

impl Rootless {
    /// `None` for the machine's root, who needs none of this. Programs are looked for in `search`.
    #[must_use]
    pub fn detect(search: Vec<PathBuf>) -> Option<Self> {
        let root = rustix::process::geteuid().is_root();
        let namespace = || rustix::fs::readlink("/proc/self/ns/user", Vec::new()).ok();
        // Without /proc root is taken to be root: it then fails at the first thing that it does.
        let first = || namespace().is_none_or(|name| name.to_bytes() == FIRST_USER_NAMESPACE.as_bytes());
        (!root || !first()).then_some(Self { search, inside: None })
    }

    pub(crate) fn inside(&self) -> Option<&Inside> {
        self.inside.as_ref()
    }

    /// Where programs are looked for, as a variable of the environment.
    pub(crate) fn path(&self) -> Option<String> {
        let path = std::env::join_paths(&self.search).ok()?.into_string().ok()?;
        Some(format!("PATH={path}"))
    }

    /// Enters the namespace, once. `root` must be the user's own, and have been used with the same ids.
    ///
    /// # Errors
    /// What this machine does not allow, and where that is changed.
    pub fn enter(&mut self, root: &Path) -> Result<(), EngineError> {
        if self.inside.is_some() {
            return Ok(());
        }
        owned(root)?;
        let program = crate::exec::program()?;
        if !rustix::process::geteuid().is_root() {
            namespace::make(&self.search)?;
        }
        namespace::own_mounts()?;
        let (users, groups) = (read_map("/proc/self/uid_map")?, read_map("/proc/self/gid_map")?);
        same_as_before(root, &users, &groups)?;
        let setgroups = std::fs::read_to_string("/proc/self/setgroups").at("read", "/proc/self/setgroups")?;
        let maps = IdMaps { users: identity(&users), groups: identity(&groups) };
        self.inside = Some(Inside { maps, groups_can_change: setgroups.trim() == "allow", program });
        Ok(())
    }

    /// Does something that needs the namespace in a process of its own, so that this one stays outside, where
    /// it is the owner of every namespace of the user's.
    pub(crate) fn aside(&self, root: &Path, act: impl FnOnce()) -> Result<(), EngineError> {
        let mut own = self.clone();
        let child = corten_sys::clone::fork(|| match own.enter(root) {
            Ok(()) => {
                act();
                0
            }
            Err(_) => 1,
        })
        .at("fork", root)?;
        corten_sys::wait::wait_pidfd(child.pidfd.as_fd()).at("waitid", root).map(drop)
    }
}

use std::os::fd::AsFd as _;

/// Refuses a directory of somebody else, who could change what is in it.
pub(crate) fn owned(path: &Path) -> Result<(), EngineError> {
    let stat = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return make_private(path),
        other => other.at("stat", path)?,
    };
    let me = rustix::process::geteuid().as_raw();
    let refuse = |why: String| Err(EngineError::refused(path.display().to_string(), why));
    if stat.uid() != me {
        return refuse(format!(
            "it belongs to user {}, not to you ({me}); choose another with --root",
            stat.uid()
        ));
    }
    if stat.mode() & 0o022 != 0 {
        return refuse("others can write to it: chmod go-w, or choose another with --root".to_owned());
    }
    Ok(())
}

/// (inside, outside, size) of each line of user_namespaces(7)' map.
fn read_map(path: &str) -> Result<Vec<[u32; 3]>, EngineError> {
    let text = std::fs::read_to_string(path).at("read", path)?;
    let line = |line: &str| {
        let mut fields = line.split_whitespace().map(str::parse);
        let (Some(Ok(inside)), Some(Ok(outside)), Some(Ok(size))) =
            (fields.next(), fields.next(), fields.next())
        else {
            return None;
        };
        Some([inside, outside, size])
    };
    Ok(text.lines().filter_map(line).collect())
}

/// One line for each of ours: the kernel takes no range that goes across two of the map above.
fn identity(map: &[[u32; 3]]) -> Vec<IdRange> {
    map.iter().map(|&[inside, _, size]| IdRange { inside, outside: inside, size }).collect()
}

/// The map as the store keeps it.
fn describe(users: &[[u32; 3]], groups: &[[u32; 3]]) -> String {
    let lines = |kind: &str, map: &[[u32; 3]]| -> String {
        map.iter().map(|[inside, outside, size]| format!("{kind} {inside} {outside} {size}\n")).collect()
    };
    lines("u", users) + &lines("g", groups)
}

/// Owners in the store are ids of the map that they were written with: with another they would be somebody
/// else. More of them do no harm.
fn same_as_before(root: &Path, users: &[[u32; 3]], groups: &[[u32; 3]]) -> Result<(), EngineError> {
    let path = root.join(MAP_FILE);
    let now = describe(users, groups);
    let before = match std::fs::read_to_string(&path) {
        Ok(before) => before,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).at("read", &path),
    };
    if before == now {
        return Ok(());
    }
    if let Some(gone) = before.lines().find(|line| !now.lines().any(|other| other == *line)) {
        return Err(EngineError::refused(
            root.display().to_string(),
            format!(
                "its files were written with user and group ids that are not there now ({gone}): newuidmap and \
                 newgidmap must be found in PATH, and /etc/subuid and /etc/subgid grant the same ranges; or \
                 choose another directory with --root"
            ),
        ));
    }
    let beside = root.join(format!("{MAP_FILE}.{}", std::process::id()));
    std::fs::write(&beside, now).at("write", &beside)?;
    rustix::fs::rename(&beside, &path).at("rename", &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_used_with_the_ids_it_was_made_with_or_more() {
        let dir = tempfile::tempdir().unwrap();
        let one = [[0, 1000, 1]];
        let more = [[0, 1000, 1], [1, 100_000, 65_536]];
        let other = [[0, 1000, 1], [1, 200_000, 65_536]];
        assert!(same_as_before(dir.path(), &one, &one).is_ok());
        assert!(same_as_before(dir.path(), &more, &more).is_ok());
        assert!(same_as_before(dir.path(), &more, &more).is_ok());
        for (users, groups) in [(&one[..], &one[..]), (&other, &more), (&more, &other)] {
            let error = same_as_before(dir.path(), users, groups).unwrap_err().to_string();
            assert!(error.contains("newuidmap") && error.contains("1 100000 65536"), "{error}");
        }
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        assert!(owned(dir.path()).is_ok());
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(owned(dir.path()).unwrap_err().to_string().contains("others can write"));
        let fresh = dir.path().join("a/b");
        owned(&fresh).unwrap();
        assert_eq!(fresh.metadata().unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn groups_are_counted_up_to_the_first_gap() {
        let range = |inside, size| IdRange { inside, outside: inside, size };
        let inside = |groups| Inside {
            maps: IdMaps { users: vec![], groups },
            groups_can_change: true,
            program: PathBuf::new(),
        };
        assert_eq!(inside(vec![range(0, 1)]).group_count(), 1);
        assert_eq!(inside(vec![range(0, 1), range(1, 65_536), range(70_000, 5)]).group_count(), 65_537);
    }
}
