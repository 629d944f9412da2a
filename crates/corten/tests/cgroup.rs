//! Limits of `corten run` by what they do, in both cgroup worlds: this machine's, and pure v2 by
//! `cargo xtask test --host uml`.

mod common;

use std::path::{Path, PathBuf};

use common::{Host, text};

fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Where a container sees the files of a controller.
fn seen(controller: &str) -> String {
    if is_v2() { "/sys/fs/cgroup".to_owned() } else { format!("/sys/fs/cgroup/{controller}") }
}

/// The same on the host, for the hierarchy's root.
fn hierarchy(controller: &str) -> PathBuf {
    seen(controller).into()
}

fn has_controller(controller: &str) -> bool {
    match std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers") {
        Ok(list) => list.split_whitespace().any(|name| name == controller),
        Err(_) => hierarchy(controller).exists(),
    }
}

fn inspect(host: &Host, name: &str, format: &str) -> String {
    text(&host.corten(&["inspect", "-f", format, name]).stdout).trim().to_owned()
}

#[test]
fn limits_are_in_the_cgroup() {
    let host = need_host!();
    if !has_controller("memory") {
        return eprintln!("skipped: this host has no memory controller");
    }
    let (files, expected) = if is_v2() {
        (
            "memory.max memory.swap.max memory.low cpu.max cpu.weight pids.max",
            "33554432\n16777216\n8388608\n50000 100000\n59\n77\n",
        )
    } else {
        (
            "memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes \
             memory/memory.soft_limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares pids/pids.max",
            "33554432\n50331648\n8388608\n50000\n512\n77\n",
        )
    };
    let flags = ["-m", "32m", "--memory-swap", "48m", "--memory-reservation", "8m", "--cpus", "0.5"];
    let flags = [&flags[..], &["--cpu-shares", "512", "--pids-limit", "77"]].concat();
    let (code, out, err) = host.sh(&flags, &format!("cd /sys/fs/cgroup && cat {files}"));
    assert_eq!((code, out.as_str()), (0, expected), "{err}");
    host.assert_clean(&[]);
}

