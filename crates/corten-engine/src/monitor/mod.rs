//! The monitor: one small process a container, which starts it, carries its streams, notes its end and
//! cleans up after it, and starts it again where its policy says so. Its starter is one more client of it and
//! may go at any time; and it may be killed itself: then the next command forks another, which adopts the
//! container ([`adopt`]).
//!
//! ```text
//!   clients ◀──sockets──▶ monitor ──clone3──▶ init ──▶ program
//!                           │  ▲                        │
//!                      log.json └──── stdout, stderr (FIFOs) or the terminal
//! ```

mod clients;
mod restart;
mod serve;
mod streams;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use corten_cgroup::{Cgroup, CgroupPath, Layout};
use corten_runtime::apply::Options;
use corten_sys::signal::{self, SignalSet};
use corten_sys::wait::Exit;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open, pidfd_send_signal};

use crate::config::Config;
use crate::dirs::Dirs;
use crate::error::{At, EngineError};
use crate::events::{Actor, Event, Journal};
use crate::hold::Hold;
use crate::lease::Lease;
use crate::log::Sink;
use crate::prepare::{self, Drawn};
use crate::record::{self, Record, State, Status};
use crate::session::{self, EXITED, FAILED, STARTED};
use clients::Clients;
pub(crate) use clients::{SOCKET, address};
use restart::Policy;
use streams::Streams;

/// The file in a container's directory of the living that says that its user stopped it: it is not to be
/// started again.
pub(crate) const STOPPED: &str = "stopped";
/// The one that says that its processes are frozen.
pub(crate) const PAUSED: &str = "paused";

/// What the monitor takes over from the process that forked it.
pub(crate) struct Monitor {
    dirs: Dirs,
    id: String,
    name: String,
    config: Config,
    /// The image that it was made from, whatever its name stands for now.
    image: String,
    /// Where what the container writes is kept, if it is.
    log: Option<Sink>,
    /// It has no pid namespace of its own.
    shares_pids: bool,
    /// Says that it lives.
    hold: Hold,
    /// Volumes that go with a container that is removed by itself.
    anonymous: Vec<String>,
    /// Whoever started it carries its streams.
    starter: bool,
    /// What events say of it.
    actor: Actor,
    /// Open from the first event to the end.
    journal: std::cell::OnceCell<Journal>,
    /// That it was made, a moment ago, nobody has told yet: it goes with the first that is.
    made_ns: std::cell::Cell<Option<u128>>,
}

/// A container that runs.
struct Running {
    pidfd: OwnedFd,
    cgroup: Option<Cgroup>,
    streams: Streams,
    state: State,
}

impl Monitor {
    pub(crate) fn new(
        dirs: &Dirs,
        record: &Record,
        drawn: &Drawn,
        hold: Hold,
        starter: bool,
    ) -> Result<Self, EngineError> {
        Self::of(dirs, record, drawn.shares_pids, hold, starter)
    }

    /// Of a container that was made for this start.
    pub(crate) fn made_now(self, record: &Record) -> Self {
        self.made_ns.set(Some(record.created_ns));
        self
    }

    fn of(
        dirs: &Dirs,
        record: &Record,
        shares_pids: bool,
        hold: Hold,
        starter: bool,
    ) -> Result<Self, EngineError> {
        let config = &record.config;
        Ok(Self {
            dirs: dirs.clone(),
            id: record.id.clone(),
            name: record.name.clone(),
            image: if record.image_id.is_empty() { config.image.clone() } else { record.image_id.clone() },
            // What goes with its container is kept only where nobody else sees it.
            log: if config.auto_remove && starter { None } else { Sink::of(record)? },
            shares_pids,
            hold,
            anonymous: crate::volume::anonymous_in(config),
            starter,
            actor: Actor::container(record),
            journal: std::cell::OnceCell::new(),
            made_ns: std::cell::Cell::new(None),
            config: config.clone(),
        })
    }

