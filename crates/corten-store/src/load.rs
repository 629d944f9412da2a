//! `load`: images from an archive that somebody else made. All of it is untrusted.
//!
//! Two kinds, as tar (plain, gzip, zstd) or as a directory:
//! - an OCI image layout (`oci-layout`, `index.json`, `blobs/`), which Docker ≥ 25 also saves;
//! - Docker's own (`manifest.json`, and layers and configs under whatever names).
//!
//! Names in the archive are keys of a table and never paths of ours: each member is spooled under a number
//! in the session's directory and hashed on the way, links are looked up in the table. So there is nothing
//! to traverse. An archive that has both kinds is read as a layout, for that keeps the manifest's digest.

mod docker;
mod layout;
mod source;

use std::io::Read;
use std::path::{Path, PathBuf};

use corten_oci::{
    Descriptor, DiffId, Digest, ImageConfig, ImageId, Manifest, MediaType, Platform, Reference,
};

use crate::error::Result;
use crate::session::{NewImage, Sealed, Session};
use crate::store::Store;
use crate::unpack::{Skipped, UnpackError, UnpackOptions};
use source::Source;

#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// which of several platforms to unpack; this machine's by default
    pub platform: Option<Platform>,
    /// the repository for names that are only a tag (`latest`), as other programs write them into layouts
    pub base_name: Option<Reference>,
    /// what this process is able to do by default
    pub unpack: Option<UnpackOptions>,
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    pub id: ImageId,
    /// none: it is known by its id only
    pub names: Vec<Reference>,
    pub skipped: Skipped,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("this is no image archive: it has neither index.json nor manifest.json at its top")]
    NotAnArchive,
    #[error("this archive is from before Docker 1.10 (2016): it has `repositories` and no manifest.json")]
    BeforeManifests,
    #[error("the archive names {0:?} and does not have it")]
    Missing(PathBuf),
    #[error("{0:?} is a link that leads nowhere, in a circle, or out of the archive")]
    Link(PathBuf),
    #[error("{0:?} is in the archive twice, with different content")]
    Twice(PathBuf),
    #[error("{path:?} is {size} bytes; {limit} are read of it")]
    TooLarge { path: PathBuf, size: u64, limit: u64 },
    #[error("the archive has more than {0} members")]
    Members(usize),
    #[error("the archive needs {needed} bytes, and {allowed} may be used (80 % of what is free there)")]
    Bytes { needed: u64, allowed: u64 },
    #[error("{path:?}: {reason}")]
    Json { path: PathBuf, reason: String },
    #[error("{path:?} has the digest of other content: it is {actual}")]
    Digest { path: PathBuf, actual: Digest },
    #[error("the archive lists no image")]
    Empty,
    #[error("indexes nested more than {0} deep, or more than {1} manifests")]
    Index(usize, usize),
    #[error(transparent)]
    Unpack(#[from] UnpackError),
}

impl Store {
    /// Loads all images of a tar stream.
    pub fn load(&self, input: impl Read + Send, options: &LoadOptions) -> Result<Vec<Loaded>> {
        let session = self.session()?;
        let source = Source::spool(&session, input)?;
        load(session, source, options)
    }

    /// Loads all images of a directory.
    pub fn load_directory(&self, path: &Path, options: &LoadOptions) -> Result<Vec<Loaded>> {
        let session = self.session()?;
        let source = Source::directory(path)?;
        load(session, source, options)
    }
}

fn load(session: Session<'_>, mut source: Source, options: &LoadOptions) -> Result<Vec<Loaded>> {
    let unpack = options.unpack.clone().unwrap_or_else(UnpackOptions::of_this_process);
    let mut images = Vec::new();
    if source.has(&session, "index.json")? {
        layout::load(&session, &mut source, options, &unpack, &mut images)?;
    } else if source.has(&session, "manifest.json")? {
        docker::load(&session, &mut source, &unpack, &mut images)?;
    } else if source.has(&session, "repositories")? {
        return Err(LoadError::BeforeManifests.into());
    } else {
        return Err(LoadError::NotAnArchive.into());
    }
    if images.is_empty() {
        return Err(LoadError::Empty.into());
    }
    let (loaded, new): (Vec<Loaded>, Vec<NewImage>) = images.into_iter().unzip();
    session.publish(&new)?;
    Ok(loaded)
}

/// Unpacks what is not there yet and says how large the image is.
fn unpack_layers(
    session: &Session<'_>,
    layers: &[(DiffId, Sealed)],
    options: &UnpackOptions,
) -> Result<(Skipped, u64)> {
    let mut files = Vec::new();
    for (diff_id, blob) in layers {
        let known = session.is_staged(diff_id) || files.iter().any(|(other, _)| other == diff_id);
        if !known && !session.hold_layer(diff_id)? {
            files.push((diff_id.clone(), session.open_sealed(blob)?));
        }
    }
    let skipped = session.unpack_all(files, options)?;
    let mut size = 0;
    for (diff_id, _) in layers {
        size += session.layer_size(diff_id)?;
    }
    Ok((skipped, size))
}

/// A manifest of ours for a config that came without one.
fn manifest_for(
    session: &Session<'_>,
    config: Descriptor,
    layers: &[(DiffId, Sealed)],
) -> Result<Descriptor> {
    let mut descriptors = Vec::new();
    for (_, blob) in layers {
        let media_type = MediaType::layer(session.compression(blob)?);
        descriptors.push(Descriptor::new(media_type, blob.digest.clone(), blob.size));
    }
    session.put_blob(MediaType::OCI_MANIFEST, &Manifest::new(config, descriptors).to_bytes())
}

fn parse_config(path: &str, bytes: &[u8]) -> Result<ImageConfig> {
    ImageConfig::parse(bytes).map_err(|source| crate::StoreError::Document { path: path.into(), source })
}
