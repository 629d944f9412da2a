//! What can go wrong with the store, each in terms that a caller can act on.

use std::fmt;
use std::path::{Path, PathBuf};

use corten_oci::layout::LayoutError;
use corten_oci::{DiffId, Digest, DigestError, DocumentError, ImageId, Platform, ReferenceError};
use rustix::io::Errno;

use crate::unpack::UnpackError;

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A system call that failed, as strace shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysError {
    pub call: &'static str,
    pub path: PathBuf,
    pub errno: Errno,
}

impl std::error::Error for SysError {}

impl fmt::Display for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?}) = {}", self.call, self.path, corten_sys::errno_name(self.errno))?;
        match self.errno {
            Errno::NOSPC => {
                write!(f, ": no space is left on that file system; the store is as it was before")
            }
            Errno::DQUOT => write!(f, ": the disk quota is used up; the store is as it was before"),
            errno => write!(f, ": {}", std::io::Error::from(errno)),
        }
    }
}

/// Says which call failed on which path.
pub(crate) trait At<T> {
    fn at(self, call: &'static str, path: impl AsRef<Path>) -> Result<T, SysError>;
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, call: &'static str, path: impl AsRef<Path>) -> Result<T, SysError> {
        self.map_err(|errno| SysError { call, path: path.as_ref().into(), errno })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Sys(#[from] SysError),
    #[error("no such image: {0}")]
    NotFound(String),
    #[error("image id {prefix} is the beginning of {} ids: {}", ids.len(), list(ids))]
    Ambiguous { prefix: String, ids: Vec<ImageId> },
    #[error("image {name} has no variant for {wanted}; it has {}", list(have))]
    NoPlatform { name: String, wanted: Box<Platform>, have: Vec<Platform> },
    #[error("image {name} is for {have}, not for {wanted}")]
    OtherPlatform { name: String, wanted: Box<Platform>, have: Box<Platform> },
    #[error("{path:?}: its content is {actual}, not {expected}: the store is damaged there")]
    Damaged { path: PathBuf, expected: Digest, actual: Digest },
    #[error("{path:?} is not in the store, although an image names it")]
    MissingBlob { path: PathBuf },
    #[error("{path:?}: {source}")]
    Document { path: PathBuf, source: DocumentError },
    #[error("{path:?}: {source}")]
    Layout { path: PathBuf, source: LayoutError },
    #[error("{path:?} is larger than the {limit} bytes that are read of it")]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("{path:?}: index nested more than {limit} deep")]
    IndexDepth { path: PathBuf, limit: usize },
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error("layer: the content has diff-id {actual}, the image says {expected}")]
    DiffId { expected: DiffId, actual: DiffId },
    #[error("blob {digest}: {actual} bytes came, {expected} were announced")]
    BlobSize { digest: Digest, expected: u64, actual: u64 },
    #[error("blob {expected}: the content that came has digest {actual}")]
    BlobDigest { expected: Digest, actual: Digest },
    #[error(transparent)]
    Load(#[from] crate::load::LoadError),
    #[error("conflict: {0}")]
    Conflict(#[from] crate::remove::Conflict),
    #[error("cannot tell which images containers use, so nothing was removed: {0}")]
    InUseUnknown(#[source] crate::gc::InUseError),
    #[error("{0}: a tag cannot have a digest")]
    TagWithDigest(String),
    #[error(transparent)]
    Change(#[from] crate::import::ChangeError),
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl StoreError {
    /// Whether the image itself is unreadable, as opposed to the store.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(
            self,
            StoreError::MissingBlob { .. }
                | StoreError::Damaged { .. }
                | StoreError::Document { .. }
                | StoreError::TooLarge { .. }
                | StoreError::Digest(_)
        )
    }
}

pub(crate) fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
