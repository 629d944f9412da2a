//! `commit` and `diff`, by what a container of the new image sees; whatever happens in between.

mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{Host, text};

#[track_caller]
fn ok(host: &Host, args: &[&str]) -> String {
    let output = host.corten(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// A container that has ended, after a script.
fn ended(host: &Host, name: &str, image: &str, script: &str) {
    ok(host, &["run", "--name", name, image, "sh", "-c", script]);
}

/// An image with a tree to change.
fn image(host: &Host) {
    host.image("base", &["ENV A=1", "LABEL l=1", "CMD [\"sh\"]"], |tree| {
        for path in ["d/one", "d/two", "d/sub/three", "o/old", "gone/x"] {
            std::fs::create_dir_all(tree.join(path).parent().unwrap()).unwrap();
            std::fs::write(tree.join(path), path).unwrap();
        }
    });
}

const CHANGE: &str = "echo new > /d/new; rm /d/one; echo more >> /d/two; rm -r /o; mkdir /o; echo y > /o/young; \
                      rm -r /gone; ln -s /d /link; busybox ln /d/new /d/hard; chown web:web /d/two; chmod 4755 /d/two; \
                      mkdir -m 700 /empty; mknod /pipe p; busybox chown 1000 /d/sub";

#[test]
fn what_was_changed_is_in_the_image() {
    let host = need_host!();
    image(&host);
    ended(&host, "c1", "base", CHANGE);
    let diff = "A /d/hard\nA /d/new\nD /d/one\nC /d/sub\nC /d/two\nA /empty\nD /gone\nA /link\nC /o\nD /o/old\n\
                A /o/young\nA /pipe\n";
    assert_eq!(ok(&host, &["diff", "c1"]), format!("C /d\n{diff}"));
    let id = ok(
        &host,
        &[
            "commit",
            "-a",
            "me",
            "-m",
            "why",
            "-c",
            "ENV B=2",
            "-c",
            "CMD [\"cat\", \"/d/new\"]",
            "c1",
            "made:1",
        ],
    );
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(ok(&host, &["run", "--rm", "made:1"]), "new\n");
    let script = "cd /d; ls; cat two; ls /o; ls -d /gone /d/one; stat -c '%u:%g %a %h' two new /empty sub; cat sub/three; \
                  readlink /link; stat -c %F /pipe; echo $A$B";
    let output = host.corten(&["run", "--rm", "made:1", "sh", "-c", script]);
    let wanted = "hard\nnew\nsub\ntwo\nd/twomore\nyoung\n1000:1001 4755 1\n0:0 644 2\n0:0 700 2\n1000:0 755 1\n\
                  d/sub/three/d\nfifo\n12\n";
    assert_eq!(text(&output.stdout), wanted, "{}", text(&output.stderr));
    let format = "{{.Author}} {{.Config.Labels.l}} {{len .RootFS.Layers}}";
    assert_eq!(ok(&host, &["image", "inspect", "-f", format, "made:1"]), "me 1 2\n");
    // The same again, on top: a layer of a layer.
    ended(&host, "again", "made:1", "rm /o/young; mkdir /gone; echo z > /gone/z");
    assert_eq!(ok(&host, &["diff", "again"]), "A /gone\nA /gone/z\nC /o\nD /o/young\n");
    ok(&host, &["commit", "again", "made:2"]);
    let output = ok(&host, &["run", "--rm", "made:2", "sh", "-c", "ls /o /gone; cat /d/new"]);
    assert_eq!(output, "/gone:\nz\n\n/o:\nnew\n");
    // What a peer makes of it.
    if Command::new("skopeo").arg("--version").output().is_err() {
        eprintln!("skipped in part: needs skopeo");
        return;
    }
    let to = format!("oci:{}:x", host.path("layout").display());
    let from = format!("oci:{}:docker.io/library/made:2", host.path("root").display());
    let copied = Command::new("skopeo").args(["copy", "-q", &from, &to]).output().unwrap();
    assert!(copied.status.success(), "{}", text(&copied.stderr));
}

#[test]
fn one_that_runs_stands_still_and_goes_on() {
    let host = need_host!();
    image(&host);
    let script = "i=0; while true; do i=$((i+1)); echo $i > /a; echo $i > /b; done";
    let id = ok(&host, &["run", "-d", "--name", "c1", "base", "sh", "-c", script]);
    // Until both files are there.
    while ok(&host, &["diff", "c1"]).lines().count() < 2 {}
    for round in 0..5 {
        let name = format!("torn:{round}");
        ok(&host, &["commit", "c1", &name]);
        let both = ok(&host, &["run", "--rm", &name, "sh", "-c", "cat /a /b"]);
        let numbers: Vec<i64> = both.lines().map(|line| line.parse().unwrap_or(-1)).collect();
        // Of one moment: at most the one write between the two apart; one that is just being written is empty.
        assert!(numbers.len() < 2 || (numbers[0] - numbers[1]).abs() <= 1, "{numbers:?}");
    }
    assert!(!frozen(id.trim()));
    let before = ok(&host, &["cp", "c1:/a", "-"]);
    while ok(&host, &["cp", "c1:/a", "-"]) == before {}
    // Killed in the middle: it goes on all the same.
    let mut hits = 0;
    for nth in [1, 3, 6, 10] {
        let output = traced(&host, &["commit", "c1", "killed"], "openat", nth * 8, "signal=KILL");
        hits += usize::from(!output.status.success());
        thawed(id.trim());
    }
    assert!(hits > 0);
    ok(&host, &["commit", "--pause=false", "c1", "moving"]);
}

fn freezer(id: &str) -> Option<std::path::PathBuf> {
    ["freezer/corten", "unified/corten", "corten"]
        .into_iter()
        .flat_map(|dir| {
            ["freezer.state", "cgroup.events"]
                .map(|file| Path::new("/sys/fs/cgroup").join(dir).join(id).join(file))
        })
        .find(|path| path.exists())
}

fn frozen(id: &str) -> bool {
    let events: Vec<String> = ["freezer/corten", "unified/corten", "corten"]
        .into_iter()
        .flat_map(|dir| {
            ["freezer.state", "cgroup.events"]
                .map(|file| Path::new("/sys/fs/cgroup").join(dir).join(id).join(file))
        })
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .collect();
    assert!(freezer(id).is_some());
    events.iter().any(|text| text.contains("FROZEN") || text.contains("frozen 1"))
}

/// The guard has to be awaited: it is nobody's child by then.
fn thawed(id: &str) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while frozen(id) {
        assert!(std::time::Instant::now() < deadline, "it stays frozen");
    }
}

fn traced(host: &Host, args: &[&str], call: &str, nth: usize, fault: &str) -> Output {
    let command = host.command(args);
    Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:{fault}:when={nth}")])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn absent_or_whole(fault: &str, calls: &[&str], least: usize) {
    let host = need_host!();
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("skipped: needs strace (cargo xtask deps)");
        return;
    }
    image(&host);
    ended(&host, "c1", "base", CHANGE);
    let mut hits = 0;
    let names = |path: &str| -> usize { std::fs::read_dir(host.path(path)).map_or(0, Iterator::count) };
    for call in calls {
        // Until the call is not made that often any more, in steps that end.
        for step in 0..7 {
            let nth = 1 + step * step;
            let output = traced(&host, &["commit", "c1", "made"], call, nth, fault);
            let when = format!("{fault} at {call} {nth}: {}", text(&output.stderr));
            assert!(!text(&output.stderr).contains("panicked"), "{when}");
            let listed = ok(&host, &["images", "--format", "{{.Repository}}"]);
            if listed.lines().any(|name| name == "made") {
                assert_eq!(ok(&host, &["run", "--rm", "made", "cat", "/d/new"]), "new\n", "{when}");
                ok(&host, &["rmi", "made"]);
            } else {
                assert!(!output.status.success(), "{when}");
            }
            // The next change collects what was left.
            ok(&host, &["commit", "c1", "next"]);
            ok(&host, &["rmi", "next"]);
            assert_eq!(names("root/tmp"), 0, "{when}");
            assert_eq!((names("root/layers"), names("run")), (2, 3), "{when}");
            hits += usize::from(!output.status.success());
            if output.status.success() {
                break;
            }
        }
    }
    eprintln!("{hits} faults happened");
    assert!(hits >= least, "{hits}");
    ok(&host, &["rm", "c1"]);
    host.assert_clean(&[]);
}

