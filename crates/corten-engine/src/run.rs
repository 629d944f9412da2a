//! `run`: make a container, fork its monitor, and be its first client.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use corten_cgroup::Layout;
use corten_store::Store;
use rustix::io::Errno;

use crate::client::{Attached, Client};
use crate::collect;
use crate::config::Config;
use crate::detach_keys::DetachKeys;
use crate::dirs::{Dirs, make_private};
use crate::error::{At, EngineError};
use crate::hold::Hold;
use crate::joins::Joins;
use crate::monitor::Monitor;
use crate::record::{self, Record, State, VERSION};
use crate::resolve::{self, Context, MountedImage};
use crate::session::{self, FAILED, STARTED};
use crate::{host_image, names, places, settle, volume};

/// How a container is run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Come back as soon as it runs.
    pub detach: bool,
    /// Pass signals on to it.
    pub sig_proxy: bool,
    /// What leaves it, typed on a terminal.
    pub detach_keys: DetachKeys,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It runs; its id.
    Started(String),
    /// It runs, and the user left it.
    Detached,
    /// It ended: the exit code as a shell shows it, and whether the kernel killed in it for memory.
    Exited {
        /// 0 to 255.
        code: u8,
        /// Its memory limit was reached.
        oom_killed: bool,
    },
}

/// A container that exists and was not started.
struct Made {
    monitor: Monitor,
    plan: corten_runtime::Plan,
    client: OwnedFd,
}

/// Creates and starts a container. `created` is told its id before it starts.
///
/// # Errors
/// See [`EngineError`]; nothing is left behind then, except of a container that was to be kept and made
/// but could not start.
pub fn run(
    dirs: &Dirs,
    config: Config,
    options: &RunOptions,
    created: impl FnOnce(&str) -> Result<(), EngineError>,
) -> Result<Outcome, EngineError> {
    resolve::check(&config)?;
    if let Some(inside) = dirs.inside() {
        resolve::rootless::check(&config, inside)?;
    }
    let tty = config.tty;
    let interactive = config.interactive;
    let attached = Attached::of(&config);
    let id = corten_oci::ContainerId::from_random(random()?).as_str().to_owned();
    // From here on whatever is left is found by the next command.
    let hold = Hold::take(dirs, &id)?;
    let undone = |error| {
        crate::lease::release_of(dirs, &id);
        // What cannot be removed now is found unlocked, and removed, by the next command.
        volume::discard_of(dirs, &id);
        let _left = collect::forget(dirs, &id, None);
        error
    };
    let name = reserve_name(dirs, &config, &id).map_err(undone)?;
    let made =
        make(dirs, config, &id, &name, hold).and_then(|made| created(&id).map(|()| made)).map_err(undone)?;
    let Made { monitor, plan, client } = made;
    let mut client = Some(client);
    let child = corten_sys::clone::fork(|| {
        // The monitor would never see the client go while it had the client's end itself.
        drop(client.take());
        monitor.run(plan)
    });
    let child = child.at("fork", "monitor").map_err(undone)?;
    let Some(client) = client else { return Err(EngineError::MonitorGone(name)) };
    let mut buffer = vec![0; session::CHUNK];
    match session::hear(client.as_fd(), &mut buffer) {
        Some((STARTED, _)) => {}
        Some((FAILED, [code, message @ ..])) => {
            let message = String::from_utf8_lossy(message).into_owned();
            let failed = EngineError::Failed { message, code: *code };
            let _reaped = corten_sys::wait::wait_pidfd(child.pidfd.as_fd());
            return Err(failed);
        }
        _ => {
            // Dead, or about to be: what it held is free, and nobody else would look before the next command.
            let _reaped = corten_sys::wait::wait_pidfd(child.pidfd.as_fd());
            collect::collect(dirs);
            let goes_on = crate::container::find(dirs, &id).is_ok_and(|found| found.state.is_alive());
            let gone = if goes_on { EngineError::MonitorGone } else { EngineError::StartCut };
            return Err(gone(name));
        }
    }
    if options.detach {
        return Ok(Outcome::Started(id));
    }
    let (proxy, detach_keys) = (options.sig_proxy, options.detach_keys.clone());
    let client = Client { socket: client, tty, interactive, proxy, detach_keys, attached };
    if attached.only_input() {
        // Docker's client goes when its input ends, and prints the id.
        client.feed(&mut buffer);
        return Ok(Outcome::Started(id));
    }
    client.attend(&mut buffer).ok_or(EngineError::MonitorGone(name))
}

