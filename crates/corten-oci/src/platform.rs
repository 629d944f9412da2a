//! What an image runs on: image-spec, image-index.md, "platform", with the names that Go gives.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(
        rename = "os.features",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::null::as_default"
    )]
    pub os_features: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("platform `{0}` is not of the form os/architecture[/variant], as in linux/arm64/v8")]
pub struct PlatformError(pub String);

impl Platform {
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        Platform {
            architecture: architecture.into(),
            os: os.into(),
            variant: variant.map(Into::into),
            os_version: None,
            os_features: Vec::new(),
        }
        .normalised()
    }

    /// The platform that this program was built for. (A 64-bit kernel runs no foreign code by itself.)
    pub fn host() -> Platform {
        Platform::new("linux", std::env::consts::ARCH, None)
    }

    /// Other names for the same machine become Go's, and an implied variant is dropped where it is the
    /// only one (arm64/v8, amd64/v1) and given where there are several (arm → v7).
    pub fn normalised(mut self) -> Platform {
        let variant = self.variant.take().filter(|v| !v.is_empty()).map(|v| v.to_ascii_lowercase());
        let architecture = self.architecture.to_ascii_lowercase();
        let (architecture, implied) = match architecture.as_str() {
            "x86_64" | "x86-64" => ("amd64", None),
            "i386" | "i486" | "i586" | "i686" | "x86" => ("386", None),
            "aarch64" => ("arm64", None),
            "armhf" => ("arm", Some("v7")),
            "armel" => ("arm", Some("v6")),
            "powerpc64le" => ("ppc64le", None),
            "powerpc64" => ("ppc64", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        let variant = match (architecture, variant.or(implied.map(Into::into)).as_deref()) {
            ("arm64", Some("v8" | "8")) | ("amd64", Some("v1")) => None,
            ("arm", None | Some("7")) => Some("v7".into()),
            ("arm", Some(digit @ ("5" | "6" | "8"))) => Some(format!("v{digit}")),
            (_, given) => given.map(Into::into),
        };
        self.os = match self.os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".into(),
            other => other.into(),
        };
        Platform { architecture: architecture.into(), variant, ..self }
    }

    /// How well an image for `self` serves somebody who asked for `wanted`: `None` not at all, otherwise
    /// lower is better (0 is exact; one more for every variant below the one asked for).
    pub fn serves(&self, wanted: &Platform) -> Option<u32> {
        let (have, wanted) = (self.clone().normalised(), wanted.clone().normalised());
        if have.os != wanted.os || have.architecture != wanted.architecture {
            return None;
        }
        if wanted.os_version.is_some() && have.os_version != wanted.os_version {
            return None;
        }
        if have.variant == wanted.variant {
            return Some(0);
        }
        let implied = match have.architecture.as_str() {
            "arm64" => 8,
            "amd64" => 1,
            "arm" => 7,
            _ => return wanted.variant.is_none().then_some(1),
        };
        let number = |variant: &Option<String>| match variant.as_deref() {
            None => Some(implied),
            Some(text) => text.strip_prefix('v').and_then(|v| v.split('.').next()?.parse::<u32>().ok()),
        };
        number(&wanted.variant)?.checked_sub(number(&have.variant)?)
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// `linux/arm64/v8`; as Docker has it also `linux` alone and `arm64` alone.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let word = |part: &&str| {
            !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(word) {
            return Err(PlatformError(text.into()));
        }
        let known_os = ["linux", "windows", "darwin", "macos", "freebsd", "wasip1"];
        match parts[..] {
            [os] if known_os.contains(&os.to_ascii_lowercase().as_str()) => {
                Ok(Platform { os: os.into(), ..Platform::host() }.normalised())
            }
            [architecture] => Ok(Platform::new("linux", architecture, None)),
            [os, architecture] => Ok(Platform::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Platform::new(os, architecture, Some(variant))),
            _ => Err(PlatformError(text.into())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_normalises() {
        for (text, shown) in [
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("s390x", "linux/s390x"),
            ("Linux/AMD64/v3", "linux/amd64/v3"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), shown, "{text}");
        }
        for bad in ["", "/", "linux/", "linux//v8", "a/b/c/d", "linux/a m"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_older_variant_serves_a_newer_machine() {
        let serves = |have: &str, wanted: &str| {
            have.parse::<Platform>().unwrap().serves(&wanted.parse::<Platform>().unwrap())
        };
        assert_eq!(serves("linux/arm/v7", "linux/arm/v7"), Some(0));
        assert_eq!(serves("linux/arm/v6", "linux/arm/v7"), Some(1));
        assert_eq!(serves("linux/amd64", "linux/amd64/v3"), Some(2));
        assert_eq!(serves("linux/amd64/v3", "linux/amd64"), None);
        assert_eq!(serves("linux/arm64", "linux/arm64/v8"), Some(0));
        assert_eq!(serves("linux/arm64", "linux/amd64"), None);
        assert_eq!(serves("windows/amd64", "linux/amd64"), None);
    }
}
