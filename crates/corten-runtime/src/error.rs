//! Why a container did not start.

use corten_sys::CallError;
use rustix::io::Errno;

use crate::user::UserError;

/// A start that failed. Whatever had been made for it is gone again.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An operation of the plan failed.
    #[error("{operation}: {call}")]
    Operation {
        /// The operation, as the plan describes it.
        operation: String,
        /// The call that failed.
        call: CallError,
    },
    /// The program is not there.
    #[error("exec {program:?}: no such file or directory (not found in PATH, or its interpreter is missing)")]
    NotFound {
        /// As it was asked for.
        program: String,
    },
    /// The program is there but cannot be executed.
    #[error("exec {program:?}: {}", exec_reason(*errno))]
    NotExecutable {
        /// As it was asked for.
        program: String,
        /// What execve(2) said.
        errno: Errno,
    },
    /// The working directory is not there, or cannot be entered.
    #[error("chdir to working directory {path:?} in the container: {} ({errno})", corten_sys::errno_name(*errno))]
    WorkingDirectory {
        /// As it was asked for.
        path: String,
        /// What chdir(2) said; `ENOENT` also for one that is outside the container.
        errno: Errno,
    },
    /// A directory was to be mounted onto a file, or a file onto a directory.
    #[error(
        "{operation}: {call}: are you trying to mount a directory onto a file (or vice-versa)? Check if the specified \
         host path exists and is the expected type"
    )]
    Kind {
        /// The operation, as the plan describes it.
        operation: String,
        /// The call that failed.
        call: CallError,
    },
    /// What is mounted at /dev lacks the null device, with which files are masked.
    #[error(
        "{operation} needs the null device of the container's /dev, and what is mounted there has none; \
         --security-opt systempaths=unconfined masks nothing"
    )]
    NoNull {
        /// The operation, as the plan describes it.
        operation: String,
    },
    /// The user or a group is not in the container's files.
    #[error(transparent)]
    User(#[from] UserError),
    /// The cgroup could not be made or limited.
    #[error(transparent)]
    Cgroup(#[from] corten_cgroup::Error),
    /// The file system of a mount cannot shift its ids.
    #[error(
        "{}: the {filesystem} there cannot be mounted with shifted ids ({}); {}",
        path.display(),
        corten_sys::errno_name(*errno),
        unshiftable_hint(*layer)
    )]
    Unshiftable {
        /// Where.
        path: std::path::PathBuf,
        /// What is mounted there.
        filesystem: String,
        /// It is a layer of the image and no bind.
        layer: bool,
        /// What mount_setattr(2) said.
        errno: Errno,
    },
    /// The container in which something was to be executed has ended.
    #[error("the container has just ended")]
    Ended,
    /// Whoever asked for it did not want to wait any longer.
    #[error("its start took too long")]
    GivenUp,
    /// A process whose namespaces were to be joined has ended.
    #[error("the container whose namespaces were to be joined has ended")]
    JoinedGone,
    /// The child died before it had reported anything.
    #[error("the container's first process was killed during set-up by {0}")]
    Killed(String),
    /// The specification asks for what cannot be done.
    #[error("{0}")]
    Spec(#[from] SpecError),
}

fn unshiftable_hint(layer: bool) -> &'static str {
    if layer {
        "keep --root on ext4, xfs, btrfs or (Linux 6.3) tmpfs, or use --userns host"
    } else {
        "mount it read-only (:ro), or with the host's ids (:nomap, --mount …,idmap=off), where the container's \
         root is nobody"
    }
}

fn exec_reason(errno: Errno) -> String {
    match errno {
        Errno::ACCESS => "permission denied".to_owned(),
        Errno::NOEXEC => {
            "exec format error (not a program of this machine, or a script without #!)".to_owned()
        }
        Errno::ISDIR => "is a directory".to_owned(),
        other => format!("{} ({other})", corten_sys::errno_name(other)),
    }
}

/// A specification that asks for what cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A string that the kernel takes as a C string has a NUL in it.
    #[error("{field}: {value:?} contains a NUL byte")]
    Nul {
        /// The field.
        field: &'static str,
        /// What it was.
        value: String,
    },
    /// A path that must be absolute.
    #[error("{field}: {value:?} is not an absolute path")]
    NotAbsolute {
        /// The field.
        field: &'static str,
        /// What it was.
        value: String,
    },
    /// A mount over the root, or one that names a parent directory.
    #[error("mount target {0:?} must be an absolute path below / without `..`")]
    MountTarget(String),
    /// A setting that is not of one of the container's own namespaces.
    #[error("sysctl {0:?} is not of a namespace that the container has of its own")]
    Sysctl(String),
    /// A list that must not be empty.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// The program has an empty name, which no program has.
    #[error("exec \"\": no such file or directory (the name is empty)")]
    NoProgram,
    /// Two fields that exclude each other.
    #[error("{0}")]
    Conflict(&'static str),
}

/// Adds the operation to a failed call.
pub(crate) trait During<T> {
    fn during(self, operation: impl FnOnce() -> String) -> Result<T, StartError>;
}

impl<T> During<T> for Result<T, CallError> {
    fn during(self, operation: impl FnOnce() -> String) -> Result<T, StartError> {
        self.map_err(|call| StartError::Operation { operation: operation(), call })
    }
}
