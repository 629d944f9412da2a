//! The power fails while containers run: the store is on an ext4 of its own that forgives nothing
//! (data=writeback, noauto_da_alloc), and a copy of its file is what the next boot finds. The same for the store alone:
//! `corten-store/tests/power_cut.rs`.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{Host, text};

const DIRECTORY: &str = "CORTEN_TEST_POWER_DIRECTORY";

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", text(&output.stderr));
}

/// Corten of the machine whose disk is mounted at `disk`, in the boot `boot`.
struct Machine<'a> {
    disk: &'a Path,
    boot: &'a str,
}

impl Machine<'_> {
    fn corten(&self, args: &[&str]) -> Output {
        let command = &mut Command::new(env!("CARGO_BIN_EXE_corten"));
        let run_root = self.disk.parent().unwrap().join(self.boot);
        command.arg("--root").arg(self.disk.join("root")).arg("--run-root").arg(run_root);
        command.args(args).stdin(std::process::Stdio::null()).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.corten(args);
        assert!(output.status.success(), "{}: {args:?}: {}", self.boot, text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    }
}

fn mount(image: &Path, at: &Path) {
    std::fs::create_dir_all(at).unwrap();
    let options = "loop,data=writeback,noauto_da_alloc,commit=300,noatime";
    run("mount", &["-t", "ext4", "-o", options, image.to_str().unwrap(), at.to_str().unwrap()]);
}

/// Not a test: runs in a mount namespace of its own.
#[test]
fn cut() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let dir: &Path = dir.as_ref();
    let (image, disk) = (dir.join("image"), dir.join("disk"));
    run("truncate", &["-s", "64M", image.to_str().unwrap()]);
    run("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]);
    mount(&image, &disk);
    let live = Machine { disk: &disk, boot: "first" };
    live.ok(&["import", dir.join("tree.tar").to_str().unwrap(), "busybox"]);
    let script = "echo hello > /hello; sync; echo written; sleep 1000";
    live.ok(&["run", "-d", "--name", "ran", "busybox", "sh", "-c", script]);
    live.ok(&["run", "-d", "--rm", "--name", "gone", "busybox", "sleep", "1000"]);
    live.ok(&["create", "--name", "first-name", "busybox", "echo", "it starts"]);
    live.ok(&["rename", "first-name", "made"]);
    let ended = live.corten(&["run", "--name", "ended", "busybox", "sh", "-c", "exit 3"]);
    assert_eq!(ended.status.code(), Some(3), "{}", text(&ended.stderr));
    live.ok(&["volume", "create", "data"]);
    // `logs -f` ends only with the container: its first line is what is awaited.
    while live.ok(&["logs", "ran"]).is_empty() {}
    let copy = |name: &str| {
        let to = dir.join(name);
        run("cp", &["--sparse=always", image.to_str().unwrap(), to.to_str().unwrap()]);
        to
    };
    let as_it_is = copy("as-it-is");
    // Has the journal written, and the content of no file.
    std::fs::File::create(disk.join("journal")).unwrap().sync_all().unwrap();
    let names_alone = copy("names-alone");
    // Everything that ran ends, as at a power cut.
    live.ok(&["rm", "-f", "ran", "gone"]);
    for (cut, boot) in [(as_it_is, "after"), (names_alone, "after-names")] {
        let disk = dir.join(format!("{boot}-disk"));
        mount(&cut, &disk);
        let after = Machine { disk: &disk, boot };
        let state = |name: &str| {
            after.ok(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}", name])
        };
        assert!(state("made").starts_with("created 0"), "{boot}: {}", state("made"));
        assert!(state("ended").starts_with("exited 3"), "{boot}: {}", state("ended"));
        if boot == "after-names" {
            assert_eq!(state("ran"), "exited 255 the machine went down while it ran");
            let shown = after.ok(&["ps", "-a", "--filter", "name=ran", "--format", "{{.Status}}"]);
            assert!(shown.starts_with("Exited (255) "), "{shown}");
        }
        assert!(!after.corten(&["inspect", "gone"]).status.success());
        after.ok(&["volume", "inspect", "data"]);
        // What it had synced is there.
        after.ok(&["start", "ran"]);
        assert_eq!(after.ok(&["exec", "ran", "cat", "/hello"]), "hello");
        assert_eq!(after.ok(&["start", "-a", "made"]), "it starts");
        for name in ["gone", "first-name"] {
            after.ok(&["run", "--name", name, "busybox", "true"]);
        }
        after.ok(&["rm", "-f", "ran", "made", "ended", "gone", "first-name"]);
        let left: Vec<_> = std::fs::read_dir(disk.join("root/containers")).unwrap().collect();
        assert!(left.is_empty(), "{boot}: {left:?}");
        run("umount", &[disk.to_str().unwrap()]);
    }
    live.ok(&["rm", "-f", "made", "ended"]);
    run("umount", &[disk.to_str().unwrap()]);
}

#[test]
fn containers_are_there_at_the_next_boot() {
    let host: Host = need_host!();
    let has = |program: &str| Command::new(program).arg("-V").output().is_ok();
    if !has("mkfs.ext4") || !has("unshare") || !Path::new("/dev/loop-control").exists() {
        eprintln!("skipped: needs mkfs.ext4, unshare and loop devices");
        return;
    }
    let dir = host.path("machine");
    std::fs::create_dir(&dir).unwrap();
    std::fs::copy(host.path("busybox.tar"), dir.join("tree.tar")).unwrap();
    let output = Command::new("unshare")
        .args(["-m", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "cut", "--nocapture"])
        .env(DIRECTORY, &dir)
        .output()
        .unwrap();
    let text = text(&output.stderr) + &text(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
