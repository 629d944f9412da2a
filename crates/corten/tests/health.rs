//! Health checks: flags and images, what is shown of them, and that no probe can hold up its container or the
//! monitor, whatever it does.

mod common;

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use common::{Host, text, until};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};

impl Host {
    /// Runs it; its standard output without the newline. It must succeed.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.corten(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout).trim_end().to_owned()
    }

    /// `run -d` of a busybox that stays; its id.
    fn start(&self, name: &str, flags: &[&str]) -> String {
        let mut args = vec!["run", "-d", "--name", name];
        args.extend(flags);
        args.extend(["busybox", "sleep", "1000000"]);
        self.ok(&args)
    }

    fn inspect(&self, name: &str) -> Value {
        serde_json::from_str::<Value>(&self.ok(&["inspect", name])).unwrap()[0].take()
    }

    fn health(&self, name: &str) -> Value {
        self.inspect(name)["State"]["Health"].take()
    }

    /// `.State.Health` once it is so.
    fn health_when(&self, name: &str, so: impl Fn(&Value) -> bool) -> Value {
        let mut health = Value::Null;
        until(name, || {
            health = self.health(name);
            so(&health)
        });
        health
    }

    /// What happens to its health, from its start on.
    fn follow(&self, name: &str) -> Follower {
        let filter = format!("container={name}");
        let args = [
            "events",
            "--since",
            "1h",
            "--format",
            "{{.Action}}",
            "-f",
            &filter,
            "-f",
            "event=health_status",
        ];
        let mut child = self.command(&args).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Follower { child, lines }
    }

    /// A file of the container's upper layer, seen from the host.
    fn file(&self, id: &str, name: &str) -> String {
        let path = self.path("root/containers").join(id).join("upper").join(name);
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Its monitor: the parent of its first process.
    fn monitor(&self, name: &str) -> i32 {
        let pid = self.ok(&["inspect", "-f", "{{.State.Pid}}", name]);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
    }
}

struct Follower {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    fn next(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn kill(pid: i32) {
    // One that ends because another was killed may be gone already.
    let Ok(pidfd) = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()) else { return };
    let _gone = pidfd_send_signal(&pidfd, Signal::KILL);
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
}

/// Processes that live and whose command line, with spaces between the words, is so.
fn processes(is: impl Fn(&str) -> bool) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        is(String::from_utf8_lossy(&line).replace('\0', " ").trim_end())
    };
    pids.filter(is).collect()
}

/// Processes of exactly this command.
fn running(command: &str) -> Vec<i32> {
    processes(|line| line == command)
}

/// The children of a process that have this name.
fn children(parent: i32, name: &str) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains(&format!(" ({name}) "))
            && stat
                .rsplit_once(") ")
                .is_some_and(|(_, rest)| rest.split(' ').nth(1) == Some(parent.to_string().as_str()))
    };
    pids.filter(is).collect()
}

const SOON: [&str; 4] = ["--health-interval", "50ms", "--health-timeout", "1h"];

fn with<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    SOON.iter().copied().chain(flags.iter().copied()).collect()
}

