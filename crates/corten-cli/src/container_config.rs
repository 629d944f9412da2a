//! From the flags to the engine's `Config`: what needs the caller's files, directory or environment is
//! resolved here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corten_engine::config::blkio::{self, Blkio};
use corten_engine::config::label::parse_label_file;
use corten_engine::config::{
    Config, EnvVar, Health, HealthTest, Log, Mount, MountSource, Resources, Restart, Seccomp, SecurityOpts,
};

use crate::container_flags::ContainerFlags;
use crate::context::Context;
use crate::env;
use crate::report::{ENGINE_FAILED, Report};
use crate::values::{invalid, read_text};

/// Files of environment variables, labels and seccomp profiles are small; a FIFO or /dev/zero is not.
const TEXT_LIMIT_BYTES: u64 = 8 << 20;

/// The variables of `--env-file` and `-e`: files first, then flags, so that flags win.
pub(crate) fn environment(
    files: &[PathBuf],
    flags: &[String],
    cx: &Context<'_>,
) -> Result<Vec<EnvVar>, Report> {
    let host = |name: &str| cx.variable(name);
    let mut vars = Vec::new();
    for path in files {
        let text = read_text(path, TEXT_LIMIT_BYTES)?;
        vars.extend(EnvVar::parse_file(&path.to_string_lossy(), &text, &host).map_err(refuse)?);
    }
    for text in flags {
        vars.push(EnvVar::parse(text, &host).map_err(|error| invalid("-e, --env", text, error))?);
    }
    Ok(vars)
}

impl ContainerFlags {
    /// Whether root in the container may have rights on the machine's own files.
    pub(crate) fn has_host_root(&self) -> bool {
        let config = Config {
            privileged: self.privileged,
            userns: self.userns.clone(),
            pid: self.pid.clone(),
            ipc: self.ipc.clone(),
            networks: self.network.clone(),
            ..Config::default()
        };
        corten_engine::start::has_host_root(&config)
    }

    /// `args` is IMAGE and what follows it.
    pub(crate) fn into_config(mut self, mut args: Vec<String>, cx: &Context<'_>) -> Result<Config, Report> {
        if args.is_empty() || args[0].is_empty() {
            return Err(refuse("invalid reference format"));
        }
        let image = args.remove(0);
        let env = environment(&self.env_file, &self.env, cx)?;
        let labels = self.labels()?;
        let mounts = self.mounts(cx)?;
        let security_opts = self.security_opts(cx)?;
        let health = self.health()?;
        let resources = self.resources()?;
        let log = Log { driver: self.log_driver, opts: self.log_opt.into_iter().collect() };
        if self.rm && !matches!(self.restart, None | Some(Restart::No)) {
            return Err(refuse("conflicting options: cannot specify both --restart and --rm"));
        }
        if let Some(dir) = self.workdir.as_deref().filter(|dir| !dir.starts_with('/')) {
            return Err(refuse(format!(
                "the working directory '{dir}' is invalid, it needs to be an absolute path"
            )));
        }
        Ok(Config {
            image,
            name: self.name.filter(|name| !name.is_empty()),
            platform: self.platform.or_else(|| cx.variable(env::DOCKER_DEFAULT_PLATFORM)),
            labels,
            annotations: self.annotation.into_iter().collect(),
            entrypoint: self.entrypoint.map(|path| if path.is_empty() { Vec::new() } else { vec![path] }),
            command: args,
            env,
            workdir: self.workdir,
            user: self.user.filter(|user| *user != Default::default()),
            group_add: self.group_add,
            tty: self.tty,
            interactive: self.interactive,
            attach: self.attach,
            init: self.init,
            stop_signal: self.stop_signal,
            stop_timeout_s: self.stop_timeout,
            hostname: self.hostname,
            domainname: self.domainname,
            add_hosts: self.add_host,
            dns: self.dns,
            dns_options: self.dns_option,
            dns_search: self.dns_search,
            mounts,
            volumes_from: self.volumes_from,
            volume_driver: self.volume_driver,
            shm_size_bytes: self.shm_size.map(i64::unsigned_abs).filter(|bytes| *bytes > 0),
            read_only: self.read_only,
            storage_opts: self.storage_opt.into_iter().collect(),
            sysctls: self.sysctl.into_iter().collect(),
            pid: self.pid,
            ipc: self.ipc,
            uts: self.uts,
            userns: self.userns,
            cgroupns: self.cgroupns,
            time_offset: self.time_offset,
            networks: self.network,
            ports: self.publish.into_iter().flatten().collect(),
            exposed_ports: self.expose.into_iter().flatten().collect(),
            publish_all: self.publish_all,
            privileged: self.privileged,
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            security_opts,
            // The engine's, not a container's: set by who opens it.
            cgroup_manager: Default::default(),
            resources,
            auto_remove: self.rm,
            restart: self.restart,
            health,
            log: log.checked().map_err(refuse)?,
            runtime: None,
        })
    }

    fn labels(&mut self) -> Result<BTreeMap<String, String>, Report> {
        let mut labels = BTreeMap::new();
        for path in &self.label_file {
            let text = read_text(path, TEXT_LIMIT_BYTES)?;
            labels.extend(parse_label_file(&path.to_string_lossy(), &text).map_err(refuse)?);
        }
        labels.extend(std::mem::take(&mut self.label));
        Ok(labels)
    }

