//! The half that runs in a guest: takes units and leaves their results.
//!
//! After each unit the guest must be as it was before: a cgroup or a mount that is left is a fault of
//! the test that left it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde_json::{Map, Value, json};

/// The time for one unit; it is killed then.
const LIMIT_S: i64 = 180;

/// For what a test ended with and the kernel, or a monitor, takes away a moment later.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes units from `dir` until there is none.
pub fn run(dir: &Path) -> Result<(), String> {
    let file = dir.join("units.json");
    let text = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let units: Vec<Value> =
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    let disk = std::env::var_os("UML_DISK").ok_or("UML_DISK is not set: this is for tests/uml/boot.sh")?;
    let temporary = Path::new(&disk).join("tmp");
    fs::create_dir_all(&temporary).map_err(|error| format!("{}: {error}", temporary.display()))?;
    for (number, unit) in units.iter().enumerate() {
        match fs::create_dir(dir.join(format!("{number}.taken"))) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(format!("mkdir {}/{number}.taken: {error}", dir.display())),
        }
        let place = format!("({:>3}/{})", number + 1, units.len());
        let result = carry_out(unit, &temporary)?;
        let whole = dir.join(format!("{number}.json"));
        let part = dir.join(format!("{number}.part"));
        fs::write(&part, result.to_string())
            .and_then(|()| fs::rename(&part, &whole))
            .map_err(|error| format!("{}: {error}", whole.display()))?;
        announce(unit, &result, &place);
    }
    Ok(())
}

/// Runs one unit. A fault of the test is in the result; an error is one of this guest.
fn carry_out(unit: &Value, temporary: &Path) -> Result<Value, String> {
    let text = |key: &str| unit[key].as_str().ok_or_else(|| format!("a unit without {key}: {unit}"));
    let before = traces();
    let output = PathBuf::from("/run/output");
    let sink = File::create(&output).map_err(|error| format!("/run/output: {error}"))?;
    let other = sink.try_clone().map_err(|error| format!("dup: {error}"))?;
    let program = text("program")?;
    let mut command = Command::new(program);
    match unit["test"].as_str() {
        Some(test) => command.args(["--exact", test, "--nocapture"]),
        None => command.args(["--show-output", "--test-threads=1"]),
    };
    command
        .current_dir(text("directory")?)
        .env("CARGO_MANIFEST_DIR", text("directory")?)
        .env("TMPDIR", temporary)
        .stdin(Stdio::null())
        .stdout(sink)
        .stderr(other)
        .process_group(0);
    let begin = Instant::now();
    let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    let in_time = ends_within(child.id(), LIMIT_S)?;
    let status = child.wait().map_err(|error| format!("wait: {error}"))?;
    let took_ms = begin.elapsed().as_millis() as u64;
    let said = String::from_utf8_lossy(&fs::read(&output).unwrap_or_default()).into_owned();
    // The summary line is libtest's last word; a program that ends without it ran no test to its end.
    let tests = tests_run(&said);
    let left = left_behind(&before);
    let fault = if !in_time {
        Some(format!("no end after {LIMIT_S} s"))
    } else if !status.success() {
        Some(status.to_string())
    } else if tests == 0 {
        Some("no test ran".to_owned())
    } else if !left.is_empty() {
        Some(format!("left behind: {}", left.join(", ")))
    } else {
        None
    };
    let skipped = skips(&said, unit["test"].as_str());
    Ok(json!({ "fault": fault, "ms": took_ms, "tests": tests, "skipped": skipped, "output": said }))
}

/// Waits for the end of a child, or kills it and all of its group.
fn ends_within(pid: u32, limit_s: i64) -> Result<bool, String> {
    let pid = Pid::from_raw(pid as i32).ok_or("a child with pid 0")?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        .map_err(|errno| format!("pidfd_open: {errno}"))?;
    let limit = Timespec { tv_sec: limit_s, tv_nsec: 0 };
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&limit)))
        .map_err(|errno| format!("poll: {errno}"))?;
    if ready == 0 {
        // Not reaped yet, so the number is still its own.
        let _gone = rustix::process::kill_process_group(pid, Signal::KILL);
    }
    Ok(ready > 0)
}

