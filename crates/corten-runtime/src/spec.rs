//! What a container is to be: resolved and valid, nothing optional that the standard gives a default.
//!
//! The nouns are those of the OCI runtime specification's `config.json`; both that document and the
//! engine's own configuration end up here.

use std::path::PathBuf;

use corten_cgroup::{CgroupPath, Resources};
use corten_sys::caps::CapSet;

/// Everything that [`crate::plan::build`] needs.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The container's id; names its cgroup and its runtime directory.
    pub id: String,
    /// A directory of the container's own under /run: FIFOs, the exit record, and the place where the
    /// root file system is attached for the moment before pivot_root(2).
    pub run_dir: PathBuf,
    /// UTS host name; only with a UTS namespace of its own.
    pub hostname: Option<String>,
    /// UTS domain name; only with a UTS namespace of its own.
    pub domainname: Option<String>,
    /// Which namespaces are new, shared or joined.
    pub namespaces: Namespaces,
    /// The root file system.
    pub root: Root,
    /// Everything else that is mounted, in this order.
    pub mounts: Vec<Mount>,
    /// Paths of procfs and sysfs that are hidden.
    pub masked_paths: Vec<String>,
    /// Paths of procfs and sysfs that cannot be written.
    pub readonly_paths: Vec<String>,
    /// `kernel.x.y` or `net.x.y` settings, written from inside.
    pub sysctls: Vec<(String, String)>,
    /// Whether the loopback interface is brought up; only with a network namespace of its own.
    pub loopback: bool,
    /// The cgroup, if there is one (an ordinary user may have none).
    pub cgroup: Option<CgroupSpec>,
    /// The program.
    pub process: Process,
    /// Whether corten's own init is process 1 and the program its child.
    pub init: bool,
    /// Where corten's own binary is, if this is another mount namespace than it was executed in.
    pub init_program: Option<PathBuf>,
}

/// Where a container's cgroup is and what limits it has.
#[derive(Debug, Clone)]
pub struct CgroupSpec {
    /// Below the root of each hierarchy: `corten/ID`.
    pub path: CgroupPath,
    /// The limits.
    pub resources: Resources,
    /// The scope that systemd is to make there; `None`: the directory is made.
    pub scope: Option<corten_cgroup::systemd::Scope>,
}

/// Where a container gets a namespace from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Namespace {
    /// A new one.
    #[default]
    New,
    /// The one that corten itself is in.
    Host,
    /// An existing one, by the path of its file.
    Join(PathBuf),
}

/// The namespaces of a container. The mount namespace is always new.
#[derive(Debug, Clone, Default)]
pub struct Namespaces {
    /// Process ids.
    pub pid: Namespace,
    /// Network devices, addresses, routes, ports.
    pub network: Namespace,
    /// System V IPC and POSIX message queues.
    pub ipc: Namespace,
    /// Host and domain name.
    pub uts: Namespace,
    /// The view of the cgroup tree.
    pub cgroup: Namespace,
    /// User and group ids, capabilities.
    pub user: UserNamespace,
    /// Offsets of the clocks; `None` is the host's time namespace.
    pub time: Option<TimeOffsets>,
}

/// Where the user namespace comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum UserNamespace {
    /// The one that corten itself is in.
    #[default]
    Host,
    /// A new one with these maps.
    New(IdMaps),
    /// An existing one, whose maps are these.
    Join(PathBuf, IdMaps),
}

impl UserNamespace {
    /// The maps, if ids are shifted at all.
    #[must_use]
    pub fn maps(&self) -> Option<&IdMaps> {
        match self {
            UserNamespace::Host => None,
            UserNamespace::New(maps) | UserNamespace::Join(_, maps) => Some(maps),
        }
    }
}

/// How ids inside become ids outside (user_namespaces(7)).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdMaps {
    /// User ids.
    pub users: Vec<IdRange>,
    /// Group ids.
    pub groups: Vec<IdRange>,
}

/// `size` ids from `inside` on are those from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// First id in the container.
    pub inside: u32,
    /// First id on the host.
    pub outside: u32,
    /// How many.
    pub size: u32,
}

