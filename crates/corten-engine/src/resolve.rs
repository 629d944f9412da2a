//! Config and image → Spec: every default filled in, everything that cannot be done refused by name.

use std::path::PathBuf;

use corten_cgroup::resources::{BlockIo, Cpu, Memory, Pids, ThrottleDevice, WeightDevice};
use corten_cgroup::{CgroupPath, DeviceKind as CgroupDevice, DeviceRule};
use corten_runtime::plan::sysctl_namespace;
use corten_runtime::spec::{
    Bind, BindIds, Capabilities, CgroupSpec, Dev, DeviceNode, IdMaps, Mount, MountSource, Namespace,
    Namespaces, Overlay, Process, Rlimit, Root, RootSource, Seccomp, Spec, User, UserNamespace,
};
use corten_sys::caps::CapSet;
use corten_sys::mount::attr;

use crate::config::device::DeviceKind;
use crate::config::mount::{self as wanted, BindRecursive, Idmap, Propagation};
use crate::config::{
    CapabilityArg, Config, HostAddress, Init, IpcMode, NetworkMode, PidMode, Seccomp as SeccompChoice,
    UsernsMode, UtsMode,
};
use crate::error::{At, EngineError};
use crate::lease::BLOCK;

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_SHM_BYTES: u64 = 64 << 20;
/// Docker's fourteen (field notes, "Default caps").
const DEFAULT_CAPS: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];
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
/// Programs that are an init themselves.
const INITS: [&str; 9] =
    ["systemd", "init", "s6-svscan", "runit", "tini", "tini-static", "dumb-init", "catatonit", "openrc-init"];

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
}

/// Refuses what is not there yet, by the name of its flag.
pub(crate) fn check(config: &Config) -> Result<(), EngineError> {
    let refuse = |what: &str, why: &str| Err(EngineError::refused(what, why));
    config.resources.check()?;
    for network in &config.networks {
        match &network.mode {
            NetworkMode::Default | NetworkMode::None | NetworkMode::Host => {}
            NetworkMode::Bridge => {
                return refuse(
                    "--network bridge",
                    "there are no bridge networks yet; use --network none or host",
                );
            }
            NetworkMode::Container(_) => {
                return refuse("--network container:…", "joining another container is not there yet");
            }
            NetworkMode::Named(name) => {
                return refuse(&format!("--network {name}"), "there are no user-defined networks yet");
            }
        }
    }
    if !config.ports.is_empty() || config.publish_all {
        return refuse("--publish", "ports can be published when bridge networks exist; use --network host");
    }
    if matches!(config.pid, Some(PidMode::Container(_))) {
        return refuse("--pid container:…", "joining another container is not there yet");
    }
    if matches!(config.ipc, Some(IpcMode::Container(_))) {
        return refuse("--ipc container:…", "joining another container is not there yet");
    }
    if matches!(config.userns, Some(UsernsMode::Container(_))) {
        return refuse("--userns container:…", "joining another container is not there yet");
    }
    if config.restart.as_ref().is_some_and(|restart| *restart != crate::config::Restart::No) {
        return refuse("--restart", "restart policies are not there yet");
    }
    if !config.volumes_from.is_empty() {
        return refuse("--volumes-from", "volumes of other containers are not there yet");
    }
    if !config.storage_opts.is_empty() {
        return refuse("--storage-opt", "this store has no options");
    }
    for mount in &config.mounts {
        match &mount.source {
            wanted::MountSource::Volume(_) => {
                return refuse("a volume", "volumes are not there yet; bind a directory with -v /PATH:/PATH");
            }
            wanted::MountSource::Image(_) => return refuse("--mount type=image", "it is not there yet"),
            wanted::MountSource::Bind(bind) if bind.relabel.is_some() => {
                return refuse("a relabelled bind (z, Z)", "this kernel enforces no SELinux policy");
            }
            _ => {}
        }
    }
    if config.security_opts.apparmor.as_ref().is_some_and(|profile| profile != "unconfined")
        && !std::path::Path::new("/sys/kernel/security/apparmor").exists()
    {
        return refuse("--security-opt apparmor", "this kernel runs without AppArmor");
    }
    if config.security_opts.labels.iter().any(|label| label != "disable")
        && !std::path::Path::new("/sys/fs/selinux/enforce").exists()
    {
        return refuse("--security-opt label", "this kernel runs without SELinux");
    }
    Ok(())
}

