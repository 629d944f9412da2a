//! Volumes, seen from the containers that share them and on the disk.

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use common::{Host, text};

/// An image with content at a place that a volume takes, owned by web, with a link and a file capability's
/// worth of mode bits; and a VOLUME.
fn image_with_content(host: &Host) {
    let tree = host.path("tree");
    let data = tree.join("srv/data");
    std::fs::create_dir_all(data.join("sub")).unwrap();
    std::fs::write(data.join("sub/file"), "from the image\n").unwrap();
    std::fs::write(data.join("tool"), "").unwrap();
    std::fs::set_permissions(data.join("tool"), PermissionsExt::from_mode(0o4711)).unwrap();
    std::os::unix::fs::symlink("sub/file", data.join("link")).unwrap();
    std::os::unix::fs::symlink("/srv/data", tree.join("alias")).unwrap();
    for path in ["sub/file", "sub", ""] {
        rustix::fs::chown(
            data.join(path).as_path(),
            Some(rustix::fs::Uid::from_raw(1000)),
            Some(rustix::fs::Gid::from_raw(1001)),
        )
        .unwrap();
    }
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o750)).unwrap();
    import(host, "content", &["-c", "VOLUME /srv/data"]);
}

fn import(host: &Host, name: &str, flags: &[&str]) {
    let (tree, tar) = (host.path("tree"), host.path("more.tar"));
    let made =
        Command::new("tar").args(["-C", tree.to_str().unwrap(), "-cf", tar.to_str().unwrap(), "."]).status();
    assert!(made.unwrap().success());
    let mut args = vec!["import"];
    args.extend(flags);
    args.extend([tar.to_str().unwrap(), name]);
    let import = host.corten(&args);
    assert!(import.status.success(), "{}", text(&import.stderr));
}

/// `run --rm` of an image.
fn run(host: &Host, flags: &[&str], image: &str, script: &str) -> (i32, String, String) {
    let mut args = vec!["run", "--rm"];
    args.extend(flags);
    args.extend([image, "sh", "-c", script]);
    let output = host.corten(&args);
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn names(host: &Host) -> Vec<String> {
    text(&host.corten(&["volume", "ls", "-q"]).stdout).lines().map(str::to_owned).collect()
}

#[test]
fn a_named_volume_moves_between_containers_with_different_ids() {
    let host = need_host!();
    let (code, _, err) = host.sh(&["-v", "data:/data"], "echo one > /data/file; chmod 4755 /data/file");
    assert_eq!(code, 0, "{err}");
    let stat = std::fs::metadata(host.path("root/volumes/data/_data/file")).unwrap();
    assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o7777), (0, 0, 0o4755));
    let script = "cat /data/file; stat -c %u:%g /data/file; echo two >> /data/file; cat /proc/self/uid_map";
    let (code, out, err) = host.sh(&["--mount", "type=volume,src=data,dst=/data"], script);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("one\n0:0\n"), "{out}");
    // --rm takes no named one with it.
    assert_eq!(names(&host), ["data"]);
    for flags in [&["-v", "data:/data:ro"][..], &["--mount", "type=volume,src=data,dst=/data,readonly"]] {
        let (code, out, err) = host.sh(flags, "cat /data/file; echo three >> /data/file");
        assert_eq!((code, out.as_str()), (1, "one\ntwo\n"), "{err}");
        assert!(err.contains("Read-only"), "{err}");
    }
    let (code, _, err) = host.sh(&["-u", "web", "-v", "data:/data"], "echo x >> /data/file");
    assert!(code != 0 && err.contains("Permission denied"), "{err}");
    host.assert_clean(&[]);
}

