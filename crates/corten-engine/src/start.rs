//! The life of a container that exists: start, stop, signals, pause, wait, attach.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Signal, pidfd_send_signal};

use crate::client::{Attached, Client};
use crate::config::Config;
use crate::container::{self, Container};
use crate::detach_keys::DetachKeys;
use crate::dirs::Dirs;
use crate::error::{At, EngineError};
use crate::events;
use crate::hold::Hold;
use crate::monitor::{self, PAUSED, STOPPED};
use crate::prepare;
use crate::record::Status;
use crate::run::{Launch, NotLaunched, Outcome, attend, launch};
use crate::session::{self, ATTACH, EXITED, RECORD, STARTED, STOPPING};
use crate::volume;

/// How long `stop` waits before it kills, if nothing else was said.
pub const STOP_TIMEOUT_S: i32 = 10;

/// How a command takes part in a container.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// Its standard input goes there.
    pub input: bool,
    /// Pass signals on to it.
    pub sig_proxy: bool,
    /// What leaves it, typed on a terminal.
    pub detach_keys: DetachKeys,
}

/// Whether root in the container has rights on the machine's own files: it has no user namespace of its own, or
/// perhaps joins one that has none.
#[must_use]
pub fn has_host_root(config: &Config) -> bool {
    use crate::config::{IpcMode, NetworkMode, PidMode, UsernsMode};
    config.privileged
        || matches!(config.userns, Some(UsernsMode::Host | UsernsMode::Container(_)))
        || matches!(config.pid, Some(PidMode::Host | PidMode::Container(_)))
        || matches!(config.ipc, Some(IpcMode::Container(_)))
        || config.networks.iter().any(|network| matches!(network.mode, NetworkMode::Container(_)))
}

/// Whether who is in the container could write to our binary, if it is executed from where it lies: whoever starts it
/// is sealed then.
pub(crate) fn exposes_us(dirs: &Dirs, config: &Config) -> bool {
    dirs.rootless.is_some() || has_host_root(config)
}

/// Starts a container that was made or has ended; one that runs is left as it is. With `attach` the command is
/// in the foreground, from the first byte on.
///
/// # Errors
/// As [`crate::run::run`]; it is paused.
pub fn start(dirs: &Dirs, name: &str, attach: Option<&AttachOptions>) -> Result<Outcome, EngineError> {
    let found = container::find(dirs, name)?;
    let id = found.record.id.clone();
    if found.state.paused {
        return Err(EngineError::Paused("cannot start a paused container, try unpause instead".to_owned()));
    }
    if found.state.status == Status::Running {
        return match attach {
            None => Ok(Outcome::Started(id)),
            Some(options) => self::attach(dirs, name, options),
        };
    }
    let hold = Hold::take(dirs, &id)?;
    // Again: whoever was waited for may have started or removed it.
    let Container { record, state } = container::find(dirs, &id)?;
    if state.status == Status::Running {
        drop(hold);
        return start(dirs, name, attach);
    }
    let mut config = record.config.clone();
    if !record.image_id.is_empty() {
        // The image that it was made from, whatever its name stands for now.
        config = Config { image: record.image_id.clone(), ..config };
    }
    let drawn = prepare::draw_up(dirs, &mut config, &id, None).and_then(|drawn| {
        let held = volume::hold(dirs, &config)?;
        drawn.ready_volumes(dirs, &id, &config, held.as_ref()).map(|()| drawn)
    });
    let undone = |error| {
        // What cannot be removed now is found by the next command.
        let _again = crate::lease::release_of(dirs, &id);
        let _left = crate::collect::remove_tree(dirs, &dirs.live(&id));
        error
    };
    let drawn = drawn.map_err(undone)?;
    let mut buffer = vec![0; session::CHUNK];
    let launched = launch(
        dirs,
        &record,
        drawn,
        hold,
        Launch { starter: attach.is_some(), made_now: false },
        &mut buffer,
    );
    let socket = launched.map_err(|cause| match cause {
        NotLaunched::Before(error) => undone(error),
        NotLaunched::After(error) => error,
    })?;
    let Some(options) = attach else { return Ok(Outcome::Started(id)) };
    let client = client(&record.config, socket, options);
    attend(dirs, &record, &client, &mut buffer)
}

/// Stops a container and starts it again; one that does not run is started.
///
/// # Errors
/// As [`stop`] and [`start`].
pub fn restart(
    dirs: &mut Dirs,
    name: &str,
    signal: Option<i32>,
    timeout_s: Option<i32>,
) -> Result<Outcome, EngineError> {
    stop(dirs, name, signal, timeout_s)?;
    dirs.enter()?;
    let outcome = start(dirs, name, None)?;
    events::tell(dirs, &container::find(dirs, name)?.record, "restart", &[]);
    Ok(outcome)
}

fn client(config: &Config, socket: OwnedFd, options: &AttachOptions) -> Client {
    Client {
        socket,
        tty: config.tty,
        interactive: config.interactive && options.input,
        proxy: options.sig_proxy,
        detach_keys: options.detach_keys.clone(),
        attached: Attached::all(),
    }
}

