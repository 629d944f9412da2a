//! The engine as the commands see it: the calls of [`Engine`] carried out by `corten-engine` and
//! `corten-store`, their errors turned into reports with a kind and a hint.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use corten_cgroup::{Driver, Systemd};
use corten_engine::config::{CgroupManager, Config};
use corten_engine::container;
use corten_engine::doctor::{self, Verdict};
use corten_engine::events::{self, Actor, emit};
use corten_engine::exec::ExecConfig;
use corten_engine::files::{self, ChangeKind, CommitOptions, CopyOptions, Local, Pause};
use corten_engine::log::read::{self, Output, Show};
use corten_engine::top::{self, Top};
use corten_engine::volume::{self, Pruned, Volume};
use corten_engine::{
    DetachKeys, Dirs, EngineError, Rootless, collect, exec, explain, rename, run, start, update,
};
use corten_oci::{Platform, Reference};
use corten_store::{
    ImportOptions, InUse, InUseError, LoadOptions, RemoveOptions, Removed, Store, StoreError, User,
};
use serde_json::Value;

use crate::engine_api::{
    Attach, Commit, ContainerSummary, ContainerUsage, Control, Controlled, Copied, Copy, CopyDirection,
    Doctor, DoctorFinding, Engine, EngineOptions, ImageRemoval, ImageStep, ImageSummary, Import, Load,
    Loaded, RemoveContainer, RemoveImage, RunOptions, RunOutcome, Update, Visit, VolumeSummary,
};
use crate::report::{ENGINE_FAILED, Report};
use crate::{argv, document, failures, info, summary};

/// The engine of this machine.
#[derive(Debug)]
pub struct LocalEngine {
    dirs: Dirs,
    cgroup_manager: CgroupManager,
}

/// A monitor does not stay in the directory that its command was started in.
fn absolute(path: &Path) -> Result<PathBuf, Report> {
    std::path::absolute(path).map_err(|error| {
        Report::user(format!("{path:?} is no directory of containers")).cause(error).status(ENGINE_FAILED)
    })
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
            let run = options.run_root.as_deref().map(absolute).transpose()?;
            let dirs = Dirs::of_user(absolute(&root)?, run, rootless)
                .map_err(|error| failures::of_home(&error).status(ENGINE_FAILED))?;
            return Ok(Box::new(Self { dirs, cgroup_manager: cgroup_manager(options) }));
        }
        let mut dirs = Dirs::system();
        if let Some(root) = &options.root {
            dirs.root = absolute(root)?;
        }
        if let Some(run) = &options.run_root {
            dirs.run = absolute(run)?;
        }
        Ok(Box::new(Self { dirs, cgroup_manager: cgroup_manager(options) }))
    }

    /// As [`Engine::seal`], for a container that exists.
    fn seal_for(&mut self, name: &str) -> Result<(), Report> {
        let found = container::find(&self.dirs, name)?;
        self.seal(start::has_host_root(&found.record.config))
    }

    /// An ordinary user's user namespace, before anything is written that its containers use.
    fn enter(&mut self) -> Result<(), Report> {
        self.dirs.enter().map_err(|error| Report::from(error).status(ENGINE_FAILED))
    }

    fn store(&self) -> Result<Store, Report> {
        Ok(Store::open(&self.dirs.root)?)
    }

    /// Bytes that a container wrote, and those with its image's.
    fn sizes(&self, id: &str, image: &str) -> Result<(u64, u64), Report> {
        let own = files::size_of(&self.dirs, id);
        let image = match self.store()?.resolve(image, None) {
            Ok(image) => image.size_bytes.unwrap_or(0),
            // `host`, or one that was taken away by force.
            Err(StoreError::NotFound(_)) => 0,
            Err(error) => return Err(error.into()),
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
            let booted = rustix::fs::lstat("/run/systemd/system")
                .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir());
            CgroupManager::by_default(uid.is_root(), booted, systemd)
        }
    }
}

