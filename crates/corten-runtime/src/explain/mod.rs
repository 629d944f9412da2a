//! A plan as a shell script that does the same: pure, Plan → text.
//!
//! ```text
//!  the script                             the container's first process (unshare)
//!    cgroup, unshare ────────────────────▶ waits
//!    joins it to its cgroups, maps its ids
//!    makes every mount in $stage, in the container's mount namespace (nsenter)
//!    GO with the user ───────────────────▶ moves them into place, starts the program's chain of tools
//!    pivot_root for all in the namespace ◀─ the last tool of the chain waits
//!    GO ─────────────────────────────────▶ execve
//! ```
//!
//! A shell can hand no descriptor of a mount to another process, so the mounts that need the host's
//! capabilities are made by the host's root inside the container's mount namespace, in a tmpfs, each under the
//! number of its [`Slot`](crate::plan::Slot). And the host's tools are gone once the root has changed, so
//! the change is made from outside at the end: pivot_root(2) takes every process of the namespace along.
//! What no shell tool does is a step of [`crate::step`], by way of `corten internal`.

mod child;
mod clone;
mod parent;
mod payload;
mod text;

use std::path::{Path, PathBuf};

use crate::plan::{Actor, Op, Plan};
use text::{Names, Text};

pub use text::quote;

/// What the script needs beside the plan.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// What was typed, for the head of the script.
    pub command: String,
    /// What the reader must know: what a script cannot be.
    pub notes: Vec<String>,
    /// This program's path.
    pub corten: PathBuf,
    /// Variables for beginnings of paths; `run` must be one of them.
    pub names: Vec<(&'static str, PathBuf)>,
    /// What comes first: a comment, and its lines. The first of them must fail if the container is there.
    pub before: Vec<(String, Vec<String>)>,
    /// What is done at the end, however the script ends.
    pub after: Vec<String>,
    /// Whether the program reads the standard input of whoever runs the script.
    pub interactive: bool,
    /// Processes of other containers whose namespaces are joined, and the variables that say which they are.
    pub joined: Vec<(i32, String)>,
}

impl Frame {
    /// For a file below `/proc/PID/ns/` of another container the variable that names its process.
    fn other(&self, namespace: &Path) -> Option<&str> {
        let of = |pid: i32| namespace.starts_with(format!("/proc/{pid}/ns"));
        self.joined.iter().find(|(pid, _)| of(*pid)).map(|(_, variable)| variable.as_str())
    }
}

/// Why a plan cannot be a script.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct ExplainError {
    /// The operation.
    pub what: String,
    /// The reason.
    pub why: &'static str,
}

fn refuse(what: impl ToString, why: &'static str) -> ExplainError {
    ExplainError { what: what.to_string(), why }
}

/// Prints the plan.
///
/// # Errors
/// Names the operation that neither shell tools nor `corten internal` can do.
pub fn script(plan: &Plan, frame: &Frame) -> Result<String, ExplainError> {
    let names = Names { known: &frame.names, id: &plan.spec.id };
    let mut out = Text::of(&plan.spec.id);
    head(&mut out, plan, frame, &names);
    let parent = parent::Parent { plan, names: &names, frame };
    for (_, op) in plan.of(Actor::Parent) {
        match op {
            Op::Clone(clone) => {
                clone::print(&mut out, plan, clone, frame)?;
                parent.join_cgroup(&mut out);
            }
            op => parent.print(&mut out, op)?,
        }
    }
    hand_over(&mut out, plan)?;
    finish(&mut out);
    Ok(out.into_string())
}

