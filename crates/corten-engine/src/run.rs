//! `run`: make a container, fork its monitor, and be its first client.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use crate::client::{Attached, Client};
use crate::collect;
use crate::config::Config;
use crate::detach_keys::DetachKeys;
use crate::dirs::{Dirs, make_private};
use crate::error::{At, EngineError};
use crate::hold::Hold;
use crate::monitor::Monitor;
use crate::prepare::{self, Drawn};
use crate::record::{self, Record};
use crate::session::{self, FAILED, STARTED};
use crate::{events, names, resolve, volume};

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
    /// It runs, and what it wrote could not be handed on: what write(2) said.
    Unheard(Errno),
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
    let attached = Attached::of(&config);
    let Made { hold, record, drawn } = make(dirs, config, created)?;
    let mut buffer = vec![0; session::CHUNK];
    let how = Launch { starter: !options.detach, made_now: true };
    let socket = launch(dirs, &record, drawn, hold, how, &mut buffer).map_err(|cause| match cause {
        NotLaunched::Before(error) => undo(dirs, &record.id, error),
        NotLaunched::After(error) => error,
    })?;
    if options.detach {
        return Ok(Outcome::Started(record.id));
    }
    let client = Client {
        socket,
        tty: record.config.tty,
        interactive: record.config.interactive,
        proxy: options.sig_proxy,
        detach_keys: options.detach_keys.clone(),
        attached,
    };
    if attached.only_input() {
        // Docker's client goes when its input ends, and prints the id.
        client.feed(&mut buffer);
        return Ok(Outcome::Started(record.id));
    }
    attend(dirs, &record, &client, &mut buffer)
}

/// A container that is made, not started, and held.
struct Made {
    hold: Hold,
    record: Record,
    drawn: Drawn,
}

/// Makes one and tells `created` its id; of one that cannot be nothing is left.
fn make(
    dirs: &Dirs,
    config: Config,
    created: impl FnOnce(&str) -> Result<(), EngineError>,
) -> Result<Made, EngineError> {
    resolve::check(&config)?;
    if let Some(inside) = dirs.inside() {
        resolve::rootless::check(&config, inside)?;
    }
    let id = corten_oci::ContainerId::from_random(random()?).as_str().to_owned();
    // From here on whatever is left is found by the next command.
    let hold = Hold::take(dirs, &id)?;
    let made = reserve_name(dirs, &config, &id)
        .and_then(|name| fill(dirs, config, &id, &name))
        .and_then(|made| created(&id).map(|()| made));
    let (record, drawn) = made.map_err(|error| undo(dirs, &id, error))?;
    Ok(Made { hold, record, drawn })
}

/// Removes what was made of a container that cannot be.
fn undo(dirs: &Dirs, id: &str, error: EngineError) -> EngineError {
    // What cannot be removed now is found unlocked, and removed, by the next command.
    let _again = crate::lease::release_of(dirs, id);
    volume::discard_of(dirs, id);
    let _left = collect::forget(dirs, id, None);
    error
}

/// Creates a container and does not start it; its id.
///
/// # Errors
/// As [`run`].
pub fn create(
    dirs: &Dirs,
    config: Config,
    created: impl FnOnce(&str) -> Result<(), EngineError>,
) -> Result<String, EngineError> {
    let Made { hold, record, drawn } = make(dirs, config, created)?;
    let id = record.id.clone();
    events::tell(dirs, &record, "create", &[]);
    if let Some(lease) = &drawn.lease {
        lease.release();
    }
    if record.config.auto_remove {
        // Removed by itself it is when it has run, so until then its record is one that stays.
        let kept = dirs.container(&id);
        record::write(&kept.join("config.json"), &record, true).map_err(|error| undo(dirs, &id, error))?;
    }
    collect::remove_tree(dirs, &dirs.live(&id))?;
    drop(hold);
    Ok(id)
}