#[test]
fn probes_tell_how_the_container_is_and_everybody_sees_it() {
    let host = need_host!();
    let script = "cat /ok || { echo no >&2; exit 3; }";
    host.start("web", &with(&["--health-cmd", script, "--health-retries", "2"]));
    host.start("plain", &[]);
    let mut told = host.follow("web");
    assert_eq!(told.next(), "health_status: unhealthy");
    let health = host.health("web");
    assert_eq!(health["Status"], "unhealthy");
    assert!(health["FailingStreak"].as_u64() >= Some(2), "{health}");
    assert_eq!(health["Log"][0]["ExitCode"], 3);
    let output = health["Log"][0]["Output"].as_str().unwrap();
    assert!(output.ends_with("no\n") && output.contains("/ok"), "{output}");
    let (began, ended) = (&health["Log"][0]["Start"], &health["Log"][0]["End"]);
    assert!(began.as_str() < ended.as_str() && began.as_str() > Some("2024"), "{health}");
    let status =
        |name: &str| host.ok(&["ps", "-a", "--format", "{{.Status}}", "--filter", &format!("name={name}")]);
    assert!(status("web").ends_with(" (unhealthy)"), "{}", status("web"));
    assert!(status("plain").starts_with("Up") && !status("plain").contains('('), "{}", status("plain"));
    let names =
        |health: &str| host.ok(&["ps", "--format", "{{.Names}}", "--filter", &format!("health={health}")]);
    assert_eq!([names("unhealthy"), names("none"), names("healthy")], ["web", "plain", ""]);
    host.ok(&["exec", "web", "sh", "-c", "echo fine > /ok"]);
    assert_eq!(told.next(), "health_status: healthy");
    let health = host.health("web");
    assert_eq!((&health["Status"], &health["FailingStreak"]), (&json!("healthy"), &json!(0)));
    let log = health["Log"].as_array().unwrap();
    assert!((1..=5).contains(&log.len()), "{health}");
    assert_eq!(
        (&log[log.len() - 1]["ExitCode"], &log[log.len() - 1]["Output"]),
        (&json!(0), &json!("fine\n"))
    );
    assert!(status("web").ends_with(" (healthy)"), "{}", status("web"));
    let full = host.health_when("web", |health| health["Log"].as_array().unwrap().len() == 5);
    host.health_when("web", |health| health["Log"][0]["Start"] != full["Log"][0]["Start"]);
    assert_eq!(host.health("web")["Log"].as_array().unwrap().len(), 5, "the last ones are kept");
    assert_eq!(
        host.inspect("web")["Config"]["Healthcheck"],
        json!({"Test": ["CMD-SHELL", script], "Interval": 50_000_000, "Timeout": 3_600_000_000_000_i64, "Retries": 2})
    );
    assert_eq!(host.health("plain"), Value::Null);
    // What has ended is not checked any more; what was found stays to be read.
    host.ok(&["stop", "web"]);
    let health = host.health("web");
    assert_eq!((&health["Status"], &health["Log"][4]["Output"]), (&json!("unhealthy"), &json!("fine\n")));
    assert!(!status("web").contains("healthy"), "{}", status("web"));
}

#[test]
fn in_the_start_period_failures_do_not_count() {
    let host = need_host!();
    let flags = [
        "--health-cmd",
        "test -e /ok",
        "--health-interval",
        "50ms",
        "--health-start-period",
        "1h",
        "--health-start-interval",
        "10ms",
        "--health-retries",
        "1",
    ];
    host.start("slow", &flags);
    let health = host.health_when("slow", |health| health["Log"].as_array().unwrap().len() == 5);
    assert_eq!((&health["Status"], &health["FailingStreak"]), (&json!("starting"), &json!(0)));
    let status = host.ok(&["ps", "--format", "{{.Status}}"]);
    assert!(status.ends_with(" (health: starting)"), "{status}");
    host.ok(&["exec", "slow", "touch", "/ok"]);
    let mut told = host.follow("slow");
    assert_eq!(told.next(), "health_status: healthy");
    host.ok(&["exec", "slow", "rm", "/ok"]);
    assert_eq!(told.next(), "health_status: unhealthy", "after a success the period is over");
}

#[test]
fn an_images_check_is_run_and_flags_go_over_it_field_by_field() {
    let host = need_host!();
    let changes = [
        "SHELL [\"/bin/sh\", \"-e\", \"-c\"]",
        "USER web",
        "ENV WHO=image",
        "WORKDIR /tmp",
        "HEALTHCHECK --interval=100ms --timeout=59m --retries=7 CMD echo $WHO $0 $(id -u) $PWD; false; true",
    ];
    host.image("checked", &changes, |tree| {
        std::fs::create_dir_all(tree.join("srv")).unwrap();
    });
    let run = |name: &str, flags: &[&str]| {
        let mut args = vec!["run", "-d", "--name", name];
        args.extend(flags);
        args.extend(["checked", "sleep", "1000000"]);
        host.ok(&args)
    };
    run("image", &["-e", "WHO=me"]);
    let probed = |health: &Value| !health["Log"][0].is_null();
    let log = host.health_when("image", probed)["Log"][0].take();
    // `-e` of the image's shell ends it at the `false`.
    assert_eq!((&log["ExitCode"], &log["Output"]), (&json!(1), &json!("me /bin/sh 1000 /tmp\n")));
    run("flags", &["--health-retries", "1", "--health-interval", "1ms", "--health-cmd", "echo own"]);
    let log = host.health_when("flags", probed)["Log"][0].take();
    assert_eq!((&log["ExitCode"], &log["Output"]), (&json!(0), &json!("own\n")));
    let minutes = 59 * 60_000_000_000_i64;
    assert_eq!(
        host.inspect("flags")["Config"]["Healthcheck"],
        json!({"Test": ["CMD-SHELL", "echo own"], "Interval": 1_000_000, "Timeout": minutes, "Retries": 1})
    );
    run("none", &["--no-healthcheck"]);
    let none = host.inspect("none");
    assert_eq!(none["Config"]["Healthcheck"]["Test"], json!(["NONE"]));
    assert_eq!(none["State"]["Health"], Value::Null);
    // A commit keeps it, and may change it.
    host.ok(&["commit", "flags", "kept"]);
    host.ok(&["commit", "--change", "HEALTHCHECK CMD [\"echo\", \"a  b\"]", "flags", "changed"]);
    let test = |image: &str| {
        let id = host.ok(&["create", image, "true"]);
        host.inspect(&id)["Config"]["Healthcheck"]["Test"].take()
    };
    assert_eq!(test("kept"), json!(["CMD-SHELL", "echo own"]));
    assert_eq!(test("changed"), json!(["CMD", "echo", "a  b"]));
}

