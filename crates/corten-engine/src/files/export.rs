//! `export`: a container's root file system as tar, without what is mounted in it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, openat};

use super::paths::Found;
use super::read::Packer;
use super::visit::{Sight, Visit};
use crate::dirs::Dirs;
use crate::error::{At, EngineError};

/// Writes the tar; ids are those of inside.
///
/// # Errors
/// What a call says.
pub fn export(dirs: &Dirs, name: &str, to: OwnedFd) -> Result<(), EngineError> {
    let visit = Visit::begin(dirs, name, Sight::Root, &[], |tree| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(tree.root(), ".", flags, Mode::empty()).at("openat", "/")?;
        let mut packer = Packer::new(tree, File::from(to), "the archive");
        packer.add_content(&Found { fd, kind: FileType::Directory }, Path::new("/"))?;
        packer.finish().map(|_| 0)
    })?;
    visit.end("export").map(drop)
}
