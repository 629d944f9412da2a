//! Media types: image-spec, media-types.md, and Docker's schema 2, which is the same under other names.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A media type as it was written. What it means to us is its [`Kind`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MediaType(Cow<'static, str>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Manifest,
    Index,
    Config,
    Layer(Compression),
    /// A layer that the registry does not hold (`urls`); spec-deprecated. Its bytes are as any layer's.
    ForeignLayer(Compression),
    /// `{}`: the config of an artifact that has none.
    Empty,
    /// Docker's manifest of 2014, signed or not: readable by nobody any more.
    Schema1,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("media type `{0}` is not of the form type/subtype (RFC 6838, 4.2)")]
pub struct MediaTypeError(pub String);

macro_rules! media_types {
    ($($name:ident = $text:literal => $kind:expr;)*) => {
        impl MediaType {
            $(pub const $name: MediaType = MediaType(Cow::Borrowed($text));)*

            pub fn kind(&self) -> Kind {
                match self.as_str() {
                    $($text => $kind,)*
                    _ => Kind::Other,
                }
            }
        }
    };
}

media_types! {
    OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json" => Kind::Manifest;
    OCI_INDEX = "application/vnd.oci.image.index.v1+json" => Kind::Index;
    OCI_CONFIG = "application/vnd.oci.image.config.v1+json" => Kind::Config;
    OCI_EMPTY = "application/vnd.oci.empty.v1+json" => Kind::Empty;
    OCI_LAYER = "application/vnd.oci.image.layer.v1.tar" => Kind::Layer(Compression::None);
    OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip" => Kind::Layer(Compression::Gzip);
    OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd" => Kind::Layer(Compression::Zstd);
    OCI_FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar" => Kind::ForeignLayer(Compression::None);
    OCI_FOREIGN_LAYER_GZIP = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip" => Kind::ForeignLayer(Compression::Gzip);
    OCI_FOREIGN_LAYER_ZSTD = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd" => Kind::ForeignLayer(Compression::Zstd);
    DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json" => Kind::Manifest;
    DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json" => Kind::Index;
    DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json" => Kind::Config;
    DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar" => Kind::Layer(Compression::None);
    DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip" => Kind::Layer(Compression::Gzip);
    DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd" => Kind::Layer(Compression::Zstd);
    DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar" => Kind::ForeignLayer(Compression::None);
    DOCKER_FOREIGN_LAYER_GZIP = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => Kind::ForeignLayer(Compression::Gzip);
    DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json" => Kind::Schema1;
    DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws" => Kind::Schema1;
}

impl MediaType {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The OCI layer type for a compression.
    pub fn layer(compression: Compression) -> MediaType {
        match compression {
            Compression::None => MediaType::OCI_LAYER,
            Compression::Gzip => MediaType::OCI_LAYER_GZIP,
            Compression::Zstd => MediaType::OCI_LAYER_ZSTD,
        }
    }
}

impl FromStr for MediaType {
    type Err = MediaTypeError;

    fn from_str(text: &str) -> Result<Self, MediaTypeError> {
        let punctuation = b"!#$&-^_.+";
        let name = |part: &str| {
            (1..=127).contains(&part.len())
                && part.as_bytes()[0].is_ascii_alphanumeric()
                && part.bytes().all(|c| c.is_ascii_alphanumeric() || punctuation.contains(&c))
        };
        match text.split_once('/') {
            Some((kind, subtype)) if name(kind) && name(subtype) => Ok(MediaType(Cow::Owned(text.into()))),
            _ => Err(MediaTypeError(text.into())),
        }
    }
}

impl TryFrom<String> for MediaType {
    type Error = MediaTypeError;
    fn try_from(text: String) -> Result<Self, MediaTypeError> {
        text.parse()
    }
}

impl From<MediaType> for String {
    fn from(media_type: MediaType) -> String {
        media_type.0.into_owned()
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
