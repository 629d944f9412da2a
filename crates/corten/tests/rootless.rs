//! Ordinary users: what works for root works for them, by its effects, with more ids (newuidmap) and with one.

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::text;

/// Neither of the machine's users, nor granted ids by it.
const UID: u32 = 1_999_000_123;
const FIRST: u32 = 2_000_000_000;

/// How many ids the user has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ids {
    /// A range in /etc/subuid, and newuidmap(1).
    Many,
    /// No grant.
    NoGrant,
    /// A grant, and no newuidmap(1) in PATH.
    NoProgram,
}

impl Ids {
    fn many(self) -> bool {
        self == Ids::Many
    }
}

/// A user with a home and an image, who exists in the mount namespaces of this test only.
struct User {
    host: common::Host,
    ids: Ids,
}

impl User {
    fn new(ids: Ids) -> Option<Self> {
        if let Some(reason) = common::lacking() {
            eprintln!("skipped: {reason}");
            return None;
        }
        for program in ["/usr/bin/setpriv", "/usr/bin/newuidmap", "/usr/bin/unshare"] {
            if !Path::new(program).exists() {
                eprintln!("skipped: needs {program} (cargo xtask deps)");
                return None;
            }
        }
        let host = common::Host::with_busybox();
        let open = |path: &Path| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        open(host.dir.path());
        std::fs::copy(env!("CARGO_BIN_EXE_corten"), host.path("corten")).unwrap();
        open(&host.path("corten"));
        let home = host.path("home");
        std::fs::create_dir(&home).unwrap();
        chown(&home, Some(UID), Some(UID)).unwrap();
        let mut passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        passwd += &format!("corten-test:x:{UID}:{UID}::{}:/bin/sh\n", home.display());
        std::fs::write(host.path("passwd"), passwd).unwrap();
        std::fs::write(host.path("subid"), format!("corten-test:{FIRST}:65536\n")).unwrap();
        std::fs::write(host.path("none"), "").unwrap();
        let user = Self { host, ids };
        let tar = std::fs::File::open(user.host.path("busybox.tar")).unwrap();
        let import = user.command(&["corten", "import", "-", "busybox"]).stdin(tar).output().unwrap();
        assert!(import.status.success(), "{}", text(&import.stderr));
        Some(user)
    }

    fn home(&self) -> PathBuf {
        self.host.path("home")
    }

    fn store(&self) -> PathBuf {
        self.home().join(".local/share/corten")
    }

    /// A command line as the user. Nothing of the machine is changed: the files are mounted for it alone, and
    /// everything is on another mount than /, as a home often is.
    fn command(&self, args: &[&str]) -> Command {
        self.command_in_groups("--clear-groups", args)
    }

