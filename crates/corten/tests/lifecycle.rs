//! What was started goes on living: create, start, stop, signals, pause, wait, attach, restart policies, and
//! what is left of it all when the client, the monitor, or both are killed.

mod common;

use std::io::Write;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{Host, text};

impl Host {
    /// Runs it; its standard output without the newline. It must succeed.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.corten(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout).trim_end().to_owned()
    }

    /// Runs it; its code and standard error.
    fn fails(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = self.corten(args);
        assert!(!output.status.success(), "{args:?}");
        (output.status.code(), text(&output.stderr))
    }

    fn inspect(&self, name: &str, field: &str) -> String {
        self.ok(&["inspect", "--format", &format!("{{{{{field}}}}}"), name])
    }

    /// What is in the file of the container's log, as it was written.
    fn log(&self, name: &str) -> String {
        let id = self.inspect(name, ".Id");
        let log = std::fs::read_to_string(self.path("root/containers").join(id).join("log.json"));
        let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["log"].clone();
        log.unwrap_or_default().lines().map(|text| line(text).as_str().unwrap().to_owned()).collect()
    }

    /// The process that holds the container's directory open: its monitor.
    fn monitor(&self, name: &str) -> i32 {
        let dir = self.path("run").join(self.inspect(name, ".Id"));
        let holds = |pid: &std::path::Path| {
            let fds = std::fs::read_dir(pid.join("fd")).into_iter().flatten().flatten();
            fds.into_iter().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == dir))
        };
        let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let monitor = processes.into_iter().find(|pid| holds(pid)).expect("a monitor");
        monitor.file_name().unwrap().to_str().unwrap().parse().unwrap()
    }
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    // An orphan's end is seen by its going.
    until("the process is gone", || rustix::process::test_kill_process(pid).is_err() || is_zombie(pid));
}

fn is_zombie(pid: rustix::process::Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.map_or(true, |stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

/// Waits until it is so, for what has no event of its own to a test.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::yield_now();
    }
}

fn background(host: &Host, args: &[&str]) -> Child {
    let mut command = host.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_container_is_created_started_stopped_and_started_again() {
    let host = need_host!();
    let script = "echo run >> /count; cat /count | wc -l; trap 'exit 7' TERM; while :; do sleep 0.05; done";
    let id = host.ok(&["create", "--name", "box", "busybox", "sh", "-c", script]);
    assert_eq!((id.len(), host.inspect("box", ".State.Status").as_str()), (64, "created"));
    host.assert_live(0);
    for round in 1..=2 {
        assert_eq!(host.ok(&["start", "box"]), "box");
        assert_eq!(host.inspect("box", ".State.Status"), "running");
        assert_eq!(host.ok(&["start", "box"]), "box", "one that runs is left alone");
        until("it writes", || host.log("box").lines().count() == round);
        assert_eq!(host.ok(&["stop", "box"]), "box");
        assert_eq!(host.inspect("box", ".State.ExitCode"), "7");
        assert_eq!(host.inspect("box", ".State.Status"), "exited");
        host.assert_live(0);
    }
    // Its own layer stayed.
    assert_eq!(host.log("box"), "1\n2\n");
    assert_eq!(host.ok(&["stop", "box"]), "box", "one that has ended is left alone");
    assert_eq!(host.ok(&["wait", "box"]), "7");
    host.ok(&["rm", "box"]);
    host.ok(&["run", "-dt", "--name", "box", "busybox", "sleep", "1000"]);
    let (code, err) = host.fails(&["attach", "box"]);
    assert!(code == Some(1) && err.contains("the input device is not a TTY"), "{err}");
    host.ok(&["rm", "-f", "box"]);
    host.assert_clean(&[]);
}

#[test]
fn in_the_foreground_the_first_byte_and_the_code_are_seen() {
    let host = need_host!();
    host.ok(&["create", "--name", "box", "-i", "busybox", "sh", "-c", "echo first; cat; exit 3"]);
    for _ in 0..3 {
        let mut child = background(&host, &["start", "-a", "-i", "box"]);
        child.stdin.take().unwrap().write_all(b"typed\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(3), "first\ntyped\n".to_owned()));
    }
    let (code, err) = host.fails(&["attach", "box"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("You cannot attach to a stopped container, start it first"), "{err}");
    let (code, err) = host.fails(&["start", "-a", "box", "other"]);
    assert!(code == Some(1) && err.contains("multiple containers at once"), "{err}");
    host.ok(&["rm", "box"]);
    host.assert_clean(&[]);
}

#[test]
fn a_created_container_that_removes_itself_does_so_after_its_run() {
    let host = need_host!();
    host.ok(&["create", "--rm", "--name", "box", "busybox", "true"]);
    assert_eq!(host.inspect("box", ".State.Status"), "created");
    host.corten(&["start", "-a", "box"]);
    host.assert_clean(&[]);
}

#[test]
fn several_attach_and_leave_at_once() {
    let host = need_host!();
    let script = "while ! [ -e /go ]; do sleep 0.02; done; echo out; echo err >&2; exit 5";
    host.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "-v",
        &format!("{}:/flag", host.dir.path().display()),
        "busybox",
        "sh",
        "-c",
        &script.replace("/go", "/flag/go"),
    ]);
    let clients: Vec<Child> = (0..4).map(|_| background(&host, &["attach", "--no-stdin", "box"])).collect();
    let waiting = background(&host, &["wait", "box"]);
    let mut leaves = background(&host, &["attach", "box"]);
    leaves.kill().unwrap();
    leaves.wait().unwrap();
    // All are connected: each has a descriptor at the monitor.
    let monitor = host.monitor("box");
    let sockets = || {
        let fds = std::fs::read_dir(format!("/proc/{monitor}/fd")).unwrap().flatten();
        let links = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        links.filter(|to| to.to_string_lossy().starts_with("socket:")).count()
    };
    until("all are attached", || sockets() == 6);
    std::fs::write(host.path("go"), "").unwrap();
    for client in clients {
        let output = client.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(5));
        assert_eq!((text(&output.stdout), text(&output.stderr)), ("out\n".to_owned(), "err\n".to_owned()));
    }
    assert_eq!(text(&waiting.wait_with_output().unwrap().stdout), "5\n");
    host.ok(&["rm", "box"]);
    host.assert_clean(&[]);
}

