//! `exec`: one more process in a container that runs.
//!
//! ```text
//!   client ◀──socket──▶ attendant ──clone3──▶ program (in the container)
//! ```
//!
//! The attendant (`exec/attend.rs`) is the program's parent, reaps it and carries its streams. It has no files:
//! of an exec that is killed at any point nothing is left. The program ends with the container; killing the
//! client hurts it no more than it would a container.

mod attend;
pub(crate) mod probe;
pub(crate) mod seal;

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use corten_cgroup::{Cgroup, Version};
use corten_runtime::plan::{ExecPlan, ExecSpec, exec as plan};
use corten_runtime::spec::{Capabilities, IdMaps, Process, User as ProcessUser};
use corten_runtime::{SpecError, StartError};
use corten_sys::caps::CapSet;
use corten_sys::clone::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWTIME, CLONE_NEWUSER,
    CLONE_NEWUTS,
};
use rustix::io::Errno;

use crate::client::{self, Attached, Client};
use crate::config::{CgroupnsMode, Config, EnvVar, IpcMode, NetworkMode, PidMode, User, UtsMode};
use crate::container::{self, Container};
use crate::detach_keys::DetachKeys;
use crate::dirs::Dirs;
use crate::error::{At, EngineError};
use crate::events::{Actor, Journal};
use crate::lease::BLOCK;
use crate::record::{Record, State, now_ns};
use crate::resolve::{self, process};
use crate::run::Outcome;
use crate::session::{self, FAILED, STARTED};
use attend::Attendant;
pub use seal::Seal;
pub(crate) use seal::program;

const TERM: &str = "TERM=xterm";

/// What is executed, and as what. What is not said is as the container has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExecConfig {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// In order; a later one of the same name wins.
    pub env: Vec<EnvVar>,
    /// Who it runs as.
    pub user: Option<User>,
    /// Absolute.
    pub workdir: Option<String>,
    /// It gets a terminal.
    pub tty: bool,
    /// Standard input stays open.
    pub interactive: bool,
    /// All capabilities of the container's user namespace, and no filter.
    pub privileged: bool,
    /// Come back as soon as it runs; what it writes goes nowhere.
    pub detach: bool,
    /// What leaves it, typed on a terminal.
    pub detach_keys: DetachKeys,
}

/// A container that runs, held so that its process id stays its own.
struct Running {
    record: Record,
    state: State,
    init: OwnedFd,
    cgroup: Option<Cgroup>,
}

/// Executes a program in a container; `seal` is asked first where the container could write to our binary.
///
/// # Errors
/// See [`EngineError`]; there is no process then.
pub fn exec(dirs: &Dirs, name: &str, config: &ExecConfig, seal: Seal<'_>) -> Result<Outcome, EngineError> {
    let running = Running::find(dirs, name)?;
    if running.may_write_to_us(dirs) {
        seal.apply(dirs)?;
    }
    let id = running.record.id.clone();
    let plan = plan::build(running.spec(dirs, config)?)?;
    let story = Story::begin(dirs, &running.record, &config.command)?;
    let (client, attendants_end) = session::pair().at("socketpair", "attendant")?;
    let attendant = Attendant {
        init: running.init,
        init_pid: running.state.pid,
        cgroup: running.cgroup,
        shares_pids: plan.spec.namespaces & CLONE_NEWPID == 0
            || matches!(running.record.config.pid, Some(PidMode::Container(_))),
        interactive: config.interactive && !config.detach,
        detached: config.detach,
        client: attendants_end,
        story: &story,
    };
    let mut client = Some(client);
    let child = corten_sys::clone::fork(|| {
        // Closed with all that the attendant does not keep: it would never see the client go otherwise.
        std::mem::forget(client.take());
        attendant.run(plan)
    });
    let child = child.at("fork", "attendant")?;
    let Some(client) = client else { return Err(EngineError::AttendantGone(id)) };
    let mut buffer = vec![0; session::CHUNK];
    match session::hear(client.as_fd(), &mut buffer) {
        Some((STARTED, _)) => {}
        Some((FAILED, [code, message @ ..])) => {
            let message = String::from_utf8_lossy(message).into_owned();
            let failed = EngineError::Failed { message, code: *code };
            let _reaped = corten_sys::wait::wait_pidfd(child.pidfd.as_fd());
            return Err(failed);
        }
        _ => return Err(EngineError::AttendantGone(id)),
    }
    if config.detach {
        return Ok(Outcome::Started(id));
    }
    let client = Client {
        socket: client,
        tty: config.tty,
        interactive: config.interactive,
        proxy: false,
        detach_keys: config.detach_keys.clone(),
        attached: Attached::all(),
    };
    let outcome = client.attend(&mut buffer);
    if outcome == Some(Outcome::Detached) {
        story.tell("exec_detach", &[]);
    }
    outcome.ok_or(EngineError::AttendantGone(id))
}