    fn command_in_groups(&self, groups: &str, args: &[&str]) -> Command {
        let (subid, path) = match self.ids {
            Ids::Many => ("subid", "$D:/usr/bin:/bin"),
            Ids::NoGrant => ("none", "$D:/usr/bin:/bin"),
            Ids::NoProgram => ("subid", "$D:/bin/nowhere"),
        };
        let script = format!(
            "mount --bind \"$D\" \"$D\" && mount --bind \"$D/passwd\" /etc/passwd || exit 99; for f in /etc/subuid /etc/subgid; do [ -e $f ] || continue; mount --bind \
             \"$D/{subid}\" $f || exit 99; done; cd \"$D/home\" && exec /usr/bin/setpriv --reuid={UID} --regid={UID} {groups} \
             /usr/bin/env -i HOME=\"$D/home\" PATH=\"{path}\" \"$@\""
        );
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["-m", "/bin/sh", "-c", &script, "sh"]).args(args);
        command.env("D", self.host.dir.path()).stdin(Stdio::null());
        command
    }

    fn corten(&self, args: &[&str]) -> Output {
        self.command(&[&["corten"], args].concat()).output().unwrap()
    }

    /// `run --rm` of busybox; exit code, stdout, stderr.
    fn sh(&self, flags: &[&str], script: &str) -> (i32, String, String) {
        let args = [&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat();
        let output = self.corten(&args);
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// Nothing of a container is left.
    fn assert_clean(&self) {
        for name in ["containers", "names", "run"] {
            let list = std::fs::read_dir(self.store().join(name)).into_iter().flatten().flatten();
            // `swept` says that nothing of an earlier boot is left.
            let left: Vec<_> = list
                .map(|entry| entry.file_name())
                .filter(|name| name != "swept" && name != "events")
                .collect();
            assert!(left.is_empty(), "{name}: {left:?} ({:?})", self.ids);
        }
    }

    fn pid(&self, name: &str) -> String {
        let output = self.corten(&["inspect", "-f", "{{.State.Pid}}", name]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let list = self.corten(&["ps", "-aq"]);
        for id in text(&list.stdout).lines() {
            self.corten(&["rm", "-f", id]);
        }
    }
}

fn each(ids: &[Ids], test: impl Fn(&User)) {
    for &ids in ids {
        if let Some(user) = User::new(ids) {
            test(&user);
        }
    }
}

const ALL: [Ids; 3] = [Ids::Many, Ids::NoGrant, Ids::NoProgram];
const BOTH: [Ids; 2] = [Ids::Many, Ids::NoGrant];

/// The numbers of a map, as the reader's namespace sees them.
fn map(text: &str) -> Vec<Vec<u32>> {
    let line = |line: &str| line.split_whitespace().map(|number| number.parse().unwrap()).collect();
    text.lines().map(line).collect()
}

#[test]
fn root_inside_is_the_user_outside() {
    each(&ALL, |user| {
        let (code, out, err) = user.sh(&[], "id -u; id -G; cat /proc/self/setgroups");
        let groups = if user.ids.many() { "allow" } else { "deny" };
        assert_eq!((code, out.as_str()), (0, format!("0\n0\n{groups}\n").as_str()), "{err}");
        assert_eq!(
            user.corten(&["run", "-d", "--name", "web", "busybox", "sleep", "1000"]).status.code(),
            Some(0)
        );
        let pid = user.pid("web");
        let proc = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
        let mut want = vec![vec![0, UID, 1]];
        if user.ids.many() {
            want.push(vec![1, FIRST, 65_536]);
        }
        assert_eq!((map(&proc("uid_map")), map(&proc("gid_map"))), (want.clone(), want));
        let status = proc("status");
        assert!(status.contains(&format!("Uid:\t{UID}\t{UID}\t{UID}\t{UID}\n")), "{status}");
        // The engine's own namespace is another, in which the container has no capability.
        let namespace = std::fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
        let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).unwrap();
        assert_ne!(std::fs::read_link(format!("/proc/{monitor}/ns/user")).unwrap(), namespace);
        assert_eq!(user.corten(&["rm", "-f", "web"]).status.code(), Some(0));
        user.assert_clean();
    });
}

#[test]
fn exit_codes_are_dockers() {
    each(&BOTH, |user| {
        assert_eq!(user.sh(&[], "exit 7").0, 7);
        assert_eq!(user.sh(&[], "kill -9 $$").0, 137);
        for (args, code) in [
            (&["busybox", "/nope"][..], 127),
            (&["busybox", "/etc"], 126),
            (&["absent"], 125),
            (&["--nope", "busybox"], 125),
            (&["-u", "ghost", "busybox"], 125),
        ] {
            let output = user.corten(&[&["run", "--rm"], args].concat());
            assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stderr));
        }
        user.assert_clean();
    });
}

#[test]
fn what_is_written_to_a_bind_is_the_users() {
    each(&BOTH, |user| {
        let data = user.home().join("data");
        std::fs::create_dir(&data).unwrap();
        chown(&data, Some(UID), Some(UID)).unwrap();
        let volume = format!("{}:/data", data.display());
        let (code, out, err) =
            user.sh(&["-v", &volume], "touch /data/file; chmod 777 /data; stat -c '%u %g' /data/file");
        assert_eq!((code, out.as_str()), (0, "0 0\n"), "{err}");
        let owner = |name: &str| data.join(name).metadata().map(|stat| (stat.uid(), stat.gid())).unwrap();
        assert_eq!(owner("file"), (UID, UID));
        let (code, _, err) = user.sh(&["-v", &volume, "-u", "web"], "touch /data/web");
        if user.ids.many() {
            assert_eq!((code, owner("web")), (0, (FIRST + 999, FIRST + 1000)), "{err}");
        } else {
            assert_eq!(code, 125);
            assert!(err.contains("user 1000") && err.contains("/etc/subuid"), "{err}");
        }
        // What the user may not read on the machine, the container may not either.
        let secret = user.host.path("secret");
        std::fs::write(&secret, "x").unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let volume = format!("{}:/secret", secret.display());
        let (_, out, _) =
            user.sh(&["-v", &volume, "--privileged"], "cat /secret || echo closed; stat -c %u /secret");
        assert_eq!(out, "closed\n65534\n");
        user.assert_clean();
    });
}

#[test]
fn a_container_lives_on_without_its_client_and_is_found_by_the_next_command() {
    each(&BOTH, |user| {
        let fifo = user.home().join("ready");
        assert!(Command::new("mkfifo").args(["-m", "666"]).arg(&fifo).status().unwrap().success());
        let volume = format!("{}:/ready", fifo.display());
        let args = [
            "corten",
            "run",
            "--name",
            "web",
            "-v",
            &volume,
            "busybox",
            "sh",
            "-c",
            "echo up > /ready; exec sleep 1000",
        ];
        let read = std::fs::File::options().read(true).write(true).open(&fifo).unwrap();
        let mut client = user.command(&args).stdout(Stdio::null()).spawn().unwrap();
        let mut fds = [rustix::event::PollFd::new(&read, rustix::event::PollFlags::IN)];
        let minute = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut fds, Some(&minute)), Ok(1), "the container does not run");
        // `unshare` and `setpriv` have become the client by exec.
        client.kill().unwrap();
        client.wait().unwrap();
        let list = user.corten(&["ps", "--format", "{{.Names}} {{.State}}"]);
        assert_eq!(text(&list.stdout), "web running\n", "{}", text(&list.stderr));
        let refused = user.corten(&["rm", "web"]);
        assert!(text(&refused.stderr).contains("container is running"), "{}", text(&refused.stderr));
        let removed = user.corten(&["rm", "-f", "web"]);
        assert_eq!(text(&removed.stdout), "web\n", "{}", text(&removed.stderr));
        user.assert_clean();
    });
}

