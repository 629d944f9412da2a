//! Namespaces of other containers, seen from inside both.

mod common;

use common::text;

/// A detached container that only sleeps; its id.
fn start(host: &common::Host, name: &str, flags: &[&str]) -> String {
    let mut args = vec!["run", "-d", "--name", name];
    args.extend(flags);
    args.extend(["busybox", "sleep", "1000"]);
    let output = host.corten(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

fn pid_of(host: &common::Host, name: &str) -> String {
    text(&host.corten(&["inspect", "-f", "{{.State.Pid}}", name]).stdout).trim().to_owned()
}

/// The namespaces of a container's first process, as the host sees them.
fn namespace(pid: &str, kind: &str) -> String {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string()
}

/// Exit code, stdout and stderr of a container that is expected to be refused.
fn refused(host: &common::Host, flags: &[&str]) -> String {
    let (code, out, err) = host.sh(flags, "echo started");
    assert_eq!((code, out.as_str()), (125, ""), "{flags:?}: {err}");
    err
}

const NAMESPACES: &str = "for kind in net pid ipc user uts mnt; do readlink /proc/self/ns/$kind; done";

#[test]
fn a_network_is_shared_with_its_files_and_its_ids() {
    let host = need_host!();
    start(&host, "one", &["-h", "first", "--add-host", "peer:10.1.2.3"]);
    let pid = pid_of(&host, "one");
    let (code, out, err) = host.sh(&["--network", "container:one"], NAMESPACES);
    assert_eq!(code, 0, "{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], namespace(&pid, "net"));
    assert_eq!(lines[3], namespace(&pid, "user"), "with the network comes the user namespace");
    for (index, kind) in [(1, "pid"), (2, "ipc"), (4, "uts"), (5, "mnt")] {
        assert_ne!(lines[index], namespace(&pid, kind), "{kind}");
    }
    // /sys is mounted by who owns the network namespace, a low port is bound, the files are one file.
    let script = "hostname; cat /etc/hostname; cat /etc/hosts; ls /sys/class/net; cat /proc/self/uid_map; \
                  echo '1.2.3.4 written' >> /etc/hosts; echo $HOSTNAME";
    let (code, out, err) = host.sh(&["--network", "container:one"], script);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("first\nfirst\n") && out.ends_with("\nfirst\n"), "{out}");
    assert!(out.contains("10.1.2.3\tpeer") && out.contains("\nlo\n"), "{out}");
    let (_, out, _) = host.sh(&["--network", "container:one"], "cat /etc/hosts");
    assert!(out.contains("1.2.3.4 written"), "{out}");
    let maps = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    let (_, out, _) = host.sh(&["--network", "container:one"], "cat /proc/self/uid_map");
    // Inside it looks so to a process of the same user namespace; the host's view is the other's.
    assert_eq!(out.split_whitespace().next(), Some("0"));
    let outside: u32 = maps.split_whitespace().nth(1).unwrap().parse().unwrap();
    let data = host.path("data");
    std::fs::create_dir(&data).unwrap();
    let bind = format!("{}:/data", data.display());
    let (code, _, err) = host.sh(&["--network", "container:one", "-v", &bind], "touch /data/file");
    assert_eq!(code, 0, "{err}");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(data.join("file")).unwrap().uid(), 0);
    let nomap = format!("{}:/data:nomap", data.display());
    rustix::fs::chown(&data, Some(rustix::fs::Uid::from_raw(outside)), None).unwrap();
    let (code, _, err) = host.sh(&["--network", "container:one", "-v", &nomap], "touch /data/unmapped");
    assert_eq!(code, 0, "{err}");
    assert_eq!(std::fs::metadata(data.join("unmapped")).unwrap().uid(), outside);
}

#[test]
fn both_reach_each_other_on_the_loopback() {
    use std::process::Stdio;
    let host = need_host!();
    // Port 80: root of the user namespace that owns the network may bind it.
    let mut server = host
        .command(&["run", "--name", "server", "busybox", "sh", "-c"])
        .arg("echo hello > /tmp/page; echo ready; busybox nc -l -p 80 < /tmp/page")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    std::io::Read::read_exact(server.stdout.as_mut().unwrap(), &mut line).unwrap();
    // "ready" comes just before the socket listens: ask until it is in the table.
    let script = "until busybox grep -q ':0050 ' /proc/net/tcp /proc/net/tcp6; do :; done; \
                  busybox nc 127.0.0.1 80 < /dev/null";
    let (code, out, err) = host.sh(&["--network", "container:server"], script);
    assert_eq!((code, out.as_str()), (0, "hello\n"), "{err}");
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

#[test]
fn processes_of_a_joined_pid_namespace_are_seen_and_end_with_it() {
    let host = need_host!();
    start(&host, "one", &[]);
    let script = "test $$ -ne 1 && kill -0 1 && cat /proc/[0-9]*/comm";
    let (code, out, err) = host.sh(&["--pid", "container:one"], script);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.lines().any(|name| name == "sleep") && out.lines().any(|name| name == "cat"), "{out}");
    // When its first process ends, the kernel ends everything in the namespace.
    let mut joined = host
        .command(&[
            "run",
            "--name",
            "two",
            "--pid",
            "container:one",
            "busybox",
            "sh",
            "-c",
            "echo in; sleep 1000",
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 3];
    std::io::Read::read_exact(joined.stdout.as_mut().unwrap(), &mut line).unwrap();
    assert!(host.corten(&["rm", "-f", "one"]).status.success());
    assert_eq!(joined.wait().unwrap().code(), Some(137));
}

#[test]
fn shared_memory_comes_with_an_ipc_namespace_that_may_be_shared() {
    let host = need_host!();
    start(&host, "shares", &["--ipc", "shareable", "--shm-size", "3m"]);
    start(&host, "private", &["--ipc", "private"]);
    start(&host, "none", &["--ipc", "none"]);
    let join = ["--ipc", "container:shares"];
    let script =
        "readlink /proc/self/ns/ipc; echo text > /dev/shm/file; busybox df -k /dev/shm; ls -d /dev/mqueue";
    let (code, out, err) = host.sh(&join, script);
    assert_eq!(code, 0, "{err}");
    assert_eq!(out.lines().next(), Some(namespace(&pid_of(&host, "shares"), "ipc").as_str()));
    assert!(out.contains(" 3072 "), "{out}");
    let (_, out, _) = host.sh(&join, "cat /dev/shm/file");
    assert_eq!(out, "text\n");
    for (name, why) in [("private", "non-shareable IPC"), ("none", "non-shareable IPC")] {
        let err = refused(&host, &["--ipc", &format!("container:{name}")]);
        assert!(err.contains(why) && err.contains(name), "{err}");
    }
    let (_, out, _) = host.sh(&["--ipc", "none"], "busybox grep -c ' /dev/shm ' /proc/self/mountinfo");
    assert_eq!(out, "0\n");
    let (_, out, _) = host.sh(&["--ipc", "private"], "busybox grep -c ' /dev/shm ' /proc/self/mountinfo");
    assert_eq!(out, "1\n");
}

#[test]
fn a_user_namespace_alone_can_be_shared() {
    let host = need_host!();
    start(&host, "one", &[]);
    let pid = pid_of(&host, "one");
    let script = format!("{NAMESPACES}; cat /proc/self/cgroup");
    let (code, out, err) = host.sh(&["--userns", "container:one"], &script);
    assert_eq!(code, 0, "{err}");
    let lines: Vec<&str> = out.lines().collect();
    // Of each hierarchy, cgroup2 beside v1 too: the namespace was made where the container is.
    assert!(lines.len() > 6 && lines[6..].iter().all(|line| line.ends_with(":/")), "{out}");
    assert_eq!(lines[3], namespace(&pid, "user"));
    assert_ne!(lines[0], namespace(&pid, "net"));
    let err = refused(&host, &["--userns", "container:one", "--privileged"]);
    assert!(err.contains("conflicting options"), "{err}");
}

#[test]
fn everything_at_once_and_along_a_chain() {
    let host = need_host!();
    start(&host, "one", &["--ipc", "shareable"]);
    let all = |name: &str| ["--network", "--pid", "--ipc"].map(|flag| format!("{flag}=container:{name}"));
    let to_one = all("one");
    start(&host, "two", &to_one.each_ref().map(String::as_str));
    let to_two = all("two");
    let (code, out, err) = host.sh(&to_two.each_ref().map(String::as_str), NAMESPACES);
    assert_eq!(code, 0, "{err}");
    let pid = pid_of(&host, "one");
    let expect = ["net", "pid", "ipc", "user"].map(|kind| namespace(&pid, kind));
    assert_eq!(out.lines().take(4).collect::<Vec<_>>(), expect.each_ref().map(String::as_str));
}

#[test]
fn what_is_the_hosts_is_joined_as_the_hosts() {
    let host = need_host!();
    start(&host, "hostnet", &["--network", "host"]);
    start(&host, "hostuser", &["--userns", "host"]);
    let own = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
    let (code, out, err) = host.sh(&["--network", "container:hostnet"], NAMESPACES);
    assert_eq!(code, 0, "{err}");
    assert_eq!(out.lines().next(), Some(own("net").as_str()));
    assert_eq!(out.lines().nth(3), Some(namespace(&pid_of(&host, "hostnet"), "user").as_str()));
    let (code, out, err) = host.sh(&["--network", "container:hostuser"], NAMESPACES);
    assert_eq!(code, 0, "{err}");
    assert_eq!(out.lines().next(), Some(namespace(&pid_of(&host, "hostuser"), "net").as_str()));
    assert_eq!(out.lines().nth(3), Some(own("user").as_str()));
    // The host's root may join any, without the ids.
    start(&host, "own", &[]);
    let (code, out, err) = host.sh(&["--userns", "host", "--network", "container:own"], NAMESPACES);
    assert_eq!(code, 0, "{err}");
    assert_eq!(out.lines().next(), Some(namespace(&pid_of(&host, "own"), "net").as_str()));
    assert_eq!(out.lines().nth(3), Some(own("user").as_str()));
}

#[test]
fn what_cannot_be_joined_is_refused_by_name() {
    let host = need_host!();
    start(&host, "one", &["--ipc", "shareable"]);
    start(&host, "two", &["--ipc", "shareable"]);
    assert_eq!(host.corten(&["run", "--name", "ended", "busybox", "true"]).status.code(), Some(0));
    for (flags, words) in [
        (&["--network", "container:absent"][..], &["No such container: absent"][..]),
        (&["--network", "container:ended"], &["ended", "is not running"]),
        (&["--pid", "container:ended"], &["PID namespace", "ended", "is not running"]),
        (&["--network", "container:one", "-h", "x"], &["conflicting options: hostname and the network mode"]),
        (
            &["--network", "container:one", "--dns", "1.1.1.1"],
            &["conflicting options: dns and the network mode"],
        ),
        (
            &["--network", "container:one", "--add-host", "a:1.1.1.1"],
            &["conflicting options: custom host-to-IP mapping and the network mode"],
        ),
        (
            &["--network", "container:one", "--expose", "80"],
            &["conflicting options: port exposing and the container type network mode"],
        ),
        (&["--network", "container:one", "--ipc", "container:two"], &["user namespace is not that of"]),
    ] {
        let err = refused(&host, flags);
        for word in words {
            assert!(err.contains(word), "{flags:?}: {err}");
        }
    }
    // Different containers, but one user namespace.
    start(&host, "three", &["--network", "container:one", "--ipc", "shareable"]);
    let (code, _, err) = host.sh(&["--network", "container:one", "--ipc", "container:three"], "true");
    assert_eq!(code, 0, "{err}");
}

#[test]
fn the_ids_stay_leased_until_the_last_of_them_ends() {
    let host = need_host!();
    let one = start(&host, "one", &[]);
    let two = start(&host, "two", &["--network", "container:one"]);
    let leases = || {
        let mut names: Vec<String> = std::fs::read_dir(host.path("run/ids"))
            .unwrap()
            .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap().display().to_string())
            .collect();
        names.sort();
        names
    };
    let mut both = vec![one.clone(), two.clone()];
    both.sort();
    assert_eq!(leases(), both);
    let first = |name: &str| text(&host.corten(&["inspect", "-f", "{{.Corten.FirstHostId}}", name]).stdout);
    assert_eq!(first("one"), first("two"));
    assert!(host.corten(&["rm", "-f", "one"]).status.success());
    assert_eq!(leases(), [two], "the second one holds the block");
    assert!(host.corten(&["rm", "-f", "two"]).status.success());
    host.assert_clean(&[]);
}

#[test]
fn inspect_names_what_is_joined_by_id() {
    let host = need_host!();
    let one = start(&host, "one", &["--ipc", "shareable"]);
    start(&host, "two", &["--network", "container:one", "--pid", "container:one", "--ipc", "container:one"]);
    let format = "{{.HostConfig.NetworkMode}} {{.HostConfig.PidMode}} {{.HostConfig.IpcMode}}";
    let shown = text(&host.corten(&["inspect", "-f", format, "two"]).stdout);
    assert_eq!(shown, format!("container:{one} container:{one} container:{one}\n"));
    let shown = text(&host.corten(&["inspect", "-f", "{{.HostConfig.IpcMode}}", "one"]).stdout);
    assert_eq!(shown, "shareable\n");
}

#[test]
fn clocks_of_a_time_namespace_are_ahead() {
    let host = need_host!();
    if !std::path::Path::new("/proc/self/ns/time").exists() {
        let err = refused(&host, &["--time-offset", "boottime=5"]);
        assert!(err.contains("--time-offset") && err.contains("CONFIG_TIME_NS"), "{err}");
        return;
    }
    let script = "cat /proc/self/timens_offsets; cut=$(cat /proc/uptime); echo ${cut%%.*}; readlink /proc/self/ns/time";
    let uptime = || {
        let text = std::fs::read_to_string("/proc/uptime").unwrap();
        text.split('.').next().unwrap().parse::<i64>().unwrap()
    };
    let before = uptime();
    let (code, out, err) = host.sh(&["--time-offset", "monotonic=86400,boottime=604800"], script);
    assert_eq!(code, 0, "{err}");
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["monotonic", "86400", "0"]);
    assert_eq!(lines[1], ["boottime", "604800", "0"]);
    let inside: i64 = lines[2][0].parse().unwrap();
    assert!((before + 604_800..=uptime() + 604_800).contains(&inside), "{inside}");
    let own = std::fs::read_link("/proc/self/ns/time").unwrap().display().to_string();
    assert_ne!(lines[3][0], own);
    // Together with what is joined, and with the host's user namespace.
    start(&host, "one", &[]);
    for flags in [&["--network", "container:one"][..], &["--userns", "host"]] {
        let mut all = vec!["--time-offset", "boottime=-5"];
        all.extend(flags);
        let (code, out, err) = host.sh(&all, "cat /proc/self/timens_offsets");
        assert_eq!(code, 0, "{flags:?}: {err}");
        assert!(
            out.lines().nth(1).is_some_and(|line| line.split_whitespace().eq(["boottime", "-5", "0"])),
            "{out}"
        );
    }
    let err = refused(&host, &["--time-offset", "boottime=-9000000000"]);
    assert!(err.contains("offsets of the time namespace's clocks") && err.contains("ERANGE"), "{err}");
}

