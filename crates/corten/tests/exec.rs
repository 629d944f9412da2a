//! `corten exec` by its effects, seen from inside the container and from the host.

mod common;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use common::pty::Terminal;
use common::{Host, text};

/// A detached container that only sleeps.
fn start(host: &Host, name: &str, flags: &[&str]) {
    run(host, name, flags, &["busybox", "sleep", "1000"]);
}

fn run(host: &Host, name: &str, flags: &[&str], command: &[&str]) {
    let output = host.corten(&[&["run", "-d", "--name", name], flags, command].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
}

fn exec(host: &Host, args: &[&str]) -> Output {
    host.corten(&[&["exec"], args].concat())
}

/// What a script in the container prints; it must succeed.
fn sh(host: &Host, flags: &[&str], name: &str, script: &str) -> String {
    let output = exec(host, &[flags, &[name, "sh", "-c", script]].concat());
    assert!(output.status.success(), "{script}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn pid_of(host: &Host, name: &str) -> String {
    text(&host.corten(&["inspect", "-f", "{{.State.Pid}}", name]).stdout).trim().to_owned()
}

const KINDS: [&str; 8] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"];
/// Linux 6.1 of the second host was built without time namespaces.
fn kinds() -> Vec<&'static str> {
    let is_there = |kind: &&str| Path::new("/proc/self/ns").join(kind).exists();
    KINDS.into_iter().filter(is_there).collect()
}

fn show_namespaces() -> String {
    format!("for kind in {}; do readlink /proc/self/ns/$kind; done", kinds().join(" "))
}

/// The namespaces of a process, as the host sees them.
fn namespaces(pid: &str) -> Vec<String> {
    kinds()
        .iter()
        .map(|kind| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string())
        .collect()
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

/// One line of /proc/PID/status.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
}

/// Waits until something is so; each look is a look at the kernel's own files.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The host's processes whose command line has this in it.
fn processes(mark: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            text(&line).split('\0').any(|word| word == mark)
        })
        .collect()
}

#[test]
fn it_is_where_the_container_is() {
    let host = need_host!();
    start(&host, "web", &["-m", "64m", "--pids-limit", "50"]);
    let time = kinds().contains(&"time");
    if time {
        start(&host, "ahead", &["--time-offset", "boottime=1000"]);
    }
    start(&host, "hosts", &["--pid", "host", "--network", "host", "--ipc", "host", "--uts", "host"]);
    start(&host, "own-one", &["--init=false", "--cgroupns", "host"]);
    start(&host, "joined", &["--network", "container:web", "--pid", "container:web"]);
    start(&host, "free", &["--privileged"]);
    for name in ["web", "ahead", "hosts", "own-one", "joined", "free"] {
        if name == "ahead" && !time {
            continue;
        }
        let pid = pid_of(&host, name);
        let out = sh(&host, &[], name, &show_namespaces());
        assert_eq!(lines(&out), namespaces(&pid), "{name}");
        // The cgroups are the container's in every hierarchy that it is in.
        let mut child = host.command(&["exec", "-i", name, "sh", "-c", "echo up; read x"]);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut up = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
        let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let of_exec: Vec<String> = processes("echo up; read x")
            .into_iter()
            .filter(|pid| {
                std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("busybox"))
            })
            .map(|pid| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap())
            .collect();
        assert_eq!(of_exec, [cgroup], "{name}");
        drop(child.stdin.take());
        child.wait().unwrap();
    }
    if time {
        let offsets = sh(&host, &[], "ahead", "cat /proc/self/timens_offsets");
        let boottime = offsets.lines().find(|line| line.starts_with("boottime")).unwrap();
        assert_eq!(boottime.split_whitespace().nth(1), Some("1000"), "{offsets}");
    }
    // It is where the limits are.
    let script = "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max";
    assert_eq!(sh(&host, &[], "web", script), "50\n");
}

