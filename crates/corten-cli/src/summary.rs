//! Rows of lists: a container, an image, a volume in a few words.

use corten_engine::Dirs;
use corten_engine::config::MountSource;
use corten_engine::container::Container;
use corten_engine::record::Status;
use corten_engine::volume::{self, Volume};
use corten_oci::Reference;
use corten_store::{Image, Store, StoreError};

use crate::engine_api::{ContainerState, ContainerSummary, ImageStep, ImageSummary, VolumeSummary};
use crate::{document, document_parts};

fn seconds(ns: u128) -> i64 {
    (ns / 1_000_000_000) as i64
}

pub(crate) fn container(container: Container) -> ContainerSummary {
    let Container { record, state } = container;
    let started_s = seconds(state.started_ns);
    let mut mounts = Vec::new();
    for mount in &record.config.mounts {
        match &mount.source {
            MountSource::Bind(bind) => mounts.push(bind.source.clone()),
            MountSource::Volume(volume) => mounts.extend(volume.name.clone()),
            _ => {}
        }
    }
    let volume = |mount: &&corten_engine::config::Mount| matches!(mount.source, MountSource::Volume(_));
    let local_volumes = record.config.mounts.iter().filter(volume).count() as u32;
    ContainerSummary {
        health: state.health.as_ref().map(|health| health.status.as_str().to_owned()),
        state: match state.status {
            Status::Created => ContainerState::Created,
            Status::Running if state.paused => ContainerState::Paused { started_s },
            Status::Running => ContainerState::Running { started_s },
            Status::Restarting => {
                ContainerState::Restarting { code: state.exit_code, since_s: seconds(state.finished_ns) }
            }
            Status::Exited => {
                ContainerState::Exited { code: state.exit_code, finished_s: seconds(state.finished_ns) }
            }
        },
        id: record.id,
        name: record.name,
        image: record.config.image.clone(),
        image_id: record.image_id,
        command: record.args.join(" "),
        created_s: seconds(record.created_ns),
        local_volumes,
        networks: vec![document::network(&record.config)],
        targets: document_parts::targets(&record.config),
        exposed: record
            .config
            .exposed_ports
            .iter()
            .map(|port| (port.port, port.protocol.as_str().to_owned()))
            .collect(),
        labels: record.config.labels,
        mounts,
        ..ContainerSummary::default()
    }
}

pub(crate) fn volume(dirs: &Dirs, volume: Volume, containers: usize) -> VolumeSummary {
    VolumeSummary {
        mountpoint: volume::mountpoint(dirs, &volume.name).display().to_string(),
        name: volume.name,
        labels: volume.labels,
        anonymous: volume.anonymous,
        containers,
    }
}

/// An entry a tag; one without where it has none.
pub(crate) fn image(image: &Image, containers: usize) -> Vec<ImageSummary> {
    let created = image.config.created.as_deref().and_then(corten_oci::time::unix_seconds);
    let row = ImageSummary {
        id: image.id.to_string(),
        digest: Some(image.manifest_digest.to_string()),
        created_s: created.unwrap_or(0),
        size_bytes: image.size_bytes.unwrap_or(0),
        labels: image.config.config.labels.clone(),
        containers: u32::try_from(containers).ok(),
        ..ImageSummary::default()
    };
    let named = |name: &Reference| {
        let familiar = name.familiar();
        let (repository, tag) = familiar.rsplit_once(':').unwrap_or((&familiar, "latest"));
        ImageSummary { repository: Some(repository.to_owned()), tag: Some(tag.to_owned()), ..row.clone() }
    };
    match image.names.as_slice() {
        [] => vec![row],
        names => names.iter().map(named).collect(),
    }
}

/// The steps of its history, the last first; the last has the image's id.
pub(crate) fn history(store: &Store, image: &Image) -> Result<Vec<ImageStep>, StoreError> {
    let mut layers = image.diff_ids().iter();
    let mut steps = Vec::new();
    for entry in &image.config.history {
        let layer = if entry.empty_layer { None } else { layers.next() };
        let record = layer.map(|layer| store.layer_record(layer)).transpose()?.flatten();
        steps.push(ImageStep {
            id: None,
            created_s: entry.created.as_deref().and_then(corten_oci::time::unix_seconds),
            created_by: entry.created_by.clone().unwrap_or_default(),
            comment: entry.comment.clone().unwrap_or_default(),
            size_bytes: record.map_or(0, |record| record.size_bytes),
        });
    }
    steps.reverse();
    if let Some(last) = steps.first_mut() {
        last.id = Some(image.id.to_string());
    }
    Ok(steps)
}
