//! The OCI image layout: image-spec, image-layout.md.
//!
//! ```text
//! oci-layout                  {"imageLayoutVersion":"1.0.0"}
//! index.json                  an image index; ref.name annotations are the names
//! blobs/<algorithm>/<encoded>
//! ```

use serde::{Deserialize, Serialize};

use crate::Digest;

pub const MARKER_FILE: &str = "oci-layout";
pub const INDEX_FILE: &str = "index.json";
pub const BLOBS_DIR: &str = "blobs";
pub const VERSION: &str = "1.0.0";

/// Pre-defined annotation keys (image-spec, annotations.md), and those that others add to an index.
pub mod annotation {
    pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
    pub const CREATED: &str = "org.opencontainers.image.created";
    pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
    pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
    /// containerd and docker save: the full name, where ref.name holds only the tag
    pub const CONTAINERD_NAME: &str = "io.containerd.image.name";
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLayout {
    #[serde(rename = "imageLayoutVersion")]
    pub version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    #[error("oci-layout: not the JSON that the image layout asks for: {0}")]
    Json(String),
    #[error("oci-layout: image layout version `{0}` is not 1.0.x")]
    Version(String),
}

impl ImageLayout {
    pub fn current() -> ImageLayout {
        ImageLayout { version: VERSION.into() }
    }

    pub fn parse(bytes: &[u8]) -> Result<ImageLayout, LayoutError> {
        let layout: ImageLayout =
            serde_json::from_slice(bytes).map_err(|error| LayoutError::Json(error.to_string()))?;
        if !layout.version.starts_with("1.0.") {
            return Err(LayoutError::Version(layout.version));
        }
        Ok(layout)
    }
}

/// `blobs/sha256/<hex>`, relative to the layout
pub fn blob_path(digest: &Digest) -> String {
    format!("{BLOBS_DIR}/{}/{}", digest.algorithm_name(), digest.hex())
}
