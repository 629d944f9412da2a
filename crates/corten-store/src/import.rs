//! A root file system as tar becomes an image of one layer, as `docker import` does it.

use std::io::Read;
use std::time::SystemTime;

use corten_oci::{Platform, Reference};

use crate::error::Result;
use crate::resolve::Image;
use crate::store::Store;

#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// what the image is to be called; `:latest` by default
    pub reference: Option<Reference>,
    /// Dockerfile instructions, as `docker import -c` takes them
    pub changes: Vec<String>,
    /// the history's comment
    pub message: Option<String>,
    /// this machine's by default
    pub platform: Option<Platform>,
    /// now by default
    pub created: Option<SystemTime>,
}

impl Store {
    /// Stores and unpacks the tar (plain, gzip or zstd) that `input` gives.
    pub fn import(&self, input: impl Read + Send, options: &ImportOptions) -> Result<Image> {
        let _ = (input, options);
        Err(crate::StoreError::NotFound("import: under construction".into()))
    }
}
