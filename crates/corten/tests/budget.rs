//! System calls that commands make for each container, or each file, they look at: the difference between few and
//! more, so that what a command costs by itself does not matter.

mod common;

use std::process::{Command, Stdio};

use common::{Host, text};

/// Without optimisation the standard library checks each descriptor that it closes.
const DEBUG: usize = cfg!(debug_assertions) as usize;

/// The system calls of a command and its children, a line each; `None` without strace.
fn calls(host: &Host, args: &[&str]) -> Option<Vec<String>> {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: needs strace (cargo xtask deps)");
        return None;
    }
    let (trace, command) = (host.path("trace"), host.command(args));
    let mut traced = Command::new("strace");
    traced.args(["-f", "-s", "300", "-o"]).arg(&trace).arg(command.get_program()).args(command.get_args());
    let output = traced.output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    let is_call =
        |line: &&str| !line.contains(" resumed>") && !line.contains(" +++ ") && !line.contains(" --- ");
    Some(std::fs::read_to_string(&trace).unwrap().lines().filter(is_call).map(str::to_owned).collect())
}

fn start(host: &Host, name: &str) -> String {
    let output = host.corten(&["run", "-d", "--network", "none", "--name", name, "busybox", "sleep", "1000"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

#[test]
fn ps_keeps_its_budget_for_each_container() {
    let host = need_host!();
    start(&host, "first");
    let Some(few) = calls(&host, &["ps", "-q"]) else { return };
    for number in 0..10 {
        start(&host, &format!("more-{number}"));
    }
    let many = calls(&host, &["ps", "-q"]).unwrap();
    let each = (many.len() - few.len()).div_ceil(10);
    // Its name and its lease, read; the record and the state, each opened, read and closed; its lock, tried; whether it
    // is paused. The directories grow with them.
    assert!(each <= 13 + 2 * DEBUG, "{each} system calls a container:\n{}", many.join("\n"));
    let containing = |what: &str| many.iter().filter(|line| line.contains(what)).count();
    // That they are attended says that they run.
    assert_eq!((containing("/stat\""), containing("random/boot_id")), (0, 0));
    // Who opens it waits for an RCU grace period.
    assert_eq!(containing("/proc/locks"), 0);
    assert_eq!(text(&host.corten(&["ps", "-q"]).stdout).lines().count(), 11);
}

#[test]
fn only_the_record_that_is_meant_is_read() {
    let host = need_host!();
    let ids: Vec<String> = (0..3).map(|number| start(&host, &format!("c{number}"))).collect();
    // So short that it is unique, and no name.
    let length = (1..64).find(|length| ids[1..].iter().all(|id| id[..*length] != ids[0][..*length])).unwrap();
    let Some(calls) = calls(&host, &["top", &ids[0][..length.max(4)]]) else { return };
    let records = calls.iter().filter(|line| line.contains("/config.json\"") && line.contains("O_RDONLY"));
    for line in records {
        assert!(line.contains(&ids[0]), "{line}");
    }
    let prefix = &ids[0][..length - 1];
    if ids[1..].iter().any(|id| id.starts_with(prefix)) && !prefix.is_empty() {
        assert!(text(&host.corten(&["top", prefix]).stderr).contains("multiple IDs"), "{prefix}");
    }
}

#[test]
fn cp_keeps_its_budget_for_each_file() {
    let host = need_host!();
    start(&host, "running");
    let output = host.corten(&["create", "--name", "stopped", "busybox", "true"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for (name, files) in [("few", 10), ("many", 110)] {
        std::fs::create_dir(host.path(name)).unwrap();
        for number in 0..files {
            std::fs::write(host.path(name).join(number.to_string()), "some bytes\n").unwrap();
        }
    }
    for container in ["running", "stopped"] {
        let mut counts = Vec::new();
        for name in ["few", "many"] {
            let from = host.path(name).to_str().unwrap().to_owned();
            let to = host.path(&format!("{container}-{name}")).to_str().unwrap().to_owned();
            let Some(into) = calls(&host, &["cp", &from, &format!("{container}:/{name}")]) else { return };
            let out = calls(&host, &["cp", &format!("{container}:/{name}"), &to]).unwrap();
            counts.push([into.len(), out.len()]);
            assert_eq!(std::fs::read_dir(&to).unwrap().count(), if name == "few" { 10 } else { 110 });
        }
        for (way, at) in [("into", 0), ("out of", 1)] {
            // In how many pieces the pipe between the two is read is the scheduler's: a few calls for all of them.
            let each = (counts[1][at] - counts[0][at]) / 100;
            // Who reads: found, looked at, opened, its attributes, read, closed twice. Who writes: made, written,
            // its time, closed; for one in a directory its owner and mode.
            let budget = 11 + 3 * DEBUG;
            assert!(
                each <= budget,
                "{each} system calls a file {way} the container that is {container}: {counts:?}"
            );
        }
    }
}
