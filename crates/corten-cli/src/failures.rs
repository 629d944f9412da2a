//! What engine and store failed of, as reports: whose fault it is, and what to do about it.

use corten_engine::EngineError;
use corten_oci::ReferenceError;
use corten_oci::platform::PlatformError;
use corten_store::StoreError;
use rustix::io::Errno;

use crate::report::{ENGINE_FAILED, Kind, Report};

impl From<StoreError> for Report {
    fn from(error: StoreError) -> Self {
        of_store(&error)
    }
}

impl From<EngineError> for Report {
    fn from(error: EngineError) -> Self {
        of_engine(&error)
    }
}

impl From<corten_cgroup::Error> for Report {
    fn from(error: corten_cgroup::Error) -> Self {
        of_engine(&error.into())
    }
}

impl From<ReferenceError> for Report {
    fn from(error: ReferenceError) -> Self {
        Report::user(error.to_string())
    }
}

impl From<PlatformError> for Report {
    fn from(error: PlatformError) -> Self {
        Report::user(error.to_string())
    }
}

/// A start's: with the exit code that Docker gives it.
pub(crate) fn of_start(error: &EngineError) -> Report {
    of_engine(error).status(error.exit_code())
}

fn of_store(error: &StoreError) -> Report {
    let kind = match error {
        StoreError::NotFound(_) | StoreError::Ambiguous { .. } => Kind::User,
        _ => Kind::Host,
    };
    let report = Report::from_error(kind, error);
    if matches!(error, StoreError::NotFound(_)) { report.missing() } else { report }
}

/// Of an image that a container was to be made of.
fn of_image(error: &StoreError) -> Report {
    let report = of_store(error).status(ENGINE_FAILED);
    match error {
        StoreError::NotFound(_) => report.hint(
            "bring it in with `corten import` (a root file system as tar); registries are not there yet; the image \
             name `host` needs none",
        ),
        _ => report,
    }
}

fn of_engine(error: &EngineError) -> Report {
    let kind = match error {
        EngineError::Call { .. }
        | EngineError::Record { .. }
        | EngineError::Cgroup(_)
        | EngineError::UserNamespace { .. }
        | EngineError::IdMap(_) => Kind::Host,
        EngineError::Store(error) => return of_image(error),
        _ => Kind::User,
    };
    let report = Report::from_error(kind, error);
    match error {
        EngineError::Cgroup(error) => match error.hint() {
            Some(hint) => report.hint(hint),
            None => report,
        },
        EngineError::UserNamespace { way_out, .. } => report.hint(*way_out),
        EngineError::NoSuchContainer(_) => report.missing(),
        _ => report,
    }
}

/// An exec's, likewise.
pub(crate) fn of_exec(error: &EngineError) -> Report {
    of_engine(error).status(corten_engine::exec::exit_code(error))
}

/// Of what hands out a stream: its reader may have gone.
pub(crate) fn of_stream(error: EngineError) -> Report {
    match error {
        EngineError::Call { call: "write", errno: Errno::PIPE, .. } => Report::closed_pipe(),
        // Told by the process that was in the container.
        EngineError::Failed { message, .. } if message.starts_with("write(") && message.contains("EPIPE") => {
            Report::closed_pipe()
        }
        error => error.into(),
    }
}

/// What a container wrote could not be handed on; the container does not notice.
pub(crate) fn unheard(errno: Errno) -> Report {
    if errno == Errno::PIPE {
        return Report::closed_pipe();
    }
    let report = Report::from(std::io::Error::from(errno)).status(ENGINE_FAILED);
    report.hint("the container is left as it is: see `corten ps -a`")
}

/// Why an ordinary user's directory cannot be used: mostly HOME is somebody else's, after a change of user.
pub(crate) fn of_home(error: &EngineError) -> Report {
    let report = of_engine(error);
    match error {
        EngineError::Call { .. } => report.hint(
            "your containers and images are kept below XDG_DATA_HOME, or HOME/.local/share; --root puts them elsewhere",
        ),
        _ => report,
    }
}
