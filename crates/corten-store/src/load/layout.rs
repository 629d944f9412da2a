//! An OCI image layout: every blob is what its name says, or the archive is refused.

use std::collections::HashSet;

use corten_oci::image::{MAX_CONFIG_BYTES, MAX_INDEX_DEPTH, MAX_INDEX_ENTRIES, MAX_MANIFEST_BYTES};
use corten_oci::layout::{INDEX_FILE, ImageLayout, MARKER_FILE, annotation, blob_path};
use corten_oci::{
    Descriptor, DiffId, Document, DocumentError, ImageId, Index, Kind, Manifest, Platform, Reference,
};

use super::source::Source;
use super::{LoadError, LoadOptions, Loaded, parse_config, unpack_layers};
use crate::error::{Result, StoreError};
use crate::session::{NewImage, Sealed, Session};
use crate::unpack::{Skipped, UnpackOptions};

pub(super) fn load(
    session: &Session<'_>,
    source: &mut Source,
    options: &LoadOptions,
    unpack: &UnpackOptions,
    images: &mut Vec<(Loaded, NewImage)>,
) -> Result<()> {
    if source.has(session, MARKER_FILE)? {
        let marker = source.read(session, MARKER_FILE, 4096)?;
        ImageLayout::parse(&marker)
            .map_err(|source| StoreError::Layout { path: MARKER_FILE.into(), source })?;
    }
    let bytes = source.read(session, INDEX_FILE, MAX_MANIFEST_BYTES)?;
    let index = match document(INDEX_FILE, &bytes, None)? {
        Document::Index(index) => index,
        Document::Manifest(_) => return Err(LoadError::NotAnArchive.into()),
    };
    let mut loader = Loader { session, source, options, unpack, seen: HashSet::new() };
    // Names of one image are merged: Docker writes an entry for each.
    for entry in &index.manifests {
        if !matches!(entry.media_type.kind(), Kind::Manifest | Kind::Index | Kind::Schema1) {
            continue;
        }
        let name = name_of(entry, options)?;
        let known = images.iter_mut().find(|(_, new)| new.descriptor.digest == entry.digest);
        if let Some((loaded, new)) = known {
            loaded.names.extend(name.clone());
            new.names.extend(name);
            continue;
        }
        images.push(loader.entry(entry, name)?);
    }
    Ok(())
}

/// A whole name from containerd's annotation or from ref.name; what can only be a tag is one of the base
/// name's, if there is one.
fn name_of(entry: &Descriptor, options: &LoadOptions) -> Result<Option<Reference>> {
    if let Some(full) = entry.annotations.get(annotation::CONTAINERD_NAME) {
        return Ok(Some(full.parse::<Reference>()?.with_default_tag()));
    }
    let Some(name) = entry.annotations.get(annotation::REF_NAME) else { return Ok(None) };
    if name.contains(['/', ':', '@']) {
        return Ok(Some(name.parse::<Reference>()?.with_default_tag()));
    }
    Ok(options.base_name.as_ref().map(|base| base.with_tag(name)).transpose()?)
}

fn document(path: &str, bytes: &[u8], descriptor: Option<&Descriptor>) -> Result<Document> {
    Document::parse(bytes, descriptor.map(|d| &d.media_type))
        .map_err(|source| StoreError::Document { path: path.into(), source })
}

struct Loader<'a, 's> {
    session: &'a Session<'s>,
    source: &'a mut Source,
    options: &'a LoadOptions,
    unpack: &'a UnpackOptions,
    /// manifests and indexes looked at, over all entries
    seen: HashSet<corten_oci::Digest>,
}

impl Loader<'_, '_> {
    fn entry(&mut self, entry: &Descriptor, name: Option<Reference>) -> Result<(Loaded, NewImage)> {
        let manifest = self.chosen(entry)?;
        let (layers, config) = self.image(&manifest, true)?;
        let config = config.ok_or_else(|| LoadError::Missing(blob_path(&manifest.config.digest).into()))?;
        let diff_ids: Vec<DiffId> = config.rootfs.diff_ids.clone();
        let layers: Vec<(DiffId, Sealed)> = diff_ids.into_iter().zip(layers).collect();
        let (skipped, size): (Skipped, u64) = unpack_layers(self.session, &layers, self.unpack)?;
        let id = ImageId(manifest.config.digest.clone());
        let single = entry.media_type.kind() == Kind::Manifest;
        let mut descriptor = Descriptor::new(entry.media_type.clone(), entry.digest.clone(), entry.size);
        descriptor.platform = entry.platform.clone();
        let names: Vec<Reference> = name.into_iter().collect();
        let new = NewImage {
            descriptor,
            id: single.then(|| id.clone()),
            names: names.clone(),
            size_bytes: single.then_some(size),
        };
        Ok((Loaded { id, names, skipped }, new))
    }