fn head(out: &mut Text, plan: &Plan, frame: &Frame, names: &Names<'_>) {
    out.line("#!/bin/sh");
    out.comment(&format!("  {}", frame.command));
    out.line("#");
    out.comment("What this command does, step by step. Run by root, this script makes the same container.");
    out.comment(
        "Where no shell tool can do a step, `corten internal` does that one and its comment says why.",
    );
    out.comment("Corten itself executes none of these programs: it makes the system calls behind them.");
    frame.notes.iter().for_each(|note| out.comment(note));
    out.line("set -eu");
    out.line("umask 022");
    out.line("PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin LC_ALL=C");
    out.line("export PATH LC_ALL");
    out.section("What it is about");
    out.line(format!("corten={}", quote(&frame.corten.to_string_lossy())));
    out.line(format!("id={}", quote(&plan.spec.id)));
    for (name, path) in &frame.names {
        // Not by another of the names: each stands for itself.
        let only_id = Names { known: &[], id: &plan.spec.id };
        out.line(format!("{name}={}", only_id.path(path)));
    }
    out.comment("Where mounts wait for their place; only the container's mount namespace has anything there");
    out.line("stage=$run/stage");
    out.line("export stage");
    out.section("Its directories");
    for (index, (comment, lines)) in frame.before.iter().enumerate() {
        out.comment(comment);
        lines.iter().for_each(|line| out.line(line));
        if index == 0 {
            cleanup(out, plan, frame, names);
        }
    }
}

/// However the script ends, nothing is left.
fn cleanup(out: &mut Text, plan: &Plan, frame: &Frame, names: &Names<'_>) {
    let cgroup = plan.ops.iter().find_map(|op| if let Op::Cgroup(plan) = op { Some(plan) } else { None });
    if cgroup.is_some() {
        out.comment("Remove a cgroup once nothing is left in it");
        out.line(
            "gone() {\n    tries=0\n    while [ -d \"$1\" ] && ! rmdir \"$1\" 2> /dev/null && [ $tries -lt 500 ]; do\n        \
             while read -r left; do kill -KILL \"$left\" || :; done < \"$1/cgroup.procs\"\n        \
             tries=$((tries + 1))\n        sleep 0.01\n    done\n}",
        );
    }
    out.comment(
        "However this ends: the first process is killed, with it goes all that the kernel made for it",
    );
    out.line("PID=\ncleanup() {\n    set +e\n    [ -z \"$PID\" ] || kill -KILL \"$PID\"\n    exec 4<&- 5>&-\n    wait");
    for member in cgroup.iter().flat_map(|plan| &plan.members) {
        out.line(format!("    gone {}", names.path(&member.dir)));
    }
    frame.after.iter().for_each(|line| out.line(format!("    {line}")));
    out.line("}\ntrap cleanup EXIT\ntrap 'exit 130' INT\ntrap 'exit 143' HUP TERM");
}

/// The script of the first process, and the news that it may go on.
fn hand_over(out: &mut Text, plan: &Plan) -> Result<(), ExplainError> {
    let inside = child::print(plan)?;
    out.section("What the first process does, as root of its user namespace, in the root file system");
    out.document("there sh -c 'cat > \"$stage/inside\"'", "INSIDE", &inside);
    out.section("Go");
    out.comment("The first process goes on and learns who the program runs as");
    out.line("printf '%s\\n' \"$who\" >&5");
    Ok(())
}

