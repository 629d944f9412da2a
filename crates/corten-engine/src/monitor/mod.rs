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

mod adopt;
mod clients;
mod health;
mod oom;
mod restart;
mod serve;
mod streams;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use corten_cgroup::Cgroup;
use corten_runtime::apply::Options;
use corten_sys::wait::Exit;
use rustix::process::{Signal, pidfd_send_signal};

use crate::config::{Config, Restart};
use crate::dirs::Dirs;
use crate::error::{At, EngineError};
use crate::events::{Actor, Event, Journal};
use crate::hold::Hold;
use crate::lease::Lease;
use crate::log::Sink;
use crate::prepare::{self, Drawn};
use crate::record::{self, Record, State, Status};
use crate::run::Launch;
use crate::session::{self, EXITED, FAILED, STARTED};
use crate::stdio;
pub(crate) use adopt::{adopt, main, resume};
use clients::Clients;
pub(crate) use clients::{SOCKET, address};
use restart::Restarts;
pub(crate) use restart::is_due;
use streams::Streams;

/// The file in a container's directory of the living that says that its user stopped it: it is not to be
/// started again.
pub(crate) const STOPPED: &str = "stopped";
/// The one that says that its processes are frozen.
pub(crate) const PAUSED: &str = "paused";

/// Whether its user stopped a container that is under way.
fn is_stopped(dirs: &Dirs, id: &str) -> bool {
    rustix::fs::stat(dirs.live(id).join(STOPPED)).is_ok()
}

/// The exit code that clients are told, and whether the kernel killed for memory.
fn told_code(state: &State) -> [u8; 2] {
    [state.exit_code as u8, u8::from(state.oom_killed)]
}

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
    /// Of a container that has a health check.
    checks: Option<Box<health::Checks>>,
    /// Of one whose memory is limited.
    oom: Option<oom::Watch>,
}

