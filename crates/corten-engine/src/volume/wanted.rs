//! Which volumes a container has: its own flags', those of `--volumes-from`, the image's.

use super::random_name;
use crate::config::mount::{Mount, Volume};
use crate::config::{Config, MountSource};
use crate::container;
use crate::dirs::Dirs;
use crate::error::EngineError;

/// Completes the mounts of a configuration: afterwards every volume has its name.
pub(crate) fn settle(
    dirs: &Dirs,
    config: &mut Config,
    image: Option<&corten_oci::ImageConfig>,
) -> Result<(), EngineError> {
    let mut taken: Vec<Mount> = Vec::new();
    for other in &config.volumes_from {
        for mount in taken_over(dirs, other)? {
            taken.retain(|known| known.target != mount.target);
            taken.push(mount);
        }
    }
    // What was said of a place itself comes before what came along.
    taken.retain(|mount| !config.mounts.iter().any(|known| known.target == mount.target));
    config.mounts.append(&mut taken);
    for target in image.iter().flat_map(|image| image.config.volumes.keys()) {
        let mut mount = Mount::parse_volume(target).map_err(|error| {
            EngineError::refused(format!("the image's VOLUME {target:?}"), error.to_string())
        })?;
        mount.bind_spec = None;
        if !matches!(mount.source, MountSource::Volume(Volume { name: None, .. })) {
            return Err(EngineError::refused(format!("the image's VOLUME {target:?}"), "it is no path"));
        }
        if !config.mounts.iter().any(|known| known.target == mount.target) {
            config.mounts.push(mount);
        }
    }
    for mount in &mut config.mounts {
        if let MountSource::Volume(volume) = &mut mount.source
            && volume.name.is_none()
        {
            volume.name = Some(random_name()?);
            volume.anonymous = true;
        }
    }
    Ok(())
}

/// `NAME[:ro|rw|z|Z]` of `--volumes-from`: the binds and volumes of that container.
fn taken_over(dirs: &Dirs, text: &str) -> Result<Vec<Mount>, EngineError> {
    let refuse = |why: &str| EngineError::refused(format!("--volumes-from {text}"), why);
    let (name, mode) = text.split_once(':').unwrap_or((text, ""));
    let mut read_only = false;
    for option in mode.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" => {}
            "z" | "Z" => return Err(refuse("this kernel enforces no SELinux policy")),
            "nocopy" => return Err(refuse("nocopy has no meaning here: what it takes over is filled")),
            _ => return Err(refuse("expected NAME[:ro|rw]")),
        }
    }
    let other = container::find(dirs, name)?;
    let mounts = other.record.config.mounts.into_iter();
    let taken = mounts.filter(|mount| matches!(mount.source, MountSource::Bind(_) | MountSource::Volume(_)));
    Ok(taken
        .map(|mut mount| {
            mount.read_only |= read_only;
            mount.bind_spec = None;
            mount
        })
        .collect())
}