/// The command as it is executed: entrypoint and arguments, each the user's or the image's.
pub(crate) fn command(
    config: &Config,
    image: Option<&corten_oci::ImageConfig>,
) -> Result<Vec<String>, EngineError> {
    let image = image.map(|image| &image.config);
    let entrypoint = match &config.entrypoint {
        Some(own) => own.clone(),
        None => image.and_then(|image| image.entrypoint.clone()).unwrap_or_default(),
    };
    let arguments = if config.command.is_empty() && config.entrypoint.is_none() {
        image.and_then(|image| image.cmd.clone()).unwrap_or_default()
    } else {
        config.command.clone()
    };
    let args: Vec<String> = entrypoint.into_iter().chain(arguments).collect();
    if args.is_empty() {
        let shell = config.image == "host";
        return if shell {
            Ok(vec!["sh".to_owned()])
        } else {
            Err(EngineError::refused("the start", "no command specified"))
        };
    }
    Ok(args)
}

/// The environment: PATH, the host name, the image's, the user's; a later one of a name wins.
pub(crate) fn environment(
    config: &Config,
    image: Option<&corten_oci::ImageConfig>,
    hostname: &str,
) -> Vec<String> {
    let mut env = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if config.tty {
        env.push("TERM=xterm".to_owned());
    }
    let name_of = |entry: &str| entry.split_once('=').map_or(entry.to_owned(), |(name, _)| name.to_owned());
    let mut set = |name: String, entry: Option<String>| {
        env.retain(|known| name_of(known) != name);
        env.extend(entry);
    };
    if let Some(image) = image {
        // An entry without `=` means nothing; it never takes a variable from the host (CVE-2026-57231).
        image
            .config
            .env
            .iter()
            .filter(|entry| entry.contains('='))
            .for_each(|entry| set(name_of(entry), Some(entry.clone())));
    }
    for variable in &config.env {
        let entry = variable.value.as_ref().map(|value| format!("{}={value}", variable.name));
        set(variable.name.clone(), entry);
    }
    env
}

pub(crate) fn spec(config: &Config, context: Context<'_>) -> Result<Spec, EngineError> {
    let privileged = config.privileged;
    let network = config.networks.first().map_or(&NetworkMode::Default, |network| &network.mode);
    let host_user = privileged
        || matches!(config.userns, Some(UsernsMode::Host))
        || matches!(config.pid, Some(PidMode::Host));
    let user = if host_user {
        UserNamespace::Host
    } else {
        UserNamespace::New(IdMaps::block(context.first_id, BLOCK))
    };
    let host_or_new = |host: bool| if host { Namespace::Host } else { Namespace::New };
    let namespaces = Namespaces {
        pid: host_or_new(matches!(config.pid, Some(PidMode::Host))),
        network: host_or_new(*network == NetworkMode::Host),
        ipc: host_or_new(matches!(config.ipc, Some(IpcMode::Host))),
        uts: host_or_new(matches!(config.uts, Some(UtsMode::Host))),
        cgroup: host_or_new(matches!(config.cgroupns, Some(crate::config::CgroupnsMode::Host))),
        user,
        time: None,
    };
    let host_uts = namespaces.uts == Namespace::Host;
    if host_uts && (config.hostname.is_some() || config.domainname.is_some()) {
        return Err(EngineError::refused("--hostname", "conflicting options: hostname and the UTS mode"));
    }
    let hostname = config.hostname.clone().unwrap_or_else(|| context.id[..12].to_owned());
    let args = command(config, context.image)?;
    let mut spec = Spec {
        id: context.id.to_owned(),
        run_dir: context.run_dir.clone(),
        hostname: (!host_uts).then(|| hostname.clone()),
        domainname: config.domainname.clone().filter(|_| !host_uts),
        namespaces,
        root: Root {
            source: RootSource::Overlay(Overlay {
                lowers: context.lowers.clone(),
                writable: Some(context.container_dir.clone()),
                volatile: config.auto_remove,
                idmap: !host_user,
                userxattr: false,
            }),
            read_only: config.read_only,
        },
        mounts: Vec::new(),
        masked_paths: Vec::new(),
        readonly_paths: Vec::new(),
        sysctls: Vec::new(),
        loopback: true,
        cgroup: None,
        process: process(config, &context, &args, &hostname)?,
        init: init(config, &args),
    };
    mounts(config, &context, &hostname, &mut spec)?;
    if !privileged && !config.security_opts.systempaths_unconfined {
        spec.masked_paths = MASKED.map(str::to_owned).to_vec();
        spec.readonly_paths = READONLY.map(str::to_owned).to_vec();
    }
    sysctls(config, &mut spec)?;
    spec.cgroup = Some(cgroup(config, &context)?);
    Ok(spec)
}