/// What events say of an exec.
struct Story {
    journal: Journal,
    actor: Actor,
    id: String,
    command: String,
}

impl Story {
    fn begin(dirs: &Dirs, record: &Record, command: &[String]) -> Result<Self, EngineError> {
        let id = corten_oci::ContainerId::from_random(crate::run::random()?).as_str().to_owned();
        let (program, args) = command.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
        // As Docker's, with a space behind a program that has no arguments.
        let command = format!("{program} {}", args.join(" "));
        let story = Self { journal: Journal::open(dirs), actor: Actor::container(record), id, command };
        story.tell(&format!("exec_create: {}", story.command), &[]);
        Ok(story)
    }

    fn started(&self) {
        self.tell(&format!("exec_start: {}", self.command), &[]);
    }

    fn ended(&self, code: u8) {
        self.tell("exec_die", &[("exitCode", &code.to_string())]);
    }

    fn tell(&self, action: &str, more: &[(&str, &str)]) {
        let mut attributes = vec![("execID", self.id.as_str())];
        attributes.extend(more);
        self.journal.add(&self.actor, &[(action, &attributes, now_ns())]);
    }
}

/// Docker's exit code of an exec that failed: 127 for what is not there, 126 for what cannot be executed or
/// set up, 1 where there was nothing to execute it in.
#[must_use]
pub fn exit_code(error: &EngineError) -> u8 {
    match error {
        EngineError::Failed { code, .. } => *code,
        EngineError::Start(StartError::NotFound { .. } | StartError::Spec(SpecError::NoProgram))
        | EngineError::Start(StartError::WorkingDirectory { errno: Errno::NOENT, .. }) => 127,
        EngineError::Start(StartError::Ended)
        | EngineError::NoSuchContainer(_)
        | EngineError::AmbiguousId(_)
        | EngineError::NotRunning(_)
        | EngineError::Paused(_) => 1,
        _ => 126,
    }
}

impl Running {
    fn find(dirs: &Dirs, name: &str) -> Result<Self, EngineError> {
        Self::of(container::find(dirs, name)?)
    }

    fn of(container: Container) -> Result<Self, EngineError> {
        let Container { record, state } = container;
        let init = container::process(&state)?.ok_or_else(|| EngineError::NotRunning(record.id.clone()))?;
        // An ordinary user's container may have none. One that is gone is no cgroup to be outside of.
        let cgroup =
            record.cgroup.is_some().then(|| container::needed_cgroup(&record, "exec")).transpose()?;
        if let Some(cgroup) = &cgroup
            && cgroup.is_frozen()?
        {
            let why = format!("Container {} is paused, unpause the container before exec", record.id);
            return Err(EngineError::Paused(why));
        }
        Ok(Self { record, state, init, cgroup })
    }

    /// Whether root in there is who may write to the file that we are.
    fn may_write_to_us(&self, dirs: &Dirs) -> bool {
        dirs.rootless.is_some() || self.first_id().is_none()
    }

    /// The first id of its user namespace, unless that is the host's. By what it was made as, and not as its
    /// first process is now: that may have made another for itself.
    fn first_id(&self) -> Option<u32> {
        let own = !resolve::shares_user_namespace(&self.record.config);
        Some(self.state.first_id).filter(|first| own && *first != 0)
    }

    fn spec(&self, dirs: &Dirs, config: &ExecConfig) -> Result<ExecSpec, EngineError> {
        let rootless = dirs.rootless.is_some();
        let maps = match self.first_id() {
            _ if rootless => Some(IdMaps {
                users: crate::joins::ranges(self.state.pid, "uid_map")?,
                groups: crate::joins::ranges(self.state.pid, "gid_map")?,
            }),
            first => first.map(|first| IdMaps::block(first, BLOCK)),
        };
        let v1 = |member: &&corten_cgroup::plan::Member| member.version == Version::V1;
        let members = self.cgroup.iter().flat_map(Cgroup::members);
        Ok(ExecSpec {
            namespaces: namespaces(&self.record.config, maps.is_some()),
            process: self.process(config, maps.is_some(), rootless)?,
            maps,
            user_first: rootless,
            join_files: members.filter(v1).map(|member| member.dir.join("tasks")).collect(),
        })
    }

