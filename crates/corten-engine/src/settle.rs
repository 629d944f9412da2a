//! What the image and other containers add to a configuration before it is recorded: afterwards the record
//! says what the container has.

use corten_store::{Image, Store};

use crate::config::{Config, Health, MountSource};
use crate::dirs::Dirs;
use crate::error::EngineError;
use crate::resolve::MountedImage;

/// Completes the configuration.
pub(crate) fn settle(dirs: &Dirs, config: &mut Config, image: Option<&Image>) -> Result<(), EngineError> {
    let image = image.map(|image| &image.config);
    if let Some(image) = image {
        for (name, value) in &image.config.labels {
            config.labels.entry(name.clone()).or_insert_with(|| value.clone());
        }
        if config.stop_signal.is_none() {
            config.stop_signal = image.config.stop_signal.clone().filter(|signal| !signal.is_empty());
        }
    }
    config.health = Health::over(
        config.health.take(),
        image.and_then(|image| image.config.healthcheck.as_ref()),
        image.and_then(|image| image.config.shell.as_deref()),
    );
    crate::resolve::check_stop_signal(config)?;
    crate::volume::settle(dirs, config, image)
}

/// The images of `--mount type=image`.
pub(crate) fn mounted_images(
    dirs: &Dirs,
    config: &Config,
    platform: Option<&corten_oci::Platform>,
) -> Result<Vec<MountedImage>, EngineError> {
    let mut images = Vec::new();
    for mount in &config.mounts {
        if let MountSource::Image(wanted) = &mount.source {
            let image = Store::open(&dirs.root)?.resolve(&wanted.reference, platform)?;
            images.push(MountedImage {
                target: mount.target.clone(),
                id: image.id.to_string(),
                layers: image.layers.iter().rev().cloned().collect(),
                diff_ids: image.diff_ids().iter().map(ToString::to_string).collect(),
            });
        }
    }
    Ok(images)
}