/// The number of tests that passed, from `test result: ok. 3 passed; …`.
fn tests_run(said: &str) -> u64 {
    let line = said.lines().rev().find_map(|line| line.strip_prefix("test result: ok. "));
    line.and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or(0)
}

/// Which tests said that they cannot run, and why. With `--show-output` what a test said is below a line
/// with its name.
fn skips(said: &str, only: Option<&str>) -> Map<String, Value> {
    let mut skips = Map::new();
    let mut test = only;
    for line in said.lines() {
        if let (None, Some(name)) =
            (only, line.strip_prefix("---- ").and_then(|line| line.strip_suffix(" stdout ----")))
        {
            test = Some(name);
        }
        // `test NAME ... ` may stand before the first word of a test.
        let at =
            if line.starts_with("skipped") { Some(0) } else { line.find("... skipped").map(|at| at + 4) };
        if let (Some(test), Some(at)) = (test, at) {
            let reason = line[at..].trim_start_matches("skipped").trim_start_matches(':').trim();
            skips.entry(test).or_insert_with(|| reason.into());
        }
    }
    skips
}

/// What a container leaves on a host if it leaves anything: cgroups and mounts.
fn traces() -> BTreeSet<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut traces: BTreeSet<String> =
        mounts.lines().filter_map(|line| Some(format!("mount on {}", line.split(' ').nth(4)?))).collect();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                // The parent of all containers stays.
                if entry.path() != Path::new("/sys/fs/cgroup/corten") {
                    traces.insert(format!("cgroup {}", entry.path().display()));
                }
                open.push(entry.path());
            }
        }
    }
    traces
}

fn left_behind(before: &BTreeSet<String>) -> Vec<String> {
    let begin = Instant::now();
    loop {
        let left: Vec<String> = traces().difference(before).cloned().collect();
        if left.is_empty() || begin.elapsed() > PATIENCE {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn announce(unit: &Value, result: &Value, place: &str) {
    let name = unit["name"].as_str().unwrap_or_default();
    let seconds = result["ms"].as_u64().unwrap_or(0) as f64 / 1000.0;
    let tests = result["tests"].as_u64().unwrap_or(0);
    let skipped = result["skipped"].as_object().map_or(0, Map::len) as u64;
    let word = match &result["fault"] {
        Value::Null if skipped > 0 && skipped == tests => "SKIP",
        Value::Null => "PASS",
        fault => {
            let fault = fault.as_str().unwrap_or_default();
            let output = result["output"].as_str().unwrap_or_default();
            println!("--- {name}: {fault}\n{output}---");
            "FAIL"
        }
    };
    println!("{word:>12} [{seconds:8.3}s] {place} {name}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_are_told_from_what_libtest_prints() {
        let single =
            "\nrunning 1 test\ntest a ... skipped: needs x\nok\n\ntest result: ok. 1 passed; 0 failed";
        assert_eq!(skips(single, Some("a"))["a"], "needs x");
        assert_eq!(tests_run(single), 1);
        let single = "running 1 test\nskipped in v2: no pages\ntest a ... ok\n";
        assert_eq!(skips(single, Some("a"))["a"], "in v2: no pages");
        let many =
            "successes:\n\n---- m::b stdout ----\nskipped: why\n\n---- c stdout ----\nfine, not skipped\n";
        assert_eq!(Value::Object(skips(many, None)), json!({ "m::b": "why" }));
    }

    #[test]
    fn a_program_that_ends_early_ran_no_test() {
        assert_eq!(tests_run("running 3 tests\ntest a ... ok\n"), 0);
        assert_eq!(tests_run("test result: FAILED. 2 passed; 1 failed"), 0);
    }
}