/// What a flag may leave out.
fn parsed<T: FromStr>(text: Option<&str>) -> Result<Option<T>, T::Err> {
    text.map(str::parse).transpose()
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

fn detach_keys(text: Option<&str>) -> Result<DetachKeys, Report> {
    text.unwrap_or_default().parse().map_err(|error: String| {
        Report::user(error).hint("as in ctrl-p,ctrl-q or a,DEL").status(ENGINE_FAILED)
    })
}

fn attach_options(attach: Attach) -> Result<start::AttachOptions, Report> {
    let detach_keys = detach_keys(attach.detach_keys.as_deref())?;
    Ok(start::AttachOptions { input: attach.input, sig_proxy: attach.sig_proxy, detach_keys })
}

fn outcome(outcome: run::Outcome) -> Result<RunOutcome, Report> {
    Ok(match outcome {
        run::Outcome::Started(id) => RunOutcome::Started(id),
        run::Outcome::Detached => RunOutcome::Detached,
        run::Outcome::Exited { code, oom_killed } => RunOutcome::Exited { code, oom_killed },
        run::Outcome::Unheard(errno) => return Err(failures::unheard(errno)),
    })
}

fn controlled(outcome: run::Outcome) -> Result<Controlled, Report> {
    Ok(match outcome {
        run::Outcome::Started(_) | run::Outcome::Detached => Controlled::Done,
        run::Outcome::Exited { code, oom_killed } => Controlled::Exited { code: code.into(), oom_killed },
        run::Outcome::Unheard(errno) => return Err(failures::unheard(errno)),
    })
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
            let script = explain::explain(&self.dirs, config, &argv::explain_options(&options)?);
            return script.map(RunOutcome::Explained).map_err(|error| failures::of_start(&error));
        }
        collect::collect(&self.dirs);
        let engine_options =
            run::RunOptions { detach: options.detach, sig_proxy: options.sig_proxy, detach_keys };
        let created = |id: &str| write_cidfile(options.cidfile.as_deref(), id);
        self.enter()?;
        run::run(&self.dirs, config, &engine_options, created)
            .map_err(|error| failures::of_start(&error))
            .and_then(outcome)
    }

    fn seal(&mut self, host_root: bool) -> Result<(), Report> {
        if !host_root && self.dirs.rootless.is_none() {
            return Ok(());
        }
        let (args, env): (Vec<OsString>, _) = (std::env::args_os().collect(), crate::env::all());
        let seal = exec::Seal { args: &args, env: &env };
        seal.apply(&self.dirs).map_err(|error| Report::from(error).status(ENGINE_FAILED))
    }

    fn create(&mut self, mut config: Config, options: RunOptions) -> Result<String, Report> {
        if options.pull == corten_engine::config::PullPolicy::Always {
            return Err(Self::not_there("--pull always: a registry client"));
        }
        config.cgroup_manager = self.cgroup_manager.clone();
        collect::collect(&self.dirs);
        self.enter()?;
        let created = |id: &str| write_cidfile(options.cidfile.as_deref(), id);
        Ok(run::create(&self.dirs, config, created)?)
    }

    fn control(&mut self, name: &str, action: Control) -> Result<Controlled, Report> {
        collect::sweep(&self.dirs);
        match action {
            Control::Start(attach) => {
                let options = attach.map(attach_options).transpose()?;
                self.seal_for(name)?;
                self.enter()?;
                return controlled(start::start(&self.dirs, name, options.as_ref())?);
            }
            Control::Restart { signal, timeout_s } => {
                self.seal_for(name)?;
                return controlled(start::restart(&mut self.dirs, name, signal, timeout_s)?);
            }
            Control::Wait => {
                let code = start::wait(&self.dirs, name)?;
                return Ok(Controlled::Exited { code, oom_killed: false });
            }
            Control::Attach(attach) => {
                let options = attach_options(attach)?;
                return controlled(start::attach(&self.dirs, name, &options)?);
            }
            Control::Stop { signal, timeout_s } => start::stop(&self.dirs, name, signal, timeout_s)?,
            Control::Kill { signal } => start::signal(&self.dirs, name, signal)?,
            Control::Pause => start::pause(&self.dirs, name)?,
            Control::Unpause => start::unpause(&self.dirs, name)?,
        }
        Ok(Controlled::Done)
    }

    fn containers(&mut self, size: bool) -> Result<Vec<ContainerSummary>, Report> {
        let attended = collect::sweep(&self.dirs);
        let list = container::list_knowing(&self.dirs, &attended)?;
        let mut rows: Vec<ContainerSummary> = list.into_iter().map(summary::container).collect();
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
        container::remove(&self.dirs, name, options.force, options.volumes)?;
        Ok(())
    }

    fn images(&mut self) -> Result<Vec<ImageSummary>, Report> {
        collect::sweep(&self.dirs);
        let images = self.store()?.images()?;
        let containers = container::list(&self.dirs)?;
        let mut rows = Vec::new();
        for listed in images {
            let image = listed.image?;
            let id = image.id.to_string();
            let used = containers.iter().filter(|container| container.record.image_id == id).count();
            rows.extend(summary::image(&image, used));
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.created_s));
        Ok(rows)
    }

    fn prune_images(
        &mut self,
        chosen: &dyn Fn(&ImageSummary) -> bool,
    ) -> Result<(Vec<ImageRemoval>, u64), Report> {
        let (mut all, mut bytes) = (Vec::new(), 0);
        for one in self.images()?.into_iter().filter(|one| chosen(one)) {
            let name = match (&one.repository, &one.tag) {
                (Some(repository), Some(tag)) => format!("{repository}:{tag}"),
                _ => one.id.clone(),
            };
            let removed = self.remove_image(&name, &RemoveImage::default())?;
            if removed.contains(&ImageRemoval::Deleted(one.id)) {
                bytes += one.size_bytes;
            }
            all.extend(removed);
        }
        events::tell_of_prune(&self.dirs, "image", bytes);
        Ok((all, bytes))
    }

    fn remove_image(&mut self, reference: &str, options: &RemoveImage) -> Result<Vec<ImageRemoval>, Report> {
        if options.no_prune || !options.platforms.is_empty() {
            return Err(Self::not_there("--no-prune and --platform"));
        }
        self.enter()?;
        collect::sweep(&self.dirs);
        let remove = RemoveOptions { force: options.force };
        let store = self.store()?;
        // Afterwards nobody knows what the name stood for.
        let id = store.resolve(reference, None).map(|image| image.id.to_string()).unwrap_or_default();
        let done = store.remove(reference, remove, || in_use(&self.dirs))?;
        // The image itself is the first that is deleted; its layers follow.
        let image =
            done.iter().position(|one| matches!(one, Removed::Deleted(_))).map_or(done.len(), |at| at + 1);
        for removed in &done[..image] {
            let action = match removed {
                Removed::Untagged(_) => "untag",
                Removed::Deleted(_) => "delete",
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
        let reference = parsed::<Reference>(request.reference.as_deref())?;
        let platform = parsed::<Platform>(request.platform.as_deref())?;
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
        let image = self.store()?.import(input, &options)?;
        let id = image.id.to_string();
        emit(&self.dirs, &Actor::image(&id, request.reference.as_deref().unwrap_or(&id)), "import", &[]);
        Ok(id)
    }

    fn load(&mut self, request: Load) -> Result<Vec<Loaded>, Report> {
        let platform = match request.platforms.as_slice() {
            [] => None,
            [one] => Some(one.parse::<Platform>()?),
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
        for image in loaded? {
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
                let mut document = document::container(&self.dirs, container);
                if size {
                    self.enter()?;
                    let (own, all) = self.sizes(&id, &image)?;
                    (document["SizeRw"], document["SizeRootFs"]) = (own.into(), all.into());
                }
                Ok(Some(document))
            }
            Err(EngineError::NoSuchContainer(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn inspect_image(&mut self, name: &str, platform: Option<&str>) -> Result<Option<Value>, Report> {
        let platform = parsed::<Platform>(platform)?;
        match self.store()?.resolve(name, platform.as_ref()) {
            Ok(image) => Ok(Some(document::image(&image))),
            Err(StoreError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn create_volume(
        &mut self,
        name: Option<&str>,
        labels: BTreeMap<String, String>,
    ) -> Result<String, Report> {
        let made = volume::create(&self.dirs, name, labels)?;
        Ok(made.name)
    }

    fn volumes(&mut self) -> Result<Vec<VolumeSummary>, Report> {
        let users = volume::users(&self.dirs)?;
        let list = volume::list(&self.dirs)?;
        let count = |volume: &Volume| users.get(&volume.name).map_or(0, std::collections::BTreeSet::len);
        Ok(list
            .into_iter()
            .map(|volume| {
                let containers = count(&volume);
                summary::volume(&self.dirs, volume, containers)
            })
            .collect())
    }

    fn inspect_volume(&mut self, name: &str) -> Result<Option<Value>, Report> {
        match volume::inspect(&self.dirs, name) {
            Ok(volume) => Ok(Some(document::volume(&self.dirs, &volume))),
            Err(EngineError::NoSuchVolume(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn remove_volume(&mut self, name: &str, force: bool) -> Result<(), Report> {
        collect::sweep(&self.dirs);
        Ok(volume::remove(&self.dirs, name, force)?)
    }

    fn prune_volumes(&mut self, chosen: &dyn Fn(&VolumeSummary) -> bool) -> Result<Pruned, Report> {
        collect::sweep(&self.dirs);
        Ok(volume::prune(&self.dirs, |volume| chosen(&summary::volume(&self.dirs, volume.clone(), 0)))?)
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
        let list = container::list(&self.dirs)?;
        let layout = corten_cgroup::Layout::detect()?;
        // Asking makes nothing.
        let images = match self.dirs.root.join("index.json").exists() {
            true => self.store()?.images()?.len(),
            false => 0,
        };
        let mut info = info::of_machine(&layout);
        info.extend(info::of_engine(&self.dirs, &self.cgroup_manager, &list, images));
        Ok(Value::Object(info))
    }

    fn exec(&mut self, name: &str, config: ExecConfig) -> Result<RunOutcome, Report> {
        collect::collect(&self.dirs);
        let args = argv::exec_again(&self.dirs, name, &config);
        let env = crate::env::all();
        exec::exec(&self.dirs, name, &config, exec::Seal { args: &args, env: &env })
            .map_err(|error| failures::of_exec(&error))
            .and_then(outcome)
    }

    fn logs(&mut self, name: &str, show: &Show, output: Output<'_>) -> Result<(), Report> {
        collect::sweep(&self.dirs);
        let mut failed = None;
        let read = read::logs(&self.dirs, name, show, &mut |is_error, bytes| {
            output(is_error, bytes)
                .inspect_err(|error| failed = Some(std::io::Error::new(error.kind(), error.to_string())))
        });
        // The log was read: it is the output that failed.
        failed.map_or(Ok(()), |error| Err(Report::from(error)))?;
        Ok(read?)
    }

    fn events(
        &mut self,
        since_ns: Option<i128>,
        until_ns: Option<i128>,
        visit: Visit<'_>,
    ) -> Result<(), Report> {
        collect::sweep(&self.dirs);
        events::watch(&self.dirs, since_ns, until_ns, |event| visit(&event))
    }

    fn usage(&mut self, names: &[String], all: bool) -> Result<Vec<ContainerUsage>, Report> {
        collect::sweep(&self.dirs);
        let containers = if names.is_empty() {
            let mut list = container::list(&self.dirs)?;
            list.retain(|one| all || one.state.is_alive());
            list.into_iter().map(|one| (one.record.id.clone(), one)).collect::<Vec<_>>()
        } else {
            let mut found = Vec::new();
            for name in names {
                found.push((name.clone(), container::find(&self.dirs, name)?));
            }
            found
        };
        let mut usages = Vec::new();
        for (asked, container) in containers {
            let usage = corten_engine::stats::usage(&container)?;
            let (id, name) = (container.record.id, container.record.name);
            usages.push(ContainerUsage { id, name, asked, usage });
        }
        Ok(usages)
    }

    fn top(&mut self, name: &str, options: &[String]) -> Result<Top, Report> {
        collect::sweep(&self.dirs);
        Ok(top::top(&self.dirs, name, options)?)
    }

    fn internal(&mut self, args: Vec<OsString>) -> Result<u8, Report> {
        Ok(corten_engine::internal(&self.dirs, &args).map(|code| code as u8)?)
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
        Ok(match request.direction {
            CopyDirection::Out => files::copy_out(&self.dirs, name, path, local, options, progress)
                .map_err(failures::of_stream)?,
            CopyDirection::In => files::copy_in(&self.dirs, name, local, path, options, progress)?,
        })
    }

    fn export(&mut self, name: &str, to: OwnedFd) -> Result<(), Report> {
        collect::sweep(&self.dirs);
        files::export(&self.dirs, name, to).map_err(failures::of_stream)
    }

    fn diff(&mut self, name: &str) -> Result<Vec<(char, PathBuf)>, Report> {
        collect::sweep(&self.dirs);
        self.enter()?;
        let changes = files::diff(&self.dirs, name)?;
        let letter = |kind| match kind {
            ChangeKind::Added => 'A',
            ChangeKind::Changed => 'C',
            ChangeKind::Deleted => 'D',
        };
        Ok(changes.into_iter().map(|change| (letter(change.kind), change.path)).collect())
    }

    fn commit(&mut self, request: Commit) -> Result<String, Report> {
        collect::sweep(&self.dirs);
        let reference = parsed::<Reference>(request.reference.as_deref())?;
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
        Ok(files::commit(&mut self.dirs, &request.container, &options)?)
    }

    fn rename_container(&mut self, name: &str, new: &str) -> Result<(), Report> {
        collect::sweep(&self.dirs);
        Ok(rename::rename(&self.dirs, name, new)?)
    }

    fn update_container(&mut self, name: &str, update: &Update) -> Result<(), Report> {
        collect::sweep(&self.dirs);
        Ok(update::update(&self.dirs, name, update)?)
    }

    fn prune_containers(&mut self, chosen: &dyn Fn(&ContainerSummary) -> bool) -> Result<Pruned, Report> {
        collect::sweep(&self.dirs);
        let mut pruned = Pruned::default();
        for container in container::list(&self.dirs)? {
            if container.state.is_alive() || !chosen(&summary::container(container.clone())) {
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
                Err(error) => return Err(error.into()),
            }
        }
        events::tell_of_prune(&self.dirs, "container", pruned.bytes);
        Ok(pruned)
    }

    fn image_history(&mut self, name: &str, platform: Option<&str>) -> Result<Vec<ImageStep>, Report> {
        let platform = parsed::<Platform>(platform)?;
        let store = self.store()?;
        let image = store.resolve(name, platform.as_ref())?;
        Ok(summary::history(&store, &image)?)
    }

    fn tag_image(&mut self, source: &str, target: &str) -> Result<(), Report> {
        let target = target.parse::<Reference>()?;
        let store = self.store()?;
        store.tag(source, &target)?;
        let id = store.resolve(source, None)?.id.to_string();
        emit(&self.dirs, &Actor::image(&id, &target.familiar()), "tag", &[]);
        Ok(())
    }
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd, Report> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|errno| Report::host("cannot use the stream").cause(errno))
}