#[test]
fn a_link_in_place_of_what_is_taken_is_not_followed() {
    // The other's process 1 decides what its mount namespace shows. It may unmount /dev/shm and put a link
    // to the host's files there; nothing but a mount of its own is ever taken.
    let host = need_host!();
    let script = "busybox umount /dev/shm && busybox rmdir /dev/shm && busybox ln -s /proc/self/root/etc /dev/shm && \
                  echo done && exec sleep 1000";
    let flags = ["--ipc", "shareable", "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"];
    let mut args = vec!["run", "--name", "evil"];
    args.extend(flags);
    args.extend(["busybox", "sh", "-c", script]);
    let mut evil = host.command(&args).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = [0; 5];
    std::io::Read::read_exact(evil.stdout.as_mut().unwrap(), &mut line).unwrap();
    let err = refused(&host, &["--ipc", "container:evil"]);
    assert!(err.contains("/dev/shm") && err.contains("ELOOP"), "{err}");
    assert!(host.corten(&["rm", "-f", "evil"]).status.success());
    evil.wait().unwrap();
}

#[test]
fn init_holds_no_descriptor_of_its_starter() {
    // CVE-2024-21626 in init: what the caller of `corten run` has open without close-on-exec.
    use std::os::fd::AsRawFd;
    let host = need_host!();
    let secret = host.path("secret");
    std::fs::write(&secret, "secret").unwrap();
    let file = std::fs::File::open(&secret).unwrap();
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
    for (name, flags) in [("one", &[][..]), ("two", &["--network", "container:one"])] {
        start(&host, name, flags);
        let fds = format!("/proc/{}/fd", pid_of(&host, name));
        let held: Vec<_> = std::fs::read_dir(&fds)
            .unwrap()
            .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap())
            // Its own exit record and streams.
            .filter(|to| !["null", "exit", "stdout", "stderr"].iter().any(|own| to.ends_with(own)))
            .collect();
        assert_eq!(held, Vec::<std::path::PathBuf>::new(), "{name}; fd {}", file.as_raw_fd());
    }
}