    /// Stages the entry and everything under it that the archive has, and gives the manifest to unpack.
    fn chosen(&mut self, entry: &Descriptor) -> Result<Manifest> {
        let wanted = self.options.platform.clone().unwrap_or_else(Platform::host);
        let mut todo = vec![(entry.clone(), 0, true)];
        let mut chosen = None;
        let mut have = Vec::new();
        while let Some((at, depth, wants)) = todo.pop() {
            if depth > MAX_INDEX_DEPTH || self.seen.len() > MAX_INDEX_ENTRIES {
                return Err(LoadError::Index(MAX_INDEX_DEPTH, MAX_INDEX_ENTRIES).into());
            }
            if depth > 0 && self.source.blob(self.session, &blob_path(&at.digest))?.is_none() && !wants {
                continue;
            }
            let first_time = self.seen.insert(at.digest.clone());
            match self.document(&at)? {
                Document::Manifest(manifest) => {
                    if wants {
                        chosen = Some(manifest);
                    } else if first_time {
                        self.image(&manifest, false)?;
                    }
                }
                Document::Index(index) => {
                    have.extend(index.manifests.iter().filter_map(|d| d.platform.clone()));
                    let selected = wants.then(|| select(&index, &wanted, self.options)).flatten();
                    for child in &index.manifests {
                        let wants = selected == Some(child);
                        let kind = child.media_type.kind();
                        if matches!(kind, Kind::Manifest | Kind::Index) && (first_time || wants) {
                            todo.push((child.clone(), depth + 1, wants));
                        }
                    }
                }
            }
        }
        let name = entry.digest.to_string();
        chosen.ok_or(StoreError::NoPlatform { name, wanted: Box::new(wanted), have })
    }

    fn document(&mut self, at: &Descriptor) -> Result<Document> {
        let path = blob_path(&at.digest);
        let blob = self.blob(at)?;
        let bytes = self.session.read_sealed(&blob, &path, MAX_MANIFEST_BYTES)?;
        let document = document(&path, &bytes, Some(at))?;
        self.session.stage(&blob)?;
        Ok(document)
    }

    /// Stages config and layers. What an image not chosen lacks is left out, as a layout may.
    fn image(
        &mut self,
        manifest: &Manifest,
        chosen: bool,
    ) -> Result<(Vec<Sealed>, Option<corten_oci::ImageConfig>)> {
        let mut layers = Vec::new();
        for descriptor in [&manifest.config].into_iter().chain(&manifest.layers) {
            let path = blob_path(&descriptor.digest);
            if !chosen && self.source.blob(self.session, &path)?.is_none() {
                continue;
            }
            let blob = self.blob(descriptor)?;
            self.session.stage(&blob)?;
            layers.push(blob);
        }
        if !chosen {
            return Ok((Vec::new(), None));
        }
        let path = blob_path(&manifest.config.digest);
        let bytes = self.session.read_sealed(&layers.remove(0), &path, MAX_CONFIG_BYTES)?;
        let config = parse_config(&path, &bytes)?;
        let mismatch = |source: DocumentError| StoreError::Document { path: path.into(), source };
        config.matches(manifest).map_err(mismatch)?;
        Ok((layers, Some(config)))
    }

    /// The blob of a descriptor, if it is what the descriptor says.
    fn blob(&mut self, descriptor: &Descriptor) -> Result<Sealed> {
        descriptor.digest.algorithm()?;
        let blob = self.source.need(self.session, &blob_path(&descriptor.digest))?;
        if blob.size != descriptor.size {
            let (digest, expected) = (descriptor.digest.clone(), descriptor.size);
            return Err(StoreError::BlobSize { digest, expected, actual: blob.size });
        }
        if blob.digest != descriptor.digest {
            let (expected, actual) = (descriptor.digest.clone(), blob.digest);
            return Err(StoreError::BlobDigest { expected, actual });
        }
        Ok(blob)
    }
}

/// As `resolve` chooses: the platform's, or the only one unless a platform was asked for.
fn select<'a>(index: &'a Index, wanted: &Platform, options: &LoadOptions) -> Option<&'a Descriptor> {
    let only = || (options.platform.is_none() && index.manifests.len() == 1).then(|| &index.manifests[0]);
    index.select(wanted).or_else(only)
}
