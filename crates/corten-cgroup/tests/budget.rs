//! How many system calls a container's cgroup costs: a start has a budget (DESIGN.md, promise 5).
//!
//! The test runs itself under strace and counts between marks, which are access(2) of a path that tells
//! where we are.

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use corten_cgroup::resources::{Memory, Pids};
use corten_cgroup::{Cgroup, Layout, Plan, Resources};

/// Memory and pids limited, as `corten run -m 512m --pids-limit 512` has it.
fn typical() -> Resources {
    Resources {
        memory: Some(Memory { limit: Some(512 << 20), ..Memory::default() }),
        pids: Some(Pids { limit: Some(512) }),
        ..Resources::default()
    }
}

fn mark(name: &str) {
    let _ = rustix::fs::access(format!("/corten-mark/{name}"), rustix::fs::Access::EXISTS);
}

/// Does nothing of its own accord; `calls_are_counted` runs it.
#[test]
fn traced() {
    if std::env::var_os("CORTEN_BUDGET").is_none() {
        return;
    }
    // What a second container costs: the first one makes the parent.
    let first = support::path("budget-first");
    let second = support::path("budget");
    let layout = Layout::detect().unwrap();
    let first = Cgroup::create(&layout, &first, &typical()).unwrap();
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = child.id() as i32;
    mark("detect");
    let layout = Layout::detect().unwrap();
    mark("plan");
    let plan = Plan::new(&layout, &second, &typical()).unwrap();
    mark("create");
    let cgroup = Cgroup::carry_out(plan).unwrap();
    mark("attach");
    cgroup.attach(pid).unwrap();
    mark("kill");
    cgroup.kill_all().unwrap();
    mark("none");
    child.wait().unwrap();
    mark("oom_kills");
    assert_eq!(cgroup.oom_kills().unwrap(), 0);
    mark("remove");
    cgroup.remove().unwrap();
    mark("none");
    first.remove().unwrap();
    support::remove_parent(&layout);
}

#[test]
fn calls_are_counted() {
    if support::layouts().is_empty() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let run = Command::new("strace")
        .args(["-f", "-qq", "-e", "signal=none", "-o"])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "traced", "--test-threads=1"])
        .env("CORTEN_BUDGET", "1")
        .output();
    match run {
        Err(e) => return println!("skipped: strace: {e}"),
        Ok(run) => assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout)),
    }
    let counts = count(&std::fs::read_to_string(&log).unwrap());
    println!("{counts:?}");
    let layout = Layout::detect().unwrap();
    let members = Plan::new(&layout, &support::path("members"), &typical()).unwrap().members.len();
    let v2 = layout.kind == corten_cgroup::Kind::V2;
    // mkdir each; two limits of open, write, close; on v2 a look whether the controllers are there.
    let create = members + 6 + if v2 { 3 } else { 0 };
    // v1: statfs, mountinfo to its end, and cgroup2's controllers.
    let detect = if v2 { 4 } else { 8 };
    let budget = [
        ("detect", detect),
        ("plan", 0),
        ("create", create),
        ("attach", 3 * members),
        ("kill", 3),
        ("oom_kills", 4),
        ("remove", members),
    ];
    for (step, most) in budget {
        let calls = counts.get(step).copied().unwrap_or(0);
        if step == "kill" && layout.unified.is_none() {
            continue;
        }
        assert!(calls <= most, "{step}: {calls} calls, budget {most}");
    }
}

/// Left out: memory for the allocator, the second half of a call that strace had to split, the standard
/// library's check in debug builds that a descriptor to close is open, and the clock, which is a system
/// call only where there is no vDSO (user-mode Linux).
const NOISE: [&str; 7] = ["brk(", "mmap(", "munmap(", "mprotect(", "<... ", "fcntl(", "clock_gettime("];

/// Calls by step, of the thread that makes the marks.
fn count(log: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let mut thread = None;
    let mut step = "none".to_owned();
    for line in log.lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some((_, mark)) = call.split_once("/corten-mark/") {
            thread = Some(pid);
            step = mark.split('"').next().unwrap_or_default().to_owned();
        } else if thread == Some(pid) && !NOISE.iter().any(|noise| call.starts_with(noise)) {
            *counts.entry(step.clone()).or_default() += 1;
        }
    }
    counts
}
