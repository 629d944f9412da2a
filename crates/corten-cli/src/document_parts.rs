//! The rest of Docker's container document: limits, policies, paths, and the parts that are the same for every
//! container here but that clients read.

use std::path::PathBuf;

use corten_engine::Dirs;
use corten_engine::config::blkio::DeviceRate;
use corten_engine::config::{
    CapabilityArg, Config, HostAddress, HostEntry, Init, MountSource, Restart, Seccomp, SecurityOpts,
};
use corten_engine::record::Record;
use serde_json::{Map, Value, json};

use crate::document;

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// An empty list is `null` there, as Go writes it.
fn list<T>(items: &[T], show: impl Fn(&T) -> Value) -> Value {
    if items.is_empty() { Value::Null } else { items.iter().map(show).collect() }
}

/// What `.HostConfig` says of limits, rights and the end.
pub(crate) fn host_config(config: &Config) -> Map<String, Value> {
    let resources = &config.resources;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let rate = |rate: &DeviceRate| json!({"Path": rate.path, "Rate": rate.rate});
    let weight = |rate: &DeviceRate| json!({"Path": rate.path, "Weight": rate.rate});
    let blkio = &resources.blkio;
    let (name, count) = config.restart.unwrap_or(Restart::No).name_and_count();
    let ulimit = |ulimit: &corten_engine::config::Ulimit| {
        let value = |value: Option<u64>| value.map_or(-1, |value| i64::try_from(value).unwrap_or(i64::MAX));
        json!({"Name": ulimit.resource.name(), "Soft": value(ulimit.soft), "Hard": value(ulimit.hard)})
    };
    let swap =
        resources.memory_swap_bytes.or_else(|| resources.memory_bytes.map(|bytes| bytes.saturating_mul(2)));
    let mut all = map(json!({
        "ContainerIDFile": "",
        "PortBindings": {},
        "PublishAllPorts": config.publish_all,
        "RestartPolicy": {"Name": name, "MaximumRetryCount": count},
        "ConsoleSize": [0, 0],
        "CapAdd": list(&config.cap_add, |cap| capability(cap).into()),
        "CapDrop": list(&config.cap_drop, |cap| capability(cap).into()),
        "Dns": config.dns,
        "DnsOptions": config.dns_options,
        "DnsSearch": config.dns_search,
        "ExtraHosts": list(&config.add_hosts, |entry| host(entry).into()),
        "GroupAdd": list(&config.group_add, |group| group.to_string().into()),
        "Cgroup": "",
        "Links": Value::Null,
        "OomScoreAdj": resources.oom_score_adj.unwrap_or(0),
        "SecurityOpt": security(&config.security_opts),
        "StorageOpt": if config.storage_opts.is_empty() { Value::Null } else { json!(config.storage_opts) },
        "Sysctls": if config.sysctls.is_empty() { Value::Null } else { json!(config.sysctls) },
        "Runtime": "corten",
        "Isolation": "",
        "Init": config.init.as_ref().map(|init| *init != Init::Off),
    }));
    all.extend(map(json!({
        "CpuShares": resources.cpu_shares.unwrap_or(0),
        "BlkioWeight": blkio.weight.unwrap_or(0),
        "BlkioWeightDevice": blkio.weight_device.iter().map(weight).collect::<Vec<_>>(),
        "BlkioDeviceReadBps": list(&blkio.read_bps, rate),
        "BlkioDeviceWriteBps": list(&blkio.write_bps, rate),
        "BlkioDeviceReadIOps": list(&blkio.read_iops, rate),
        "BlkioDeviceWriteIOps": list(&blkio.write_iops, rate),
        "CpuPeriod": resources.cpu_period_us.unwrap_or(0),
        "CpuQuota": resources.cpu_quota_us.unwrap_or(0),
        "CpuRealtimePeriod": resources.cpu_rt_period_us.unwrap_or(0),
        "CpuRealtimeRuntime": resources.cpu_rt_runtime_us.unwrap_or(0),
        "CpusetCpus": text(&resources.cpuset_cpus),
        "CpusetMems": text(&resources.cpuset_mems),
        "DeviceRequests": Value::Null,
        "MemoryReservation": resources.memory_reservation_bytes.unwrap_or(0),
        "MemorySwap": swap.unwrap_or(0),
        "MemorySwappiness": resources.memory_swappiness,
        "OomKillDisable": resources.oom_kill_disable,
        "Ulimits": list(&resources.ulimits, ulimit),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    })));
    all
}

