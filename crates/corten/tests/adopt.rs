//! Containers whose monitor was killed: what the one that adopts them does as the first would have done it.

mod common;

use common::{Host, holder, kill, text, until};

impl Host {
    /// Runs it; its standard output without the newline. It must succeed.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.corten(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout).trim_end().to_owned()
    }

    fn inspect(&self, name: &str, field: &str) -> String {
        self.ok(&["inspect", "--format", &format!("{{{{{field}}}}}"), name])
    }

    fn kill_monitor(&self, name: &str) {
        kill(holder(&self.path("run").join(self.inspect(name, ".Id"))).expect("a monitor"));
    }
}

#[test]
fn cve_2019_5736_the_binary_of_who_adopts_cannot_be_written() {
    // A command that needs no seal itself forks the monitor, and the container's policy starts it again from there.
    let host = need_host!();
    let own = host.path("own");
    std::fs::copy(env!("CARGO_BIN_EXE_corten"), &own).unwrap();
    let before = std::fs::read(&own).unwrap();
    host.image("spell", &[], |tree| {
        std::os::unix::fs::symlink("/proc/self/exe", tree.join("bin/spell")).unwrap();
    });
    // Whoever executes a link to the process that it is executes Corten, whose file is held by who sees it. The
    // first was started by a command that was sealed.
    let program = ["spell", "spell", "--root", "/tmp/a", "--run-root", "/tmp/b", "events"];
    let find = "for p in /proc/[0-9]*; do c=; read c < $p/comm; [ \"$c\" = spell ] && f=$p; done 2>/dev/null";
    let script = format!(
        "while [ ! -e /tmp/begin ]; do :; done; {find}; kill -9 ${{f#/proc/}}; while [ -e $f ]; do :; done; {}",
        common::SPY
    );
    for flags in [&["--userns", "host"][..], &["--privileged"]] {
        let run = |name: &str, more: &[&str], image: &[&str]| {
            host.ok(&[&["run", "-d", "--name", name], flags, more, image].concat());
        };
        let is_there = |file: &str| host.corten(&["exec", "spy", "ls", file]).status.success();
        run("spy", &[], &["busybox", "sh", "-c", &script]);
        let more = ["--pid", "container:spy", "--restart", "always"];
        run("web", &more, &program);
        let pid = host.inspect("web", ".State.Pid");
        until("it is Corten", || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() == "spell\n");
        host.kill_monitor("web");
        let mut adopts = std::process::Command::new(&own);
        assert!(adopts.args(host.command(&["ps"]).get_args()).status().unwrap().success());
        host.ok(&["exec", "spy", "touch", "/tmp/begin"]);
        until("it is held", || is_there("/tmp/held"));
        until("it is its second start", || host.inspect("web", ".RestartCount") == "1");
        // Nobody executes it any more.
        host.ok(&["rm", "-f", "web"]);
        host.ok(&["exec", "spy", "touch", "/tmp/go"]);
        until("it was tried", || is_there("/tmp/result"));
        assert_eq!(host.ok(&["exec", "spy", "cat", "/tmp/result"]), "refused", "{flags:?}");
        assert!(std::fs::read(&own).unwrap() == before, "{flags:?}");
        host.ok(&["rm", "-f", "spy"]);
    }
    host.assert_clean(&[]);
}

