//! `rmi`: a name goes; with the last name the image; with the image the blobs and layers that nothing else
//! holds. The rules about who may go when are Docker's.

use std::fmt;

use corten_oci::{Descriptor, Digest, ImageId, Reference};

use crate::error::{Result, StoreError};
use crate::gc::{InUse, InUseError};
use crate::index::{name_of, take_name};
use crate::resolve::names_of;
use crate::store::Store;

#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// also if a stopped container uses it, or if an id has names in several repositories
    pub force: bool,
}

/// As `docker rmi` prints them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    Untagged(Reference),
    /// an image's id, or the chain id of a layer
    Deleted(Digest),
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Removed::Untagged(name) => write!(f, "Untagged: {}", name.familiar()),
            Removed::Deleted(digest) => write!(f, "Deleted: {digest}"),
        }
    }
}

/// Why an image stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    #[error(
        "unable to remove repository reference \"{name}\" (must force) - container {container} is using its referenced image {image}"
    )]
    NameInUse { name: String, container: String, image: String },
    #[error("unable to delete {image} (must be forced) - image is referenced in multiple repositories")]
    SeveralRepositories { image: String },
    #[error(
        "unable to delete {image} (must be forced) - image is being used by stopped container {container}"
    )]
    Stopped { image: String, container: String },
    #[error(
        "unable to delete {image} (cannot be forced) - image is being used by running container {container}"
    )]
    Running { image: String, container: String },
}

impl Store {
    /// `name` is what `resolve` takes. `in_use` is asked while the store is locked.
    pub fn remove(
        &self,
        name: &str,
        options: RemoveOptions,
        in_use: impl FnOnce() -> Result<InUse, InUseError>,
    ) -> Result<Vec<Removed>> {
        let session = self.session()?;
        let lock = self.lock_exclusive()?;
        let in_use = in_use().map_err(StoreError::InUseUnknown)?;
        let mut index = self.index()?;
        let entry = self.find(&index, name)?;
        let ids = self.ids_of(&entry)?;
        let names = names_of(&index, &entry);
        let by_name = self.found_by_name(&entry, name);

        let mut removed = Vec::new();
        let conflict = match &by_name {
            Some(reference) => {
                check_name(reference, &names, &ids, options, &in_use)?;
                take_name(&mut index, reference);
                removed.push(Removed::Untagged(reference.clone()));
                if names.len() > 1 {
                    self.replace_index(&lock, &index)?;
                    return Ok(removed);
                }
                conflict(&ids, options, &in_use)
            }
            None => {
                check_id(&names, &ids, options, &in_use)?;
                removed.extend(names.iter().cloned().map(Removed::Untagged));
                None
            }
        };
        // The last name of an image that a container uses was taken by force: the image stays, untagged.
        if conflict.is_some() {
            self.replace_index(&lock, &index)?;
            return Ok(removed);
        }
        let chains = self.chains(&entry)?;
        index.manifests.retain(|other| other.digest != entry.digest);
        self.replace_index(&lock, &index)?;
        removed.extend(ids.into_iter().map(|id| Removed::Deleted(id.0)));
        let collected = self.sweep(&lock, &session, &index, &in_use)?;
        let gone = chains.into_iter().filter(|(layer, _)| collected.layers.contains(layer));
        removed.extend(gone.map(|(_, chain)| Removed::Deleted(chain)));
        drop(lock);
        Ok(removed)
    }

    fn ids_of(&self, entry: &Descriptor) -> Result<Vec<ImageId>> {
        match crate::index::noted_id(entry) {
            Some(id) => Ok(vec![id]),
            None => self.ids(entry),
        }
    }

    /// The name by which `find` found it, if it was not an id.
    fn found_by_name(&self, entry: &Descriptor, name: &str) -> Option<Reference> {
        let digits = corten_oci::id::image_id_prefix(name).map_or(0, str::len);
        let reference = name.parse::<Reference>().ok().filter(|_| digits < 64)?;
        let own = name_of(entry)?;
        let same = own == reference.clone().with_default_tag()
            || (reference.digest() == Some(&entry.digest) && own.same_repository(&reference));
        same.then_some(own)
    }

    /// Diff-ids with their chain ids, top first.
    fn chains(&self, entry: &Descriptor) -> Result<Vec<(Digest, Digest)>> {
        let mut chains = Vec::new();
        let mut manifests = Vec::new();
        self.each_manifest(entry, &mut |_, manifest| manifests.push(manifest.clone()))?;
        for manifest in manifests {
            let diff_ids = match self.config(&manifest) {
                Ok(config) => config.rootfs.diff_ids,
                Err(error) if error.is_damage() => continue,
                Err(error) => return Err(error),
            };
            let chain = corten_oci::image::config::chain_ids(&diff_ids);
            chains.extend(diff_ids.into_iter().zip(chain).rev());
        }
        Ok(chains)
    }
}

fn short(ids: &[ImageId]) -> String {
    ids.first().map(|id| id.short().to_owned()).unwrap_or_default()
}

fn check_name(
    name: &Reference,
    names: &[Reference],
    ids: &[ImageId],
    options: RemoveOptions,
    in_use: &InUse,
) -> Result<(), Conflict> {
    let user = ids.iter().find_map(|id| in_use.images.get(id)?.first());
    match user {
        Some(user) if names.len() == 1 && !options.force => Err(Conflict::NameInUse {
            name: name.familiar(),
            container: user.container.clone(),
            image: short(ids),
        }),
        _ => Ok(()),
    }
}

fn check_id(
    names: &[Reference],
    ids: &[ImageId],
    options: RemoveOptions,
    in_use: &InUse,
) -> Result<(), Conflict> {
    let several = names.windows(2).any(|pair| !pair[0].same_repository(&pair[1]));
    if several && !options.force {
        return Err(Conflict::SeveralRepositories { image: short(ids) });
    }
    conflict(ids, options, in_use).map_or(Ok(()), Err)
}

/// A running container always keeps its image; a stopped one unless forced.
fn conflict(ids: &[ImageId], options: RemoveOptions, in_use: &InUse) -> Option<Conflict> {
    let users = || ids.iter().filter_map(|id| in_use.images.get(id)).flatten();
    let (image, name) = (short(ids), |user: &crate::gc::User| user.container.clone());
    if let Some(user) = users().find(|user| user.running) {
        return Some(Conflict::Running { image, container: name(user) });
    }
    let user = users().next().filter(|_| !options.force)?;
    Some(Conflict::Stopped { image, container: name(user) })
}