impl Monitor {
    pub(crate) fn new(
        dirs: &Dirs,
        record: &Record,
        shares_pids: bool,
        hold: Hold,
        Launch { starter, made_now }: Launch,
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
            made_ns: std::cell::Cell::new(made_now.then_some(record.created_ns)),
            config: config.clone(),
        })
    }

    /// Runs until the container has ended for good; the exit code of the monitor itself means nothing.
    /// `buffer` is what messages are read into.
    pub(crate) fn run(self, drawn: Drawn, starter: Option<OwnedFd>, buffer: &mut [u8]) -> i32 {
        let mut clients = Clients::new(self.dirs.container(&self.id));
        let mut keep: Vec<BorrowedFd<'_>> = drawn.joined.iter().map(AsFd::as_fd).collect();
        keep.extend(starter.as_ref().map(AsFd::as_fd));
        keep.push(self.hold.as_fd());
        let ready = stdio::detach(&keep);
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
        self.live(running, lease, clients, buffer)
    }

    /// From a container that runs to one that has ended.
    fn live(
        mut self,
        mut running: Running,
        mut lease: Option<Lease>,
        mut clients: Clients,
        buffer: &mut [u8],
    ) -> i32 {
        let mut restarts = Restarts::new(running.state.restart_count);
        loop {
            let end = self.serve(&mut running, &mut clients, buffer);
            let Running { mut state, cgroup, streams, .. } = running;
            let told_of_oom = state.oom_killed;
            let clean = self.note(&mut state, cgroup, end);
            self.look_again();
            self.tell_of_the_end(&state, told_of_oom);
            let code = told_code(&state);
            let ran = Duration::from_nanos(u64::try_from(state.finished_ns - state.started_ns).unwrap_or(0));
            let policy = self.config.restart.unwrap_or_default();
            let again = restarts.after(policy, state.exit_code, ran).filter(|_| clean && !self.is_stopped());
            let Some(pause) = again else { self.finish(state, lease.as_ref(), clean, &code, clients) };
            drop(streams);
            clients.all(EXITED, &code);
            state.rests();
            self.show(&state);
            running = match self.start_again(state, pause, &mut lease, &mut clients, buffer) {
                Ok(running) => running,
                Err(state) => self.finish(state, lease.as_ref(), clean, &code, clients),
            };
        }
    }

    /// Of a container that rests, whose monitor was killed.
    fn go_on(mut self, state: State, mut clients: Clients, buffer: &mut [u8]) -> i32 {
        let code = told_code(&state);
        let mut lease = None;
        match self.start_again(state, restart::FIRST, &mut lease, &mut clients, buffer) {
            Ok(running) => self.live(running, lease, clients, buffer),
            Err(state) => self.finish(state, lease.as_ref(), true, &code, clients),
        }
    }

    /// Starts a container that rests, after the pause; if it is stopped meanwhile, or cannot be started, the state of
    /// its end.
    fn start_again(
        &mut self,
        mut state: State,
        pause: Duration,
        lease: &mut Option<Lease>,
        clients: &mut Clients,
        buffer: &mut [u8],
    ) -> Result<Running, State> {
        if self.rest(clients, pause, buffer) || self.is_stopped() {
            return Err(state);
        }
        self.look_again();
        // It may have been killed while it was frozen.
        let _thawed = crate::collect::remove_file(&self.dirs.live(&self.id).join(PAUSED));
        let mut config = Config { image: self.image.clone(), ..self.config.clone() };
        let count = state.restart_count;
        self.make_ready()
            .and_then(|()| prepare::draw_up(&self.dirs, &mut config, &self.id, lease.take()))
            .and_then(|drawn| self.start(drawn, lease, count))
            .map_err(|error| {
                state.error = error.to_string();
                // Whoever of the two failed dropped what it knew of the lease: it is found by its owner.
                *lease = None;
                let _again = crate::lease::release_of(&self.dirs, &self.id);
                state
            })
    }

    /// Whoever starts a container is sealed where the container could write to our binary, and in the engine's
    /// user namespace: one that adopted it need not be there yet.
    fn make_ready(&mut self) -> Result<(), EngineError> {
        if crate::start::exposes_us(&self.dirs, &self.config) && !crate::exec::seal::is_sealed()? {
            let why = "its monitor, which adopted it, runs from a file that may be written to";
            return Err(EngineError::Seal(why.to_owned()));
        }
        self.dirs.enter()
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
        let keep_unread = self.log.is_some() && !self.config.auto_remove;
        let (started, streams) = Streams::start(&live, plan, self.config.interactive, keep_unread, options)?;
        let pid = started.child.pid.as_raw_nonzero().get();
        let shown = || -> Result<_, EngineError> {
            let mut state = State {
                status: Status::Running,
                pid,
                // 0: it has ended already.
                pid_start: record::start_of(pid)?.unwrap_or(0),
                boot_id: record::boot_id()?.to_owned(),
                started_ns: record::now_ns(),
                first_id: lease.as_ref().map_or(0, |lease| lease.first_id),
                unmapped_binds: started.outcome.unmapped_binds.clone(),
                restart_count,
                ..State::created()
            };
            let checks = self.checks(&mut state);
            record::write(&live.join("state.json"), &state, false)?;
            if !self.config.auto_remove {
                crate::started::note(&self.dirs.container(&self.id), state.started_ns)?;
            }
            Ok((state, checks))
        };
        let (state, checks) = match shown() {
            Ok(shown) => shown,
            Err(error) => {
                // Nobody could find or stop it later.
                let _ended = pidfd_send_signal(&started.child.pidfd, Signal::KILL);
                let _reaped = corten_sys::wait::wait_pidfd(started.child.pidfd.as_fd());
                let _left = started.cgroup.map(Cgroup::remove);
                return Err(error);
            }
        };
        let ns = state.started_ns;
        let attached: &[Event<'_>] = &[("attach", &[], ns)];
        let attached = if self.starter && restart_count == 0 { attached } else { &[] };
        let volumes = crate::events::mounted(&self.id, &self.config, ns);
        let start = self.actor.lines(&[("start", &[], ns)]);
        self.write(&(self.actor.lines(attached) + &volumes + &start));
        let oom = self.watch_memory(started.cgroup.as_ref(), false);
        Ok(Running { pidfd: started.child.pidfd, cgroup: started.cgroup, streams, state, checks, oom })
    }

    /// What cannot be written is as it was.
    fn show(&self, state: &State) {
        let _shown = record::write(&self.dirs.live(&self.id).join("state.json"), state, false);
    }

    /// Notes an end in the state and gives the cgroup back; whether that is gone.
    fn note(&self, state: &mut State, cgroup: Option<Cgroup>, end: Option<Exit>) -> bool {
        state.status = Status::Exited;
        state.finished_ns = record::now_ns().max(state.started_ns);
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
        if let Some(health) = &mut state.health {
            health.end();
        }
        let Some(cgroup) = cgroup else { return true };
        match cgroup.oom_kills() {
            Ok(kills) => state.oom_killed = kills > 0,
            Err(error) => state.error = format!("whether its memory limit was reached is unknown: {error}"),
        }
        // With process 1 the kernel ends the rest; without a pid namespace they are ours to end.
        if self.shares_pids {
            let _gone = cgroup.kill_all();
        }
        match self.config.resources.cgroup_parent {
            None => cgroup.remove().is_ok(),
            Some(_) => cgroup.remove_with_parents().is_ok(),
        }
    }

    /// What of the record has changed since its start: its name, its policy. One that is removed by itself can
    /// have no policy, and whoever gives it another name says so.
    fn look_again(&mut self) {
        if !self.config.auto_remove {
            self.read_again();
        }
    }

    fn read_again(&mut self) {
        let (live, kept) = (self.dirs.live(&self.id), self.dirs.container(&self.id));
        let read = |dir: &Path| record::read::<Record>(&dir.join("config.json")).ok().flatten();
        // As `edit.rs` has it; that of one that stays is nowhere else.
        let living = if self.config.auto_remove { read(&live) } else { None };
        if let Some(record) = living.or_else(|| read(&kept)) {
            self.actor = Actor::container(&record);
            (self.name, self.config) = (record.name, record.config);
        }
    }

    fn tell(&self, events: &[Event<'_>]) {
        self.write(&self.actor.lines(events));
    }

    fn write(&self, lines: &str) {
        let made = self.made_ns.take().map(|ns| self.actor.lines(&[("create", &[], ns)]));
        self.journal.get_or_init(|| Journal::open(&self.dirs)).write(&(made.unwrap_or_default() + lines));
    }

    fn tell_of_the_end(&self, state: &State, told_of_oom: bool) {
        let ns = state.finished_ns;
        let code = state.exit_code.to_string();
        let seconds = (ns.saturating_sub(state.started_ns) / 1_000_000_000).to_string();
        let how = [("execDuration", seconds.as_str()), ("exitCode", code.as_str())];
        let oom: Event<'_> = ("oom", &[], ns);
        let events = [oom, ("die", &how, ns)];
        let end = self.actor.lines(&events[usize::from(told_of_oom || !state.oom_killed)..]);
        self.write(&(end + &crate::events::unmounted(&self.id, &self.config, ns)));
        // Somebody has to look now and then, and a call for each would be many.
        if self.id.starts_with("00") {
            crate::events::trim(&self.dirs);
        }
    }

    /// Whether its user stopped it.
    fn is_stopped(&self) -> bool {
        self.config.restart.unwrap_or_default() != Restart::No && is_stopped(&self.dirs, &self.id)
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
            let kept = self.dirs.container(&self.id);
            let _shown = crate::started::forget(&kept)
                .and_then(|()| record::write(&kept.join("state.json"), &state, true));
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