    fn process(&self, config: &ExecConfig, own_user: bool, rootless: bool) -> Result<Process, EngineError> {
        let theirs = &self.record.config;
        let bounding = match (config.privileged, own_user) {
            (true, true) => CapSet::ALL,
            // In the host's user namespace nobody has more than we have.
            (true, false) => CapSet::ALL & corten_sys::caps::get().at("capget", "self")?.permitted,
            _ => process::capabilities(theirs)?,
        };
        let confined = !config.privileged;
        Ok(Process {
            args: config.command.clone(),
            env: environment(&self.record, config),
            cwd: config.workdir.clone().unwrap_or_else(|| self.record.workdir.clone()),
            create_cwd: false,
            user: ProcessUser::Lookup {
                user: config.user.as_ref().map_or_else(|| self.record.user.clone(), ToString::to_string),
                groups: theirs.group_add.iter().map(ToString::to_string).collect(),
            },
            keep_groups: rootless && groups_are_fixed(self.state.pid)?,
            umask: Some(0o022),
            capabilities: Capabilities {
                bounding,
                effective: bounding,
                permitted: bounding,
                inheritable: CapSet::EMPTY,
                ambient: CapSet::EMPTY,
            },
            no_new_privileges: theirs.security_opts.no_new_privileges.unwrap_or(false),
            rlimits: process::rlimits(theirs)?,
            oom_score_adj: theirs.resources.oom_score_adj,
            apparmor_profile: process::apparmor(theirs).filter(|_| confined),
            selinux_label: None,
            seccomp: if confined { process::seccomp(theirs, bounding)? } else { None },
            terminal: config
                .tty
                .then(|| client::terminal_size().map_or((0, 0), |size| (size.ws_row, size.ws_col))),
        })
    }
}

/// The namespaces that are not the host's. Those of another container are joined even where that has the
/// host's: the machine's root, who alone can share them, may join any.
fn namespaces(config: &Config, own_user: bool) -> i32 {
    let network = config.networks.first().map(|network| &network.mode);
    [
        (CLONE_NEWNS, true),
        (CLONE_NEWUSER, own_user),
        (CLONE_NEWPID, !matches!(config.pid, Some(PidMode::Host))),
        (CLONE_NEWNET, !matches!(network, Some(NetworkMode::Host))),
        (CLONE_NEWIPC, !matches!(config.ipc, Some(IpcMode::Host))),
        (CLONE_NEWUTS, !matches!(config.uts, Some(UtsMode::Host))),
        (CLONE_NEWCGROUP, !matches!(config.cgroupns, Some(CgroupnsMode::Host))),
        (CLONE_NEWTIME, config.time_offset.is_some()),
    ]
    .into_iter()
    .filter_map(|(bit, joined)| joined.then_some(bit))
    .fold(0, |all, bit| all | bit)
}

/// The container's, and on top of it what was asked for. `TERM` is there for who has a terminal, as Docker has it.
fn environment(record: &Record, config: &ExecConfig) -> Vec<String> {
    let mut env = record.env.clone();
    let said = record.config.env.iter().any(|variable| variable.name == "TERM");
    let has_term = env.iter().any(|entry| entry.starts_with("TERM="));
    match (config.tty, record.config.tty) {
        (true, _) if !has_term => env.push(TERM.to_owned()),
        (false, true) if !said => env.retain(|entry| entry != TERM),
        _ => {}
    }
    // From the end, since the last of a name wins. Ordered, as a hash would ask the kernel for a secret.
    let mut known = BTreeSet::new();
    let said = config.env.iter().rev().filter(|variable| known.insert(variable.name.as_str()));
    let said: Vec<String> =
        said.filter_map(|variable| Some(format!("{}={}", variable.name, variable.value.as_ref()?))).collect();
    env.retain(|entry| !known.contains(name_of(entry)));
    env.extend(said.into_iter().rev());
    env
}

