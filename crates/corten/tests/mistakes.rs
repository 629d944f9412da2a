//! What people type by mistake: it is refused in words that say what is wrong, Docker's where Docker has some.

mod common;

use std::io::Read;
use std::process::Stdio;

use common::{Host, text};

/// `run --rm` of `true` with these flags fails, with this in its message.
#[track_caller]
fn refused(host: &Host, flags: &[&str], message: &str) {
    let (code, _, err) = host.sh(flags, "true");
    assert!(code == 125 && err.contains(message), "{flags:?}: {code}: {err}");
}

#[test]
fn mounts_of_the_wrong_kind() {
    let host = need_host!();
    let dir = host.dir.path().to_str().unwrap();
    let file = host.path("file");
    std::fs::write(&file, "").unwrap();
    let wrong = "are you trying to mount a directory onto a file (or vice-versa)?";
    for (volume, call) in [
        (format!("{dir}:/etc/passwd"), "move_mount() = ENOTDIR"),
        (format!("{dir}:/dev/null"), "move_mount() = ENOTDIR"),
        ("vol:/etc/passwd".to_owned(), "move_mount() = ENOTDIR"),
        (format!("{}:/etc", file.display()), "move_mount() = EISDIR"),
        (format!("{dir}:/etc/passwd/below"), "openat2() = ENOTDIR"),
    ] {
        let target = volume.split(':').nth(1).unwrap();
        refused(&host, &["-v", &volume], &format!("mount at {target}: {call}"));
        refused(&host, &["-v", &volume], wrong);
    }
    refused(&host, &["--tmpfs", "/etc/passwd"], wrong);
    // Files of /proc are masked with the null device.
    refused(&host, &["-v", &format!("{dir}:/dev")], "null device of the container's /dev");
    let flags = ["-v", &format!("{dir}:/dev"), "--security-opt", "systempaths=unconfined"];
    let (code, _, err) = host.sh(&flags, "ls /dev");
    assert_eq!(code, 0, "{err}");
    host.assert_clean(&[]);
}

