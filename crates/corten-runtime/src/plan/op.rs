//! The operations.

use std::ffi::{CStr, CString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use corten_cgroup::plan::Member;
use corten_sys::caps::CapSet;
use corten_sys::exec::StringVector;

use crate::spec::{Bind, Capabilities, IdMaps, Rlimit, Seccomp, User, Writable};

/// A place for a descriptor that the parent makes and the child uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(pub u8);

/// Who carries an operation out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The process that starts the container, with the host's capabilities.
    Parent,
    /// The container's first process, until its root is its own.
    Child,
    /// The process that becomes the program: the first one, or its child under corten's init.
    Payload,
}

/// One step of a start.
#[derive(Debug)]
pub enum Op {
    // The parent's.
    /// Make the cgroup and set its limits.
    Cgroup(corten_cgroup::Plan),
    /// Clone the first process in its new namespaces.
    Clone(CloneOp),
    /// Write the maps of its user namespace.
    IdMap(IdMaps),
    /// How likely it is to be killed when memory runs out.
    OomScoreAdj(i32),
    /// An overlay, as a detached mount.
    Overlay { slot: Slot, overlay: OverlayOp, attributes: u64 },
    /// A directory of the host as the root, as a detached mount.
    RootDirectory { slot: Slot, path: PathBuf },
    /// An empty tmpfs as the root, as a detached mount.
    RootMemory { slot: Slot, size_bytes: Option<u64> },
    /// /dev, as a detached mount with all its nodes.
    Dev { slot: Slot, dev: DevOp },
    /// Something of the host, as a detached mount.
    Bind { slot: Slot, bind: Bind, attributes: u64, recursive_attributes: bool, propagation: u64 },
    /// A file made for this container, as a detached mount.
    File { slot: Slot, path: PathBuf, content: Vec<u8>, attributes: u64 },
    /// What another container has mounted, as a detached mount.
    FromContainer { slot: Slot, namespace: PathBuf, path: CString, attributes: u64 },
    /// The container's part of a hierarchy, as a detached mount that cannot be written.
    CgroupTree { slot: Slot, member: Member },
    /// Find the user in the container's files.
    LookupUser { user: String, groups: Vec<String> },
    /// As [`Op::Label`], by the parent, who passes it on to its children: for a container whose /proc may
    /// show by now what the container wants.
    PassLabel { file: &'static CStr, label: CString, lsm: &'static str },
    /// Enter namespaces of a container that runs which only children get, or which rights over the others
    /// come from.
    JoinFirst { namespaces: i32 },
    /// Clone a process that is to enter a container that runs.
    CloneBeside,

    // The child's.
    /// Write `0` into each of these files: v1 hierarchies, which no clone joins.
    JoinCgroup { files: Vec<CString> },
    /// Enter the namespaces of a container that runs, out of the reach of its processes.
    JoinNamespaces { namespaces: i32 },
    /// Become root of the user namespace.
    BecomeRoot,
    /// A cgroup namespace rooted in the cgroup that it joined, or that the parent moved it into.
    UnshareCgroup { after_parent: bool },
    /// Cut this mount namespace off from the host's.
    PrivateMounts,
    /// Attach the root file system where it is out of the way and go there.
    EnterRoot { slot: Slot, at: CString },
    /// Attach a prepared mount; make its place if need be: a directory or a file, or like the mount.
    Attach { slot: Slot, target: CString, directory: Option<bool> },
    /// Mount a file system from inside.
    Mount { kind: CString, target: CString, flags: u64, options: CString },
    /// A directory on a mount that is the container's own.
    MakeDirectory { target: CString, mode: u32 },
    /// A symbolic link on a mount that is the container's own.
    Link { target: CString, to: CString },
    /// Write a setting below /proc/sys.
    Sysctl { target: CString, value: CString },
    /// Bring the loopback interface up.
    LoopbackUp,
    /// Hide a path.
    Mask { target: CString },
    /// Make a path unwritable.
    ReadOnly { target: CString },
    /// Make the tmpfs read-only that other mounts were attached to.
    Seal { target: CString },
    /// A pseudo-terminal of a container that runs, which may have replaced anything by now.
    TerminalInside { rows: u16, columns: u16 },
    /// A pseudo-terminal of the container's own; its master goes to the parent.
    Terminal { rows: u16, columns: u16, console: bool },
    /// Set the host name.
    Hostname(CString),
    /// Set the domain name.
    Domainname(CString),
    /// Make the root what was prepared and let go of the old one.
    Pivot,
    /// No writes to the root file system.
    RootReadOnly,

