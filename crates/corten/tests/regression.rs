//! One test for each defect that was found.

mod common;

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Host, text};

/// A client that is killed is one that the monitor sees go. It held the client's end of the socket itself, so
/// that what the container wrote filled the socket and then stopped the container.
#[test]
fn a_container_writes_on_when_its_client_is_killed() {
    let host = need_host!();
    let script = "echo ready; read line; i=0; while [ $i -lt 20000 ]; do \
                  echo 0123456789012345678901234567890123456789012345678901234567890123456789; i=$((i+1)); done; echo done > /data/done";
    let data = host.path("data");
    std::fs::create_dir(&data).unwrap();
    let made = Command::new("mkfifo").arg(data.join("end")).status().unwrap();
    assert!(made.success());
    let script = format!("{script}; echo > /data/end");
    let volume = format!("{}:/data", data.display());
    let mut client = host
        .command(&["run", "-i", "--name", "writer", "-v", &volume, "busybox", "sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    client.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    client.kill().unwrap();
    client.wait().unwrap();
    // Its input ends with the client; the container goes on and comes to its end.
    let end = Command::new("timeout").args(["60", "cat"]).arg(data.join("end")).status().unwrap();
    assert!(end.success(), "the container stands still");
    assert_eq!(std::fs::read_to_string(data.join("done")).unwrap(), "done\n");
}

/// Two starts of the same name: one gets it. The second took a name whose owner had not made its directory yet
/// for one of nobody, and took it away.
#[test]
fn of_many_starts_with_one_name_one_runs() {
    let host = need_host!();
    for _ in 0..5 {
        let starts: Vec<_> = (0..8)
            .map(|_| {
                host.command(&["run", "-d", "--name", "one", "busybox", "sleep", "100"])
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let ended: Vec<_> = starts.into_iter().map(|start| start.wait_with_output().unwrap()).collect();
        let errors: Vec<String> = ended.iter().map(|output| text(&output.stderr)).collect();
        assert_eq!(ended.iter().filter(|output| output.status.success()).count(), 1, "{errors:?}");
        let refused = errors.iter().filter(|error| error.contains("is already in use by container"));
        assert_eq!(refused.count(), 7, "{errors:?}");
        assert!(host.corten(&["rm", "-f", "one"]).status.success());
        host.assert_clean(&[]);
    }
}

/// A start that could not fork its monitor left its name, lease and directories.
#[test]
fn a_start_without_a_monitor_leaves_nothing() {
    let host = need_host!();
    // A limit of processes does not bind root.
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: needs strace");
        return;
    }
    let run = host.command(&["run", "--name", "none", "busybox", "true"]);
    let output = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e", "inject=clone3:error=EAGAIN:when=1"])
        .arg(run.get_program())
        .args(run.get_args())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).contains("EAGAIN"), "{}", text(&output.stderr));
    host.assert_clean(&[]);
    assert_eq!(std::fs::read_dir(host.path("run")).unwrap().count(), 3, "events, ids and swept");
}

/// What a boot leaves where /run is emptied: directories and names of containers that nobody has a record of.
#[test]
fn what_is_left_of_an_earlier_boot_goes() {
    let host = need_host!();
    let kept = host.corten(&["run", "--name", "kept", "busybox", "true"]);
    assert!(kept.status.success());
    let run = host.corten(&["run", "-d", "--rm", "--name", "gone", "busybox", "sleep", "100"]);
    let id = text(&run.stdout).trim().to_owned();
    let inspect = host.corten(&["inspect", "-f", "{{.State.Pid}}", "gone"]);
    let pid: i32 = text(&inspect.stdout).trim().parse().unwrap();
    // Its record goes as in a reboot, and then it and its monitor, which finds nothing to remove.
    let monitor = parent_of(pid);
    kill_and_wait(monitor);
    std::fs::remove_dir_all(host.path("run")).unwrap();
    kill_and_wait(pid);
    let listed = host.corten(&["ps", "-a"]);
    assert!(text(&listed.stdout).contains("kept"), "{}", text(&listed.stdout));
    assert!(!host.path("root/containers").join(&id).exists());
    assert!(!host.path("root/names/gone").exists() && host.path("root/names/kept").is_symlink());
    assert!(host.corten(&["rm", "kept"]).status.success());
    host.assert_clean(&[]);
    remove_cgroups(&id);
}

/// The same where /run outlives a boot: the state tells of a process that lives, in an earlier boot.
#[test]
fn a_process_of_an_earlier_boot_is_not_believed() {
    let host = need_host!();
    let run = host.corten(&["run", "-d", "--name", "old", "busybox", "sleep", "100"]);
    let id = text(&run.stdout).trim().to_owned();
    let state = host.path("run").join(&id).join("state.json");
    let told = std::fs::read_to_string(&state).unwrap();
    let pid = text(&host.corten(&["inspect", "-f", "{{.State.Pid}}", "old"]).stdout).trim().parse().unwrap();
    kill_and_wait(parent_of(pid));
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(told.contains(boot.trim()));
    std::fs::write(&state, told.replace(boot.trim(), "00000000-0000-4000-8000-000000000000")).unwrap();
    let status = host.corten(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "old"]);
    assert_eq!(text(&status.stdout), "exited 255\n", "{}", text(&status.stderr));
    assert!(!host.path("run").join(&id).exists());
    assert!(host.corten(&["rm", "old"]).status.success());
    host.assert_clean(&[id]);
}

