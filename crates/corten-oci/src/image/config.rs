//! The image's config: image-spec, config.md, with what Docker adds to it.
//!
//! Nothing in here commands the engine: labels are data, and an `Env` entry without `=` is refused, for
//! elsewhere it means "take it from the host" (CVE-2026-57231).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{DocumentError, MAX_CONFIG_BYTES, MAX_LAYERS, at_most, bounded, json};
use crate::{DiffId, Digest, Manifest, Platform};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// RFC 3339
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
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
    #[serde(default, deserialize_with = "crate::null::as_default")]
    pub config: Config,
    pub rootfs: RootFs,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::null::as_default")]
    pub history: Vec<History>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How to run a container of this image. `Cmd` and `Entrypoint` tell absent from empty, because a child
/// image that sets one to `[]` takes the parent's away.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "crate::null::as_default")]
    pub user: String,
    /// `80/tcp` → {}
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "crate::null::as_default")]
    pub exposed_ports: BTreeMap<String, Empty>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::null::as_default")]
    pub env: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "crate::null::as_default")]
    pub volumes: BTreeMap<String, Empty>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "crate::null::as_default")]
    pub working_dir: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "crate::null::as_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::null::as_default")]
    pub on_build: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Windows only; kept
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args_escaped: Option<bool>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The value of Go's `map[string]struct{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// Docker's; durations in nanoseconds, 0 meaning "inherit".
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", "line"]`
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::null::as_default")]
    pub test: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    #[serde(rename = "type")]
    pub kind: String,
    /// base first
    #[serde(default, deserialize_with = "crate::null::as_default")]
    pub diff_ids: Vec<DiffId>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// The names of stacks of layers, base first (config.md, "Layer ChainID").
pub fn chain_ids(diff_ids: &[DiffId]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(below) => Digest::sha256(format!("{below} {diff_id}")),
        };
        chain.push(next);
    }
    chain
}

impl ImageConfig {
    /// An image without layers, for a platform.
    pub fn new(platform: &Platform) -> ImageConfig {
        ImageConfig {
            created: None,
            author: None,
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            os_version: platform.os_version.clone(),
            os_features: platform.os_features.clone(),
            config: Config::default(),
            rootfs: RootFs { kind: "layers".into(), diff_ids: Vec::new() },
            history: Vec::new(),
            other: Map::new(),
        }
    }

    pub fn parse(bytes: &[u8]) -> Result<ImageConfig, DocumentError> {
        bounded("image config", bytes, MAX_CONFIG_BYTES)?;
        let image: ImageConfig = json("image config", bytes)?;
        if image.rootfs.kind != "layers" {
            return Err(DocumentError::RootFsType(image.rootfs.kind));
        }
        at_most("image config", image.rootfs.diff_ids.len(), MAX_LAYERS)?;
        let named = |entry: &&String| entry.find('=').is_none_or(|at| at == 0);
        if let Some(entry) = image.config.env.iter().find(named) {
            return Err(DocumentError::Env(entry.clone()));
        }
        Ok(image)
    }

    /// That config and manifest speak of the same layers.
    pub fn matches(&self, manifest: &Manifest) -> Result<(), DocumentError> {
        let (diff_ids, layers) = (self.rootfs.diff_ids.len(), manifest.layers.len());
        if diff_ids == layers { Ok(()) } else { Err(DocumentError::LayerCount { diff_ids, layers }) }
    }

    pub fn platform(&self) -> Platform {
        let mut platform = Platform::new(&self.os, &self.architecture, self.variant.as_deref());
        platform.os_version = self.os_version.clone();
        platform.os_features = self.os_features.clone();
        platform
    }

    /// The bytes to store; their digest is the image's id.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}"#;

    fn parse(rest: &str) -> Result<ImageConfig, DocumentError> {
        ImageConfig::parse(format!("{MINIMAL}{rest}}}").as_bytes())
    }

    #[test]
    fn go_writes_null_for_empty() {
        let image = parse(r#","history":null,"config":{"Cmd":null,"Env":null,"Volumes":null,"Labels":null}"#);
        assert_eq!(image.unwrap().config, Config::default());
        assert_eq!(parse(r#","config":null"#).unwrap().config, Config::default());
    }

    #[test]
    fn unknown_fields_survive() {
        let image =
            parse(r#","moby":{"x":[1]},"config":{"Hostname":"h","Healthcheck":{"Test":["NONE"],"N":1}}"#);
        let text = String::from_utf8(image.unwrap().to_bytes()).unwrap();
        for kept in [r#""moby":{"x":[1]}"#, r#""Hostname":"h""#, r#""N":1"#] {
            assert!(text.contains(kept), "{text}");
        }
    }

    #[test]
    fn env_names_its_value() {
        for bad in ["PATH", "", "=x"] {
            let text = format!(r#","config":{{"Env":["{bad}"]}}"#);
            assert!(matches!(parse(&text), Err(DocumentError::Env(_))), "{bad}");
        }
        assert!(parse(r#","config":{"Env":["A=","B=c=d"]}"#).is_ok());
    }
}