/// Is a container's client, until it ends or the user leaves.
pub(crate) fn attend(
    dirs: &Dirs,
    record: &Record,
    client: &Client,
    buffer: &mut [u8],
) -> Result<Outcome, EngineError> {
    let outcome = client.attend(buffer);
    if outcome == Some(Outcome::Detached) {
        events::tell(dirs, record, "detach", &[]);
    }
    outcome.ok_or_else(|| EngineError::MonitorGone(record.name.clone()))
}

/// How a monitor is launched.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Launch {
    /// What the container writes comes over the socket that is returned, and its input ends with it.
    pub(crate) starter: bool,
    /// The container was made for this start.
    pub(crate) made_now: bool,
}

/// Why a container does not run: nobody began to start it, or whoever did has told why and cleaned up.
pub(crate) enum NotLaunched {
    Before(EngineError),
    After(EngineError),
}

/// Forks the monitor, which starts the container, and waits until it runs.
pub(crate) fn launch(
    dirs: &Dirs,
    record: &Record,
    drawn: Drawn,
    hold: Hold,
    how: Launch,
    buffer: &mut [u8],
) -> Result<OwnedFd, NotLaunched> {
    let name = || record.name.clone();
    let (client, end) = session::pair().at("socketpair", "monitor").map_err(NotLaunched::Before)?;
    let monitor = Monitor::new(dirs, record, drawn.shares_pids, hold, how).map_err(NotLaunched::Before)?;
    let (mut client, mut end) = (Some(client), Some(end));
    let child = corten_sys::clone::fork(|| {
        // Closed with all that the monitor does not keep: it would never see the client go otherwise.
        std::mem::forget(client.take());
        monitor.run(drawn, end.take(), buffer)
    });
    drop(end);
    let child = child.at("fork", "monitor").map_err(NotLaunched::Before)?;
    let Some(client) = client else { return Err(NotLaunched::After(EngineError::MonitorGone(name()))) };
    match session::hear(client.as_fd(), buffer) {
        Some((STARTED, _)) => Ok(client),
        Some((FAILED, [code, message @ ..])) => {
            let message = String::from_utf8_lossy(message).into_owned();
            let failed = EngineError::Failed { message, code: *code };
            let _reaped = corten_sys::wait::wait_pidfd(child.pidfd.as_fd());
            Err(NotLaunched::After(failed))
        }
        _ => {
            let runs = || crate::container::find(dirs, &record.id).is_ok_and(|found| found.state.is_alive());
            // Dead, or about to be: what it held is free, and nobody else would look before the next command. Only
            // one that has started the container may live on, and could not tell.
            if !runs() {
                let _reaped = corten_sys::wait::wait_pidfd(child.pidfd.as_fd());
            }
            collect::collect(dirs);
            let gone = if runs() { EngineError::MonitorGone } else { EngineError::StartCut };
            Err(NotLaunched::After(gone(name())))
        }
    }
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

/// Makes what a container that is not started yet has: its directories, its record, its volumes. What was
/// planned for it comes along.
fn fill(dirs: &Dirs, mut config: Config, id: &str, name: &str) -> Result<(Record, Drawn), EngineError> {
    let (container_dir, run_dir) = (dirs.container(id), dirs.live(id));
    dirs.make_container(id)?;
    for dir in ["upper", "work"] {
        make_private(&container_dir.join(dir))?;
    }
    // The root of the container has the mode of the upper directory.
    let upper = container_dir.join("upper");
    rustix::fs::chmod(&upper, rustix::fs::Mode::from_raw_mode(0o755)).at("chmod", &upper)?;
    let drawn = prepare::draw_up(dirs, &mut config, id, None)?;
    let record = drawn.record(config, id, name);
    let held = volume::hold(dirs, &record.config)?;
    let keep = if record.config.auto_remove { &run_dir } else { &container_dir };
    record::write(&keep.join("config.json"), &record, !record.config.auto_remove)?;
    drawn.ready_volumes(dirs, id, &record.config, held.as_ref())?;
    Ok((record, drawn))
}