#[test]
fn other_ids_of_the_user_are_ended_and_removed_too() {
    each(&[Ids::Many], |user| {
        // A process 1 that is not the user's own id.
        let flags = ["run", "-d", "--name", "web", "-u", "web", "--init=false", "busybox", "sleep", "1000"];
        let made = user.corten(&flags);
        assert!(made.status.success(), "{}", text(&made.stderr));
        let pid = user.pid("web");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains(&format!("Uid:\t{0}\t{0}\t{0}\t{0}\n", FIRST + 999)), "{status}");
        assert_eq!(user.corten(&["rm", "-f", "web"]).status.code(), Some(0));
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        // A directory that the user may neither enter nor empty.
        let script = "mkdir -m 700 /x; touch /x/y; busybox chown -R 1000:1001 /x";
        let made = user.corten(&["run", "--name", "web", "busybox", "sh", "-c", script]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        let container = std::fs::read_dir(user.store().join("containers")).unwrap().next().unwrap().unwrap();
        assert_eq!(container.path().join("upper/x").metadata().unwrap().uid(), FIRST + 999);
        assert_eq!(user.corten(&["rm", "web"]).status.code(), Some(0));
        user.assert_clean();
    });
}

#[test]
fn an_image_of_several_owners() {
    each(&BOTH, |user| {
        assert_eq!(user.corten(&["rmi", "busybox"]).status.code(), Some(0));
        let tree = user.host.path("tree");
        std::fs::write(tree.join("five"), "5").unwrap();
        chown(tree.join("five"), Some(5), Some(6)).unwrap();
        std::fs::write(tree.join("web"), "w").unwrap();
        chown(tree.join("web"), Some(1000), Some(1001)).unwrap();
        std::fs::set_permissions(tree.join("web"), std::fs::Permissions::from_mode(0o600)).unwrap();
        // Through root's own store, whose directory is an OCI image layout, and `load`.
        let tar = user.host.path("owners.tar");
        let made = Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&tar).arg(".").status().unwrap();
        assert!(made.success());
        let import = user.host.corten(&["import", tar.to_str().unwrap(), "owners"]);
        assert!(import.status.success(), "{}", text(&import.stderr));
        let layout = user.host.path("layout.tar");
        let made = Command::new("tar")
            .arg("-C")
            .arg(user.host.path("root"))
            .arg("-cf")
            .arg(&layout)
            .args(["oci-layout", "index.json", "blobs"])
            .status()
            .unwrap();
        assert!(made.success());
        let input = std::fs::File::open(&layout).unwrap();
        let load = user.command(&["corten", "load"]).stdin(input).output().unwrap();
        assert!(text(&load.stdout).contains("owners:latest"), "{}", text(&load.stderr));
        let output = user.corten(&["run", "--rm", "owners", "stat", "-c", "%u %g %a", "/five", "/web"]);
        let want = if user.ids.many() { "5 6 644\n1000 1001 600\n" } else { "0 0 644\n0 0 600\n" };
        assert_eq!(text(&output.stdout), want, "{}", text(&output.stderr));
        let images = user.corten(&["images", "--format", "{{.Repository}}"]);
        assert_eq!(text(&images.stdout).lines().count(), 2, "{}", text(&images.stdout));
        for image in ["owners", "busybox"] {
            let removed = user.corten(&["rmi", image]);
            assert!(text(&removed.stdout).contains("Deleted: "), "{}", text(&removed.stderr));
        }
        for name in ["layers", "tmp", "blobs/sha256"] {
            assert_eq!(std::fs::read_dir(user.store().join(name)).unwrap().count(), 0, "{name}");
        }
    });
}

