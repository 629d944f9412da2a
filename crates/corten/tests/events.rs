//! `corten events`: what was done, and what is done meanwhile.

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use common::{Host, text};

fn past(host: &Host, args: &[&str]) -> Vec<String> {
    let mut all = vec!["events", "--since", "1h", "--until", "0s", "--format", "{{.Type}} {{.Action}}"];
    all.extend(args);
    let output = host.corten(&all);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn the_life_of_containers_images_and_volumes_is_told() {
    let host = need_host!();
    assert_eq!(past(&host, &[]), ["image import"]);
    assert_eq!(host.sh(&["--name", "short", "-l", "tier=a"], "exit 3").0, 3);
    let life = ["container create", "container start", "container die", "container destroy"];
    assert_eq!(past(&host, &["-f", "container=short"]), life);
    assert_eq!(past(&host, &["-f", "label=tier=a", "-f", "event=die"]), ["container die"]);
    let mut args = vec!["events", "--since", "1h", "--until", "0s"];
    args.extend([
        "--format",
        "{{.Actor.Attributes.exitCode}} {{.Actor.Attributes.name}} {{.from}}",
        "-f",
        "event=die",
    ]);
    assert_eq!(text(&host.corten(&args).stdout), "3 short busybox\n");
    assert!(host.corten(&["run", "-d", "--name", "long", "busybox", "sleep", "1000"]).status.success());
    assert!(host.corten(&["rm", "-f", "long"]).status.success());
    let mut told = past(&host, &["-f", "container=long"]);
    // The kill is told by who kills, the end by who sees it: they do it at once.
    told[2..4].sort();
    let life = ["create", "start", "die", "kill", "destroy"].map(|action| format!("container {action}"));
    assert_eq!(told, life);
    host.corten(&["volume", "create", "data"]);
    host.corten(&["volume", "rm", "data"]);
    assert_eq!(past(&host, &["-f", "volume=data"]), ["volume create", "volume destroy"]);
    assert_eq!(host.corten(&["run", "--rm", "--name", "bad", "busybox", "/nope"]).status.code(), Some(127));
    assert_eq!(past(&host, &["-f", "container=bad"]), ["container create", "container destroy"]);
    host.corten(&["rmi", "busybox"]);
    assert_eq!(past(&host, &["-f", "type=image"]), ["image import", "image untag", "image delete"]);
}

#[test]
fn a_follower_is_told_at_once() {
    let host = need_host!();
    let mut child = host
        .command(&["events", "--format", "json", "-f", "type=container"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Only what happens from then on is shown: until the first is seen, again.
    let run = |name: &str| {
        assert!(host.corten(&["run", "--rm", "--name", name, "busybox", "true"]).status.success())
    };
    let watched = host.path("run/events");
    let is_watching = || {
        std::fs::read_dir(format!("/proc/{}/fd", child.id())).is_ok_and(|entries| {
            entries.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to == watched))
        })
    };
    while !is_watching() {
        std::thread::yield_now();
    }
    run("first");
    run("second");
    let mut seen = Vec::new();
    loop {
        let event: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let name = event["Actor"]["Attributes"]["name"].as_str().unwrap().to_owned();
        let action = event["Action"].as_str().unwrap().to_owned();
        let last = name == "second" && action == "destroy";
        assert_eq!(event["from"], "busybox");
        if name == "second" {
            seen.push(action);
        }
        if last {
            break;
        }
    }
    assert_eq!(seen, ["create", "start", "die", "destroy"]);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_end_that_nobody_saw_is_told_by_who_finds_it() {
    let host = need_host!();
    let output = host.corten(&["run", "-d", "--name", "left", "busybox", "sleep", "1000"]);
    let id = text(&output.stdout).trim().to_owned();
    // The monitor is the parent of the first process.
    let pid = text(&host.corten(&["inspect", "-f", "{{.State.Pid}}", "left"]).stdout);
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap();
    let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().to_owned();
    for victim in [monitor.as_str(), pid.trim()] {
        let pid = rustix::process::Pid::from_raw(victim.parse().unwrap()).unwrap();
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).unwrap();
        let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
    }
    host.corten(&["ps"]);
    let told = past(&host, &["-f", &format!("container={id}")]);
    assert_eq!(told, ["container create", "container start", "container die"]);
}
