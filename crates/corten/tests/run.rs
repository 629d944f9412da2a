//! `corten run` by its effects, seen from inside the container and on the host.

mod common;

use common::text;

/// linux/magic.h
const HOSTFS_SUPER_MAGIC: u64 = 0x00c0_ffee;

#[test]
fn root_inside_is_nobody_outside() {
    let host = need_host!();
    let (code, out, err) = host.sh(&[], "id -u; cat /proc/self/uid_map; cat /proc/self/setgroups");
    assert_eq!(code, 0, "{err}");
    let fields: Vec<&str> = out.split_whitespace().collect();
    assert_eq!((fields[0], fields[1], fields[3]), ("0", "0", "65536"));
    assert!(fields[2].parse::<u32>().unwrap() >= 0x7000_0000);
    host.assert_clean(&[]);
}

#[test]
fn what_the_container_writes_has_its_own_ids_on_disk() {
    let host = need_host!();
    let data = host.path("data");
    std::fs::create_dir(&data).unwrap();
    let volume = format!("{}:/data", data.display());
    let (code, _, err) = host.sh(&["-v", &volume, "-u", "web"], "true");
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = host.sh(&["-v", &volume], "touch /data/file; chmod 4755 /data/file");
    assert_eq!(code, 0, "{err}");
    use std::os::unix::fs::MetadataExt;
    let stat = std::fs::metadata(data.join("file")).unwrap();
    assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o7777), (0, 0, 0o4755));
    let nomap = format!("{}:/data:nomap", data.display());
    let (code, _, _) = host.sh(&["-v", &nomap], "touch /data/other 2>/dev/null");
    assert_ne!(code, 0, "without a map the container's root has no rights here");
}

#[test]
fn a_read_only_bind_and_root_cannot_be_written() {
    let host = need_host!();
    let data = host.path("data");
    std::fs::create_dir(&data).unwrap();
    let volume = format!("{}:/data:ro", data.display());
    let (_, out, _) = host.sh(
        &["-v", &volume, "--read-only", "--tmpfs", "/scratch"],
        "touch /data/x; touch /x; touch /scratch/x && echo wrote",
    );
    assert_eq!(out, "wrote\n");
    assert!(std::fs::read_dir(&data).unwrap().next().is_none());
}

#[test]
fn exit_codes_are_dockers() {
    let host = need_host!();
    assert_eq!(host.sh(&[], "exit 7").0, 7);
    assert_eq!(host.sh(&[], "kill -9 $$").0, 137);
    assert_eq!(host.corten(&["run", "--rm", "busybox", "/nope"]).status.code(), Some(127));
    assert_eq!(host.corten(&["run", "--rm", "busybox", "/etc"]).status.code(), Some(126));
    assert_eq!(host.corten(&["run", "--rm", "busybox", "/etc/passwd"]).status.code(), Some(126));
    assert_eq!(host.corten(&["run", "--nope", "busybox"]).status.code(), Some(125));
    assert_eq!(host.corten(&["run", "--rm", "absent"]).status.code(), Some(125));
    for user in ["ghost", "4294967295", "1:ghost", "-1"] {
        let output = host.corten(&["run", "--rm", "-u", user, "busybox", "true"]);
        assert_eq!(output.status.code(), Some(125), "{user}: {}", text(&output.stderr));
    }
    host.assert_clean(&[]);
}

#[test]
fn users_groups_and_homes_come_from_the_image() {
    let host = need_host!();
    let (_, out, _) = host.sh(&["-u", "web"], "id -u; id -G; echo $HOME");
    assert_eq!(out, "1000\n1001 4\n/srv/web\n");
    let (_, out, _) = host.sh(&["-u", "5:7", "--group-add", "adm"], "id -u; id -G; echo $HOME");
    assert_eq!(out, "5\n7 4\n/\n");
}

