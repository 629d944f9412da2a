//! `cp` and `export`, by what is where afterwards; and what a container does to be copied from elsewhere.

mod common;

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{Host, text};

/// A container that runs until it is removed, after its script.
fn running(host: &Host, name: &str, flags: &[&str], script: &str) {
    let script = format!("{script}; echo ready > /tmp/ready; exec sleep 1000");
    let mut args = vec!["run", "-d", "--name", name];
    args.extend(flags);
    args.extend(["busybox", "sh", "-c", &script]);
    let output = host.corten(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let from = format!("{name}:/tmp/ready");
    // The copy itself is what tells that the script has come so far.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !host.corten(&["cp", &from, "-"]).status.success() {
        assert!(std::time::Instant::now() < deadline, "{name} is not ready");
    }
}

#[track_caller]
fn ok(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn fails(output: &Output, message: &str) {
    let err = text(&output.stderr);
    assert!(output.status.code() == Some(1) && err.contains(message), "{err}");
}

fn at(host: &Host, name: &str) -> String {
    host.path(name).to_str().unwrap().to_owned()
}

/// What a container that runs sees.
fn inside(host: &Host, name: &str, path: &str) -> String {
    let output = host.corten(&["cp", &format!("{name}:{path}"), "-"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut tar =
        Command::new("tar").args(["xOf", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    tar.stdin.take().unwrap().write_all(&output.stdout).unwrap();
    text(&tar.wait_with_output().unwrap().stdout)
}

#[test]
fn paths_are_dockers() {
    let host = need_host!();
    let src = host.path("src");
    std::fs::create_dir_all(src.join("sub")).unwrap();
    std::fs::write(src.join("sub/file"), "text\n").unwrap();
    std::fs::write(host.path("file"), "one\n").unwrap();
    symlink("src", host.path("link")).unwrap();
    running(&host, "c1", &[], "mkdir /dir; echo x > /plain; ln -s /dir /todir; ln -s /none/x /dangling");
    let cp = |from: &str, to: &str| host.corten(&["cp", from, to]);
    let (src, file, link) = (at(&host, "src"), at(&host, "file"), at(&host, "link"));
    // A directory into one that is there, as one that is not, and its content alone.
    ok(&cp(&src, "c1:/dir"));
    ok(&cp(&src, "c1:/fresh"));
    ok(&cp(&format!("{src}/."), "c1:/dir"));
    ok(&cp(&file, "c1:/todir"));
    ok(&cp(&file, "c1:relative"));
    ok(&cp(&link, "c1:/aslink"));
    ok(&host.corten(&["cp", "-L", &link, "c1:/followed"]));
    for path in ["/dir/src/sub/file", "/fresh/sub/file", "/dir/sub/file", "/followed/sub/file"] {
        assert_eq!(inside(&host, "c1", path), "text\n", "{path}");
    }
    for path in ["/dir/file", "/relative"] {
        assert_eq!(inside(&host, "c1", path), "one\n", "{path}");
    }
    let out = host.path("aslink");
    ok(&cp("c1:/aslink", out.to_str().unwrap()));
    assert_eq!(std::fs::read_link(out).unwrap(), Path::new("src"));
    fails(&cp(&src, "c1:/plain"), "cannot copy directory");
    fails(&cp(&file, "c1:/nothing/"), "no such directory");
    fails(&cp(&file, "c1:/dangling"), "Could not find the file /dangling");
    fails(&cp(&file, "c1:/no/where"), "Could not find the file /no/where in container c1");
    fails(&cp("c1:/absent", &src), "Could not find the file /absent in container c1");
    fails(&cp(&at(&host, "absent"), "c1:/"), "no such file or directory");
    fails(&cp(&file, "nobody:/x"), "No such container: nobody");
    fails(&cp("c1:/plain/", &src), "ENOTDIR");
    // The other way.
    let into = host.path("into");
    std::fs::create_dir(&into).unwrap();
    let to = at(&host, "into");
    ok(&cp("c1:/dir", &to));
    ok(&cp("c1:/dir/.", &to));
    ok(&cp("c1:/dir/src", &format!("{to}/new")));
    ok(&cp("c1:/plain", &format!("{to}/renamed")));
    for path in ["dir/src/sub/file", "src/sub/file", "new/sub/file"] {
        assert_eq!(std::fs::read_to_string(into.join(path)).unwrap(), "text\n", "{path}");
    }
    assert_eq!(std::fs::read_to_string(into.join("renamed")).unwrap(), "x\n");
    fails(&cp("c1:/dir", &format!("{to}/renamed")), "cannot copy directory");
    std::fs::create_dir(into.join("plain")).unwrap();
    fails(&cp("c1:/plain", &to), "cannot overwrite directory \"plain\" with non-directory");
}

#[test]
fn owners_modes_and_mounts_are_those_of_inside() {
    let host = need_host!();
    let bound = host.path("bound");
    std::fs::create_dir(&bound).unwrap();
    std::fs::write(host.path("file"), "data").unwrap();
    std::fs::set_permissions(host.path("file"), PermissionsExt::from_mode(0o4750)).unwrap();
    rustix::fs::chown(
        host.path("file"),
        Some(rustix::fs::Uid::from_raw(1000)),
        Some(rustix::fs::Gid::from_raw(1001)),
    )
    .unwrap();
    std::fs::set_permissions(host.path("file"), PermissionsExt::from_mode(0o4750)).unwrap();
    let bind = format!("{}:/bound", bound.display());
    running(&host, "c1", &["-v", "vol:/vol", "-v", &bind, "--tmpfs", "/mem"], "touch /own; chown web /own");
    let file = at(&host, "file");
    for to in ["c1:/root-owned", "c1:/vol/", "c1:/bound/", "c1:/mem/", "c1:/etc/hosts"] {
        ok(&host.corten(&["cp", &file, to]));
    }
    ok(&host.corten(&["cp", "-a", &file, "c1:/kept"]));
    let root = host.path("root");
    let id = std::fs::read_link(root.join("names/c1")).unwrap();
    let upper = root.join("containers").join(id).join("upper");
    let look = |path: &Path| {
        let stat = std::fs::metadata(path).unwrap();
        (stat.uid(), stat.gid(), stat.mode() & 0o7777)
    };
    // On disk ids are those of inside. Root's set-id bits were somebody else's.
    assert_eq!(look(&upper.join("root-owned")), (0, 0, 0o750));
    assert_eq!(look(&upper.join("kept")), (1000, 1001, 0o4750));
    assert_eq!(look(&root.join("volumes/vol/_data/file")), (0, 0, 0o750));
    assert_eq!(look(&bound.join("file")), (0, 0, 0o750));
    for path in ["/mem/file", "/etc/hosts"] {
        assert_eq!(inside(&host, "c1", path), "data", "{path}");
    }
    assert!(!upper.join("etc/hosts").exists(), "the mount is what is written to");
    // Out: whoever copies, or who it was.
    for (flag, uid) in [("-q", 0), ("-a", 1000)] {
        let to = at(&host, &format!("out{flag}"));
        ok(&host.corten(&["cp", flag, "c1:/own", &to]));
        assert_eq!(std::fs::metadata(&to).unwrap().uid(), uid);
    }
    let output = host.corten(&["cp", "c1:/own", "-"]);
    let mut listed = Command::new("tar")
        .args(["tvf", "-", "--numeric-owner"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    listed.stdin.take().unwrap().write_all(&output.stdout).unwrap();
    let listed = text(&listed.wait_with_output().unwrap().stdout);
    assert!(listed.contains(" 1000/0 "), "{listed}");
}

#[test]
fn a_stopped_container_is_copied_too() {
    let host = need_host!();
    let output = host.corten(&[
        "run",
        "--name",
        "c1",
        "-v",
        "vol:/vol",
        "busybox",
        "sh",
        "-c",
        "echo a > /a; echo v > /vol/v",
    ]);
    ok(&output);
    assert_eq!(inside(&host, "c1", "/a"), "a\n");
    assert_eq!(inside(&host, "c1", "/vol/v"), "v\n");
    std::fs::write(host.path("new"), "new").unwrap();
    for to in ["c1:/a", "c1:/vol/", "c1:/deep"] {
        ok(&host.corten(&["cp", &at(&host, "new"), to]));
    }
    assert_eq!(inside(&host, "c1", "/a"), "new");
    assert_eq!(std::fs::read_to_string(host.path("root/volumes/vol/_data/new")).unwrap(), "new");
    assert_eq!(ok(&host.corten(&["diff", "c1"])), "A /a\nA /deep\nA /vol\n");
    ok(&host.corten(&["rm", "c1"]));
    host.assert_clean(&[]);
}

#[test]
fn a_tar_goes_in_and_out() {
    let host = need_host!();
    running(&host, "c1", &[], "mkdir /real /into; ln -s /real /into/link");
    let tree = host.path("t");
    std::fs::create_dir_all(tree.join("d")).unwrap();
    std::fs::write(tree.join("d/.wh.x"), "a name as any").unwrap();
    std::fs::write(tree.join("d/hole"), "").unwrap();
    std::fs::File::options().write(true).open(tree.join("d/hole")).unwrap().set_len(3 << 20).unwrap();
    std::fs::hard_link(tree.join("d/.wh.x"), tree.join("d/second")).unwrap();
    for flag in ["-cf", "-czf", "-cSf"] {
        let tar = host.path("t.tar");
        assert!(
            Command::new("tar").arg("-C").arg(&tree).arg(flag).arg(&tar).arg("d").status().unwrap().success()
        );
        let mut command = host.command(&["cp", "-", "c1:/into"]);
        ok(&command.stdin(std::fs::File::open(&tar).unwrap()).output().unwrap());
        assert_eq!(inside(&host, "c1", "/into/d/.wh.x"), "a name as any");
    }
    let out = host.path("out");
    ok(&host.corten(&["cp", "c1:/into/d", out.to_str().unwrap()]));
    let stat = |name: &str| std::fs::metadata(out.join(name)).unwrap();
    assert_eq!((stat("hole").size(), stat("second").ino()), (3 << 20, stat(".wh.x").ino()));
    // Damaged, or with a way out.
    let send = |bytes: &[u8]| {
        let mut child = host
            .command(&["cp", "-", "c1:/into"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _closed = child.stdin.take().unwrap().write_all(bytes);
        child.wait_with_output().unwrap()
    };
    fails(&send(&[1; 2048]), "checksum");
    let up = host.path("up.tar");
    let made = Command::new("tar")
        .args(["-C", tree.to_str().unwrap(), "--transform", "s,^d,../d,", "-Pcf"])
        .arg(&up)
        .arg("d")
        .status();
    assert!(made.unwrap().success());
    fails(&send(&std::fs::read(&up).unwrap()), "`..`");
    fails(&host.corten(&["cp", "-", "c1:/tmp/ready"]), "must be a directory");
}

/// CVE-2018-15664 and its kin: whatever a container makes of its own tree, this machine's is not touched.
#[test]
fn links_lead_nowhere_else() {
    let host = need_host!();
    let secret = host.path("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("key"), "the host's").unwrap();
    let outside = secret.to_str().unwrap();
    let up = "../".repeat(20);
    let script = format!(
        "ln -s {outside} /abs; ln -s {up}{} /rel; ln -s {outside}/key /key; ln -s /proc/1/root /proc1; \
         mkdir /d; ln -s {outside} /d/out",
        outside.trim_start_matches('/')
    );
    running(&host, "c1", &[], &script);
    std::fs::write(host.path("evil"), "evil").unwrap();
    let evil = at(&host, "evil");
    for path in ["/abs/key", "/rel/key", "/key", "/d/out/key", "/proc1/abs/key"] {
        let output = host.corten(&["cp", "-L", &format!("c1:{path}"), &at(&host, "stolen")]);
        assert!(!output.status.success() && !host.path("stolen").exists(), "{path}");
        let output = host.corten(&["cp", &evil, &format!("c1:{path}")]);
        assert!(!output.status.success(), "{path}");
    }
    for path in ["/abs", "/rel", "/d/out"] {
        let output = host.corten(&["cp", &evil, &format!("c1:{path}/")]);
        assert!(!output.status.success(), "{path}");
    }
    assert_eq!(std::fs::read_to_string(secret.join("key")).unwrap(), "the host's");
    assert_eq!(std::fs::read_dir(&secret).unwrap().count(), 1);
    // A link that was copied out is not written through.
    let out = at(&host, "copied");
    ok(&host.corten(&["cp", "c1:/d", &out]));
    assert_eq!(std::fs::read_link(host.path("copied/out")).unwrap(), secret);
    let dir = "mkdir /e /e/d /e/d/out; echo evil > /e/d/out/key";
    running(&host, "second", &[], dir);
    fails(
        &host.corten(&["cp", "second:/e/d/.", &out]),
        "cannot overwrite non-directory \"out\" with directory",
    );
    assert_eq!(std::fs::read_to_string(secret.join("key")).unwrap(), "the host's");
}

/// A container that renames under the copy, for as long as the copies go on.
#[test]
fn renames_do_not_lead_out() {
    let host = need_host!();
    let secret = host.path("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("f"), "the host's").unwrap();
    let swap = format!(
        "mkdir /a /a/d; echo inside > /a/d/f; ln -s {} /a/l; \
         (while true; do busybox mv /a/d /a/x; busybox mv -T /a/l /a/d; busybox mv -T /a/d /a/l; \
         busybox mv /a/x /a/d; done) 2>/dev/null &",
        secret.display()
    );
    // `&` and `;` do not go together.
    running(&host, "c1", &[], &format!("{swap} true"));
    std::fs::write(host.path("in"), "from outside").unwrap();
    let from = at(&host, "in");
    for round in 0..40 {
        let to = host.path(&format!("out{round}"));
        let output = host.corten(&["cp", "c1:/a/d/f", to.to_str().unwrap()]);
        if output.status.success() {
            assert_ne!(std::fs::read_to_string(&to).unwrap(), "the host's");
        }
        host.corten(&["cp", "c1:/a", &at(&host, &format!("all{round}"))]);
        host.corten(&["cp", &from, "c1:/a/d/f"]);
    }
    assert_eq!(std::fs::read_to_string(secret.join("f")).unwrap(), "the host's");
    assert_eq!(std::fs::read_dir(&secret).unwrap().count(), 1);
}

#[test]
fn pipes_and_devices_hang_nobody() {
    let host = need_host!();
    running(&host, "c1", &[], "mkdir /d; mknod /d/p p; echo x > /d/x");
    let out = at(&host, "out");
    ok(&host.corten(&["cp", "c1:/d", &out]));
    assert_eq!(std::fs::read_to_string(host.path("out/x")).unwrap(), "x\n");
    let output = host.corten(&["cp", "c1:/dev", &at(&host, "dev")]);
    assert!(output.status.success() && text(&output.stderr).contains("device nodes were left out"));
    assert!(!host.path("dev/null").exists());
}

#[test]
fn an_export_is_the_root_without_mounts() {
    let host = need_host!();
    running(
        &host,
        "c1",
        &["-v", "vol:/vol"],
        "echo v > /vol/v; echo x > /x; chown web:web /x; rm /etc/group",
    );
    let tar = host.path("e.tar");
    ok(&host.corten(&["export", "-o", tar.to_str().unwrap(), "c1"]));
    let list = Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(&tar).output().unwrap();
    let list = text(&list.stdout);
    let has = |end: &str| list.lines().any(|line| line.ends_with(end));
    assert!(has(" x") && has(" vol/") && has(" etc/passwd") && has(" proc/"), "{list}");
    assert!(!has(" vol/v") && !has(" etc/group") && !list.contains("proc/1"), "{list}");
    assert!(list.lines().any(|line| line.contains("1000/1001") && line.ends_with(" x")), "{list}");
    ok(&host.corten(&["import", tar.to_str().unwrap(), "again"]));
    let ran = host.corten(&["run", "--rm", "again", "sh", "-c", "cat /x; stat -c %u:%g /x"]);
    assert_eq!(ok(&ran), "x\n1000:1001\n");
    // Nothing half is left where a file is wanted.
    fails(&host.corten(&["export", "-o", &at(&host, "no.tar"), "nobody"]), "No such container");
    assert!(std::fs::read_dir(host.dir.path()).unwrap().all(|entry| {
        let name = entry.unwrap().file_name();
        name != "no.tar" && !name.to_string_lossy().starts_with(".tmp-")
    }));
}

/// Whoever wants the files of a container that does not run waits for who is at work with it, until that is
/// done or has started it.
#[test]
fn a_copy_waits_for_who_is_at_work() {
    let host = need_host!();
    let id = ok(&host.corten(&["create", "--name", "c1", "busybox", "sleep", "1000"])).trim().to_owned();
    let live = host.path("run").join(&id);
    std::fs::create_dir(&live).unwrap();
    let held = std::fs::File::open(&live).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let copy = || host.command(&["cp", "c1:/etc/passwd", "-"]).stdout(Stdio::piped()).spawn().unwrap();
    let child = copy();
    let inode = format!(":{} ", held.metadata().unwrap().ino());
    let waits = || {
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        locks.lines().any(|line| line.contains("->") && line.contains(&inode))
    };
    while !waits() {
        std::thread::yield_now();
    }
    // What it shows is no end of its work.
    std::fs::write(live.join("state.new"), "").unwrap();
    std::fs::rename(live.join("state.new"), live.join("other")).unwrap();
    while !waits() {
        std::thread::yield_now();
    }
    drop(held);
    assert!(ok(&child.wait_with_output().unwrap()).contains("root:x:0:0"));
    assert!(!live.exists());
    // Started meanwhile, it is seen as it runs: nobody waits for its end.
    let mut start = host.command(&["start", "c1"]).spawn().unwrap();
    let copies: Vec<_> = (0..8).map(|_| copy()).collect();
    assert!(start.wait().unwrap().success());
    for child in copies {
        assert!(ok(&child.wait_with_output().unwrap()).contains("root:x:0:0"));
    }
    ok(&host.corten(&["rm", "-f", "c1"]));
    host.assert_clean(&[id]);
}

/// A file is made with its mode and owner at once where the directory lets it: where it does not, they are set.
#[test]
fn a_umask_and_a_set_group_id_directory_change_nothing() {
    let host = need_host!();
    running(&host, "web", &[], "busybox mkdir /to && busybox chown 0:7 /to && busybox chmod 2777 /to");
    let from = host.path("from");
    std::fs::create_dir(&from).unwrap();
    let modes = [0o600, 0o640, 0o666, 0o644, 0o777, 0o4755, 0o400, 0o000, 0o666];
    for (number, mode) in modes.iter().enumerate() {
        let file = from.join(number.to_string());
        std::fs::write(&file, "x").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(*mode)).unwrap();
    }
    ok(&host.corten(&["cp", &format!("{}/.", from.display()), "web:/to"]));
    let seen = inside(&host, "web", "/to/2");
    assert_eq!(seen, "x");
    let out = host.path("out");
    let args = ["cp", "web:/to", out.to_str().unwrap()];
    let command = host.command(&args);
    let mut masked = std::process::Command::new("sh");
    masked.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
    ok(&masked.output().unwrap());
    for (number, mode) in modes.iter().enumerate() {
        let stat = std::fs::metadata(out.join(number.to_string())).unwrap();
        // Set-id bits do not come along to the host, nor into a container without -a.
        assert_eq!(stat.permissions().mode() & 0o7777, mode & 0o1777, "{mode:o}");
    }
    let owners =
        ok(&host.corten(&["exec", "web", "sh", "-c", "busybox stat -c %u:%g /to/* | busybox sort -u"]));
    assert_eq!(owners.trim(), "0:0");
}

#[test]
fn all_of_one_that_runs_is_without_what_the_kernel_shows() {
    let host = need_host!();
    running(&host, "web", &["--tmpfs", "/data"], "echo kept > /etc/kept; echo here > /data/file");
    let out = host.path("all");
    ok(&host.corten(&["cp", "web:/", out.to_str().unwrap()]));
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    assert_eq!((read("etc/kept"), read("data/file")), ("kept\n".to_owned(), "here\n".to_owned()));
    for empty in ["proc", "sys", "dev/pts", "dev/mqueue"] {
        assert_eq!(std::fs::read_dir(out.join(empty)).unwrap().count(), 0, "{empty}");
    }
    // What is named is looked into.
    let name = host.path("hostname");
    ok(&host.corten(&["cp", "web:/proc/sys/kernel/hostname", name.to_str().unwrap()]));
}
