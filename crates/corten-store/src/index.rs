//! index.json: the names. Read without a lock, replaced whole under the store's lock.
//!
//! ```text
//! {"schemaVersion":2,"manifests":[
//!   {"mediaType":…, "digest":…, "size":…, "annotations":{
//!      "org.opencontainers.image.ref.name": "docker.io/library/busybox:latest",   absent: untagged
//!      "dev.corten.image.id": "sha256:…",      the config's digest  \ what resolve and list would otherwise
//!      "dev.corten.image.size": "4261550"}}    bytes unpacked       / have to open other files for
//! ]}
//! ```
//!
//! Entries that others wrote (skopeo, umoci) lack ours and work all the same.

use corten_oci::layout::{INDEX_FILE, annotation};
use corten_oci::{Descriptor, Document, ImageId, Index, Reference};

use crate::error::{Result, StoreError, SysError};
use crate::session::NewImage;
use crate::store::{Lock, Store};

pub(crate) const IMAGE_ID: &str = "dev.corten.image.id";
pub(crate) const IMAGE_SIZE: &str = "dev.corten.image.size";
const MAX_BYTES: u64 = 4 << 20;

impl Store {
    pub(crate) fn index(&self) -> Result<Index> {
        let Some(bytes) = self.dir.read(INDEX_FILE, 32 << 10, MAX_BYTES)? else {
            return Ok(Index::new(Vec::new()));
        };
        let path = || self.root().join(INDEX_FILE);
        match Document::parse(&bytes, None) {
            Ok(Document::Index(index)) => Ok(index),
            Ok(Document::Manifest(manifest)) => {
                let media_type = manifest.media_type.unwrap_or(corten_oci::MediaType::OCI_MANIFEST);
                let source = corten_oci::DocumentError::WrongKind { what: "index", media_type };
                Err(StoreError::Document { path: path(), source })
            }
            Err(source) => Err(StoreError::Document { path: path(), source }),
        }
    }

    /// The lock is asked for as the proof that it is held exclusively.
    pub(crate) fn replace_index(&self, _lock: &Lock, index: &Index) -> Result<(), SysError> {
        self.dir.replace(INDEX_FILE, &index.to_bytes(), 0o600)
    }
}

/// The full name of an entry, if it has one. A `ref.name` that is no reference (others may write `latest`
/// alone) names nothing here.
pub(crate) fn name_of(entry: &Descriptor) -> Option<Reference> {
    let full = entry.annotations.get(annotation::CONTAINERD_NAME);
    full.or(entry.annotations.get(annotation::REF_NAME))?.parse().ok()
}

pub(crate) fn noted_id(entry: &Descriptor) -> Option<ImageId> {
    entry.annotations.get(IMAGE_ID)?.parse().ok()
}

pub(crate) fn noted_size(entry: &Descriptor) -> Option<u64> {
    entry.annotations.get(IMAGE_SIZE)?.parse().ok()
}

/// Takes a name from whoever has it. The entry stays, as an untagged image, unless another entry keeps the
/// same image.
pub(crate) fn take_name(index: &mut Index, name: &Reference) {
    let mut at = 0;
    while at < index.manifests.len() {
        if name_of(&index.manifests[at]).as_ref() != Some(name) {
            at += 1;
            continue;
        }
        unname(&mut index.manifests[at]);
        let digest = index.manifests[at].digest.clone();
        let kept = index.manifests.iter().enumerate().any(|(i, other)| i != at && other.digest == digest);
        if kept {
            index.manifests.remove(at);
        } else {
            at += 1;
        }
    }
}

pub(crate) fn unname(entry: &mut Descriptor) {
    entry.annotations.remove(annotation::REF_NAME);
    entry.annotations.remove(annotation::CONTAINERD_NAME);
}

/// One entry for each name; without names one untagged, unless the image is there already.
pub(crate) fn add(index: &mut Index, image: &NewImage) {
    let mut entry = image.descriptor.clone();
    unname(&mut entry);
    if let Some(id) = &image.id {
        entry.annotations.insert(IMAGE_ID.into(), id.to_string());
    }
    if let Some(size) = image.size_bytes {
        entry.annotations.insert(IMAGE_SIZE.into(), size.to_string());
    }
    let same = |other: &Descriptor| other.digest == entry.digest;
    if image.names.is_empty() {
        if !index.manifests.iter().any(same) {
            index.manifests.push(entry);
        }
        return;
    }
    // An untagged entry of the same image gives way to the named ones.
    index.manifests.retain(|other| !same(other) || name_of(other).is_some());
    for name in &image.names {
        let mut named = entry.clone();
        named.annotations.insert(annotation::REF_NAME.into(), name.to_string());
        index.manifests.push(named);
    }
}
