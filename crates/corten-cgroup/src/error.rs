//! What can fail, printed as strace would print it.

use std::fmt;
use std::path::{Path, PathBuf};

use corten_sys::errno_name;
use rustix::io::Errno;

use crate::controller::Controller;
use crate::path::PathError;
use crate::systemd::{BusFault, NameError};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every failure of this crate. [`Error::hint`] says what to do where that is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call was refused.
    #[error("{call} = {}", errno_name(*errno))]
    Call { call: Call, errno: Errno },
    /// A limit was asked for whose controller this host does not offer there.
    #[error("{field}: controller {controller} is not available in {place}")]
    MissingController { controller: Controller, field: &'static str, place: String },
    /// A limit that this kernel's cgroup version has no file for.
    #[error("{field} cannot be set: {why}")]
    Unsupported { field: &'static str, why: &'static str },
    /// A value that the kernel would refuse or quietly change.
    #[error("{field}: {value}: {why}")]
    Invalid { field: String, value: String, why: String },
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Name(#[from] NameError),
    /// No cgroup file system of either version is mounted.
    #[error("no cgroup file system is mounted")]
    NotMounted,
    /// The cgroup still has processes.
    #[error("cgroup {} still has processes: {}", dir.display(), list(pids))]
    Populated { dir: PathBuf, pids: Vec<i32> },
    /// The kernel did not reach the state in time.
    #[error("cgroup {} was not {wanted} within {waited_ms} ms", dir.display())]
    Timeout { dir: PathBuf, wanted: &'static str, waited_ms: u64 },
    /// systemd was asked for a scope.
    #[error("systemd at {bus}: {fault}")]
    Systemd { bus: String, fault: BusFault },
    /// A file of the kernel has other contents than its documentation says.
    #[error("{}: cannot read {text:?}", path.display())]
    Format { path: PathBuf, text: String },
}

/// The call that failed, with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    Open(PathBuf),
    OpenWrite(PathBuf),
    Read(PathBuf),
    Write(PathBuf, String),
    Mkdir(PathBuf),
    Rmdir(PathBuf),
    Getdents(PathBuf),
    Statfs(PathBuf),
    Poll(PathBuf),
    Watch(PathBuf),
    Eventfd,
    Kill(i32),
    /// bpf(2): the command, and the cgroup.
    Bpf(&'static str, PathBuf),
}

impl Call {
    pub(crate) fn failed(self, errno: Errno) -> Error {
        Error::Call { call: self, errno }
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Call::Open(p) | Call::OpenWrite(p) | Call::Read(p) | Call::Write(p, _) | Call::Mkdir(p) => {
                Some(p)
            }
            Call::Rmdir(p) | Call::Getdents(p) | Call::Statfs(p) | Call::Poll(p) | Call::Watch(p) => Some(p),
            Call::Bpf(_, p) => Some(p),
            Call::Eventfd | Call::Kill(_) => None,
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Open(p) => write!(f, "open({:?}, O_RDONLY)", p),
            Call::OpenWrite(p) => write!(f, "open({:?}, O_WRONLY)", p),
            Call::Read(p) => write!(f, "read({:?})", p),
            Call::Write(p, v) => write!(f, "write({:?}, {v:?})", p),
            Call::Mkdir(p) => write!(f, "mkdir({:?}, 0755)", p),
            Call::Rmdir(p) => write!(f, "rmdir({:?})", p),
            Call::Getdents(p) => write!(f, "getdents64({:?})", p),
            Call::Statfs(p) => write!(f, "statfs({:?})", p),
            Call::Poll(p) => write!(f, "poll({:?}, POLLPRI)", p),
            Call::Watch(p) => write!(f, "inotify_add_watch({:?}, IN_MODIFY)", p),
            Call::Eventfd => write!(f, "eventfd(0, EFD_CLOEXEC)"),
            Call::Kill(pid) => write!(f, "kill({pid})"),
            Call::Bpf(command, p) => write!(f, "bpf({command}, {:?})", p),
        }
    }
}

impl Error {
    /// The errno, where a call was refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Call { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// What the user can do, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Call { call, errno } => call_hint(call, *errno),
            Error::MissingController { controller, place, .. } => Some(format!(
                "enable it: write `+{controller}` to cgroup.subtree_control of every cgroup above {place}, \
                 or for a user `systemctl edit user@.service` with `Delegate=yes`; without it leave the limit out"
            )),
            Error::NotMounted => Some("mount -t cgroup2 cgroup2 /sys/fs/cgroup".to_owned()),
            Error::Name(_) => {
                Some("with systemd `--cgroup-parent` is a slice, such as machine.slice".to_owned())
            }
            Error::Systemd { fault, .. } => fault.hint().map(str::to_owned),
            Error::Populated { .. } => Some("kill or move these processes first".to_owned()),
            _ => None,
        }
    }
}