#[test]
fn it_may_do_what_the_container_may() {
    let host = need_host!();
    let same = [
        "CapInh:",
        "CapPrm:",
        "CapEff:",
        "CapBnd:",
        "CapAmb:",
        "NoNewPrivs:",
        "Seccomp:",
        "Seccomp_filters:",
        "Uid:",
        "Gid:",
        "Groups:",
    ];
    for (number, flags) in [
        &[][..],
        &["--cap-drop", "ALL", "--cap-add", "KILL"],
        &["--security-opt", "no-new-privileges", "-u", "web"],
        &["--security-opt", "seccomp=unconfined", "--group-add", "7"],
        &["--privileged"],
        &["--userns", "host"],
        &["-u", "1000:4"],
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("c{number}");
        let flags = [flags, &["--init=false"]].concat();
        run(&host, &name, &flags, &["busybox", "sleep", "1000"]);
        let script = "cat /proc/1/status; echo ---; cat /proc/self/status";
        // Another user may not look at the first one's.
        let out = sh(&host, &[], &name, script);
        let (first, own) = out.split_once("---").unwrap();
        for line in same {
            assert_eq!(field(own, line), field(first, line), "{flags:?}: {line}");
        }
    }
    let own = sh(&host, &["--privileged"], "c0", "cat /proc/self/status");
    assert_eq!(field(&own, "CapEff:"), "000001ffffffffff");
    assert_eq!(field(&own, "Seccomp:"), "0");
    // All capabilities of the container's own user namespace are none over the host.
    assert_eq!(
        lines(&sh(&host, &["--privileged"], "c0", &show_namespaces())),
        namespaces(&pid_of(&host, "c0"))
    );
}

#[test]
fn user_groups_home_directory_and_environment() {
    let host = need_host!();
    start(&host, "web", &["-e", "A=1", "-e", "B=2", "-w", "/tmp", "-h", "box"]);
    let show = "id -u; id -g; id -G; echo $HOME; pwd; umask";
    assert_eq!(sh(&host, &[], "web", show), "0\n0\n0\n/root\n/tmp\n0022\n");
    assert_eq!(sh(&host, &["-u", "web"], "web", show), "1000\n1001\n1001 4\n/srv/web\n/tmp\n0022\n");
    assert_eq!(sh(&host, &["-u", "7:adm", "-w", "/bin"], "web", show), "7\n4\n4\n/\n/bin\n0022\n");
    let file = host.path("env");
    std::fs::write(&file, "# a comment\nB=file\nC=file\n").unwrap();
    let flags = ["-e", "C=flag", "-e", "A", "--env-file", file.to_str().unwrap()];
    // A alone is the caller's, who has none: it goes.
    let out = sh(&host, &flags, "web", "echo ${A-none} $B $C $HOSTNAME $PATH ${TERM-none}");
    assert_eq!(out, "none file flag box /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin none\n");
    // Where the command executes itself again first, it is the same command, though the file was a pipe.
    start(&host, "hosts", &["--userns", "host", "-e", "A=1"]);
    let flags = [
        "-i",
        "--env-file",
        "/dev/stdin",
        "-e",
        "A",
        "-u",
        "web:adm",
        "-w",
        "/bin",
        "--detach-keys",
        "ctrl-@,a",
    ];
    let args = [
        &["exec"],
        &flags[..],
        &["hosts", "sh", "-c", "echo $0 $1 ${A-none} $B; id -u; id -g; pwd", "-x", "a b"],
    ];
    let mut child =
        host.command(&args.concat()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"B=from a pipe\n").unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap().stdout), "-x a b none from a pipe\n1000\n4\n/bin\n");
    let show = sh(&host, &["--privileged", "-u", "web"], "web", "cat /proc/self/status");
    assert_eq!((field(&show, "CapEff:"), field(&show, "CapInh:")), ("0000000000000000", "0000000000000000"));
}

