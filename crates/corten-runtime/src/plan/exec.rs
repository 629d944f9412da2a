//! The plan of an exec: a process more in a container that runs. Pure: no system call.
//!
//! The container is hostile by now: it may have replaced any file, its /proc included, and waits for a
//! process that has something of the host open. So what takes the host's files comes before the namespaces
//! are joined, and nothing after it goes by a path that the container could bend outwards.

use std::ffi::CString;
use std::path::PathBuf;

use corten_sys::clone::{CLONE_NEWPID, CLONE_NEWUSER};
use corten_sys::exec::StringVector;

use super::build::payload;
use super::convert::{c_dir, environment, search_path};
use super::{Actor, Op};
use crate::error::{SpecError, StartError};
use crate::spec::{IdMaps, Process, User};

/// What an exec is to be: resolved and valid.
#[derive(Debug, Clone)]
pub struct ExecSpec {
    /// The program.
    pub process: Process,
    /// `CLONE_NEW*` of the namespaces that are the container's and not the host's.
    pub namespaces: i32,
    /// The maps of its user namespace, if it has one.
    pub maps: Option<IdMaps>,
    /// The user namespace is entered before anything else: an ordinary user has rights over the others only
    /// from there.
    pub user_first: bool,
    /// The v1 files that the process joins the cgroup by.
    pub join_files: Vec<PathBuf>,
}

/// How a process is started in a container that runs.
#[derive(Debug)]
pub struct ExecPlan {
    /// What happens, in order; [`Op::actor`] says who does it.
    pub ops: Vec<Op>,
    /// The program's environment; the last entry is the reserved `HOME=`, if `fill_home`.
    pub env: StringVector,
    /// Whether `HOME` comes from the user's entry.
    pub fill_home: bool,
    /// Where the program is looked for: `PATH` of its environment.
    pub search_path: Vec<CString>,
    /// The specification that it was made from.
    pub spec: ExecSpec,
}

impl ExecPlan {
    /// The operations of one actor, with their positions in the plan.
    pub fn of(&self, actor: Actor) -> impl Iterator<Item = (usize, &Op)> {
        self.ops.iter().enumerate().filter(move |(_, op)| op.actor() == actor)
    }
}

/// Builds the plan.
///
/// # Errors
/// [`StartError::Spec`] names the field that cannot be carried out.
pub fn build(spec: ExecSpec) -> Result<ExecPlan, StartError> {
    let process = &spec.process;
    let (env, fill_home) = environment(process)?;
    let search_path = search_path(process)?;
    let mut steps = Vec::with_capacity(16);
    payload(&mut steps, process, |file, label, lsm| Op::PassLabel { file, label, lsm })?;

    let mut ops = Vec::with_capacity(steps.len() + 8);
    if let User::Lookup { user, groups } = &process.user {
        ops.push(Op::LookupUser { user: user.clone(), groups: groups.clone() });
    }
    let (parents, steps): (Vec<_>, Vec<_>) = steps.into_iter().partition(|op| op.actor() == Actor::Parent);
    ops.extend(parents);
    ops.extend(process.oom_score_adj.map(Op::OomScoreAdj));
    // Only children get another pid namespace.
    let first = CLONE_NEWPID | if spec.user_first { CLONE_NEWUSER } else { 0 };
    if spec.namespaces & first != 0 {
        ops.push(Op::JoinFirst { namespaces: spec.namespaces & first });
    }
    ops.push(Op::CloneBeside);
    if !spec.join_files.is_empty() {
        let files =
            spec.join_files.iter().map(|file| c_dir("cgroup", file)).collect::<Result<_, SpecError>>()?;
        ops.push(Op::JoinCgroup { files });
    }
    ops.push(Op::JoinNamespaces { namespaces: spec.namespaces & !first });
    if spec.maps.is_some() {
        ops.push(Op::BecomeRoot);
    }
    if let Some((rows, columns)) = process.terminal {
        ops.push(Op::TerminalInside { rows, columns });
    }
    ops.extend(steps);
    Ok(ExecPlan { ops, env, fill_home, search_path, spec })
}

#[cfg(test)]
mod tests {
    use corten_sys::clone::{CLONE_NEWIPC, CLONE_NEWNS};

    use super::*;
    use crate::spec::Capabilities;

    fn spec() -> ExecSpec {
        let process = Process {
            args: vec!["ls".to_owned(), "-l".to_owned()],
            env: vec!["PATH=/bin:/usr/bin".to_owned()],
            cwd: "/srv".to_owned(),
            create_cwd: false,
            user: User::Lookup { user: "web".to_owned(), groups: Vec::new() },
            keep_groups: false,
            umask: Some(0o022),
            capabilities: Capabilities::default(),
            no_new_privileges: false,
            rlimits: Vec::new(),
            oom_score_adj: Some(100),
            apparmor_profile: Some("corten-default".to_owned()),
            selinux_label: None,
            seccomp: None,
            terminal: Some((24, 80)),
        };
        ExecSpec {
            process,
            namespaces: CLONE_NEWPID | CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC,
            maps: Some(IdMaps::block(65_536, 65_536)),
            user_first: false,
            join_files: vec!["/sys/fs/cgroup/pids/corten/x/tasks".into()],
        }
    }

    fn lines(plan: &ExecPlan) -> Vec<String> {
        plan.ops.iter().map(|op| format!("{:?}: {op}", op.actor())).collect()
    }

    #[test]
    fn what_needs_the_host_comes_before_the_namespaces() {
        let plan = build(spec()).unwrap();
        let want = [
            "Parent: looking up user \"web\"",
            "Parent: setting AppArmor label \"exec corten-default\"",
            "Parent: setting oom_score_adj to 100",
            "Parent: joining the container's namespaces",
            "Parent: cloning the process",
            "Child: joining the cgroup",
            "Child: joining the container's namespaces",
            "Child: becoming root of the user namespace",
            "Child: making the terminal",
            "Payload: making the session",
            "Payload: joining a session keyring",
            "Payload: setting umask 0022",
            "Payload: changing to working directory /srv",
            "Payload: dropping capabilities from the bounding set",
            "Payload: changing to the user",
            "Payload: setting capabilities",
            "Payload: exec \"ls\"",
        ];
        assert_eq!(lines(&plan), want);
        assert!(plan.fill_home);
        assert_eq!(plan.search_path, [c"/bin/ls".to_owned(), c"/usr/bin/ls".to_owned()]);
    }

    #[test]
    fn each_namespace_is_joined_once() {
        let joins = |spec: ExecSpec| -> Vec<i32> {
            let joined = |op: &Op| match op {
                Op::JoinFirst { namespaces } | Op::JoinNamespaces { namespaces } => Some(*namespaces),
                _ => None,
            };
            build(spec).unwrap().ops.iter().filter_map(joined).collect()
        };
        assert_eq!(joins(spec()), [CLONE_NEWPID, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC]);
        let rootless = ExecSpec { user_first: true, ..spec() };
        assert_eq!(joins(rootless), [CLONE_NEWPID | CLONE_NEWUSER, CLONE_NEWNS | CLONE_NEWIPC]);
        let hosts = ExecSpec { namespaces: CLONE_NEWNS, maps: None, ..spec() };
        assert_eq!(joins(hosts), [CLONE_NEWNS]);
    }

    #[test]
    fn a_directory_that_is_relative_is_refused() {
        let mut spec = spec();
        spec.process.cwd = "srv".to_owned();
        assert!(build(spec).unwrap_err().to_string().contains("process.cwd"));
    }
}
