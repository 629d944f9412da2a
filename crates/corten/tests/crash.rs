//! kill -9, and an error, at every system call of a start, in each of its processes: what the next command
//! finds is collected by it, the same start then succeeds, and a container that runs meanwhile is left alone.
//!
//! A sample of the calls by default, another with each run; all of them with `CORTEN_TEST_ALL=1`, as in CI. A try
//! counts only if the fault happened: `fault.c` says so.

#![cfg(target_arch = "x86_64")]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{Host, text};

const ROLES: [&str; 5] = ["command", "monitor", "first process", "program", "log writer"];
/// Calls that a C library or Rust's runtime makes for itself, that cannot fail (14 rt_sigprocmask, 247 waitid
/// of a child, 63 uname), or (271 ppoll) whose failure means that there are no streams to tell it.
const OF_THE_RUNTIME: [u32; 18] =
    [9, 10, 11, 12, 13, 14, 60, 63, 107, 131, 158, 204, 218, 231, 247, 271, 273, 334];

const EXECVE: u32 = 59;

struct Bench {
    host: Host,
    fault: PathBuf,
    /// All cgroups of this test are below it.
    parent: String,
    bystander: String,
    tries: usize,
}

/// What a fault did.
struct Tried {
    /// The number of the system call that it hit; `None`: that process made fewer calls.
    hit: Option<u32>,
    output: Output,
}

