//! Flags of `run` by their effect: devices, streams, logs, the stop, ids, and what `inspect` says of them.

mod common;

use common::{Host, text};

fn inspect(host: &Host, format: &str, name: &str) -> String {
    let output = host.corten(&["inspect", "-f", format, name]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim_end().to_owned()
}

#[test]
fn a_user_by_name_may_open_its_streams_again() {
    let host = need_host!();
    for user in ["web", "1000", "web:adm", "0"] {
        let (code, out, err) = host.sh(&["-u", user], "echo out > /dev/stdout; echo err > /dev/stderr");
        assert_eq!((code, out.as_str(), err.as_str()), (0, "out\n", "err\n"), "{user}");
    }
    let mut child = host
        .command(&["run", "--rm", "-i", "-u", "web", "busybox", "cat", "/dev/stdin"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"input").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "input"));
}

#[test]
fn ids_beyond_the_block_are_refused_by_name() {
    let host = need_host!();
    for (flags, named) in [
        (&["-u", "70000"][..], "user 70000"),
        (&["-u", "1:70000"], "group 70000"),
        (&["--group-add", "70000"], "group 70000"),
    ] {
        let (code, _, err) = host.sh(flags, "true");
        assert!(code == 125 && err.contains(named) && err.contains("--userns host"), "{flags:?}: {err}");
    }
    let (code, out, err) = host.sh(&["-u", "70000", "--userns", "host"], "id -u");
    assert_eq!((code, out.as_str()), (0, "70000\n"), "{err}");
    host.assert_clean(&[]);
}

#[test]
fn a_file_system_without_shifted_ids_is_named_with_the_way_out() {
    let host = need_host!();
    // procfs takes no idmapped mounts.
    let (code, _, err) = host.sh(&["-v", "/proc:/host"], "true");
    assert_eq!(code, 125);
    for word in ["/proc", "the proc there", "EINVAL", ":ro", ":nomap"] {
        assert!(err.contains(word), "{word}: {err}");
    }
    for flag in ["/proc:/host:ro", "/proc:/host:nomap"] {
        let (code, out, err) = host.sh(&["-v", flag], "busybox test -d /host/1 && echo there");
        assert_eq!((code, out.as_str()), (0, "there\n"), "{flag}: {err}");
    }
    host.assert_clean(&[]);
}