/// A container whose monitor is killed goes on; when it has ended, its own record says how, though nobody waits
/// for it: under a process 1 that reaps nothing it stayed "running".
#[test]
fn the_end_of_a_container_without_a_monitor_is_noted() {
    let host = need_host!();
    let data = host.path("data");
    std::fs::create_dir(&data).unwrap();
    let volume = format!("{}:/data", data.display());
    assert!(Command::new("mkfifo").arg(data.join("go")).status().unwrap().success());
    let run = host.corten(&[
        "run",
        "-d",
        "--name",
        "orphan",
        "-v",
        &volume,
        "busybox",
        "sh",
        "-c",
        "read x < /data/go; exit 7",
    ]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let pid =
        text(&host.corten(&["inspect", "-f", "{{.State.Pid}}", "orphan"]).stdout).trim().parse().unwrap();
    kill_and_wait(parent_of(pid));
    for command in [&["ps"][..], &["run", "--rm", "busybox", "true"], &["images"]] {
        assert!(host.corten(command).status.success());
    }
    let running = host.corten(&["inspect", "-f", "{{.State.Running}}", "orphan"]);
    assert_eq!(text(&running.stdout), "true\n", "it goes on");
    std::fs::write(data.join("go"), "\n").unwrap();
    assert_eq!(text(&host.corten(&["wait", "orphan"]).stdout), "7\n");
    let ended = host.corten(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "orphan"]);
    assert_eq!(text(&ended.stdout), "exited 7\n");
    let finished = host.corten(&["inspect", "-f", "{{.State.FinishedAt}}", "orphan"]);
    assert!(text(&finished.stdout).starts_with("20"), "{}", text(&finished.stdout));
    assert!(host.corten(&["rm", "orphan"]).status.success());
    host.assert_clean(&[]);
}

/// The lock of each container that runs is tried, by opening its directory: more a start does not do for them. And
/// nobody reads /proc/locks, which costs an RCU grace period.
#[test]
fn looking_for_leftovers_costs_three_calls_for_each_container() {
    let host = need_host!();
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: needs strace");
        return;
    }
    let count = || {
        let trace = host.path("trace");
        let run = host.command(&["run", "--rm", "busybox", "true"]);
        // Without -f: the command itself is what looks.
        let status =
            Command::new("strace").arg("-o").arg(&trace).arg(run.get_program()).args(run.get_args()).status();
        assert!(status.unwrap().success());
        let text = std::fs::read_to_string(&trace).unwrap();
        assert!(!text.contains("/proc/locks"), "{text}");
        (text.matches("LOCK_NB").count(), text.lines().count())
    };
    host.sh(&[], "true");
    for _ in 0..2 {
        assert!(host.corten(&["run", "-d", "busybox", "sleep", "1000"]).status.success());
    }
    let few = count();
    for _ in 0..10 {
        assert!(host.corten(&["run", "-d", "busybox", "sleep", "1000"]).status.success());
    }
    let many = count();
    assert_eq!((few.0, many.0), (2, 12));
    // A debug build looks at a descriptor before it closes it.
    let each = if cfg!(debug_assertions) { 4 } else { 3 };
    assert!(many.1 <= few.1 + 10 * each + 4, "{few:?} {many:?}");
}

fn parent_of(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    parent.trim().parse().unwrap()
}

