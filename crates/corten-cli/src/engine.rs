//! The engine as the commands see it: the calls of [`Engine`] carried out by `corten-engine` and
//! `corten-store`, their errors turned into reports with a kind and a hint.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use corten_cgroup::{Driver, Systemd};
use corten_engine::config::{CgroupManager, Config, ExposedPort, MountSource};
use corten_engine::container::{self, Container};
use corten_engine::doctor::{self, Verdict};
use corten_engine::events;
use corten_engine::events::{Actor, emit};
use corten_engine::exec::ExecConfig;
use corten_engine::files::{self, ChangeKind, CommitOptions, CopyOptions, Local, Pause};
use corten_engine::log::read::{Output, Show};
use corten_engine::record::Status;
use corten_engine::top::Top;
use corten_engine::volume::{self, Pruned, Volume};
use corten_engine::{
    DetachKeys, Dirs, EngineError, Rootless, collect, exec, explain, rename, run, start, update,
};
use corten_store::{
    ImportOptions, InUse, InUseError, LoadOptions, RemoveOptions, Removed, Store, StoreError, User,
};
use serde_json::{Value, json};

use crate::engine_api::{
    Attach, Commit, ContainerState, ContainerSummary, ContainerUsage, Control, Controlled, Copied, Copy,
    CopyDirection, Doctor, DoctorFinding, Engine, EngineOptions, ImageRemoval, ImageStep, ImageSummary,
    Import, Load, Loaded, RemoveContainer, RemoveImage, RunOptions, RunOutcome, Update, Visit, VolumeSummary,
};
use crate::report::{ENGINE_FAILED, Kind, Report};
use crate::{document, document_health, document_parts, info};

/// The engine of this machine.
#[derive(Debug)]
pub struct LocalEngine {
    dirs: Dirs,
    cgroup_manager: CgroupManager,
}

impl LocalEngine {
    /// Opens it; nothing is made before it is needed.
    ///
    /// # Errors
    /// An ordinary user's directories are nowhere, or somebody else's.
    pub fn open(options: &EngineOptions) -> Result<Box<dyn Engine>, Report> {
        if let Some(rootless) = Rootless::detect(options.search.clone()) {
            let default = || options.data_home.as_ref().map(|home| home.join("corten"));
            let Some(root) = options.root.clone().or_else(default) else {
                return Err(Report::user("there is no place for your containers and images")
                    .cause("neither XDG_DATA_HOME nor HOME is set")
                    .hint("say one with --root")
                    .status(ENGINE_FAILED));
            };
            let dirs = Dirs::of_user(root, options.run_root.clone(), rootless)
                .map_err(|error| home_report(&error).status(ENGINE_FAILED))?;
            return Ok(Box::new(Self { dirs, cgroup_manager: cgroup_manager(options) }));
        }
        let mut dirs = Dirs::system();
        if let Some(root) = &options.root {
            dirs.root.clone_from(root);
        }
        if let Some(run) = &options.run_root {
            dirs.run.clone_from(run);
        }
        Ok(Box::new(Self { dirs, cgroup_manager: cgroup_manager(options) }))
    }

    /// An ordinary user's user namespace, before anything is written that its containers use.
    /// As [`Engine::seal`], for a container that exists.
    fn seal_for(&mut self, name: &str) -> Result<(), Report> {
        let found = container::find(&self.dirs, name).map_err(|error| engine_report(&error))?;
        self.seal(start::has_host_root(&found.record.config))
    }

    fn enter(&mut self) -> Result<(), Report> {
        self.dirs.enter().map_err(|error| engine_report(&error).status(ENGINE_FAILED))
    }

    fn store(&self) -> Result<Store, Report> {
        Store::open(&self.dirs.root).map_err(|error| store_report(&error))
    }

    /// Bytes that a container wrote, and those with its image's.
    fn sizes(&self, id: &str, image: &str) -> Result<(u64, u64), Report> {
        let own = files::size_of(&self.dirs, id);
        let image = match self.store()?.resolve(image, None) {
            Ok(image) => image.size_bytes.unwrap_or(0),
            // `host`, or one that was taken away by force.
            Err(StoreError::NotFound(_)) => 0,
            Err(error) => return Err(store_report(&error)),
        };
        Ok((own, own + image))
    }

    fn not_there(what: &str) -> Report {
        Report::user(format!("{what} is not there yet"))
    }
}