#[test]
fn the_default_confinement() {
    let host = need_host!();
    let script = "while read k v; do case $k in CapEff:|CapBnd:|CapInh:|CapAmb:|Seccomp:) echo $v;; esac; done < /proc/self/status; \
                  echo x > /proc/sysrq-trigger; echo x > /proc/sys/kernel/core_pattern; cat /proc/kcore /proc/keys | wc -c; \
                  mknod /tmp/sda b 8 0; ls /proc/1/fd > /dev/null; ls /sys/firmware";
    let (_, out, err) = host.sh(&[], script);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[..5],
        ["0000000000000000", "00000000a80425fb", "00000000a80425fb", "0000000000000000", "2"],
        "{out}"
    );
    assert!(err.contains("Read-only file system"), "{err}");
    let (_, out, _) = host.sh(&["--cap-drop", "ALL", "--cap-add", "CHOWN", "--security-opt", "no-new-privileges", "--security-opt", "seccomp=unconfined"], "while read k v; do case $k in CapEff:|Seccomp:|NoNewPrivs:) echo $v;; esac; done < /proc/self/status");
    assert_eq!(out, "0000000000000001\n1\n0\n");
}

#[test]
fn init_reaps_and_can_be_switched_off() {
    let host = need_host!();
    let (_, out, _) = host.sh(&[], "readlink /proc/1/exe > /dev/null; cat /proc/1/comm; echo $$");
    assert!(out.starts_with("3\n") || out.contains("\n2\n"), "the program is a child of init: {out}");
    let (_, out, _) = host.sh(&["--init=false"], "echo $$");
    assert_eq!(out, "1\n");
}

#[test]
fn a_detached_container_is_listed_and_removed() {
    let host = need_host!();
    let output = host.corten(&["run", "-d", "--name", "web", "busybox", "sleep", "1000"]);
    let id = text(&output.stdout).trim().to_owned();
    assert_eq!(id.len(), 64, "{}", text(&output.stderr));
    let taken = host.corten(&["run", "--name", "web", "busybox", "true"]);
    assert_eq!(taken.status.code(), Some(125));
    assert!(text(&taken.stderr).contains("is already in use by container"));
    assert!(text(&host.corten(&["ps"]).stdout).contains("web"));
    let refused = host.corten(&["rm", "web"]);
    assert!(text(&refused.stderr).contains("container is running"));
    assert!(host.corten(&["rm", "-f", &id[..12]]).status.success());
    host.assert_clean(&[id]);
}

#[test]
fn input_flows_through_and_ends() {
    use std::io::Write;
    let host = need_host!();
    let mut child = host
        .command(&["run", "--rm", "-i", "busybox", "cat"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let data = vec![b'x'; 3 << 20];
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(&data).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 3 << 20));
}

