//! Faults at system calls: the bench that carries them out by `fault.c`, and the judgement of what is left.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

use super::{Host, text};

/// Calls that a C library or Rust's runtime makes for itself, that cannot fail (14 rt_sigprocmask, 247 waitid
/// of a child, 63 uname), or (271 ppoll) whose failure means that there are no streams to tell it.
pub const OF_THE_RUNTIME: [u32; 18] =
    [9, 10, 11, 12, 13, 14, 60, 63, 107, 131, 158, 204, 218, 231, 247, 271, 273, 334];

pub struct Bench {
    pub host: Host,
    fault: PathBuf,
    /// All cgroups of this test are below it.
    pub parent: String,
    pub bystander: String,
    pub tries: usize,
}

/// What a fault did.
pub struct Tried {
    /// The number of the system call that it hit; `None`: that process made fewer calls.
    pub hit: Option<u32>,
    pub output: Output,
}

/// Where a fault is put in.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The number of the process by birth, and what it is.
    pub role: usize,
    pub name: &'a str,
    /// Its how manieth call; 0 counts all instead.
    pub nth: usize,
}

/// Whose calls are traced, beside those of the command and of whom that gives birth to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Traced {
    /// Nobody's, until all have ended.
    All,
    /// Nobody's, until the command has ended: others go on.
    Command,
    /// Those of this process, which goes before the command.
    With(i32),
}

impl Bench {
    pub fn new(host: Host, name: &str) -> Option<Self> {
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

    pub fn traced(&self, place: Place<'_>, fault: &str, traced: Traced, args: &[&str]) -> (String, Output) {
        let report = self.host.path("report");
        let command = self.host.command(args);
        let pid = if let Traced::With(pid) = traced { pid } else { 0 };
        let output = Command::new("timeout")
            .args(["-k", "1", "120"])
            .arg(&self.fault)
            .arg(&report)
            .args([&place.role.to_string(), &place.nth.to_string(), fault])
            .arg(pid.to_string())
            .arg(if traced == Traced::Command { "command" } else { "all" })
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            !matches!(output.status.code(), Some(120..=124)),
            "a hang: {fault} at call {} of the {}: {}",
            place.nth,
            place.name,
            text(&output.stderr)
        );
        (std::fs::read_to_string(report).unwrap(), output)
    }

    pub fn inject(&self, place: Place<'_>, fault: &str, traced: Traced, args: &[&str]) -> Tried {
        let (report, output) = self.traced(place, fault, traced, args);
        Tried { hit: report.strip_prefix("hit ").map(|number| number.trim().parse().unwrap()), output }
    }

    /// The system calls that each process makes, and what the command said.
    pub fn count(&self, traced: Traced, args: &[&str]) -> (Vec<Vec<u32>>, Output) {
        let place = Place { role: 0, name: "command", nth: 0 };
        let (report, output) = self.traced(place, "kill", traced, args);
        let numbers = |line: &str| line.split(' ').skip(2).map(|number| number.parse().unwrap()).collect();
        (report.lines().map(numbers).collect(), output)
    }

    /// Waits for whoever still attends something: it has not been killed, and cleans up itself.
    pub fn wait_for_the_living(&self) {
        self.held(&BTreeSet::new(), FlockOperation::LockShared);
    }

    /// Whether somebody attends a container other than these.
    pub fn is_attended_beside(&self, alive: &BTreeSet<String>) -> bool {
        self.held(alive, FlockOperation::NonBlockingLockShared)
    }

