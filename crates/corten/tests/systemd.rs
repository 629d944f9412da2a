//! `corten --cgroup-manager systemd`: containers in scopes, against a bus that the test runs and that does
//! to cgroups what systemd would.

mod common;
#[path = "../../corten-cgroup/tests/support/fake_systemd.rs"]
mod fake_systemd;

use std::path::{Path, PathBuf};
use std::process::Output;

use common::{Host, text};
use fake_systemd::{Any, FakeSystemd, Trick};

/// The hierarchies that systemd makes a scope in.
fn hierarchies() -> Vec<(PathBuf, bool)> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return vec![(root.to_owned(), true)];
    }
    let names = ["systemd", "unified", "memory", "pids", "cpu"].map(|name| root.join(name));
    names.into_iter().filter(|dir| dir.is_dir()).map(|dir| (dir, false)).collect()
}

fn can_run() -> bool {
    let root = Path::new("/sys/fs/cgroup");
    let can = root.join("cgroup.controllers").exists() || root.join("systemd").is_dir();
    if !can {
        eprintln!("skipped: neither cgroup2 nor a hierarchy `name=systemd` is mounted");
    }
    can
}

/// A slice of this test's own, removed with it.
struct Slice(String);

impl Slice {
    fn new(test: &str) -> Slice {
        Slice(format!("cortentest{}{test}.slice", std::process::id()))
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        for name in ["", "systemd", "unified", "memory", "pids", "cpu", "cpuacct", "devices", "freezer"] {
            let _not_there = std::fs::remove_dir(Path::new("/sys/fs/cgroup").join(name).join(&self.0));
        }
    }
}

fn run(host: &Host, fake: &FakeSystemd, slice: &Slice, args: &[&str]) -> Output {
    let mut all = vec!["--cgroup-manager", "systemd", "run", "--cgroup-parent", &slice.0];
    all.extend(args);
    host.command(&all).env("DBUS_SYSTEM_BUS_ADDRESS", &fake.address).output().unwrap()
}

#[test]
fn a_container_lives_in_a_scope_and_sees_its_own_part() {
    let host = need_host!();
    if !can_run() {
        return;
    }
    let (fake, slice) = (FakeSystemd::start(hierarchies(), Trick::None), Slice::new("own"));
    let pids = if hierarchies()[0].1 { "" } else { "pids/" };
    let script = format!("cat /proc/self/cgroup /sys/fs/cgroup/{pids}pids.max; mkdir /sys/fs/cgroup/{pids}x");
    let args = ["--rm", "--pids-limit", "77", "-m", "64m", "busybox", "sh", "-c", &script];
    let output = run(&host, &fake, &slice, &args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(out.ends_with("\n77\n") && !out.contains(".scope"), "{out}{err}");
    assert!(err.contains("Read-only file system"), "{err}");
    let properties = fake.call("StartTransientUnit").properties();
    assert_eq!(properties["Slice"].1, Any::Text(slice.0.clone()));
    assert_eq!(properties["TasksMax"].1, Any::Number(77));
    assert!(fake.was_called("StopUnit") && fake.was_called("ResetFailedUnit"));
    // The whole path, as the host has it.
    let script = "cat /proc/self/cgroup";
    let output = run(&host, &fake, &slice, &["--rm", "--cgroupns", "host", "busybox", "sh", "-c", script]);
    let path = format!(":/{}/corten-", slice.0);
    assert!(text(&output.stdout).contains(&path), "{}{}", text(&output.stdout), text(&output.stderr));
    host.assert_clean(&[]);
}

#[test]
fn memory_is_limited_in_a_scope_too() {
    let host = need_host!();
    if !can_run() {
        return;
    }
    let (fake, slice) = (FakeSystemd::start(hierarchies(), Trick::None), Slice::new("oom"));
    let hog = "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done";
    let output = run(&host, &fake, &slice, &["--name", "hog", "-m", "16m", "busybox", "sh", "-c", hog]);
    assert_eq!(output.status.code(), Some(137), "{}", text(&output.stderr));
    let state = host.corten(&["inspect", "-f", "{{.State.OOMKilled}}", "hog"]);
    assert_eq!(text(&state.stdout), "true\n");
    host.corten(&["rm", "hog"]);
    host.assert_clean(&[]);
}

/// What a killed monitor leaves is collected with its scope, by a command that was told nothing of
/// systemd: the record knows.
#[test]
fn the_next_command_stops_the_scope_of_a_killed_container() {
    let host = need_host!();
    if !can_run() {
        return;
    }
    let (fake, slice) = (FakeSystemd::start(hierarchies(), Trick::None), Slice::new("rm"));
    let output = run(&host, &fake, &slice, &["-d", "--name", "web", "busybox", "sleep", "1000"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!fake.was_called("StopUnit"));
    assert!(host.corten(&["rm", "-f", "web"]).status.success());
    assert!(fake.was_called("StopUnit"));
    host.assert_clean(&[]);
}

/// Nor does whoever attends it in the place of a killed monitor know of systemd by anything else.
#[test]
fn a_monitor_that_adopts_a_container_stops_its_scope() {
    let host = need_host!();
    if !can_run() {
        return;
    }
    let (fake, slice) = (FakeSystemd::start(hierarchies(), Trick::None), Slice::new("adopt"));
    let output = run(&host, &fake, &slice, &["-d", "--name", "web", "busybox", "sleep", "1000"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let pid = text(&host.corten(&["inspect", "-f", "{{.State.Pid}}", "web"]).stdout);
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap();
    let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse();
    let monitor = rustix::process::Pid::from_raw(monitor.unwrap()).unwrap();
    let pidfd = rustix::process::pidfd_open(monitor, rustix::process::PidfdFlags::empty()).unwrap();
    rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).unwrap();
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, None).unwrap();
    for args in [&["ps"][..], &["pause", "web"], &["unpause", "web"], &["stop", "web"]] {
        let output = host.corten(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    }
    assert!(fake.was_called("StopUnit"));
    assert!(host.corten(&["rm", "web"]).status.success());
    host.assert_clean(&[]);
}

#[test]
fn a_failure_is_told_and_leaves_nothing() {
    let host = need_host!();
    if !can_run() {
        return;
    }
    for (trick, expected) in [
        (Trick::DoesNotMove, "is there, but process"),
        (Trick::JobFails, ".scope ended as failed"),
        (Trick::RejectsEveryone, "AUTH EXTERNAL was answered with REJECTED"),
    ] {
        let (fake, slice) = (FakeSystemd::start(hierarchies(), trick), Slice::new("fail"));
        let output = run(&host, &fake, &slice, &["--rm", "busybox", "true"]);
        assert_eq!(output.status.code(), Some(125));
        assert!(text(&output.stderr).contains(expected), "{trick:?}: {}", text(&output.stderr));
        host.assert_clean(&[]);
    }
    let (fake, slice) = (FakeSystemd::start(hierarchies(), Trick::None), Slice("corten".to_owned()));
    let output = run(&host, &fake, &slice, &["--rm", "busybox", "true"]);
    assert_eq!(output.status.code(), Some(125));
    let err = text(&output.stderr);
    assert!(err.contains("\"corten\" is no name of a slice: it must end with .slice"), "{err}");
    assert!(err.contains("machine.slice"), "{err}");
    let output = host.corten(&["--cgroup-manager", "docker", "run", "--rm", "busybox", "true"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).contains("use cgroupfs or systemd"), "{}", text(&output.stderr));
    host.assert_clean(&[]);
}