fn finish(out: &mut Text) {
    out.comment("Wait until the last tool of the host's runs");
    out.line("read -r _ <&4");
    out.comment("Change the root: pivot_root takes all processes of the namespace along; the host's tree lies on top of it");
    out.line("there sh -c 'cd \"$stage/root\" && exec pivot_root . .'");
    out.comment("Let go of the host's tree");
    out.line("there umount -l /");
    out.line("echo go >&5");
    out.comment("It runs; its exit code is ours");
    out.line("code=0\nwait \"$child\" || code=$?\nPID=\nexit \"$code\"");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{
        Bind, BindIds, Capabilities, Mount, MountSource, Namespace, Namespaces, Process, Rlimit, Root,
        RootSource, Spec, TimeOffsets, User, UserNamespace,
    };

    const NASTY: &str = "it's\n$(touch x) `id` \"#\\\nINSIDE\n";

    /// What a bundle can ask for and `corten run` does not, each with a string that tries to break out.
    fn spec() -> Spec {
        let bind =
            Bind { source: NASTY.into(), subpath: Some(NASTY.into()), recursive: true, ids: BindIds::Host };
        let mount = |target: &str, source| Mount {
            target: target.to_owned(),
            source,
            attributes: 1,
            recursive_attributes: false,
            propagation: 0,
        };
        let file = MountSource::File { path: format!("/run/{NASTY}").into(), content: NASTY.into() };
        Spec {
            id: "0".repeat(64),
            run_dir: "/run/c".into(),
            hostname: Some(NASTY.to_owned()),
            domainname: Some(NASTY.to_owned()),
            namespaces: Namespaces {
                user: UserNamespace::Host,
                network: Namespace::Host,
                time: Some(TimeOffsets { monotonic: (5, 0), boottime: (-7, 0) }),
                ..Namespaces::default()
            },
            root: Root { source: RootSource::Memory { size_bytes: Some(4096) }, read_only: true },
            mounts: vec![mount(&format!("/{NASTY}"), MountSource::Bind(bind)), mount("/etc/file", file)],
            masked_paths: vec![format!("/{NASTY}"), "/proc/kcore".to_owned()],
            readonly_paths: vec![format!("/-{NASTY}"), "/proc/sys".to_owned()],
            sysctls: vec![("kernel.sem".to_owned(), NASTY.to_owned())],
            loopback: true,
            cgroup: None,
            process: Process {
                args: vec![NASTY.to_owned(), "-x".to_owned(), String::new()],
                env: vec![format!("A={NASTY}"), format!("-B={NASTY}")],
                cwd: format!("/{NASTY}"),
                create_cwd: true,
                user: User::Ids { uid: 7, gid: 8, groups: vec![9, 10] },
                keep_groups: false,
                umask: None,
                capabilities: Capabilities::default(),
                no_new_privileges: true,
                rlimits: vec![Rlimit { resource: 7, soft: 1, hard: u64::MAX }],
                oom_score_adj: Some(-5),
                apparmor_profile: Some(NASTY.to_owned()),
                selinux_label: None,
                seccomp: None,
                terminal: None,
            },
            init: true,
            init_program: None,
        }
    }

    fn print(spec: Spec) -> Result<String, ExplainError> {
        let frame = Frame {
            command: NASTY.to_owned(),
            corten: NASTY.into(),
            names: vec![("run", "/run/c".into())],
            before: vec![("directories".to_owned(), vec!["mkdir \"$run\"".to_owned()])],
            ..Frame::default()
        };
        script(&crate::plan::build(spec, None).unwrap(), &frame)
    }

    #[test]
    fn every_operation_of_a_bundle_has_its_line() {
        let text = print(spec()).unwrap().replace(" \\\n", "");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for line in [
            "--time --monotonic=5 --boottime=-7",
            "there mount -t tmpfs -o mode=755,size=4096 tmpfs \"$stage/root\"",
            "internal bind --into \"/proc/$PID/ns/mnt\" --recursive --options ro --subpath",
            "protect remount,bind,ro proc/sys",
            "mask proc/kcore",
            "mount -o remount,bind,ro none .",
            "echo -5 > \"/proc/$PID/oom_score_adj\"",
            "prlimit --nofile=1:unlimited --",
            "--bounding-set=-all",
            "--no-new-privs",
            "who='7 8 9,10 /'",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let mut spec = spec();
        spec.namespaces.network = Namespace::Join("/proc/7/ns/net".into());
        let error = print(spec).unwrap_err().to_string();
        assert!(error.starts_with("joining the net namespace /proc/7/ns/net: "), "{error}");
    }

    #[test]
    fn no_string_breaks_out() {
        let text = print(spec()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let shell = |args: &[&str]| {
            let output = std::process::Command::new("sh").args(args).current_dir(&dir).output().unwrap();
            (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        // The whole, and what it hands to the first process: the document ends where it should.
        let (_, inside) = text.split_once("<<'INSIDE_'\n").unwrap();
        let (inside, after) = inside.split_once("\nINSIDE_\n").unwrap();
        assert!(after.starts_with("\n# -- Go\n"), "{after}");
        assert!(shell(&["-n", "-c", &text]).0 && shell(&["-n", "-c", inside]).0, "{text}");
        // The words of the program, as a shell takes them.
        let words = text.split("--ready 6 --wait 7 -- ").nth(1).unwrap().split(" <&3").next().unwrap();
        let (_, printed) = shell(&["-c", &format!("printf '<%s>' {words}")]);
        assert_eq!(printed, format!("<{NASTY}><-x><>"));
        assert!(std::fs::read_dir(&dir).unwrap().next().is_none(), "something was executed");
    }
}