#[test]
fn what_only_root_can_give_is_refused_by_name() {
    each(&BOTH, |user| {
        let home = user.home();
        let idmap = format!("{}:/x:idmap", home.display());
        let mut cases = vec![
            (["--userns", "host"], "--userns host"),
            (["--oom-score-adj", "-999"], "--oom-score-adj"),
            (["--ulimit", "nofile=999999999"], "--ulimit nofile=999999999"),
            (["--device-cgroup-rule", "c 1:3 r"], "--device-cgroup-rule"),
            (["--device", "/dev/null:/dev/nul:r"], "--device /dev/null:"),
            (["-v", &idmap], "an idmapped bind"),
        ];
        if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            // Nothing is delegated on v1 and hybrid hosts.
            cases.extend([
                (["--memory", "64m"], "--memory is refused"),
                (["--memory-reservation", "64m"], "--memory-reservation is refused"),
                (["--cpus", "1"], "--cpus is refused"),
                (["--cpu-shares", "5"], "--cpu-shares is refused"),
                (["--cpuset-cpus", "0"], "--cpuset-cpus is refused"),
                (["--pids-limit", "20"], "--pids-limit is refused"),
                (["--blkio-weight", "20"], "--blkio-weight"),
                (["--cgroup-parent", "x"], "--cgroup-parent is refused"),
            ]);
        }
        if !user.ids.many() {
            cases.push((["--group-add", "adm"], "--group-add"));
        }
        for (flags, named) in cases {
            let (code, out, err) = user.sh(&flags, "true");
            assert_eq!((code, out.as_str()), (125, ""), "{flags:?}");
            assert!(err.contains(named), "{flags:?}: {err}");
        }
        user.assert_clean();
    });
}

#[test]
fn the_rest_works_as_for_root() {
    each(&BOTH, |user| {
        for (flags, script, want) in [
            (&["--hostname", "here"][..], "hostname", "here\n"),
            (
                &["--network", "host"],
                "ls -d /sys/class/net/lo; touch /sys/x 2>/dev/null || echo refused",
                "/sys/class/net/lo\nrefused\n",
            ),
            (
                &["--pid", "host"],
                "readlink /proc/1/ns/pid >/dev/null 2>&1 || echo hidden; [ $$ -gt 1 ] && echo far",
                "hidden\nfar\n",
            ),
            (&["--sysctl", "net.ipv4.ip_forward=1"], "cat /proc/sys/net/ipv4/ip_forward", "1\n"),
            (
                &["--read-only", "--tmpfs", "/scratch"],
                "touch /x 2>/dev/null; touch /scratch/x && echo wrote",
                "wrote\n",
            ),
            (&["--ulimit", "nofile=64:64"], "ulimit -n", "64\n"),
            (&["--oom-score-adj", "1000"], "cat /proc/self/oom_score_adj", "1000\n"),
            (
                &["--device", "/dev/zero:/dev/sub/zed"],
                "dd if=/dev/sub/zed bs=3 count=1 2>/dev/null | wc -c",
                "3\n",
            ),
            (&["--init=false"], "echo $$", "1\n"),
            (&["-e", "A=b", "-w", "/new"], "echo $A $(pwd)", "b /new\n"),
            (
                &[],
                "ip -o addr | grep -c 'inet '; echo x > /dev/null; cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
                "1\n0\n",
            ),
            (&[], "rm -rf /bin; echo gone", "gone\n"),
            (&[], "rm /etc/passwd; cat /etc/passwd 2>/dev/null || echo whiteout", "whiteout\n"),
        ] {
            let (code, out, err) = user.sh(flags, script);
            assert_eq!((code, out.as_str()), (0, want), "{flags:?}: {err}");
        }
        let caps = "while read k v; do case $k in CapEff:|Seccomp:) echo $v;; esac; done < /proc/self/status";
        assert_eq!(user.sh(&[], caps).1, "00000000a80425fb\n2\n");
        // All of its own user namespace, none of the machine's.
        let (_, out, _) = user.sh(
            &["--privileged"],
            &format!(
                "{caps}; mount -t tmpfs t /tmp && echo own; mknod /tmp/k c 1 11 2>/dev/null || echo machine"
            ),
        );
        assert_eq!(out, "000001ffffffffff\n0\nown\nmachine\n");
        user.assert_clean();
    });
}

#[test]
fn the_machine_itself_as_an_image() {
    each(&BOTH, |user| {
        let script = "id -u; [ -e /etc/shadow ] || echo no shadow; [ -e /usr/bin/env ] && echo programs; ls /home | wc -l; \
                      find /usr /etc ! -type l ! -perm -o=r 2>/dev/null | wc -l; rm -rf /usr/bin/env 2>/dev/null; true";
        let output = user.corten(&["run", "--rm", "host", "sh", "-c", script]);
        assert_eq!(text(&output.stdout), "0\nno shadow\nprograms\n0\n0\n", "{}", text(&output.stderr));
        assert!(Path::new("/usr/bin/env").exists());
        user.assert_clean();
    });
}