#[test]
fn killed_it_is_absent_or_whole() {
    absent_or_whole(
        "signal=KILL",
        &["mkdirat", "renameat", "syncfs", "fsync", "write", "openat", "mknodat", "unlinkat"],
        12,
    );
}

#[test]
fn on_a_full_disk_it_is_absent() {
    absent_or_whole("error=ENOSPC", &["mkdirat", "renameat", "fsync", "syncfs", "mknodat", "write"], 6);
}

#[test]
fn what_no_image_can_have_is_refused() {
    let host = need_host!();
    image(&host);
    let refused = |args: &[&str], why: &str| {
        let output = host.corten(args);
        let err = text(&output.stderr);
        assert!(!output.status.success() && err.contains(why), "{args:?}: {err}");
    };
    ended(&host, "w1", "base", "touch /d/.wh.two");
    refused(&["commit", "w1"], ".wh.");
    refused(&["commit", "nobody"], "No such container");
    refused(&["commit", "w1", "UPPER"], "must be lower");
    refused(&["commit", "-c", "RUN x", "w1"], "RUN cannot be used here");
    ok(&host, &["run", "--name", "h1", "host", "true"]);
    for command in ["commit", "diff"] {
        refused(&[command, "h1"], "image host");
    }
    assert_eq!(std::fs::read_dir(host.path("root/tmp")).map_or(0, Iterator::count), 0);
}

#[test]
fn steps_are_remembered_and_what_nothing_names_is_pruned() {
    let host = need_host!();
    image(&host);
    ended(&host, "c1", "base", "echo 12345 > /six");
    ok(&host, &["commit", "-m", "first", "c1", "made"]);
    let history = ok(&host, &["history", "--format", "{{.CreatedBy}}|{{.Size}}|{{.Comment}}", "made"]);
    let lines: Vec<_> = history.lines().collect();
    assert!(lines.len() == 2 && lines[0] == "sh -c echo 12345 > /six|6B|first", "{history}");
    // The name moves: what had it has none.
    ok(&host, &["commit", "-m", "second", "c1", "made"]);
    assert_eq!(ok(&host, &["images", "-q", "--filter", "dangling=true"]).lines().count(), 1);
    let out = ok(&host, &["image", "prune", "-f"]);
    assert!(out.starts_with("Deleted Images:\ndeleted: sha256:") && !out.contains("untagged"), "{out}");
    assert_eq!(ok(&host, &["image", "prune", "-f"]), "Total reclaimed space: 0B\n");
    // The base is in use by the container, the other image by nobody.
    let out = ok(&host, &["image", "prune", "-af"]);
    assert!(out.contains("untagged: made:latest") && !out.contains("base"), "{out}");
    assert_eq!(ok(&host, &["run", "--rm", "base", "cat", "/d/one"]), "d/one");
}