#[test]
fn a_memory_limit_kills_and_inspect_says_so() {
    let host = need_host!();
    if !has_controller("memory") {
        return eprintln!("skipped: this host has no memory controller");
    }
    let hog = "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done";
    let run = host.corten(&["run", "--name", "hog", "-m", "16m", "busybox", "sh", "-c", hog]);
    assert_eq!(run.status.code(), Some(137), "{}", text(&run.stderr));
    assert!(text(&run.stderr).contains("its memory limit was reached"), "{}", text(&run.stderr));
    assert_eq!(inspect(&host, "hog", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
    // One that only a child of the program dies of is told too; the program goes on.
    let child = format!("sh -c '{hog}'; echo child $?");
    let run = host.corten(&["run", "--name", "child", "-m", "16m", "busybox", "sh", "-c", &child]);
    assert_eq!((run.status.code(), text(&run.stdout)), (Some(0), "child 137\n".to_owned()));
    assert_eq!(inspect(&host, "child", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 0");
    // The same signal from elsewhere is no lack of memory.
    let run = host.corten(&["run", "--name", "other", "-m", "16m", "busybox", "sh", "-c", "kill -9 $$"]);
    assert_eq!(run.status.code(), Some(137));
    assert_eq!(inspect(&host, "other", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "false 137");
}

#[test]
fn forks_end_at_the_limit() {
    let host = need_host!();
    if !has_controller("pids") {
        return eprintln!("skipped: this host has no pids controller");
    }
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo nine";
    let (code, out, err) = host.sh(&["--pids-limit", "6"], script);
    assert!(code != 0 && out.is_empty() && err.contains("fork"), "{code} {out} {err}");
    let (code, out, err) = host.sh(&["--pids-limit", "20"], script);
    assert_eq!((code, out.as_str()), (0, "nine\n"), "{err}");
    host.assert_clean(&[]);
}

#[test]
fn a_busy_loop_is_throttled() {
    let host = need_host!();
    if !has_controller("cpu") {
        return eprintln!("skipped: this host has no cpu controller");
    }
    // Each turn burns time and looks; with no quota the count stays at zero for all of them.
    let script = format!(
        "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); while read k v; do \
         [ $k = nr_throttled ] && [ $v -gt 2 ] && exit 42; done < {}/cpu.stat; done; exit 1",
        seen("cpu")
    );
    let (code, _, err) = host.sh(&["--cpu-period", "20000", "--cpu-quota", "2000"], &script);
    assert_eq!(code, 42, "{err}");
    let short = script.replace("50000", "200");
    assert_eq!(host.sh(&[], &short).0, 1, "throttled without a quota");
}

#[test]
fn cpus_are_those_that_were_given() {
    let host = need_host!();
    let flags = ["--cpuset-cpus", "0"];
    let list = "while read k v; do [ $k = Cpus_allowed_list: ] && echo $v; done < /proc/self/status; true";
    let (code, out, err) = host.sh(&flags, list);
    if has_controller("cpuset") {
        assert_eq!((code, out.as_str()), (0, "0\n"), "{err}");
        let (code, _, err) = host.sh(&["--cpuset-cpus", "4000"], "true");
        assert_eq!(code, 125);
        assert!(err.contains("Requested CPUs are not available - requested 4000, available: 0"), "{err}");
    } else {
        // Not without the limit that was asked for.
        assert_eq!(code, 125);
        assert!(err.contains("controller cpuset is not available"), "{err}");
    }
    host.assert_clean(&[]);
}

/// kmsg may be opened for writing by anybody that has its node and is let to it by the cgroup.
#[test]
fn devices_are_denied_until_they_are_given() {
    let host = need_host!();
    // In the host's user namespace a node can be made: only the cgroup stands before the device.
    let script =
        "mknod /tmp/node c 1 11; true > /tmp/node && echo open; mknod /tmp/null c 1 3; echo x > /tmp/null";
    let (code, out, err) = host.sh(&["--userns", "host"], script);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(err.contains("/tmp/node: Operation not permitted"), "{err}");
    let rule = ["--userns", "host", "--device-cgroup-rule", "c 1:11 w"];
    let (code, out, err) = host.sh(&rule, &format!("{script}; cat /tmp/node"));
    assert_eq!(out, "open\n", "{err}");
    assert!(code != 0 && err.contains("/tmp/node"), "may be written, not read: {code} {err}");
    // A device by its flag, in the container's own user namespace.
    let device = ["--device", "/dev/kmsg:/dev/log-of-the-kernel:w"];
    let script = "n=/dev/log-of-the-kernel; true > $n && echo open; cat $n";
    let (code, out, err) = host.sh(&device, script);
    assert_eq!(out, "open\n", "{err}");
    assert!(code != 0 && err.contains("Operation not permitted"), "{code} {err}");
    host.assert_clean(&[]);
}

#[test]
fn block_devices_are_throttled_by_their_numbers() {
    let host = need_host!();
    if !has_controller(if is_v2() { "io" } else { "blkio" }) {
        return eprintln!("skipped: this host has no io controller");
    }
    let names = std::fs::read_dir("/sys/block").unwrap().flatten().map(|entry| entry.file_name());
    let Some(disk) = names.into_iter().find(|name| Path::new("/dev").join(name).exists()) else {
        return eprintln!("skipped: no block device");
    };
    let disk = disk.to_string_lossy().into_owned();
    let number = std::fs::read_to_string(format!("/sys/block/{disk}/dev")).unwrap();
    let flag = format!("--device-read-bps=/dev/{disk}:1mb");
    let (file, expected) = if is_v2() {
        ("/sys/fs/cgroup/io.max", format!("{} rbps=1048576 wbps=max riops=max wiops=max\n", number.trim()))
    } else {
        ("/sys/fs/cgroup/blkio/blkio.throttle.read_bps_device", format!("{} 1048576\n", number.trim()))
    };
    let (_, out, err) = host.sh(&[&flag], &format!("cat {file}"));
    assert_eq!(out, expected, "{err}");
    let output = host.corten(&["run", "--rm", "--device-write-bps=/dev/null:1mb", "busybox", "true"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).contains("not a block device"), "{}", text(&output.stderr));
    host.assert_clean(&[]);
}

#[test]
fn the_container_sees_its_own_part_and_cannot_change_it() {
    let host = need_host!();
    // Every line of every hierarchy that it joined ends at a root; the others are the host's.
    let (_, out, err) = host.sh(&["--name", "own"], "cat /proc/self/cgroup");
    let joined: Vec<&str> = out.lines().filter(|line| !line.contains("corten")).collect();
    assert_eq!(joined.len(), out.lines().count(), "{out}{err}");
    let memory = if is_v2() { "0::/" } else { ":memory:/" };
    assert!(out.lines().any(|line| line.ends_with(memory)), "{out}");
    let dir = seen("pids");
    let script = format!(
        "mkdir {dir}/x; echo max > {dir}/pids.max; echo $$ > {dir}/cgroup.procs; cat {dir}/pids.max; \
         mount -o remount,rw {dir} 2>/dev/null && echo remounted; mkdir {dir}/x 2>/dev/null && echo made"
    );
    let (_, out, err) = host.sh(&["--pids-limit", "55"], &script);
    assert_eq!(out, "55\n", "{err}");
    assert_eq!(err.matches("Read-only file system").count(), 3, "{err}");
    // Root with every capability there is in its own user namespace owns none of the files.
    let (_, out, err) = host.sh(&["--pids-limit", "55", "--cap-add", "ALL"], &script);
    assert!(out.starts_with("55\n") && !out.contains("made"), "{out}{err}");
    let (_, out, err) = host.sh(
        &["--cap-add", "SYS_ADMIN", "--pids-limit", "55"],
        &format!("mount -o remount,rw {dir}; echo 999 > {dir}/pids.max; cat {dir}/pids.max"),
    );
    assert_eq!(out, "55\n", "{err}");
}

#[test]
fn a_host_cgroup_namespace_shows_the_whole_path() {
    let host = need_host!();
    let pids = if is_v2() { "" } else { "pids/" };
    let script =
        format!("cat /proc/self/cgroup; ls -d /sys/fs/cgroup/{pids}corten/*; mkdir /sys/fs/cgroup/{pids}x");
    let output =
        host.corten(&["run", "--name", "whole", "--cgroupns", "host", "busybox", "sh", "-c", &script]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let id = inspect(&host, "whole", "{{.Id}}");
    assert!(out.lines().any(|line| line.ends_with(&format!(":/corten/{id}"))), "{out}{err}");
    assert!(out.contains(&format!("/sys/fs/cgroup/{pids}corten/{id}\n")), "{out}{err}");
    assert!(err.contains("Read-only file system"), "{err}");
}

/// What runs containers or systemd in a container needs cgroups of its own.
#[test]
fn the_privileged_make_cgroups_below_their_own() {
    let host = need_host!();
    let script =
        format!("cd {} && mkdir below && echo 0 > below/cgroup.procs && cat /proc/self/cgroup", seen("pids"));
    let (code, out, err) = host.sh(&["--privileged"], &script);
    assert!(code == 0 && out.lines().any(|line| line.ends_with(":/below")), "{out}{err}");
    let (code, _, err) = host.sh(&[], &script);
    assert!(code != 0 && err.contains("Read-only file system"), "{err}");
    host.assert_clean(&[]);
}

/// Where a cgroup path is, in each hierarchy that it is in.
fn places(path: &str) -> Vec<PathBuf> {
    ["", "memory", "pids", "cpu", "cpuacct", "cpu,cpuacct", "devices", "unified", "systemd", "freezer"]
        .map(|name| Path::new("/sys/fs/cgroup").join(name).join(path))
        .into_iter()
        .filter(|dir| dir.exists())
        .collect()
}

#[test]
fn a_parent_of_ones_own_choice() {
    let host = need_host!();
    let top = format!("corten-test-{}", std::process::id());
    let parent = format!("{top}/deep");
    let flags = ["--cgroup-parent", &parent, "--cgroupns", "host"];
    let (code, out, err) = host.sh(&flags, "cat /proc/self/cgroup");
    assert_eq!(code, 0, "{err}");
    assert!(out.lines().any(|line| line.contains(&format!(":/{parent}/"))), "{out}");
    assert!(places(&top).is_empty(), "{:?}", places(&top));
    // Of a start that failed nothing is left either.
    let (code, ..) = host.sh(&["--cgroup-parent", &parent, "--workdir", "/etc/passwd"], "true");
    assert!(code != 0 && places(&top).is_empty(), "{:?}", places(&top));
    let (code, _, err) = host.sh(&["--cgroup-parent", "../out"], "true");
    assert_eq!(code, 125);
    assert!(err.contains("must not contain `.` or `..`"), "{err}");
    host.assert_clean(&[]);
}

/// A parent that was there before may have limits of its own. It stays, what was made below it goes.
#[test]
fn a_parent_that_was_there_stays() {
    let host = need_host!();
    let top = format!("corten-test-kept-{}", std::process::id());
    let dirs = [hierarchy("memory").join(&top), hierarchy("pids").join(&top)];
    dirs.iter().for_each(|dir| std::fs::create_dir_all(dir).unwrap());
    let (code, _, err) = host.sh(&["--cgroup-parent", &format!("{top}/below")], "true");
    let kept: Vec<bool> = dirs.iter().map(|dir| dir.exists()).collect();
    let below: Vec<PathBuf> = places(&format!("{top}/below"));
    let left = places(&top);
    left.iter().for_each(|dir| std::fs::remove_dir(dir).unwrap());
    assert_eq!((code, kept, below), (0, vec![true, true], Vec::new()), "{err}");
    assert!(left.iter().all(|dir| dirs.contains(dir)), "{left:?}");
}

/// The last one out removes the parent while the next one wants to make its cgroup there.
#[test]
fn a_parent_goes_and_comes_under_many_starts() {
    let host = need_host!();
    let top = format!("corten-test-many-{}", std::process::id());
    let parent = format!("{top}/deep");
    let one = || {
        for _ in 0..10 {
            let (code, _, err) = host.sh(&["--cgroup-parent", &parent], "true");
            assert_eq!(code, 0, "{err}");
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(one))));
    assert!(places(&top).is_empty(), "{:?}", places(&top));
    host.assert_clean(&[]);
}

/// Without a pid namespace nothing dies with process 1: the cgroup knows what is to be killed.
#[test]
fn what_shares_the_hosts_pids_is_killed_by_its_cgroup() {
    let host = need_host!();
    let script = "sleep 1000 & echo $!; exec sleep 1000";
    let run = host.corten(&["run", "-d", "--name", "open", "--pid", "host", "busybox", "sh", "-c", script]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let cgroup = if is_v2() { "/sys/fs/cgroup/corten" } else { "/sys/fs/cgroup/pids/corten" };
    let id = text(&run.stdout).trim().to_owned();
    let procs = || std::fs::read_to_string(Path::new(cgroup).join(&id).join("cgroup.procs")).unwrap();
    // The sleep in the background may not be forked yet.
    let begin = std::time::Instant::now();
    while procs().lines().count() < 2 {
        assert!(begin.elapsed().as_secs() < 20, "{}", procs());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let pids: Vec<PathBuf> = procs().lines().map(|pid| Path::new("/proc").join(pid)).collect();
    let removed = host.corten(&["rm", "-f", "open"]);
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    for pid in pids {
        let state = std::fs::read_to_string(pid.join("stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
    }
    host.assert_clean(&[id]);
}

/// CLONE_INTO_CGROUP: on v2 nothing is ever moved, so not even its first instruction runs unlimited.
#[test]
fn on_v2_it_is_born_in_its_cgroup() {
    let host = need_host!();
    if !is_v2() {
        return eprintln!("skipped: this host is not pure v2");
    }
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        return eprintln!("skipped: needs strace");
    }
    let trace = host.path("trace");
    let run = host.command(&["run", "--rm", "busybox", "true"]);
    let status = std::process::Command::new("strace")
        .args(["-f", "-e", "trace=clone3,open,openat", "-o"])
        .arg(&trace)
        .arg(run.get_program())
        .args(run.get_args())
        .status()
        .unwrap();
    assert!(status.success());
    let calls = std::fs::read_to_string(&trace).unwrap();
    assert!(calls.contains("CLONE_INTO_CGROUP"), "{calls}");
    assert!(calls.contains("cgroup.controllers"), "what is opened can be seen: {calls}");
    assert!(!calls.contains("cgroup.procs"), "{calls}");
}