#[test]
fn init_has_no_group_of_who_started_it() {
    let groups = "while read k v; do case $k in Groups:) echo \"[$v]\";; esac; done < /proc/1/status";
    each(&[Ids::Many], |user| {
        // As root, and as a user who is in groups, of which a container's root could make use by ptrace(2).
        let root = [
            "--root",
            user.host.path("root").to_str().unwrap(),
            "--run-root",
            user.host.path("run").to_str().unwrap(),
        ]
        .map(str::to_owned);
        let run = ["run", "--rm", "busybox", "sh", "-c", groups];
        let output = Command::new("setpriv")
            .args(["--groups=0,7,8", env!("CARGO_BIN_EXE_corten")])
            .args(root)
            .args(run)
            .output()
            .unwrap();
        assert_eq!(text(&output.stdout), "[]\n", "{}", text(&output.stderr));
        let mut command = user.command_in_groups("--groups=7,8", &[&["corten"], &run[..]].concat());
        let output = command.output().unwrap();
        assert_eq!(text(&output.stdout), "[]\n", "{}", text(&output.stderr));
    });
}

#[test]
fn the_users_own_binary_cannot_be_written_from_inside() {
    // CVE-2019-5736; here the container's root is the one who owns the file.
    each(&BOTH, |user| {
        let own = user.home().join("own");
        std::fs::copy(env!("CARGO_BIN_EXE_corten"), &own).unwrap();
        chown(&own, Some(UID), Some(UID)).unwrap();
        let script = "(echo evil > /proc/1/exe) 2>/dev/null || echo refused";
        let args = [own.to_str().unwrap(), "run", "--rm", "busybox", "sh", "-c", script];
        let output = user.command(&args).output().unwrap();
        assert_eq!(text(&output.stdout), "refused\n", "{}", text(&output.stderr));
        assert_eq!(
            own.metadata().unwrap().len(),
            Path::new(env!("CARGO_BIN_EXE_corten")).metadata().unwrap().len()
        );
    });
}

