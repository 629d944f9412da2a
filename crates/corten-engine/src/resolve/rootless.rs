//! What is different for an ordinary user: refused by name, or another way to the same.

use corten_cgroup::Layout;
use corten_runtime::plan::STANDARD_NODES;
use corten_runtime::spec::{
    Bind, BindIds, CgroupSpec, Mount, MountSource, Namespace, RootSource, Spec, UserNamespace,
};
use corten_sys::mount::attr;

use crate::config::mount::{Idmap, MountSource as Wanted};
use crate::config::{Config, IpcMode, NetworkMode, PidMode, UsernsMode};
use crate::error::EngineError;
use crate::rootless::{Inside, delegated_parent};

const PRIVATE: u64 = 1 << 18;
/// The group of terminals.
const TTY_GROUP: u32 = 5;
const PING_GROUPS: &str = "net.ipv4.ping_group_range";

/// Refuses what only the machine's root can give.
pub(crate) fn check(config: &Config, inside: &Inside) -> Result<(), EngineError> {
    let refuse = |what: &str, why: &str| Err(EngineError::refused(what, why));
    if matches!(config.userns, Some(UsernsMode::Host)) {
        return refuse(
            "--userns host",
            "an ordinary user's container always has a user namespace; leave it out",
        );
    }
    let joins = matches!(config.userns, Some(UsernsMode::Container(_)))
        || matches!(config.pid, Some(PidMode::Container(_)))
        || matches!(config.ipc, Some(IpcMode::Container(_)))
        || config.networks.iter().any(|network| matches!(network.mode, NetworkMode::Container(_)));
    if joins {
        return refuse("container:…", "an ordinary user's containers cannot be joined yet");
    }
    if !inside.groups_can_change && !config.group_add.is_empty() {
        return refuse(
            "--group-add",
            "with one id for a user, groups cannot change; a range in /etc/subuid and /etc/subgid, and newuidmap, \
             give more",
        );
    }
    for mount in &config.mounts {
        if let Wanted::Bind(bind) = &mount.source
            && bind.idmap == Idmap::On
        {
            return refuse(
                &format!("an idmapped bind of {}", bind.source),
                "only root can shift the ids of a file system; without it the files are as on the host, and \
                 root in the container is you",
            );
        }
    }
    let now =
        std::fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse().ok());
    if let (Some(wanted), Some(now)) = (config.resources.oom_score_adj, now)
        && wanted < now
    {
        return refuse(
            "--oom-score-adj",
            &format!("an ordinary user cannot go below {now}, which it is now"),
        );
    }
    if let Some(device) =
        config.resources.devices.iter().find(|device| !device.access.read || !device.access.write)
    {
        return refuse(
            &format!("--device {}:…:{}", device.host_path, device.access),
            "only a cgroup's device rules hold a program to less than the node's own permissions, and an ordinary \
             user has none",
        );
    }
    if !config.resources.device_cgroup_rules.is_empty() {
        return refuse(
            "--device-cgroup-rule",
            "an ordinary user has no device rules; file permissions decide",
        );
    }
    Ok(())
}

/// The flags that a cgroup is needed for.
fn limits(config: &Config) -> impl Iterator<Item = &'static str> {
    let wanted = &config.resources;
    [
        ("--memory", wanted.memory_bytes.is_some_and(|bytes| bytes != 0)),
        ("--memory-swap", wanted.memory_swap_bytes.is_some_and(|bytes| bytes != 0)),
        ("--memory-reservation", wanted.memory_reservation_bytes.is_some_and(|bytes| bytes != 0)),
        ("--memory-swappiness", wanted.memory_swappiness.is_some_and(|value| value != -1)),
        ("--oom-kill-disable", wanted.oom_kill_disable),
        ("--cpus", wanted.nano_cpus.is_some_and(|cpus| cpus != 0)),
        ("--cpu-shares", wanted.cpu_shares.is_some_and(|shares| shares != 0)),
        ("--cpu-period", wanted.cpu_period_us.is_some_and(|period| period != 0)),
        ("--cpu-quota", wanted.cpu_quota_us.is_some_and(|quota| quota != 0)),
        ("--cpu-rt-period", wanted.cpu_rt_period_us.is_some_and(|period| period != 0)),
        ("--cpu-rt-runtime", wanted.cpu_rt_runtime_us.is_some_and(|runtime| runtime != 0)),
        ("--cpuset-cpus", wanted.cpuset_cpus.as_ref().is_some_and(|list| !list.is_empty())),
        ("--cpuset-mems", wanted.cpuset_mems.as_ref().is_some_and(|list| !list.is_empty())),
        ("--pids-limit", wanted.pids_limit.is_some_and(|limit| limit > 0)),
        ("--blkio-weight and --device-read-bps and the like", wanted.blkio != Default::default()),
        ("--cgroup-parent", wanted.cgroup_parent.is_some()),
    ]
    .into_iter()
    .filter_map(|(flag, is_set)| is_set.then_some(flag))
}