#[test]
fn signals_reach_the_program_and_killing_the_client_does_not() {
    let host = need_host!();
    let mut child = host
        .command(&[
            "run",
            "--name",
            "trap",
            "busybox",
            "sh",
            "-c",
            "trap 'exit 9' TERM; echo ready; while true; do sleep 0.05; done",
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));

    let mut child = host
        .command(&["run", "--name", "stays", "busybox", "sh", "-c", "echo ready; sleep 1000"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let state = host.corten(&["inspect", "-f", "{{.State.Running}}", "stays"]);
    assert_eq!(text(&state.stdout), "true\n");
}

#[test]
fn the_machine_as_an_image_stays_untouched() {
    let host = need_host!();
    if rustix::fs::statfs("/usr").unwrap().f_type as u64 == HOSTFS_SUPER_MAGIC {
        eprintln!("skipped: /usr is on user-mode Linux's hostfs, which cannot be idmapped");
        return;
    }
    let script = "test ! -e /etc/shadow && test -e /usr/bin/env && rm -rf /usr/share && touch /usr/bin/new && echo done";
    let output = host.corten(&["run", "--rm", "host", "sh", "-c", script]);
    assert_eq!(text(&output.stdout), "done\n", "{}", text(&output.stderr));
    assert!(std::path::Path::new("/usr/share").exists() && !std::path::Path::new("/usr/bin/new").exists());
    host.assert_clean(&[]);
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let host = need_host!();
    for (flags, named) in [
        (&["-p", "80:80"][..], "--publish"),
        (&["--network", "bridge"], "bridge"),
        (&["--restart", "always"], "--restart"),
        (&["--sysctl", "kernel.core_pattern=x"], "kernel.core_pattern"),
        (&["--security-opt", "apparmor=x"], "apparmor"),
        (&["--device", "/etc/passwd"], "/etc/passwd"),
    ] {
        let mut args = vec!["run", "--rm"];
        args.extend(flags);
        args.extend(["busybox", "true"]);
        let output = host.corten(&args);
        assert_eq!(output.status.code(), Some(125), "{flags:?}");
        assert!(text(&output.stderr).contains(named), "{flags:?}: {}", text(&output.stderr));
    }
    host.assert_clean(&[]);
}

#[test]
fn images_are_listed_and_removed_with_their_layers() {
    let host = need_host!();
    let list = text(&host.corten(&["images"]).stdout);
    assert!(list.contains("busybox") && list.contains("latest"), "{list}");
    host.corten(&["run", "--name", "uses", "busybox", "true"]);
    let refused = host.corten(&["rmi", "busybox"]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("is using its referenced image"));
    host.corten(&["rm", "uses"]);
    let removed = host.corten(&["rmi", "busybox"]);
    assert!(text(&removed.stdout).contains("Untagged: busybox:latest"), "{}", text(&removed.stderr));
    assert_eq!(std::fs::read_dir(host.path("root/layers")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(host.path("root/blobs/sha256")).unwrap().count(), 0);
}

#[test]
fn a_hundred_at_once_all_run_and_leave_nothing() {
    let host = need_host!();
    let children: Vec<_> =
        (0..100).map(|_| host.command(&["run", "--rm", "busybox", "true"]).spawn().unwrap()).collect();
    for mut child in children {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    host.assert_clean(&[]);
}

#[test]
fn a_start_keeps_its_budget_of_system_calls() {
    let host = need_host!();
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        eprintln!("skipped: needs strace");
        return;
    }
    // Once before: the directories of the store are made then.
    host.sh(&[], "true");
    let trace = host.path("trace");
    let run = host.command(&["run", "--rm", "--network", "none", "busybox", "true"]);
    let status = std::process::Command::new("strace")
        .args(["-f", "-o"])
        .arg(&trace)
        .arg(run.get_program())
        .args(run.get_args())
        .status()
        .unwrap();
    assert!(status.success());
    let text = std::fs::read_to_string(&trace).unwrap();
    let calls =
        |line: &&str| !line.contains(" resumed>") && !line.contains(" +++ ") && !line.contains(" --- ");
    let count = text.lines().filter(calls).count();
    // Without optimisation the standard library looks whether a descriptor is open before it closes it.
    let looks = text.lines().filter(|line| cfg!(debug_assertions) && line.contains(", F_GETFD")).count();
    // SPECIFICATION.md
    assert!(count - looks <= 450, "{count} system calls, {looks} of them by the debug build");
    assert!(!text.contains("CLONE_THREAD"), "a thread was started");
    let programs = text.lines().filter(|line| line.contains("execve") && line.contains(" = 0")).count();
    assert!(programs <= 3, "corten, its init, and the program; not {programs}");
}

#[test]
fn the_store_is_a_layout_that_skopeo_reads_and_what_it_writes_loads() {
    let host = need_host!();
    if std::process::Command::new("skopeo").arg("--version").output().is_err() {
        eprintln!("skipped: needs skopeo");
        return;
    }
    let root = host.path("root");
    for (format, name) in [("docker-archive", "archive"), ("oci-archive", "layout")] {
        let target = host.path(name);
        let copied = std::process::Command::new("skopeo")
            .args(["copy", "--insecure-policy", "-q"])
            .arg(format!("oci:{}:docker.io/library/busybox:latest", root.display()))
            .arg(format!("{format}:{}:docker.io/library/{name}:1", target.display()))
            .output()
            .unwrap();
        assert!(copied.status.success(), "{}", text(&copied.stderr));
        let loaded = host.corten(&["load", "-i", target.to_str().unwrap()]);
        assert!(
            text(&loaded.stdout).contains(&format!("Loaded image: {name}:1")),
            "{}{}",
            text(&loaded.stdout),
            text(&loaded.stderr)
        );
        let image = format!("{name}:1");
        let run = host.corten(&["run", "--rm", &image, "echo", "hi"]);
        assert_eq!(text(&run.stdout), "hi\n", "{}", text(&run.stderr));
    }
}