fn name_of(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

/// Whether the supplementary groups cannot change in the user namespace of a process (user_namespaces(7)).
fn groups_are_fixed(pid: i32) -> Result<bool, EngineError> {
    let path = format!("/proc/{pid}/setgroups");
    let text = std::fs::read_to_string(&path).at("read", &path)?;
    Ok(text.trim() == "deny")
}

/// How the attendant tells what went wrong.
fn failure(error: StartError) -> (u8, String) {
    let error = EngineError::from(error);
    (exit_code(&error), error.to_string())
}

/// Carries the plan out, in the attendant.
fn start(
    plan: ExecPlan,
    attendant: &Attendant<'_>,
    stdio: [std::os::fd::BorrowedFd<'_>; 3],
) -> Result<corten_runtime::apply::Executed, StartError> {
    let options = corten_runtime::apply::ExecOptions {
        init: attendant.init.as_fd(),
        init_pid: attendant.init_pid,
        cgroup: attendant.cgroup.as_ref(),
        stdio,
        give_up: None,
        dies_with_parent: false,
    };
    corten_runtime::apply::exec(plan, &options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NetworkAttachment;

    fn record(tty: bool, env: &[&str]) -> Record {
        Record {
            version: crate::record::VERSION,
            id: "a".repeat(64),
            name: "web".to_owned(),
            created_ns: 0,
            image_id: String::new(),
            layers: Vec::new(),
            mounted_images: Vec::new(),
            config: Config { tty, ..Config::default() },
            args: vec!["sh".to_owned()],
            env: env.iter().map(ToString::to_string).collect(),
            user: String::new(),
            workdir: "/".to_owned(),
            cgroup: None,
        }
    }

    #[test]
    fn the_environment_is_the_containers_and_what_is_said() {
        let said = |entries: &[(&str, Option<&str>)]| -> Vec<EnvVar> {
            let one = |(name, value): &(&str, Option<&str>)| EnvVar {
                name: (*name).to_owned(),
                value: value.map(str::to_owned),
            };
            entries.iter().map(one).collect()
        };
        let with = |tty, env| ExecConfig { tty, env, ..ExecConfig::default() };
        let theirs = record(false, &["PATH=/bin", "A=1", "B=2"]);
        let env = said(&[("A", Some("x")), ("B", None), ("C", Some("")), ("NONE", None)]);
        assert_eq!(environment(&theirs, &with(false, env)), ["PATH=/bin", "A=x", "C="]);
        // Of a name that is said twice the last counts, where it stands; one that is taken away again is not there.
        let env =
            said(&[("A", Some("x")), ("C", Some("1")), ("A", Some("y")), ("B", Some("z")), ("B", None)]);
        assert_eq!(environment(&theirs, &with(false, env)), ["PATH=/bin", "C=1", "A=y"]);
        assert_eq!(environment(&theirs, &with(true, Vec::new())), ["PATH=/bin", "A=1", "B=2", TERM]);
        let theirs = record(true, &["PATH=/bin", TERM]);
        assert_eq!(environment(&theirs, &with(true, Vec::new())), ["PATH=/bin", TERM]);
        assert_eq!(environment(&theirs, &with(false, Vec::new())), ["PATH=/bin"]);
        let mut theirs = theirs;
        theirs.config.env = said(&[("TERM", Some("xterm"))]);
        assert_eq!(environment(&theirs, &with(false, Vec::new())), ["PATH=/bin", TERM]);
    }

    #[test]
    fn what_is_shared_with_the_host_is_not_joined() {
        let config = Config::default();
        let own = namespaces(&config, true);
        assert_eq!(own & CLONE_NEWTIME, 0);
        assert_eq!(namespaces(&config, false), own & !CLONE_NEWUSER);
        let host = Config {
            pid: Some(PidMode::Host),
            ipc: Some(IpcMode::Host),
            uts: Some(UtsMode::Host),
            cgroupns: Some(CgroupnsMode::Host),
            networks: vec![NetworkAttachment::parse("host").unwrap()],
            ..Config::default()
        };
        assert_eq!(namespaces(&host, false), CLONE_NEWNS);
        let joined = Config { pid: Some(PidMode::Container("x".to_owned())), ..Config::default() };
        assert_eq!(namespaces(&joined, true), own);
    }

    #[test]
    fn exit_codes_are_dockers() {
        let cwd = |errno| StartError::WorkingDirectory { path: "/x".to_owned(), errno };
        for (error, code) in [
            (EngineError::Start(StartError::NotFound { program: "x".to_owned() }), 127),
            (EngineError::Start(cwd(Errno::NOENT)), 127),
            (EngineError::Start(cwd(Errno::ACCESS)), 126),
            (EngineError::NotRunning("x".to_owned()), 1),
            (EngineError::NoSuchContainer("x".to_owned()), 1),
            (EngineError::Failed { message: String::new(), code: 127 }, 127),
            (EngineError::Seccomp("x".to_owned()), 126),
        ] {
            assert_eq!(exit_code(&error), code, "{error}");
        }
    }
}
