//! Listing images, taking their names away, and collecting what nothing names any more.
//!
//! A collection holds `store.lock` exclusively from its first look to its last unlink, so that no session
//! can start to rely on what it is about to remove. A layer is renamed into tmp/ first: after a kill the
//! next sweep removes the rest of it there, and layers/ never holds half of one.

use std::collections::HashSet;
use std::os::fd::AsFd;

use corten_oci::image::MAX_INDEX_DEPTH;
use corten_oci::layout::BLOBS_DIR;
use corten_oci::{Descriptor, Document, Index, Reference};

use crate::error::{At, Result, StoreError};
use crate::index::{name_of, take_name};
use crate::resolve::Image;
use crate::store::{LAYERS, Lock, Store, TMP};
use crate::trash;

/// What a removal did, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// A name was taken away.
    Untagged(Reference),
    /// An image, layer or blob is gone: its digest.
    Deleted(String),
}

/// What containers use, which removal and collection must keep: image ids and the diff-ids of layers.
#[derive(Debug, Clone, Default)]
pub struct InUse {
    pub images: HashSet<String>,
    pub layers: HashSet<String>,
}

impl Store {
    /// Every image once, in the order of index.json.
    pub fn images(&self) -> Result<Vec<Image>> {
        let index = self.index()?;
        let mut images: Vec<Image> = Vec::new();
        for entry in &index.manifests {
            let shown = name_of(entry).map_or_else(|| entry.digest.to_string(), |name| name.familiar());
            let names = index
                .manifests
                .iter()
                .filter(|other| other.digest == entry.digest)
                .filter_map(name_of)
                .collect();
            let image = self.image(&shown, entry, names, None)?;
            if !images.iter().any(|known| known.manifest_digest == image.manifest_digest) {
                images.push(image);
            }
        }
        Ok(images)
    }

    /// Takes a name away, or all names of an id, and with the last one the image.
    ///
    /// As Docker does it: an image that a container uses stays unless forced, then it loses only its names;
    /// an id with several names needs force.
    pub fn remove(&self, name: &str, force: bool, in_use: &InUse) -> Result<Vec<Removal>> {
        let lock = self.lock_exclusive()?;
        let mut index = self.index()?;
        let entry = self.find(&index, name)?;
        let names: Vec<Reference> =
            index.manifests.iter().filter(|other| other.digest == entry.digest).filter_map(name_of).collect();
        let ids = self.ids(&entry)?;
        // Found by a name, only that name goes.
        let by_name = name_of(&entry)
            .filter(|known| name.parse::<Reference>().is_ok_and(|asked| asked.with_default_tag() == *known));
        let last = by_name.is_none() || names.len() == 1;
        let used = ids.iter().any(|id| in_use.images.contains(&id.to_string()));
        if last && used && !force {
            return Err(StoreError::InUse { name: name.into() });
        }
        if by_name.is_none() && names.len() > 1 && !force {
            return Err(StoreError::SeveralNames { id: name.into(), names });
        }
        let gone = by_name.map_or(names, |name| vec![name]);
        for name in &gone {
            take_name(&mut index, name);
        }
        if last {
            index.manifests.retain(|other| other.digest != entry.digest);
        }
        self.replace_index(&lock, &index)?;
        let mut done: Vec<Removal> = gone.into_iter().map(Removal::Untagged).collect();
        if last {
            done.extend(ids.into_iter().map(|id| Removal::Deleted(id.to_string())));
            done.extend(self.collect(&lock, &index, in_use)?);
        }
        Ok(done)
    }

    /// Removes every blob and layer that nothing names.
    fn collect(&self, lock: &Lock, index: &Index, in_use: &InUse) -> Result<Vec<Removal>> {
        let mut kept = Kept { blobs: HashSet::new(), layers: in_use.layers.clone() };
        for entry in &index.manifests {
            self.reach(entry, &mut kept, 0)?;
        }
        let tmp = self.dir.open_at(TMP)?;
        for name in tmp.names()? {
            let Some(lease) = self.lease_of(lock, &tmp, &name)? else { continue };
            for line in lease.lines() {
                match line.split_once(' ') {
                    Some(("blob", digest)) => drop(kept.blobs.insert(digest.to_owned())),
                    Some(("layer", digest)) => drop(kept.layers.insert(digest.to_owned())),
                    _ => {}
                }
            }
        }
        let mut gone = Vec::new();
        let blobs = self.dir.open_at(BLOBS_DIR)?.open_at("sha256")?;
        for name in blobs.names()? {
            let digest = format!("sha256:{}", name.to_string_lossy());
            if !kept.blobs.contains(&digest) {
                trash::remove_at(blobs.fd.as_fd(), name.to_bytes(), &blobs.path)?;
            }
        }
        let layers = self.dir.open_at(LAYERS)?;
        for name in layers.names()? {
            let digest = format!("sha256:{}", name.to_string_lossy());
            if !kept.layers.contains(&digest) {
                rustix::fs::renameat(&layers.fd, &name, &tmp.fd, &name)
                    .at("renameat", layers.path.join(TMP))?;
                trash::remove_at(tmp.fd.as_fd(), name.to_bytes(), &tmp.path)?;
                gone.push(Removal::Deleted(digest));
            }
        }
        Ok(gone)
    }