#[test]
fn what_cannot_be_executed_has_failed_and_says_why() {
    let host = need_host!();
    host.image("gone", &["HEALTHCHECK --interval=100ms --retries=1 CMD [\"/no/such\"]"], |_| ());
    host.ok(&["run", "-d", "--name", "gone", "gone", "sleep", "1000000"]);
    assert_eq!(host.follow("gone").next(), "health_status: unhealthy");
    let log = host.health("gone")["Log"][0].take();
    assert_eq!(log["ExitCode"], -1);
    assert!(log["Output"].as_str().unwrap().contains("exec \"/no/such\": no such file"), "{log}");
    for (flags, why) in [
        (
            &["--no-healthcheck", "--health-retries", "2"][..],
            "--no-healthcheck conflicts with --health-* options",
        ),
        (&["--health-interval", "999us"], "--health-interval cannot be less than 1ms"),
        (&["--health-timeout=-1s"], "--health-timeout cannot be negative"),
    ] {
        let (code, _, err) = host.sh(flags, "true");
        assert!(code == 125 && err.contains(why), "{err}");
    }
}

#[test]
fn a_probe_that_never_ends_is_killed_with_all_it_forked() {
    let host = need_host!();
    // A number that nobody else sleeps for.
    let long = format!("sleep 9{:06}", std::process::id());
    let script =
        format!("trap '' TERM INT HUP; echo began; {long} & {long} & ({long} & wait) & {long}; {long}");
    let flags = [
        "--health-cmd",
        &script,
        "--health-interval",
        "50ms",
        "--health-timeout",
        "300ms",
        "--health-retries",
        "1",
    ];
    host.start("stuck", &flags);
    let began = || running(&long).len();
    until("the probe runs", || began() >= 4);
    assert_eq!(host.follow("stuck").next(), "health_status: unhealthy");
    let log = host.health("stuck")["Log"][0].take();
    assert_eq!(
        (&log["ExitCode"], &log["Output"]),
        (&json!(-1), &json!("Health check exceeded timeout (300ms): began\n"))
    );
    // Another follows, and they do not pile up.
    host.health_when("stuck", |health| health["Log"].as_array().unwrap().len() >= 3);
    assert!(began() <= 10, "{}", began());
    host.ok(&["rm", "-f", "stuck"]);
    assert!(running(&long).is_empty());
}

#[test]
fn a_probe_that_never_stops_writing_holds_nobody_up() {
    let host = need_host!();
    let flags = [
        "--health-cmd",
        "while :; do echo 0123456789; done & while :; do echo 0123456789 >&2; done",
        "--health-interval",
        "10ms",
        "--health-timeout",
        "500ms",
        "--health-retries",
        "1",
    ];
    host.start("loud", &flags);
    let mut told = host.follow("loud");
    assert_eq!(told.next(), "health_status: unhealthy");
    let log = host.health("loud")["Log"][0].take();
    let output = log["Output"].as_str().unwrap();
    assert!(output.starts_with("Health check exceeded timeout (500ms): 0123456789\n"), "{output}");
    assert_eq!((output.len(), &output[4096..]), (4099, "..."));
    let resident = |pid: i32| -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let monitor = host.monitor("loud");
    let before = resident(monitor);
    host.health_when("loud", |health| health["Log"].as_array().unwrap().len() == 5);
    assert!(resident(monitor) < before + (1 << 20), "{before} {}", resident(monitor));
    // In the middle of one: the container's own streams and its end go on.
    until("a probe", || !children(monitor, "corten-health").is_empty());
    assert_eq!(host.ok(&["exec", "loud", "echo", "there"]), "there");
    host.ok(&["stop", "loud"]);
    assert_eq!(host.inspect("loud")["State"]["Status"], "exited");
    host.ok(&["rm", "loud"]);
    host.assert_clean(&[]);
}