    // The payload's.
    /// A session of its own, with the terminal if there is one.
    Session { terminal: bool },
    /// A keyring of its own.
    Keyring,
    /// Set a resource limit.
    Rlimit(Rlimit),
    /// Go to the working directory; make it if it is not there.
    WorkingDirectory { path: CString, create: bool },
    /// The file mode creation mask.
    Umask(u32),
    /// The label of the program, in the file that the LSM reads it from.
    Label { file: &'static CStr, label: CString, lsm: &'static str },
    /// Drop what the bounding set may not have.
    Bounding(CapSet),
    /// Change to the user.
    User(User),
    /// Set the capabilities.
    Capabilities(Capabilities),
    /// No exec gives more than is there.
    NoNewPrivileges,
    /// Install the system-call filter.
    Seccomp(Seccomp),
    /// Execute the program.
    Exec { args: StringVector },
}

/// The clone.
#[derive(Debug, Clone)]
pub struct CloneOp {
    /// `CLONE_NEW*` bits.
    pub namespaces: u64,
    /// Namespaces to join first: what they are, their `CLONE_NEW*` bit, their files.
    pub join: Vec<(&'static str, i32, PathBuf)>,
    /// `/proc/PID/timens_offsets` of a new time namespace.
    pub time_offsets: Option<String>,
}

/// An overlay, ready to be mounted.
#[derive(Debug, Clone, Default)]
pub struct OverlayOp {
    /// The layers, the uppermost first.
    pub lowers: Vec<CString>,
    /// What is written; without it the mount is read-only.
    pub writable: Option<Writable<CString>>,
    /// `volatile`.
    pub volatile: bool,
    /// Shift ids by idmapped mounts.
    pub idmap: bool,
    /// `userxattr`.
    pub userxattr: bool,
    /// An overlay of the layers alone, mounted as a stranger, stands between them and the upper one.
    pub screened: bool,
    /// Only this path of it.
    pub subpath: Option<String>,
}

/// A /dev.
#[derive(Debug, Clone)]
pub struct DevOp {
    /// Its nodes.
    pub nodes: Vec<NodeOp>,
    /// Directories for mounts below it.
    pub directories: Vec<(CString, u32)>,
    /// Links: name, target.
    pub links: Vec<(CString, CString)>,
    /// Empty files: places for binds.
    pub files: Vec<CString>,
}

/// A device node in it.
#[derive(Debug, Clone)]
pub struct NodeOp {
    /// Its path below /dev.
    pub path: CString,
    /// Kind and permission bits.
    pub mode: u32,
    /// Device number.
    pub device: u64,
    /// Owner in the container.
    pub uid: u32,
    /// Group in the container.
    pub gid: u32,
}

impl Op {
    /// Whether the child needs nothing of the parent's for it, and can do it while the parent prepares.
    #[must_use]
    pub fn is_early(&self) -> bool {
        matches!(self, Op::JoinCgroup { .. } | Op::UnshareCgroup { after_parent: false } | Op::PrivateMounts)
    }

    /// Who carries it out.
    #[must_use]
    pub fn actor(&self) -> Actor {
        use Op::*;
        match self {
            Cgroup(_)
            | Clone(_)
            | IdMap(_)
            | OomScoreAdj(_)
            | Overlay { .. }
            | RootDirectory { .. }
            | RootMemory { .. }
            | Dev { .. }
            | Bind { .. }
            | File { .. }
            | FromContainer { .. }
            | CgroupTree { .. }
            | LookupUser { .. }
            | PassLabel { .. }
            | JoinFirst { .. }
            | CloneBeside => Actor::Parent,
            JoinCgroup { .. }
            | JoinNamespaces { .. }
            | BecomeRoot
            | UnshareCgroup { .. }
            | PrivateMounts
            | EnterRoot { .. }
            | Attach { .. }
            | Mount { .. }
            | MakeDirectory { .. }
            | Link { .. }
            | Sysctl { .. }
            | LoopbackUp
            | Mask { .. }
            | ReadOnly { .. }
            | Seal { .. }
            | Terminal { .. }
            | TerminalInside { .. }
            | Hostname(_)
            | Domainname(_)
            | Pivot
            | RootReadOnly => Actor::Child,
            Session { .. }
            | Keyring
            | Rlimit(_)
            | WorkingDirectory { .. }
            | Umask(_)
            | Label { .. }
            | Bounding(_)
            | User(_)
            | Capabilities(_)
            | NoNewPrivileges
            | Seccomp(_)
            | Exec { .. } => Actor::Payload,
        }
    }
}

fn show(text: &CStr) -> std::borrow::Cow<'_, str> {
    text.to_string_lossy()
}