fn capability(cap: &CapabilityArg) -> String {
    match cap {
        CapabilityArg::All => "ALL".to_owned(),
        CapabilityArg::One(cap) => cap.name().to_owned(),
    }
}

fn host(entry: &HostEntry) -> String {
    match entry.address {
        HostAddress::Ip(ip) => format!("{}:{ip}", entry.name),
        HostAddress::Gateway => format!("{}:host-gateway", entry.name),
    }
}

fn security(opts: &SecurityOpts) -> Value {
    let mut all: Vec<String> = Vec::new();
    match &opts.seccomp {
        Some(Seccomp::Builtin) => all.push("seccomp=builtin".to_owned()),
        Some(Seccomp::Unconfined) => all.push("seccomp=unconfined".to_owned()),
        Some(Seccomp::File(text) | Seccomp::Json(text)) => all.push(format!("seccomp={text}")),
        None => {}
    }
    all.extend(opts.apparmor.iter().map(|profile| format!("apparmor={profile}")));
    all.extend(opts.labels.iter().map(|label| format!("label={label}")));
    match opts.no_new_privileges {
        Some(true) => all.push("no-new-privileges".to_owned()),
        Some(false) => all.push("no-new-privileges=false".to_owned()),
        None => {}
    }
    list(&all, |text| text.clone().into())
}

/// What stands beside `.HostConfig` and `.Config`.
pub(crate) fn top(dirs: &Dirs, record: &Record, lowers: &[PathBuf], running: bool) -> Map<String, Value> {
    let config = &record.config;
    let dir = dirs.container(&record.id);
    let file = |name: &str| {
        let path = dirs.live(&record.id).join(name);
        if running && path.exists() { path.display().to_string() } else { String::new() }
    };
    let lowers: Vec<String> = lowers.iter().map(|path| path.display().to_string()).collect();
    let mode = document::network(config);
    let networks = match mode.as_str() {
        name @ ("none" | "host") => json!({name: {
            "IPAMConfig": Value::Null,
            "Links": Value::Null,
            "Aliases": Value::Null,
            "MacAddress": "",
            "NetworkID": "",
            "EndpointID": "",
            "Gateway": "",
            "IPAddress": "",
            "IPPrefixLen": 0,
            "IPv6Gateway": "",
            "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0,
        }}),
        _ => json!({}),
    };
    map(json!({
        "ResolvConfPath": file("resolv.conf"),
        "HostnamePath": file("hostname"),
        "HostsPath": file("hosts"),
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": config.security_opts.apparmor.clone().unwrap_or_default(),
        "ExecIDs": Value::Null,
        "GraphDriver": {
            "Name": "overlay",
            "Data": {
                "LowerDir": lowers.join(":"),
                "UpperDir": dir.join("upper"),
                "WorkDir": dir.join("work"),
            },
        },
        "NetworkSettings": {
            "Bridge": "",
            "SandboxID": "",
            "SandboxKey": "",
            "Ports": {},
            "Gateway": "",
            "IPAddress": "",
            "IPPrefixLen": 0,
            "MacAddress": "",
            "Networks": networks,
        },
    }))
}

/// Where mounts are, for `--filter volume=PATH`.
pub(crate) fn targets(config: &Config) -> Vec<String> {
    let shown = |mount: &&corten_engine::config::Mount| {
        matches!(mount.source, MountSource::Bind(_) | MountSource::Volume(_))
    };
    config.mounts.iter().filter(shown).map(|mount| mount.target.clone()).collect()
}