#[test]
fn a_container_that_ends_during_a_probe_is_not_called_unhealthy() {
    let host = need_host!();
    let flags = with(&[
        "--health-cmd",
        "test -e /slow || exit 0; touch /probing; sleep 1000000",
        "--health-retries",
        "1",
    ]);
    let id = host.start("web", &flags);
    let mut told = host.follow("web");
    assert_eq!(told.next(), "health_status: healthy");
    host.ok(&["exec", "web", "touch", "/slow"]);
    let probing = host.path("root/containers").join(&id).join("upper/probing");
    until("a probe", || probing.exists());
    host.ok(&["stop", "web"]);
    let args = [
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--format",
        "{{.Action}}",
        "-f",
        "container=web",
        "-f",
        "event=health_status",
    ];
    assert_eq!(host.ok(&args), "health_status: healthy");
    assert_eq!(host.health("web")["FailingStreak"], 0);
}

#[test]
fn who_is_paused_is_not_probed() {
    let host = need_host!();
    let id = host.start("still", &with(&["--health-cmd", "echo x >> /probes"]));
    host.start("other", &with(&["--health-cmd", "true"]));
    until("two probes", || host.file(&id, "probes").len() >= 4);
    host.ok(&["pause", "still"]);
    let (probes, log) = (host.file(&id, "probes"), host.health("still")["Log"].take());
    // Time passes: as the other one's probes say, five intervals of it.
    for _ in 0..5 {
        let last = host.health("other").pointer("/Log/0/Start").cloned().unwrap_or_default();
        host.health_when("other", |health| health["Log"][0]["Start"] != last);
    }
    let status = host.ok(&["ps", "--filter", "name=still", "--format", "{{.Status}}"]);
    assert!(status.ends_with("(Paused)"), "{status}");
    let now = host.health("still");
    // One may have been under way.
    assert!(host.file(&id, "probes").len() <= probes.len() + 2);
    assert!(
        now["Log"][4]["Start"] == log[4]["Start"]
            || log[4].is_null()
            || now["Log"][3]["Start"] == log[4]["Start"],
        "{now} {log}"
    );
    assert_eq!(now["Status"], "healthy", "it is as it was");
    let probes = host.file(&id, "probes");
    host.ok(&["unpause", "still"]);
    until("it is probed again", || host.file(&id, "probes").len() >= probes.len() + 4);
    assert_eq!(host.health("still")["FailingStreak"], 0);
    host.ok(&["rm", "-f", "still", "other"]);
    host.assert_clean(&[]);
}

#[test]
fn the_time_that_a_probe_is_frozen_is_not_held_against_it() {
    let host = need_host!();
    let script = "echo x >> /probes; [ $(cat /probes | busybox wc -l) -gt 1 ] || sleep 1000000";
    let flags = ["--health-cmd", script, "--health-interval", "50ms", "--health-timeout", "2s"];
    let id = host.start("still", &flags);
    host.start("other", &with(&["--health-cmd", "true"]));
    until("a probe", || !host.file(&id, "probes").is_empty());
    host.ok(&["pause", "still"]);
    let log = host.health("still")["Log"].take();
    // Longer than the timeout, as the other one's probes say.
    let paused = Instant::now();
    while paused.elapsed() < Duration::from_secs(3) {
        let last = host.health("other").pointer("/Log/0/Start").cloned().unwrap_or_default();
        host.health_when("other", |health| health["Log"][0]["Start"] != last);
    }
    assert_eq!(host.health("still")["Log"], log);
    host.ok(&["unpause", "still"]);
    let seen = log.as_array().unwrap().len();
    let health = host.health_when("still", |health| !health["Log"][seen].is_null());
    assert_eq!(health["Log"][seen]["ExitCode"], 0, "{health}");
    assert_eq!(health["Status"], "healthy");
    host.ok(&["rm", "-f", "still", "other"]);
    host.assert_clean(&[]);
}