#[test]
fn devices_are_anywhere_and_a_directory_is_all_of_them() {
    let host = need_host!();
    let dir = host.path("devices");
    std::fs::create_dir_all(dir.join("sub")).unwrap();
    for (name, minor) in [("zero", 5), ("sub/full", 7)] {
        let status = std::process::Command::new("mknod")
            .arg(dir.join(name))
            .args(["c", "1", &minor.to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }
    std::fs::write(dir.join("no-device"), "").unwrap();
    let flag = format!("{}:/dev/many", dir.display());
    let script = "dd if=/dev/many/zero bs=1 count=3 2> /dev/null | busybox od -An -tx1; ls /dev/many /dev/many/sub; \
                  echo x > /dev/many/sub/full";
    let (_, out, err) = host.sh(&["--device", &flag], script);
    assert_eq!(out, " 00 00 00\n/dev/many:\nsub\nzero\n\n/dev/many/sub:\nfull\n", "{err}");
    assert!(err.contains("No space left"), "{err}");
    // Outside /dev, of the container's root, and of a directory too.
    let one = format!("{}:/opt/zero", dir.join("zero").display());
    let many = format!("{}:/opt/many", dir.display());
    let script = "stat -c '%u %F' /opt/zero; dd if=/opt/zero bs=1 count=1 2> /dev/null | busybox wc -c; ls /opt/many/sub";
    let (code, out, err) = host.sh(&["--device", &one, "--device", &many], script);
    assert_eq!((code, out.as_str()), (0, "0 character special file\n1\nfull\n"), "{err}");
    for path in [dir.join("no-device"), host.path("tree/etc")] {
        let (code, _, err) = host.sh(&["--device", path.to_str().unwrap()], "true");
        assert!(code == 125 && err.contains("not a device node"), "{err}");
    }
    host.assert_clean(&[]);
}

#[test]
fn what_may_be_done_with_a_device_is_what_was_said() {
    let host = need_host!();
    if !std::path::Path::new("/dev/fuse").exists() {
        eprintln!("skipped: this host has no /dev/fuse");
        return;
    }
    let script = "(: < /dev/fuse) && echo read; (: >> /dev/fuse) && echo write";
    for (access, expect) in [("r", "read\n"), ("w", "write\n"), ("rw", "read\nwrite\n"), ("m", "")] {
        let flag = format!("/dev/fuse:/dev/fuse:{access}");
        let (_, out, err) = host.sh(&["--device", &flag], script);
        assert_eq!(out, expect, "{access}: {err}");
    }
}

#[test]
fn only_the_attached_streams_are_carried() {
    let host = need_host!();
    let script = "echo out; echo err >&2; cat";
    let run = |flags: &[&str]| {
        let mut args = vec!["run", "--rm"];
        args.extend(flags);
        args.extend(["busybox", "sh", "-c", script]);
        let mut child = host
            .command(&args)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // Whoever does not read it closes it.
        let _closed = std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"in\n");
        let output = child.wait_with_output().unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let ok = |out: &str, err: &str| (Some(0), out.to_owned(), err.to_owned());
    assert_eq!(run(&["-a", "stdout"]), ok("out\n", ""));
    assert_eq!(run(&["-a", "STDERR"]), ok("", "err\n"));
    assert_eq!(run(&["-i", "-a", "stdin", "-a", "stdout", "-a", "stderr"]), ok("out\nin\n", "err\n"));
    assert_eq!(run(&["-i"]), ok("out\nin\n", "err\n"));
    // Only input: the id is printed, and the client goes when the input ends.
    let mut child = host
        .command(&["run", "--name", "fed", "-i", "-a", "stdin", "busybox", "sh", "-c", "cat; exit 3"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"fed\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 65));
    // Waits for its monitor, which then has written everything.
    while inspect(&host, "{{.State.Running}}", "fed") == "true" {
        std::thread::yield_now();
    }
    assert_eq!(inspect(&host, "{{.State.ExitCode}}", "fed"), "3");
    let log = std::fs::read_to_string(inspect(&host, "{{.LogPath}}", "fed")).unwrap();
    assert!(log.contains("\"log\":\"fed\\n\""), "{log}");
    assert_eq!(inspect(&host, "{{.Config.AttachStdin}} {{.Config.AttachStdout}}", "fed"), "true false");
    let both = host.corten(&["run", "-d", "-a", "stdout", "busybox", "true"]);
    assert!(text(&both.stderr).contains("cannot specify both --attach and --detach"));
}

#[test]
fn logs_rotate_or_are_not_written() {
    let host = need_host!();
    let script =
        "for i in 0 1 2 3 4 5 6 7 8 9; do for j in 0 1 2 3 4 5 6 7 8 9; do echo line $i$j; done; done";
    let flags = ["run", "--name", "rotates", "--log-opt", "max-size=1k", "--log-opt", "max-file=3"];
    let mut args = flags.to_vec();
    args.extend(["busybox", "sh", "-c", script]);
    assert_eq!(host.corten(&args).status.code(), Some(0));
    let path = std::path::PathBuf::from(inspect(&host, "{{.LogPath}}", "rotates"));
    let files = ["", ".2", ".1"].map(|suffix| format!("{}{suffix}", path.display()));
    for file in &files {
        let size = std::fs::metadata(file).unwrap().len();
        assert!((1..1200).contains(&size), "{file}: {size}");
    }
    assert!(!path.with_file_name("log.json.3").exists());
    assert!(std::fs::read_to_string(&path).unwrap().contains("line 99"));
    let config =
        inspect(&host, "{{.HostConfig.LogConfig.Type}} {{json .HostConfig.LogConfig.Config}}", "rotates");
    assert_eq!(config, r#"json-file {"max-file":"3","max-size":"1k"}"#);
    let run = host.corten(&["run", "--name", "silent", "--log-driver", "none", "busybox", "echo", "shown"]);
    assert_eq!(text(&run.stdout), "shown\n");
    assert_eq!(inspect(&host, "{{.HostConfig.LogConfig.Type}}{{.LogPath}}", "silent"), "none");
    let id = inspect(&host, "{{.Id}}", "silent");
    assert!(!host.path("root/containers").join(id).join("log.json").exists());
    for (flags, named) in [
        (&["--log-driver", "syslog"][..], "syslog"),
        (&["--log-opt", "nonsense=x"], "'nonsense'"),
        (&["--log-opt", "max-file=0"], "max-file"),
    ] {
        let (code, _, err) = host.sh(flags, "true");
        assert!(code == 125 && err.contains(named), "{err}");
    }
}

#[test]
fn labels_annotations_and_the_stop_are_kept_and_the_images_too() {
    let host = need_host!();
    let tar = host.path("busybox.tar");
    let changes = ["-c", "LABEL from=image over=image", "-c", "STOPSIGNAL SIGQUIT"];
    let mut args = vec!["import"];
    args.extend(changes);
    args.extend([tar.to_str().unwrap(), "labelled"]);
    let import = host.corten(&args);
    assert!(import.status.success(), "{}", text(&import.stderr));
    let run = host.corten(&[
        "run",
        "--name",
        "one",
        "-l",
        "over=own",
        "--annotation",
        "a=b",
        "--stop-timeout",
        "7",
        "labelled",
        "true",
    ]);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    let format = "{{.Config.Labels.from}} {{.Config.Labels.over}} {{.HostConfig.Annotations.a}} \
                  {{.Config.StopSignal}} {{.Config.StopTimeout}}";
    assert_eq!(inspect(&host, format, "one"), "image own b SIGQUIT 7");
    host.corten(&["run", "--name", "two", "--stop-signal", "RTMIN+3", "labelled", "true"]);
    assert_eq!(inspect(&host, "{{.Config.StopSignal}}", "two"), "RTMIN+3");
    let bad = host.corten(&["run", "--rm", "--stop-signal", "NOPE", "busybox", "true"]);
    assert_eq!(bad.status.code(), Some(125));
    assert!(text(&bad.stderr).contains("--stop-signal NOPE"), "{}", text(&bad.stderr));
}