#[test]
fn limits_hold_in_a_delegated_cgroup() {
    let unified = Path::new("/sys/fs/cgroup");
    if !unified.join("cgroup.controllers").exists() {
        eprintln!("skipped: needs a pure cgroup v2 host (tests/uml/boot.sh is one)");
        return;
    }
    let wanted = "+memory +pids +cpu";
    let delegated = unified.join(format!("corten-test-{}", std::process::id()));
    let leaf = delegated.join("leaf");
    std::fs::write(unified.join("cgroup.subtree_control"), wanted).unwrap();
    std::fs::create_dir_all(&leaf).unwrap();
    std::fs::write(delegated.join("cgroup.subtree_control"), wanted).unwrap();
    // As systemd delegates: the directory and three files.
    for dir in [&delegated, &leaf] {
        for name in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
            chown(dir.join(name), Some(UID), Some(UID)).unwrap();
        }
    }
    each(&BOTH, |user| {
        let run = |flags: &[&str], script: &str| {
            let join = "echo $$ > \"$L/cgroup.procs\" && exec \"$@\"";
            let inner =
                user.command(&[&["corten", "run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat());
            let mut command = Command::new("sh");
            command.args(["-c", join, "sh"]).arg(inner.get_program()).args(inner.get_args());
            command.env("D", user.host.dir.path()).env("L", &leaf);
            let output = command.output().unwrap();
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        };
        let script = "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max; cat /proc/self/cgroup";
        let (code, out, err) = run(&["-m", "32m", "--pids-limit", "9", "--cpus", "0.5"], script);
        assert_eq!((code, out.as_str()), (Some(0), "33554432\n9\n50000 100000\n0::/\n"), "{err}");
        let (code, _, err) = run(&["-m", "16m"], "dd if=/dev/zero of=/dev/shm/x bs=1M count=50 2>/dev/null");
        assert_eq!(code, Some(137), "{err}");
        assert!(err.contains("memory limit was reached"), "{err}");
        // Outside of what was delegated.
        let (code, _, err) = user.sh(&["-m", "32m"], "true");
        assert_eq!(code, 125);
        assert!(err.contains("--memory is refused"), "{err}");
    });
    let left = |dir: &Path| {
        std::fs::read_dir(dir).map_or(0, |list| list.flatten().filter(|e| e.path().is_dir()).count())
    };
    assert_eq!(left(&delegated.join("corten")), 0, "a container's cgroup");
    for dir in [delegated.join("corten"), leaf, delegated] {
        if dir.exists() {
            std::fs::remove_dir(dir).unwrap();
        }
    }
}

#[test]
fn a_directory_of_somebody_else_is_refused() {
    each(&[Ids::NoGrant], |user| {
        let theirs = user.host.path("theirs");
        std::fs::create_dir(&theirs).unwrap();
        std::fs::set_permissions(&theirs, std::fs::Permissions::from_mode(0o777)).unwrap();
        let theirs = theirs.to_str().unwrap();
        for flag in ["--root", "--run-root"] {
            let output = user.corten(&[flag, theirs, "ps"]);
            assert_eq!(output.status.code(), Some(125));
            assert!(text(&output.stderr).contains("it belongs to user 0"), "{}", text(&output.stderr));
        }
        let closed = user.host.path("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
        let home = format!("HOME={}", closed.display());
        let output = user.command(&["env", &home, "corten", "ps"]).output().unwrap();
        let err = text(&output.stderr);
        assert!(err.contains("EACCES") && err.contains("XDG_DATA_HOME"), "{err}");
        let shared = user.home().join("shared");
        std::fs::create_dir(&shared).unwrap();
        chown(&shared, Some(UID), Some(UID)).unwrap();
        std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o775)).unwrap();
        let output = user.corten(&["--root", shared.to_str().unwrap(), "images"]);
        assert!(text(&output.stderr).contains("others can write to it"), "{}", text(&output.stderr));
    });
}

#[test]
fn a_store_with_other_ids_is_refused_and_one_with_fewer_taken() {
    each(&[Ids::Many], |user| {
        let path = format!("PATH={}", user.host.dir.path().display());
        let args = ["env", &path, "corten", "run", "--rm", "busybox", "true"];
        let output = user.command(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        let err = text(&output.stderr);
        assert!(err.contains("newuidmap") && err.contains(&FIRST.to_string()), "{err}");
    });
    each(&[Ids::NoGrant], |user| {
        // By number, as it is for users of a directory service.
        std::fs::write(user.host.path("none"), format!("{UID}:{FIRST}:65536\n")).unwrap();
        assert_eq!(user.sh(&["-u", "web"], "id -u").1, "1000\n");
    });
}

#[test]
fn a_machine_that_keeps_user_namespaces_to_root_says_what_to_change() {
    each(&[Ids::Many], |user| {
        let home = user.host.path("limited");
        std::fs::create_dir(&home).unwrap();
        chown(&home, Some(FIRST + 999), Some(FIRST + 999)).unwrap();
        // In a user namespace of the test's own the limit can be set without changing the machine's.
        let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --reuid=1000 --regid=1000 \
                      --clear-groups corten --root \"$1\" run --rm host true";
        let args = ["unshare", "--user", "--map-root-user", "--map-auto", "sh", "-c", script, "sh"];
        let output =
            user.command(&[&args[..], &[home.join("root").to_str().unwrap()]].concat()).output().unwrap();
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{err}");
        assert!(err.contains("ENOSPC") && err.contains("user.max_user_namespaces"), "{err}");
    });
}

#[test]
fn what_newuidmap_says_is_passed_on() {
    each(&[Ids::NoGrant], |user| {
        // A grant that newuidmap does not see: it reads the machine's file, as it must.
        let fake = user.host.path("newuidmap");
        for name in ["newuidmap", "newgidmap"] {
            let path = user.host.path(name);
            std::fs::write(&path, "#!/bin/sh\necho \"no, $2 $3 $4\" >&2\nexit 1\n").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::write(user.host.path("none"), format!("{UID}:{FIRST}:65536\n")).unwrap();
        let (code, _, err) = user.sh(&[], "true");
        assert_eq!(code, 125);
        let want = format!("no, 0 {UID} 1");
        assert!(err.contains(&want) && err.contains(fake.to_str().unwrap()), "{err}");
        assert!(!user.store().join("containers").exists());
    });
}

#[test]
fn root_of_another_user_namespace_is_an_ordinary_user() {
    each(&[Ids::NoGrant], |user| {
        let args =
            ["unshare", "--user", "--map-root-user", "corten", "run", "--rm", "busybox", "sh", "-c", "id -u"];
        let output = user.command(&args).output().unwrap();
        assert_eq!(text(&output.stdout), "0\n", "{}", text(&output.stderr));
        user.assert_clean();
    });
}

#[test]
fn a_command_is_executed_in_a_container() {
    each(&ALL, |user| {
        for (name, flags) in [("web", &[][..]), ("hosts", &["--pid", "host", "--network", "host"])] {
            let run = [&["run", "-d", "--name", name], flags, &["busybox", "sleep", "1000"]].concat();
            let output = user.corten(&run);
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            let script = "id -u; id -G; for kind in user mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$kind; \
                          done; exit 5";
            let output = user.corten(&["exec", name, "sh", "-c", script]);
            assert_eq!(output.status.code(), Some(5), "{name} {:?}: {}", user.ids, text(&output.stderr));
            let pid = user.pid(name);
            let mut want = vec!["0".to_owned(), "0".to_owned()];
            for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
                let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
                want.push(link.display().to_string());
            }
            assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), want, "{name} {:?}", user.ids);
        }
        let output = user.corten(&["exec", "-u", "web", "web", "id"]);
        if user.ids.many() {
            assert_eq!(text(&output.stdout), "uid=1000(web) gid=1001(web) groups=4(adm),1001(web)\n");
        } else {
            assert_eq!(output.status.code(), Some(126));
            assert!(text(&output.stderr).contains("user 1000 is not there"), "{}", text(&output.stderr));
        }
        let output = user.corten(&["exec", "-t", "web", "sh", "-c", "tty; stat -c %u /dev/pts/0"]);
        assert_eq!(text(&output.stdout), "/dev/pts/0\r\n0\r\n", "{}", text(&output.stderr));
        // It ends with the container, also where that has no process ids of its own.
        for name in ["web", "hosts"] {
            let up = user.corten(&["exec", "-d", name, "sleep", "983"]);
            assert_eq!(up.status.code(), Some(0), "{}", text(&up.stderr));
            assert_eq!(user.corten(&["rm", "-f", name]).status.code(), Some(0));
        }
        let gone = || {
            let entries = std::fs::read_dir("/proc").unwrap().flatten();
            entries
                .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
                .all(|line| line != b"sleep\x00983\x00")
        };
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !gone() {
            assert!(std::time::Instant::now() < until, "the command outlived its container");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        user.assert_clean();
    });
}

#[test]
fn the_users_own_binary_cannot_be_written_through_an_exec() {
    // CVE-2019-5736, as above: a link has the new process execute itself, whose file is then the container's.
    each(&BOTH, |user| {
        let own = user.home().join("own");
        std::fs::copy(env!("CARGO_BIN_EXE_corten"), &own).unwrap();
        chown(&own, Some(UID), Some(UID)).unwrap();
        let run = user.corten(&["run", "-d", "--name", "web", "busybox", "sh", "-c", common::SPY]);
        assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
        let is_there = |file: &str| user.corten(&["exec", "web", "ls", file]).status.success();
        let eventually = |what: &str, is_so: &dyn Fn() -> bool| {
            let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
            while !is_so() {
                assert!(std::time::Instant::now() < until, "{what}");
            }
        };
        eventually("it is ready", &|| is_there("/tmp/ready"));
        eventually("it is held", &|| {
            user.command(&[own.to_str().unwrap(), "exec", "web", "spell", "--help"]).output().unwrap();
            is_there("/tmp/held")
        });
        assert!(user.corten(&["exec", "web", "touch", "/tmp/go"]).status.success());
        eventually("it was tried", &|| is_there("/tmp/result"));
        let result = user.corten(&["exec", "web", "cat", "/tmp/result"]);
        assert_eq!(text(&result.stdout), "refused\n", "{:?}", user.ids);
        assert!(std::fs::read(&own).unwrap() == std::fs::read(env!("CARGO_BIN_EXE_corten")).unwrap());
        assert_eq!(user.corten(&["rm", "-f", "web"]).status.code(), Some(0));
    });
}

#[test]
fn files_go_in_and_out_and_become_images() {
    for ids in [Ids::Many, Ids::NoGrant, Ids::NoProgram] {
        let Some(user) = User::new(ids) else { return };
        let ok = |args: &[&str]| {
            let output = user.corten(args);
            assert!(output.status.success(), "{ids:?} {args:?}: {}", text(&output.stderr));
            text(&output.stdout)
        };
        let script = "echo x > /x; rm /etc/group; mkdir /d; touch /d/f; chown 1000 /d/f 2>/dev/null; echo r > /ready; \
                      exec sleep 1000";
        ok(&["run", "-d", "--name", "runs", "busybox", "sh", "-c", script]);
        while !user.corten(&["cp", "runs:/ready", "-"]).status.success() {}
        std::fs::write(user.home().join("in"), "from home").unwrap();
        for state in ["running", "stopped"] {
            ok(&["cp", "in", "runs:/in"]);
            ok(&["cp", "runs:/d", state]);
            ok(&["cp", "runs:/in", "back"]);
            assert_eq!(std::fs::read_to_string(user.home().join("back")).unwrap(), "from home");
            // Whoever copies owns it.
            assert_eq!(std::fs::metadata(user.home().join(state).join("f")).unwrap().uid(), UID);
            let diff = ok(&["diff", "runs"]);
            assert_eq!(diff, "A /d\nA /d/f\nC /etc\nD /etc/group\nA /in\nA /ready\nA /x\n", "{ids:?}");
            ok(&["export", "-o", "e.tar", "runs"]);
            ok(&["commit", "runs", "made"]);
            let flags = "ls /etc; cat /x /in; stat -c %u /d/f";
            let seen = ok(&["run", "--rm", "made", "sh", "-c", flags]);
            let owner = if ids.many() { 1000 } else { 0 };
            assert!(
                !seen.contains("group") && seen.ends_with(&format!("x\nfrom home{owner}\n")),
                "{ids:?}: {seen}"
            );
            ok(&["rmi", "made"]);
            if state == "running" {
                let pid: i32 = user.pid("runs").parse().unwrap();
                let pid = rustix::process::Pid::from_raw(pid).unwrap();
                let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
                rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).unwrap();
                let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
                rustix::event::poll(&mut fds, None).unwrap();
            }
        }
        ok(&["update", "--restart", "always", "runs"]);
        ok(&["rename", "runs", "other"]);
        ok(&["rm", "other"]);
        user.assert_clean();
    }
}

