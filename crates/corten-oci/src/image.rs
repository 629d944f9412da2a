//! Manifest and index: image-spec, manifest.md and image-index.md, and Docker's schema 2 of both.
//!
//! The bytes of a document are the truth: these types are read from them, and written only when a new
//! document is made. What is read is bounded, and a document that could be taken for two kinds is refused
//! (CVE-2021-41190).

pub mod config;

use serde::{Deserialize, Serialize};

use crate::{Annotations, Descriptor, DescriptorError, Kind, MediaType, Platform};

/// Bounds on what we read; registries enforce the same 4 MiB on manifests.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;
pub const MAX_CONFIG_BYTES: u64 = 8 << 20;
pub const MAX_LAYERS: usize = 512;
pub const MAX_INDEX_ENTRIES: usize = 4096;
/// How deep an index may point at an index.
pub const MAX_INDEX_DEPTH: usize = 4;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<MediaType>,
    pub config: Descriptor,
    /// base first
    #[serde(deserialize_with = "crate::null::as_default")]
    pub layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(
        default,
        skip_serializing_if = "Annotations::is_empty",
        deserialize_with = "crate::null::as_default"
    )]
    pub annotations: Annotations,
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<MediaType>,
    #[serde(deserialize_with = "crate::null::as_default")]
    pub manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(
        default,
        skip_serializing_if = "Annotations::is_empty",
        deserialize_with = "crate::null::as_default"
    )]
    pub annotations: Annotations,
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// What a reference or an index entry can point at. There is one at a time, so its size does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    Manifest(Manifest),
    Index(Index),
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DocumentError {
    #[error("{what}: {size} bytes, more than the {limit} that are read")]
    TooLarge { what: &'static str, size: u64, limit: u64 },
    #[error("{what}: {reason}")]
    Json { what: &'static str, reason: String },
    #[error("manifest: it has both `manifests` and `layers` or `config`, so it can be taken for two things")]
    Ambiguous,
    #[error("manifest: it says that it is {inside}, but it was given as {outside}")]
    MediaType { inside: MediaType, outside: MediaType },
    #[error(
        "manifest: this is Docker's schema 1 of 2014; the image has to be pushed again by a newer Docker"
    )]
    Schema1,
    #[error("{what}: schemaVersion {version} is not 2")]
    SchemaVersion { what: &'static str, version: u32 },
    #[error("{what}: media type {media_type} is not one of a {what}")]
    WrongKind { what: &'static str, media_type: MediaType },
    #[error("{what}: {count} entries, more than the {limit} that are read")]
    TooMany { what: &'static str, count: usize, limit: usize },
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
    #[error("image config: rootfs.type is `{0}`, not `layers`")]
    RootFsType(String),
    #[error("image config: Env entry `{0}` has no `=`")]
    Env(String),
    #[error("image config: it lists {diff_ids} layers and the manifest {layers}")]
    LayerCount { diff_ids: usize, layers: usize },
}

pub(crate) fn bounded(what: &'static str, bytes: &[u8], limit: u64) -> Result<(), DocumentError> {
    if bytes.len() as u64 > limit {
        return Err(DocumentError::TooLarge { what, size: bytes.len() as u64, limit });
    }
    Ok(())
}

fn json<'a, T: Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, DocumentError> {
    serde_json::from_slice(bytes).map_err(|error| DocumentError::Json { what, reason: error.to_string() })
}

/// The outline that decides which document this is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline<'a> {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<MediaType>,
    #[serde(borrow, default)]
    manifests: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow, default)]
    layers: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow, default)]
    config: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow, default)]
    fs_layers: Option<&'a serde_json::value::RawValue>,
}

impl Document {
    /// `given` is the media type by which the document was found (a descriptor's, or Content-Type); the
    /// document may leave its own out but must not contradict it.
    pub fn parse(bytes: &[u8], given: Option<&MediaType>) -> Result<Document, DocumentError> {
        bounded("manifest", bytes, MAX_MANIFEST_BYTES)?;
        let outline: Outline<'_> = json("manifest", bytes)?;
        let inside = outline.media_type.as_ref();
        let kind = inside.map(MediaType::kind);
        if kind == Some(Kind::Schema1) || outline.schema_version == 1 || outline.fs_layers.is_some() {
            return Err(DocumentError::Schema1);
        }
        if outline.manifests.is_some() && (outline.layers.is_some() || outline.config.is_some()) {
            return Err(DocumentError::Ambiguous);
        }
        if let (Some(inside), Some(outside)) = (inside, given)
            && inside != outside
        {
            return Err(DocumentError::MediaType { inside: inside.clone(), outside: outside.clone() });
        }
        let is_index = outline.manifests.is_some();
        match inside.or(given).map(|media_type| (media_type, media_type.kind())) {
            None => {}
            Some((_, Kind::Index)) if is_index => {}
            Some((_, Kind::Manifest)) if !is_index => {}
            Some((media_type, _)) => {
                let what = if is_index { "index" } else { "manifest" };
                return Err(DocumentError::WrongKind { what, media_type: media_type.clone() });
            }
        }
        if is_index {
            let index: Index = json("index", bytes)?;
            index.validate()?;
            Ok(Document::Index(index))
        } else {
            let manifest: Manifest = json("manifest", bytes)?;
            manifest.validate()?;
            Ok(Document::Manifest(manifest))
        }
    }
}

