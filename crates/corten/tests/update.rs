//! `update`, `rename`, `container prune` and the lists, by what the kernel and the next command say.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::{Host, text};

fn start(host: &Host, name: &str, flags: &[&str]) -> String {
    let mut args = vec!["run", "-d", "--name", name];
    args.extend(flags);
    args.extend(["busybox", "sleep", "1000"]);
    let output = host.corten(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

#[track_caller]
fn ok(host: &Host, args: &[&str]) -> String {
    let output = host.corten(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn fails(host: &Host, args: &[&str], message: &str) {
    let output = host.corten(args);
    let err = text(&output.stderr);
    assert!(output.status.code() == Some(1) && err.contains(message), "{args:?}: {err}");
}

/// A cgroup's file, in the hierarchy that has it, under its v1 or v2 name.
fn limit(id: &str, names: [(&str, &str); 2]) -> String {
    let paths = names.map(|(hierarchy, name)| -> PathBuf {
        Path::new("/sys/fs/cgroup").join(hierarchy).join("corten").join(id).join(name)
    });
    let found = paths.iter().find_map(|path| std::fs::read_to_string(path).ok());
    found.unwrap_or_else(|| panic!("{paths:?}")).trim().to_owned()
}

#[test]
fn limits_change_while_it_runs_and_stay() {
    let host = need_host!();
    let id = start(&host, "c1", &["-m", "64m"]);
    ok(
        &host,
        &["update", "-m", "100m", "--cpus", "0.5", "--pids-limit", "33", "--restart", "on-failure:3", "c1"],
    );
    let memory = || limit(&id, [("memory", "memory.limit_in_bytes"), ("", "memory.max")]);
    assert_eq!(memory(), (100 << 20).to_string());
    assert_eq!(limit(&id, [("pids", "pids.max"), ("", "pids.max")]), "33");
    assert!(limit(&id, [("cpu", "cpu.cfs_quota_us"), ("", "cpu.max")]).starts_with("50000"));
    let format = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} \
                  {{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}";
    let wanted = format!("{} 500000000 33 on-failure:3\n", 100 << 20);
    assert_eq!(ok(&host, &["inspect", "-f", format, "c1"]), wanted);
    fails(&host, &["update", "-m", "1g", "c1"], "already set memoryswap limit");
    fails(&host, &["update", "-m", "1m", "c1"], "Minimum memory limit allowed is 6MB");
    fails(&host, &["update", "--cpu-quota", "1000", "c1"], "NanoCPUs has already been set");
    fails(&host, &["update", "-m", "70m", "c1", "nobody"], "No such container: nobody");
    assert_eq!(memory(), (70 << 20).to_string(), "the others have their turn");
}

/// The end of its first process, from outside, as a failure of it.
fn kill_first_process(host: &Host, name: &str) {
    let pid = ok(host, &["inspect", "-f", "{{.State.Pid}}", name]).trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_policy_counts_at_the_next_end() {
    let host = need_host!();
    let id = start(&host, "c1", &["-m", "64m"]);
    ok(&host, &["update", "--restart", "always", "-m", "100m", "--memory-swap", "200m", "c1"]);
    kill_first_process(&host, "c1");
    let format = "{{.RestartCount}} {{.State.Status}}";
    while ok(&host, &["inspect", "-f", format, "c1"]) != "1 running\n" {
        std::thread::yield_now();
    }
    let memory = limit(&id, [("memory", "memory.limit_in_bytes"), ("", "memory.max")]);
    assert_eq!(memory, (100 << 20).to_string(), "it starts again as what it is now");
    ok(&host, &["update", "--restart", "no", "c1"]);
    kill_first_process(&host, "c1");
    assert_eq!(ok(&host, &["wait", "c1"]), "137\n");
    let format = "{{.RestartCount}} {{.State.Status}}";
    assert_eq!(ok(&host, &["inspect", "-f", format, "c1"]), "1 exited\n");
    // Stopped it stays, whatever its policy was when that was asked.
    ok(&host, &["start", "c1"]);
    ok(&host, &["pause", "c1"]);
    let stop = host.command(&["stop", "-t", "-1", "c1"]).spawn();
    ok(&host, &["update", "--restart", "always", "c1"]);
    assert!(stop.unwrap().wait().unwrap().success());
    assert_eq!(ok(&host, &["inspect", "-f", "{{.State.Status}}", "c1"]), "exited\n");
    ok(&host, &["rm", "c1"]);
    host.assert_clean(&[id]);
}

#[test]
fn what_does_not_run_changes_its_record() {
    let host = need_host!();
    ok(&host, &["run", "--name", "c1", "busybox", "true"]);
    ok(&host, &["update", "-m", "90m", "--cpuset-cpus", "0", "c1"]);
    let format = "{{.HostConfig.Memory}} {{.HostConfig.CpusetCpus}}";
    assert_eq!(ok(&host, &["inspect", "-f", format, "c1"]), format!("{} 0\n", 90 << 20));
    let id = start(&host, "gone", &["--rm"]);
    fails(&host, &["update", "--restart", "always", "gone"], "AutoRemove is enabled");
    ok(&host, &["update", "--pids-limit", "7", &id]);
    assert_eq!(ok(&host, &["inspect", "-f", "{{.HostConfig.PidsLimit}}", "gone"]), "7\n");
}

#[test]
fn updates_at_once_are_not_lost() {
    let host = need_host!();
    ok(&host, &["run", "--name", "c1", "busybox", "true"]);
    let flags = [
        ["--pids-limit", "7"],
        ["--cpu-shares", "8"],
        ["--memory-reservation", "9m"],
        ["--cpuset-cpus", "0"],
    ];
    let children: Vec<_> =
        flags.iter().map(|flag| host.command(&["update", flag[0], flag[1], "c1"]).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let format = "{{.HostConfig.PidsLimit}} {{.HostConfig.CpuShares}} {{.HostConfig.MemoryReservation}} \
                  {{.HostConfig.CpusetCpus}}";
    assert_eq!(ok(&host, &["inspect", "-f", format, "c1"]), format!("7 8 {} 0\n", 9 << 20));
}

#[test]
fn a_name_is_given_away_at_once() {
    let host = need_host!();
    let id = start(&host, "one", &["--rm"]);
    start(&host, "two", &[]);
    ok(&host, &["rename", "one", "three"]);
    assert_eq!(ok(&host, &["inspect", "-f", "{{.Name}} {{.Id}}", "three"]), format!("/three {id}\n"));
    fails(&host, &["inspect", "one"], "No such object: one");
    fails(&host, &["rename", "three", "two"], "The container name \"/two\" is already in use");
    fails(&host, &["rename", "three", "three"], "same name");
    fails(&host, &["rename", "three", "a/b"], "Invalid container name");
    fails(&host, &["rename", "nobody", "xx"], "No such container");
    // The first name is free, and a --rm container takes its new one along.
    ok(&host, &["rename", "two", "one"]);
    ok(&host, &["rm", "-f", "three"]);
    ok(&host, &["rm", "-f", "one"]);
    host.assert_clean(&[id]);
}

#[test]
fn the_name_of_a_rename_that_was_killed_goes() {
    let host = need_host!();
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        eprintln!("skipped: needs strace (cargo xtask deps)");
        return;
    }
    ok(&host, &["run", "--name", "old", "busybox", "true"]);
    let mut hits = 0;
    for call in ["symlink", "rename", "unlink", "fsync", "flock", "write"] {
        for nth in 1..6 {
            let command = host.command(&["rename", "old", "new"]);
            let inject = format!("inject={call}:signal=KILL:when={nth}");
            let output = std::process::Command::new("strace")
                .args(["-qq", "-o", "/dev/null", "-e", &inject])
                .arg(command.get_program())
                .args(command.get_args())
                .output()
                .unwrap();
            let listed = ok(&host, &["ps", "-a", "--format", "{{.Names}}"]);
            let name = listed.trim();
            assert!(["old", "new"].contains(&name), "{inject}: {listed}");
            let links: Vec<_> = std::fs::read_dir(host.path("root/names"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            assert_eq!(links, [name], "{inject}");
            ok(&host, &["inspect", name]);
            if name == "new" {
                ok(&host, &["rename", "new", "old"]);
            }
            if output.status.success() {
                break;
            }
            hits += 1;
        }
    }
    assert!(hits >= 4, "{hits}");
}

/// Each prune asks the same question, and takes only a `y` for a yes.
#[test]
fn prune_asks_first() {
    let host = need_host!();
    let ask = |args: &[&str], answer: &str| {
        let mut command = host.command(args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    ok(&host, &["run", "--name", "done", "busybox", "true"]);
    for answer in ["", "n\n", "yes\n"] {
        for kind in ["container", "image", "volume"] {
            let (code, out, err) = ask(&[kind, "prune"], answer);
            assert_eq!(code, Some(1), "{err}");
            assert!(out.starts_with("WARNING! This will remove "), "{out}");
            assert!(out.ends_with("Are you sure you want to continue? [y/N] "), "{out}");
            assert_eq!(err, format!("error: {kind} prune has been cancelled\n"));
        }
    }
    assert_eq!(ok(&host, &["ps", "-a", "--format", "{{.Names}}"]), "done\n");
    let (code, out, err) = ask(&["container", "prune"], " Y \n");
    assert!(code == Some(0) && out.contains("Deleted Containers:\n"), "{out}{err}");
    assert_eq!(ok(&host, &["ps", "-aq"]), "");
}

#[test]
fn prune_takes_what_does_not_run() {
    let host = need_host!();
    start(&host, "runs", &[]);
    for (name, label) in [("a1", "keep=yes"), ("b1", "keep=no")] {
        ok(&host, &["run", "--name", name, "-l", label, "busybox", "sh", "-c", "echo 12345 > /f"]);
    }
    let out = ok(&host, &["container", "prune", "-f", "--filter", "label!=keep=yes"]);
    assert!(
        out.starts_with("Deleted Containers:\n") && out.ends_with("Total reclaimed space: 6B\n"),
        "{out}"
    );
    assert_eq!(ok(&host, &["ps", "-a", "--format", "{{.Names}}"]), "a1\nruns\n");
    assert_eq!(
        ok(&host, &["container", "prune", "-f", "--filter", "until=1h"]),
        "Total reclaimed space: 0B\n"
    );
    ok(&host, &["container", "prune", "-f"]);
    assert_eq!(ok(&host, &["ps", "-aq"]).lines().count(), 1);
}

#[test]
fn sizes_filters_and_documents() {
    let host = need_host!();
    ok(
        &host,
        &[
            "run",
            "--name",
            "a1",
            "--expose",
            "80-82/tcp",
            "-v",
            "vol:/data",
            "busybox",
            "sh",
            "-c",
            "echo 12345 > /f",
        ],
    );
    let row = ok(&host, &["ps", "-as", "--format", "{{.Names}} {{.Size}}"]);
    assert!(row.starts_with("a1 6B (virtual ") && row.contains("MB)"), "{row}");
    for (filter, found) in [
        ("expose=81", true),
        ("expose=90-91", false),
        ("volume=vol", true),
        ("volume=/data", true),
        ("ancestor=busybox", true),
    ] {
        assert_eq!(!ok(&host, &["ps", "-aq", "--filter", filter]).is_empty(), found, "{filter}");
    }
    let format =
        "{{.SizeRw}} {{.GraphDriver.Name}} {{.HostConfig.RestartPolicy.Name}} {{.NetworkSettings.Ports}}";
    assert_eq!(ok(&host, &["inspect", "-s", "-f", format, "a1"]), "6 overlay no map[]\n");
    let upper = ok(&host, &["inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", "a1"]);
    assert_eq!(std::fs::read_to_string(Path::new(upper.trim()).join("f")).unwrap(), "12345\n");
    let format = "{{.OSType}} {{.NCPU}} {{.Images}} {{.Swarm.LocalNodeState}} {{.CgroupVersion}}";
    let info = ok(&host, &["info", "-f", format]);
    assert!(info.starts_with("linux ") && info.contains(" 1 inactive "), "{info}");
    fails(&host, &["port", "a1", "80"], "no public port '80/tcp' published for a1");
    assert_eq!(ok(&host, &["port", "a1"]), "");
    ok(&host, &["image", "tag", "busybox", "other:2"]);
    ok(&host, &["run", "--rm", "other:2", "true"]);
}