impl Bench {
    fn new(host: Host, name: &str) -> Option<Self> {
        let fault = host.path("fault");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fault.c");
        let made = Command::new("cc").args(["-O1", "-o"]).arg(&fault).arg(source).output();
        if !made.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: needs a C compiler and headers (cargo xtask deps)");
            return None;
        }
        let parent = format!("corten-crash-{name}-{}", std::process::id());
        let run =
            ["run", "-d", "--cgroup-parent", &parent, "--name", "bystander", "busybox", "sleep", "1000"];
        let output = host.corten(&run);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let bystander = text(&output.stdout).trim().to_owned();
        Some(Self { host, fault, parent, bystander, tries: 0 })
    }

    fn start<'a>(&'a self, flags: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["run", "--cgroup-parent", &self.parent];
        args.extend(flags);
        args.extend(["busybox", "echo", "it ran"]);
        args
    }

    fn traced(&self, role: usize, nth: usize, fault: &str, args: &[&str]) -> (String, Output) {
        let report = self.host.path("report");
        let command = self.host.command(args);
        let output = Command::new("timeout")
            .args(["-k", "1", "30"])
            .arg(&self.fault)
            .arg(&report)
            .args([&role.to_string(), &nth.to_string(), fault])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            !matches!(output.status.code(), Some(120..=124)),
            "a hang: {fault} at call {nth} of the {}: {}",
            ROLES[role],
            text(&output.stderr)
        );
        (std::fs::read_to_string(report).unwrap(), output)
    }

    fn inject(&self, role: usize, nth: usize, fault: &str, args: &[&str]) -> Tried {
        let (report, output) = self.traced(role, nth, fault, args);
        Tried { hit: report.strip_prefix("hit ").map(|number| number.trim().parse().unwrap()), output }
    }

    /// The system calls that each process makes. Now and then the kernel does not tell of a birth, and the run
    /// is made again.
    fn calls(&self, args: &[&str]) -> Vec<Vec<u32>> {
        for _ in 0..10 {
            let (report, output) = self.traced(0, 0, "kill", args);
            assert!(output.status.success(), "{}", text(&output.stderr));
            let numbers =
                |line: &str| line.split(' ').skip(2).map(|number| number.parse().unwrap()).collect();
            let calls: Vec<Vec<u32>> = report.lines().map(numbers).collect();
            // The log has a writer only where there is a log.
            if calls.len() >= ROLES.len() - 1 {
                return calls;
            }
            self.wait_for_the_living();
            self.host.corten(&["rm", "-f", "started", "kept"]);
        }
        let (report, output) = self.traced(0, 0, "kill", args);
        panic!("ten runs, and none was seen whole: {report} {output:?}");
    }

    /// Waits for whoever still attends something: it has not been killed, and cleans up itself.
    fn wait_for_the_living(&self) {
        use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
        for id in names(&self.host.path("run")) {
            let dir = self.host.path("run").join(&id);
            if id.len() == 64 && id != self.bystander {
                // Gone already is as good.
                if let Ok(dir) = open(&dir, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
                    flock(&dir, FlockOperation::LockShared).unwrap();
                }
            }
        }
    }

    /// Waits for the end of a container that goes on without its monitor.
    fn wait_for_orphans(&self) {
        use rustix::event::{PollFd, PollFlags, poll};
        use rustix::process::{Pid, PidfdFlags, pidfd_open};
        for id in names(&self.host.path("run")).iter().filter(|id| **id != self.bystander) {
            let state = std::fs::read(self.host.path("run").join(id).join("state.json")).unwrap_or_default();
            let Ok(state) = serde_json::from_slice::<serde_json::Value>(&state) else { continue };
            let pid = state["pid"].as_i64().and_then(|pid| Pid::from_raw(pid as i32));
            if let Some(Ok(pidfd)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
                poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
            }
        }
    }

    /// What is left that no record owns; `kept`: what a kept container may have besides.
    fn left(&self, kept: &BTreeSet<String>) -> Vec<String> {
        let ours = |id: &str| id == self.bystander || kept.contains(id);
        let mut left = Vec::new();
        let mut add = |what: &str, name: &str| left.push(format!("{what} {name}"));
        let run = self.host.path("run");
        for name in names(&run)
            .iter()
            .filter(|name| !["ids", "swept", "events", &self.bystander].contains(&name.as_str()))
        {
            add("run directory", name);
        }
        let root = self.host.path("root");
        names(&root.join("containers")).iter().filter(|id| !ours(id)).for_each(|id| add("container", id));
        for (what, links) in [("name", root.join("names")), ("lease", run.join("ids"))] {
            for name in names(&links) {
                let owner = std::fs::read_link(links.join(&name)).unwrap();
                let owner = owner.to_str().unwrap();
                if !(ours(owner) && (what == "name" || owner == self.bystander)) {
                    add(what, &name);
                }
            }
        }
        names(&root.join("places")).iter().filter(|name| name.len() == 64).for_each(|id| add("places", id));
        for container in names(&root.join("containers")) {
            for file in names(&root.join("containers").join(container)) {
                if file.ends_with(".new") {
                    add("partial file", &file);
                }
            }
        }
        for hierarchy in hierarchies() {
            for id in names(&Path::new("/sys/fs/cgroup").join(&hierarchy).join(&self.parent)) {
                if id.len() == 64 && id != self.bystander {
                    add("cgroup", &format!("{hierarchy}/{id}"));
                }
            }
        }
        let place = self.host.dir.path().to_str().unwrap();
        for pid in names(Path::new("/proc")) {
            let read =
                |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let attends = read("cmdline").contains(place) && !read("cmdline").contains("\0bystander\0");
            // A monitor that has told the end is about to end itself.
            if attends && pid.parse().is_ok_and(|pid| !ends(pid)) {
                add("process", &format!("{pid} {}", read("cmdline").replace('\0', " ")));
            }
        }
        if std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(place) {
            add("mount", place);
        }
        left
    }

    /// One fault, the next command, and the judgement.
    fn try_one(&mut self, role: usize, nth: usize, fault: &str, flags: &[&str]) -> Option<Tried> {
        let args = self.start(flags);
        let tried = self.inject(role, nth, fault, &args);
        let call = tried.hit?;
        let when = format!("{fault} at call {nth} (number {call}) of the {}", ROLES[role]);
        self.wait_for_orphans();
        let next: [&[&str]; 5] =
            [&["ps", "-a"], &["run", "--rm", "busybox", "true"], &["images"], &["rm", "no-such"], &["info"]];
        let next = next[self.tries % next.len()];
        let output = self.host.corten(next);
        assert!(output.status.success() || next[0] == "rm", "{when}: {next:?}: {}", text(&output.stderr));
        self.wait_for_the_living();
        let listed = text(&self.host.corten(&["ps", "-aq", "--no-trunc"]).stdout);
        let kept: BTreeSet<String> =
            listed.lines().filter(|&id| id != self.bystander).map(str::to_owned).collect();
        assert!(kept.is_empty() || !flags.contains(&"--rm"), "{when}: {kept:?}");
        let left = self.left(&kept);
        assert!(left.is_empty(), "{when}, then {next:?}: {left:#?}\n{}", text(&tried.output.stderr));
        for id in &kept {
            let removed = self.host.corten(&["rm", id]);
            assert!(removed.status.success(), "{when}: rm: {}", text(&removed.stderr));
        }
        let again = self.host.corten(&self.start(flags));
        assert_eq!(text(&again.stdout), "it ran\n", "{when}: again: {}", text(&again.stderr));
        for id in text(&self.host.corten(&["ps", "-aq"]).stdout).lines() {
            if !self.bystander.starts_with(id) {
                assert!(self.host.corten(&["rm", id]).status.success(), "{when}");
            }
        }
        let alive = self.host.corten(&["inspect", "-f", "{{.State.Running}}", "bystander"]);
        assert_eq!(text(&alive.stdout), "true\n", "{when}: the bystander");
        let left = self.left(&BTreeSet::new());
        assert!(left.is_empty(), "{when}, then the same again: {left:#?}");
        self.tries += 1;
        Some(tried)
    }

    /// Every `stride`th call of each process, or every one.
    fn each(&mut self, stride: usize, flags: &[&str], mut one: impl FnMut(&mut Self, usize, usize, u32)) {
        let stride = if std::env::var_os("CORTEN_TEST_ALL").is_some() { 1 } else { stride };
        let calls = self.calls(&self.start(flags));
        if !flags.contains(&"--rm") {
            for id in text(&self.host.corten(&["ps", "-aq"]).stdout).lines() {
                if !self.bystander.starts_with(id) {
                    assert!(self.host.corten(&["rm", id]).status.success());
                }
            }
        }
        if calls.iter().all(Vec::is_empty) {
            return eprintln!("skipped: this kernel has no PTRACE_GET_SYSCALL_INFO (user-mode Linux)");
        }
        // Another sample with each run; the failure says which call it was.
        let offset = std::process::id() as usize % stride;
        for (role, calls) in calls.iter().enumerate() {
            // After its last exec the program is the image's own.
            let ours = match calls.iter().rposition(|call| role == 3 && *call == EXECVE) {
                Some(exec) => exec + 1,
                None => calls.len(),
            };
            for nth in (1 + offset..=ours).step_by(stride) {
                one(self, role, nth, calls[nth - 1]);
            }
        }
        eprintln!("{} faults happened", self.tries);
        assert!(self.tries >= 8, "{}", self.tries);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.host.corten(&["rm", "-f", "bystander"]);
        for hierarchy in hierarchies() {
            let _busy = std::fs::remove_dir(Path::new("/sys/fs/cgroup").join(hierarchy).join(&self.parent));
        }
    }
}

