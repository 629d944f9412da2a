//! kill -9, and an error, at every system call of a start, in each of its processes: what the next command
//! finds is collected by it, the same start then succeeds, and a container that runs meanwhile is left alone.
//!
//! A sample of the calls by default, another with each run; all of them with `CORTEN_TEST_ALL=1`, as in CI. A try
//! counts only if the fault happened: `fault.c` says so.

#![cfg(target_arch = "x86_64")]

mod common;

use std::collections::BTreeSet;
use std::process::Stdio;

use common::fault::{Bench, OF_SAFETY, OF_THE_RUNTIME, Place, Traced, Tried};
use common::text;

const ROLES: [&str; 5] = ["command", "monitor", "first process", "program", "log writer"];
const EXECVE: u32 = 59;

impl Bench {
    fn start<'a>(&'a self, flags: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["run", "--cgroup-parent", &self.parent];
        args.extend(flags);
        args.extend(["busybox", "echo", "it ran"]);
        args
    }

    fn place(role: usize, nth: usize) -> Place<'static> {
        Place { role, name: ROLES[role], nth }
    }

    /// The system calls that each process makes. Now and then the kernel does not tell of a birth, and the run
    /// is made again.
    fn calls(&self, args: &[&str]) -> Vec<Vec<u32>> {
        for _ in 0..10 {
            let (calls, output) = self.count(Traced::All, args);
            assert!(output.status.success(), "{}", text(&output.stderr));
            // The log has a writer only where there is a log.
            if calls.len() >= ROLES.len() - 1 {
                return calls;
            }
            self.wait_for_the_living();
            self.host.corten(&["rm", "-f", "started", "kept"]);
        }
        let (calls, output) = self.count(Traced::All, args);
        panic!("ten runs, and none was seen whole: {calls:?} {output:?}");
    }

    /// One fault, the next command, and the judgement.
    fn try_one(&mut self, role: usize, nth: usize, fault: &str, flags: &[&str]) -> Option<Tried> {
        let args = self.start(flags);
        let tried = self.inject(Self::place(role, nth), fault, Traced::All, &args);
        let call = tried.hit?;
        let when = format!("{fault} at call {nth} (number {call}) of the {}", ROLES[role]);
        self.wait_for_orphans(&BTreeSet::new());
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
        let left = self.left(&kept, &BTreeSet::new());
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
        let left = self.left(&BTreeSet::new(), &BTreeSet::new());
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
