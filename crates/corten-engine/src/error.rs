//! What can go wrong, in terms that a caller can act on.

use std::path::{Path, PathBuf};

use corten_runtime::{SpecError, StartError};
use corten_sys::errno_name;
use rustix::io::Errno;

/// A failed operation of the engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A call on a path failed.
    #[error("{call}({path:?}) = {} ({errno})", errno_name(*errno))]
    Call {
        /// Which.
        call: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer.
        errno: Errno,
    },
    /// A record cannot be read.
    #[error("{path:?} is damaged: {reason}")]
    Record {
        /// Which.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// The log cannot be read back.
    #[error("configured logging driver does not support reading: {0}")]
    LogNotRead(String),
    /// ps(1) could not tell.
    #[error("ps: {0}")]
    Ps(String),
    /// No container of that name or id.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// The beginning of several ids.
    #[error("multiple IDs found with provided prefix: {0}")]
    AmbiguousId(String),
    /// The name is another container's.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        id: String,
    },
    /// It runs and was not to be forced.
    #[error(
        "cannot remove container \"/{0}\": container is running: stop the container before removing or force remove"
    )]
    Running(String),
    /// It does not run.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// It is frozen, and this needs one that is not; in Docker's words.
    #[error("{0}")]
    Paused(String),
    /// This binary could not be kept from a container's root who may write to it.
    #[error("this binary cannot be protected from the container: {0}")]
    Seal(String),
    /// Who attended a process in a container was killed.
    #[error(
        "the process that attended the command in container {0} was killed; the command may go on without it"
    )]
    AttendantGone(String),
    /// Another process is making or starting it.
    #[error("cannot remove container \"/{0}\": another process is about to start it: try again")]
    Starting(String),
    /// Its state does not allow it, in Docker's words.
    #[error("{0}")]
    State(String),
    /// What was asked for cannot be done (yet) here.
    #[error("{what} is refused: {why}")]
    Refused {
        /// The flag or field.
        what: String,
        /// The reason, and the way out where there is one.
        why: String,
    },
    /// Flags that exclude each other.
    #[error("conflicting options: {0}")]
    Conflict(&'static str),
    /// Something of another container cannot be joined.
    #[error("cannot join the {what} of container {name}: {why}")]
    Join {
        /// What.
        what: &'static str,
        /// Whose.
        name: String,
        /// Why not.
        why: String,
    },
    /// No volume of that name.
    #[error("get {0}: no such volume")]
    NoSuchVolume(String),
    /// Containers use the volume.
    #[error("remove {name}: volume is in use - [{}]", users.join(", "))]
    VolumeInUse {
        /// Which.
        name: String,
        /// The containers' ids.
        users: Vec<String>,
    },
    /// The log options.
    #[error(transparent)]
    Log(#[from] crate::config::log::LogError),
    /// All blocks of ids are in use.
    #[error("no block of user ids is free: {0} containers run")]
    NoIds(u32),
    /// This machine lets the user have no user namespace.
    #[error("a container of an ordinary user needs a user namespace: {call} = {} ({errno})", errno_name(*errno))]
    UserNamespace {
        /// The call.
        call: String,
        /// The answer.
        errno: Errno,
        /// What to change.
        way_out: &'static str,
    },
    /// The set-uid helpers did not map the ids that they are there for.
    #[error("user and group ids could not be mapped: {0}")]
    IdMap(String),
    /// `--cidfile` cannot be written.
    #[error("failed to create the container ID file: {}: {reason}", path.display())]
    IdFile {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// `--mount type=bind` makes no source.
    #[error("invalid mount config for type \"bind\": bind source path does not exist: {}", .0.display())]
    NoBindSource(PathBuf),
    /// The seccomp profile cannot be used.
    #[error("{0}")]
    Seccomp(String),
    /// The image store.
    #[error(transparent)]
    Store(#[from] corten_store::StoreError),
    /// The start.
    #[error(transparent)]
    Start(#[from] corten_runtime::StartError),
    /// Control groups.
    #[error(transparent)]
    Cgroup(#[from] corten_cgroup::Error),
    /// Limits that contradict each other.
    #[error(transparent)]
    Resources(#[from] crate::config::resources::ResourcesError),
    /// The monitor told why the start failed.
    #[error("{message}")]
    Failed {
        /// In words.
        message: String,
        /// 125, 126 or 127.
        code: u8,
    },
    /// The monitor was killed while it was waited for.
    #[error("the monitor of container {0} was killed; the container goes on, see `corten ps`")]
    MonitorGone(String),
    /// The monitor was killed before the container ran.
    #[error("the monitor of container {0} was killed during the start; the start was undone")]
    StartCut(String),
}

impl EngineError {
    pub(crate) fn refused(what: impl Into<String>, why: impl Into<String>) -> Self {
        EngineError::Refused { what: what.into(), why: why.into() }
    }

    /// Docker's exit code: 126 and 127 are the command's fault, 125 is everything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            EngineError::Start(StartError::NotFound { .. } | StartError::Spec(SpecError::NoProgram)) => 127,
            EngineError::Start(StartError::NotExecutable { .. }) => 126,
            EngineError::Failed { code, .. } => *code,
            _ => 125,
        }
    }
}

/// Says which call failed on which path.
pub(crate) trait At<T> {
    fn at(self, call: &'static str, path: impl AsRef<Path>) -> Result<T, EngineError>;
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, call: &'static str, path: impl AsRef<Path>) -> Result<T, EngineError> {
        self.map_err(|errno| EngineError::Call { call, path: path.as_ref().into(), errno })
    }
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, call: &'static str, path: impl AsRef<Path>) -> Result<T, EngineError> {
        self.map_err(|error| EngineError::Call {
            call,
            path: path.as_ref().into(),
            errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        })
    }
}