/// Attaches to a container that runs, until it ends or the user leaves.
///
/// # Errors
/// It does not run, or is paused.
pub fn attach(dirs: &Dirs, name: &str, options: &AttachOptions) -> Result<Outcome, EngineError> {
    let Container { record, state } = container::find(dirs, name)?;
    let refuse = |why: &str| Err(EngineError::State(why.to_owned()));
    if state.paused {
        let why = "You cannot attach to a paused container, unpause it first";
        return Err(EngineError::Paused(why.to_owned()));
    }
    match state.status {
        Status::Running => {}
        Status::Restarting => {
            return refuse("You cannot attach to a restarting container, wait until it is running");
        }
        Status::Created | Status::Exited => {
            return refuse("You cannot attach to a stopped container, start it first");
        }
    }
    if record.config.tty && options.input && !rustix::termios::isatty(rustix::stdio::stdin()) {
        return refuse("the input device is not a TTY");
    }
    let socket = connect(dirs, &record.id)?;
    session::try_tell(socket.as_fd(), ATTACH, &[]).at("send", "monitor")?;
    let mut buffer = vec![0; session::CHUNK];
    events::tell(dirs, &record, "attach", &[]);
    attend(dirs, &record, &client(&record.config, socket, options), &mut buffer)
}

/// A connection to the container's monitor.
fn connect(dirs: &Dirs, id: &str) -> Result<OwnedFd, EngineError> {
    let path = dirs.live(id);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(&path, flags, Mode::empty()).at("open", &path)?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .at("socket", "monitor")?;
    let address = monitor::address(dir.as_fd()).at("connect", &path)?;
    rustix::net::connect(&socket, &address).at("connect", path.join(monitor::SOCKET))?;
    Ok(socket)
}

/// Has the monitor of a container that runs read its record again; comes back when it has, or there is none.
pub(crate) fn look_again(dirs: &Dirs, id: &str) {
    let Ok(socket) = connect(dirs, id) else { return };
    if session::try_tell(socket.as_fd(), RECORD, &[]).is_ok() {
        let mut buffer = [0; 16];
        while session::hear(socket.as_fd(), &mut buffer).is_some_and(|(kind, _)| kind != RECORD) {}
    }
}

/// Sends a signal to a container's program. SIGKILL ends everything in it.
///
/// # Errors
/// It does not run.
pub fn signal(dirs: &Dirs, name: &str, number: i32) -> Result<(), EngineError> {
    let found = container::find(dirs, name)?;
    let not_running = || {
        EngineError::State(format!(
            "cannot kill container: {name}: container {} is not running",
            found.record.id
        ))
    };
    let pidfd = container::process(&found.state)?.ok_or_else(not_running)?;
    let signal = Signal::from_named_raw(number)
        .ok_or_else(|| EngineError::refused(format!("signal {number}"), "it is one of a C library's own"))?;
    if number == Signal::KILL.as_raw() {
        mark_stopped(dirs, &found);
    }
    tell_of_kill(dirs, &found, number);
    match pidfd_send_signal(&pidfd, signal) {
        Err(Errno::SRCH) => Err(not_running()),
        other => other.at("pidfd_send_signal", name),
    }
}

/// Says that the user wants it to end, so that its policy does not start it again.
fn mark_stopped(dirs: &Dirs, container: &Container) {
    // One that is removed by itself has no policy; another may be given one before it ends.
    if !container.record.config.auto_remove {
        // If it cannot be made the policy goes on, as if nobody had stopped it.
        let _not_made = std::fs::write(dirs.live(&container.record.id).join(STOPPED), "");
    }
}

/// Before it is sent, so that it comes before the end that it makes.
fn tell_of_kill(dirs: &Dirs, container: &Container, signal: i32) {
    events::tell(dirs, &container.record, "kill", &[("signal", &signal.to_string())]);
}

/// Stops a container: its stop signal, and SIGKILL if it has not ended in time (negative: never). One that does
/// not run is left alone. Returns when its end is noted.
///
/// # Errors
/// What a call says.
pub fn stop(dirs: &Dirs, name: &str, signal: Option<i32>, timeout_s: Option<i32>) -> Result<(), EngineError> {
    let found = container::find(dirs, name)?;
    if end(dirs, &found, signal, timeout_s)? {
        events::tell(dirs, &found.record, "stop", &[]);
    }
    Ok(())
}