#[test]
fn an_empty_volume_gets_what_the_image_has_there() {
    let host = need_host!();
    image_with_content(&host);
    let script = "cd /srv/data && stat -c '%u:%g %a' . sub sub/file tool; cat link; ls";
    let expect = "1000:1001 750\n1000:1001 755\n1000:1001 644\n0:0 4711\nfrom the image\nlink\nsub\ntool\n";
    let (code, out, err) = run(&host, &["-v", "data:/srv/data"], "content", script);
    assert_eq!((code, out.as_str()), (0, expect), "{err}");
    // Once: what is in it afterwards is the user's. Through a link of the image it is the same place.
    let (code, _, err) = run(&host, &["-v", "data:/srv/data"], "content", "rm -r /srv/data/sub");
    assert_eq!(code, 0, "{err}");
    let (_, out, _) = run(&host, &["-v", "data:/srv/data"], "content", "ls /srv/data");
    assert_eq!(out, "link\ntool\n");
    let (code, out, err) = run(&host, &["-v", "other:/alias"], "content", "cat /alias/link");
    assert_eq!((code, out.as_str()), (0, "from the image\n"), "{err}");
    for flags in [&["-v", "bare:/srv/data:nocopy"][..], &["--mount", "src=bare,dst=/srv/data,volume-nocopy"]]
    {
        let (code, out, err) = run(&host, flags, "content", "ls /srv/data; stat -c %u /srv/data");
        assert_eq!((code, out.as_str()), (0, "0\n"), "{err}");
    }
    // A volume that is read-only is filled all the same.
    let (_, out, _) = run(&host, &["-v", "still:/srv/data:ro"], "content", "cat /srv/data/sub/file");
    assert_eq!(out, "from the image\n");
    // Nothing there: a directory of root's.
    let (_, out, _) = run(&host, &["-v", "new:/new"], "content", "stat -c '%u:%g %a' /new; ls /new");
    assert_eq!(out, "0:0 755\n");
}

#[test]
fn what_lies_in_several_layers_is_copied_as_it_is_seen() {
    let host = need_host!();
    // Two layers by hand: the second one deletes and replaces.
    let layout = host.path("layout");
    let run_tool = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    if Command::new("umoci").arg("--version").output().is_err() {
        eprintln!("skipped: needs umoci");
        return;
    }
    image_with_content(&host);
    let image = format!("{}:two", layout.display());
    run_tool(Command::new("umoci").args(["init", "--layout"]).arg(&layout));
    run_tool(Command::new("umoci").args(["new", "--image", &image]));
    for step in 0..2 {
        let layer = host.path(&format!("layer{step}"));
        let data = layer.join("srv/data");
        std::fs::create_dir_all(&data).unwrap();
        if step == 0 {
            std::fs::create_dir_all(layer.join("bin")).unwrap();
            std::fs::copy("/bin/busybox", layer.join("bin/busybox")).unwrap();
            std::os::unix::fs::symlink("busybox", layer.join("bin/sh")).unwrap();
            std::fs::write(data.join("gone"), "1").unwrap();
            std::fs::write(data.join("both"), "1").unwrap();
        } else {
            std::fs::write(data.join(".wh.gone"), "").unwrap();
            std::fs::write(data.join("both"), "2").unwrap();
        }
        let tar = host.path(&format!("layer{step}.tar"));
        run_tool(Command::new("tar").arg("-C").arg(&layer).arg("-cf").arg(&tar).arg("."));
        run_tool(Command::new("umoci").args(["raw", "add-layer", "--image", &image]).arg(&tar));
    }
    let load = host.corten(&["load", "-i", layout.to_str().unwrap()]);
    assert!(load.status.success(), "{}", text(&load.stderr));
    let shown = text(&load.stdout);
    let name = shown.trim().rsplit(": ").next().unwrap();
    let (code, out, err) =
        run(&host, &["-v", "data:/srv/data"], name, "busybox ls /srv/data; busybox cat /srv/data/both");
    assert_eq!((code, out.as_str()), (0, "both\n2"), "{err}");
    // The same image as a mount, whole and in part.
    let whole = format!("type=image,source={name},target=/image");
    let (code, out, err) =
        run(&host, &["--mount", &whole], "busybox", "ls /image/srv/data; echo x > /image/x");
    assert!(code != 0 && out == "both\n" && err.contains("Read-only"), "{out}{err}");
    let part = format!("type=image,source={name},target=/image,image-subpath=srv/data");
    let (code, out, err) =
        run(&host, &["--mount", &part], "busybox", "cat /image/both; stat -c %u /image/both");
    assert_eq!((code, out.as_str()), (0, "20\n"), "{err}");
    let up = format!("type=image,source={name},target=/image,image-subpath=../etc");
    assert_eq!(run(&host, &["--mount", &up], "busybox", "true").0, 125);
}

