//! A root file system as tar becomes an image of one layer, as `docker import` does it.
//!
//! The layer's blob is the input as it came: compressed input is not packed anew, and plain input is stored
//! plain. So the digest is that of what the user has in hand, nothing waits for a compressor (gzip takes
//! ten times as long as all the rest), and a registry that wants it smaller gets it compressed at push,
//! when that happens at all. The price is disk: 2× the tree instead of 1.4×.

mod changes;

use std::io::Read;
use std::time::SystemTime;

use corten_oci::{Descriptor, History, ImageConfig, ImageId, Manifest, MediaType, Platform, Reference};

pub use changes::{ChangeError, apply};

use crate::blob::Tee;
use crate::error::Result;
use crate::resolve::Image;
use crate::session::NewImage;
use crate::store::Store;
use crate::unpack::UnpackOptions;

#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// what the image is to be called; `:latest` by default; untagged if absent
    pub reference: Option<Reference>,
    /// Dockerfile instructions, as `docker import -c` takes them
    pub changes: Vec<String>,
    /// the history's comment
    pub message: Option<String>,
    /// this machine's by default
    pub platform: Option<Platform>,
    /// now by default
    pub created: Option<SystemTime>,
    /// what this process is able to do by default
    pub unpack: Option<UnpackOptions>,
}

impl Store {
    /// Stores and unpacks the tar (plain, gzip or zstd) that `input` gives.
    pub fn import(&self, input: impl Read + Send, options: &ImportOptions) -> Result<Image> {
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let mut image = ImageConfig::new(&platform);
        for change in &options.changes {
            changes::apply(&mut image.config, change)?;
        }
        let unpack = options.unpack.clone().unwrap_or_else(UnpackOptions::of_this_process);
        let session = self.session()?;
        let mut blob = session.blob()?;
        let unpacked = session.unpack(None, Tee { input, blob: &mut blob }, &unpack)?;
        let (digest, size) = blob.finish(None)?;
        let layer = Descriptor::new(MediaType::layer(unpacked.compression), digest, size);

        let created = corten_oci::time::rfc3339(options.created.unwrap_or_else(SystemTime::now));
        let comment = options.message.clone().unwrap_or_else(|| "Imported from -".into());
        image.created = Some(created.clone());
        image.rootfs.diff_ids = vec![unpacked.diff_id];
        image.history =
            vec![History { created: Some(created), comment: Some(comment), ..History::default() }];
        let config = session.put_blob(MediaType::OCI_CONFIG, &image.to_bytes())?;
        let id = ImageId(config.digest.clone());
        let manifest = Manifest::new(config, vec![layer]);
        let descriptor = session.put_blob(MediaType::OCI_MANIFEST, &manifest.to_bytes())?;
        let names: Vec<Reference> =
            options.reference.iter().map(|name| name.clone().with_default_tag()).collect();
        let new = NewImage { descriptor, id: Some(id.clone()), names, size_bytes: Some(unpacked.file_bytes) };
        session.publish(&[new])?;
        self.resolve(&id.to_string(), None)
    }
}