#[test]
fn health_is_checked_by_each_monitor() {
    for ids in [Ids::Many, Ids::NoGrant] {
        let Some(user) = User::new(ids) else { return };
        let ok = |args: &[&str]| {
            let output = user.corten(args);
            assert!(output.status.success(), "{ids:?} {args:?}: {}", text(&output.stderr));
            text(&output.stdout).trim_end().to_owned()
        };
        let script = "id -u; test ! -e /bad";
        let check = ["--health-cmd", script, "--health-interval", "50ms", "--health-retries", "1"];
        ok(&[&["run", "-d", "--name", "web"], &check[..], &["busybox", "sleep", "1000"]].concat());
        // Each event is awaited by who reads them from the first on.
        let told = |count: usize| {
            let args = "corten events --since 1h --format {{.Action}} -f event=health_status";
            let args: Vec<&str> = args.split(' ').collect();
            let mut child = user.command(&args).stdout(Stdio::piped()).spawn().unwrap();
            let lines = std::io::BufReader::new(child.stdout.take().unwrap());
            let lines = std::io::BufRead::lines(lines).take(count).map(Result::unwrap);
            let all: Vec<String> = lines.collect();
            child.kill().unwrap();
            child.wait().unwrap();
            all
        };
        assert_eq!(told(1), ["health_status: healthy"]);
        let output = ok(&["inspect", "-f", "{{(index .State.Health.Log 0).Output}}", "web"]);
        assert_eq!(output.trim(), "0", "{ids:?}");
        // The next monitor is forked by a command that stays outside the user's namespace, and may not be sealed.
        let monitor = std::fs::read_to_string(format!("/proc/{}/status", user.pid("web"))).unwrap();
        let monitor = monitor.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse();
        let monitor = rustix::process::Pid::from_raw(monitor.unwrap()).unwrap();
        let pidfd = rustix::process::pidfd_open(monitor, rustix::process::PidfdFlags::empty()).unwrap();
        rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).unwrap();
        rustix::event::poll(&mut [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)], None)
            .unwrap();
        ok(&["exec", "web", "touch", "/bad"]);
        assert_eq!(told(2)[1], "health_status: unhealthy", "{ids:?}");
        let codes = ok(&["inspect", "-f", "{{range .State.Health.Log}}{{.ExitCode}} {{end}}", "web"]);
        assert!(codes.ends_with('1') && !codes.contains('-'), "{ids:?}: {codes}");
        ok(&["rm", "-f", "web"]);
        user.assert_clean();
    }
}