fn cgroup_manager(options: &EngineOptions) -> CgroupManager {
    let uid = rustix::process::geteuid();
    let bus = if uid.is_root() { &options.system_bus } else { &options.user_bus };
    let systemd = Systemd {
        bus: bus.clone().unwrap_or_else(|| corten_cgroup::systemd::SYSTEM_BUS.to_owned()),
        user: (!uid.is_root()).then(|| uid.as_raw()),
    };
    match options.cgroup_manager {
        Some(Driver::Systemd) => CgroupManager::Systemd(systemd),
        Some(_) => CgroupManager::Cgroupfs,
        // sd_booted(3)
        None => {
            let booted = std::path::Path::new("/run/systemd/system").is_dir();
            CgroupManager::by_default(uid.is_root(), booted, systemd)
        }
    }
}

fn store_report(error: &StoreError) -> Report {
    let kind = match error {
        StoreError::NotFound(_) | StoreError::Ambiguous { .. } => Kind::User,
        _ => Kind::Host,
    };
    let report = Report::from_error(kind, error);
    match error {
        StoreError::NotFound(_) => report
            .hint(
                "bring it in with `corten import` (a root file system as tar); registries are not there yet; \
             the image name `host` needs none",
            )
            .missing(),
        _ => report,
    }
}

fn engine_report(error: &EngineError) -> Report {
    let kind = match error {
        EngineError::Call { .. }
        | EngineError::Record { .. }
        | EngineError::Cgroup(_)
        | EngineError::UserNamespace { .. }
        | EngineError::IdMap(_) => Kind::Host,
        EngineError::Store(error) => return store_report(error).status(ENGINE_FAILED),
        _ => Kind::User,
    };
    let report = Report::from_error(kind, error);
    match error {
        EngineError::Cgroup(error) => match error.hint() {
            Some(hint) => report.hint(hint),
            None => report,
        },
        EngineError::UserNamespace { way_out, .. } => report.hint(*way_out),
        EngineError::NoSuchContainer(_) => report.missing(),
        _ => report,
    }
}

/// Why an ordinary user's directory cannot be used: mostly HOME is somebody else's, after a change of user.
fn home_report(error: &EngineError) -> Report {
    let report = engine_report(error);
    match error {
        EngineError::Call { .. } => report.hint(
            "your containers and images are kept below XDG_DATA_HOME, or HOME/.local/share; --root puts them elsewhere",
        ),
        _ => report,
    }
}

/// What containers use of the store; asked while it is locked.
fn in_use(dirs: &Dirs) -> Result<InUse, InUseError> {
    let mut in_use = InUse::default();
    for container in container::list(dirs)? {
        let user = User { container: container.record.name.clone(), running: container.state.is_alive() };
        if let Ok(id) = container.record.image_id.parse() {
            in_use.images.entry(id).or_default().push(user.clone());
        }
        for id in container.record.mounted_images.iter().filter_map(|id| id.parse().ok()) {
            in_use.images.entry(id).or_default().push(user.clone());
        }
        for layer in &container.record.layers {
            in_use.layers.insert(layer.parse()?);
        }
    }
    Ok(in_use)
}

fn seconds(ns: u128) -> i64 {
    (ns / 1_000_000_000) as i64
}

