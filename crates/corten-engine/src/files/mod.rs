//! The files of a container: copied in and out, exported, compared, made into an image.
//!
//! ```text
//!   cp C:SRC DEST    visitor ──tar──▶ this process ──▶ files       visitor: a child with one thread, in the
//!   cp SRC C:DEST    files ──▶ this process ──tar──▶ visitor       container's namespaces if it runs, in a
//!   export C         visitor ──tar──▶ file                         private mount namespace if not
//!   diff, commit     this process reads the upper layer
//! ```
//!
//! Everything in a container is hostile. A path of it is resolved by the kernel with its root as the root,
//! and then the descriptor is used; below a source or destination no link is followed, whatever is renamed
//! meanwhile. Nothing of the container is executed or loaded. What comes out of it is written by this
//! process with the rights of its user, below the destination only.

mod commit;
mod copy;
mod diff;
mod export;
mod make;
mod paths;
mod read;
mod size;
mod visit;
mod write;

use std::path::PathBuf;

use crate::dirs::Dirs;
use crate::error::EngineError;
use crate::record::Record;

pub use commit::{CommitOptions, Pause, commit};
pub use copy::{Copied, CopyOptions, Local, Progress, copy_in, copy_out};

pub use diff::{Change, ChangeKind, diff};
pub use export::export;
pub use size::size_of;

/// The layers of a container's root below its own, the uppermost first.
///
/// # Errors
/// The image cannot be read.
pub fn layers(dirs: &Dirs, record: &Record) -> Result<Vec<PathBuf>, EngineError> {
    visit::layers(dirs, record)
}