fn init(config: &Config, args: &[String]) -> bool {
    if matches!(config.pid, Some(PidMode::Host)) {
        return false;
    }
    match config.init.unwrap_or(Init::Auto) {
        Init::On => true,
        Init::Off => false,
        Init::Auto => {
            let program = args.first().map_or("", |program| program.rsplit('/').next().unwrap_or(program));
            !INITS.contains(&program)
        }
    }
}

fn process(
    config: &Config,
    context: &Context<'_>,
    args: &[String],
    hostname: &str,
) -> Result<Process, EngineError> {
    let image = context.image.map(|image| &image.config);
    let bounding = capabilities(config)?;
    let workdir = config
        .workdir
        .clone()
        .or_else(|| image.map(|image| image.working_dir.clone()))
        .filter(|dir| !dir.is_empty())
        .unwrap_or_else(|| "/".to_owned());
    let user = match &config.user {
        Some(user) => user.to_string(),
        None => image.map_or_else(String::new, |image| image.user.clone()),
    };
    let rlimits = config
        .resources
        .ulimits
        .iter()
        .map(|limit| Rlimit {
            resource: limit.resource as u32,
            soft: limit.soft.unwrap_or(u64::MAX),
            hard: limit.hard.unwrap_or(u64::MAX),
        })
        .collect();
    Ok(Process {
        args: args.to_vec(),
        env: environment(config, context.image, hostname),
        cwd: workdir,
        create_cwd: true,
        user: User::Lookup { user, groups: config.group_add.iter().map(ToString::to_string).collect() },
        keep_groups: false,
        umask: Some(0o022),
        capabilities: Capabilities {
            bounding,
            effective: bounding,
            permitted: bounding,
            inheritable: CapSet::EMPTY,
            ambient: CapSet::EMPTY,
        },
        no_new_privileges: config.security_opts.no_new_privileges.unwrap_or(false),
        rlimits,
        oom_score_adj: config.resources.oom_score_adj,
        apparmor_profile: config.security_opts.apparmor.clone().filter(|profile| profile != "unconfined"),
        selinux_label: None,
        seccomp: seccomp(config, bounding)?,
        terminal: context.terminal,
    })
}

fn capabilities(config: &Config) -> Result<CapSet, EngineError> {
    let default = CapSet::from_names(DEFAULT_CAPS).unwrap_or_default();
    let mut set = if config.privileged { CapSet::ALL } else { default };
    let bit = |capability: &crate::config::Capability| CapSet(1 << capability.number());
    if config.cap_add.contains(&CapabilityArg::All) {
        set = CapSet::ALL;
    }
    if config.cap_drop.contains(&CapabilityArg::All) {
        set = CapSet::EMPTY;
        if config.cap_add.contains(&CapabilityArg::All) {
            set = CapSet::ALL;
        }
    }
    for arg in &config.cap_add {
        if let CapabilityArg::One(capability) = arg {
            set = set | bit(capability);
        }
    }
    for arg in &config.cap_drop {
        if let CapabilityArg::One(capability) = arg {
            set = set.without(bit(capability));
        }
    }
    if config.privileged || matches!(config.userns, Some(UsernsMode::Host)) {
        // In the host's user namespace nobody has more than we have.
        let ours = corten_sys::caps::get().at("capget", "self")?;
        set = set & ours.permitted;
    }
    Ok(set)
}