/// Goes over what was made for the machine's root.
pub(crate) fn adapt(spec: &mut Spec, config: &Config, inside: &Inside) -> Result<(), EngineError> {
    spec.namespaces.user = UserNamespace::New(inside.maps.clone());
    if let RootSource::Overlay(overlay) = &mut spec.root.source {
        (overlay.idmap, overlay.userxattr) = (false, true);
    }
    spec.init_program = Some(inside.program.clone());
    spec.process.keep_groups = !inside.groups_can_change;
    let last_group = inside.group_count().min(65_536) - 1;
    for (name, value) in &mut spec.sysctls {
        if name == PING_GROUPS && !config.sysctls.contains_key(PING_GROUPS) {
            *value = format!("0 {last_group}");
        }
    }
    spec.cgroup = cgroup(spec, config)?;
    mounts(spec, config, inside);
    Ok(())
}

fn cgroup(spec: &Spec, config: &Config) -> Result<Option<CgroupSpec>, EngineError> {
    if let Some(wanted) = spec.cgroup.as_ref().filter(|wanted| wanted.scope.is_some()) {
        // The user's own systemd makes it, where a limit needs one; it takes no device rules either.
        let resources = corten_cgroup::Resources { devices: Vec::new(), ..wanted.resources.clone() };
        let needed = limits(config).next().is_some();
        return Ok(needed.then(|| CgroupSpec { resources, ..wanted.clone() }));
    }
    let Some(parent) = delegated_parent(&Layout::detect()?) else {
        let why = "no cgroup was delegated to you: limits of ordinary users need cgroup v2 and a delegated subtree \
                   (systemd: run it in a user session, or with `systemd-run --user --scope`)";
        return match limits(config).next() {
            Some(flag) => Err(EngineError::refused(flag, why)),
            None => Ok(None),
        };
    };
    let Some(wanted) = &spec.cgroup else { return Ok(None) };
    let below = config.resources.cgroup_parent.as_deref().unwrap_or("corten").trim_start_matches('/');
    let path =
        parent.join(below).and_then(|parent| parent.join(&spec.id)).map_err(corten_cgroup::Error::from)?;
    // A device filter takes a capability on the machine; there is no node to filter either.
    let resources = corten_cgroup::Resources { devices: Vec::new(), ..wanted.resources.clone() };
    Ok(Some(CgroupSpec { path, resources, scope: None }))
}

fn bind(source: &str, target: &str, attributes: u64) -> Mount {
    let source =
        MountSource::Bind(Bind { source: source.into(), subpath: None, recursive: true, ids: BindIds::Host });
    Mount { target: target.to_owned(), source, attributes, recursive_attributes: true, propagation: PRIVATE }
}

fn mounts(spec: &mut Spec, config: &Config, inside: &Inside) {
    let mut list = Vec::with_capacity(spec.mounts.len() + STANDARD_NODES.len());
    for mut mount in std::mem::take(&mut spec.mounts) {
        match &mut mount.source {
            MountSource::Overlay(overlay) => (overlay.idmap, overlay.userxattr) = (false, true),
            MountSource::Bind(own) => {
                own.ids = BindIds::Host;
                // Mounts below the host's /sys cannot be left out: they would show what they hide.
                if mount.target == "/sys" {
                    (own.recursive, mount.recursive_attributes) = (true, true);
                }
            }
            MountSource::Filesystem { kind, options } => match kind.as_str() {
                // procfs is mounted by who owns the process ids.
                "proc" if spec.namespaces.pid == Namespace::Host => {
                    mount = bind("/proc", "/proc", attr::NOSUID | attr::NODEV | attr::NOEXEC);
                }
                "devpts" if inside.group_count() <= TTY_GROUP => {
                    *options = options.replace(",gid=5", "");
                }
                _ => {}
            },
            MountSource::Dev(dev) => {
                dev.bound = true;
                list.push(mount);
                // A user can make no nodes: the host's own are bound.
                for (name, ..) in STANDARD_NODES {
                    let path = format!("/dev/{name}");
                    list.push(bind(&path, &path, attr::NOSUID | attr::NOEXEC));
                }
                for device in &config.resources.devices {
                    let attributes = attr::NOSUID | attr::NOEXEC;
                    list.push(bind(&device.host_path, &device.container_path, attributes));
                }
                continue;
            }
            MountSource::Cgroup if spec.namespaces.network == Namespace::Host => {
                // The host's came along below /sys, and the kernel takes no file system over itself.
                let kind = MountSource::Filesystem {
                    kind: "tmpfs".to_owned(),
                    options: "mode=755,size=4k,nr_inodes=2".to_owned(),
                };
                list.push(Mount { source: kind, ..mount.clone() });
            }
            _ => {}
        }
        list.push(mount);
    }
    spec.mounts = list;
}