    fn held(&self, alive: &BTreeSet<String>, lock: FlockOperation) -> bool {
        let ours = |id: &String| id.len() == 64 && *id != self.bystander && !alive.contains(id);
        let mut held = false;
        for id in names(&self.host.path("run")).into_iter().filter(ours) {
            // Gone already is as good.
            let dir = open(self.host.path("run").join(&id), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            held |= dir.is_ok_and(|dir| flock(&dir, lock).is_err());
        }
        held
    }

    /// Waits for the end of a container that goes on without its monitor.
    pub fn wait_for_orphans(&self, alive: &BTreeSet<String>) {
        use rustix::event::{PollFd, PollFlags, poll};
        use rustix::process::{Pid, PidfdFlags, pidfd_open};
        for id in
            names(&self.host.path("run")).iter().filter(|id| **id != self.bystander && !alive.contains(*id))
        {
            let state = std::fs::read(self.host.path("run").join(id).join("state.json")).unwrap_or_default();
            let Ok(state) = serde_json::from_slice::<serde_json::Value>(&state) else { continue };
            let pid = state["pid"].as_i64().and_then(|pid| Pid::from_raw(pid as i32));
            if let Some(Ok(pidfd)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
                poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
            }
        }
    }

    /// What is left that no record owns. `kept`: containers that there are, `alive`: those that run.
    pub fn left(&self, kept: &BTreeSet<String>, alive: &BTreeSet<String>) -> Vec<String> {
        let runs = |id: &str| id == self.bystander || alive.contains(id);
        let ours = |id: &str| runs(id) || kept.contains(id);
        let mut left = Vec::new();
        let mut add = |what: &str, name: &str| left.push(format!("{what} {name}"));
        let run = self.host.path("run");
        for name in names(&run)
            .iter()
            .filter(|name| !["ids", "swept", "events"].contains(&name.as_str()) && !runs(name))
        {
            add("run directory", name);
        }
        let root = self.host.path("root");
        names(&root.join("containers")).iter().filter(|id| !ours(id)).for_each(|id| add("container", id));
        for (what, links) in [("name", root.join("names")), ("lease", run.join("ids"))] {
            for name in names(&links) {
                let owner = std::fs::read_link(links.join(&name)).unwrap();
                let owner = owner.to_str().unwrap();
                if !(ours(owner) && (what == "name" || runs(owner))) {
                    add(what, &name);
                }
            }
        }
        names(&root.join("places")).iter().filter(|name| name.len() == 64).for_each(|id| add("places", id));
        for container in names(&root.join("containers")) {
            for file in names(&root.join("containers").join(&container)) {
                // Of one that is attended somebody may be writing it.
                if file.ends_with(".new") && !runs(&container) {
                    add("partial file", &file);
                }
            }
        }
        for hierarchy in hierarchies() {
            for id in names(&Path::new("/sys/fs/cgroup").join(&hierarchy).join(&self.parent)) {
                if id.len() == 64 && !runs(&id) {
                    add("cgroup", &format!("{hierarchy}/{id}"));
                }
            }
        }
        self.processes(&runs).iter().for_each(|process| add("process", process));
        let place = self.host.dir.path().to_str().unwrap();
        if std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(place) {
            add("mount", place);
        }
        left
    }

    /// Processes of ours that attend no container that runs, and do not end.
    fn processes(&self, runs: &dyn Fn(&str) -> bool) -> Vec<String> {
        let place = self.host.dir.path().to_str().unwrap();
        let run = self.host.path("run");
        let mut found = Vec::new();
        for pid in names(Path::new("/proc")) {
            let read =
                |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let ours = pid.parse::<i32>().ok().filter(|_| read("cmdline").contains(place));
            let Some(number) = ours else { continue };
            // A monitor, or the log writer that it has forked.
            let parent =
                read("stat").rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
            let attends = |pid: i32| attended(pid, &run).iter().any(|id| runs(id));
            if attends(number) || parent.is_some_and(attends) {
                continue;
            }
            // A monitor that has told the end is about to end itself.
            if !ends(number) {
                found.push(format!("{pid} {}", read("cmdline").replace('\0', " ")));
            }
        }
        found
    }

    /// Removes every container but the bystander.
    pub fn remove_all(&self) {
        for id in text(&self.host.corten(&["ps", "-aq"]).stdout).lines() {
            if !self.bystander.starts_with(id) {
                let removed = self.host.corten(&["rm", "-f", id]);
                assert!(removed.status.success(), "{}", text(&removed.stderr));
            }
        }
    }
}

/// The containers whose directory of the living a process has open: it holds them.
pub fn attended(pid: i32, run: &Path) -> Vec<String> {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let open = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
    let below = open.filter_map(|path| Some(path.strip_prefix(run).ok()?.to_str()?.to_owned()));
    below.collect()
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.host.corten(&["rm", "-f", "bystander"]);
        for hierarchy in hierarchies() {
            let _busy = std::fs::remove_dir(Path::new("/sys/fs/cgroup").join(hierarchy).join(&self.parent));
        }
    }
}

/// Whether a process ends within a minute.
pub fn ends(pid: i32) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    let pidfd = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let limit = Timespec { tv_sec: 60, tv_nsec: 0 };
    pidfd.is_none_or(|pidfd| poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)) == Ok(1))
}

/// Below /sys/fs/cgroup; on pure v2 that is the only one itself.
pub fn hierarchies() -> Vec<String> {
    let mut all = names(Path::new("/sys/fs/cgroup"));
    all.push(String::new());
    all
}

pub fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Of processes whose calls set up the container, those that a failure of makes it less safe.
pub const OF_SAFETY: [(u32, &str); 14] = [
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
