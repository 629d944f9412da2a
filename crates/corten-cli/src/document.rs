//! The parts of Docker's container document that are lists and modes.

use std::path::Path;

use corten_engine::config::{
    CgroupnsMode, Config, IpcMode, MountSource, NetworkMode, PidMode, Propagation, Stream, UsernsMode,
    UtsMode,
};
use corten_engine::{Dirs, volume};
use serde_json::{Map, Value, json};

use crate::document_health;

/// `.Mounts`.
pub(crate) fn mounts(dirs: &Dirs, config: &Config) -> Vec<Value> {
    let propagation = |wanted: Option<Propagation>| wanted.map_or("rprivate", Propagation::as_str);
    let one = |mount: &corten_engine::config::Mount| {
        let mode = mount
            .bind_spec
            .as_deref()
            .map_or(Vec::new(), |spec| spec.split(':').collect())
            .get(2)
            .map_or(String::new(), ToString::to_string);
        match &mount.source {
            MountSource::Bind(bind) => json!({
                "Type": "bind",
                "Source": bind.source,
                "Destination": mount.target,
                "Mode": mode,
                "RW": !mount.read_only,
                "Propagation": propagation(bind.propagation),
            }),
            MountSource::Volume(wanted) => {
                let name = wanted.name.as_deref().unwrap_or_default();
                let source: &Path = &volume::mountpoint(dirs, name);
                json!({
                    "Type": "volume",
                    "Name": name,
                    "Source": source,
                    "Destination": mount.target,
                    "Driver": "local",
                    "Mode": mode,
                    "RW": !mount.read_only,
                    "Propagation": wanted.propagation.map_or("", Propagation::as_str),
                })
            }
            MountSource::Tmpfs(_) => json!({
                "Type": "tmpfs",
                "Source": "",
                "Destination": mount.target,
                "Mode": "",
                "RW": !mount.read_only,
                "Propagation": "",
            }),
            MountSource::Image(image) => json!({
                "Type": "image",
                "Source": image.reference,
                "Destination": mount.target,
                "Mode": "",
                "RW": false,
                "Propagation": "rprivate",
            }),
        }
    };
    config.mounts.iter().map(one).collect()
}

/// `.HostConfig.NetworkMode`, and the network's name in lists.
pub(crate) fn network(config: &Config) -> String {
    match config.networks.first().map(|network| &network.mode) {
        Some(NetworkMode::Host) => "host".to_owned(),
        Some(NetworkMode::Container(id)) => format!("container:{id}"),
        _ => "none".to_owned(),
    }
}

/// What `.HostConfig` says of namespaces, logs, volumes and devices.
pub(crate) fn host_config(config: &Config) -> Map<String, Value> {
    let container = |id: &str| format!("container:{id}");
    let pid = match &config.pid {
        Some(PidMode::Host) => "host".to_owned(),
        Some(PidMode::Container(id)) => container(id),
        _ => String::new(),
    };
    let ipc = match &config.ipc {
        Some(IpcMode::Host) => "host".to_owned(),
        Some(IpcMode::None) => "none".to_owned(),
        Some(IpcMode::Shareable) => "shareable".to_owned(),
        Some(IpcMode::Container(id)) => container(id),
        Some(IpcMode::Private) | None => "private".to_owned(),
    };
    let userns = match &config.userns {
        Some(UsernsMode::Host) => "host".to_owned(),
        Some(UsernsMode::Container(id)) => container(id),
        Some(UsernsMode::Auto) | None => String::new(),
    };
    let devices: Vec<Value> = config
        .resources
        .devices
        .iter()
        .map(|device| {
            json!({
                "PathOnHost": device.host_path,
                "PathInContainer": device.container_path,
                "CgroupPermissions": device.access.to_string(),
            })
        })
        .collect();
    let log = config.log.driver.as_deref().filter(|driver| !driver.is_empty()).unwrap_or("json-file");
    let value = json!({
        "PidMode": pid,
        "IpcMode": ipc,
        "UsernsMode": userns,
        "UTSMode": if config.uts == Some(UtsMode::Host) { "host" } else { "" },
        "CgroupnsMode": if config.cgroupns == Some(CgroupnsMode::Host) { "host" } else { "private" },
        "LogConfig": { "Type": log, "Config": config.log.opts },
        "VolumeDriver": config.volume_driver.clone().unwrap_or_default(),
        "VolumesFrom": if config.volumes_from.is_empty() { Value::Null } else { json!(config.volumes_from) },
        "Devices": devices,
        "ShmSize": config.shm_size_bytes.unwrap_or(64 << 20),
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// What `.Config` says of streams, the stop and volumes; what was not said is not there.
pub(crate) fn config(config: &Config) -> Map<String, Value> {
    let attached = |stream| config.attach.contains(&stream) || config.attach.is_empty();
    let stdin = attached(Stream::Stdin) && (config.interactive || !config.attach.is_empty());
    let mut map = Map::new();
    map.insert("AttachStdin".into(), stdin.into());
    map.insert("AttachStdout".into(), attached(Stream::Stdout).into());
    map.insert("AttachStderr".into(), attached(Stream::Stderr).into());
    map.insert("StdinOnce".into(), (config.interactive && stdin).into());
    if let Some(signal) = &config.stop_signal {
        map.insert("StopSignal".into(), signal.clone().into());
    }
    if let Some(health) = &config.health {
        map.insert("Healthcheck".into(), document_health::check(health));
    }
    if let Some(seconds) = config.stop_timeout_s {
        map.insert("StopTimeout".into(), seconds.into());
    }
    let volumes: Map<String, Value> = config
        .mounts
        .iter()
        .filter(|mount| matches!(&mount.source, MountSource::Volume(volume) if volume.anonymous))
        .map(|mount| (mount.target.clone(), json!({})))
        .collect();
    map.insert("Volumes".into(), if volumes.is_empty() { Value::Null } else { volumes.into() });
    map
}