    /// Notes what a descriptor leads to. What is named but not here (another platform's image) has nothing
    /// to keep.
    fn reach(&self, descriptor: &Descriptor, kept: &mut Kept, depth: usize) -> Result<()> {
        if !kept.blobs.insert(descriptor.digest.to_string()) || !self.has_blob(&descriptor.digest) {
            return Ok(());
        }
        if depth > MAX_INDEX_DEPTH {
            let path = self.blob_path(&descriptor.digest);
            return Err(StoreError::IndexDepth { path, limit: MAX_INDEX_DEPTH });
        }
        match self.document(descriptor)? {
            Document::Index(index) => {
                index.manifests.iter().try_for_each(|child| self.reach(child, kept, depth + 1))
            }
            Document::Manifest(manifest) => {
                kept.blobs.insert(manifest.config.digest.to_string());
                kept.blobs.extend(manifest.layers.iter().map(|layer: &Descriptor| layer.digest.to_string()));
                if self.has_blob(&manifest.config.digest) {
                    let config = self.config(&manifest)?;
                    kept.layers.extend(config.rootfs.diff_ids.iter().map(ToString::to_string));
                }
                Ok(())
            }
        }
    }
}

/// What a collection leaves, by digest.
struct Kept {
    blobs: HashSet<String>,
    layers: HashSet<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImportOptions, UnpackOptions};

    fn import(store: &Store, name: &str, content: &[u8]) -> Image {
        let mut tar = vec![0; 512];
        tar[..4].copy_from_slice(b"file");
        tar[100..107].copy_from_slice(b"0000644");
        for at in [108, 116] {
            tar[at..at + 7].copy_from_slice(b"0000000");
        }
        tar[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        tar[136..147].copy_from_slice(b"00000000000");
        tar[156] = b'0';
        tar[257..265].copy_from_slice(b"ustar\x0000");
        tar[148..156].copy_from_slice(b"        ");
        let sum: u32 = tar.iter().map(|&byte| u32::from(byte)).sum();
        tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
        let options = ImportOptions {
            reference: Some(name.parse().unwrap()),
            unpack: Some(UnpackOptions::of_this_process()),
            ..ImportOptions::default()
        };
        store.import(&tar[..], &options).unwrap()
    }

    #[test]
    fn the_last_name_takes_the_image_with_it_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (one, two) = (import(&store, "one", b"1"), import(&store, "two", b"2"));
        assert_eq!(store.images().unwrap().len(), 2);
        let used = InUse {
            images: [one.id.to_string()].into(),
            layers: one.diff_ids().iter().map(ToString::to_string).collect(),
        };
        assert!(matches!(store.remove("one", false, &used), Err(StoreError::InUse { .. })));
        let done = store.remove("one", false, &InUse::default()).unwrap();
        assert!(matches!(done[0], Removal::Untagged(_)) && done.len() == 3, "{done:?}");
        assert!(!store.has_layer(&one.diff_ids()[0]) && !store.has_blob(&one.manifest_digest));
        assert!(store.has_layer(&two.diff_ids()[0]) && store.has_blob(&two.manifest_digest));
        assert!(matches!(store.resolve("one", None), Err(StoreError::NotFound(_))));
        assert_eq!(store.resolve("two", None).unwrap().id, two.id);
    }

    #[test]
    fn a_forced_removal_leaves_the_layers_of_a_container() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let one = import(&store, "one", b"1");
        let used = InUse {
            images: [one.id.to_string()].into(),
            layers: one.diff_ids().iter().map(ToString::to_string).collect(),
        };
        store.remove("one", true, &used).unwrap();
        assert!(store.has_layer(&one.diff_ids()[0]));
    }
}