#[test]
fn an_image_as_a_mount_is_kept_while_it_is_used() {
    let host = need_host!();
    image_with_content(&host);
    let mount = "type=image,source=content,target=/image,image-subpath=srv/data";
    let (code, out, err) = host.sh(&["--mount", mount], "cat /image/link; echo x > /image/sub/file");
    assert!(code != 0 && out == "from the image\n" && err.contains("Read-only"), "{out}{err}");
    let output = host.corten(&["run", "--name", "uses", "--mount", mount, "busybox", "true"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let refused = host.corten(&["rmi", "content"]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("uses"), "{}", text(&refused.stderr));
    let absent =
        host.corten(&["run", "--rm", "--mount", "type=image,source=no,target=/x", "busybox", "true"]);
    assert_eq!(absent.status.code(), Some(125));
    host.corten(&["rm", "uses"]);
    host.assert_clean(&[]);
}

#[test]
fn anonymous_volumes_go_with_rm_and_stay_without() {
    let host = need_host!();
    image_with_content(&host);
    let script = "test -e /srv/data/link && echo x > /new/file && busybox grep -c _data /proc/self/mountinfo";
    let (code, out, err) = run(&host, &["-v", "/new"], "content", script);
    assert_eq!((code, out.as_str()), (0, "2\n"), "{err}");
    assert_eq!(names(&host), Vec::<String>::new(), "--rm takes them with it");
    let output = host.corten(&["run", "--name", "kept", "-v", "/new", "content", "true"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let made = names(&host);
    assert!(made.len() == 2 && made.iter().all(|name| name.len() == 64), "{made:?}");
    let format = "{{range .Mounts}}{{.Type}} {{.Destination}} {{.Driver}} {{.RW}} {{.Name}}\n{{end}}";
    let shown = text(&host.corten(&["inspect", "-f", format, "kept"]).stdout);
    assert!(
        shown.contains("volume /new local true ") && shown.contains("volume /srv/data local true "),
        "{shown}"
    );
    assert!(made.iter().all(|name| shown.contains(name)), "{shown}");
    // In use, also by a container that does not run.
    let refused = host.corten(&["volume", "rm", &made[0]]);
    assert!(text(&refused.stderr).contains("volume is in use - ["), "{}", text(&refused.stderr));
    assert!(host.corten(&["rm", "kept"]).status.success());
    assert_eq!(names(&host), made, "rm leaves them");
    let pruned = host.corten(&["volume", "prune", "-f"]);
    assert!(text(&pruned.stdout).contains("Total reclaimed space: 23B"), "{}", text(&pruned.stdout));
    assert_eq!(names(&host), Vec::<String>::new());
    host.corten(&["run", "--name", "again", "-v", "/new", "-v", "named:/named", "busybox", "true"]);
    assert_eq!(names(&host).len(), 2);
    assert!(host.corten(&["rm", "-v", "again"]).status.success());
    assert_eq!(names(&host), ["named"], "rm -v takes the anonymous one");
}

#[test]
fn a_failed_start_leaves_no_anonymous_volume() {
    let host = need_host!();
    let output = host.corten(&["run", "--rm", "-v", "/new", "-u", "nobody-knows", "busybox", "true"]);
    assert_eq!(output.status.code(), Some(125));
    let cidfile = host.path("no/such/dir/cid");
    let flag = format!("--cidfile={}", cidfile.display());
    assert_eq!(host.corten(&["run", &flag, "-v", "/new", "busybox", "true"]).status.code(), Some(125));
    assert_eq!(names(&host), Vec::<String>::new());
    host.assert_clean(&[]);
}

#[test]
fn volumes_of_another_container() {
    let host = need_host!();
    let data = host.path("bind");
    std::fs::create_dir(&data).unwrap();
    let bind = format!("{}:/bind", data.display());
    let flags = ["-v", &bind, "-v", "named:/named:ro", "-v", "/new", "--tmpfs", "/scratch"];
    let mut args = vec!["run", "--name", "donor"];
    args.extend(flags);
    args.extend(["busybox", "sh", "-c", "echo donor > /new/file; echo donor > /bind/file"]);
    let output = host.corten(&args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let script = "cat /new/file /bind/file; echo x > /new/x && echo wrote; echo x > /named/x || echo ro; \
                  busybox grep -c ' /scratch ' /proc/self/mountinfo";
    let (_, out, err) = host.sh(&["--volumes-from", "donor"], script);
    assert_eq!(out, "donor\ndonor\nwrote\nro\n0\n", "{err}");
    let (_, out, _) = host.sh(&["--volumes-from", "donor:ro"], "cat /new/x; echo y > /new/y || echo ro");
    assert_eq!(out, "x\nro\n");
    // What is said of a place comes first.
    let (_, out, _) = host.sh(&["--volumes-from", "donor", "-v", "mine:/new"], "ls /new; echo end");
    assert_eq!(out, "end\n");
    // --rm of the second one leaves what the first one has.
    assert_eq!(names(&host).len(), 3);
    for (from, why) in [("absent", "No such container"), ("donor:x", "--volumes-from donor:x")] {
        let (code, _, err) = host.sh(&["--volumes-from", from], "true");
        assert!(code == 125 && err.contains(why), "{err}");
    }
}

#[test]
fn a_part_of_a_volume_cannot_lead_out_of_it() {
    let host = need_host!();
    let script = "mkdir -p /data/sub/deep; echo in > /data/sub/deep/file; busybox ln -s /etc /data/out; \
                  busybox ln -s sub/deep /data/within";
    assert_eq!(host.sh(&["-v", "data:/data"], script).0, 0);
    for part in ["sub/deep", "within"] {
        let mount = format!("type=volume,src=data,dst=/data,volume-subpath={part}");
        let (code, out, err) = host.sh(&["--mount", &mount], "cat /data/file");
        assert_eq!((code, out.as_str()), (0, "in\n"), "{err}");
    }
    for part in ["out", "absent", "out/passwd"] {
        let mount = format!("type=volume,src=data,dst=/data,volume-subpath={part}");
        let (code, _, err) = host.sh(&["--mount", &mount], "ls /data");
        assert!(code == 125 && err.contains(part), "{err}");
    }
    host.assert_clean(&[]);
}

#[test]
fn drivers_and_options_that_are_not_there_are_refused_by_name() {
    let host = need_host!();
    for (flags, named) in [
        (&["--volume-driver", "nfs", "-v", "data:/data"][..], "--volume-driver nfs"),
        (&["--mount", "src=data,dst=/data,volume-driver=nfs"], "volume-driver=nfs"),
        (&["--mount", "src=data,dst=/data,volume-opt=type=tmpfs"], "volume-opt=type"),
        (&["-v", "data:/data:z"], "SELinux"),
        (&["-v", "../data:/data:nocopy"], "invalid mode"),
    ] {
        let (code, _, err) = host.sh(flags, "true");
        assert!(code == 125 && err.contains(named), "{flags:?}: {err}");
    }
    assert_eq!(names(&host), Vec::<String>::new());
    let (code, out, err) = host.sh(&["--volume-driver", "local", "-v", "data:/data"], "ls -d /data");
    assert_eq!((code, out.as_str()), (0, "/data\n"), "{err}");
}

#[test]
fn the_volume_command() {
    let host = need_host!();
    let made = host.corten(&["volume", "create", "--label", "a=b", "data"]);
    assert_eq!(text(&made.stdout), "data\n");
    let format = "{{.Mountpoint}} {{.Driver}} {{.Labels.a}} {{.Scope}} {{.CreatedAt}}";
    let shown = text(&host.corten(&["volume", "inspect", "-f", format, "data"]).stdout);
    let mountpoint = host.path("root/volumes/data/_data");
    assert!(shown.starts_with(&format!("{} local b local 20", mountpoint.display())), "{shown}");
    std::fs::write(mountpoint.join("file"), "outside\n").unwrap();
    let (_, out, _) = host.sh(&["-v", "data:/data"], "cat /data/file");
    assert_eq!(out, "outside\n");
    let listed = text(&host.corten(&["volume", "ls", "-f", "dangling=true"]).stdout);
    assert_eq!(listed, "DRIVER    VOLUME NAME\nlocal     data\n");
    assert!(text(&host.corten(&["volume", "prune", "-f"]).stdout).starts_with("Total reclaimed space: 0B"));
    assert_eq!(text(&host.corten(&["volume", "rm", "data"]).stdout), "data\n");
    assert!(!host.path("root/volumes/data").exists());
    let gone = host.corten(&["volume", "rm", "data"]);
    assert!(text(&gone.stderr).contains("get data: no such volume"), "{}", text(&gone.stderr));
    assert_eq!(host.corten(&["volume", "create", "../x"]).status.code(), Some(1));
}

#[test]
fn killed_while_it_fills_a_volume_nothing_is_half() {
    let host = need_host!();
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("skipped: needs strace");
        return;
    }
    image_with_content(&host);
    let whole = "link\nsub\ntool\nfrom the image\n";
    let mut hits = 0;
    // Every call that changes the volume: the copy's, the renames that make it whole.
    for (call, most) in
        [("mkdirat,mkdir", 14), ("rename,renameat2", 12), ("linkat,symlinkat,fchmod", 9), ("fsync", 9)]
    {
        for nth in 1..=most {
            let name = format!("v{}{nth}", call.replace(',', "-"));
            let mount = format!("{name}:/srv/data");
            let run = host.command(&["run", "--rm", "-v", &mount, "content", "true"]);
            let status = Command::new("strace")
                .args(["-o", "/dev/null", "-e", &format!("trace={call}")])
                .args(["-e", &format!("inject={call}:signal=KILL:when={nth}")])
                .arg(run.get_program())
                .args(run.get_args())
                .stdin(std::process::Stdio::null())
                .output()
                .unwrap()
                .status;
            use std::os::unix::process::ExitStatusExt;
            hits += usize::from(status.signal() == Some(9) || status.code() == Some(137));
            let (code, out, err) = run_whole(
                &host,
                &mount,
                "cd /srv/data && ls && cat sub/file && stat -c '%u %a' . > /dev/null",
            );
            assert_eq!((code, out.as_str()), (0, whole), "{call} {nth}: {err}");
            let left: Vec<_> = std::fs::read_dir(host.path("root/volumes").join(&name))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|entry| !matches!(entry.as_str(), "_data" | "volume.json"))
                .collect();
            assert_eq!(left, Vec::<String>::new(), "{call} {nth}");
        }
    }
    assert!(hits > 20, "only {hits} kills hit");
    // Any list collects what is left beside.
    host.corten(&["ps"]);
    let dotted = std::fs::read_dir(host.path("root/volumes")).unwrap().flatten();
    assert_eq!(dotted.filter(|entry| entry.file_name().to_string_lossy().starts_with('.')).count(), 0);
}

fn run_whole(host: &Host, mount: &str, script: &str) -> (i32, String, String) {
    run(host, &["-v", mount], "content", script)
}