fn call_hint(call: &Call, errno: Errno) -> Option<String> {
    let path = call.path()?;
    let file = path.file_name()?.to_str()?;
    let hint = match (file, errno) {
        (_, Errno::ROFS) => "the cgroup file system is mounted read-only here: remount it writable",
        ("cgroup.subtree_control", Errno::BUSY) => {
            "a cgroup cannot hold processes and give out controllers: move its processes into a leaf below it"
        }
        ("cgroup.subtree_control", Errno::INVAL) => {
            "the cpu controller cannot be enabled while real-time processes are outside of the root cgroup"
        }
        ("cgroup.subtree_control" | "cgroup.procs", Errno::OPNOTSUPP) => {
            "the cgroup is threaded; choose a parent whose cgroup.type is `domain`"
        }
        ("cgroup.procs", Errno::BUSY) => "it has children with controllers: attach to a leaf below it",
        ("cgroup.procs", Errno::NOSPC) => "cpuset.cpus or cpuset.mems of that cgroup is empty",
        ("memory.limit_in_bytes", Errno::BUSY) => "more memory than that is in use and cannot be reclaimed",
        ("memory.limit_in_bytes", Errno::INVAL) => {
            "it is above memory+swap: raise `swap` (memory+swap) with it"
        }
        ("memory.memsw.limit_in_bytes", Errno::INVAL) => "memory+swap must not be below the memory limit",
        ("memory.memsw.limit_in_bytes" | "memory.swap.max", Errno::NOENT) => {
            "this kernel does not account swap: boot with `swapaccount=1`, or leave `swap` out"
        }
        ("cpuset.cpus" | "cpuset.mems", Errno::INVAL | Errno::RANGE | Errno::ACCESS) => {
            return Some(format!("it must be a subset of {}/{file}", path.parent()?.parent()?.display()));
        }
        ("cpu.rt_runtime_us", _) => "the parent cgroup must have real-time runtime to give",
        ("devices.allow", Errno::PERM) => "the parent cgroup does not have that device",
        ("devices.deny", Errno::INVAL) => "it has cgroups below it: `deny a` is refused then",
        (_, Errno::ACCESS | Errno::PERM) => {
            "cgroups are changed by root, or by a user to whom they are delegated"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

fn list(pids: &[i32]) -> String {
    pids.iter().map(i32::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_strace() {
        let e = Call::Write("/sys/fs/cgroup/a/memory.max".into(), "5".into()).failed(Errno::INVAL);
        assert_eq!(e.to_string(), r#"write("/sys/fs/cgroup/a/memory.max", "5") = EINVAL"#);
        let e = Call::Write("/c/cpuset/a/b/cpuset.cpus".into(), "0-99".into()).failed(Errno::INVAL);
        assert_eq!(e.hint().unwrap(), "it must be a subset of /c/cpuset/a/cpuset.cpus");
        let e = Error::MissingController {
            controller: Controller::Hugetlb,
            field: "hugepageLimits",
            place: "/sys/fs/cgroup".into(),
        };
        assert_eq!(e.to_string(), "hugepageLimits: controller hugetlb is not available in /sys/fs/cgroup");
    }
}
