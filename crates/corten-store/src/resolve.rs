//! From what the user said to the layer directories: index.json, one manifest, one config.

use std::path::PathBuf;

use corten_oci::image::{MAX_CONFIG_BYTES, MAX_INDEX_DEPTH, MAX_MANIFEST_BYTES};
use corten_oci::layout::blob_path;
use corten_oci::{
    Descriptor, DiffId, Digest, Document, ImageConfig, ImageId, Index, Manifest, Platform, Reference,
};

use crate::error::{Result, StoreError};
use crate::index::{name_of, noted_id, noted_size};
use crate::store::Store;

/// An image as it is in the store.
#[derive(Debug, Clone)]
pub struct Image {
    /// the digest of the config
    pub id: ImageId,
    /// the digest of the manifest of this platform
    pub manifest_digest: Digest,
    pub manifest: Manifest,
    /// every name that index.json has for it
    pub names: Vec<Reference>,
    pub config: ImageConfig,
    /// the layers' directories, base first (overlayfs wants `lowerdir` the other way round); that each is
    /// there is not asked, for the mount will ask
    pub layers: Vec<PathBuf>,
    /// bytes of all layers, unpacked, where index.json notes it
    pub size_bytes: Option<u64>,
}

impl Image {
    /// base first; parallel to `layers`
    pub fn diff_ids(&self) -> &[DiffId] {
        &self.config.rootfs.diff_ids
    }
}

impl Store {
    /// Finds an image as Docker does: a full id; else a name (`:latest` by default); else the beginning of
    /// an id. `platform` of `None` is this machine's, but a name with only one image is that image.
    pub fn resolve(&self, name: &str, platform: Option<&Platform>) -> Result<Image> {
        let index = self.index()?;
        let entry = self.find(&index, name)?;
        let names = names_of(&index, &entry);
        self.image(name, &entry, names, platform)
    }

    /// As `resolve`, for a name that is parsed already.
    pub fn resolve_reference(&self, name: &Reference, platform: Option<&Platform>) -> Result<Image> {
        let index = self.index()?;
        let shown = name.familiar();
        let entry = by_name(&index, name).ok_or_else(|| StoreError::NotFound(shown.clone()))?;
        self.image(&shown, entry, names_of(&index, entry), platform)
    }

    /// Whether a blob is in the store. Its content was verified when it came in.
    pub fn has_blob(&self, blob: &Digest) -> bool {
        rustix::fs::accessat(
            &self.dir.fd,
            blob_path(blob),
            rustix::fs::Access::EXISTS,
            rustix::fs::AtFlags::empty(),
        )
        .is_ok()
    }

    /// Whether a layer is unpacked.
    pub fn has_layer(&self, layer: &DiffId) -> bool {
        let path = format!("{}/{}", crate::store::LAYERS, layer.hex());
        let exists = rustix::fs::Access::EXISTS;
        rustix::fs::accessat(&self.dir.fd, path, exists, rustix::fs::AtFlags::empty()).is_ok()
    }

    /// The index entry that a user's words mean.
    pub(crate) fn find(&self, index: &Index, name: &str) -> Result<Descriptor> {
        let id = corten_oci::id::image_id_prefix(name);
        // `sha256:<64 digits>` would also be a name with a tag; nobody may take the place of an id.
        if id.is_none_or(|digits| digits.len() < 64)
            && let Ok(reference) = name.parse::<Reference>()
            && let Some(entry) = by_name(index, &reference)
        {
            return Ok(entry.clone());
        }
        let Some(prefix) = id else {
            // What is neither a name nor an id is told why it is no name.
            name.parse::<Reference>()?;
            return Err(StoreError::NotFound(name.into()));
        };
        let mut found: Vec<(ImageId, &Descriptor)> = Vec::new();
        for entry in &index.manifests {
            let starts = |digest: &Digest| digest.hex().starts_with(prefix);
            let id = match noted_id(entry) {
                Some(id) => id,
                None => match self.ids(entry)?.into_iter().find(|id| starts(id.digest())) {
                    Some(id) => id,
                    None => continue,
                },
            };
            let by_id = starts(id.digest()) || starts(&entry.digest);
            if by_id && !found.iter().any(|(known, _)| *known == id) {
                found.push((id, entry));
            }
        }
        match found.len() {
            0 => Err(StoreError::NotFound(name.into())),
            1 => Ok(found.remove(0).1.clone()),
            _ => Err(StoreError::Ambiguous {
                prefix: name.into(),
                ids: found.into_iter().map(|(id, _)| id).collect(),
            }),
        }
    }

