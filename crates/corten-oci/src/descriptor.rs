//! A descriptor points at bytes: image-spec, descriptor.md.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, DigestError, MediaType, Platform};

pub type Annotations = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: MediaType,
    pub digest: Digest,
    /// in bytes; compared before anything is hashed
    pub size: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::null::as_default")]
    pub urls: Vec<String>,
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "crate::null::as_default"
    )]
    pub annotations: Annotations,
    /// the content itself, in base64
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<MediaType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// what a later version of the specification may have added
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    #[error("descriptor of {digest}: size {size} is more than a signed 64-bit number holds")]
    Size { digest: Digest, size: u64 },
    #[error("descriptor of {digest}: `{url}` is not a URL")]
    Url { digest: Digest, url: String },
    #[error("descriptor of {digest}: `data` is not base64")]
    DataEncoding { digest: Digest },
    #[error("descriptor of {digest}: `data` is not the content that the digest and size describe")]
    DataContent { digest: Digest },
    #[error("descriptor: {0}")]
    Digest(#[from] DigestError),
}

impl Descriptor {
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type,
            digest,
            size,
            urls: Vec::new(),
            annotations: Annotations::new(),
            data: None,
            artifact_type: None,
            platform: None,
            other: serde_json::Map::new(),
        }
    }

    /// The descriptor of some bytes at hand.
    pub fn of(media_type: MediaType, bytes: &[u8]) -> Descriptor {
        Descriptor::new(media_type, Digest::sha256(bytes), bytes.len() as u64)
    }

    /// What the types alone do not say.
    pub fn validate(&self) -> Result<(), DescriptorError> {
        let digest = || self.digest.clone();
        if i64::try_from(self.size).is_err() {
            return Err(DescriptorError::Size { digest: digest(), size: self.size });
        }
        if let Some(url) = self.urls.iter().find(|url| !is_url(url)) {
            return Err(DescriptorError::Url { digest: digest(), url: url.clone() });
        }
        self.embedded().map(drop)
    }

    /// The content that the descriptor carries with it, verified.
    pub fn embedded(&self) -> Result<Option<Vec<u8>>, DescriptorError> {
        let Some(data) = &self.data else { return Ok(None) };
        let digest = || self.digest.clone();
        let bytes = base64(data).ok_or_else(|| DescriptorError::DataEncoding { digest: digest() })?;
        if bytes.len() as u64 != self.size || !self.digest.verifies(&bytes)? {
            return Err(DescriptorError::DataContent { digest: digest() });
        }
        Ok(Some(bytes))
    }
}

/// RFC 3986 asks for a scheme; more does not matter here, for we never fetch from these by default.
fn is_url(text: &str) -> bool {
    let scheme = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_alphabetic())
            && s.bytes().all(|c| c.is_ascii_alphanumeric() || b"+.-".contains(&c))
    };
    text.split_once(':').is_some_and(|(s, rest)| scheme(s) && !rest.is_empty())
        && !text.contains(|c: char| c.is_control() || c == ' ')
}

/// RFC 4648, 4, with padding and nothing else.
fn base64(text: &str) -> Option<Vec<u8>> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len() / 4 * 3);
    let last = bytes.len() / 4;
    for (at, quad) in bytes.chunks(4).enumerate() {
        if quad.len() != 4 {
            return None;
        }
        let padding = quad.iter().rev().take_while(|c| **c == b'=').count();
        if padding > 2 || (padding > 0 && at + 1 != last) {
            return None;
        }
        let mut bits = 0u32;
        for c in &quad[..4 - padding] {
            bits = bits << 6 | u32::from(value(*c)?);
        }
        bits <<= 6 * padding;
        let whole = bits.to_be_bytes();
        if whole[4 - padding..].iter().any(|b| *b != 0) {
            return None;
        }
        out.extend_from_slice(&whole[1..4 - padding]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_strict() {
        assert_eq!(base64("").unwrap(), b"");
        assert_eq!(base64("Zm9v").unwrap(), b"foo");
        assert_eq!(base64("Zm8=").unwrap(), b"fo");
        assert_eq!(base64("Zg==").unwrap(), b"f");
        for bad in ["Zg", "Zg=", "Zg===", "Z===", "Zh==", "Zg==Zm9v", "Zm 9", "Zm9-"] {
            assert_eq!(base64(bad), None, "{bad}");
        }
    }

    #[test]
    fn unknown_fields_survive() {
        let digest = Digest::sha256(b"");
        let text = format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":0,"new":{{"x":1}}}}"#);
        let descriptor: Descriptor = serde_json::from_str(&text).unwrap();
        assert!(serde_json::to_string(&descriptor).unwrap().contains(r#""new":{"x":1}"#));
    }

    #[test]
    fn embedded_data_must_be_the_content() {
        let mut descriptor = Descriptor::of("a/b".parse().unwrap(), b"fo");
        descriptor.data = Some("Zm8=".into());
        assert_eq!(descriptor.embedded().unwrap().unwrap(), b"fo");
        descriptor.data = Some("Zm9v".into());
        assert!(matches!(descriptor.validate(), Err(DescriptorError::DataContent { .. })));
    }
}
