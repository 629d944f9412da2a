//! The crash matrix beyond a start (`crash.rs`): exec, logs, stop, rm, commit, cp, restart, an end for memory and the
//! monitor, each with kill -9 and with EIO, ENOSPC and EMFILE at its system calls. After each fault the next
//! command collects what is left, what ran still runs, and the same command does what it is for.
//!
//! Which calls: a kill before a call that changes nothing outside its process is the same as one before the next,
//! so only the others are tried; ENOSPC where something may be written, EMFILE where a descriptor may come, EIO
//! everywhere. With `CORTEN_TEST_ALL=1` each kill and each fifth error is tried, always the same, else fewer.

#![cfg(target_arch = "x86_64")]

mod common;

use std::collections::BTreeSet;
use std::process::Output;

use common::fault::{Bench, OF_THE_RUNTIME, Place, Traced, attended, names};
use common::text;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

/// Calls that change nothing outside the process that makes them, descriptors included: those are gone with it.
const QUIET: [u32; 44] = [
    3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 17, 25, 28, 39, 63, 72, 79, 89, 97, 102, 104, 107, 108, 125, 131, 137,
    138, 157, 158, 186, 202, 204, 217, 218, 228, 262, 267, 269, 271, 273, 302, 318, 332, 334,
];
/// open, socket, dup, pipe, openat, accept4, pidfd_open, mount descriptors, openat2, pidfd_getfd and the like.
const GIVE_DESCRIPTORS: [u32; 18] =
    [2, 32, 33, 41, 43, 53, 56, 72, 257, 288, 292, 293, 428, 430, 432, 434, 437, 438];
/// What makes or grows a file, a directory, a namespace.
const TAKE_SPACE: [u32; 22] =
    [1, 18, 20, 40, 56, 74, 77, 82, 83, 86, 88, 189, 190, 257, 258, 259, 264, 265, 266, 316, 326, 437];
/// close, getpid and the like, umask, getrandom.
const CANNOT_FAIL: [u32; 11] = [3, 24, 39, 95, 102, 104, 108, 110, 186, 228, 318];
const WRITE: u32 = 1;
const EXECVE: u32 = 59;

/// Of the calls that tell anything each how manieth is tried with an error; of a kill each one.
const STRIDE: usize = 5;

const EIO: u32 = 5;
const EMFILE: u32 = 24;
const ENOSPC: u32 = 28;

/// One operation.
struct Cell {
    name: &'static str,
    /// The processes by birth that faults are put into.
    roles: &'static [&'static str],
    args: fn(&Bench) -> Vec<String>,
    /// Brings the container `it` to what the command needs.
    ready: fn(&Bench),
    /// Whether `it` runs, and goes on whatever happens.
    keeps: bool,
    traced: fn(&Bench) -> Traced,
    /// The exit code of a command that has done its work.
    code: i32,
    /// Whether it has.
    done: fn(&Bench, &Output) -> Result<(), String>,
    /// The first call of a process that a fault is put into.
    from: fn(usize, &[u32]) -> usize,
}