pub(crate) fn random() -> Result<[u8; 32], EngineError> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).at("getrandom", "")?;
    Ok(bytes)
}

/// An exclusive link: the name is ours or somebody else's, never both's.
fn reserve_name(dirs: &Dirs, config: &Config, id: &str) -> Result<String, EngineError> {
    let seed = u32::from_str_radix(&id[8..16], 16).unwrap_or(0);
    for attempt in 0..1000 {
        let name = config.name.clone().unwrap_or_else(|| names::make_up(seed, attempt));
        let path = dirs.name(&name);
        let mut made = rustix::fs::symlink(id, &path);
        if made == Err(Errno::NOENT) {
            make_private(&dirs.root.join("names"))?;
            made = rustix::fs::symlink(id, &path);
        }
        match made {
            Ok(()) => return Ok(name),
            Err(Errno::EXIST) if config.name.is_none() => {}
            Err(Errno::EXIST) => {
                let owner = std::fs::read_link(&path).at("readlink", &path)?.to_string_lossy().into_owned();
                if !crate::container::exists(dirs, &owner) {
                    // Whoever had it is gone.
                    collect::settle_missing(dirs, &owner);
                }
                if crate::container::exists(dirs, &owner) {
                    return Err(EngineError::NameTaken { name, id: owner });
                }
            }
            Err(errno) => return Err(errno).at("symlink", &path),
        }
    }
    Err(EngineError::refused("an automatic name", "a thousand tries found none that is free"))
}

/// Where a container's files come from, and what it takes from others.
pub(crate) struct Sources {
    /// `None` is the machine itself.
    pub(crate) image: Option<corten_store::Image>,
    pub(crate) lowers: Vec<PathBuf>,
    /// Mounts that the image itself brings.
    pub(crate) mounts: Vec<corten_runtime::spec::Mount>,
    /// The images of `--mount type=image`.
    pub(crate) mounted: Vec<MountedImage>,
    pub(crate) joins: Joins,
}

impl Sources {
    /// Finds them, and completes the configuration by what they say; for `host` its layers are made in the
    /// container's directory.
    pub(crate) fn find(dirs: &Dirs, config: &mut Config, id: &str) -> Result<Self, EngineError> {
        let joins = Joins::find(dirs, config)?;
        let platform = match &config.platform {
            None => None,
            Some(text) => Some(
                text.parse::<corten_oci::Platform>()
                    .map_err(|error| EngineError::refused(format!("--platform {text}"), error.to_string()))?,
            ),
        };
        let (image, lowers, mounts) = if config.image == "host" {
            let host = host_image::prepare(&dirs.container(id), dirs.inside().is_some())?;
            (None, vec![host.skeleton], host.mounts)
        } else {
            let image = Store::open(&dirs.root)?.resolve(&config.image, platform.as_ref())?;
            let mut lowers: Vec<PathBuf> = image.layers.iter().rev().cloned().collect();
            lowers.push(places::layer(dirs, id)?);
            (Some(image), lowers, Vec::new())
        };
        settle::settle(dirs, config, image.as_ref())?;
        let mounted = settle::mounted_images(dirs, config, platform.as_ref())?;
        Ok(Self { image, lowers, mounts, mounted, joins })
    }