impl Manifest {
    /// A manifest of our own making.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
        Manifest {
            schema_version: 2,
            media_type: Some(MediaType::OCI_MANIFEST),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: Annotations::new(),
            other: serde_json::Map::new(),
        }
    }

    fn validate(&self) -> Result<(), DocumentError> {
        schema_two("manifest", self.schema_version)?;
        at_most("manifest", self.layers.len(), MAX_LAYERS)?;
        let all = [&self.config].into_iter().chain(&self.layers).chain(&self.subject);
        Ok(all.into_iter().try_for_each(Descriptor::validate)?)
    }

    /// The bytes to store; their digest is the manifest's name.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Index {
    /// An index of our own making.
    pub fn new(manifests: Vec<Descriptor>) -> Index {
        Index {
            schema_version: 2,
            media_type: Some(MediaType::OCI_INDEX),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: Annotations::new(),
            other: serde_json::Map::new(),
        }
    }

    fn validate(&self) -> Result<(), DocumentError> {
        schema_two("index", self.schema_version)?;
        at_most("index", self.manifests.len(), MAX_INDEX_ENTRIES)?;
        Ok(self.manifests.iter().chain(&self.subject).try_for_each(Descriptor::validate)?)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The entry for a platform: the best variant, and of equals the first. An entry that does not say
    /// its platform serves when nothing that says it does; attestations (`unknown/unknown`) never do.
    pub fn select(&self, wanted: &Platform) -> Option<&Descriptor> {
        let images =
            || self.manifests.iter().filter(|d| matches!(d.media_type.kind(), Kind::Manifest | Kind::Index));
        images()
            .filter_map(|d| Some((d.platform.as_ref()?.serves(wanted)?, d)))
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, descriptor)| descriptor)
            .or_else(|| images().find(|d| d.platform.is_none()))
    }
}

fn schema_two(what: &'static str, version: u32) -> Result<(), DocumentError> {
    if version == 2 { Ok(()) } else { Err(DocumentError::SchemaVersion { what, version }) }
}

fn at_most(what: &'static str, count: usize, limit: usize) -> Result<(), DocumentError> {
    if count <= limit { Ok(()) } else { Err(DocumentError::TooMany { what, count, limit }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    fn descriptor(media_type: MediaType) -> Descriptor {
        Descriptor::new(media_type, Digest::sha256(b"x"), 1)
    }

    #[test]
    fn one_document_is_one_thing() {
        let parse = |text: &str| Document::parse(text.as_bytes(), None).unwrap_err();
        assert_eq!(parse(r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#), DocumentError::Ambiguous);
        assert_eq!(parse(r#"{"schemaVersion":2,"manifests":[],"config":{}}"#), DocumentError::Ambiguous);
        assert_eq!(parse(r#"{"schemaVersion":1,"fsLayers":[]}"#), DocumentError::Schema1);
        let manifest = Manifest::new(descriptor(MediaType::OCI_CONFIG), vec![]).to_bytes();
        assert!(Document::parse(&manifest, Some(&MediaType::OCI_MANIFEST)).is_ok());
        for given in [MediaType::OCI_INDEX, MediaType::DOCKER_MANIFEST] {
            let error = Document::parse(&manifest, Some(&given)).unwrap_err();
            assert!(matches!(error, DocumentError::MediaType { .. }));
        }
        let big = vec![b' '; MAX_MANIFEST_BYTES as usize + 1];
        assert!(matches!(Document::parse(&big, None), Err(DocumentError::TooLarge { .. })));
        let many =
            Manifest::new(descriptor(MediaType::OCI_CONFIG), vec![descriptor(MediaType::OCI_LAYER); 513]);
        assert!(matches!(Document::parse(&many.to_bytes(), None), Err(DocumentError::TooMany { .. })));
    }

    #[test]
    fn selects_the_platform() {
        let entry = |platform: &str, content: &[u8]| {
            let mut d = Descriptor::of(MediaType::OCI_MANIFEST, content);
            d.platform = Some(platform.parse().unwrap());
            d
        };
        let index = Index::new(vec![
            entry("linux/arm64", b"1"),
            entry("linux/amd64", b"2"),
            entry("linux/amd64/v2", b"3"),
            entry("unknown/unknown", b"4"),
        ]);
        let chosen = |wanted: &str| index.select(&wanted.parse().unwrap()).map(|d| d.digest.clone());
        assert_eq!(chosen("linux/amd64"), Some(Digest::sha256(b"2")));
        assert_eq!(chosen("linux/amd64/v3"), Some(Digest::sha256(b"3")));
        assert_eq!(chosen("linux/arm64/v8"), Some(Digest::sha256(b"1")));
        assert_eq!(chosen("linux/riscv64"), None);
    }
}