    /// Runs until the container has ended for good; the exit code of the monitor itself means nothing.
    pub(crate) fn run(self, drawn: Drawn, starter: Option<OwnedFd>) -> i32 {
        let mut clients = Clients::new(self.dirs.container(&self.id));
        let mut keep: Vec<BorrowedFd<'_>> = drawn.joined.iter().map(AsFd::as_fd).collect();
        keep.extend(starter.as_ref().map(AsFd::as_fd));
        let ready = self.detach(keep);
        starter.into_iter().for_each(|socket| clients.add_starter(socket));
        let listening = ready.and_then(|()| {
            let path = self.dirs.live(&self.id).join(SOCKET);
            clients.listen(&self.hold).at("bind", path)
        });
        if let Err(error) = listening {
            return self.fail(&error, &mut clients);
        }
        let mut lease = None;
        let running = match self.start(drawn, &mut lease, 0) {
            Ok(running) => running,
            Err(error) => return self.fail(&error, &mut clients),
        };
        clients.all(STARTED, &[]);
        if !self.starter {
            clients.list.clear();
        }
        self.live(running, lease, clients)
    }

    /// Attends a container whose monitor was killed. Forked by whoever found that.
    fn take_over(self, running: Running, lease: Option<Lease>) -> i32 {
        let mut clients = Clients::new(self.dirs.container(&self.id));
        // Nobody can attach then; all else goes on.
        let _alone = clients.listen(&self.hold);
        self.live(running, lease, clients)
    }

    /// From a container that runs to one that has ended.
    fn live(self, mut running: Running, mut lease: Option<Lease>, mut clients: Clients) -> i32 {
        let mut policy = Policy::new(self.config.restart.unwrap_or_default());
        loop {
            let end = self.serve(&mut running, &mut clients);
            let Running { mut state, cgroup, streams, .. } = running;
            drop(streams);
            let clean = self.note(&mut state, cgroup, end);
            self.tell_of_the_end(&state);
            let code = [state.exit_code as u8, u8::from(state.oom_killed)];
            let ran = Duration::from_nanos(u64::try_from(state.finished_ns - state.started_ns).unwrap_or(0));
            let again = policy.after(state.exit_code, ran).filter(|_| clean && !self.is_stopped());
            let Some(pause) = again else { self.finish(state, lease.as_ref(), clean, &code, clients) };
            clients.all(EXITED, &code);
            state.status = Status::Restarting;
            state.restart_count += 1;
            // Without it `ps` shows the container as it was.
            let _shown = record::write(&self.dirs.live(&self.id).join("state.json"), &state, false);
            if self.rest(&mut clients, pause) || self.is_stopped() {
                self.finish(state, lease.as_ref(), clean, &code, clients);
            }
            let mut config = Config { image: self.image.clone(), ..self.config.clone() };
            let count = state.restart_count;
            let again = prepare::draw_up(&self.dirs, &mut config, &self.id, lease.take())
                .and_then(|drawn| self.start(drawn, &mut lease, count));
            running = match again {
                Ok(running) => running,
                Err(error) => {
                    state.error = error.to_string();
                    self.finish(state, lease.as_ref(), clean, &code, clients);
                }
            };
        }
    }