impl IdMaps {
    /// One block of ids for users and groups alike, from 0 on.
    #[must_use]
    pub fn block(outside: u32, size: u32) -> Self {
        let range = IdRange { inside: 0, outside, size };
        Self { users: vec![range], groups: vec![range] }
    }

    /// The host's user id for one of the container's.
    #[must_use]
    pub fn host_user(&self, id: u32) -> Option<u32> {
        host_id(&self.users, id)
    }

    /// The host's group id for one of the container's.
    #[must_use]
    pub fn host_group(&self, id: u32) -> Option<u32> {
        host_id(&self.groups, id)
    }
}

fn host_id(ranges: &[IdRange], id: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        id.checked_sub(range.inside).filter(|&at| at < range.size).map(|at| range.outside + at)
    })
}

/// Offsets of the two clocks that a time namespace shifts, in seconds and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeOffsets {
    /// CLOCK_MONOTONIC.
    pub monotonic: (i64, u32),
    /// CLOCK_BOOTTIME.
    pub boottime: (i64, u32),
}

/// The root file system.
#[derive(Debug, Clone)]
pub struct Root {
    /// Where its files come from.
    pub source: RootSource,
    /// Whether it is made read-only at the end.
    pub read_only: bool,
}

/// Where the files of the root file system come from.
#[derive(Debug, Clone)]
pub enum RootSource {
    /// Layers under a writable one.
    Overlay(Overlay),
    /// A directory as it is: an OCI bundle's `rootfs`.
    Directory(PathBuf),
    /// An empty file system in memory, of at most `size_bytes`; mounts fill it.
    Memory {
        /// The limit of its size; `None` is half of the machine's memory, tmpfs(5)'s default.
        size_bytes: Option<u64>,
    },
}

/// Where an overlay puts what is written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writable<P> {
    /// A directory that holds `upper` and `work`.
    Directory(P),
    /// A file system in memory of the mount's own, which goes with it.
    Memory {
        /// The mode of the mount's root.
        mode: u32,
    },
}

/// An overlay mount.
#[derive(Debug, Clone, Default)]
pub struct Overlay {
    /// The layers, the uppermost first. Never empty.
    pub lowers: Vec<PathBuf>,
    /// What is written; without it the mount is read-only.
    pub writable: Option<Writable<PathBuf>>,
    /// Nothing of the upper layer must outlive a crash: it is never synced.
    pub volatile: bool,
    /// Layers have ids as in the container and are shifted by idmapped mounts.
    pub idmap: bool,
    /// Overlay's own attributes are `user.*`, as in a user namespace.
    pub userxattr: bool,
    /// The layers are read as a stranger reads them: nobody sees what "other" may not. Takes at least two.
    pub screened: bool,
    /// A path below it that is mounted instead, resolved inside it.
    pub subpath: Option<String>,
}