    /// The image of an entry, for a platform.
    pub(crate) fn image(
        &self,
        name: &str,
        entry: &Descriptor,
        names: Vec<Reference>,
        platform: Option<&Platform>,
    ) -> Result<Image> {
        let (descriptor, manifest) = self.manifest(name, entry, platform)?;
        let config = self.config(&manifest)?;
        if let Some(wanted) = platform
            && config.platform().serves(wanted).is_none()
        {
            let (wanted, have) = (Box::new(wanted.clone()), Box::new(config.platform()));
            return Err(StoreError::OtherPlatform { name: name.into(), wanted, have });
        }
        Ok(Image {
            id: ImageId(manifest.config.digest.clone()),
            manifest_digest: descriptor.digest,
            names,
            layers: config.rootfs.diff_ids.iter().map(|layer| self.layer_path(layer)).collect(),
            size_bytes: noted_size(entry),
            manifest,
            config,
        })
    }

    /// Follows indexes to one manifest.
    fn manifest(
        &self,
        name: &str,
        entry: &Descriptor,
        platform: Option<&Platform>,
    ) -> Result<(Descriptor, Manifest)> {
        let host = Platform::host();
        let mut at = entry.clone();
        for _ in 0..=MAX_INDEX_DEPTH {
            let index = match self.document(&at)? {
                Document::Manifest(manifest) => return Ok((at, manifest)),
                Document::Index(index) => index,
            };
            let wanted = platform.unwrap_or(&host);
            let only = || (platform.is_none() && index.manifests.len() == 1).then(|| &index.manifests[0]);
            let Some(next) = index.select(wanted).or_else(only) else {
                let have = index.manifests.iter().filter_map(|d| d.platform.clone()).collect();
                let wanted = Box::new(wanted.clone());
                return Err(StoreError::NoPlatform { name: name.into(), wanted, have });
            };
            at = next.clone();
        }
        Err(StoreError::IndexDepth { path: self.blob_path(&entry.digest), limit: MAX_INDEX_DEPTH })
    }

    pub(crate) fn document(&self, descriptor: &Descriptor) -> Result<Document> {
        let bytes = self.read_blob(descriptor, MAX_MANIFEST_BYTES)?;
        let parsed = Document::parse(&bytes, Some(&descriptor.media_type));
        parsed.map_err(|source| StoreError::Document { path: self.blob_path(&descriptor.digest), source })
    }

    pub(crate) fn config(&self, manifest: &Manifest) -> Result<ImageConfig> {
        let bytes = self.read_blob(&manifest.config, MAX_CONFIG_BYTES)?;
        let parsed = ImageConfig::parse(&bytes).and_then(|config| config.matches(manifest).map(|()| config));
        parsed
            .map_err(|source| StoreError::Document { path: self.blob_path(&manifest.config.digest), source })
    }

    /// The verified bytes of a small blob.
    pub fn read_blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        let path = || self.blob_path(&descriptor.digest);
        let expected = usize::try_from(descriptor.size).unwrap_or(usize::MAX).min(limit as usize);
        let Some(bytes) = self.dir.read(blob_path(&descriptor.digest), expected, limit)? else {
            return Err(StoreError::MissingBlob { path: path() });
        };
        if !descriptor.digest.verifies(&bytes)? {
            let (expected, actual) = (descriptor.digest.clone(), Digest::sha256(&bytes));
            return Err(StoreError::Damaged { path: path(), expected, actual });
        }
        Ok(bytes)
    }

    /// The ids of all images that an entry of unknown provenance leads to. Manifests that are not here
    /// (other platforms were not fetched) lead to none.
    pub(crate) fn ids(&self, entry: &Descriptor) -> Result<Vec<ImageId>> {
        let mut ids = Vec::new();
        self.each_manifest(entry, &mut |_, manifest| ids.push(ImageId(manifest.config.digest.clone())))?;
        Ok(ids)
    }

    /// Calls back for every manifest in the store that an entry leads to.
    pub(crate) fn each_manifest(
        &self,
        entry: &Descriptor,
        found: &mut dyn FnMut(&Descriptor, &Manifest),
    ) -> Result<()> {
        let mut todo = vec![(entry.clone(), 0)];
        let mut seen = std::collections::HashSet::new();
        while let Some((at, depth)) = todo.pop() {
            if !seen.insert(at.digest.clone()) || depth > MAX_INDEX_DEPTH {
                continue;
            }
            match self.document(&at) {
                Ok(Document::Manifest(manifest)) => found(&at, &manifest),
                Ok(Document::Index(index)) => {
                    todo.extend(index.manifests.into_iter().map(|d| (d, depth + 1)))
                }
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Of several entries with a name, the last is the one that counts.
fn by_name<'a>(index: &'a Index, wanted: &Reference) -> Option<&'a Descriptor> {
    let pinned = wanted.digest();
    let named = wanted.clone().with_default_tag();
    index.manifests.iter().rev().find(|entry| match (name_of(entry), pinned) {
        (Some(name), Some(digest)) => name.same_repository(wanted) && entry.digest == *digest,
        (Some(name), None) => name == named,
        (None, _) => false,
    })
}

/// All names of what an entry points at.
pub(crate) fn names_of(index: &Index, entry: &Descriptor) -> Vec<Reference> {
    index.manifests.iter().filter(|other| other.digest == entry.digest).filter_map(name_of).collect()
}