    /// A session of its own, and nothing of the starter's left open but what is to be kept.
    fn detach<'a>(&'a self, mut keep: Vec<BorrowedFd<'a>>) -> Result<(), EngineError> {
        keep.push(self.hold.as_fd());
        corten_sys::fd::close_all_but(&keep);
        rustix::process::setsid().at("setsid", "")?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .at("open", "/dev/null")?;
        for number in 0..3 {
            corten_sys::fd::place(null.as_fd(), number).at("dup2", "/dev/null")?;
        }
        signal::set_mask(&SignalSet::empty());
        // What is made for the container gets the modes that it is given.
        rustix::process::umask(Mode::empty());
        Ok(())
    }

    /// Starts what was planned, and shows that it runs.
    fn start(
        &self,
        drawn: Drawn,
        lease: &mut Option<Lease>,
        restart_count: u32,
    ) -> Result<Running, EngineError> {
        let Drawn { plan, joined, lease: own, .. } = drawn;
        *lease = own;
        let joined = crate::joins::borrowed(&joined);
        let starter_only = &[self.hold.as_fd()];
        let options = Options { starter_only, joined: &joined, ..Options::default() };
        let live = self.dirs.live(&self.id);
        let (started, streams) = Streams::start(&live, plan, self.config.interactive, options)?;
        let pid = started.child.pid.as_raw_nonzero().get();
        let shown = || -> Result<State, EngineError> {
            let state = State {
                status: Status::Running,
                pid,
                // 0: it has ended already.
                pid_start: record::start_of(pid)?.unwrap_or(0),
                boot_id: record::boot_id()?,
                started_ns: record::now_ns(),
                first_id: lease.as_ref().map_or(0, |lease| lease.first_id),
                unmapped_binds: started.outcome.unmapped_binds.clone(),
                restart_count,
                ..State::created()
            };
            record::write(&live.join("state.json"), &state, false).map(|()| state)
        };
        let state = match shown() {
            Ok(state) => state,
            Err(error) => {
                // Nobody could find or stop it later.
                let _ended = pidfd_send_signal(&started.child.pidfd, Signal::KILL);
                let _reaped = corten_sys::wait::wait_pidfd(started.child.pidfd.as_fd());
                let _left = started.cgroup.map(Cgroup::remove);
                return Err(error);
            }
        };
        self.tell(&[("start", &[], state.started_ns)]);
        Ok(Running { pidfd: started.child.pidfd, cgroup: started.cgroup, streams, state })
    }

    /// What cannot be written is as it was.
    fn show(&self, state: &State) {
        let _shown = record::write(&self.dirs.live(&self.id).join("state.json"), state, false);
    }

    /// Notes an end in the state and gives the cgroup back; whether that is gone.
    fn note(&self, state: &mut State, cgroup: Option<Cgroup>, end: Option<Exit>) -> bool {
        state.status = Status::Exited;
        state.finished_ns = record::now_ns();
        match end {
            Some(end) => state.exit_code = i32::from(end.shell_code()),
            None => {
                state.exit_code = 255;
                state.error = "its exit code is unknown: its monitor was killed, and it has no init that \
                               would have noted it"
                    .to_owned();
            }
        }
        state.pid = 0;
        let Some(cgroup) = cgroup else { return true };
        match cgroup.oom_kills() {
            Ok(kills) => state.oom_killed = kills > 0,
            Err(error) => state.error = format!("whether its memory limit was reached is unknown: {error}"),
        }
        // With process 1 the kernel ends the rest; without a pid namespace they are ours to end.
        if self.shares_pids {
            let _gone = cgroup.kill_all();
        }
        cgroup.remove().is_ok()
    }

    fn tell(&self, events: &[Event<'_>]) {
        let made: Option<Event<'_>> = self.made_ns.take().map(|ns| ("create", &[][..], ns));
        let events: Vec<Event<'_>> = made.into_iter().chain(events.iter().copied()).collect();
        self.journal.get_or_init(|| Journal::open(&self.dirs)).add(&self.actor, &events);
    }

    fn tell_of_the_end(&self, state: &State) {
        let ns = state.finished_ns;
        let code = state.exit_code.to_string();
        let seconds = (ns.saturating_sub(state.started_ns) / 1_000_000_000).to_string();
        let how = [("execDuration", seconds.as_str()), ("exitCode", code.as_str())];
        let oom: Event<'_> = ("oom", &[], ns);
        let events = [oom, ("die", &how, ns)];
        self.tell(&events[usize::from(!state.oom_killed)..]);
        // Somebody has to look now and then, and a call for each would be many.
        if self.id.starts_with("00") {
            crate::events::trim(&self.dirs);
        }
    }

    /// Whether its user stopped it.
    fn is_stopped(&self) -> bool {
        self.config.restart.unwrap_or_default() != crate::config::Restart::No
            && rustix::fs::stat(self.dirs.live(&self.id).join(STOPPED)).is_ok()
    }

    fn finish(
        self,
        mut state: State,
        lease: Option<&Lease>,
        clean: bool,
        code: &[u8],
        mut clients: Clients,
    ) -> ! {
        state.status = Status::Exited;
        if let Some(lease) = lease {
            lease.release();
        }
        if !clean {
            // The record stays where the next command finds it and tries again.
            self.show(&state);
        } else if self.config.auto_remove {
            crate::volume::discard(&self.dirs, &self.id, &self.anonymous);
            let _left = crate::collect::forget(&self.dirs, &self.id, Some(&self.name));
            self.tell(&[("destroy", &[], record::now_ns())]);
        } else {
            // Kept on disk: what runs no more outlives the boot.
            match record::write(&self.dirs.container(&self.id).join("state.json"), &state, true) {
                Ok(()) => drop(crate::collect::remove_tree(&self.dirs, &self.dirs.live(&self.id))),
                // The end is known here alone, until the next command finds it and tries again.
                Err(_) => self.show(&state),
            }
        }
        clients.all(EXITED, code);
        if clients.list.iter().any(clients::Client::is_behind) {
            // The container is done with; only what was not read yet is left to be.
            drop(self.hold);
            serve::linger(&mut clients);
        }
        // The process ends here, and with it every descriptor: the lock as the last.
        std::process::exit(0)
    }

    fn fail(self, error: &EngineError, clients: &mut Clients) -> i32 {
        if !self.config.auto_remove {
            let code = i32::from(error.exit_code());
            let state = State { error: error.to_string(), exit_code: code, ..State::created() };
            let _shown = record::write(&self.dirs.container(&self.id).join("state.json"), &state, true);
        }
        // What cannot be removed now is found unlocked, and removed, by the next command.
        let _left = crate::collect::finish(&self.dirs, &self.id);
        if self.config.auto_remove {
            self.tell(&[("destroy", &[], record::now_ns())]);
        } else if self.made_ns.get().is_some() {
            self.tell(&[]);
        }
        let mut body = vec![error.exit_code()];
        body.extend_from_slice(error.to_string().as_bytes());
        body.truncate(session::CHUNK - 1);
        clients.all(FAILED, &body);
        1
    }
}

