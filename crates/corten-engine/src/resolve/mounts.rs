//! Everything that is mounted beside the root file system, and the files that are made for it.

use std::path::{Path, PathBuf};

use corten_runtime::spec::{Bind, BindIds, Dev, Mount, MountSource, Namespace, Overlay, Spec};
use corten_sys::mount::attr;

use super::{Context, Unmade};
use crate::config::mount::{self as wanted, BindRecursive, Idmap, Propagation};
use crate::config::{Config, HostAddress, IpcMode, NetworkMode};
use crate::error::{At, EngineError};

const DEFAULT_SHM_BYTES: u64 = 64 << 20;

fn filesystem(target: &str, kind: &str, options: String, attributes: u64) -> Mount {
    Mount {
        target: target.to_owned(),
        source: MountSource::Filesystem { kind: kind.to_owned(), options },
        attributes,
        recursive_attributes: false,
        propagation: 0,
    }
}

pub(super) fn mounts(
    config: &Config,
    context: &Context<'_>,
    hostname: &str,
    spec: &mut Spec,
) -> Result<(), EngineError> {
    let quiet = attr::NOSUID | attr::NODEV | attr::NOEXEC;
    let sys_attributes = quiet | if config.privileged { 0 } else { attr::RDONLY };
    let mut list = context.image_mounts.clone();
    list.push(filesystem("/proc", "proc", String::new(), quiet));
    let (nodes, devices) = super::devices::places(config, context, spec)?;
    let dev = Dev { nodes, console: config.tty, links: true, bound: false };
    list.push(Mount {
        target: "/dev".to_owned(),
        source: MountSource::Dev(dev),
        attributes: 0,
        recursive_attributes: false,
        propagation: 0,
    });
    let pts = "newinstance,ptmxmode=0666,mode=0620,gid=5".to_owned();
    list.push(filesystem("/dev/pts", "devpts", pts, attr::NOSUID | attr::NOEXEC));
    let shm = config.shm_size_bytes.unwrap_or(DEFAULT_SHM_BYTES);
    match (&config.ipc, &spec.namespaces.ipc) {
        (Some(IpcMode::Container(_)), _) => {
            list.extend(context.joins.shm());
            if spec.namespaces.ipc == Namespace::Host {
                list.push(bind("/dev/mqueue", "/dev/mqueue", quiet, false, BindIds::Host));
            } else {
                list.push(filesystem("/dev/mqueue", "mqueue", String::new(), quiet));
            }
        }
        (_, Namespace::Host) => {
            // A host without a mount of mqueue has nothing there to share.
            for path in ["/dev/shm", "/dev/mqueue"].into_iter().filter(|path| Path::new(path).exists()) {
                list.push(bind(path, path, quiet, false, BindIds::Host));
            }
        }
        (Some(IpcMode::None), _) => list.push(filesystem("/dev/mqueue", "mqueue", String::new(), quiet)),
        _ => {
            list.push(filesystem("/dev/shm", "tmpfs", format!("mode=1777,size={shm}"), quiet));
            list.push(filesystem("/dev/mqueue", "mqueue", String::new(), quiet));
        }
    }
    if spec.namespaces.network == Namespace::Host {
        // sysfs can only be mounted by who owns the network namespace.
        list.push(bind("/sys", "/sys", sys_attributes, false, BindIds::Host));
    } else {
        list.push(filesystem("/sys", "sysfs", String::new(), sys_attributes));
    }
    list.push(Mount {
        target: "/sys/fs/cgroup".to_owned(),
        source: MountSource::Cgroup,
        attributes: sys_attributes,
        recursive_attributes: false,
        propagation: 0,
    });
    for (name, content) in [
        ("hosts", hosts(config, hostname)?),
        ("hostname", format!("{hostname}\n")),
        ("resolv.conf", resolv_conf(config)),
    ] {
        let target = format!("/etc/{name}");
        if config.mounts.iter().any(|mount| mount.target == target) {
            continue;
        }
        if let Some(shared) = context.joins.network_file(&target) {
            list.push(shared);
            continue;
        }
        list.push(Mount {
            target,
            source: MountSource::File { path: context.run_dir.join(name), content: content.into_bytes() },
            attributes: 0,
            recursive_attributes: false,
            propagation: 0,
        });
    }
    let mut asked =
        config.mounts.iter().map(|mount| wanted_mount(mount, context)).collect::<Result<Vec<_>, _>>()?;
    asked.extend(devices);
    // Parents first, as Docker sorts them.
    asked.sort_by_key(|mount| mount.target.matches('/').count());
    for mount in asked {
        list.retain(|own| own.target != mount.target);
        list.push(mount);
    }
    spec.mounts = list;
    Ok(())
}

fn bind(source: &str, target: &str, attributes: u64, recursive: bool, ids: BindIds) -> Mount {
    Mount {
        target: target.to_owned(),
        source: MountSource::Bind(Bind { source: source.into(), subpath: None, recursive, ids }),
        attributes,
        recursive_attributes: false,
        propagation: 1 << 18,
    }
}