/// A path of the container, which the child holds without the leading slash.
fn inside(text: &CStr) -> String {
    format!("/{}", show(text))
}

/// What it is, for the head of an error: `mount of proc at /proc`.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Op::*;
        match self {
            Cgroup(plan) => write!(f, "making cgroup {}", plan.path),
            Clone(_) => f.write_str("cloning the first process"),
            JoinCgroup { .. } => f.write_str("joining the cgroup"),
            IdMap(_) => f.write_str("mapping user and group ids"),
            OomScoreAdj(value) => write!(f, "setting oom_score_adj to {value}"),
            Overlay { overlay, .. } => write!(f, "overlay of {} layers", overlay.lowers.len()),
            RootDirectory { path, .. } => write!(f, "root file system {}", path.display()),
            RootMemory { .. } => f.write_str("root file system in memory"),
            Dev { .. } => f.write_str("making /dev"),
            Bind { bind, .. } => write!(f, "bind of {}", bind.source.display()),
            File { path, .. } => write!(f, "making {}", path.display()),
            FromContainer { path, .. } => write!(f, "sharing {} of another container", show(path)),
            CgroupTree { member, .. } => write!(f, "cgroup tree {}", member.dir.display()),
            LookupUser { user, .. } => write!(f, "looking up user {user:?}"),
            JoinFirst { .. } | JoinNamespaces { .. } => f.write_str("joining the container's namespaces"),
            CloneBeside => f.write_str("cloning the process"),
            BecomeRoot => f.write_str("becoming root of the user namespace"),
            UnshareCgroup { .. } => f.write_str("making the cgroup namespace"),
            PrivateMounts => f.write_str("making mounts private"),
            EnterRoot { at, .. } => write!(f, "attaching the root file system at {}", show(at)),
            Attach { target, .. } => write!(f, "mount at {}", inside(target)),
            Mount { kind, target, .. } => write!(f, "mount of {} at {}", show(kind), inside(target)),
            MakeDirectory { target, .. } => write!(f, "making directory {}", inside(target)),
            Link { target, .. } => write!(f, "making link {}", inside(target)),
            Sysctl { target, value } => write!(f, "writing {:?} to {}", show(value), inside(target)),
            LoopbackUp => f.write_str("bringing the loopback interface up"),
            Mask { target } => write!(f, "masking {}", inside(target)),
            ReadOnly { target } => write!(f, "making {} read-only", inside(target)),
            Seal { target } => write!(f, "making {} read-only", inside(target)),
            Terminal { .. } | TerminalInside { .. } => f.write_str("making the terminal"),
            Hostname(name) => write!(f, "setting the host name to {:?}", show(name)),
            Domainname(name) => write!(f, "setting the domain name to {:?}", show(name)),
            Pivot => f.write_str("changing the root"),
            RootReadOnly => f.write_str("making the root file system read-only"),
            Session { .. } => f.write_str("making the session"),
            Keyring => f.write_str("joining a session keyring"),
            Rlimit(limit) => write!(
                f,
                "setting limit {} to {}:{}",
                corten_sys::rlimit::NAMES
                    .iter()
                    .find(|(_, n)| *n == limit.resource)
                    .map_or("?", |(name, _)| name),
                limit.soft,
                limit.hard
            ),
            WorkingDirectory { path, .. } => write!(f, "changing to working directory {}", show(path)),
            Umask(mask) => write!(f, "setting umask {mask:04o}"),
            Label { label, lsm, .. } | PassLabel { label, lsm, .. } => {
                write!(f, "setting {lsm} label {:?}", show(label))
            }
            Bounding(_) => f.write_str("dropping capabilities from the bounding set"),
            User(_) => f.write_str("changing to the user"),
            Capabilities(_) => f.write_str("setting capabilities"),
            NoNewPrivileges => f.write_str("setting no_new_privs"),
            Seccomp(_) => f.write_str("installing the seccomp filter"),
            Exec { args } => write!(f, "exec {:?}", args.iter().next().map(show).unwrap_or_default()),
        }
    }
}

pub(crate) fn c_path(path: &Path) -> Option<CString> {
    CString::new(path.as_os_str().as_bytes()).ok()
}