fn seccomp(config: &Config, caps: CapSet) -> Result<Option<Seccomp>, EngineError> {
    let own;
    let profile = match &config.security_opts.seccomp {
        Some(SeccompChoice::Unconfined) => return Ok(None),
        None if config.privileged => return Ok(None),
        None | Some(SeccompChoice::Builtin) => &corten_seccomp::DEFAULT,
        Some(SeccompChoice::File(path)) => {
            let text = std::fs::read(path).at("read", path)?;
            own = corten_seccomp::Profile::from_json(&text)
                .map_err(|error| EngineError::Seccomp(format!("{path}: {error}")))?;
            &own
        }
        Some(SeccompChoice::Json(text)) => {
            own = corten_seccomp::Profile::from_json(text.as_bytes())
                .map_err(|error| EngineError::Seccomp(error.to_string()))?;
            &own
        }
    };
    let native = if cfg!(target_arch = "x86_64") {
        corten_seccomp::Arch::X86_64
    } else {
        corten_seccomp::Arch::Aarch64
    };
    let context = corten_seccomp::Context { caps: caps.0, native, kernel: kernel() };
    let filter = corten_seccomp::compile(profile, &context)
        .map_err(|error| EngineError::Seccomp(error.to_string()))?;
    if filter.notify {
        return Err(EngineError::Seccomp(
            "SCMP_ACT_NOTIFY needs an agent, which `corten run` has none for".to_owned(),
        ));
    }
    let program = filter
        .program
        .iter()
        .map(|insn| corten_sys::seccomp::Instruction { code: insn.code, jt: insn.jt, jf: insn.jf, k: insn.k })
        .collect();
    Ok(Some(Seccomp { program, flags: filter.flags }))
}

/// Major and minor version of the running kernel.
fn kernel() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn filesystem(target: &str, kind: &str, options: String, attributes: u64) -> Mount {
    Mount {
        target: target.to_owned(),
        source: MountSource::Filesystem { kind: kind.to_owned(), options },
        attributes,
        recursive_attributes: false,
        propagation: 0,
    }
}

fn mounts(
    config: &Config,
    context: &Context<'_>,
    hostname: &str,
    spec: &mut Spec,
) -> Result<(), EngineError> {
    let quiet = attr::NOSUID | attr::NODEV | attr::NOEXEC;
    let sys_attributes = quiet | if config.privileged { 0 } else { attr::RDONLY };
    let mut list = context.image_mounts.clone();
    list.push(filesystem("/proc", "proc", String::new(), quiet));
    let dev = Dev { nodes: devices(config)?, console: config.tty, links: true };
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
    match config.ipc {
        Some(IpcMode::Host) => {
            for path in ["/dev/shm", "/dev/mqueue"] {
                list.push(bind(path, path, quiet, false, BindIds::Host));
            }
        }
        Some(IpcMode::None) => list.push(filesystem("/dev/mqueue", "mqueue", String::new(), quiet)),
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
        attributes: quiet | attr::RDONLY,
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
        list.push(Mount {
            target,
            source: MountSource::File { path: context.run_dir.join(name), content: content.into_bytes() },
            attributes: 0,
            recursive_attributes: false,
            propagation: 0,
        });
    }
    let mut asked: Vec<&wanted::Mount> = config.mounts.iter().collect();
    // Parents first, as Docker sorts them.
    asked.sort_by_key(|mount| mount.target.matches('/').count());
    for mount in asked {
        list.retain(|own| own.target != mount.target);
        list.push(wanted_mount(mount)?);
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

fn wanted_mount(mount: &wanted::Mount) -> Result<Mount, EngineError> {
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
                    return Err(EngineError::refused(
                        format!("invalid mount config for type \"bind\": bind source path {}", bind.source),
                        "it does not exist",
                    ));
                }
                std::fs::create_dir_all(&source).at("mkdir", &source)?;
            }
            let recursive = bind.recursive != BindRecursive::Disabled;
            let ids = match bind.idmap {
                Idmap::Off => BindIds::Host,
                Idmap::On => BindIds::Map,
                Idmap::Auto if mount.read_only => BindIds::MapIfPossible,
                Idmap::Auto => BindIds::Map,
            };
            Ok(Mount {
                target: mount.target.clone(),
                source: MountSource::Bind(Bind { source, subpath: bind.subpath.clone(), recursive, ids }),
                attributes,
                recursive_attributes: recursive && bind.recursive != BindRecursive::Writable,
                propagation: match bind.propagation {
                    None | Some(Propagation::Private | Propagation::Rprivate) => 1 << 18,
                    Some(Propagation::Slave | Propagation::Rslave) => 1 << 19,
                    Some(Propagation::Shared | Propagation::Rshared) => 1 << 20,
                },
            })
        }
        _ => Err(EngineError::refused("this mount", "it is not there yet")),
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