#[test]
fn a_killed_monitor_leaves_no_probe_and_the_next_goes_on() {
    let host = need_host!();
    let long = format!("sleep 8{:06}", std::process::id());
    let script = format!("echo x >> /probes; test -e /go || {long}");
    for flags in [&[][..], &["--userns", "host"]] {
        let flags = with(&[&["--health-cmd", &script], flags].concat());
        let id = host.start("web", &flags);
        until("a probe", || !running(&long).is_empty());
        let monitor = host.monitor("web");
        let [attendant] = children(monitor, "corten-health")[..] else { panic!("one probe at a time") };
        let attendant = pidfd_open(Pid::from_raw(attendant).unwrap(), PidfdFlags::empty()).unwrap();
        kill(monitor);
        poll(&mut [PollFd::new(&attendant, PollFlags::IN)], None).unwrap();
        assert!(running(&long).is_empty(), "the attendant goes when the probe is reaped");
        assert_eq!(host.file(&id, "probes"), "x\n");
        // The next command forks another.
        assert!(host.ok(&["ps", "--format", "{{.Status}}"]).ends_with("(health: starting)"));
        until("the next monitor's probe", || !running(&long).is_empty());
        // Nobody in the container can write to our binary, that monitor's and so the probe's: see `exec/seal.rs`.
        if flags.contains(&"host") {
            let sealed = processes(|line| line.contains(&format!(" internal monitor {id} ")));
            assert_eq!(sealed.len(), 2, "the monitor and the probe's attendant");
            for pid in sealed {
                let mount = rustix::fs::statvfs(format!("/proc/{pid}/exe")).unwrap();
                assert!(mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
            }
        }
        host.ok(&["exec", "web", "touch", "/go"]);
        for pid in running(&long) {
            kill(pid);
        }
        assert_eq!(host.follow("web").next(), "health_status: healthy");
        host.ok(&["rm", "-f", "web"]);
        host.assert_clean(&[]);
    }
}

#[test]
fn a_killed_attendant_takes_the_probe_with_it() {
    let host = need_host!();
    let long = format!("sleep 7{:06}", std::process::id());
    host.start(
        "web",
        &with(&["--user", "web", "--health-cmd", &format!("exec {long}"), "--health-retries", "1"]),
    );
    let mut told = host.follow("web");
    until("a probe", || running(&long).len() == 1);
    let monitor = host.monitor("web");
    let [attendant] = children(monitor, "corten-health")[..] else { panic!("one probe at a time") };
    let [probe] = running(&long)[..] else { panic!("one probe at a time") };
    let probe = pidfd_open(Pid::from_raw(probe).unwrap(), PidfdFlags::empty()).unwrap();
    kill(attendant);
    poll(&mut [PollFd::new(&probe, PollFlags::IN)], None).unwrap();
    assert_eq!(told.next(), "health_status: unhealthy");
    let log = host.health("web")["Log"][0].take();
    assert_eq!(
        (&log["ExitCode"], &log["Output"]),
        (&json!(-1), &json!("the attendant of the probe was killed"))
    );
    // Both at once: the container ends all the same.
    until("another probe", || running(&long).len() == 1);
    let [attendant] = children(monitor, "corten-health")[..] else { panic!("one probe at a time") };
    for pid in [monitor, attendant] {
        kill(pid);
    }
    host.ok(&["rm", "-f", "web"]);
    assert!(running(&long).is_empty());
    host.assert_clean(&[]);
}

#[test]
fn a_new_start_begins_anew() {
    let host = need_host!();
    let script = "test ! -e /bad";
    host.start("web", &with(&["--health-cmd", script, "--health-retries", "1", "--restart", "always"]));
    let mut told = host.follow("web");
    assert_eq!(told.next(), "health_status: healthy");
    kill(host.ok(&["inspect", "-f", "{{.State.Pid}}", "web"]).parse().unwrap());
    // From starting: healthy once more, and nothing in between.
    assert_eq!(told.next(), "health_status: healthy");
    assert_eq!(host.inspect("web")["RestartCount"], 1);
    host.ok(&["stop", "web"]);
    host.ok(&["start", "web"]);
    assert_eq!(told.next(), "health_status: healthy");
    host.ok(&["exec", "web", "touch", "/bad"]);
    assert_eq!(told.next(), "health_status: unhealthy");
}

#[test]
fn a_container_without_a_check_costs_no_wakeup() {
    let host = need_host!();
    host.start("plain", &[]);
    host.start("none", &["--no-healthcheck"]);
    for name in ["plain", "none"] {
        let path = format!("/proc/{}/syscall", host.monitor(name));
        if !Path::new(&path).exists() {
            eprintln!("skipped: this kernel does not show system calls");
            return;
        }
        let mut call = String::new();
        until("the monitor waits", || {
            call = std::fs::read_to_string(&path).unwrap();
            call.split(' ').next() == Some(PPOLL)
        });
        // ppoll(fds, count, timeout, …): for ever.
        assert_eq!(call.split(' ').nth(3), Some("0x0"), "{call}");
    }
}

/// The number of ppoll(2).
const PPOLL: &str = if cfg!(target_arch = "x86_64") { "271" } else { "73" };
