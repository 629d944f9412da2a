//! Where this host's cgroup hierarchies are.
//!
//! ```text
//! V2      /sys/fs/cgroup            cgroup2: every controller
//! V1      /sys/fs/cgroup/memory …   one mount for each controller, or for a few together
//! Hybrid  as V1, and                cgroup2 beside it, which owns what v1 left over (often nothing)
//!         /sys/fs/cgroup/unified
//! ```
//!
//! Detection is on the way to every start, so it is counted: pure v2 is one statfs and one file; the
//! others one statfs, mountinfo and at most one file. Sources: cgroups(7), proc_pid_mountinfo(5).

use std::path::{Path, PathBuf};

use corten_sys::mountinfo::unescape;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::controller::{Controller, Controllers};
use crate::error::{Call, Error, Result};
use crate::file;
use crate::path::CgroupPath;

/// linux/magic.h
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
const DEFAULT_MOUNT: &str = "/sys/fs/cgroup";

/// Which world a hierarchy is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    V1,
    V2,
}

/// What the host is as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Only v1 hierarchies.
    V1,
    /// v1 hierarchies, and cgroup2 beside them.
    Hybrid,
    /// Only cgroup2.
    V2,
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    pub version: Version,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// On v1 those that are attached to it, on v2 those of `cgroup.controllers` at the mount point.
    pub controllers: Controllers,
    /// `systemd` of a v1 mount with `name=systemd`.
    pub name: Option<String>,
    /// Which cgroup is at the mount point: `/`, or a deeper one inside of a container.
    pub root: String,
}

/// All hierarchies. It is the same until the host reboots, so it may be kept (serde) beside a boot id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    pub kind: Kind,
    pub v1: Vec<Hierarchy>,
    /// The cgroup2 mount of V2 and Hybrid.
    pub unified: Option<Hierarchy>,
}

impl Layout {
    /// Asks the kernel.
    pub fn detect() -> Result<Layout> {
        Layout::detect_for(Controllers::ALL)
    }

    /// As [`Layout::detect`], for a container that needs these controllers: if v1 has them all, those of
    /// a cgroup2 beside it are not asked for and stay empty, three system calls less.
    pub fn detect_for(needed: Controllers) -> Result<Layout> {
        let default = Path::new(DEFAULT_MOUNT);
        let mut layout = match rustix::fs::statfs(default) {
            Ok(fs) if fs.f_type as u64 == CGROUP2_SUPER_MAGIC => Layout::unified_at(default),
            Ok(_) | Err(Errno::NOENT) => {
                Layout::parse_mountinfo(&file::read(Path::new("/proc/self/mountinfo"))?)?
            }
            Err(e) => return Err(Call::Statfs(default.to_owned()).failed(e)),
        };
        let in_v1 = layout.v1.iter().fold(Controllers::NONE, |all, h| all.union(h.controllers));
        let enough = in_v1.intersection(needed) == needed;
        if let Some(unified) = layout.unified.as_mut().filter(|_| !enough) {
            let text = file::read_short(&unified.mount.join("cgroup.controllers"))?;
            unified.controllers = Controllers::parse(&text, char::is_whitespace);
        }
        Ok(layout)
    }

    /// A pure v2 host, its controllers yet unknown.
    fn unified_at(mount: &Path) -> Layout {
        let unified = Hierarchy {
            version: Version::V2,
            mount: mount.to_owned(),
            controllers: Controllers::NONE,
            name: None,
            root: "/".to_owned(),
        };
        Layout { kind: Kind::V2, v1: Vec::new(), unified: Some(unified) }
    }

    /// Reads mountinfo. Of a hierarchy that is mounted more than once the one below /sys/fs/cgroup is
    /// taken, else the first. The controllers of cgroup2 are not in mountinfo and stay empty.
    pub fn parse_mountinfo(text: &str) -> Result<Layout> {
        let mut v1: Vec<Hierarchy> = Vec::new();
        let mut unified: Option<Hierarchy> = None;
        for found in text.lines().filter_map(parse_mount) {
            let known = match found.version {
                Version::V2 => unified.as_mut(),
                Version::V1 => {
                    v1.iter_mut().find(|h| h.controllers == found.controllers && h.name == found.name)
                }
            };
            match known {
                Some(known) if !known.at_default() && found.at_default() => *known = found,
                Some(_) => {}
                None if found.version == Version::V2 => unified = Some(found),
                None => v1.push(found),
            }
        }
        // A lone `name=systemd` beside cgroup2 limits nothing: such a host is v2.
        let limits = v1.iter().any(|h| !h.controllers.is_empty());
        let kind = match (limits, &unified) {
            (false, Some(_)) => Kind::V2,
            (true, Some(_)) => Kind::Hybrid,
            (true, None) => Kind::V1,
            (false, None) => return Err(Error::NotMounted),
        };
        if kind == Kind::V2 {
            v1.clear();
        }
        Ok(Layout { kind, v1, unified })
    }

