//! `corten logs`, and what the drivers keep, by what comes out again.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use common::{Host, text};

/// Runs a container to its end.
fn run(host: &Host, name: &str, flags: &[&str], script: &str) {
    let mut args = vec!["run", "--name", name];
    args.extend(flags);
    args.extend(["busybox", "sh", "-c", script]);
    let output = host.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(output.unwrap().success());
}

fn logs(host: &Host, args: &[&str]) -> (String, String) {
    let args: Vec<&str> = ["logs"].iter().chain(args).copied().collect();
    let output = host.corten(&args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

fn follow(host: &Host, args: &[&str]) -> Child {
    let args: Vec<&str> = ["logs", "-f"].iter().chain(args).copied().collect();
    host.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn numbers(range: std::ops::RangeInclusive<u32>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

const COUNT: &str = "i=0; while test $i -lt 500; do i=$((i+1)); echo $i; done";

#[test]
fn each_stream_comes_back_on_its_own_with_either_driver() {
    let host = need_host!();
    for driver in ["json-file", "local"] {
        let script = "echo out; echo err >&2; printf 'a\\tb\"<&>\\303\\251'; echo end >&2";
        run(&host, driver, &["--log-driver", driver], script);
        let (out, err) = logs(&host, &[driver]);
        assert_eq!((out.as_str(), err.as_str()), ("out\na\tb\"<&>é", "err\nend\n"), "{driver}");
        // To one place they come in the order in which they were written.
        let mut command = host.command(&["logs", driver]);
        let file = host.path("both");
        let to = std::fs::File::create(&file).unwrap();
        command.stdout(to.try_clone().unwrap()).stderr(to);
        assert!(command.status().unwrap().success());
        assert_eq!(std::fs::read_to_string(&file).unwrap().len(), out.len() + err.len());
    }
}

#[test]
fn tail_since_until_and_timestamps() {
    let host = need_host!();
    for driver in ["json-file", "local"] {
        run(&host, driver, &["--log-driver", driver], COUNT);
        assert_eq!(logs(&host, &[driver]).0, numbers(1..=500));
        assert_eq!(logs(&host, &["-n", "3", driver]).0, numbers(498..=500));
        assert_eq!(logs(&host, &["--tail", "0", driver]).0, "");
        assert_eq!(logs(&host, &["--tail", "501", driver]).0, numbers(1..=500));
        assert_eq!(logs(&host, &["--since", "1h", driver]).0, numbers(1..=500));
        assert_eq!(logs(&host, &["--until", "1h", driver]).0, "");
        let (stamped, _) = logs(&host, &["-t", driver]);
        let (time, rest) = stamped.lines().last().unwrap().split_once(' ').unwrap();
        assert_eq!((rest, time.len()), ("500", "2024-01-01T00:00:00.000000000Z".len()));
        // The same moment again: what was written at it and later.
        let (since, _) = logs(&host, &["--since", time, driver]);
        assert!(since.ends_with("500\n"));
        let (until, _) = logs(&host, &["-t", "--until", time, driver]);
        assert_eq!(until, stamped);
    }
}

#[test]
fn a_long_line_is_kept_in_pieces_and_comes_back_whole() {
    let host = need_host!();
    run(&host, "long", &[], "dd if=/dev/zero bs=1000 count=100 2>/dev/null | busybox tr '\\0' x; echo");
    let id = text(&host.corten(&["inspect", "-f", "{{.Id}}", "long"]).stdout);
    let file = host.path("root/containers").join(id.trim()).join("log.json");
    let lines = std::fs::read_to_string(file).unwrap();
    assert_eq!(lines.lines().count(), 100_001_usize.div_ceil(16 << 10));
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["log"].as_str().unwrap().len(), 16 << 10);
    assert_eq!(logs(&host, &["long"]).0, "x".repeat(100_000) + "\n");
}

#[test]
fn what_labels_and_variables_say_is_shown_by_details() {
    let host = need_host!();
    let flags =
        ["-l", "tier=a b", "-e", "WHERE=here", "--log-opt", "labels=tier,none", "--log-opt", "env=WHERE"];
    for driver in ["json-file", "local"] {
        let flags: Vec<&str> = flags.iter().copied().chain(["--log-driver", driver]).collect();
        run(&host, driver, &flags, "echo x");
        assert_eq!(logs(&host, &["--details", driver]).0, "WHERE=here,tier=a+b x\n");
    }
}

#[test]
fn following_ends_with_the_container_and_misses_nothing_over_rotations() {
    let host = need_host!();
    for (name, opts) in [
        ("plain", &[][..]),
        ("rotated", &["--log-opt", "max-size=2k", "--log-opt", "max-file=400"]),
        (
            "compressed",
            &["--log-opt", "max-size=2k", "--log-opt", "max-file=400", "--log-opt", "compress=true"],
        ),
        ("local", &["--log-driver", "local", "--log-opt", "max-size=1k", "--log-opt", "max-file=400"]),
    ] {
        let data = host.path(name);
        std::fs::create_dir(&data).unwrap();
        let volume = format!("{}:/data", data.display());
        let mut args = vec!["run", "-d", "--name", name, "-v", &volume];
        args.extend(opts);
        let script = format!("while ! test -e /data/go; do sleep 0.01; done; {COUNT}; sleep 0.1; echo 501");
        args.extend(["busybox", "sh", "-c", &script]);
        assert!(host.corten(&args).status.success());
        let mut follower = follow(&host, &[name]);
        std::fs::write(data.join("go"), "").unwrap();
        let mut out = String::new();
        follower.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        let ended = follower.wait_with_output().unwrap();
        assert!(ended.status.success(), "{name}: {}", text(&ended.stderr));
        assert_eq!(out, numbers(1..=501), "{name}");
        assert_eq!(logs(&host, &[name]).0, numbers(1..=501), "{name}");
        assert_eq!(logs(&host, &["-n", "450", name]).0, numbers(52..=501), "{name}");
    }
}

#[test]
fn full_files_go_and_the_newest_stay() {
    let host = need_host!();
    let opts = ["--log-opt", "max-size=4k", "--log-opt", "max-file=3"];
    run(&host, "few", &opts, COUNT);
    let id = text(&host.corten(&["inspect", "-f", "{{.Id}}", "few"]).stdout);
    let dir = host.path("root/containers").join(id.trim());
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("log"))
        .collect();
    names.sort();
    assert_eq!(names, ["log.json", "log.json.1", "log.json.2"]);
    let (out, _) = logs(&host, &["few"]);
    assert!(out.ends_with("\n499\n500\n") && !out.starts_with("1\n"));
    let first: u32 = out.lines().next().unwrap().parse().unwrap();
    assert_eq!(out, numbers(first..=500));
}

#[test]
fn a_follower_sees_lines_as_they_come_and_the_removal_as_the_end() {
    let host = need_host!();
    let script = "while read line; do echo got $line; done < /data/fifo; sleep 1000";
    let script = format!("busybox mkfifo /data/fifo; {script}");
    let data = host.path("data");
    std::fs::create_dir(&data).unwrap();
    let volume = format!("{}:/data", data.display());
    let args = ["run", "-d", "--rm", "--name", "slow", "-v", &volume, "busybox", "sh", "-c", &script];
    assert!(host.corten(&args).status.success());
    let mut follower = follow(&host, &["slow"]);
    let mut out = BufReader::new(follower.stdout.take().unwrap());
    let fifo = data.join("fifo");
    while !fifo.exists() {
        std::thread::yield_now();
    }
    let mut to = std::fs::File::options().write(true).open(&fifo).unwrap();
    for word in ["a", "b"] {
        std::io::Write::write_all(&mut to, format!("{word}\n").as_bytes()).unwrap();
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, format!("got {word}\n"));
    }
    assert!(host.corten(&["rm", "-f", "slow"]).status.success());
    assert!(follower.wait().unwrap().success());
    host.assert_clean(&[]);
}

#[test]
fn until_ends_a_follower() {
    let host = need_host!();
    assert!(host.corten(&["run", "-d", "--name", "long", "busybox", "sleep", "1000"]).status.success());
    let before = std::time::Instant::now();
    let mut follower = follow(&host, &["--until", "-1s", "long"]);
    assert!(follower.wait().unwrap().success());
    assert!(before.elapsed() < std::time::Duration::from_secs(60));
}

#[test]
fn what_keeps_no_log_says_so_in_dockers_words() {
    let host = need_host!();
    run(&host, "none", &["--log-driver", "none"], "echo x");
    let output = host.corten(&["logs", "none"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("configured logging driver does not support reading"));
    let output = host.corten(&["logs", "absent"]);
    assert!(text(&output.stderr).contains("No such container: absent"));
    for (driver, opt, named) in [
        ("syslog", "", "syslog"),
        ("json-file", "labels-regex=x", "labels-regex"),
        ("json-file", "compress=true", "compress"),
        ("json-file", "tag={{.Nope}}", "{{.Nope}}"),
    ] {
        let mut args = vec!["run", "--rm", "--log-driver", driver];
        if !opt.is_empty() {
            args.extend(["--log-opt", opt]);
        }
        args.extend(["busybox", "true"]);
        let output = host.corten(&args);
        assert_eq!(output.status.code(), Some(125), "{driver} {opt}");
        assert!(text(&output.stderr).contains(named), "{driver} {opt}: {}", text(&output.stderr));
    }
}

/// Runs `script` in a mount namespace of its own, `$corten` with this host's roots.
fn apart(host: &Host, script: &str) -> std::process::Output {
    let corten = format!(
        "{} --root {} --run-root {}",
        env!("CARGO_BIN_EXE_corten"),
        host.path("root").display(),
        host.path("run").display()
    );
    let dir = host.dir.path();
    Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-ec", script])
        .env("corten", corten)
        .env("dir", dir)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn a_full_disk_costs_lines_but_no_time_and_the_log_says_so() {
    let host = need_host!();
    for driver in ["json-file", "local"] {
        // The store's containers on a file system of 256 KiB; the program writes 2 MiB and measures its time.
        let script = format!(
            "mkdir -p $dir/root/containers; mount -t tmpfs -o size=256k,mode=700 tmpfs $dir/root/containers
             mkdir -p $dir/data; $corten run -d --name full -v $dir/data:/data --log-driver {driver} busybox sh -c '
                 dd if=/dev/zero bs=1k count=2000 2>/dev/null | busybox tr \"\\0\" \"\\n\" | busybox sed s/^/line/; echo done > /data/out' > $dir/id; $corten wait full > $dir/code
             tail -n 1 $dir/data/out; $corten logs full > $dir/log; grep -c line $dir/log
             $corten rm full > $dir/removed"
        );
        let output = apart(&host, &script);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{driver}: {out}{err}");
        let lines: u32 = out.lines().nth(1).unwrap().parse().unwrap();
        assert!(out.starts_with("done\n") && lines > 100 && lines < 2_000_000, "{driver}: {out}");
        assert!(
            err.contains("lines of this log are dropped from here on: writing the log: ENOSPC"),
            "{driver}: {err}"
        );
    }
}

#[test]
fn a_disk_that_hangs_does_not_hold_the_program_up() {
    let host = need_host!();
    // A frozen file system is one whose writes wait for ever. The program says when it is done by a volume.
    let script = "
        truncate -s 16M $dir/disk; mkfs.ext4 -q $dir/disk || exit 77; mkdir -p $dir/root/containers $dir/data
        mount -o loop $dir/disk $dir/root/containers || exit 77
        $corten run -d --name hung -v $dir/data:/data busybox sh -c '
            echo first; while ! test -e /data/go; do sleep 0.01; done
            dd if=/dev/zero bs=64k count=64 2>/dev/null; echo last; echo > /data/done; while ! test -e /data/end; do sleep 0.01; done' > $dir/id
        $corten logs -f hung > $dir/log & follower=$!
        until grep -q first $dir/log; do sleep 0.01; done
        fsfreeze -f $dir/root/containers
        touch $dir/data/go
        n=0; until test -e $dir/data/done; do sleep 0.01; n=$((n+1)); test $n -lt 1000 || break; done
        fsfreeze -u $dir/root/containers
        touch $dir/data/end; wait $follower
        test -e $dir/data/done && echo $n
        $corten logs hung 2>&1 | tr -d '\\0' | grep -a dropped
        $corten rm hung > $dir/removed; umount $dir/root/containers";
    let output = apart(&host, script);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    if output.status.code() == Some(77) {
        eprintln!("skipped: no loop device or mkfs.ext4: {err}");
        return;
    }
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("this log were dropped: the log could not be written as fast"), "{out}{err}");
}

#[test]
fn the_journal_gets_lines_with_dockers_fields() {
    let host = need_host!();
    let refused = host.corten(&["run", "--rm", "--log-driver", "journald", "busybox", "true"]);
    if !std::path::Path::new("/run/systemd/journal/socket").exists() {
        assert_eq!(refused.status.code(), Some(125));
        assert!(text(&refused.stderr).contains("/run/systemd/journal/socket"), "{}", text(&refused.stderr));
    }
    if Command::new("python3").arg("-V").output().is_err() {
        eprintln!("skipped: needs python3");
        return;
    }
    let script = "
        mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/journal
        cat > $dir/journal.py <<'PY'
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind('/run/systemd/journal/socket')
print('ready', flush=True)
for _ in range(2):
    print(s.recv(65536).decode(), flush=True)
PY
        timeout 60 python3 $dir/journal.py > $dir/journal & journal=$!
        until grep -q ready $dir/journal; do kill -0 $journal; sleep 0.01; done
        $corten run --name jour --log-driver journald --log-opt tag='{{.Name}}/{{.ImageName}}' --log-opt labels=a.b -l a.b=c \
            busybox sh -c 'echo out; sleep 0.1; printf err >&2' > $dir/out 2>&1
        wait $journal; cat $dir/journal; $corten logs jour 2>&1 || true; $corten rm jour > $dir/removed";
    let output = apart(&host, script);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    for field in [
        "CONTAINER_NAME=jour\n",
        "CONTAINER_TAG=jour/busybox\n",
        "SYSLOG_IDENTIFIER=jour/busybox\n",
        "IMAGE_NAME=busybox\n",
        "A_B=c\n",
        "MESSAGE=out\nPRIORITY=6\n",
        "MESSAGE=err\nPRIORITY=3\n",
        "CONTAINER_PARTIAL_MESSAGE=true\n",
        "configured logging driver does not support reading: the journal has it: journalctl CONTAINER_ID_FULL=",
    ] {
        assert!(out.contains(field), "{field}: {out}{err}");
    }
}