/// Forks a monitor for a container that runs and has none. The caller holds it, and one thread.
///
/// # Errors
/// What is needed of the container is not there any more; it goes on as it is.
pub(crate) fn adopt(dirs: &Dirs, record: &Record, state: State, hold: Hold) -> Result<(), EngineError> {
    let pid = Pid::from_raw(state.pid).ok_or(rustix::io::Errno::SRCH).at("pidfd_open", "0")?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).at("pidfd_open", state.pid.to_string())?;
    if !state.is_alive() {
        return Err(rustix::io::Errno::SRCH).at("pidfd_open", state.pid.to_string());
    }
    let terminal = record.config.tty.then_some(corten_runtime::init::MASTER);
    let master = match terminal {
        Some(number) => {
            Some(pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()).at("pidfd_getfd", "the terminal")?)
        }
        None => None,
    };
    let streams = Streams::adopt(&dirs.live(&record.id), master)?;
    let cgroup = match record.cgroup.as_deref() {
        None => None,
        Some(path) => {
            let path = CgroupPath::new(path).map_err(corten_cgroup::Error::from)?;
            Some(Cgroup::open(&Layout::detect()?, &path)?)
        }
    };
    let lease = Lease::of(dirs, &record.id);
    let shares_pids = record.config.pid.is_some();
    let monitor = Monitor::of(dirs, record, shares_pids, hold, false)?;
    corten_sys::clone::fork(|| {
        let mut keep = streams.fds();
        keep.push(pidfd.as_fd());
        if monitor.detach(keep).is_err() {
            return 1;
        }
        monitor.take_over(Running { pidfd, cgroup, streams, state }, lease)
    })
    .map(drop)
    .at("fork", "monitor")
}