    /// The hierarchy that has `controller`.
    pub fn hierarchy(&self, controller: Controller) -> Option<&Hierarchy> {
        self.v1
            .iter()
            .find(|h| h.controllers.contains(controller))
            .or_else(|| self.unified.as_ref().filter(|h| h.controllers.contains(controller)))
    }

    /// Every hierarchy, cgroup2 last.
    pub fn hierarchies(&self) -> impl Iterator<Item = &Hierarchy> {
        self.v1.iter().chain(&self.unified)
    }

    /// Which world limits are in.
    pub fn limits_version(&self) -> Version {
        if self.kind == Kind::V2 { Version::V2 } else { Version::V1 }
    }

    /// Every controller of the host, wherever it is.
    pub fn controllers(&self) -> Controllers {
        self.hierarchies().fold(Controllers::NONE, |all, h| all.union(h.controllers))
    }

    /// When a container's cgroup namespace may be made: only on pure v2 can clone3 put the child into
    /// its cgroup and make the namespace in one step. Elsewhere the namespace would be rooted at the
    /// cgroups of the caller, so the child unshares it after it was attached (measured on 6.18).
    pub fn cgroup_namespace_at_clone(&self) -> bool {
        self.kind == Kind::V2
    }
}

impl Hierarchy {
    fn at_default(&self) -> bool {
        self.mount.starts_with(DEFAULT_MOUNT)
    }
}

/// One line of mountinfo, if it is a cgroup mount:
/// `36 35 98:0 ROOT MOUNT rw,noatime shared:1 - cgroup cgroup rw,cpu,cpuacct`.
fn parse_mount(line: &str) -> Option<Hierarchy> {
    let (mount, fs) = line.split_once(" - ")?;
    let mut fs = fs.split(' ');
    let version = match fs.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let options = fs.nth(1)?;
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    let (controllers, name) = match version {
        Version::V2 => (Controllers::NONE, None),
        Version::V1 => (
            Controllers::parse(options, |c| c == ','),
            options.split(',').find_map(|o| o.strip_prefix("name=")).map(str::to_owned),
        ),
    };
    let root = unescape(root).to_string_lossy().into_owned();
    Some(Hierarchy { version, mount: unescape(point).into(), controllers, name, root })
}

/// In which cgroups a process is, as /proc/PID/cgroup says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position(Vec<(Membership, String)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Membership {
    V2,
    V1(Controllers),
    Named(String),
}

impl Position {
    /// Our own.
    pub fn own() -> Result<Position> {
        Ok(Position::parse(&file::read(Path::new("/proc/self/cgroup"))?))
    }

    pub fn of(pid: i32) -> Result<Position> {
        Ok(Position::parse(&file::read(Path::new(&format!("/proc/{pid}/cgroup")))?))
    }

    /// Lines of `ID:CONTROLLERS:PATH`, with both of the first empty (`0::`) for cgroup2.
    pub fn parse(text: &str) -> Position {
        let line = |line: &str| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let membership = match controllers.strip_prefix("name=") {
                _ if controllers.is_empty() => Membership::V2,
                Some(name) => Membership::Named(name.to_owned()),
                None => Membership::V1(Controllers::parse(controllers, |c| c == ',')),
            };
            Some((membership, path.to_owned()))
        };
        Position(text.lines().filter_map(line).collect())
    }

    /// The path in cgroup2, as the kernel shows it to us.
    pub fn unified_path(&self) -> Option<&str> {
        self.0.iter().find(|(membership, _)| *membership == Membership::V2).map(|(_, path)| path.as_str())
    }

    /// The path in `hierarchy`, relative to its mount point: `None` if the process is in no cgroup of
    /// it, is at the mount point itself, or is outside of what is mounted there.
    pub fn in_hierarchy(&self, hierarchy: &Hierarchy) -> Option<CgroupPath> {
        let (_, path) = self.0.iter().find(|(membership, _)| match membership {
            Membership::V2 => hierarchy.version == Version::V2,
            Membership::V1(c) => {
                hierarchy.version == Version::V1 && !c.is_empty() && *c == hierarchy.controllers
            }
            Membership::Named(name) => hierarchy.name.as_ref() == Some(name),
        })?;
        let below = match hierarchy.root.as_str() {
            "/" => path.as_str(),
            root => path.strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with('/')).or(
                // In a cgroup namespace both may be shown relative to the namespace's root.
                root.starts_with("/..").then_some(path.as_str()),
            )?,
        };
        CgroupPath::new(below.trim_start_matches('/')).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