#[test]
fn a_client_that_does_not_read_holds_nobody_up_and_loses_nothing() {
    let host = need_host!();
    let script = "yes 0123456789012345678901234567890 | head -c 20000000; echo done > /flag/done";
    let flag = format!("{}:/flag", host.dir.path().display());
    let child = background(&host, &["run", "--rm", "-v", &flag, "busybox", "sh", "-c", script]);
    // Nobody reads the pipe of the client.
    until("the program is through", || host.path("done").exists());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 20_000_000));
    host.assert_clean(&[]);
}

#[test]
fn signals_and_their_refusals() {
    let host = need_host!();
    let script = "trap 'echo usr1' USR1; trap 'exit 9' TERM; while :; do sleep 0.05; done";
    host.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", &format!("echo up; {script}")]);
    until("it is up", || host.log("box") == "up\n");
    host.ok(&["kill", "-s", "USR1", "box"]);
    until("the signal came", || host.log("box") == "up\nusr1\n");
    assert_eq!(host.ok(&["kill", "box"]), "box");
    assert_eq!(host.ok(&["wait", "box"]), "137");
    let (code, err) = host.fails(&["kill", "box"]);
    assert!(code == Some(1) && err.contains("is not running"), "{err}");
    let (_, err) = host.fails(&["kill", "-s", "NOPE", "box"]);
    assert!(err.contains("NOPE"), "{err}");
    // What does not react is killed in time; and at once if that is asked.
    host.ok(&[
        "run",
        "-d",
        "--name",
        "deaf",
        "--stop-signal",
        "USR2",
        "busybox",
        "sh",
        "-c",
        "trap '' TERM USR2; while :; do sleep 1; done",
    ]);
    let began = Instant::now();
    host.ok(&["stop", "-t", "1", "deaf"]);
    assert!((1..5).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(host.inspect("deaf", ".State.ExitCode"), "137");
    host.ok(&["rm", "box", "deaf"]);
    host.assert_clean(&[]);
}

#[test]
fn a_shell_that_waits_ends_at_once() {
    let host = need_host!();
    host.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", "sleep 1000"]);
    let began = Instant::now();
    host.ok(&["stop", "box"]);
    assert!(began.elapsed() < Duration::from_secs(5), "no ten seconds of waiting: {:?}", began.elapsed());
    assert_eq!(host.inspect("box", ".State.ExitCode"), "143");
    host.ok(&["rm", "box"]);
    host.assert_clean(&[]);
}

#[test]
fn frozen_is_frozen() {
    let host = need_host!();
    host.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "busybox",
        "sh",
        "-c",
        "while :; do echo tick; sleep 0.02; done",
    ]);
    until("it ticks", || host.log("box").len() > 20);
    host.ok(&["pause", "box"]);
    assert_eq!(host.inspect("box", ".State.Status"), "paused");
    assert!(text(&host.corten(&["ps"]).stdout).contains("(Paused)"));
    let counted =
        host.corten(&["info", "-f", "{{.ContainersRunning}} {{.ContainersPaused}} {{.ContainersStopped}}"]);
    assert_eq!(text(&counted.stdout), "0 1 0\n");
    let before = host.log("box");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(host.log("box"), before);
    let (code, err) = host.fails(&["pause", "box"]);
    assert!(code == Some(1) && err.contains("is already paused"), "{err}");
    let (_, err) = host.fails(&["start", "box"]);
    assert!(err.contains("cannot start a paused container, try unpause instead"), "{err}");
    host.ok(&["unpause", "box"]);
    until("it goes on", || host.log("box") != before);
    let (_, err) = host.fails(&["unpause", "box"]);
    assert!(err.contains("is not paused"), "{err}");
    // A frozen one can be stopped, and removed.
    host.ok(&["pause", "box"]);
    host.ok(&["stop", "box"]);
    host.ok(&["start", "box"]);
    host.ok(&["pause", "box"]);
    host.ok(&["rm", "-f", "box"]);
    host.assert_clean(&[]);
}