fn summary(container: Container) -> ContainerSummary {
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

/// The part of Docker's container document that is known here.
fn whole(dirs: &Dirs, container: Container) -> Value {
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
        "Mounts": document::mounts(dirs, config),
        "Platform": "linux",
        "HostConfig": {
            "AutoRemove": config.auto_remove,
            "Privileged": config.privileged,
            "ReadonlyRootfs": config.read_only,
            "NetworkMode": document::network(config),
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
    let more =
        [document_parts::host_config(config), document::host_config(config)].map(|more| ("HostConfig", more));
    for (part, more) in more.into_iter().chain([("Config", document::config(config))]) {
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

fn volume_summary(dirs: &Dirs, volume: Volume, containers: usize) -> VolumeSummary {
    VolumeSummary {
        mountpoint: volume::mountpoint(dirs, &volume.name).display().to_string(),
        name: volume.name,
        labels: volume.labels,
        anonymous: volume.anonymous,
        containers,
    }
}

/// The command line that asks for the same exec again. Not the one that was typed: a file of variables may have
/// been a pipe, which is empty now.
fn exec_again(dirs: &Dirs, name: &str, config: &ExecConfig) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec![std::env::args_os().next().unwrap_or_else(|| "corten".into())];
    args.extend(["--root".into(), dirs.root.clone().into()]);
    args.extend(["--run-root".into(), dirs.run.clone().into()]);
    args.push("exec".into());
    for (flag, is_set) in [
        ("--detach", config.detach),
        ("--interactive", config.interactive),
        ("--privileged", config.privileged),
        ("--tty", config.tty),
    ] {
        args.extend(is_set.then(|| flag.into()));
    }
    args.push(format!("--detach-keys={}", config.detach_keys).into());
    args.extend(config.user.iter().map(|user| format!("--user={user}").into()));
    args.extend(config.workdir.iter().map(|dir| format!("--workdir={dir}").into()));
    args.extend(config.env.iter().map(|variable| format!("--env={variable}").into()));
    args.extend(["--".into(), name.into()]);
    args.extend(config.command.iter().map(OsString::from));
    args
}

/// What the script of `--explain` says of the command and of this program.
fn explain_options(options: &RunOptions) -> Result<explain::ExplainOptions, Report> {
    let program = std::env::current_exe()
        .map_err(|error| Report::host("cannot find the path of this program").cause(error))?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    Ok(explain::ExplainOptions { words, program, detach: options.detach })
}

fn detach_keys(text: Option<&str>) -> Result<DetachKeys, Report> {
    text.unwrap_or_default().parse().map_err(|error: String| {
        Report::user(error).hint("as in ctrl-p,ctrl-q or a,DEL").status(ENGINE_FAILED)
    })
}

fn attach_options(attach: Attach) -> Result<start::AttachOptions, Report> {
    let detach_keys = detach_keys(attach.detach_keys.as_deref())?;
    Ok(start::AttachOptions { input: attach.input, sig_proxy: attach.sig_proxy, detach_keys })
}

fn controlled(outcome: run::Outcome) -> Controlled {
    match outcome {
        run::Outcome::Started(_) | run::Outcome::Detached => Controlled::Done,
        run::Outcome::Exited { code, oom_killed } => Controlled::Exited { code: code.into(), oom_killed },
    }
}

/// The file that must not exist before.
fn write_cidfile(path: Option<&std::path::Path>, id: &str) -> Result<(), EngineError> {
    // An empty path is as good as none, to Docker's client too.
    let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else { return Ok(()) };
    let written = File::options().write(true).create_new(true).open(path);
    written
        .and_then(|mut file| file.write_all(id.as_bytes()))
        .map_err(|error| EngineError::IdFile { path: path.to_owned(), reason: error.to_string() })
}

impl Engine for LocalEngine {
    fn run(&mut self, mut config: Config, options: RunOptions) -> Result<RunOutcome, Report> {
        let detach_keys = detach_keys(options.detach_keys.as_deref())?;
        if options.pull == corten_engine::config::PullPolicy::Always {
            return Err(Self::not_there("--pull always: a registry client").status(ENGINE_FAILED));
        }
        config.cgroup_manager = self.cgroup_manager.clone();
        if options.explain && self.dirs.rootless.is_some() {
            let why = "--explain is refused for an ordinary user: the script is one for root";
            return Err(Report::user(why).status(ENGINE_FAILED));
        }
        if options.explain {
            let script = explain::explain(&self.dirs, config, &explain_options(&options)?);
            return script
                .map(RunOutcome::Explained)
                .map_err(|error| engine_report(&error).status(error.exit_code()));
        }
        collect::collect(&self.dirs);
        let engine_options =
            run::RunOptions { detach: options.detach, sig_proxy: options.sig_proxy, detach_keys };
        let created = |id: &str| write_cidfile(options.cidfile.as_deref(), id);
        self.enter()?;
        match run::run(&self.dirs, config, &engine_options, created) {
            Ok(run::Outcome::Started(id)) => Ok(RunOutcome::Started(id)),
            Ok(run::Outcome::Detached) => Ok(RunOutcome::Detached),
            Ok(run::Outcome::Exited { code, oom_killed }) => Ok(RunOutcome::Exited { code, oom_killed }),
            Err(error) => Err(engine_report(&error).status(error.exit_code())),
        }
    }

    fn seal(&mut self, host_root: bool) -> Result<(), Report> {
        if !host_root && self.dirs.rootless.is_none() {
            return Ok(());
        }
        let (args, env): (Vec<OsString>, _) = (std::env::args_os().collect(), crate::env::all());
        let seal = exec::Seal { args: &args, env: &env };
        seal.apply(&self.dirs).map_err(|error| engine_report(&error).status(ENGINE_FAILED))
    }

    fn create(&mut self, mut config: Config, options: RunOptions) -> Result<String, Report> {
        if options.pull == corten_engine::config::PullPolicy::Always {
            return Err(Self::not_there("--pull always: a registry client"));
        }
        config.cgroup_manager = self.cgroup_manager.clone();
        collect::collect(&self.dirs);
        self.enter()?;
        let created = |id: &str| write_cidfile(options.cidfile.as_deref(), id);
        run::create(&self.dirs, config, created).map_err(|error| engine_report(&error))
    }

    fn control(&mut self, name: &str, action: Control) -> Result<Controlled, Report> {
        collect::sweep(&self.dirs);
        let report = |error: EngineError| engine_report(&error);
        let done = |result: Result<(), EngineError>| result.map(|()| Controlled::Done).map_err(report);
        match action {
            Control::Start(attach) => {
                let options = attach.map(attach_options).transpose()?;
                self.seal_for(name)?;
                self.enter()?;
                start::start(&self.dirs, name, options.as_ref()).map(controlled).map_err(report)
            }
            Control::Restart { signal, timeout_s } => {
                self.seal_for(name)?;
                start::stop(&self.dirs, name, signal, timeout_s).map_err(report)?;
                self.enter()?;
                start::start(&self.dirs, name, None).map(controlled).map_err(report)
            }
            Control::Stop { signal, timeout_s } => done(start::stop(&self.dirs, name, signal, timeout_s)),
            Control::Kill { signal } => done(start::signal(&self.dirs, name, signal)),
            Control::Pause => done(start::pause(&self.dirs, name)),
            Control::Unpause => done(start::unpause(&self.dirs, name)),
            Control::Wait => {
                let exited = |code| Controlled::Exited { code, oom_killed: false };
                start::wait(&self.dirs, name).map(exited).map_err(report)
            }
            Control::Attach(attach) => {
                let options = attach_options(attach)?;
                start::attach(&self.dirs, name, &options).map(controlled).map_err(report)
            }
        }
    }

    fn containers(&mut self, size: bool) -> Result<Vec<ContainerSummary>, Report> {
        collect::sweep(&self.dirs);
        let list = container::list(&self.dirs).map_err(|error| engine_report(&error))?;
        let mut rows: Vec<ContainerSummary> = list.into_iter().map(summary).collect();
        if size {
            self.enter()?;
            for row in &mut rows {
                let (own, all) = self.sizes(&row.id, &row.image_id)?;
                (row.size_rw_bytes, row.size_root_bytes) = (Some(own), Some(all));
            }
        }
        Ok(rows)
    }

    fn remove_container(&mut self, name: &str, options: RemoveContainer) -> Result<(), Report> {
        collect::sweep(&self.dirs);
        container::remove(&self.dirs, name, options.force, options.volumes)
            .map(drop)
            .map_err(|error| engine_report(&error))
    }

    fn images(&mut self) -> Result<Vec<ImageSummary>, Report> {
        collect::sweep(&self.dirs);
        let images = self.store()?.images().map_err(|error| store_report(&error))?;
        let containers = container::list(&self.dirs).map_err(|error| engine_report(&error))?;
        let mut rows = Vec::new();
        for listed in images {
            let image = listed.image.map_err(|error| store_report(&error))?;
            let id = image.id.to_string();
            let used = containers.iter().filter(|container| container.record.image_id == id).count();
            let row = ImageSummary {
                id,
                digest: Some(image.manifest_digest.to_string()),
                created_s: image
                    .config
                    .created
                    .as_deref()
                    .and_then(corten_oci::time::unix_seconds)
                    .unwrap_or(0),
                size_bytes: image.size_bytes.unwrap_or(0),
                labels: image.config.config.labels.clone(),
                containers: u32::try_from(used).ok(),
                ..ImageSummary::default()
            };
            if image.names.is_empty() {
                rows.push(row.clone());
            }
            for name in &image.names {
                let familiar = name.familiar();
                let (repository, tag) = familiar.rsplit_once(':').unwrap_or((&familiar, "latest"));
                rows.push(ImageSummary {
                    repository: Some(repository.to_owned()),
                    tag: Some(tag.to_owned()),
                    ..row.clone()
                });
            }
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.created_s));
        Ok(rows)
    }

    fn remove_image(&mut self, reference: &str, options: &RemoveImage) -> Result<Vec<ImageRemoval>, Report> {
        if options.no_prune || !options.platforms.is_empty() {
            return Err(Self::not_there("--no-prune and --platform"));
        }
        self.enter()?;
        collect::sweep(&self.dirs);
        let remove = RemoveOptions { force: options.force };
        let done = self
            .store()?
            .remove(reference, remove, || in_use(&self.dirs))
            .map_err(|error| store_report(&error))?;
        // The image itself is the first that is deleted; its layers follow.
        let image =
            done.iter().position(|one| matches!(one, Removed::Deleted(_))).map_or(done.len(), |at| at + 1);
        for removed in &done[..image] {
            let (id, action) = match removed {
                Removed::Untagged(name) => (name.familiar(), "untag"),
                Removed::Deleted(digest) => (digest.to_string(), "delete"),
            };
            emit(&self.dirs, &Actor::image(&id, &id), action, &[]);
        }
        Ok(done
            .into_iter()
            .map(|removed| match removed {
                Removed::Untagged(name) => ImageRemoval::Untagged(name.familiar()),
                Removed::Deleted(digest) => ImageRemoval::Deleted(digest.to_string()),
            })
            .collect())
    }

    fn import(&mut self, request: Import) -> Result<String, Report> {
        self.enter()?;
        let reference = match &request.reference {
            None => None,
            Some(text) => Some(
                text.parse().map_err(|error: corten_oci::ReferenceError| Report::user(error.to_string()))?,
            ),
        };
        let platform = match &request.platform {
            None => None,
            Some(text) => Some(
                text.parse()
                    .map_err(|error: corten_oci::platform::PlatformError| Report::user(error.to_string()))?,
            ),
        };
        collect::sweep(&self.dirs);
        let options = ImportOptions {
            reference,
            changes: request.changes,
            message: request.message,
            platform,
            ..Default::default()
        };
        let input: Box<dyn Read + Send> = match &request.file {
            None => Box::new(std::io::stdin()),
            Some(path) => Box::new(
                File::open(path)
                    .map_err(|error| Report::user(format!("cannot open {}", path.display())).cause(error))?,
            ),
        };
        let image = self.store()?.import(input, &options).map_err(|error| store_report(&error))?;
        let id = image.id.to_string();
        emit(&self.dirs, &Actor::image(&id, request.reference.as_deref().unwrap_or(&id)), "import", &[]);
        Ok(id)
    }

    fn load(&mut self, request: Load) -> Result<Vec<Loaded>, Report> {
        let platform = match request.platforms.as_slice() {
            [] => None,
            [one] => Some(
                one.parse()
                    .map_err(|error: corten_oci::platform::PlatformError| Report::user(error.to_string()))?,
            ),
            _ => return Err(Self::not_there("more than one --platform")),
        };
        self.enter()?;
        collect::sweep(&self.dirs);
        let options = LoadOptions { platform, ..LoadOptions::default() };
        let store = self.store()?;
        let loaded = match &request.input {
            Some(path) if path.is_dir() => store.load_directory(path, &options),
            Some(path) => {
                let file = File::open(path)
                    .map_err(|error| Report::user(format!("cannot open {}", path.display())).cause(error))?;
                store.load(file, &options)
            }
            None => store.load(std::io::stdin(), &options),
        };
        let mut lines = Vec::new();
        for image in loaded.map_err(|error| store_report(&error))? {
            let id = image.id.to_string();
            let name = image.names.first().map_or_else(|| id.clone(), |name| name.familiar());
            emit(&self.dirs, &Actor::image(&id, &name), "load", &[]);
            if image.names.is_empty() {
                lines.push(Loaded::Untagged(image.id.to_string()));
            }
            lines.extend(image.names.iter().map(|name| Loaded::Tagged(name.familiar())));
        }
        Ok(lines)
    }

    fn inspect_container(&mut self, name: &str, size: bool) -> Result<Option<Value>, Report> {
        collect::sweep(&self.dirs);
        match container::find(&self.dirs, name) {
            Ok(container) => {
                let (id, image) = (container.record.id.clone(), container.record.image_id.clone());
                let mut document = whole(&self.dirs, container);
                if size {
                    self.enter()?;
                    let (own, all) = self.sizes(&id, &image)?;
                    (document["SizeRw"], document["SizeRootFs"]) = (own.into(), all.into());
                }
                Ok(Some(document))
            }
            Err(EngineError::NoSuchContainer(_)) => Ok(None),
            Err(error) => Err(engine_report(&error)),
        }
    }

    fn inspect_image(&mut self, name: &str, platform: Option<&str>) -> Result<Option<Value>, Report> {
        let platform = match platform {
            None => None,
            Some(text) => Some(
                text.parse()
                    .map_err(|error: corten_oci::platform::PlatformError| Report::user(error.to_string()))?,
            ),
        };
        let image = match self.store()?.resolve(name, platform.as_ref()) {
            Ok(image) => image,
            Err(StoreError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(store_report(&error)),
        };
        let config = serde_json::to_value(&image.config.config).unwrap_or(Value::Null);
        Ok(Some(json!({
            "Id": image.id.to_string(),
            "RepoTags": image.names.iter().map(|name| name.familiar()).collect::<Vec<_>>(),
            "Created": image.config.created,
            "Author": image.config.author,
            "Architecture": image.config.architecture,
            "Os": image.config.os,
            "Size": image.size_bytes.unwrap_or(0),
            "Config": config,
            "RootFS": {
                "Type": "layers",
                "Layers": image.diff_ids().iter().map(ToString::to_string).collect::<Vec<_>>(),
            },
        })))
    }

    fn create_volume(
        &mut self,
        name: Option<&str>,
        labels: BTreeMap<String, String>,
    ) -> Result<String, Report> {
        let made = volume::create(&self.dirs, name, labels).map_err(|error| engine_report(&error))?;
        emit(&self.dirs, &Actor::volume(&made.name), "create", &[]);
        Ok(made.name)
    }

    fn volumes(&mut self) -> Result<Vec<VolumeSummary>, Report> {
        let users = volume::users(&self.dirs).map_err(|error| engine_report(&error))?;
        let list = volume::list(&self.dirs).map_err(|error| engine_report(&error))?;
        let count = |volume: &Volume| users.get(&volume.name).map_or(0, std::collections::BTreeSet::len);
        Ok(list
            .into_iter()
            .map(|volume| {
                let containers = count(&volume);
                volume_summary(&self.dirs, volume, containers)
            })
            .collect())
    }

    fn inspect_volume(&mut self, name: &str) -> Result<Option<Value>, Report> {
        match volume::inspect(&self.dirs, name) {
            Ok(volume) => Ok(Some(json!({
                "CreatedAt": time(volume.created_ns),
                "Driver": "local",
                "Labels": volume.labels,
                "Mountpoint": volume::mountpoint(&self.dirs, &volume.name),
                "Name": volume.name,
                "Options": null,
                "Scope": "local",
            }))),
            Err(EngineError::NoSuchVolume(_)) => Ok(None),
            Err(error) => Err(engine_report(&error)),
        }
    }

    fn remove_volume(&mut self, name: &str, force: bool) -> Result<(), Report> {
        collect::sweep(&self.dirs);
        volume::remove(&self.dirs, name, force).map_err(|error| engine_report(&error))?;
        emit(&self.dirs, &Actor::volume(name), "destroy", &[]);
        Ok(())
    }

    fn prune_volumes(&mut self, chosen: &dyn Fn(&VolumeSummary) -> bool) -> Result<Pruned, Report> {
        collect::sweep(&self.dirs);
        let pruned =
            volume::prune(&self.dirs, |volume| chosen(&volume_summary(&self.dirs, volume.clone(), 0)))
                .map_err(|error| engine_report(&error))?;
        for name in &pruned.names {
            emit(&self.dirs, &Actor::volume(name), "destroy", &[]);
        }
        Ok(pruned)
    }

    fn doctor(&mut self) -> Result<Doctor, Report> {
        let found = doctor::examine(&self.dirs);
        let host = found.host.into_iter().map(|finding| DoctorFinding {
            mark: match finding.verdict {
                Verdict::Good => "ok",
                Verdict::Note => "note",
                Verdict::Lack => "LACK",
            },
            what: finding.what,
            text: finding.text,
        });
        Ok(Doctor { host: host.collect(), live: found.live, leftovers: found.leftovers })
    }

    fn info(&mut self) -> Result<Value, Report> {
        collect::sweep(&self.dirs);
        let list = container::list(&self.dirs).map_err(|error| engine_report(&error))?;
        let count = |status: Status| list.iter().filter(|c| c.state.status == status).count();
        let layout = corten_cgroup::Layout::detect().map_err(|error| engine_report(&error.into()))?;
        let mut info = info::of_machine(&layout);
        // Asking makes nothing.
        let images = match self.dirs.root.join("index.json").exists() {
            true => self.store()?.images().map_err(|error| store_report(&error))?.len(),
            false => 0,
        };
        let ordinary = self.dirs.rootless.is_some();
        let known = json!({
            "Containers": list.len(),
            "ContainersRunning": count(Status::Running),
            "ContainersPaused": 0,
            "ContainersStopped": list.len() - count(Status::Running),
            "Images": images,
            "Driver": "overlay",
            "CgroupDriver": self.cgroup_manager.driver().to_string(),
            "Rootless": ordinary,
            "SecurityOptions": [
                "name=seccomp,profile=builtin",
                if ordinary { "name=rootless" } else { "name=userns" },
                "name=cgroupns",
            ],
            "DockerRootDir": self.dirs.root.display().to_string(),
            "CortenRootDir": self.dirs.root.display().to_string(),
            "ServerVersion": crate::VERSION,
        });
        if let (Value::Object(info), Value::Object(known)) = (&mut info, known) {
            info.extend(known);
        }
        Ok(info)
    }

    fn exec(&mut self, name: &str, config: ExecConfig) -> Result<RunOutcome, Report> {
        collect::collect(&self.dirs);
        let args = exec_again(&self.dirs, name, &config);
        let env = crate::env::all();
        match exec::exec(&self.dirs, name, &config, exec::Seal { args: &args, env: &env }) {
            Ok(run::Outcome::Started(id)) => Ok(RunOutcome::Started(id)),
            Ok(run::Outcome::Detached) => Ok(RunOutcome::Detached),
            Ok(run::Outcome::Exited { code, oom_killed }) => Ok(RunOutcome::Exited { code, oom_killed }),
            Err(error) => Err(engine_report(&error).status(exec::exit_code(&error))),
        }
    }

    fn logs(&mut self, name: &str, show: &Show, output: Output<'_>) -> Result<(), Report> {
        collect::sweep(&self.dirs);
        corten_engine::log::read::logs(&self.dirs, name, show, output).map_err(|error| engine_report(&error))
    }

    fn events(
        &mut self,
        since_ns: Option<i128>,
        until_ns: Option<i128>,
        visit: Visit<'_>,
    ) -> Result<(), Report> {
        /// Either's failure.
        struct Failed(Report);
        impl From<EngineError> for Failed {
            fn from(error: EngineError) -> Self {
                Self(engine_report(&error))
            }
        }
        collect::sweep(&self.dirs);
        events::watch(&self.dirs, since_ns, until_ns, |event| visit(&event).map_err(Failed))
            .map_err(|Failed(report)| report)
    }

    fn usage(&mut self, names: &[String], all: bool) -> Result<Vec<ContainerUsage>, Report> {
        let failed = |error: EngineError| engine_report(&error);
        collect::sweep(&self.dirs);
        let containers = if names.is_empty() {
            let mut list = container::list(&self.dirs).map_err(failed)?;
            list.retain(|one| all || one.state.is_alive());
            list.into_iter().map(|one| (one.record.id.clone(), one)).collect::<Vec<_>>()
        } else {
            let find = |name: &String| Ok((name.clone(), container::find(&self.dirs, name)?));
            names.iter().map(find).collect::<Result<_, _>>().map_err(failed)?
        };
        let mut usages = Vec::new();
        for (asked, container) in containers {
            let usage = corten_engine::stats::usage(&container).map_err(failed)?;
            let (id, name) = (container.record.id, container.record.name);
            usages.push(ContainerUsage { id, name, asked, usage });
        }
        Ok(usages)
    }

    fn top(&mut self, name: &str, options: &[String]) -> Result<Top, Report> {
        collect::sweep(&self.dirs);
        corten_engine::top::top(&self.dirs, name, options).map_err(|error| engine_report(&error))
    }

    fn internal(&mut self, args: Vec<OsString>) -> Result<u8, Report> {
        if args.first().is_none_or(|step| step != exec::probe::STEP) {
            return Err(Report::user("corten has no internal command of that name"));
        }
        exec::probe::main(&self.dirs, &args).map(|code| code as u8).map_err(|error| engine_report(&error))
    }

    fn copy(&mut self, request: &Copy, progress: &mut dyn FnMut(u64)) -> Result<Copied, Report> {
        collect::sweep(&self.dirs);
        let options = CopyOptions { archive: request.archive, follow: request.follow_link };
        let local = match (&request.local, request.direction) {
            (Some(path), _) => Local::Path(path),
            (None, CopyDirection::Out) => Local::Stream(duplicate(rustix::stdio::stdout())?),
            (None, CopyDirection::In) => Local::Stream(duplicate(rustix::stdio::stdin())?),
        };
        let (name, path) = (request.container.as_str(), request.path.as_path());
        match request.direction {
            CopyDirection::Out => files::copy_out(&self.dirs, name, path, local, options, progress),
            CopyDirection::In => files::copy_in(&self.dirs, name, local, path, options, progress),
        }
        .map_err(|error| engine_report(&error))
    }

    fn export(&mut self, name: &str, to: OwnedFd) -> Result<(), Report> {
        collect::sweep(&self.dirs);
        files::export(&self.dirs, name, to).map_err(|error| engine_report(&error))
    }

    fn diff(&mut self, name: &str) -> Result<Vec<(char, PathBuf)>, Report> {
        collect::sweep(&self.dirs);
        self.enter()?;
        let changes = files::diff(&self.dirs, name).map_err(|error| engine_report(&error))?;
        let letter = |kind| match kind {
            ChangeKind::Added => 'A',
            ChangeKind::Changed => 'C',
            ChangeKind::Deleted => 'D',
        };
        Ok(changes.into_iter().map(|change| (letter(change.kind), change.path)).collect())
    }

    fn commit(&mut self, request: Commit) -> Result<String, Report> {
        collect::sweep(&self.dirs);
        let reference = match &request.reference {
            None => None,
            Some(text) => Some(
                text.parse().map_err(|error: corten_oci::ReferenceError| Report::user(error.to_string()))?,
            ),
        };
        let pause = match request.pause {
            None => Pause::IfPossible,
            Some(true) => Pause::Yes,
            Some(false) => Pause::No,
        };
        let options = CommitOptions {
            reference,
            author: request.author,
            changes: request.changes,
            message: request.message,
            pause,
        };
        files::commit(&mut self.dirs, &request.container, &options).map_err(|error| engine_report(&error))
    }

    fn rename_container(&mut self, name: &str, new: &str) -> Result<(), Report> {
        collect::sweep(&self.dirs);
        rename::rename(&self.dirs, name, new).map_err(|error| engine_report(&error))
    }

    fn update_container(&mut self, name: &str, update: &Update) -> Result<(), Report> {
        collect::sweep(&self.dirs);
        update::update(&self.dirs, name, update).map_err(|error| engine_report(&error))
    }

    fn prune_containers(&mut self, chosen: &dyn Fn(&ContainerSummary) -> bool) -> Result<Pruned, Report> {
        collect::sweep(&self.dirs);
        let mut pruned = Pruned::default();
        for container in container::list(&self.dirs).map_err(|error| engine_report(&error))? {
            if container.state.is_alive() || !chosen(&summary(container.clone())) {
                continue;
            }
            let id = container.record.id;
            let bytes = files::size_of(&self.dirs, &id);
            match container::remove(&self.dirs, &id, false, false) {
                Ok(_) => {
                    pruned.bytes += bytes;
                    pruned.names.push(id);
                }
                // Started, or removed by somebody else, meanwhile.
                Err(EngineError::Running(_) | EngineError::Starting(_) | EngineError::NoSuchContainer(_)) => {
                }
                Err(error) => return Err(engine_report(&error)),
            }
        }
        Ok(pruned)
    }

    fn image_history(&mut self, name: &str, platform: Option<&str>) -> Result<Vec<ImageStep>, Report> {
        let platform = match platform {
            None => None,
            Some(text) => Some(
                text.parse()
                    .map_err(|error: corten_oci::platform::PlatformError| Report::user(error.to_string()))?,
            ),
        };
        let store = self.store()?;
        let image = store.resolve(name, platform.as_ref()).map_err(|error| store_report(&error))?;
        let mut layers = image.diff_ids().iter();
        let mut steps = Vec::new();
        for entry in &image.config.history {
            let layer = if entry.empty_layer { None } else { layers.next() };
            let record = layer.map(|layer| store.layer_record(layer)).transpose();
            let size =
                record.map_err(|error| store_report(&error))?.flatten().map_or(0, |record| record.size_bytes);
            steps.push(ImageStep {
                id: None,
                created_s: entry.created.as_deref().and_then(corten_oci::time::unix_seconds),
                created_by: entry.created_by.clone().unwrap_or_default(),
                comment: entry.comment.clone().unwrap_or_default(),
                size_bytes: size,
            });
        }
        steps.reverse();
        if let Some(last) = steps.first_mut() {
            last.id = Some(image.id.to_string());
        }
        Ok(steps)
    }

    fn tag_image(&mut self, source: &str, target: &str) -> Result<(), Report> {
        let target =
            target.parse().map_err(|error: corten_oci::ReferenceError| Report::user(error.to_string()))?;
        self.store()?.tag(source, &target).map_err(|error| store_report(&error))
    }
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd, Report> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|errno| Report::host("cannot use the stream").cause(errno))
}
