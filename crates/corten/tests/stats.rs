//! `corten stats` and `top`, by what a container really uses.

mod common;

use std::io::Read;
use std::process::Stdio;

use common::{Host, text};

fn field(line: &str, nth: usize) -> &str {
    line.split('|').nth(nth).unwrap_or_else(|| panic!("{line}"))
}

/// Starts it, and waits until it says so.
fn start(host: &Host, name: &str, flags: &[&str], script: &str) {
    let mut args = vec!["run", "-d", "--name", name];
    args.extend(flags);
    let script = format!("{script} echo ready; while true; do sleep 1000; done");
    args.extend(["busybox", "sh", "-c", &script]);
    let output = host.corten(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut follower = host.command(&["logs", "-f", name]).stdout(Stdio::piped()).spawn().unwrap();
    follower.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn what_is_used_is_shown() {
    let host = need_host!();
    start(&host, "idle", &["-m", "64m"], "sleep 1000 & sleep 1000 &");
    start(
        &host,
        "busy",
        &["-m", "64m"],
        "x=$(dd if=/dev/zero bs=1M count=8 2>/dev/null | busybox tr '\\0' y); while true; do :; done &",
    );
    let format = "{{.Name}}|{{.CPUPerc}}|{{.MemUsage}}|{{.PIDs}}|{{.NetIO}}|{{.MemPerc}}";
    let output = host.corten(&["stats", "--no-stream", "--format", format, "idle", "busy"]);
    let out = text(&output.stdout);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((lines.len(), field(lines[0], 0), field(lines[1], 0)), (2, "idle", "busy"), "{out}");
    let percent = |text: &str| text.strip_suffix('%').unwrap().parse::<f64>().unwrap();
    assert!(percent(field(lines[0], 1)) < 5.0, "{out}");
    // Other tests share the processors.
    assert!(percent(field(lines[1], 1)) > 10.0, "{out}");
    for line in &lines {
        assert!(field(line, 2).ends_with(" / 64MiB"), "{out}");
        assert_eq!(field(line, 4), "0B / 0B");
        assert!(field(line, 3).parse::<u32>().unwrap() >= 3, "{out}");
    }
    assert!(percent(field(lines[1], 5)) >= 12.0, "eight of 64 MiB: {out}");
    // All that run, and with -a those that do not.
    host.corten(&["run", "--name", "done", "busybox", "true"]);
    let names = |args: &[&str]| {
        let mut all = vec!["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}"];
        all.extend(args);
        text(&host.corten(&all).stdout)
    };
    assert!(!names(&[]).contains("done") && names(&["-a"]).contains("done 0"));
    let absent = host.corten(&["stats", "--no-stream", "absent"]);
    assert!(text(&absent.stderr).contains("No such container: absent"));
}

#[test]
fn the_table_is_drawn_again_until_the_container_is_gone() {
    let host = need_host!();
    start(&host, "web", &[], "");
    let mut child = host.command(&["stats", "web"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut seen = String::new();
    while seen.matches("\x1b[H").count() < 2 {
        let mut buffer = [0; 4096];
        let count = out.read(&mut buffer).unwrap();
        assert!(count > 0, "{seen}");
        seen.push_str(&text(&buffer[..count]));
    }
    assert!(seen.starts_with("\x1b[HCONTAINER ID   NAME"), "{seen:?}");
    assert!(host.corten(&["rm", "-f", "web"]).status.success());
    out.read_to_string(&mut seen).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn top_shows_the_containers_processes_and_no_others() {
    let host = need_host!();
    start(&host, "web", &["-u", "web"], "sleep 4711 &");
    let own = text(&host.corten(&["top", "web"]).stdout);
    let first: Vec<&str> = own.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(first, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    let of = |output: &str| -> Vec<(String, String)> {
        let mut rows: Vec<_> = output
            .lines()
            .skip(1)
            .map(|line| {
                let cells: Vec<&str> = line.split_whitespace().collect();
                (cells[1].to_owned(), cells[7..].join(" "))
            })
            .collect();
        rows.sort();
        rows
    };
    assert!(of(&own).iter().any(|(_, command)| command == "sleep 4711"), "{own}");
    assert!(of(&own).len() >= 3 && of(&own).len() < 10, "{own}");
    // What ps itself shows of them.
    let ps = std::process::Command::new("ps").arg("-ef").output();
    if ps.is_ok_and(|output| output.status.success() && output.stdout.len() > 200) {
        let ps = text(&host.corten(&["top", "web", "-ef"]).stdout);
        assert_eq!(
            of(&ps).iter().map(|row| &row.0).collect::<Vec<_>>(),
            of(&own).iter().map(|row| &row.0).collect::<Vec<_>>()
        );
        // Without options that ask for more, ps(1) shows those of its own terminal.
        let chosen = text(&host.corten(&["top", "web", "-o", "pid,cmd"]).stdout);
        assert_eq!(chosen.lines().count(), own.lines().count(), "{chosen}");
        let pids = host.corten(&["top", "web", "-o", "cmd"]);
        assert!(
            text(&pids.stderr).contains("Couldn't find PID field in ps output"),
            "{}",
            text(&pids.stderr)
        );
    }
    host.corten(&["rm", "-f", "web"]);
    host.corten(&["run", "--name", "done", "busybox", "true"]);
    let output = host.corten(&["top", "done"]);
    assert!(!output.status.success() && text(&output.stderr).contains("is not running"));
}
