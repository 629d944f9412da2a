//! Where the state is.

use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{At, EngineError};
use crate::rootless::{self, Inside, Rootless};

/// The two roots, and the paths below them.
#[derive(Debug, Clone)]
pub struct Dirs {
    /// What outlives a boot.
    pub root: PathBuf,
    /// What does not.
    pub run: PathBuf,
    /// Of somebody who is not the machine's root: how it is done without.
    pub rootless: Option<Rootless>,
}

impl Dirs {
    /// Those of the machine: only root can use them.
    #[must_use]
    pub fn system() -> Self {
        Self { root: "/var/lib/corten".into(), run: "/run/corten".into(), rootless: None }
    }

    /// Those of an ordinary user; they are made if they are not there.
    ///
    /// # Errors
    /// One of them is somebody else's.
    pub fn of_user(root: PathBuf, run: Option<PathBuf>, rootless: Rootless) -> Result<Self, EngineError> {
        rootless::owned(&root)?;
        let run = run.unwrap_or_else(|| root.join("run"));
        rootless::owned(&run)?;
        Ok(Self { root, run, rootless: Some(rootless) })
    }

    /// What an ordinary user has to do before anything is written that is not the user's own.
    ///
    /// # Errors
    /// This machine does not allow it.
    pub fn enter(&mut self) -> Result<(), EngineError> {
        match &mut self.rootless {
            None => Ok(()),
            Some(rootless) => rootless.enter(&self.root),
        }
    }

    /// What an ordinary user has after that.
    pub(crate) fn inside(&self) -> Option<&Inside> {
        self.rootless.as_ref().and_then(Rootless::inside)
    }

    /// A container's directory on disk.
    #[must_use]
    pub fn container(&self, id: &str) -> PathBuf {
        self.root.join("containers").join(id)
    }

    /// A container's directory of the living.
    #[must_use]
    pub fn live(&self, id: &str) -> PathBuf {
        self.run.join(id)
    }

    /// The link that reserves a name.
    #[must_use]
    pub fn name(&self, name: &str) -> PathBuf {
        self.root.join("names").join(name)
    }

    /// Where volumes are.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// Makes the directory of a container that is kept.
    pub(crate) fn make_container(&self, id: &str) -> Result<(), EngineError> {
        let path = self.container(id);
        let make = || rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700));
        match make() {
            Err(Errno::NOENT) => {}
            other => return other.at("mkdir", &path),
        }
        let all = self.root.join("containers");
        make_private(&all)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        corten_store::spread(rustix::fs::open(&all, flags, Mode::empty()).at("open", &all)?);
        make().at("mkdir", &path)
    }

    /// Where blocks of ids are leased.
    #[must_use]
    pub fn leases(&self) -> PathBuf {
        self.run.join("ids")
    }
}

/// Makes a directory, and those above it if they are missing; mode 0700, since layers hold set-uid files.
pub(crate) fn make_private(path: &Path) -> Result<(), EngineError> {
    let make = |path: &Path| rustix::fs::mkdir(path, Mode::from_raw_mode(0o700));
    match make(path) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) => {
            if let Some(parent) = path.parent() {
                make_private(parent)?;
            }
            match make(path) {
                Err(Errno::EXIST) => Ok(()),
                other => other.at("mkdir", path),
            }
        }
        other => other.at("mkdir", path),
    }
}