#[test]
fn exit_codes_and_words_are_dockers() {
    let host = need_host!();
    start(&host, "web", &[]);
    let id = text(&host.corten(&["inspect", "-f", "{{.Id}}", "web"]).stdout).trim().to_owned();
    for (args, code, words) in [
        (&["web", "sh", "-c", "exit 7"][..], 7, ""),
        (&["web", "sh", "-c", "kill -9 $$"], 137, ""),
        (&["web", "nope"], 127, "no such file or directory"),
        (&["web", "/bin/nope"], 127, "no such file or directory"),
        (&["web", "/etc/passwd"], 126, "permission denied"),
        (&["web", "/etc"], 126, ""),
        (&["-w", "/nope", "web", "true"], 127, "/nope"),
        (&["-w", "/etc/passwd", "web", "true"], 126, "/etc/passwd"),
        (&["-w", "nope", "web", "true"], 1, "absolute path"),
        (&["-u", "nope", "web", "true"], 126, "unable to find user nope"),
        (&["-u", "4294967295", "web", "true"], 125, "range"),
        (&["-u", "70000", "web", "true"], 126, "user 70000 is not there"),
        (&["absent", "true"], 1, "No such container: absent"),
        (&["web"], 1, "requires at least 2 arguments"),
        (&["-it", "web", "true"], 1, "the input device is not a TTY"),
        (&["--detach-keys", "x,yy", "web", "true"], 1, "invalid detach keys"),
    ] {
        let output = exec(&host, args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(words), "{args:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{args:?}");
        // Detached, what cannot be started is told all the same.
        if code > 125 && !args.contains(&"sh") {
            assert_eq!(exec(&host, &[&["-d"], args].concat()).status.code(), Some(code), "-d {args:?}");
        }
    }
    assert_eq!(exec(&host, &[&id[..12], "true"]).status.code(), Some(0));
    assert_eq!(host.corten(&["container", "exec", "web", "sh", "-c", "exit 9"]).status.code(), Some(9));
    let ended = host.corten(&["run", "--name", "ended", "busybox", "true"]);
    assert!(ended.status.success());
    let id = text(&host.corten(&["inspect", "-f", "{{.Id}}", "ended"]).stdout).trim().to_owned();
    let output = exec(&host, &["ended", "true"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains(&format!("container {id} is not running")),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn in_a_paused_container_nothing_is_executed() {
    let host = need_host!();
    start(&host, "web", &[]);
    let id = text(&host.corten(&["inspect", "-f", "{{.Id}}", "web"]).stdout).trim().to_owned();
    let base = Path::new("/sys/fs/cgroup");
    let below = |hierarchy: &str| base.join(hierarchy).join("corten").join(&id);
    let freeze = [below("unified"), below("")].map(|dir| dir.join("cgroup.freeze"));
    let Some(freeze) = freeze.iter().find(|file| file.exists()) else {
        eprintln!("skipped: needs cgroup2");
        return;
    };
    std::fs::write(freeze, "1").unwrap();
    let events = freeze.with_file_name("cgroup.events");
    eventually("it is frozen", || std::fs::read_to_string(&events).unwrap().contains("frozen 1"));
    let output = exec(&host, &["web", "true"]);
    std::fs::write(freeze, "0").unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = format!("Container {id} is paused, unpause the container before exec");
    assert!(text(&output.stderr).contains(&words), "{}", text(&output.stderr));
}

#[test]
fn streams_are_carried_whole_both_ways() {
    let host = need_host!();
    start(&host, "web", &[]);
    assert_eq!(sh(&host, &[], "web", "cat; echo out; echo err >&2"), "out\n", "no input without -i");
    let mut command = host.command(&["exec", "-i", "web", "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let sent: Vec<u8> =
        (0..9_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = {
        let sent = sent.clone();
        std::thread::spawn(move || stdin.write_all(&sent).unwrap())
    };
    let mut got = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut got).unwrap();
    feeder.join().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    // Standard error apart, and the last of it too.
    let output = exec(
        &host,
        &["web", "sh", "-c", "dd if=/dev/zero bs=1000 count=3000 2>/dev/null; echo last >&2; exit 5"],
    );
    assert_eq!(
        (output.status.code(), output.stdout.len(), text(&output.stderr)),
        (Some(5), 3_000_000, "last\n".to_owned())
    );
    // As another user the streams can be opened again.
    assert_eq!(sh(&host, &["-u", "web"], "web", "echo again > /dev/stdout"), "again\n");
    // A program that stays behind does not hold the command.
    let began = Instant::now();
    sh(&host, &[], "web", "sleep 900 & echo gone");
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_terminal_is_the_containers_own() {
    let host = need_host!();
    start(&host, "web", &[]);
    let mut terminal = Terminal::new(37, 91);
    terminal.run(&host.command(&["exec", "-it", "-e", "PS1=ready> ", "-u", "web", "web", "sh"]));
    terminal.expect("ready> ");
    terminal.type_in("tty; stty size; stat -c '%u:%g %a' /dev/pts/0; echo $TERM > /dev/tty\r");
    terminal.expect("/dev/pts/0\r\n");
    terminal.expect("37 91\r\n");
    terminal.expect("1000:5 620\r\n");
    terminal.expect("xterm\r\n");
    terminal.resize(50, 132);
    terminal.expect("ready> ");
    terminal.type_in("stty size\r");
    terminal.expect("50 132\r\n");
    terminal.type_in("exit 3\r");
    assert_eq!(terminal.wait().code(), Some(3), "{}", terminal.shown);
    // What is left by the keys goes on.
    let mut terminal = Terminal::new(24, 80);
    let keys = ["exec", "-it", "--detach-keys", "x,y", "web", "sh", "-c", "echo up; exec sleep 987"];
    terminal.run(&host.command(&keys));
    terminal.expect("up");
    terminal.type_in("xy");
    assert_eq!(terminal.wait().code(), Some(0), "{}", terminal.shown);
    eventually("it goes on", || processes("987").len() == 1);
    assert!(host.corten(&["rm", "-f", "web"]).status.success());
    assert!(processes("987").is_empty());
}

#[test]
fn in_the_background_it_goes_on_and_is_reaped() {
    let host = need_host!();
    start(&host, "web", &["--init=false"]);
    let output = exec(&host, &["-d", "web", "sh", "-c", "echo nowhere; touch /tmp/begun; exec sleep 986"]);
    assert_eq!(
        (output.status.code(), text(&output.stdout), text(&output.stderr)),
        (Some(0), String::new(), String::new())
    );
    eventually("it goes on", || processes("986").len() == 1);
    let pid = processes("986")[0];
    // Process 1 of this container waits for nobody.
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    eventually("it is reaped", || !Path::new(&format!("/proc/{pid}")).exists());
    let output = exec(
        &host,
        &["-dt", "web", "sh", "-c", "tty > /tmp/tty; dd if=/dev/zero bs=1000 count=1000; touch /tmp/done"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    // A terminal that nobody reads does not stop it.
    eventually("it ends", || exec(&host, &["web", "ls", "/tmp/done"]).status.success());
    assert_eq!(sh(&host, &[], "web", "cat /tmp/tty"), "/dev/pts/0\n");
}

#[test]
fn a_killed_client_hurts_it_not_and_the_container_ends_it() {
    let host = need_host!();
    for (name, flags) in [("web", &[][..]), ("hosts", &["--pid", "host"]), ("one", &["--init=false"])] {
        start(&host, name, flags);
        let mark = format!("98{}", name.len());
        let script = format!("trap '' HUP; echo up; read x; while :; do echo more; sleep {mark}; done");
        let mut child = host.command(&["exec", "-i", name, "sh", "-c", &script]);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut up = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // With the client the input ends, and nothing else.
        eventually("it goes on", || processes(&mark).len() == 1);
        assert!(host.corten(&["rm", "-f", name]).status.success());
        eventually("nothing of it is left", || processes(&mark).is_empty());
    }
    host.assert_clean(&[]);
}

#[test]
fn a_client_that_reads_no_more_does_not_hold_the_containers_end() {
    let host = need_host!();
    start(&host, "web", &[]);
    let mut child = host.command(&["exec", "web", "sh", "-c", "while :; do echo yes; done"]);
    let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 4];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    // The pipes and the socket are full when the program has stopped writing.
    let began = Instant::now();
    let removed = host.corten(&["rm", "-f", "web"]);
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    assert!(began.elapsed() < Duration::from_secs(20));
    host.assert_clean(&[]);
    let mut rest = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(137));
}

#[test]
fn of_an_attendant_that_is_killed_nothing_is_left() {
    let host = need_host!();
    start(&host, "web", &[]);
    let mut child = host.command(&["exec", "web", "sh", "-c", "echo up; exec sleep 984"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut up = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let attendant = rustix::process::Pid::from_raw(children.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(attendant, rustix::process::Signal::KILL).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(126));
    assert!(text(&output.stderr).contains("was killed"), "{}", text(&output.stderr));
    assert!(host.corten(&["rm", "-f", "web"]).status.success());
    assert!(processes("984").iter().all(|pid| *pid == 0));
    host.assert_clean(&[]);
}

#[test]
fn a_hostile_container_gets_nothing_of_the_host() {
    let host = need_host!();
    // What replaces the files: FIFOs, links, devices of its own choice.
    run(&host, "fifo", &[], &["busybox", "sh", "-c", "rm /etc/passwd; mknod /etc/passwd p; exec sleep 1000"]);
    eventually("it is replaced", || sh_code(&host, &["-u", "0:0", "fifo", "true"]) != 0);
    let output = exec(&host, &["fifo", "true"]);
    assert_eq!(output.status.code(), Some(126));
    assert!(
        text(&output.stderr).contains("etc/passwd of the container: is not a regular file"),
        "{}",
        text(&output.stderr)
    );

    let far = host.path("far");
    std::fs::write(&far, "root:x:0:0::/evil:\n").unwrap();
    run(
        &host,
        "far",
        &[],
        &[
            "busybox",
            "sh",
            "-c",
            &format!("rm /etc/passwd; ln -s {} /etc/passwd; echo up; exec sleep 1000", far.display()),
        ],
    );
    eventually("it is replaced", || {
        text(&exec(&host, &["far", "ls", "-l", "/etc/passwd"]).stdout).contains("->")
    });
    assert_eq!(sh(&host, &[], "far", "echo $HOME"), "/root\n", "the link leads to nowhere inside");

    // A link in place of /dev/pts, and a devpts that is none.
    for (name, script) in [
        (
            "link",
            "mkdir /tmp/pts; mknod /tmp/pts/ptmx p; mount --move /dev/pts /mnt; rmdir /dev/pts; ln -s /tmp/pts /dev/pts",
        ),
        ("other", "mount -t tmpfs none /dev/pts; mknod /dev/pts/ptmx p"),
        ("file", "mount -t tmpfs none /dev/pts; echo > /dev/pts/ptmx"),
    ] {
        let script = format!("mkdir -p /mnt; {script}; touch /tmp/ready; exec sleep 1000");
        run(&host, name, &["--privileged"], &["busybox", "sh", "-c", &script]);
        eventually("it is ready", || sh_code(&host, &[name, "ls", "/tmp/ready"]) == 0);
        let output = exec(&host, &["-t", name, "true"]);
        assert_eq!(output.status.code(), Some(126), "{name}");
        let err = text(&output.stderr);
        assert!(
            err.contains("making the terminal") && (err.contains("ELOOP") || err.contains("ENODEV")),
            "{name}: {err}"
        );
        // Without a terminal nothing of that matters.
        assert_eq!(sh_code(&host, &[name, "true"]), 0, "{name}");
    }

    // CVE-2024-21626: no descriptor of the host is a working directory, by name or by a link.
    start(&host, "web", &[]);
    for number in 0..30 {
        let dir = format!("/proc/self/fd/{number}");
        let link = format!("/tmp/fd{number}");
        sh(&host, &[], "web", &format!("ln -s {dir} {link}"));
        for dir in [&dir, &link, &format!("{dir}/../..")] {
            let output = exec(&host, &["-w", dir, "web", "ls"]);
            let code = output.status.code();
            assert!(matches!(code, Some(126 | 127)), "{dir}: {code:?} {}", text(&output.stdout));
        }
    }
    // Nothing but its three streams is open in it, and nothing of the host is behind them.
    let out = sh(
        &host,
        &[],
        "web",
        "ls /proc/self/fd; readlink /proc/self/cwd /proc/self/root; ls /proc/1/fd > /dev/null",
    );
    assert_eq!(lines(&out)[..3], ["0", "1", "2"], "{out}");
    assert!(lines(&out).len() <= 6, "{out}");
}

fn sh_code(host: &Host, args: &[&str]) -> i32 {
    exec(host, args).status.code().unwrap()
}

#[test]
fn cve_2016_9962_nobody_in_the_container_gets_at_it_before_its_program() {
    let host = need_host!();
    // Watches for a process that is still corten, which process 1 is as well, and asks for its program and its
    // descriptors. What it was told counts if the process was corten still afterwards, and if it is the host's:
    // execve(2) opens a process to others a moment before it renames it.
    let script = "while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] && continue; \
                  read c < $p/comm; [ \"$c\" = corten ] || continue; echo $p >> /tmp/seen; \
                  for l in exe fd/3 fd/5 fd/9; do t=$(readlink $p/$l) || continue; \
                  read c < $p/comm && [ \"$c\" = corten ] || continue; \
                  case $t in */busybox|/dev/null) ;; *) echo $l $t >> /tmp/got;; esac; done; \
                  t=$(ls $p/fd) && read c < $p/comm && [ \"$c\" = corten ] || continue; \
                  case $(echo $t) in '0 1 2') ;; *) echo numbers $t >> /tmp/got;; esac; done; \
                  done 2>/dev/null";
    for flags in [&[][..], &["--userns", "host"], &["--cap-add", "SYS_PTRACE"]] {
        run(&host, "spy", flags, &["busybox", "sh", "-c", script]);
        let seen = |host: &Host| text(&exec(host, &["spy", "cat", "/tmp/seen"]).stdout).lines().count();
        eventually("it is seen on its way", || seen(&host) >= 3);
        let got = sh(&host, &[], "spy", "cat /tmp/got 2>/dev/null || exit 0");
        // The machine's root owns /proc/PID/fd of any process, and may count what is in it; no more. And whoever may
        // trace what is inside sees, in the moment before execve(2) closes it, the socket that tells of a failure:
        // it alone has to be there until then.
        let is_socket = |line: &str| {
            let number = line.strip_prefix("numbers 0 1 ").and_then(|rest| rest.strip_suffix(" 2"));
            flags.contains(&"SYS_PTRACE") && number.is_some_and(|number| number.parse::<u32>().is_ok())
        };
        let counts = |line: &str| flags.contains(&"host") && line.starts_with("numbers ");
        let told = |line: &&str| !(counts(line) || is_socket(line));
        assert_eq!(got.lines().filter(told).collect::<Vec<_>>(), [""; 0], "{flags:?}");
        assert!(host.corten(&["rm", "-f", "spy"]).status.success());
    }
}

#[test]
fn cve_2019_5736_the_binary_cannot_be_written_through_an_exec() {
    let host = need_host!();
    let own = host.path("own");
    std::fs::copy(env!("CARGO_BIN_EXE_corten"), &own).unwrap();
    let before = std::fs::read(&own).unwrap();
    // A link has the new process execute itself, whose file is then a program of the container.
    for flags in [&[][..], &["--userns", "host"], &["--privileged"]] {
        run(&host, "web", flags, &["busybox", "sh", "-c", common::SPY]);
        let is_there = |file: &str| sh_code(&host, &["web", "ls", file]) == 0;
        eventually("it is ready", || is_there("/tmp/ready"));
        eventually("it is held", || {
            let mut command = std::process::Command::new(&own);
            command.args(host.command(&["exec", "web", "spell", "--help"]).get_args());
            command.output().unwrap();
            is_there("/tmp/held")
        });
        sh(&host, &[], "web", "touch /tmp/go");
        eventually("it was tried", || is_there("/tmp/result"));
        assert_eq!(sh(&host, &[], "web", "cat /tmp/result"), "refused\n", "{flags:?}");
        assert!(std::fs::read(&own).unwrap() == before, "{flags:?}");
        assert!(host.corten(&["rm", "-f", "web"]).status.success());
    }
}

#[test]
fn nested_cgroups_of_the_container_are_no_obstacle() {
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        eprintln!("skipped: needs pure cgroup v2 (tests/uml/boot.sh is one)");
        return;
    }
    let host = need_host!();
    start(&host, "web", &["--privileged"]);
    sh(
        &host,
        &[],
        "web",
        "mount -o remount,rw /sys/fs/cgroup; cd /sys/fs/cgroup; mkdir inner; for p in $(cat cgroup.procs); do echo $p > inner/cgroup.procs; done; \
                    echo +pids > cgroup.subtree_control",
    );
    assert_eq!(sh(&host, &[], "web", "cat /proc/self/cgroup"), "0::/inner\n");
}

/// What attends a container or an exec outlives its command by far: the directory and the files of that
/// command must not be held by it.
#[test]
fn who_attends_holds_nothing_of_the_command_that_started_it() {
    let host = need_host!();
    let file = host.path("file");
    // The state is found from there all the same, wherever it is said to be from here.
    let detached = |args: &[&str]| {
        let output = std::process::Command::new("sh")
            .current_dir(host.dir.path())
            .args(["-c", "exec 9> file; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_corten")])
            .args(["--root", "root", "--run-root", "./run"])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    detached(&["run", "-d", "--restart", "always", "--name", "web", "busybox", "sleep", "4711"]);
    detached(&["exec", "-d", "web", "sleep", "4712"]);
    // UID PID PPID …, as the host counts.
    let parent_of = |command: &str| -> String {
        let top = text(&host.corten(&["top", "web"]).stdout);
        let line = top.lines().find(|line| line.trim_end().ends_with(command)).expect(&top);
        line.split_whitespace().nth(2).unwrap().to_owned()
    };
    let init = parent_of("sleep 4711");
    let status = std::fs::read_to_string(format!("/proc/{init}/status")).unwrap();
    let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().to_owned();
    for pid in [monitor, parent_of("sleep 4712")] {
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
        assert_eq!(cwd, std::path::Path::new("/"));
        for fd in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
            let to = std::fs::read_link(fd.unwrap().path()).unwrap();
            assert!(to != file, "{pid} holds {}", to.display());
        }
    }
    // The next start is the monitor's own.
    host.corten(&["kill", "-s", "TERM", "web"]);
    let again = || text(&host.corten(&["inspect", "-f", "{{.RestartCount}}", "web"]).stdout);
    while again() == "0\n" {
        std::thread::yield_now();
    }
    let error = text(&host.corten(&["inspect", "-f", "{{.State.Error}}", "web"]).stdout);
    assert_eq!(error, "\n");
    assert!(host.corten(&["rm", "-f", "web"]).status.success());
}

#[test]
fn it_keeps_its_budget_of_system_calls() {
    let host = need_host!();
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        eprintln!("skipped: needs strace");
        return;
    }
    start(&host, "web", &[]);
    let trace = host.path("trace");
    let command = host.command(&["exec", "web", "/bin/true"]);
    let status = std::process::Command::new("strace")
        .args(["-f", "-o"])
        .arg(&trace)
        .arg(command.get_program())
        .args(command.get_args())
        .status()
        .unwrap();
    assert!(status.success());
    let text = std::fs::read_to_string(&trace).unwrap();
    let calls =
        |line: &&str| !line.contains(" resumed>") && !line.contains(" +++ ") && !line.contains(" --- ");
    let count = text.lines().filter(calls).count();
    // Without optimisation the standard library checks each descriptor that it closes.
    let budget = if cfg!(debug_assertions) { 290 } else { 250 };
    assert!(count <= budget, "{count} system calls");
    assert!(!text.contains("CLONE_THREAD"), "a thread was started");
    let programs = text.lines().filter(|line| line.contains("execve(") && !line.contains("ENOENT")).count();
    assert_eq!(programs, 2, "corten and the program");
    // Not by cgroup.procs, which waits for a grace period of the kernel.
    assert!(!text.contains("cgroup.procs\", O_WRONLY"));
    // The namespaces in one call, of a process that nobody may trace.
    let at = |what: &str| text.lines().position(|line| line.contains(what));
    assert!(at("PR_SET_DUMPABLE, SUID_DUMP_DISABLE") < at("setns("));
    assert_eq!(
        text.lines().filter(|line| line.contains("setns(")).count(),
        2,
        "children's pids, and the rest"
    );
}
