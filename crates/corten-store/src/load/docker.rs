//! Docker's own archive: `manifest.json` lists configs, tags and layers by their paths in the archive.

use corten_oci::image::{MAX_CONFIG_BYTES, MAX_LAYERS, MAX_MANIFEST_BYTES};
use corten_oci::{Descriptor, DiffId, Digest, ImageId, MediaType, Reference};
use serde::Deserialize;

use super::source::Source;
use super::{LoadError, Loaded, manifest_for, parse_config, unpack_layers};
use crate::error::{Result, StoreError};
use crate::session::{NewImage, Sealed, Session};
use crate::unpack::UnpackOptions;

const MANIFEST: &str = "manifest.json";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

pub(super) fn load(
    session: &Session<'_>,
    source: &mut Source,
    unpack: &UnpackOptions,
    images: &mut Vec<(Loaded, NewImage)>,
) -> Result<()> {
    let bytes = source.read(session, MANIFEST, MAX_MANIFEST_BYTES)?;
    let items: Vec<Item> = serde_json::from_slice(&bytes)
        .map_err(|error| LoadError::Json { path: MANIFEST.into(), reason: error.to_string() })?;
    for item in items {
        images.push(image(session, source, unpack, &item)?);
    }
    Ok(())
}

fn image(
    session: &Session<'_>,
    source: &mut Source,
    unpack: &UnpackOptions,
    item: &Item,
) -> Result<(Loaded, NewImage)> {
    let config_blob = source.need(session, &item.config)?;
    check_name(&item.config, &config_blob)?;
    let bytes = session.read_sealed(&config_blob, &item.config, MAX_CONFIG_BYTES)?;
    let config = parse_config(&item.config, &bytes)?;
    let paths = item.layers.as_deref().unwrap_or_default();
    let diff_ids = &config.rootfs.diff_ids;
    if paths.len() != diff_ids.len() || paths.len() > MAX_LAYERS {
        let source = corten_oci::DocumentError::LayerCount { diff_ids: diff_ids.len(), layers: paths.len() };
        return Err(StoreError::Document { path: item.config.as_str().into(), source });
    }
    let mut layers: Vec<(DiffId, Sealed)> = Vec::new();
    for (path, diff_id) in paths.iter().zip(diff_ids) {
        layers.push((diff_id.clone(), source.need(session, path)?));
    }
    let (skipped, size) = unpack_layers(session, &layers, unpack)?;
    for (_, blob) in &layers {
        session.stage(blob)?;
    }
    session.stage(&config_blob)?;
    let descriptor = Descriptor::new(MediaType::OCI_CONFIG, config_blob.digest.clone(), config_blob.size);
    let id = ImageId(config_blob.digest);
    let names: Result<Vec<Reference>, _> =
        item.repo_tags.iter().flatten().map(|tag| tag.parse::<Reference>()).collect();
    let names: Vec<Reference> = names?.into_iter().map(Reference::with_default_tag).collect();
    let new = NewImage {
        descriptor: manifest_for(session, descriptor, &layers)?,
        id: Some(id.clone()),
        names: names.clone(),
        size_bytes: Some(size),
    };
    Ok((Loaded { id, names, skipped }, new))
}

/// A config whose file is called by a digest (`<hex>.json`, `blobs/sha256/<hex>`) has to have it.
fn check_name(path: &str, blob: &Sealed) -> Result<(), LoadError> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.strip_suffix(".json").unwrap_or(name);
    match Digest::from_sha256_hex(name) {
        Ok(digest) if digest != blob.digest => {
            Err(LoadError::Digest { path: path.into(), actual: blob.digest.clone() })
        }
        _ => Ok(()),
    }
}