/// As [`stop`], without telling of more than the signals; whether there was anything to stop.
pub(crate) fn end(
    dirs: &Dirs,
    found: &Container,
    signal: Option<i32>,
    timeout_s: Option<i32>,
) -> Result<bool, EngineError> {
    let config = &found.record.config;
    mark_stopped(dirs, found);
    if !found.state.is_alive() {
        if !matches!(found.state.status, Status::Running | Status::Restarting) {
            return Ok(false);
        }
        // It rests between two starts, or has just ended: its monitor knows now not to start it again.
        if let Ok(socket) = connect(dirs, &found.record.id)
            && session::try_tell(socket.as_fd(), STOPPING, &[]).is_ok()
        {
            let mut buffer = [0; 16];
            while let Some((kind, _)) = session::hear(socket.as_fd(), &mut buffer) {
                if kind == STARTED {
                    return end(dirs, &container::find(dirs, &found.record.id)?, signal, timeout_s);
                }
            }
        }
        return ended(dirs, &found.record.id).map(|()| true);
    }
    let own = config.stop_signal.as_deref().and_then(corten_sys::signal::parse);
    let number = signal.or(own).unwrap_or(corten_sys::signal::SIGTERM);
    let timeout_s = timeout_s.or(config.stop_timeout_s).unwrap_or(STOP_TIMEOUT_S);
    if let Some(pidfd) = container::process(&found.state)? {
        let signal = Signal::from_named_raw(number).unwrap_or(Signal::TERM);
        tell_of_kill(dirs, found, signal.as_raw());
        let _gone = pidfd_send_signal(&pidfd, signal);
        // It can end only if it runs; but of SIGKILL it may have ended on v2, and its cgroup be gone.
        if found.state.paused
            && let Err(error) = thaw(dirs, found)
            && !container::has_ended(&pidfd)?
        {
            return Err(error);
        }
        let timeout = u64::try_from(timeout_s).ok().map(Duration::from_secs);
        if !wait_for(&pidfd, timeout)? {
            tell_of_kill(dirs, found, Signal::KILL.as_raw());
            let _gone = pidfd_send_signal(&pidfd, Signal::KILL);
            wait_for(&pidfd, None)?;
        }
    }
    ended(dirs, &found.record.id).map(|()| true)
}

/// Waits until the process has ended; whether it did in time.
fn wait_for(pidfd: &OwnedFd, timeout: Option<Duration>) -> Result<bool, EngineError> {
    let until = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], left.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).at("poll", "pidfd"),
        }
    }
}

/// Waits until the container's monitor has noted its end and cleaned up; if there is none, does it.
fn ended(dirs: &Dirs, id: &str) -> Result<(), EngineError> {
    let path = dirs.live(id);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = match rustix::fs::open(&path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.at("open", &path)?,
    };
    while let Err(errno) = rustix::fs::flock(&dir, rustix::fs::FlockOperation::LockShared) {
        if errno != Errno::INTR {
            return Err(errno).at("flock", &path);
        }
    }
    drop(dir);
    crate::collect::settle(dirs, id);
    Ok(())
}

/// Freezes everything in a container.
///
/// # Errors
/// It does not run, or is frozen already; it has no cgroup.
pub fn pause(dirs: &Dirs, name: &str) -> Result<(), EngineError> {
    let found = container::find(dirs, name)?;
    if !found.state.is_alive() {
        return Err(EngineError::NotRunning(found.record.id));
    }
    if found.state.paused {
        return Err(EngineError::Paused(format!("Container {} is already paused", found.record.id)));
    }
    let cgroup = container::needed_cgroup(&found.record, "a pause")?;
    let mark = dirs.live(&found.record.id).join(PAUSED);
    std::fs::write(&mark, "").at("open", &mark)?;
    cgroup.freeze().inspect_err(|_| drop(std::fs::remove_file(&mark)))?;
    events::tell(dirs, &found.record, "pause", &[]);
    Ok(())
}

/// Lets a frozen container go on.
///
/// # Errors
/// It is not frozen.
pub fn unpause(dirs: &Dirs, name: &str) -> Result<(), EngineError> {
    let found = container::find(dirs, name)?;
    if !found.state.paused {
        return Err(EngineError::State(format!("Container {} is not paused", found.record.id)));
    }
    thaw(dirs, &found)
}

fn thaw(dirs: &Dirs, container: &Container) -> Result<(), EngineError> {
    container::needed_cgroup(&container.record, "the end of a pause")?.thaw()?;
    crate::collect::remove_file(&dirs.live(&container.record.id).join(PAUSED))?;
    events::tell(dirs, &container.record, "unpause", &[]);
    Ok(())
}

/// Waits until a container ends; its exit code. Of one that has ended it is known already.
///
/// # Errors
/// Its monitor was killed meanwhile.
pub fn wait(dirs: &Dirs, name: &str) -> Result<i32, EngineError> {
    let found = container::find(dirs, name)?;
    if !matches!(found.state.status, Status::Running | Status::Restarting) {
        return Ok(found.state.exit_code);
    }
    let mut buffer = vec![0; session::CHUNK];
    if let Ok(socket) = connect(dirs, &found.record.id) {
        while let Some((kind, body)) = session::hear(socket.as_fd(), &mut buffer) {
            if let (EXITED, [code, ..]) = (kind, body) {
                return Ok(i32::from(*code));
            }
        }
    }
    // Its monitor went: either as the container ended, or it was killed and the next attends it.
    ended(dirs, &found.record.id)?;
    let now = container::find(dirs, &found.record.id)?;
    if now.state.status == Status::Running { wait(dirs, name) } else { Ok(now.state.exit_code) }
}