/// As it was written, without the times.
fn log(host: &Host, name: &str) -> (String, String) {
    let output = host.corten(&["logs", name]);
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn what_is_written_and_ends_unattended_is_kept() {
    let host = need_host!();
    let flag = format!("{}:/flag", host.dir.path().display());
    let run = |flags: &[&str], name: &str, script: &str| {
        let args = [&["run", "-d", "--name", name, "-v", &flag], flags, &["busybox", "sh", "-c", script]];
        host.ok(&args.concat());
        let pid: i32 = host.inspect(name, ".State.Pid").parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let init = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        until("it runs", || host.path("up").exists());
        std::fs::remove_file(host.path("up")).unwrap();
        host.kill_monitor(name);
        std::fs::write(host.path("go"), "").unwrap();
        rustix::event::poll(&mut [rustix::event::PollFd::new(&init, rustix::event::PollFlags::IN)], None)
            .unwrap();
        std::fs::remove_file(host.path("go")).unwrap();
    };
    let wait = "echo early; touch /flag/up; while [ ! -e /flag/go ]; do sleep 0.02; done";
    // Both streams, bytes that are no text, and as much as a pipe holds.
    let script = format!(
        "{wait}; i=0; while [ $i -lt 900 ]; do echo \"line $i xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"; \
         i=$((i+1)); done; echo last words; printf 'error\\n1 5\\nexit 0\\n' >&2; exit 7"
    );
    for driver in ["json-file", "local"] {
        run(&["--log-driver", driver], driver, &script);
        let (out, err) = log(&host, driver);
        assert_eq!((out.lines().count(), err.as_str()), (902, "error\n1 5\nexit 0\n"), "{driver}");
        assert!(out.starts_with("early\nline 0 x") && out.ends_with("x\nlast words\n"), "{driver}: {out}");
        assert_eq!(host.inspect(driver, ".State.ExitCode"), "7");
        assert_eq!(log(&host, driver).0.len(), out.len(), "{driver}: once");
        host.ok(&["start", driver]);
        until("it runs", || host.path("up").exists());
        std::fs::remove_file(host.path("up")).unwrap();
        host.ok(&["rm", "-f", driver]);
    }
    run(&["-t"], "terminal", &format!("{wait}; echo last words; exit 3"));
    assert!(log(&host, "terminal").0.ends_with("last words\r\n"));
    assert_eq!(host.inspect("terminal", ".State.ExitCode"), "3");
    // Its exit does not depend on it.
    run(&["--log-driver", "none"], "none", &format!("{wait}; echo last words; exit 3"));
    assert_eq!(host.inspect("none", ".State.ExitCode"), "3");
    host.ok(&["rm", "terminal", "none"]);
    host.assert_clean(&[]);
}

#[test]
fn a_stream_that_never_ends_does_not_hold_its_containers_end() {
    let host = need_host!();
    let flag = format!("{}:/flag", host.dir.path().display());
    // Others write on and have the stream to themselves for both directions, and the program ends.
    let script = "touch /flag/up; while [ ! -e /flag/go ]; do sleep 0.02; done; (while :; do echo y; done) & \
                  (while :; do read x; done < /proc/self/fd/1) & exit 5";
    host.ok(&["run", "-d", "--name", "web", "-v", &flag, "busybox", "sh", "-c", script]);
    let id = host.inspect("web", ".Id");
    let pid: i32 = host.inspect("web", ".State.Pid").parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let init = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    until("it runs", || host.path("up").exists());
    host.kill_monitor("web");
    std::fs::write(host.path("go"), "").unwrap();
    rustix::event::poll(&mut [rustix::event::PollFd::new(&init, rustix::event::PollFlags::IN)], None)
        .unwrap();
    let kept = std::fs::metadata(host.path("run").join(&id).join("exit")).unwrap().len();
    assert!(kept < 3 << 20, "{kept}");
    assert_eq!(host.inspect("web", ".State.ExitCode"), "5");
    host.ok(&["rm", "web"]);
    host.assert_clean(&[]);
}

/// Whether somebody holds a lock of fcntl(2) on a file.
fn is_locked(file: &std::fs::File) -> bool {
    use rustix::process::{Flock, FlockType, fcntl_getlk};
    fcntl_getlk(file, &Flock::from(FlockType::WriteLock)).unwrap().is_some()
}

#[test]
fn while_it_is_attended_nobody_else_takes_what_it_writes() {
    let host = need_host!();
    let script = "i=0; while [ $i -lt 3000 ]; do echo \"line $i\"; i=$((i+1)); done; exit 4";
    let want: String = (0..3000).map(|number| format!("line {number}\n")).collect();
    for kept in [true, false] {
        let wait = "while [ ! -e /flag/go ]; do sleep 0.02; done";
        let flag = format!("{}:/flag", host.dir.path().display());
        let script = format!("{wait}; {script}");
        host.ok(&["run", "-d", "--name", "web", "-v", &flag, "busybox", "sh", "-c", &script]);
        let record = host.path("run").join(host.inspect("web", ".Id")).join("exit");
        // It stays to be seen.
        let record = std::fs::File::open(record).unwrap();
        if !kept {
            host.kill_monitor("web");
            host.ok(&["ps"]);
        }
        until("it is attended", || is_locked(&record));
        std::fs::write(host.path("go"), "").unwrap();
        assert_eq!(host.ok(&["wait", "web"]), "4");
        std::fs::remove_file(host.path("go")).unwrap();
        assert_eq!(log(&host, "web").0, want);
        assert_eq!(std::io::read_to_string(&record).unwrap(), "exit 4\n", "{kept}");
        host.ok(&["rm", "web"]);
    }
}

#[test]
fn an_end_is_told_once_though_the_monitor_is_killed_in_the_pause_behind_it() {
    let host = need_host!();
    host.ok(&["run", "-d", "--name", "web", "--restart", "always", "busybox", "sh", "-c", "exit 3"]);
    let dir = host.path("run").join(host.inspect("web", ".Id"));
    let monitor = rustix::process::Pid::from_raw(holder(&dir).expect("a monitor")).unwrap();
    let send = |signal| rustix::process::kill_process(monitor, signal).unwrap();
    until("it is stopped in its pause", || {
        send(rustix::process::Signal::STOP);
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", monitor.as_raw_nonzero())).unwrap();
        until("it is stopped", || stat().contains(") T "));
        let rests = std::fs::read_to_string(dir.join("state.json")).unwrap().contains("\"restarting\"");
        if !rests {
            send(rustix::process::Signal::CONT);
        }
        rests
    });
    kill(monitor.as_raw_nonzero().get());
    let starts = "2";
    host.ok(&["ps"]);
    until("it goes on", || host.inspect("web", ".RestartCount").as_str() >= starts);
    host.ok(&["stop", "web"]);
    assert_eq!(told(&host, "die"), told(&host, "start"));
    host.ok(&["rm", "web"]);
    host.assert_clean(&[]);
}

fn told(host: &Host, event: &str) -> usize {
    let event = format!("event={event}");
    host.ok(&["events", "--since", "1h", "--until", "0s", "-f", &event, "--format", "{{.Action}}"])
        .lines()
        .count()
}

impl Host {
    fn first_process(&self, name: &str) -> i32 {
        self.inspect(name, ".State.Pid").parse().unwrap()
    }

    /// Nobody is left to see them end; and no command is between, which would start one again.
    fn kill_unattended(&self, names: &[&str]) {
        let pids = |name: &&str| {
            let monitor = holder(&self.path("run").join(self.inspect(name, ".Id"))).expect("a monitor");
            [monitor, self.first_process(name)]
        };
        let all: Vec<_> = names.iter().map(pids).collect();
        for [monitor, init] in all {
            kill(monitor);
            kill(init);
        }
    }
}

#[test]
fn what_ends_unattended_is_started_again_by_its_policy() {
    let host = need_host!();
    let run = |name: &str, more: &[&str], script: &str| {
        host.ok(&[&["run", "-d", "--name", name], more, &["busybox", "sh", "-c", script]].concat());
    };
    let wait = "echo up; exec sleep 1000";
    run("always", &["--restart", "always"], wait);
    run("terminal", &["-t", "--restart", "unless-stopped", "-m", "32m"], wait);
    run("failed", &["--restart", "on-failure:1"], wait);
    run("none", &[], wait);
    run("frozen", &["--restart", "always"], wait);
    host.ok(&["pause", "frozen"]);
    let names = ["always", "terminal", "failed", "none", "frozen"];
    let first: Vec<i32> = names.iter().map(|name| host.first_process(name)).collect();
    host.kill_unattended(&names);
    host.ok(&["ps"]);
    for (name, first) in names.into_iter().zip(first).filter(|(name, _)| *name != "none") {
        until("it runs again", || {
            host.inspect(name, ".State.Running") == "true" && host.first_process(name) != first
        });
        assert_eq!(host.inspect(name, ".RestartCount"), "1", "{name}");
        assert_eq!(host.inspect(name, ".State.Paused"), "false", "{name}");
        until("it works", || text(&host.corten(&["logs", name]).stdout).lines().count() == 2);
    }
    assert_eq!(host.inspect("none", ".State.Status"), "exited");
    assert_eq!((told(&host, "die"), told(&host, "start")), (5, 9));
    // That was its only try. And what its user stops, unattended or not, ends.
    host.kill_unattended(&["failed"]);
    host.ok(&["ps"]);
    assert_eq!(host.inspect("failed", ".State.Status"), "exited");
    host.kill_monitor("always");
    host.ok(&["stop", "always"]);
    let terminal = host.first_process("terminal");
    host.kill_monitor("terminal");
    host.ok(&["kill", "terminal"]);
    until("it is gone", || !std::path::Path::new(&format!("/proc/{terminal}")).exists());
    for name in ["always", "terminal"] {
        host.ok(&["ps"]);
        assert_eq!(host.inspect(name, ".State.Status"), "exited", "{name}");
    }
    host.ok(&["rm", "-f", "always", "terminal", "failed", "none", "frozen"]);
    host.assert_clean(&[]);
}

#[test]
fn after_a_boot_the_first_command_starts_what_is_to_run() {
    let host = need_host!();
    let names = ["always", "unless", "stopped", "always-stopped", "failure", "none", "made"];
    let policies = ["always", "unless-stopped", "unless-stopped", "always", "on-failure", "no", "always"];
    for (name, policy) in names.into_iter().zip(policies) {
        host.ok(&["create", "--name", name, "--restart", policy, "busybox", "sleep", "1000"]);
        if name != "made" {
            host.ok(&["start", name]);
        }
    }
    host.ok(&["stop", "stopped", "always-stopped"]);
    let ids: Vec<String> = names.iter().map(|name| host.inspect(name, ".Id")).collect();
    host.kill_unattended(&["always", "unless", "failure", "none"]);
    // Nothing of /run outlives a boot; and all that happened was before this one.
    std::fs::remove_dir_all(host.path("run")).unwrap();
    for id in &ids {
        let kept = host.path("root/containers").join(id);
        if std::fs::remove_file(kept.join("started")).is_ok() {
            std::os::unix::fs::symlink("1000", kept.join("started")).unwrap();
        }
        let path = kept.join("state.json");
        if let Ok(state) = std::fs::read_to_string(&path) {
            let mut state: serde_json::Value = serde_json::from_str(&state).unwrap();
            if state["status"] == "exited" {
                state["started_ns"] = 1000.into();
                state["finished_ns"] = 2000.into();
            }
            std::fs::write(&path, state.to_string()).unwrap();
        }
    }
    host.ok(&["ps"]);
    for (name, running) in names.into_iter().zip([true, true, false, true, false, false, false]) {
        if running {
            until("it runs", || {
                let state = host.inspect(name, "json .State");
                assert!(!state.contains("\"exited\""), "{name}: {state}");
                state.contains("\"running\"")
            });
        }
        let status = host.inspect(name, ".State.Status");
        assert_eq!(status == "running", running, "{name}: {status}");
    }
    assert!(host.inspect("none", ".State.Error").contains("the machine went down"));
    // Only the first.
    host.ok(&["stop", "always"]);
    host.ok(&["ps"]);
    assert_eq!(host.inspect("always", ".State.Status"), "exited");
    host.ok(&[&["rm", "-f"], &names[..]].concat());
    host.assert_clean(&[]);
}
