//! A store of its own with a busybox in it, and the binary that cargo built.

// Each test file takes what it needs.
#![allow(dead_code)]

#[cfg(target_arch = "x86_64")]
pub mod fault;
pub mod pty;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A private root, so that tests neither see nor touch the machine's containers.
pub struct Host {
    pub dir: tempfile::TempDir,
}

/// Why a test cannot run here, if it cannot.
pub fn lacking() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root");
    }
    if !Path::new("/bin/busybox").exists() {
        return Some("needs busybox-static (cargo xtask deps)");
    }
    None
}

/// Runs in a container, for CVE-2019-5736: holds the file of whatever is executed as `spell` open, and when
/// nobody executes it any more (`/tmp/go`) tries to write to it.
pub const SPY: &str = "ln -s /proc/self/exe /bin/spell; touch /tmp/ready; \
    while [ ! -e /tmp/held ]; do for p in /proc/[0-9]*; do read c < $p/comm; [ \"$c\" = spell ] || continue; \
    (exec 9< $p/exe; touch /tmp/held; while [ ! -e /tmp/go ]; do :; done; \
    while :; do (echo evil > /proc/self/fd/9) 2>/tmp/why && echo written > /tmp/result && exit; \
    case $(cat /tmp/why) in *busy*) ;; *) echo refused > /tmp/result; exit;; esac; done); done; done 2>/dev/null; \
    exec sleep 1000";

/// Ends the test, counted as run, with the reason printed.
#[macro_export]
macro_rules! need_host {
    () => {
        match common::lacking() {
            None => common::Host::with_busybox(),
            Some(reason) => {
                eprintln!("skipped: {reason}");
                return;
            }
        }
    };
}

#[allow(dead_code, reason = "each test file uses its part")]
impl Host {
    pub fn with_busybox() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = Self { dir };
        let tree = host.path("tree");
        for sub in ["bin", "etc", "tmp"] {
            std::fs::create_dir_all(tree.join(sub)).unwrap();
        }
        std::fs::copy("/bin/busybox", tree.join("bin/busybox")).unwrap();
        for name in [
            "sh", "cat", "id", "ls", "echo", "env", "sleep", "true", "touch", "rm", "hostname", "mount",
            "readlink", "stat", "mkdir", "ip", "chmod", "mknod", "kill", "dd", "stty", "tty",
        ] {
            std::os::unix::fs::symlink("busybox", tree.join("bin").join(name)).unwrap();
        }
        std::fs::write(
            tree.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/srv/web:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(tree.join("etc/group"), "root:x:0:\nweb:x:1001:\nadm:x:4:web\n").unwrap();
        host.import(&tree, "busybox", &[]);
        host
    }

    /// Another image: busybox as `change` leaves it, with these instructions (`--change`).
    pub fn image(&self, name: &str, changes: &[&str], change: impl FnOnce(&Path)) {
        let tree = self.path(name);
        let copied = Command::new("cp").arg("-a").arg(self.path("tree")).arg(&tree).status();
        assert!(copied.unwrap().success());
        change(&tree);
        self.import(&tree, name, changes);
    }

    fn import(&self, tree: &Path, name: &str, changes: &[&str]) {
        let tar = self.path(&format!("{name}.tar"));
        let made = Command::new("tar").arg("-C").arg(tree).arg("-cf").arg(&tar).arg(".").status();
        assert!(made.unwrap().success());
        let mut args = vec!["import"];
        changes.iter().for_each(|change| args.extend(["--change", change]));
        args.extend([tar.to_str().unwrap(), name]);
        let import = self.corten(&args);
        assert!(import.status.success(), "{}", text(&import.stderr));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_corten"));
        command
            .arg("--root")
            .arg(self.path("root"))
            .arg("--run-root")
            .arg(self.path("run"))
            .args(args)
            .stdin(Stdio::null());
        command
    }

    pub fn corten(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// `run --rm` of busybox with these flags and this script; exit code, stdout, stderr.
    pub fn sh(&self, flags: &[&str], script: &str) -> (i32, String, String) {
        let mut args = vec!["run", "--rm"];
        args.extend(flags);
        args.extend(["busybox", "sh", "-c", script]);
        let output = self.corten(&args);
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// Nothing of a container is left: no directory, lease or cgroup.
    pub fn assert_clean(&self, id_prefixes: &[String]) {
        let count = |path: &str| std::fs::read_dir(self.path(path)).map_or(0, |entries| entries.count());
        assert_eq!(count("root/containers"), 0, "container directories");
        assert_eq!(count("root/names"), 0, "names");
        assert_eq!(count("run/ids"), 0, "leases");
        for id in id_prefixes {
            for dir in ["", "memory", "unified"] {
                let cgroup = Path::new("/sys/fs/cgroup").join(dir).join("corten").join(id);
                assert!(!cgroup.exists(), "{}", cgroup.display());
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.dir.path().to_str().unwrap()), "mounts");
        // Cgroups may be those of another test's containers.
        let doctor = self.corten(&["doctor", "--assert-clean"]);
        let found: Vec<String> = text(&doctor.stdout)
            .lines()
            .filter(|line| !line.starts_with("cgroup "))
            .map(str::to_owned)
            .collect();
        assert!(found.is_empty(), "{found:#?}");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let list = self.corten(&["ps", "-aq"]);
        for id in text(&list.stdout).lines() {
            self.corten(&["rm", "-f", id]);
        }
    }
}

/// The process that has the directory open: a container's monitor, of its directory of the living.
pub fn holder(dir: &Path) -> Option<i32> {
    use std::os::unix::fs::MetadataExt;
    // Not by its path, which another mount namespace may not show.
    let inode = |path: &Path| std::fs::metadata(path).map(|stat| (stat.dev(), stat.ino())).ok();
    let own = Some(inode(dir)?);
    let holds = |pid: &Path| {
        let fds = std::fs::read_dir(pid.join("fd")).into_iter().flatten().flatten();
        fds.into_iter().any(|fd| inode(&fd.path()) == own)
    };
    let mut processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes.find(|pid| holds(pid))?.file_name()?.to_str()?.parse().ok()
}

/// Kills a process and waits until it has ended.
pub fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).unwrap();
    rustix::event::poll(&mut [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)], None)
        .unwrap();
}

/// Waits until it is so, for what has no event of its own to a test.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "{what}");
        std::thread::yield_now();
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