fn devices(config: &Config) -> Result<Vec<DeviceNode>, EngineError> {
    let mut nodes = Vec::new();
    for device in &config.resources.devices {
        let stat = rustix::fs::stat(device.host_path.as_str()).at("stat", &device.host_path)?;
        let kind = stat.st_mode & 0o170_000;
        let Some(path) = device.container_path.strip_prefix("/dev/").filter(|path| !path.is_empty()) else {
            return Err(EngineError::refused(
                format!("--device {}", device.container_path),
                "a device's place in the container must be below /dev",
            ));
        };
        if kind != 0o020_000 && kind != 0o060_000 {
            return Err(EngineError::refused(
                format!("--device {}", device.host_path),
                "it is not a device node",
            ));
        }
        nodes.push(DeviceNode {
            path: path.to_owned(),
            kind,
            major: rustix::fs::major(stat.st_rdev),
            minor: rustix::fs::minor(stat.st_rdev),
            mode: stat.st_mode & 0o777,
            uid: 0,
            gid: 0,
        });
    }
    Ok(nodes)
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

fn cgroup(config: &Config, context: &Context<'_>) -> Result<CgroupSpec, EngineError> {
    let wanted = &config.resources;
    let parent = wanted.cgroup_parent.as_deref().unwrap_or("corten");
    let path = CgroupPath::from_oci(parent)
        .and_then(|parent| parent.join(context.id))
        .map_err(corten_cgroup::Error::from)?;
    let mut resources = corten_cgroup::Resources::default();
    if wanted.memory_bytes.is_some()
        || wanted.memory_swap_bytes.is_some()
        || wanted.memory_reservation_bytes.is_some()
        || wanted.memory_swappiness.is_some()
        || wanted.oom_kill_disable
    {
        // Docker: as much swap as memory, unless said otherwise.
        let swap =
            wanted.memory_swap_bytes.or_else(|| wanted.memory_bytes.map(|memory| memory.saturating_mul(2)));
        resources.memory = Some(Memory {
            limit: wanted.memory_bytes,
            reservation: wanted.memory_reservation_bytes,
            swap,
            swappiness: wanted.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
            disable_oom_killer: wanted.oom_kill_disable.then_some(true),
            ..Memory::default()
        });
    }
    let (quota, period) = match wanted.nano_cpus {
        Some(nano) => (Some(nano / 10_000), Some(100_000)),
        None => (wanted.cpu_quota_us, wanted.cpu_period_us.and_then(|period| u64::try_from(period).ok())),
    };
    if quota.is_some()
        || period.is_some()
        || wanted.cpu_shares.is_some()
        || wanted.cpuset_cpus.is_some()
        || wanted.cpuset_mems.is_some()
        || wanted.cpu_rt_runtime_us.is_some()
        || wanted.cpu_rt_period_us.is_some()
    {
        resources.cpu = Some(Cpu {
            shares: wanted.cpu_shares,
            quota,
            period,
            realtime_runtime: wanted.cpu_rt_runtime_us,
            realtime_period: wanted.cpu_rt_period_us.and_then(|period| u64::try_from(period).ok()),
            cpus: wanted.cpuset_cpus.clone(),
            mems: wanted.cpuset_mems.clone(),
            ..Cpu::default()
        });
    }
    resources.pids = wanted.pids_limit.map(|limit| Pids { limit: Some(limit) });
    if wanted.blkio != crate::config::blkio::Blkio::default() {
        resources.block_io = Some(block_io(&wanted.blkio)?);
    }
    if !config.privileged {
        resources.devices = device_rules(config)?;
    }
    Ok(CgroupSpec { path, resources })
}

/// Limits name devices by their paths on the host; the kernel takes their numbers.
fn block_io(blkio: &crate::config::blkio::Blkio) -> Result<BlockIo, EngineError> {
    let number = |path: &str| -> Result<(u32, u32), EngineError> {
        let stat = rustix::fs::stat(path).at("stat", path)?;
        if stat.st_mode & 0o170_000 != 0o060_000 {
            return Err(EngineError::refused(format!("a limit for {path}"), "it is not a block device"));
        }
        Ok((rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)))
    };
    let throttle = |rates: &[crate::config::blkio::DeviceRate]| {
        rates
            .iter()
            .map(|wanted| {
                let (major, minor) = number(&wanted.path)?;
                Ok(ThrottleDevice { major, minor, rate: wanted.rate })
            })
            .collect::<Result<Vec<_>, EngineError>>()
    };
    let weights = blkio.weight_device.iter().map(|wanted| {
        let (major, minor) = number(&wanted.path)?;
        Ok(WeightDevice { major, minor, weight: u16::try_from(wanted.rate).ok(), leaf_weight: None })
    });
    Ok(BlockIo {
        weight: blkio.weight,
        leaf_weight: None,
        weight_device: weights.collect::<Result<_, EngineError>>()?,
        read_bps: throttle(&blkio.read_bps)?,
        write_bps: throttle(&blkio.write_bps)?,
        read_iops: throttle(&blkio.read_iops)?,
        write_iops: throttle(&blkio.write_iops)?,
    })
}