#[test]
fn limits_that_the_machine_cannot_give() {
    let host = need_host!();
    let cpus = i64::from(rustix::thread::sched_getaffinity(None).unwrap().count());
    let range = format!("Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available");
    for wrong in ["0.001", &format!("{cpus}.5"), "1000000"] {
        refused(&host, &["--cpus", wrong], &range);
    }
    // Where there is no such controller that is what is said.
    if host.sh(&["--cpuset-cpus", "0"], "true").0 == 0 {
        let wrong = "Requested CPUs are not available - requested 0,4095, available: ";
        refused(&host, &["--cpuset-cpus", "0,4095"], wrong);
        let wrong = "Requested memory nodes are not available - requested 4095, available: ";
        refused(&host, &["--cpuset-mems", "4095"], wrong);
    }
    let run = host.corten(&["run", "-d", "--name", "web", "busybox", "sleep", "1000"]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let update = host.corten(&["update", "--cpus", "1000000", "web"]);
    let err = text(&update.stderr);
    assert!(err.starts_with("error: Cannot update container ") && err.contains(&range), "{err}");
}

/// Init would be the only process: it is left out, or refused if it was asked for.
#[test]
fn one_process_is_the_program() {
    let host = need_host!();
    let (code, out, err) = host.sh(&["--pids-limit", "1"], "echo $$");
    assert_eq!((code, out.as_str()), (0, "1\n"), "{err}");
    let (code, _, err) = host.sh(&["--pids-limit", "1"], "ls; true");
    assert!(code != 0 && err.contains("can't fork"), "{code} {err}");
    refused(&host, &["--pids-limit", "1", "--init"], "conflicting options: --pids-limit 1 and --init");
}

#[test]
fn one_network() {
    let host = need_host!();
    for second in ["none", "host"] {
        refused(&host, &["--network", "none", "--network", second], "more than one --network is refused");
    }
}

/// As a name that is not in PATH.
#[test]
fn an_empty_name_is_no_program() {
    let host = need_host!();
    for init in ["--init=true", "--init=false"] {
        let run = host.corten(&["run", "--rm", init, "busybox", ""]);
        assert_eq!(run.status.code(), Some(127), "{}", text(&run.stderr));
        assert!(text(&run.stderr).contains("exec \"\": "), "{}", text(&run.stderr));
    }
    let run = host.corten(&["run", "-d", "--name", "web", "busybox", "sleep", "1000"]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert_eq!(host.corten(&["exec", "web", ""]).status.code(), Some(127));
}

#[test]
fn limits_that_cannot_be_given() {
    let host = need_host!();
    refused(
        &host,
        &["--pids-limit", "99999999999"],
        "--pids-limit 99999999999: the most that the kernel counts is",
    );
    let (code, _, err) = host.sh(&["--pids-limit", "4194304"], "true");
    assert_eq!(code, 0, "{err}");
    let run = host.corten(&["run", "-d", "--name", "web", "busybox", "sleep", "1000"]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let update = host.corten(&["update", "--pids-limit", "4194305", "web"]);
    let err = text(&update.stderr);
    assert!(update.status.code() == Some(1) && err.contains("--pids-limit 4194305"), "{err}");
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap();
    let ulimit = |limit: u64| format!("nofile=100:{limit}");
    let message = format!("--ulimit nofile=100:{} is refused: {most} is the most", most + 1);
    refused(&host, &["--ulimit", &ulimit(most + 1)], &message);
    let (code, out, err) = host.sh(&["--ulimit", &ulimit(most)], "ulimit -Sn; ulimit -Hn");
    assert_eq!((code, out), (0, format!("100\n{most}\n")), "{err}");
    let flags = ["--ulimit", "nofile=-1"];
    refused(&host, &flags, &format!("--ulimit nofile=-1:-1 is refused: {most} is the most"));
    // What it was made with may be more than the next who starts it, or executes something in it, may give.
    let made = ["run", "-d", "--name", "more", "--ulimit", &ulimit(most), "busybox", "sleep", "1000"];
    let made = host.corten(&made);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let less = |args: &[&str]| {
        let corten = host.command(args);
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", &format!("ulimit -n {}; exec \"$0\" \"$@\"", most - 1)]);
        let output = command.arg(corten.get_program()).args(corten.get_args()).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let message = format!("--ulimit nofile=100:{most} is refused: {} is the most", most - 1);
    let (code, err) = less(&["exec", "more", "true"]);
    assert!(code == Some(126) && err.contains(&message), "{code:?} {err}");
    let (code, err) = less(&["restart", "-t", "0", "more"]);
    assert!(code != Some(0) && err.contains(&message), "{code:?} {err}");
    assert_eq!(text(&host.corten(&["inspect", "-f", "{{.State.Running}}", "more"]).stdout), "false\n");
}

/// `corten … | head -1`: it ends as other programs do, without a word; the container goes on.
#[test]
fn a_reader_that_leaves_is_no_error() {
    let host = need_host!();
    let status = |args: &[&str]| {
        let mut command = host.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 2]).unwrap();
        drop(out);
        let output = child.wait_with_output().unwrap();
        assert_eq!(text(&output.stderr), "", "{args:?}");
        output.status.code()
    };
    let forever = ["busybox", "sh", "-c", "while :; do echo y; done"];
    assert_eq!(status(&[&["run", "--rm", "--name", "web"][..], &forever].concat()), Some(141));
    let running = host.corten(&["inspect", "-f", "{{.State.Status}}", "web"]);
    assert_eq!(text(&running.stdout), "running\n");
    assert_eq!(status(&["exec", "web", "sh", "-c", "while :; do echo y; done"]), Some(141));
    for endless in [&["attach", "--no-stdin", "web"][..], &["export", "web"], &["cp", "web:/bin", "-"]] {
        assert_eq!(status(endless), Some(141), "{endless:?}");
    }
    let script = "i=0; while [ $i -lt 20000 ]; do echo a line of the log; i=$((i+1)); done";
    assert!(host.corten(&["run", "--name", "log", "busybox", "sh", "-c", script]).status.success());
    assert_eq!(status(&["logs", "log"]), Some(141));
    // What is lost is said.
    for args in [&["run", "--rm", "busybox", "ls", "/"][..], &["logs", "log"], &["images"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = host.command(args).stdout(full).output().unwrap();
        let err = text(&output.stderr);
        assert!(
            !output.status.success() && err.contains("cannot write to standard output"),
            "{args:?}: {err}"
        );
        assert!(err.contains("No space left on device"), "{args:?}: {err}");
    }
}