/// One more mount.
#[derive(Debug, Clone)]
pub struct Mount {
    /// Where, as an absolute path in the container.
    pub target: String,
    /// What.
    pub source: MountSource,
    /// `MOUNT_ATTR_*` of `corten_sys::mount::attr`.
    pub attributes: u64,
    /// Whether the attributes hold for everything below as well.
    pub recursive_attributes: bool,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`; 0 leaves what the source has.
    pub propagation: u64,
}

/// What is mounted.
#[derive(Debug, Clone)]
pub enum MountSource {
    /// A file or directory of the host.
    Bind(Bind),
    /// An overlay at a place other than the root.
    Overlay(Overlay),
    /// A file with this text, made for this container.
    File {
        /// Where it is kept on the host.
        path: PathBuf,
        /// Its content.
        content: Vec<u8>,
    },
    /// /dev: a tmpfs with these nodes, the standard links and the places for the mounts below it.
    Dev(Dev),
    /// A file system of the kernel or in memory, mounted from inside.
    Filesystem {
        /// `proc`, `sysfs`, `tmpfs`, `devpts`, `mqueue`, `cgroup2`.
        kind: String,
        /// Its options, comma-separated.
        options: String,
    },
    /// The container's own part of the cgroup tree.
    Cgroup,
    /// What another container has at a path (its /dev/shm).
    FromContainer {
        /// A file of that container's mount namespace.
        namespace: PathBuf,
        /// The path there.
        path: String,
    },
}

/// A bind mount.
#[derive(Debug, Clone)]
pub struct Bind {
    /// The path on the host.
    pub source: PathBuf,
    /// A path below the source that is mounted instead, resolved inside it.
    pub subpath: Option<String>,
    /// What is mounted below it comes along.
    pub recursive: bool,
    /// How its ids look inside.
    pub ids: BindIds,
}

/// How the ids of a bind mount look from inside a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindIds {
    /// As they are on the disk (an idmapped mount): 0 there is 0 inside.
    Map,
    /// As [`BindIds::Map`] where the file system can, else as [`BindIds::Host`].
    MapIfPossible,
    /// As the host has them: what the container's map lacks belongs to nobody.
    Host,
}

/// The device file system.
#[derive(Debug, Clone, Default)]
pub struct Dev {
    /// Nodes beside the standard ones (null, zero, full, random, urandom, tty), which are always there.
    pub nodes: Vec<DeviceNode>,
    /// A place for /dev/console.
    pub console: bool,
    /// Links to the file descriptors of a process, and ptmx.
    pub links: bool,
    /// Only places for the nodes are made: they are bound from the host, by who may not make any.
    pub bound: bool,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceNode {
    /// Its path below /dev, without a leading slash.
    pub path: String,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO`.
    pub kind: u32,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner in the container.
    pub uid: u32,
    /// Group in the container.
    pub gid: u32,
}

/// The program and what it may do.
#[derive(Debug, Clone)]
pub struct Process {
    /// The program and its arguments; never empty.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The working directory, absolute, in the container.
    pub cwd: String,
    /// Whether a working directory that is not there is made.
    pub create_cwd: bool,
    /// Who it runs as.
    pub user: User,
    /// The supplementary groups of whoever starts it stay: a user namespace of one id forbids a change.
    pub keep_groups: bool,
    /// The file mode creation mask.
    pub umask: Option<u32>,
    /// Its capabilities.
    pub capabilities: Capabilities,
    /// Nothing that it executes gives it more than it has.
    pub no_new_privileges: bool,
    /// Its resource limits.
    pub rlimits: Vec<Rlimit>,
    /// `/proc/PID/oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// Its AppArmor profile.
    pub apparmor_profile: Option<String>,
    /// Its SELinux label.
    pub selinux_label: Option<String>,
    /// Its system-call filter.
    pub seccomp: Option<Seccomp>,
    /// The size of its terminal, (rows, columns), if it has one; (0, 0) leaves it as it comes.
    pub terminal: Option<(u16, u16)>,
}

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// By numbers: OCI's `process.user`.
    Ids {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// Supplementary groups.
        groups: Vec<u32>,
    },
    /// As the container's own /etc/passwd and /etc/group say: `user`, `user:group`, numbers or names.
    /// Gives `HOME` too, if the environment has none.
    Lookup {
        /// What the user or the image said; empty is root.
        user: String,
        /// More supplementary groups, by name or number.
        groups: Vec<String>,
    },
}

/// The five capability sets of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// What an exec can give at most.
    pub bounding: CapSet,
    /// What checks are made against.
    pub effective: CapSet,
    /// What may be made effective.
    pub permitted: CapSet,
    /// What an exec of a file with inheritable capabilities passes on.
    pub inheritable: CapSet,
    /// What any exec passes on.
    pub ambient: CapSet,
}

/// A resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// Its number, of `corten_sys::rlimit`.
    pub resource: u32,
    /// The soft limit; `u64::MAX` is none.
    pub soft: u64,
    /// The hard limit; `u64::MAX` is none.
    pub hard: u64,
}

/// A compiled system-call filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seccomp {
    /// The program.
    pub program: Vec<corten_sys::seccomp::Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shifted_within_the_block_only() {
        let maps = IdMaps::block(1_879_048_192, 65_536);
        assert_eq!(maps.host_user(0), Some(1_879_048_192));
        assert_eq!(maps.host_group(65_535), Some(1_879_113_727));
        assert_eq!(maps.host_user(65_536), None);
    }
}