#[test]
fn who_adopts_a_container_starts_it_again() {
    each(&[Ids::Many, Ids::NoGrant, Ids::NoProgram], |user| {
        let ok = |args: &[&str]| {
            let output = user.corten(args);
            assert!(output.status.success(), "{:?} {args:?}: {}", user.ids, text(&output.stderr));
            text(&output.stdout).trim_end().to_owned()
        };
        let check =
            ["--health-cmd", "test -e /started/2", "--health-interval", "50ms", "--health-retries", "1"];
        let script = "mkdir -p /started; n=1; while [ -e /started/$n ]; do n=$((n + 1)); done; touch /started/$n; \
                      while [ ! -e /end/$n ]; do sleep 0.02; done; exit 3";
        let run = [&["run", "-d", "--name", "web", "--restart", "on-failure:2"], &check[..]].concat();
        let id = ok(&[&run[..], &["busybox", "sh", "-c", script]].concat());
        let dir = user.store().join("run").join(&id);
        let field = |field: &str| ok(&["inspect", "-f", &format!("{{{{{field}}}}}"), "web"]);
        let own = user.host.path("corten");
        // The container's end, which that brings about, may kill it.
        let end = |start: &str| {
            let code = user.corten(&["exec", "web", "mkdir", "-p", &format!("/end/{start}")]).status.code();
            assert!(matches!(code, Some(0 | 137)), "{:?}: {code:?}", user.ids);
        };
        for start in ["1", "2"] {
            common::until("it runs", || {
                user.corten(&["exec", "web", "ls", &format!("/started/{start}")]).status.success()
            });
            common::kill(common::holder(&dir).expect("a monitor"));
            // A command that stays outside the user's namespace, and has no reason to seal itself.
            ok(&["ps"]);
            common::until("it is attended", || {
                let Some(monitor) = common::holder(&dir) else { return false };
                let mount = rustix::fs::statvfs(format!("/proc/{monitor}/exe"));
                mount.is_ok_and(|mount| mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
            });
            // The binary is replaced by another, as an upgrade does.
            std::fs::copy(&own, user.host.path("new")).unwrap();
            std::fs::rename(user.host.path("new"), &own).unwrap();
            end(start);
            common::until("it was started again", || field(".RestartCount") == start);
            assert_eq!(field(".State.Error"), "", "{:?}", user.ids);
        }
        common::until("a check by a monitor that entered the namespace", || {
            field(".State.Health.Status") == "healthy"
        });
        end("3");
        assert_eq!(ok(&["wait", "web"]), "3");
        assert_eq!((field(".RestartCount"), field(".State.Error")), ("2".to_owned(), String::new()));
        ok(&["rm", "web"]);
        user.assert_clean();
    });
}