    fn mounts(&mut self, cx: &Context<'_>) -> Result<Vec<Mount>, Report> {
        let mut mounts = Vec::new();
        for text in &self.volume {
            let resolved = match text.split_once(':') {
                Some((source, rest)) if is_relative(source) => {
                    format!("{}:{rest}", absolute(source, cx)?.display())
                }
                _ => text.clone(),
            };
            let mount = Mount::parse_volume(&resolved);
            mounts.push(mount.map_err(|error| invalid("-v, --volume", text, error))?);
        }
        mounts.append(&mut self.tmpfs);
        for mut mount in std::mem::take(&mut self.mount) {
            if let MountSource::Bind(bind) = &mut mount.source
                && !bind.source.starts_with('/')
            {
                bind.source = absolute(&bind.source, cx)?.to_string_lossy().into_owned();
            }
            mounts.push(mount);
        }
        for (nth, mount) in mounts.iter().enumerate() {
            if mounts[..nth].iter().any(|earlier| earlier.target == mount.target) {
                return Err(refuse(format!("Duplicate mount point: {}", mount.target)));
            }
        }
        Ok(mounts)
    }

    fn security_opts(&self, cx: &Context<'_>) -> Result<SecurityOpts, Report> {
        let mut opts = SecurityOpts::default();
        for text in &self.security_opt {
            opts.add(text).map_err(|error| invalid("--security-opt", text, error))?;
        }
        if let Some(Seccomp::File(path)) = &opts.seccomp {
            let file = absolute(path, cx)?;
            let text = read_text(&file, TEXT_LIMIT_BYTES).map_err(|error| {
                refuse(format!("opening seccomp profile ({path}) failed: {}", error.message))
            })?;
            opts.seccomp = Some(Seccomp::Json(text));
        }
        Ok(opts)
    }

    fn health(&mut self) -> Result<Option<Health>, Report> {
        let health = Health {
            test: self.health_cmd.take().filter(|line| !line.is_empty()).map(HealthTest::Shell),
            interval_ns: self.health_interval,
            timeout_ns: self.health_timeout,
            start_period_ns: self.health_start_period,
            start_interval_ns: self.health_start_interval,
            retries: self.health_retries,
            shell: Vec::new(),
        };
        health.checked(self.no_healthcheck).map_err(refuse)
    }

    fn resources(&mut self) -> Result<Resources, Report> {
        let weight = match self.blkio_weight {
            Some(weight) => blkio::checked_weight(weight).map_err(refuse)?,
            None => None,
        };
        let resources = Resources {
            memory_bytes: self.memory.filter(|bytes| *bytes != 0),
            memory_reservation_bytes: self.memory_reservation.filter(|bytes| *bytes != 0),
            memory_swap_bytes: self.memory_swap.filter(|bytes| *bytes != 0),
            memory_swappiness: self.memory_swappiness,
            oom_kill_disable: self.oom_kill_disable,
            oom_score_adj: self.oom_score_adj,
            nano_cpus: self.cpus.filter(|nanos| *nanos != 0),
            cpu_shares: self.cpu_shares.filter(|shares| *shares != 0),
            cpu_period_us: self.cpu_period.filter(|us| *us != 0),
            cpu_quota_us: self.cpu_quota.filter(|us| *us != 0),
            cpu_rt_period_us: self.cpu_rt_period,
            cpu_rt_runtime_us: self.cpu_rt_runtime,
            cpuset_cpus: self.cpuset_cpus.take().filter(|list| !list.is_empty()),
            cpuset_mems: self.cpuset_mems.take().filter(|list| !list.is_empty()),
            pids_limit: self.pids_limit,
            blkio: Blkio {
                weight,
                weight_device: std::mem::take(&mut self.blkio_weight_device),
                read_bps: std::mem::take(&mut self.device_read_bps),
                write_bps: std::mem::take(&mut self.device_write_bps),
                read_iops: std::mem::take(&mut self.device_read_iops),
                write_iops: std::mem::take(&mut self.device_write_iops),
            },
            devices: std::mem::take(&mut self.device),
            device_cgroup_rules: std::mem::take(&mut self.device_cgroup_rule),
            ulimits: std::mem::take(&mut self.ulimit),
            cgroup_parent: self.cgroup_parent.take().filter(|path| !path.is_empty()),
        };
        resources.check().map_err(refuse)?;
        Ok(resources)
    }
}

fn refuse(error: impl ToString) -> Report {
    Report::user(error.to_string()).status(ENGINE_FAILED)
}

/// `.`, `..`, `./x`: what Docker's client makes absolute; any other word is a volume's name.
fn is_relative(source: &str) -> bool {
    source == "." || source == ".." || source.starts_with("./") || source.starts_with("../")
}

fn absolute(path: &str, cx: &Context<'_>) -> Result<PathBuf, Report> {
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    let directory = cx.directory()?;
    let mut whole = PathBuf::from("/");
    for part in directory.join(Path::new(path)).components() {
        match part {
            std::path::Component::ParentDir => {
                whole.pop();
            }
            std::path::Component::Normal(name) => whole.push(name),
            _ => {}
        }
    }
    Ok(whole)
}
