//! `run`: make a container, fork its monitor, and be its first client.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use corten_cgroup::Layout;
use corten_store::Store;
use rustix::io::Errno;

use crate::client::{Attached, Client};
use crate::config::Config;
use crate::container::forget;
use crate::dirs::{Dirs, make_private};
use crate::error::{At, EngineError};
use crate::joins::Joins;
use crate::monitor::Monitor;
use crate::record::{self, Record, State, VERSION};
use crate::resolve::{self, Context};
use crate::session::{self, FAILED, STARTED};
use crate::{host_image, names, places, settle, volume};

/// How a container is run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Come back as soon as it runs.
    pub detach: bool,
    /// Pass signals on to it.
    pub sig_proxy: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It runs; its id.
    Started(String),
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
    let tty = config.tty;
    let interactive = config.interactive;
    let attached = Attached::of(&config);
    let id = corten_oci::ContainerId::from_random(random()?).as_str().to_owned();
    let name = reserve_name(dirs, &config, &id)?;
    let made = match make(dirs, config, &id, &name).and_then(|made| created(&id).map(|()| made)) {
        Ok(made) => made,
        Err(error) => {
            crate::lease::release_of(dirs, &id);
            volume::discard_of(dirs, &id);
            forget(dirs, &id, &name);
            return Err(error);
        }
    };
    let Made { monitor, plan, client } = made;
    let child = corten_sys::clone::fork(|| monitor.run(plan)).at("fork", "monitor")?;
    let mut buffer = vec![0; session::CHUNK];
    match session::hear(client.as_fd(), &mut buffer) {
        Some((STARTED, _)) => {}
        Some((FAILED, [code, message @ ..])) => {
            let message = String::from_utf8_lossy(message).into_owned();
            let failed = EngineError::Failed { message, code: *code };
            let _reaped = corten_sys::wait::wait_pidfd(child.pidfd.as_fd());
            return Err(failed);
        }
        _ => return Err(EngineError::MonitorGone(name)),
    }
    if options.detach {
        return Ok(Outcome::Started(id));
    }
    let client = Client { socket: client, tty, interactive, proxy: options.sig_proxy, attached };
    if attached.only_input() {
        // Docker's client goes when its input ends, and prints the id.
        client.feed(&mut buffer);
        return Ok(Outcome::Started(id));
    }
    client.attend(&mut buffer).ok_or(EngineError::MonitorGone(name))
}

fn random() -> Result<[u8; 32], EngineError> {
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
                if crate::container::exists(dirs, &owner) {
                    return Err(EngineError::NameTaken { name, id: owner });
                }
                // Whoever had it is gone.
                forget(dirs, &owner, &name);
            }
            Err(errno) => return Err(errno).at("symlink", &path),
        }
    }
    Err(EngineError::refused("an automatic name", "a thousand tries found none that is free"))
}

fn make(dirs: &Dirs, mut config: Config, id: &str, name: &str) -> Result<Made, EngineError> {
    let joins = Joins::find(dirs, &mut config)?;
    let (container_dir, run_dir) = (dirs.container(id), dirs.live(id));
    make_private(&container_dir)?;
    make_private(&run_dir)?;
    for dir in ["upper", "work"] {
        make_private(&container_dir.join(dir))?;
    }
    // The root of the container has the mode of the upper directory.
    let upper = container_dir.join("upper");
    rustix::fs::chmod(&upper, rustix::fs::Mode::from_raw_mode(0o755)).at("chmod", &upper)?;
    let platform = match &config.platform {
        None => None,
        Some(text) => Some(
            text.parse::<corten_oci::Platform>()
                .map_err(|error| EngineError::refused(format!("--platform {text}"), error.to_string()))?,
        ),
    };
    let (image, lowers, image_mounts) = if config.image == "host" {
        let host = host_image::prepare(&container_dir)?;
        (None, vec![host.skeleton], host.mounts)
    } else {
        let image = Store::open(&dirs.root)?.resolve(&config.image, platform.as_ref())?;
        let mut lowers: Vec<PathBuf> = image.layers.iter().rev().cloned().collect();
        lowers.push(places::layer(dirs, id)?);
        (Some(image), lowers, Vec::new())
    };
    let image_config = image.as_ref().map(|image| &image.config);
    settle::settle(dirs, &mut config, image.as_ref())?;
    let mounted = settle::mounted_images(dirs, &config, platform.as_ref())?;
    let lease = joins.lease(dirs, id)?;
    let size = || rustix::termios::tcgetwinsize(rustix::stdio::stdin()).ok();
    let terminal = config.tty.then(|| size().map_or((0, 0), |size| (size.ws_row, size.ws_col)));
    let context = Context {
        id,
        run_dir: run_dir.clone(),
        container_dir: container_dir.clone(),
        image: image_config,
        lowers: lowers.clone(),
        image_mounts: image_mounts.clone(),
        first_id: lease.as_ref().map_or(0, |lease| lease.first_id),
        terminal,
        joins: &joins,
        volumes: dirs.volumes(),
        mounted: &mounted,
    };
    let spec = resolve::spec(&config, context)?;
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
    let content = volume::Content { lowers: &lowers, mounts: &image_mounts, scratch: &run_dir };
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
        lease,
        joined: joins.into_pidfds(),
        anonymous: volume::anonymous_in(&record.config),
        client: monitor_end,
    };
    Ok(Made { monitor, plan, client })
}