const CELL: Cell = Cell {
    name: "",
    roles: &["command"],
    args: |_| Vec::new(),
    ready: running,
    keeps: true,
    traced: |_| Traced::All,
    code: 0,
    done: |_, _| Ok(()),
    from: |_, _| 1,
};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Runs a command that cannot fail.
fn sure(bench: &Bench, args: &[&str]) -> String {
    let output = bench.host.corten(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

/// What `inspect` says of the container; nothing if it is not there.
fn of_it(bench: &Bench, field: &str) -> Option<String> {
    let output = bench.host.corten(&["inspect", "-f", &format!("{{{{{field}}}}}"), "it"]);
    output.status.success().then(|| text(&output.stdout).trim().to_owned())
}

/// Its first process, if that lives.
fn process_of_it(bench: &Bench) -> Option<i64> {
    let id = std::fs::read_link(bench.host.path("root/names/it")).ok()?;
    let state = std::fs::read(bench.host.path("run").join(id).join("state.json")).ok()?;
    let pid = serde_json::from_slice::<serde_json::Value>(&state).ok()?["pid"].as_i64()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    (!stat.contains(") Z ")).then_some(pid)
}

fn runs(bench: &Bench) -> bool {
    of_it(bench, ".State.Running").is_some_and(|runs| runs == "true")
}

fn absent(bench: &Bench) {
    sure(bench, &["rm", "-f", "it"]);
}

fn running(bench: &Bench) {
    match of_it(bench, ".State.Running").as_deref() {
        Some("true") => {}
        Some(_) => drop(sure(bench, &["start", "it"])),
        None => {
            let args =
                ["run", "-d", "--cgroup-parent", &bench.parent, "--name", "it", "busybox", "sleep", "1000"];
            sure(bench, &args);
        }
    }
}

fn ended(bench: &Bench) {
    if of_it(bench, ".State.Running").is_none() {
        let args = ["run", "--cgroup-parent", &bench.parent, "--name", "it", "busybox", "echo", "it ran"];
        assert_eq!(sure(bench, &args), "it ran");
    }
}

/// It runs, and its monitor was killed.
fn orphaned(bench: &Bench) {
    running(bench);
    let id = of_it(bench, ".Id").unwrap();
    common::kill(monitor_of(bench, &id).unwrap());
    // The lock is free when all that had it are gone.
    let dir =
        open(bench.host.path("run").join(&id), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    flock(&dir, FlockOperation::LockShared).unwrap();
}

/// Whoever holds the container and is no child of another that does.
fn monitor_of(bench: &Bench, id: &str) -> Option<i32> {
    let run = bench.host.path("run");
    let holders = names(std::path::Path::new("/proc")).into_iter().filter_map(|pid| pid.parse::<i32>().ok());
    holders.filter(|pid| attended(*pid, &run).iter().any(|held| held == id)).min()
}

fn check(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn stopped_now(bench: &Bench, _output: &Output) -> Result<(), String> {
    check(of_it(bench, ".State.Status").as_deref() == Some("exited"), "it has not ended")
}

fn gone(bench: &Bench, _output: &Output) -> Result<(), String> {
    check(of_it(bench, ".Id").is_none(), "it is still there")
}

fn copied_in(bench: &Bench, _output: &Output) -> Result<(), String> {
    let id = of_it(bench, ".Id").ok_or("it is gone")?;
    let copy = bench.host.path("root/containers").join(id).join("upper/tmp/in");
    let want = std::fs::read(bench.host.path("in")).unwrap();
    check(std::fs::read(copy).is_ok_and(|copy| copy == want), "it is not copied")
}

fn copy_in(bench: &Bench) -> Vec<String> {
    words(&["cp", bench.host.path("in").to_str().unwrap(), "it:/tmp/in"])
}

/// What is copied is another each time.
fn with_file(bench: &Bench) {
    running(bench);
    std::fs::write(bench.host.path("in"), format!("{}\n", bench.tries).repeat(1000)).unwrap();
}

fn ended_with_file(bench: &Bench) {
    ended(bench);
    std::fs::write(bench.host.path("in"), format!("{}\n", bench.tries).repeat(1000)).unwrap();
}

fn without_copy(bench: &Bench) {
    running(bench);
    let _none = std::fs::remove_file(bench.host.path("out"));
}

fn committed(bench: &Bench, output: &Output) -> Result<(), String> {
    check(text(&output.stdout).starts_with("sha256:"), "no image is named")?;
    let removed = bench.host.corten(&["rmi", "made"]);
    check(removed.status.success(), &text(&removed.stderr))?;
    // The next change has collected what the one before left.
    let left = names(&bench.host.path("root/tmp"));
    check(left.is_empty(), &format!("left in the store: {left:?}"))?;
    // Not frozen any more.
    let exec = bench.host.corten(&["exec", "it", "true"]);
    check(exec.status.success(), &text(&exec.stderr))
}

const EXEC: Cell = Cell {
    name: "exec",
    roles: &["command", "attendant", "program"],
    args: |_| words(&["exec", "it", "echo", "it ran"]),
    done: |_, output| {
        let lost = text(&output.stderr).contains("output cannot be read");
        check(lost || text(&output.stdout) == "it ran\n", "it says something else")
    },
    ..CELL
};

const LOGS: Cell = Cell {
    name: "logs",
    args: |_| words(&["logs", "it"]),
    ready: ended,
    keeps: false,
    done: |_, output| check(text(&output.stdout) == "it ran\n", "it says something else"),
    ..CELL
};

const STOP: Cell =
    Cell { name: "stop", args: |_| words(&["stop", "it"]), keeps: false, done: stopped_now, ..CELL };

const RM: Cell =
    Cell { name: "rm", args: |_| words(&["rm", "it"]), ready: ended, keeps: false, done: gone, ..CELL };

const RM_FORCED: Cell =
    Cell { name: "rmf", args: |_| words(&["rm", "-f", "it"]), keeps: false, done: gone, ..CELL };

const COMMIT: Cell = Cell {
    name: "commit",
    roles: &["command", "thawing process"],
    args: |_| words(&["commit", "it", "made"]),
    done: committed,
    ..CELL
};

const COPY_IN: Cell = Cell {
    name: "cpin",
    roles: &["command", "copying process"],
    args: copy_in,
    ready: with_file,
    done: copied_in,
    ..CELL
};

const COPY_IN_ENDED: Cell = Cell { name: "cpend", ready: ended_with_file, keeps: false, ..COPY_IN };

const COPY_OUT: Cell = Cell {
    name: "cpout",
    roles: &["command", "copying process"],
    args: |bench| words(&["cp", "it:/etc/passwd", bench.host.path("out").to_str().unwrap()]),
    ready: without_copy,
    done: |bench, _| {
        let read = |name: &str| std::fs::read(bench.host.path(name)).ok();
        check(read("out").is_some() && read("out") == read("tree/etc/passwd"), "it is not copied")
    },
    ..CELL
};

const RESTART: Cell = Cell {
    name: "restart",
    roles: &["command", "monitor", "first process", "program"],
    args: |_| words(&["restart", "it"]),
    keeps: false,
    traced: |_| Traced::Command,
    done: |bench, _| check(runs(bench), "it does not run"),
    ..CELL
};

/// Faults of the monitor once the container runs: its start is `crash.rs`'s.
const OUT_OF_MEMORY: Cell = Cell {
    name: "oom",
    roles: &["", "monitor"],
    args: |bench| {
        let flags =
            ["run", "--name", "it", "--cgroup-parent", &bench.parent, "-m", "8m", "--memory-swap", "8m"];
        [words(&flags), words(&["busybox", "busybox", "tail", "/dev/zero"])].concat()
    },
    ready: absent,
    keeps: false,
    code: 137,
    done: |bench, _| {
        // Or that it is not known is.
        let known = of_it(bench, ".State.OOMKilled").as_deref() == Some("true");
        let said = of_it(bench, ".State.Error").is_some_and(|error| error.contains("memory limit"));
        check(known || said, "nobody knows that it was for memory")
    },
    from: |role, calls| {
        let clone = calls.iter().rposition(|call| [56, 435].contains(call));
        if role == 1 { clone.map_or(1, |clone| clone + 2) } else { usize::MAX }
    },
    ..CELL
};

const MONITOR: Cell = Cell {
    name: "monitor",
    roles: &["monitor"],
    args: |_| words(&["stop", "it"]),
    keeps: false,
    traced: |bench| {
        let id = of_it(bench, ".Id").unwrap();
        Traced::With(monitor_of(bench, &id).unwrap())
    },
    done: stopped_now,
    ..CELL
};

/// Whoever finds that the monitor was killed must not end the container, whatever fails.
const FOUND: Cell = Cell {
    name: "found",
    roles: &["command", "monitor"],
    args: |_| words(&["ps", "-a"]),
    ready: orphaned,
    traced: |_| Traced::Command,
    done: |_, output| check(text(&output.stdout).contains(" Up "), "it is not shown as one that runs"),
    ..CELL
};

const ADOPTION: Cell = Cell {
    name: "adopt",
    roles: &["command", "monitor"],
    args: |_| words(&["stop", "it"]),
    ready: orphaned,
    keeps: false,
    done: stopped_now,
    ..CELL
};

/// Whether a fault at this call tells anything that one at another does not.
fn is_tried(fault: &str, role: usize, nth: usize, calls: &[u32]) -> bool {
    let call = calls[nth - 1];
    match fault.parse() {
        // What comes of the last exec of a program is the image's own.
        Err(_) => !QUIET.contains(&call) && (role > 0 || call != 0),
        // A close that fails has closed, and std takes one of a directory for a bug.
        Ok(_) if CANNOT_FAIL.contains(&call) => false,
        // The execve(2) of the command itself is the tracer's.
        Ok(_) if OF_THE_RUNTIME.contains(&call) || (role, nth) == (0, 1) => false,
        Ok(EMFILE) => GIVE_DESCRIPTORS.contains(&call),
        Ok(ENOSPC) => TAKE_SPACE.contains(&call),
        Ok(_) => true,
    }
}

/// The calls that this cell tries with a fault: role, number, call.
fn chosen(cell: &Cell, bench: &Bench, fault: &str) -> Option<Vec<(usize, usize)>> {
    (cell.ready)(bench);
    let args = (cell.args)(bench);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (mut calls, mut output) = bench.count((cell.traced)(bench), &args);
    // Now and then the kernel does not tell of a birth.
    for _ in 0..10 {
        if calls.len() >= cell.roles.len() {
            break;
        }
        (cell.ready)(bench);
        (calls, output) = bench.count((cell.traced)(bench), &args);
    }
    if calls.iter().all(Vec::is_empty) {
        eprintln!("skipped: this kernel has no PTRACE_GET_SYSCALL_INFO (user-mode Linux)");
        return None;
    }
    assert_eq!(output.status.code(), Some(cell.code), "{}: {}", cell.name, text(&output.stderr));
    assert!(calls.len() >= cell.roles.len(), "{}: {calls:?}", cell.name);
    (cell.done)(bench, &output).unwrap();
    let mut list = Vec::new();
    for (role, calls) in calls.iter().enumerate().take(cell.roles.len()) {
        let program = ["program"].contains(&cell.roles[role]);
        let last = calls.iter().rposition(|call| program && *call == EXECVE).map_or(calls.len(), |at| at + 1);
        let from = (cell.from)(role, calls);
        let tried = (from..=last).filter(|nth| is_tried(fault, role, *nth, calls));
        list.extend(tried.map(|nth| (role, nth)));
    }
    let all = std::env::var_os("CORTEN_TEST_ALL").is_some();
    let stride = if fault == "kill" { 1 } else { STRIDE };
    let stride = if all { stride } else { stride * 12 };
    let tried = list.iter().copied().skip(stride / 2).step_by(stride).collect();
    eprintln!("{} {fault}: {} calls tell apart, each {stride}th is tried", cell.name, list.len());
    Some(tried)
}

/// One fault, the next command, the judgement, and the same command again.
fn try_one(cell: &Cell, bench: &mut Bench, (role, nth): (usize, usize), fault: &str) -> Result<bool, String> {
    (cell.ready)(bench);
    let before = process_of_it(bench);
    let args = (cell.args)(bench);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let place = Place { role, name: cell.roles[role], nth };
    let tried = bench.inject(place, fault, (cell.traced)(bench), &args);
    bench.tries += 1;
    let Some(call) = tried.hit else { return Ok(false) };
    let err = text(&tried.output.stderr);
    let when = format!("{}: {fault} at call {nth} ({call}) of the {}", cell.name, cell.roles[role]);
    let wrong = |what: &str| format!("{when}: {what}\n{err}");
    let next: [&[&str]; 4] = [&["ps", "-a"], &["images"], &["rm", "no-such"], &["info"]];
    let next = next[bench.tries % next.len()];
    let output = bench.host.corten(next);
    if !output.status.success() && next[0] != "rm" {
        return Err(wrong(&format!("{next:?}: {}", text(&output.stderr))));
    }
    // What ran still runs, and it is the same.
    if cell.keeps && process_of_it(bench) != before {
        return Err(wrong("the container does not run any more"));
    }
    clean(bench).map_err(|left| wrong(&format!("then {next:?}: {left}")))?;
    // A command that says so has done its work, and one that has not says why. A program that is killed is one
    // that has ended so.
    let of_runtime = fault != "kill" && (OF_THE_RUNTIME.contains(&call) || CANNOT_FAIL.contains(&call));
    let program = ["program", "first process"].contains(&cell.roles[role]) && fault == "kill";
    match tried.output.status.code() {
        Some(0 | 137) if program => {}
        // The user's own streams: what they do not take is lost, as with Docker.
        Some(0) if fault != "kill" && (role, call) == (0, WRITE) => {}
        Some(code) if code == cell.code => {
            (cell.done)(bench, &tried.output).map_err(|what| wrong(&format!("success, but {what}")))?;
        }
        _ if fault == "kill" && role == 0 && cell.name != MONITOR.name => {}
        code if err.is_empty() && code != Some(134) && !of_runtime => {
            return Err(wrong(&format!("code {code:?} and no word")));
        }
        _ if err.contains("panicked") && !of_runtime => return Err(wrong("a panic")),
        _ => {}
    }
    (cell.ready)(bench);
    let args = (cell.args)(bench);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let again = bench.host.corten(&args);
    if again.status.code() != Some(cell.code) {
        return Err(wrong(&format!("again: {:?} {}", again.status.code(), text(&again.stderr))));
    }
    (cell.done)(bench, &again).map_err(|what| wrong(&format!("again: {what}")))?;
    // What this has left is seen after the next fault, or at the end.
    Ok(true)
}

/// The containers that there are, and those of them that run.
fn containers(bench: &Bench) -> (BTreeSet<String>, BTreeSet<String>) {
    let listed = sure(bench, &["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.State}}"]);
    let all = listed.lines().filter_map(|line| line.split_once(' '));
    let alive = all.clone().filter(|(_, state)| *state == "running");
    (all.map(|(id, _)| id.to_owned()).collect(), alive.map(|(id, _)| id.to_owned()).collect())
}

/// Nothing is left that no record owns, by this test's look and by `doctor`'s, and the bystander runs.
fn clean(bench: &Bench) -> Result<(), String> {
    // One whose start goes on without its command runs in a moment, or is not attended any more; and who attended
    // it then has left it to the next command.
    let mut before = containers(bench);
    let (kept, alive) = loop {
        let attended = bench.is_attended_beside(&before.1);
        let now = containers(bench);
        if !attended && now.1 == before.1 {
            break now;
        }
        before = now;
    };
    check(alive.contains(&bench.bystander), "the bystander does not run any more")?;
    let left = bench.left(&kept, &alive);
    check(left.is_empty(), &format!("{left:#?}"))?;
    let doctor = bench.host.corten(&["doctor", "--assert-clean"]);
    check(doctor.status.success(), &format!("{} {}", text(&doctor.stdout), text(&doctor.stderr)))
}

fn tries(cell: &Cell, faults: &[u32]) {
    let host = need_host!();
    let name = format!("{}-{}", cell.name, faults.len());
    let Some(mut bench) = Bench::new(host, &name) else { return };
    let faults =
        if faults.is_empty() { vec!["kill".to_owned()] } else { faults.iter().map(u32::to_string).collect() };
    let (mut happened, mut wrong) = (0, Vec::new());
    for fault in &faults {
        let Some(chosen) = chosen(cell, &bench, fault) else { return };
        for place in chosen {
            match try_one(cell, &mut bench, place, fault) {
                Ok(hit) => happened += usize::from(hit),
                Err(what) => {
                    wrong.push(what);
                    bench.remove_all();
                }
            }
        }
    }
    wrong.extend(clean(&bench).err());
    bench.remove_all();
    eprintln!("{happened} faults happened in {} tries", bench.tries);
    assert!(wrong.is_empty(), "{} wrong: {}", wrong.len(), wrong.join("\n"));
    assert!(happened > 0);
}

macro_rules! cells {
    ($($name:ident $errors:ident $cell:ident;)*) => {$(
        #[test]
        fn $name() {
            tries(&$cell, &[]);
        }

        #[test]
        fn $errors() {
            tries(&$cell, &[EIO, ENOSPC, EMFILE]);
        }
    )*};
}

cells! {
    exec_is_killed exec_fails EXEC;
    logs_is_killed logs_fails LOGS;
    stop_is_killed stop_fails STOP;
    rm_is_killed rm_fails RM;
    rm_of_one_that_runs_is_killed rm_of_one_that_runs_fails RM_FORCED;
    commit_is_killed commit_fails COMMIT;
    cp_into_one_that_runs_is_killed cp_into_one_that_runs_fails COPY_IN;
    cp_into_one_that_ended_is_killed cp_into_one_that_ended_fails COPY_IN_ENDED;
    cp_out_is_killed cp_out_fails COPY_OUT;
    restart_is_killed restart_fails RESTART;
    the_monitor_is_killed_as_memory_runs_out the_monitor_fails_as_memory_runs_out OUT_OF_MEMORY;
    the_monitor_is_killed_at_an_end the_monitor_fails_at_an_end MONITOR;
    adoption_is_killed adoption_fails ADOPTION;
    adoption_by_ps_is_killed adoption_by_ps_fails FOUND;
}