38 31 0:35 / /sys/fs/cgroup/blk\\040io rw,relatime - cgroup cgroup rw,blkio
39 31 0:35 / /mnt/other rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn hybrid() {
        let layout = Layout::parse_mountinfo(HYBRID).unwrap();
        assert_eq!(layout.kind, Kind::Hybrid);
        assert_eq!(layout.v1.len(), 4);
        let cpu = layout.hierarchy(Controller::Cpuacct).unwrap();
        assert_eq!(cpu.mount, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(layout.hierarchy(Controller::Memory).unwrap().mount, Path::new("/sys/fs/cgroup/memory"));
        assert_eq!(layout.hierarchy(Controller::Io).unwrap().mount, Path::new("/sys/fs/cgroup/blk io"));
        assert_eq!(layout.v1[3].name.as_deref(), Some("systemd"));
        assert_eq!(layout.unified.as_ref().unwrap().mount, Path::new("/sys/fs/cgroup/unified"));
        assert!(!layout.cgroup_namespace_at_clone());
    }

    #[test]
    fn the_mount_below_sys_fs_cgroup_wins() {
        let text = "\
1 0 0:1 / /a rw - cgroup cgroup rw,memory
2 0 0:1 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
";
        let layout = Layout::parse_mountinfo(text).unwrap();
        assert_eq!(layout.kind, Kind::V1);
        assert_eq!(layout.v1[0].root, "/docker/x");
    }

    #[test]
    fn pure_kinds() {
        let v2 = Layout::parse_mountinfo("9 1 0:2 / /cg rw - cgroup2 none rw,nsdelegate\n").unwrap();
        assert_eq!((v2.kind, v2.v1.len()), (Kind::V2, 0));
        let with_systemd = "9 1 0:2 / /cg rw - cgroup2 none rw\n8 1 0:3 / /s rw - cgroup c rw,name=systemd\n";
        assert_eq!(Layout::parse_mountinfo(with_systemd).unwrap().kind, Kind::V2);
        assert!(matches!(
            Layout::parse_mountinfo("1 0 0:1 / / rw - ext4 /dev/vda rw\n"),
            Err(Error::NotMounted)
        ));
        assert!(matches!(Layout::parse_mountinfo(""), Err(Error::NotMounted)));
    }

    #[test]
    fn positions() {
        let layout = Layout::parse_mountinfo(HYBRID).unwrap();
        let p = Position::parse("4:memory:/a:b/c\n2:cpu,cpuacct:/\n9:name=systemd:/x.slice\n0::/u\n");
        let at = |h: &Hierarchy| p.in_hierarchy(h).map(String::from);
        assert_eq!(at(&layout.v1[0]), None);
        assert_eq!(at(&layout.v1[1]).as_deref(), Some("a:b/c"));
        assert_eq!(at(&layout.v1[2]), None);
        assert_eq!(at(&layout.v1[3]).as_deref(), Some("x.slice"));
        assert_eq!(at(layout.unified.as_ref().unwrap()).as_deref(), Some("u"));
        let inside = Hierarchy { root: "/a:b".into(), ..layout.v1[1].clone() };
        assert_eq!(at(&inside).as_deref(), Some("c"));
        let other = Hierarchy { root: "/a".into(), ..layout.v1[1].clone() };
        assert_eq!(at(&other), None);
    }

    #[test]
    fn this_host() {
        match Layout::detect() {
            Ok(layout) => assert!(layout.hierarchies().all(|h| h.mount.is_absolute())),
            Err(e) => println!("skipped: {e}"),
        }
    }
}
