//! The names by which people and files know containers and images.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::{hex, is_lower_hex};
use crate::{Digest, DigestError};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("container id `{0}`: an id is 64 lower-case hexadecimal digits")]
pub struct IdError(pub String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid container name `{0}`, only [a-zA-Z0-9][a-zA-Z0-9_.-]+ is allowed")]
pub struct NameError(pub String);

/// 64 lower-case hexadecimal digits: never anything that could be a path (CVE-2014-9358).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(Box<str>);

impl ContainerId {
    /// From 32 bytes of the kernel's randomness.
    pub fn from_random(bytes: [u8; 32]) -> ContainerId {
        ContainerId(hex(&bytes).into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits: what is shown, and the container's default host name.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for ContainerId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() == 64 && is_lower_hex(text) {
            Ok(ContainerId(text.into()))
        } else {
            Err(IdError(text.into()))
        }
    }
}

/// What a user may call a container.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerName(Box<str>);

impl ContainerName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerName {
    type Err = NameError;
    /// Docker shows names with a slash in front and takes them back with it.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = text.strip_prefix('/').unwrap_or(text);
        let follows = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-');
        let starts = name.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
        if starts && (2..=255).contains(&name.len()) && name.bytes().all(follows) {
            Ok(ContainerName(name.into()))
        } else {
            Err(NameError(text.into()))
        }
    }
}

/// An image's id: the digest of its config, which names its layers and so all of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageId(pub Digest);

/// A layer's id: the digest of its tar stream, uncompressed.
pub type DiffId = Digest;

impl ImageId {
    pub fn digest(&self) -> &Digest {
        &self.0
    }

    pub fn short(&self) -> &str {
        self.0.short()
    }
}

impl FromStr for ImageId {
    type Err = DigestError;
    /// `sha256:<hex>`, or the 64 digits alone.
    fn from_str(text: &str) -> Result<Self, DigestError> {
        if text.contains(':') {
            text.parse().map(ImageId)
        } else {
            Digest::from_sha256_hex(text).map(ImageId)
        }
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! text_type {
    ($type:ty, $error:ty) => {
        impl TryFrom<String> for $type {
            type Error = $error;
            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.0.into()
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
text_type!(ContainerId, IdError);
text_type!(ContainerName, NameError);

/// The hexadecimal digits of what may be the beginning of an image's id: `e3b0`, `sha256:e3b0`.
pub fn image_id_prefix(text: &str) -> Option<&str> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    ((1..=64).contains(&digits.len()) && is_lower_hex(digits)).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_names() {
        for good in ["ab", "web-1", "a_b.c", "/web", "0x"] {
            assert!(good.parse::<ContainerName>().is_ok(), "{good}");
        }
        for bad in ["", "a", "-ab", ".ab", "a/b", "a b", "a\n", "//ab", "é1", &"x".repeat(256)] {
            assert!(bad.parse::<ContainerName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ids() {
        let id = ContainerId::from_random([0xab; 32]);
        assert_eq!(id.short(), "abababababab");
        assert_eq!(id.as_str().parse::<ContainerId>().unwrap(), id);
        assert!("../../../../etc/passwd".parse::<ContainerId>().is_err());
        assert_eq!(image_id_prefix("sha256:e3"), Some("e3"));
        assert_eq!(image_id_prefix("busybox"), None);
    }
}