#[test]
fn policies_start_again_and_a_stop_ends_that() {
    let host = need_host!();
    host.ok(&[
        "run",
        "-d",
        "--name",
        "twice",
        "--restart",
        "on-failure:2",
        "busybox",
        "sh",
        "-c",
        "echo run; exit 4",
    ]);
    until("it gave up", || host.inspect("twice", ".State.Status") == "exited");
    assert_eq!(host.log("twice"), "run\nrun\nrun\n");
    assert_eq!(host.inspect("twice", ".RestartCount"), "2");
    assert_eq!(host.inspect("twice", ".State.ExitCode"), "4");
    host.ok(&["run", "-d", "--name", "fine", "--restart", "on-failure", "busybox", "true"]);
    until("a success is no failure", || host.inspect("fine", ".State.Status") == "exited");
    host.ok(&[
        "run",
        "-d",
        "--name",
        "ever",
        "--restart",
        "always",
        "busybox",
        "sh",
        "-c",
        "echo run; exit 0",
    ]);
    until("it runs again", || host.log("ever").lines().count() >= 3);
    host.ok(&["stop", "ever"]);
    let stopped = host.log("ever");
    assert_eq!(host.inspect("ever", ".State.Status"), "exited");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(host.log("ever"), stopped);
    host.ok(&["run", "-d", "--name", "killed", "--restart", "unless-stopped", "busybox", "sleep", "1000"]);
    let pid = host.inspect("killed", ".State.Pid").parse().unwrap();
    kill(pid);
    until("it is back", || {
        let now = host.inspect("killed", ".State.Pid");
        now != "0" && now != pid.to_string()
    });
    host.ok(&["rm", "-f", "twice", "fine", "ever", "killed"]);
    host.assert_clean(&[]);
}

#[test]
fn a_restart_that_fails_leaves_nothing_but_the_record() {
    let host = need_host!();
    let source = host.path("source");
    std::fs::create_dir(&source).unwrap();
    let mount = format!("type=bind,src={},dst=/source", source.display());
    let flags = ["run", "-d", "--name", "box", "--restart", "always", "--mount", &mount];
    host.ok(&[&flags[..], &["busybox", "sleep", "1000"]].concat());
    let leases = || std::fs::read_dir(host.path("run/ids")).unwrap().count();
    assert_eq!(leases(), 1);
    // It runs on with what it has; the next start does not find it.
    std::fs::remove_dir(&source).unwrap();
    kill(host.inspect("box", ".State.Pid").parse().unwrap());
    until("it gave up", || host.inspect("box", ".State.Status") == "exited");
    let error = host.inspect("box", ".State.Error");
    assert!(error.contains("bind source path does not exist"), "{error}");
    assert_eq!(leases(), 0, "its ids are free");
    std::fs::create_dir(&source).unwrap();
    host.ok(&["start", "box"]);
    host.ok(&["rm", "-f", "box"]);
    host.assert_clean(&[]);
}