/// Whether a process ends within ten seconds.
fn ends(pid: i32) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    let pidfd = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
    pidfd.is_none_or(|pidfd| poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)) == Ok(1))
}

/// Below /sys/fs/cgroup; on pure v2 that is the only one itself.
fn hierarchies() -> Vec<String> {
    let mut all = names(Path::new("/sys/fs/cgroup"));
    all.push(String::new());
    all
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn killed_at_every_call_of_a_start() {
    let Some(mut bench) = Bench::new(need_host!(), "kill") else { return };
    let flags = ["--rm", "--name", "started"];
    bench.each(8, &flags, |bench, role, nth, _| drop(bench.try_one(role, nth, "kill", &flags)));
}

#[test]
fn killed_at_every_call_of_a_start_that_is_kept() {
    let Some(mut bench) = Bench::new(need_host!(), "kept") else { return };
    let flags = ["--name", "started"];
    bench.each(16, &flags, |bench, role, nth, _| drop(bench.try_one(role, nth, "kill", &flags)));
}

#[test]
fn a_start_that_is_under_way_is_not_collected() {
    let host = need_host!();
    let mut outputs = Vec::new();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let commands: [&[&str]; 3] = [&["ps", "-a"], &["rm", "no-such"], &["images"]];
        for command in commands {
            let (host, done) = (&host, &done);
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    host.corten(command);
                }
            });
        }
        for round in 0..8 {
            let starts: Vec<_> = (0..6)
                .map(|start| {
                    let name = format!("start-{round}-{start}");
                    let flags: &[&str] =
                        if start % 2 == 0 { &["run", "--rm"] } else { &["run", "--name", &name] };
                    let mut run = host.command(&[flags, &["busybox", "echo", "it ran"]].concat());
                    run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
                })
                .collect();
            outputs.extend(starts.into_iter().map(|start| start.wait_with_output().unwrap()));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    for output in outputs {
        assert_eq!(text(&output.stdout), "it ran\n", "{}", text(&output.stderr));
    }
    let listed = text(&host.corten(&["ps", "-aq"]).stdout);
    assert_eq!(listed.lines().count(), 8 * 3);
    for id in listed.lines() {
        assert!(host.corten(&["rm", id]).status.success());
    }
    host.assert_clean(&[]);
}

