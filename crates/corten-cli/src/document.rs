//! Docker's documents of a container, an image and a volume, as far as they are known here.

use std::path::Path;

use corten_engine::config::{
    CgroupnsMode, Config, ExposedPort, IpcMode, MountSource, NetworkMode, PidMode, Propagation, Stream,
    UsernsMode, UtsMode,
};
use corten_engine::container::Container;
use corten_engine::record::Status;
use corten_engine::volume::{self, Volume};
use corten_engine::{Dirs, files};
use corten_store::Image;
use serde_json::{Map, Value, json};

use crate::{document_health, document_parts};

/// The part of Docker's container document that is known here.
pub(crate) fn container(dirs: &Dirs, container: Container) -> Value {
    let Container { record, state } = container;
    let status = match state.status {
        Status::Created => "created",
        Status::Running if state.paused => "paused",
        Status::Running => "running",
        Status::Restarting => "restarting",
        Status::Exited => "exited",
    };
    let config = &record.config;
    let port = |port: &ExposedPort| (format!("{}/{}", port.port, port.protocol.as_str()), json!({}));
    let exposed: serde_json::Map<String, Value> = config.exposed_ports.iter().map(port).collect();
    let driver = config.log.driver.as_deref().unwrap_or("json-file");
    let log = dirs.container(&record.id).join(if driver == "local" { "log.local" } else { "log.json" });
    let log_path = if log.exists() { log.display().to_string() } else { String::new() };
    let mut document = json!({
        "Id": record.id,
        "RestartCount": state.restart_count,
        "Created": time(record.created_ns),
        "Path": record.args.first(),
        "Args": record.args.get(1..).unwrap_or_default(),
        "State": {
            "Status": status,
            "Running": matches!(state.status, Status::Running | Status::Restarting),
            "Paused": state.paused,
            "Restarting": state.status == Status::Restarting,
            "OOMKilled": state.oom_killed,
            "Dead": false,
            "Pid": state.pid,
            "ExitCode": state.exit_code,
            "Error": state.error,
            "StartedAt": time(state.started_ns),
            "FinishedAt": time(state.finished_ns),
        },
        "Image": record.image_id,
        "Name": format!("/{}", record.name),
        "Driver": "overlay",
        "LogPath": log_path,
        "Mounts": mounts(dirs, config),
        "Platform": "linux",
        "HostConfig": {
            "AutoRemove": config.auto_remove,
            "Privileged": config.privileged,
            "ReadonlyRootfs": config.read_only,
            "NetworkMode": network(config),
            "Memory": config.resources.memory_bytes.unwrap_or(0),
            "NanoCpus": config.resources.nano_cpus.unwrap_or(0),
            "PidsLimit": config.resources.pids_limit,
            "Binds": config.mounts.iter().filter_map(|mount| mount.bind_spec.clone()).collect::<Vec<_>>(),
            "CgroupParent": config.resources.cgroup_parent,
            "Annotations": config.annotations,
        },
        "Config": {
            "Hostname": config.hostname.clone().unwrap_or_else(|| record.id.chars().take(12).collect()),
            "User": record.user,
            "Env": record.env,
            "Cmd": config.command,
            "Entrypoint": config.entrypoint,
            "Image": config.image,
            "WorkingDir": record.workdir,
            "Labels": config.labels,
            "ExposedPorts": exposed,
            "Tty": config.tty,
            "OpenStdin": config.interactive,
        },
        // Corten's own: what the host went along with.
        "Corten": {
            "FirstHostId": state.first_id,
            "UnmappedBinds": state.unmapped_binds,
            "Cgroup": record.cgroup,
        },
    });
    let more = [document_parts::host_config(config), host_config(config)].map(|more| ("HostConfig", more));
    for (part, more) in more.into_iter().chain([("Config", self::config(config))]) {
        if let Some(Value::Object(known)) = document.get_mut(part) {
            known.extend(more);
        }
    }
    let lowers = files::layers(dirs, &record).unwrap_or_default();
    if let (Some(Value::Object(known)), Some(health)) = (document.get_mut("State"), &state.health) {
        known.insert("Health".to_owned(), document_health::shown(health));
    }
    if let Value::Object(known) = &mut document {
        known.extend(document_parts::top(dirs, &record, &lowers, state.status == Status::Running));
    }
    document
}

/// What `image inspect` shows.
pub(crate) fn image(image: &Image) -> Value {
    let config = serde_json::to_value(&image.config.config).unwrap_or(Value::Null);
    json!({
        "Id": image.id.to_string(),
        "RepoTags": image.names.iter().map(|name| name.familiar()).collect::<Vec<_>>(),
        "Created": image.config.created,
        "Author": image.config.author,
        "Comment": image.config.history.last().and_then(|step| step.comment.as_deref()).unwrap_or_default(),
        "Architecture": image.config.architecture,
        "Os": image.config.os,
        "Size": image.size_bytes.unwrap_or(0),
        "Config": config,
        "RootFS": {
            "Type": "layers",
            "Layers": image.diff_ids().iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
    })
}

/// What `volume inspect` shows.
pub(crate) fn volume(dirs: &Dirs, volume: &Volume) -> Value {
    json!({
        "CreatedAt": time(volume.created_ns),
        "Driver": "local",
        "Labels": volume.labels,
        "Mountpoint": volume::mountpoint(dirs, &volume.name),
        "Name": volume.name,
        "Options": null,
        "Scope": "local",
    })
}

/// Go's zero time for what never was.
fn time(ns: u128) -> String {
    match ns {
        0 => "0001-01-01T00:00:00Z".to_owned(),
        ns => {
            let since = std::time::Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX));
            corten_oci::time::rfc3339(std::time::UNIX_EPOCH + since)
        }
    }
}

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