fn wanted_mount(mount: &wanted::Mount, context: &Context<'_>) -> Result<Mount, EngineError> {
    let mut attributes = if mount.read_only { attr::RDONLY } else { 0 };
    for (on, bit) in [
        (mount.flags.nosuid, attr::NOSUID),
        (mount.flags.nodev, attr::NODEV),
        (mount.flags.noexec, attr::NOEXEC),
        (mount.flags.noatime, attr::NOATIME),
    ] {
        attributes |= if on == Some(true) { bit } else { 0 };
    }
    match &mount.source {
        wanted::MountSource::Tmpfs(tmpfs) => {
            let mut options = vec![format!("mode={:o}", tmpfs.mode.unwrap_or(0o1777))];
            options.extend(tmpfs.size_bytes.map(|size| format!("size={size}")));
            options.extend(tmpfs.uid.map(|uid| format!("uid={uid}")));
            options.extend(tmpfs.gid.map(|gid| format!("gid={gid}")));
            options.extend(tmpfs.nr_inodes.map(|count| format!("nr_inodes={count}")));
            Ok(filesystem(&mount.target, "tmpfs", options.join(","), attributes))
        }
        wanted::MountSource::Bind(bind) => {
            let source = PathBuf::from(&bind.source);
            if !source.exists() {
                if !bind.create_source {
                    return Err(EngineError::NoBindSource(source));
                }
                match context.unmade {
                    Some(unmade) => unmade.borrow_mut().push(Unmade::Directory(source.clone())),
                    None => std::fs::create_dir_all(&source).at("mkdir", &source)?,
                }
            }
            let recursive = bind.recursive != BindRecursive::Disabled;
            Ok(Mount {
                target: mount.target.clone(),
                source: MountSource::Bind(Bind {
                    source,
                    subpath: bind.subpath.clone(),
                    recursive,
                    ids: ids(bind.idmap, mount.read_only),
                }),
                attributes,
                recursive_attributes: recursive && bind.recursive != BindRecursive::Writable,
                propagation: propagation(bind.propagation),
            })
        }
        wanted::MountSource::Volume(volume) => Ok(Mount {
            target: mount.target.clone(),
            source: MountSource::Bind(Bind {
                source: context.volumes.join(volume.name.as_deref().unwrap_or_default()).join("_data"),
                subpath: volume.subpath.clone(),
                recursive: false,
                ids: ids(volume.idmap, mount.read_only),
            }),
            attributes,
            recursive_attributes: false,
            propagation: propagation(volume.propagation),
        }),
        wanted::MountSource::Image(image) => {
            let found = context.mounted.iter().find(|found| found.target == mount.target);
            let layers = found.map(|found| found.layers.clone()).unwrap_or_default();
            Ok(Mount {
                target: mount.target.clone(),
                source: MountSource::Overlay(Overlay {
                    lowers: layers,
                    idmap: true,
                    subpath: image.subpath.clone(),
                    ..Overlay::default()
                }),
                attributes: attributes | attr::RDONLY,
                recursive_attributes: false,
                propagation: propagation(None),
            })
        }
    }
}

fn ids(idmap: Idmap, read_only: bool) -> BindIds {
    match idmap {
        Idmap::Off => BindIds::Host,
        Idmap::On => BindIds::Map,
        Idmap::Auto if read_only => BindIds::MapIfPossible,
        Idmap::Auto => BindIds::Map,
    }
}

fn propagation(wanted: Option<Propagation>) -> u64 {
    match wanted {
        None | Some(Propagation::Private | Propagation::Rprivate) => 1 << 18,
        Some(Propagation::Slave | Propagation::Rslave) => 1 << 19,
        Some(Propagation::Shared | Propagation::Rshared) => 1 << 20,
    }
}

fn hosts(config: &Config, hostname: &str) -> Result<String, EngineError> {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
                    ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
        .to_owned();
    for entry in &config.add_hosts {
        match &entry.address {
            HostAddress::Ip(ip) => text += &format!("{ip}\t{}\n", entry.name),
            HostAddress::Gateway => {
                return Err(EngineError::refused(
                    "--add-host …:host-gateway",
                    "without a bridge there is no gateway",
                ));
            }
        }
    }
    let name = match &config.domainname {
        Some(domain) => format!("{hostname}.{domain} {hostname}"),
        None => hostname.to_owned(),
    };
    Ok(text + &format!("127.0.1.1\t{name}\n"))
}

fn resolv_conf(config: &Config) -> String {
    let host = config.networks.first().is_some_and(|network| network.mode == NetworkMode::Host);
    if config.dns.is_empty() && config.dns_search.is_empty() && config.dns_options.is_empty() {
        return if host {
            std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
        } else {
            String::new()
        };
    }
    let mut text: String = config.dns.iter().map(|ip| format!("nameserver {ip}\n")).collect();
    if !config.dns_search.is_empty() && config.dns_search != ["."] {
        text += &format!("search {}\n", config.dns_search.join(" "));
    }
    if !config.dns_options.is_empty() {
        text += &format!("options {}\n", config.dns_options.join(" "));
    }
    text
}
