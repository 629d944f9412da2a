//! Config and image → Spec: every default filled in, everything that cannot be done refused by name.

mod check;
mod devices;
mod hostile;
pub(crate) mod machine;
mod mounts;
pub(crate) mod process;
mod resources;
pub(crate) mod rootless;

use std::cell::RefCell;
use std::path::PathBuf;

use corten_runtime::plan::sysctl_namespace;
use corten_runtime::spec::{
    IdMaps, Mount, Namespace, Namespaces, Overlay, Root, RootSource, Spec, TimeOffsets, UserNamespace,
    Writable,
};

pub(crate) use check::{check, check_stop_signal};
pub(crate) use resources::limits;

use crate::config::{Config, IpcMode, NetworkMode, PidMode, UsernsMode, UtsMode};
use crate::error::EngineError;
use crate::joins::Joins;
use crate::lease::BLOCK;

const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What is known of the container beside its configuration.
pub(crate) struct Context<'a> {
    pub(crate) id: &'a str,
    pub(crate) run_dir: PathBuf,
    pub(crate) container_dir: PathBuf,
    pub(crate) image: Option<&'a corten_oci::ImageConfig>,
    /// Lower layers of the root, the uppermost first.
    pub(crate) lowers: Vec<PathBuf>,
    /// Mounts that the image itself brings (`host`).
    pub(crate) image_mounts: Vec<Mount>,
    /// First host id of its block.
    pub(crate) first_id: u32,
    pub(crate) terminal: Option<(u16, u16)>,
    /// Nothing is made for the plan; what would have been is told here.
    pub(crate) unmade: Option<&'a RefCell<Vec<Unmade>>>,
    /// Device nodes are the host's own, bound: an ordinary user can make none.
    pub(crate) bound_devices: bool,
    /// What it shares with other containers.
    pub(crate) joins: &'a Joins,
    /// Where the volumes are.
    pub(crate) volumes: PathBuf,
    /// The images of `--mount type=image`.
    pub(crate) mounted: &'a [MountedImage],
}

/// What a plan needs that is neither the image's nor a step of it.
pub(crate) enum Unmade {
    /// The source of a bind, as `-v` has it.
    Directory(PathBuf),
    /// A device node of the container's own.
    Node { path: PathBuf, kind: char, major: u32, minor: u32, mode: u32, owner: Option<(u32, u32)> },
}

/// An image that is mounted beside the container's own.
pub(crate) struct MountedImage {
    pub(crate) target: String,
    pub(crate) id: String,
    /// The uppermost first.
    pub(crate) layers: Vec<PathBuf>,
    pub(crate) diff_ids: Vec<String>,
}

/// What cannot work in a user namespace of its own leaves it, because that very thing was asked for.
pub(crate) fn shares_user_namespace(config: &Config) -> bool {
    config.privileged
        || matches!(config.userns, Some(UsernsMode::Host))
        || matches!(config.pid, Some(PidMode::Host))
}

pub(crate) fn spec(config: &Config, context: Context<'_>) -> Result<Spec, EngineError> {
    let privileged = config.privileged;
    let network = config.networks.first().map_or(&NetworkMode::Default, |network| &network.mode);
    let user = match &context.joins.user {
        Some(joined) => joined.clone(),
        None if shares_user_namespace(config) => UserNamespace::Host,
        None => UserNamespace::New(IdMaps::block(context.first_id, BLOCK)),
    };
    let host_user = user == UserNamespace::Host;
    let host_or_new = |host: bool| if host { Namespace::Host } else { Namespace::New };
    let joined = |join: &Option<Namespace>, host| join.clone().unwrap_or_else(|| host_or_new(host));
    let namespaces = Namespaces {
        pid: joined(&context.joins.pid, matches!(config.pid, Some(PidMode::Host))),
        network: joined(&context.joins.network, *network == NetworkMode::Host),
        ipc: joined(&context.joins.ipc, matches!(config.ipc, Some(IpcMode::Host))),
        uts: host_or_new(matches!(config.uts, Some(UtsMode::Host))),
        cgroup: host_or_new(matches!(config.cgroupns, Some(crate::config::CgroupnsMode::Host))),
        user,
        time: config.time_offset.map(|offset| TimeOffsets {
            monotonic: (offset.monotonic_s, 0),
            boottime: (offset.boottime_s, 0),
        }),
    };
    let host_uts = namespaces.uts == Namespace::Host;
    if host_uts && (config.hostname.is_some() || config.domainname.is_some()) {
        return Err(EngineError::refused("--hostname", "conflicting options: hostname and the UTS mode"));
    }
    let shared = context.joins.hostname();
    let (hostname, domainname) = match shared {
        Some((hostname, domainname)) if config.hostname.is_none() => (hostname, domainname),
        _ => {
            let own = config.hostname.clone().unwrap_or_else(|| context.id[..12].to_owned());
            (own, config.domainname.clone())
        }
    };
    let args = process::command(config, context.image)?;
    // What is written in the image `host` is thrown away, so it need not reach a disk.
    let in_memory = config.image == "host" && !context.bound_devices;
    let writable = if in_memory {
        Writable::Memory { mode: 0o755 }
    } else {
        Writable::Directory(context.container_dir.clone())
    };
    let mut spec = Spec {
        id: context.id.to_owned(),
        run_dir: context.run_dir.clone(),
        hostname: (!host_uts).then(|| hostname.clone()),
        domainname: domainname.filter(|_| !host_uts),
        namespaces,
        root: Root {
            source: RootSource::Overlay(Overlay {
                lowers: context.lowers.clone(),
                writable: Some(writable),
                volatile: config.auto_remove || in_memory,
                idmap: !host_user,
                userxattr: false,
                screened: false,
                subpath: None,
            }),
            read_only: config.read_only,
        },
        mounts: Vec::new(),
        masked_paths: Vec::new(),
        readonly_paths: Vec::new(),
        sysctls: Vec::new(),
        loopback: true,
        cgroup: None,
        process: process::process(config, &context, &args, &hostname)?,
        init: process::init(config, &args),
        init_program: None,
    };
    mounts::mounts(config, &context, &hostname, &mut spec)?;
    if !privileged && !config.security_opts.systempaths_unconfined {
        spec.masked_paths = MASKED.map(str::to_owned).to_vec();
        spec.readonly_paths = READONLY.map(str::to_owned).to_vec();
    }
    sysctls(config, &mut spec)?;
    spec.cgroup = Some(resources::cgroup(config, &context, !host_user)?);
    Ok(spec)
}

fn sysctls(config: &Config, spec: &mut Spec) -> Result<(), EngineError> {
    if spec.namespaces.network == Namespace::New {
        // In a user namespace Docker's "0 2147483647" is EINVAL: ids beyond the block do not exist there.
        let group_range =
            if spec.namespaces.user == UserNamespace::Host { "0 2147483647" } else { "0 65535" };
        for (name, value) in
            [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", group_range)]
        {
            if !config.sysctls.contains_key(name) {
                spec.sysctls.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    for (name, value) in &config.sysctls {
        if sysctl_namespace(name).is_none() {
            return Err(EngineError::refused(
                format!("--sysctl {name}"),
                "it is not of a namespace, so it would change the host",
            ));
        }
        spec.sysctls.push((name.clone(), value.clone()));
    }
    Ok(())
}