#[test]
fn a_killed_monitor_is_replaced_and_nothing_is_lost() {
    let host = need_host!();
    let flag = format!("{}:/flag", host.dir.path().display());
    let script = "echo one; while ! [ -e /flag/two ]; do sleep 0.02; done; echo two; \
                  while ! [ -e /flag/three ]; do sleep 0.02; done; echo three; exit 6";
    host.ok(&["run", "-d", "--name", "box", "-v", &flag, "busybox", "sh", "-c", script]);
    until("one", || host.log("box") == "one\n");
    let pid = host.inspect("box", ".State.Pid");
    kill(host.monitor("box"));
    // Nobody is there to read it now.
    std::fs::write(host.path("two"), "").unwrap();
    host.ok(&["ps"]);
    until("what it wrote meanwhile is there", || host.log("box") == "one\ntwo\n");
    assert_eq!(host.inspect("box", ".State.Pid"), pid, "the container went on");
    let waiting = background(&host, &["wait", "box"]);
    kill(host.monitor("box"));
    std::fs::write(host.path("three"), "").unwrap();
    assert_eq!(text(&waiting.wait_with_output().unwrap().stdout), "6\n");
    assert_eq!(host.log("box"), "one\ntwo\nthree\n");
    assert_eq!(host.inspect("box", ".State.ExitCode"), "6");
    host.ok(&["rm", "box"]);
    host.assert_clean(&[]);
}

#[test]
fn a_terminal_outlives_its_monitor() {
    let host = need_host!();
    let flag = format!("{}:/flag", host.dir.path().display());
    let script =
        "while ! [ -e /flag/go ]; do sleep 0.02; done; stty -a | head -1; test -t 1 && echo terminal";
    host.ok(&["run", "-d", "-t", "--name", "box", "-v", &flag, "busybox", "sh", "-c", script]);
    kill(host.monitor("box"));
    host.ok(&["ps"]);
    std::fs::write(host.path("go"), "").unwrap();
    assert_eq!(host.ok(&["wait", "box"]), "0");
    assert!(host.log("box").contains("terminal\r\n"), "{:?}", host.log("box"));
    host.ok(&["rm", "box"]);
    host.assert_clean(&[]);
}

#[test]
fn without_init_and_monitor_the_code_is_unknown_and_that_is_said() {
    let host = need_host!();
    host.ok(&["run", "-d", "--init=false", "--name", "box", "busybox", "sh", "-c", "sleep 1000"]);
    kill(host.monitor("box"));
    host.ok(&["ps"]);
    host.ok(&["stop", "-t", "0", "box"]);
    assert_eq!(host.inspect("box", ".State.ExitCode"), "255");
    assert!(
        host.inspect("box", ".State.Error").contains("unknown"),
        "{}",
        host.inspect("box", ".State.Error")
    );
    host.ok(&["rm", "box"]);
    host.assert_clean(&[]);
}

#[test]
fn the_doctor_finds_what_no_record_owns_and_the_next_command_collects_it() {
    let host = need_host!();
    host.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let well = host.corten(&["doctor", "--assert-clean"]);
    assert!(well.status.success(), "{}", text(&well.stdout));
    let told = text(&host.corten(&["doctor"]).stdout);
    assert!(told.contains("(box): attended") && told.contains("control groups"), "{told}");
    let nobody = "ab".repeat(32);
    std::fs::create_dir_all(host.path("root/containers").join(&nobody).join("upper")).unwrap();
    std::fs::create_dir(host.path("run").join(&nobody)).unwrap();
    for link in ["root/names/ghost", "run/ids/4000"] {
        std::os::unix::fs::symlink(&nobody, host.path(link)).unwrap();
    }
    let told = host.corten(&["doctor", "--assert-clean"]);
    assert_eq!(told.status.code(), Some(1));
    let told = text(&told.stdout);
    for word in ["nobody attends it", "a container without a record", "names/ghost", "ids/4000"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    // It changed nothing; the next command does.
    assert!(!host.corten(&["doctor", "--assert-clean"]).status.success());
    host.ok(&["ps"]);
    let well = host.corten(&["doctor", "--assert-clean"]);
    assert!(well.status.success(), "{}", text(&well.stdout));
    assert_eq!(host.inspect("box", ".State.Status"), "running");
    host.ok(&["rm", "-f", "box"]);
    host.assert_clean(&[]);
}

impl Host {
    /// How many containers something is under way with.
    fn assert_live(&self, count: usize) {
        let entries = std::fs::read_dir(self.path("run")).unwrap();
        let live = entries.filter(|entry| entry.as_ref().unwrap().file_name().len() == 64).count();
        assert_eq!(live, count);
    }
}