/// Deny all, then what every container has and what was asked for.
fn device_rules(config: &Config) -> Result<Vec<DeviceRule>, EngineError> {
    let allow = |kind, major, minor, access| DeviceRule { allow: true, kind, major, minor, access };
    let all = corten_cgroup::Access::ALL;
    let mut rules =
        vec![DeviceRule { allow: false, kind: CgroupDevice::All, major: None, minor: None, access: all }];
    // Any node may be made; only these may be used.
    for kind in [CgroupDevice::Char, CgroupDevice::Block] {
        rules.push(allow(kind, None, None, corten_cgroup::Access::MKNOD));
    }
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        rules.push(allow(CgroupDevice::Char, Some(major), Some(minor), all));
    }
    rules.push(allow(CgroupDevice::Char, Some(136), None, all));
    for node in &config.resources.devices {
        let stat = rustix::fs::stat(node.host_path.as_str()).at("stat", &node.host_path)?;
        let kind =
            if stat.st_mode & 0o170_000 == 0o060_000 { CgroupDevice::Block } else { CgroupDevice::Char };
        let access = access(&node.access.to_string())?;
        rules.push(allow(
            kind,
            Some(rustix::fs::major(stat.st_rdev)),
            Some(rustix::fs::minor(stat.st_rdev)),
            access,
        ));
    }
    for rule in &config.resources.device_cgroup_rules {
        let kind = match rule.kind {
            DeviceKind::All => CgroupDevice::All,
            DeviceKind::Block => CgroupDevice::Block,
            DeviceKind::Char => CgroupDevice::Char,
        };
        rules.push(allow(kind, rule.major, rule.minor, access(&rule.access.to_string())?));
    }
    Ok(rules)
}

fn access(text: &str) -> Result<corten_cgroup::Access, EngineError> {
    corten_cgroup::Access::try_from(text.to_owned())
        .map_err(|error| EngineError::refused("a device's access", error.to_string()))
}