    /// What the specification is made from.
    pub(crate) fn context<'a>(
        &'a self,
        dirs: &Dirs,
        config: &Config,
        id: &'a str,
        first_id: u32,
    ) -> Context<'a> {
        let size = crate::client::terminal_size;
        Context {
            id,
            run_dir: dirs.live(id),
            container_dir: dirs.container(id),
            image: self.image.as_ref().map(|image| &image.config),
            lowers: self.lowers.clone(),
            image_mounts: self.mounts.clone(),
            first_id,
            terminal: config.tty.then(|| size().map_or((0, 0), |size| (size.ws_row, size.ws_col))),
            make_sources: true,
            bound_devices: dirs.inside().is_some(),
            joins: &self.joins,
            volumes: dirs.volumes(),
            mounted: &self.mounted,
        }
    }
}

fn make(dirs: &Dirs, mut config: Config, id: &str, name: &str, hold: Hold) -> Result<Made, EngineError> {
    let (container_dir, run_dir) = (dirs.container(id), dirs.live(id));
    make_private(&container_dir)?;
    for dir in ["upper", "work"] {
        make_private(&container_dir.join(dir))?;
    }
    // The root of the container has the mode of the upper directory.
    let upper = container_dir.join("upper");
    rustix::fs::chmod(&upper, rustix::fs::Mode::from_raw_mode(0o755)).at("chmod", &upper)?;
    let sources = Sources::find(dirs, &mut config, id)?;
    // An ordinary user has one map for all containers.
    let lease = if dirs.inside().is_none() { sources.joins.lease(dirs, id)? } else { None };
    let first_id = lease.as_ref().map_or(0, |lease| lease.first_id);
    let mut spec = resolve::spec(&config, sources.context(dirs, &config, id, first_id))?;
    if let Some(inside) = dirs.inside() {
        resolve::rootless::adapt(&mut spec, &config, inside)?;
    }
    let Sources { image, lowers, mounts, mounted, joins } = sources;
    let shares_pids = spec.namespaces.pid != corten_runtime::spec::Namespace::New;
    let mut record = Record {
        version: VERSION,
        id: id.to_owned(),
        name: name.to_owned(),
        created_ns: record::now_ns(),
        image_id: image.as_ref().map_or_else(String::new, |image| image.id.to_string()),
        layers: image
            .as_ref()
            .map_or_else(Vec::new, |image| image.diff_ids().iter().map(ToString::to_string).collect()),
        mounted_images: mounted.iter().map(|image| image.id.clone()).collect(),
        args: spec.process.args.clone(),
        env: spec.process.env.clone(),
        user: match &spec.process.user {
            corten_runtime::spec::User::Lookup { user, .. } => user.clone(),
            corten_runtime::spec::User::Ids { uid, gid, .. } => format!("{uid}:{gid}"),
        },
        workdir: spec.process.cwd.clone(),
        cgroup: spec.cgroup.as_ref().map(|cgroup| cgroup.path.to_string()),
        config,
    };
    record.layers.extend(mounted.into_iter().flat_map(|image| image.diff_ids));
    let held = volume::hold(dirs, &record.config)?;
    let keep = if record.config.auto_remove { &run_dir } else { &container_dir };
    record::write(&keep.join("config.json"), &record, !record.config.auto_remove)?;
    if !record.config.auto_remove {
        record::write(&container_dir.join("state.json"), &State::created(), false)?;
    }
    let content = volume::Content { lowers: &lowers, mounts: &mounts, scratch: &run_dir };
    volume::ready(dirs, &record.config, &content, held.as_ref())?;
    let needed = spec.cgroup.as_ref().map(|cgroup| corten_cgroup::plan::needed(&cgroup.resources));
    let layout = Layout::detect_for(needed.unwrap_or(corten_cgroup::Controllers::NONE))?;
    let plan = corten_runtime::plan::build(spec, Some(&layout))?;
    let (client, monitor_end) = session::pair().at("socketpair", "monitor")?;
    let monitor = Monitor {
        dirs: dirs.clone(),
        id: id.to_owned(),
        name: name.to_owned(),
        auto_remove: record.config.auto_remove,
        interactive: record.config.interactive,
        log: if record.config.auto_remove { None } else { record.config.log.json_file()? },
        shares_pids,
        hold,
        lease,
        joined: joins.into_pidfds(),
        anonymous: volume::anonymous_in(&record.config),
        client: monitor_end,
    };
    Ok(Made { monitor, plan, client })
}