fn kill_and_wait(pid: i32) {
    use rustix::process::{Pid, Signal, kill_process};
    let pidfd = open(pid);
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    wait(pidfd);
}

fn open(pid: i32) -> Option<std::os::fd::OwnedFd> {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).ok()
}

fn wait(pidfd: Option<std::os::fd::OwnedFd>) {
    use rustix::event::{PollFd, PollFlags, poll};
    if let Some(pidfd) = pidfd {
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
    }
}

/// Those whose record a test took away.
fn remove_cgroups(id: &str) {
    let root = std::path::Path::new("/sys/fs/cgroup");
    // On pure v2 the root is the only hierarchy.
    let _absent = std::fs::remove_dir(root.join("corten").join(id));
    for entry in std::fs::read_dir(root).unwrap().flatten() {
        let _absent = std::fs::remove_dir(entry.path().join("corten").join(id));
    }
}

// Hostile images, at the level of a start: it succeeds safely or fails with a word, and never hangs.

fn runs_or_says_why(host: &Host, image: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let mut all = vec!["run", "--rm"];
    all.extend(args);
    // Not `id`, which reads the hostile files itself.
    all.extend([image, "/bin/busybox", "stat", "-L", "-c", "%u", "/proc/self"]);
    let command = host.command(&all);
    let output = Command::new("timeout")
        .args(["-k", "1", "20"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_ne!(output.status.code(), Some(124), "{image}: hangs");
    let (code, out, err) = (output.status.code(), text(&output.stdout), text(&output.stderr));
    assert!(code == Some(0) || code == Some(125) && !err.is_empty(), "{image}: {code:?} {err}");
    (code, out, err)
}

fn fifo(path: &Path) {
    let _absent = std::fs::remove_file(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn hostile_passwd_and_group_files() {
    let host = need_host!();
    type Change = fn(&Path);
    let passwd: [(&str, Change, &str); 8] = [
        ("fifo", |path| fifo(path), "is not a regular file"),
        ("directory", |path| std::fs::create_dir(path).unwrap(), "is not a regular file"),
        ("loop", |path| std::os::unix::fs::symlink("passwd", path).unwrap(), "ELOOP"),
        ("zero", |path| std::os::unix::fs::symlink("/dev/zero", path).unwrap(), ""),
        ("host", |path| std::os::unix::fs::symlink("../../../../../etc/shadow", path).unwrap(), ""),
        (
            "huge",
            |path| std::fs::File::create(path).unwrap().set_len(64 << 20).unwrap(),
            "is larger than 4 MiB",
        ),
        ("node", |path| node(path, "c", "1", "5"), "is not a regular file"),
        ("noise", |path| std::fs::write(path, [0xff, b':', 0, b'\n'].repeat(1000)).unwrap(), ""),
    ];
    for (file, user) in [("passwd", "0"), ("group", "0:0")] {
        for (kind, change, why) in passwd {
            let name = format!("{file}-{kind}");
            host.image(&name, &[], |tree| {
                let path = tree.join("etc").join(file);
                std::fs::remove_file(&path).unwrap();
                change(&path);
                if kind == "loop" {
                    std::fs::remove_file(&path).unwrap();
                    std::os::unix::fs::symlink(file, &path).unwrap();
                }
            });
            let (code, out, err) = runs_or_says_why(&host, &name, &["-u", user]);
            assert!(err.contains(why), "{name}: {err}");
            assert!(code == Some(125) || out == "0\n", "{name}: {out}");
            assert_eq!(code == Some(0), why.is_empty(), "{name}: {err}");
        }
    }
    host.assert_clean(&[]);
}

fn node(path: &Path, kind: &str, major: &str, minor: &str) {
    let _absent = std::fs::remove_file(path);
    assert!(Command::new("mknod").arg(path).args([kind, major, minor]).status().unwrap().success());
}

#[test]
fn hostile_places_in_an_image() {
    let host = need_host!();
    let canary = host.path("canary");
    std::fs::create_dir(&canary).unwrap();
    // Each place as a link to the host, a FIFO, a file and a device.
    for place in ["etc", "proc", "sys", "dev", "etc/hosts", "etc/hostname", "etc/resolv.conf", "tmp"] {
        let kinds =
            if place.contains('/') { &["link", "fifo"][..] } else { &["link", "fifo", "file", "node"] };
        for &kind in kinds {
            let name = format!("{}-{kind}", place.replace(['/', '.'], "-"));
            host.image(&name, &[], |tree| {
                let path = tree.join(place);
                let _absent = std::fs::remove_dir_all(&path);
                match kind {
                    "link" => std::os::unix::fs::symlink(&canary, &path).unwrap(),
                    "fifo" => fifo(&path),
                    "file" => std::fs::write(&path, "").unwrap(),
                    _ => node(&path, "b", "7", "0"),
                }
            });
            runs_or_says_why(&host, &name, &["--tmpfs", "/tmp"]);
            assert!(std::fs::read_dir(&canary).unwrap().next().is_none(), "{name}");
        }
    }
    host.assert_clean(&[]);
}

#[test]
fn hostile_programs_and_working_directories() {
    let host = need_host!();
    host.image("programs", &[], |tree| {
        fifo(&tree.join("fifo"));
        node(&tree.join("node"), "c", "1", "3");
        std::fs::write(tree.join("loop"), "#!/loop\n").unwrap();
        std::fs::write(tree.join("empty"), "").unwrap();
        for name in ["loop", "empty"] {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(tree.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::os::unix::fs::symlink("self", tree.join("self")).unwrap();
    });
    for program in ["/fifo", "/node", "/loop", "/empty", "/self", "/etc", "/proc/self/fd/3", "/dev/fd/0"] {
        let output = host.corten(&["run", "--rm", "programs", program]);
        assert!(matches!(output.status.code(), Some(126 | 127)), "{program}: {:?}", output.status.code());
        assert!(!output.stderr.is_empty(), "{program}");
    }
    for cwd in ["/fifo", "/node", "/self", "/empty", "/loop/x"] {
        let output = host.corten(&["run", "--rm", "-w", cwd, "programs", "true"]);
        assert_eq!(output.status.code(), Some(125), "{cwd}: {}", text(&output.stderr));
        assert!(!output.stderr.is_empty(), "{cwd}");
    }
    host.assert_clean(&[]);
}

/// Docker takes 0 for no limit; the kernel takes it for no process at all.
#[test]
fn a_pids_limit_of_zero_is_none() {
    let host = need_host!();
    for limit in ["0", "-1", "-5"] {
        let output = host.corten(&["run", "--rm", "--pids-limit", limit, "busybox", "true"]);
        assert_eq!(output.status.code(), Some(0), "{limit}: {}", text(&output.stderr));
    }
    host.assert_clean(&[]);
}

/// Scripts begin with `rm -f` and `rmi -f` of what may not be there.
#[test]
fn forced_removal_of_what_is_not_there_is_no_failure() {
    let host = need_host!();
    for (command, said) in [("rm", "No such container: absent"), ("rmi", "no such image: absent")] {
        let output = host.corten(&[command, "-f", "absent"]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
        assert!(output.stdout.is_empty());
        assert_eq!(host.corten(&[command, "absent"]).status.code(), Some(1), "{command}");
    }
}

/// `--name "$NAME"` with an unset variable; a file that cannot be made is not called damaged.
#[test]
fn empty_names_and_files_for_the_id() {
    let host = need_host!();
    let output = host.corten(&["run", "--rm", "--name", "", "--cidfile", "", "busybox", "true"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = host.corten(&["run", "--rm", "--cidfile", "/no/such/dir/cid", "busybox", "true"]);
    assert_eq!(output.status.code(), Some(125));
    let said = "failed to create the container ID file: /no/such/dir/cid: No such file or directory";
    assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    let output = host.corten(&["run", "--rm", "--mount", "type=bind,src=/no/such,dst=/x", "busybox", "true"]);
    assert_eq!(output.status.code(), Some(125));
    let said = "invalid mount config for type \"bind\": bind source path does not exist: /no/such\n";
    assert!(text(&output.stderr).ends_with(said), "{}", text(&output.stderr));
    host.assert_clean(&[]);
}

/// It was said twice that it is one.
#[test]
fn a_bad_seccomp_profile_is_named_once() {
    let host = need_host!();
    let profile = host.path("profile.json");
    std::fs::write(&profile, "{}").unwrap();
    let option = format!("seccomp={}", profile.display());
    let output = host.corten(&["run", "--rm", "--security-opt", &option, "busybox", "true"]);
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(text(&output.stderr), "error: seccomp profile: `defaultAction` is missing\n");
    host.assert_clean(&[]);
}