/// Of processes whose calls set up the container, those that a failure of makes it less safe.
const OF_SAFETY: [(u32, &str); 14] = [
    (105, "setuid"),
    (116, "setgroups"),
    (117, "setresuid"),
    (119, "setresgid"),
    (126, "capset"),
    (155, "pivot_root"),
    (157, "prctl"),
    (165, "mount"),
    (166, "umount2"),
    (272, "unshare"),
    (317, "seccomp"),
    (429, "move_mount"),
    (436, "close_range"),
    (442, "mount_setattr"),
];

fn fails_cleanly(name: &str, errno: u32, stride: usize) {
    let Some(mut bench) = Bench::new(need_host!(), name) else { return };
    let flags = ["--rm", "--name", "started"];
    let fault = errno.to_string();
    let mut wrong = Vec::new();
    bench.each(stride, &flags, |bench, role, nth, call| {
        // The execve(2) of the command itself is the tracer's.
        if OF_THE_RUNTIME.contains(&call) || (role, nth) == (0, 1) {
            return;
        }
        let Some(tried) = bench.try_one(role, nth, &fault, &flags) else { return };
        // A run is not call for call like the one that was counted.
        if tried.hit.is_some_and(|hit| OF_THE_RUNTIME.contains(&hit)) {
            return;
        }
        let (code, err) = (tried.output.status.code(), text(&tried.output.stderr));
        let when = format!("errno {errno} at call {nth} ({call}) of the {}", ROLES[role]);
        if code == Some(0) {
            let safety = OF_SAFETY.iter().find(|(number, _)| Some(*number) == tried.hit);
            // The monitor only closes what it needs no more, and a failed close still closes.
            let closes = role == 1 && tried.hit == Some(436);
            if let (1.., Some(safety), false) = (role, safety, closes) {
                wrong.push(format!("{when}: {safety:?} failed and the start succeeded"));
            }
        } else if err.is_empty() && code != Some(134) {
            wrong.push(format!("{when}: code {code:?} and no word"));
        } else if err.contains("panicked") {
            wrong.push(format!("{when}: {err}"));
        }
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_io_error_at_every_call() {
    fails_cleanly("eio", 5, 14);
}

#[test]
fn no_memory_at_every_call() {
    fails_cleanly("enomem", 12, 24);
}

#[test]
fn no_descriptor_at_every_call() {
    fails_cleanly("emfile", 24, 24);
}

#[test]
fn no_space_at_every_call() {
    fails_cleanly("enospc", 28, 24);
}
