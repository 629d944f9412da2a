//! An image and one more layer become an image, as `docker commit` does it.
//!
//! The layer's blob is the tar as it comes, as with `import`; config and manifest are new, the base's blobs
//! and layers are shared. They are leased before they are looked at, so that none goes meanwhile.

use std::io::Read;
use std::time::SystemTime;

use corten_oci::{Config, Descriptor, History, ImageId, Manifest, MediaType, Reference};

use crate::blob::Tee;
use crate::error::{Result, StoreError};
use crate::resolve::Image;
use crate::session::NewImage;
use crate::store::Store;
use crate::unpack::UnpackOptions;

/// What the new image is to be.
#[derive(Debug, Clone)]
pub struct Commit {
    /// `:latest` by default; untagged if absent
    pub reference: Option<Reference>,
    pub author: Option<String>,
    /// the history's comment
    pub message: Option<String>,
    /// the history's command
    pub created_by: String,
    /// how to run a container of it
    pub config: Config,
}

impl Store {
    /// Stores and unpacks the tar that `layer` gives, on top of `base`.
    pub fn commit(&self, base: &Image, layer: impl Read + Send, new: &Commit) -> Result<Image> {
        let session = self.session()?;
        for blob in &base.manifest.layers {
            if !session.hold_blob(&blob.digest)? {
                return Err(StoreError::MissingBlob { path: self.blob_path(&blob.digest) });
            }
        }
        let mut size = 0;
        for layer in base.diff_ids() {
            session.hold_layer(layer)?;
            size += self.layer_record(layer)?.map_or(0, |record| record.size_bytes);
        }
        let mut blob = session.blob()?;
        let tee = Tee { input: layer, blob: &mut blob };
        let unpacked = session.unpack(None, tee, &UnpackOptions::of_this_process())?;
        let (digest, blob_size) = blob.finish(None)?;

        let created = corten_oci::time::rfc3339(SystemTime::now());
        let mut image = base.config.clone();
        image.created = Some(created.clone());
        image.author.clone_from(&new.author);
        image.config = new.config.clone();
        image.rootfs.diff_ids.push(unpacked.diff_id);
        image.history.push(History {
            created: Some(created),
            created_by: Some(new.created_by.clone()),
            author: new.author.clone(),
            comment: new.message.clone(),
            empty_layer: false,
        });
        let config = session.put_blob(MediaType::OCI_CONFIG, &image.to_bytes())?;
        let id = ImageId(config.digest.clone());
        let mut layers = base.manifest.layers.clone();
        layers.push(Descriptor::new(MediaType::layer(unpacked.compression), digest, blob_size));
        let manifest = Manifest::new(config, layers);
        let descriptor = session.put_blob(MediaType::OCI_MANIFEST, &manifest.to_bytes())?;
        let names: Vec<Reference> =
            new.reference.iter().map(|name| name.clone().with_default_tag()).collect();
        let size_bytes = Some(size + unpacked.file_bytes);
        session.publish(&[NewImage { descriptor, id: Some(id.clone()), names, size_bytes }])?;
        self.resolve(&id.to_string(), None)
    }
}
