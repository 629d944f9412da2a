//! What `corten run --explain` prints, run by a shell, makes the container that `corten run` makes: the same
//! probe looks at both from inside.

mod common;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use common::{Host, text};

/// Everything about the inside that a plan decides. No line of it is about time or which process it is.
/// Not what init blocks: while it waits in sigtimedwait(2) that is shown as nothing.
const PROBE: &str = r#"
status() { while read -r key value; do case $key in
    Uid:|Gid:|Groups:|Cap*:|NoNewPrivs:|Seccomp:|Seccomp_filters:|SigIgn:) echo "$1 $key $value";;
    SigBlk:) [ $1 = init ] || echo "$1 $key $value";; esac; done < "$2"; }
echo args "$0" "$@"
echo cwd "$(pwd)"
status program /proc/self/status
echo umask "$(umask)"
[ "$$" = 1 ] || status init /proc/1/status
busybox tr '\0' '\n' < /proc/$$/environ | while IFS= read -r line; do echo "env $line"; done
for name in cgroup ipc mnt net pid time user uts; do echo "ns $name $(readlink /proc/self/ns/$name)"; done
echo uid_map $(cat /proc/self/uid_map)
echo gid_map $(cat /proc/self/gid_map)
echo setgroups $(cat /proc/self/setgroups)
while IFS= read -r line; do echo "mount $line"; done < /proc/self/mountinfo
while IFS= read -r line; do echo "cgroup $line"; done < /proc/self/cgroup
while IFS= read -r line; do echo "limit $line"; done < /proc/self/limits
echo oom_score_adj $(cat /proc/self/oom_score_adj)
echo hostname $(hostname) $(cat /proc/sys/kernel/domainname)
busybox find /dev | busybox sort | while read -r path; do echo "dev $path $(busybox stat -c '%F %a %u:%g %t:%T' "$path") $(readlink "$path")"; done
busybox stat -c 'root %a %u:%g' /
for file in hosts hostname resolv.conf; do while IFS= read -r line; do echo "$file $line"; done < /etc/$file; done
ls /proc/self/fd | while read -r fd; do echo "fd $fd"; done
set -- $(cat /proc/$$/stat); [ "$1" = "$6" ] && echo leads its session
for name in net/ipv4/ip_unprivileged_port_start net/ipv4/ping_group_range net/ipv4/ip_default_ttl kernel/shmmax; do
    echo "sysctl $name" $(cat /proc/sys/$name 2>&1)
done
ip link show lo 2>&1 | while read -r line; do echo "lo $line"; done
for file in memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes memory/memory.soft_limit_in_bytes \
    cpu/cpu.shares cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpuset/cpuset.cpus pids/pids.max devices/devices.list \
    blkio/blkio.weight memory.max memory.swap.max memory.low cpu.max cpu.weight pids.max cpuset.cpus io.max; do
    busybox cat "/sys/fs/cgroup/$file" 2> /dev/null | while IFS= read -r line; do echo "control $file $line"; done
done
for path in /proc/kcore /proc/sys/kernel/core_pattern /sys/firmware /new /data /data/x; do
    (: > "$path") 2> /dev/null && echo "writes $path"
done
[ -e /proc/kcore ] && echo "kcore $(busybox stat -c %F:%t:%T /proc/kcore)"
head -c 1 /dev/fuse 2>&1 | while read -r line; do echo "fuse $line"; done
"#;

/// A host with the tools that the scripts use, or the reason why there is none.
fn host() -> Option<Host> {
    if let Some(reason) = common::lacking() {
        eprintln!("skipped: {reason}");
        return None;
    }
    let tools =
        ["unshare", "nsenter", "setpriv", "prlimit", "flock", "pivot_root", "script", "ip", "hostname"];
    for tool in tools {
        let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().unwrap();
        if !found.status.success() {
            eprintln!("skipped: needs {tool} (cargo xtask deps)");
            return None;
        }
    }
    Some(Host::with_busybox())
}

struct Seen {
    code: Option<i32>,
    lines: Vec<String>,
    stderr: String,
}

/// The script of `corten run --explain`, and what its container saw.
fn by_shell(host: &Host, args: &[&str]) -> Seen {
    let mut words = vec!["run", "--explain"];
    words.extend(args);
    let before = listing(host);
    let explained = host.corten(&words);
    assert!(explained.status.success(), "{}", text(&explained.stderr));
    assert_eq!(listing(host), before, "--explain leaves nothing");
    let script = text(&explained.stdout);
    let output = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(listing(host), before, "the script leaves nothing: {}", text(&output.stderr));
    assert_no_cgroup(&script);
    seen(output)
}

fn by_corten(host: &Host, args: &[&str]) -> Seen {
    let mut words = vec!["run"];
    words.extend(args);
    seen(host.corten(&words))
}

fn seen(output: std::process::Output) -> Seen {
    let raw = text(&output.stdout);
    let lines = raw.lines().map(|line| normal(line, &raw)).collect();
    Seen { code: output.status.code(), lines, stderr: text(&output.stderr) }
}

/// Every file of the store's and the run directory's containers, names, leases.
fn listing(host: &Host) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for dir in ["root/containers", "root/names", "run"] {
        let Ok(entries) = std::fs::read_dir(host.path(dir)) else { continue };
        found.extend(entries.flatten().map(|entry| entry.path().display().to_string()));
    }
    let leases = std::fs::read_dir(host.path("run/ids")).into_iter().flatten().flatten();
    found.extend(leases.map(|entry| entry.path().display().to_string()));
    // The directory of leases itself is everybody's.
    found.remove(&host.path("run/ids").display().to_string());
    found
}

fn assert_no_cgroup(script: &str) {
    let id = script.lines().find_map(|line| line.strip_prefix("id=")).unwrap();
    for dir in script.lines().filter_map(|line| line.strip_prefix("    gone ")) {
        let dir = dir.trim_matches('"').replace("$id", id);
        assert!(!std::path::Path::new(&dir).exists(), "{dir} is left");
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(id), "mounts are left: {mounts}");
}

/// A line of the probe without what is another in each container: its id, its block of user ids, numbers of
/// mounts, devices without a disk and inodes of namespaces of its own.
fn normal(line: &str, all: &str) -> String {
    let map = all.lines().find_map(|line| line.strip_prefix("uid_map 0 "));
    let first = map.and_then(|map| map.split(' ').next()).and_then(|id| id.parse::<u64>().ok()).unwrap_or(0);
    if let Some(mount) = line.strip_prefix("mount ") {
        return normal_mount(mount, first);
    }
    if let Some(namespace) = line.strip_prefix("ns ") {
        let (name, inode) = namespace.split_once(' ').unwrap();
        // A kernel without this kind of namespaces has no such file.
        let ours = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap_or_default();
        let whose = if ours.to_string_lossy() == inode { "the host's" } else { "its own" };
        return format!("ns {name} {whose}");
    }
    numbers(line, first)
}

fn normal_mount(line: &str, first: u64) -> String {
    let (own, fs) = line.split_once(" - ").unwrap();
    let own: Vec<&str> = own.split(' ').collect();
    let propagation: Vec<&str> = own[6..].iter().map(|field| field.split(':').next().unwrap()).collect();
    let fs: Vec<&str> = fs.split(' ').collect();
    // Layers by descriptor are told one by one, those by path in one option.
    let mut layers = Vec::new();
    let mut options = Vec::new();
    for option in fs[2].split(',') {
        match option.strip_prefix("lowerdir+=").or(option.strip_prefix("lowerdir=")) {
            Some(lowers) => layers.extend(lowers.split(':')),
            None => options.push(option.to_owned()),
        }
    }
    // Of what is given by descriptor the kernel knows only where it is in its mount.
    for option in &mut options {
        if let Some((key @ ("upperdir" | "workdir"), path)) = option.split_once('=') {
            *option = format!("{key}={}", path.rsplit('/').next().unwrap());
        }
    }
    let options = options.join(",");
    let line = format!(
        "mount {} root={} {} {propagation:?} {} {} {options} layers={}",
        own[4],
        own[3],
        own[5],
        fs[0],
        fs[1],
        layers.len()
    );
    numbers(&line, first)
}

/// Ids of the container's block count from its first, and the container's id is `ID`.
fn numbers(line: &str, first: u64) -> String {
    let mut out = String::new();
    for word in line.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let (bare, end) = match word.char_indices().last() {
            Some((at, c)) if !c.is_ascii_alphanumeric() => word.split_at(at),
            _ => (word, ""),
        };
        let hex = |count: usize| bare.len() == count && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = bare.parse::<u64>().ok().filter(|&id| first > 0 && (first..first + 65_536).contains(&id));
        match id {
            Some(id) => out += &format!("first+{}", id - first),
            None if hex(64) || hex(12) => out += "ID",
            None => out += bare,
        }
        out += end;
    }
    out
}

/// A shared mount of the host with another below it.
struct Share(std::path::PathBuf);

impl Share {
    fn at(path: &std::path::Path) -> Self {
        let mount = |args: &[&str]| assert!(Command::new("mount").args(args).status().unwrap().success());
        std::fs::create_dir_all(path).unwrap();
        let text = path.to_str().unwrap();
        mount(&["-t", "tmpfs", "share", text]);
        let share = Share(path.to_owned());
        mount(&["--make-shared", text]);
        std::fs::create_dir(path.join("below")).unwrap();
        mount(&["-t", "tmpfs", "below", path.join("below").to_str().unwrap()]);
        share
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _gone = Command::new("umount").args(["-R", "-l"]).arg(&self.0).status();
    }
}

/// Runs the probe both ways and compares; lines that only the container must hold are in `holds`.
fn compare(host: &Host, flags: &[&str], holds: &[&str]) {
    let mut args = vec!["--rm", "-h", "probe"];
    args.extend(flags);
    args.extend(["busybox", "sh", "-c", PROBE, "name", "it's", "a  b"]);
    compare_args(host, &args, holds);
}

fn compare_args(host: &Host, args: &[&str], holds: &[&str]) {
    let want = by_corten(host, args);
    let got = by_shell(host, args);
    assert_eq!(want.code, Some(0), "{args:?}: {}", want.stderr);
    assert!(want.lines.len() > 60, "{args:?}: {:?}: {}", want.lines, want.stderr);
    for hold in holds {
        assert!(want.lines.iter().any(|line| line.contains(hold)), "{args:?}: {hold:?} in {:#?}", want.lines);
    }
    let sets = |seen: &Seen| seen.lines.iter().cloned().collect::<BTreeSet<String>>();
    let (a, b) = (sets(&want), sets(&got));
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
    assert!(
        a == b,
        "{args:?}\nonly by corten: {:#?}\nonly by the script: {:#?}\n{}",
        only(&a, &b),
        only(&b, &a),
        got.stderr
    );
    assert_eq!(want.lines.len(), got.lines.len(), "{args:?}");
    assert_eq!(got.code, Some(0), "{args:?}: {}", got.stderr);
}

#[test]
fn the_default_container() {
    let Some(host) = host() else { return };
    compare(
        &host,
        &[],
        &["ns user its own", "program Seccomp: 2", "args name it's a  b", "uid_map 0 first+0 65536"],
    );
}

#[test]
fn a_user_without_capabilities() {
    let Some(host) = host() else { return };
    compare(
        &host,
        &["--user", "web", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--group-add", "7"],
        &[
            "program NoNewPrivs: 1",
            "program CapBnd: 0000000000000000",
            "program Groups: 4 7 1001",
            "env HOME=/srv/web",
        ],
    );
    compare(
        &host,
        &[
            "--user",
            "12:34",
            "--cap-add",
            "NET_ADMIN",
            "--security-opt",
            "seccomp=unconfined",
            "-w",
            "/srv/new dir",
        ],
        &["program Seccomp: 0", "cwd /srv/new dir", "program CapBnd: 00000000a80435fb"],
    );
}

#[test]
fn limits_and_a_root_that_cannot_be_written() {
    let Some(host) = host() else { return };
    compare(
        &host,
        &[
            "--read-only",
            "--tmpfs",
            "/scratch:size=1m,noexec",
            "-m",
            "64m",
            "--memory-reservation",
            "32m",
            "--cpus",
            "0.5",
            "--cpu-shares",
            "512",
            "--pids-limit",
            "77",
            "--ulimit",
            "nofile=64:128",
            "--ulimit",
            "core=0",
            "--oom-score-adj",
            "500",
            "--shm-size",
            "1m",
        ],
        &[
            "oom_score_adj 500",
            "mount /scratch",
            "pids.max 77",
            "limit Max open files            64                   128",
        ],
    );
}

#[test]
fn a_cpuset() {
    let Some(host) = host() else { return };
    let v2 = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    if !std::path::Path::new("/sys/fs/cgroup/cpuset").exists() && !v2.contains("cpuset") {
        eprintln!("skipped: this host has no cpuset controller");
        return;
    }
    compare(&host, &["--cpuset-cpus", "0"], &["cpuset.cpus 0"]);
}

#[test]
fn namespaces_of_the_host() {
    let Some(host) = host() else { return };
    compare(&host, &["--userns", "host"], &["ns user the host's", "uid_map 0 0 4294967295"]);
    compare(&host, &["--network", "host"], &["ns net the host's"]);
    compare(&host, &["--ipc", "host", "--cgroupns", "host"], &["ns ipc the host's", "ns cgroup the host's"]);
    compare(&host, &["--pid", "host"], &["ns pid the host's"]);
    // Without a name of its own, or it would be the host's that is set.
    let args = ["--rm", "--uts", "host", "busybox", "sh", "-c", PROBE];
    compare_args(&host, &args, &["ns uts the host's"]);
}

#[test]
fn binds_are_idmapped_or_not() {
    let Some(host) = host() else { return };
    let data = host.path("data of 'it'");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("x"), "").unwrap();
    let file = host.path("file");
    std::fs::write(&file, "").unwrap();
    let bind = |path: &std::path::Path, rest: &str| format!("{}:{rest}", path.display());
    for (options, holds) in [
        ("/data", &["writes /data/x"][..]),
        ("/data:ro", &["mount /data root="]),
        ("/data:nomap", &["mount /data root="]),
        ("/data:ro,nomap", &["mount /data root="]),
    ] {
        let (dir, file) = (bind(&data, options), bind(&file, "/etc/conf/a.conf:ro"));
        compare(&host, &["-v", &dir, "-v", &file], holds);
    }
    for propagation in ["rslave", "rshared"] {
        let share = Share::at(&host.path("share"));
        compare(&host, &["-v", &bind(&share.0, &format!("/data:{propagation}"))], &["mount /data/below"]);
    }
    // What -v makes is made by the script, not by its explanation.
    let new = host.path("new");
    let volume = bind(&new, "/data");
    let output = host.corten(&["run", "--explain", "--rm", "-v", &volume, "busybox", "true"]);
    assert!(output.status.success() && !new.exists(), "{}", text(&output.stderr));
    let output = Command::new("sh").args(["-c", &text(&output.stdout)]).output().unwrap();
    assert!(output.status.success() && new.exists(), "{}", text(&output.stderr));
}

#[test]
fn settings_devices_and_an_environment() {
    let Some(host) = host() else { return };
    compare(
        &host,
        &[
            "--sysctl",
            "net.ipv4.ip_default_ttl=42",
            "--device",
            "/dev/zero:/dev/sub/nil",
            "--device",
            "/dev/fuse",
            "--device-cgroup-rule",
            "c 10:229 rw",
            "-e",
            "TEXT=it's \"$HOME\" `id` $(id)\nINSIDE\nmore",
            "-e",
            "HOME=/elsewhere",
            "--add-host",
            "a.example:192.0.2.1",
            "--dns",
            "192.0.2.53",
            "--domainname",
            "example.net",
            "--init=false",
        ],
        &["sysctl net/ipv4/ip_default_ttl 42", "dev /dev/sub/nil", "env INSIDE", "hosts 192.0.2.1"],
    );
}

#[test]
fn privileged() {
    let Some(host) = host() else { return };
    compare(&host, &["--privileged"], &["program Seccomp: 0"]);
    compare(&host, &["--security-opt", "systempaths=unconfined"], &[]);
}

#[test]
fn the_machine_as_an_image() {
    let Some(host) = host() else { return };
    if host.corten(&["run", "--rm", "host", "true"]).status.code() != Some(0) {
        eprintln!("skipped: this host's own file system cannot be idmapped");
        return;
    }
    let probe = PROBE.replace("busybox ", "").replace("head -c", "busybox head -c");
    let args = ["--rm", "-h", "probe", "host", "sh", "-c", &probe];
    compare_args(&host, &args, &["mount /usr"]);
}

/// The names of all volumes.
fn volumes(host: &Host) -> Vec<String> {
    let listed = host.corten(&["volume", "ls", "-q"]);
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    text(&listed.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn volumes_are_made_filled_and_those_without_a_name_go() {
    let Some(host) = host() else { return };
    host.image("filled", &["VOLUME /srv/own"], |tree| {
        std::fs::create_dir_all(tree.join("data")).unwrap();
        std::fs::write(tree.join("data/z"), "of the image").unwrap();
        std::fs::create_dir_all(tree.join("srv/own")).unwrap();
        std::fs::write(tree.join("srv/own/y"), "").unwrap();
    });
    let probe = format!(
        "{PROBE}\nfor file in /data/* /srv/own/* /bare; do busybox stat -c '%n %F %u:%g %s' $file; done"
    );
    let args = |volume: &'static str, rest: &[&'static str]| {
        let mut args = vec!["--rm", "-h", "probe", "-v", volume, "-v", "/bare"];
        args.extend(rest);
        args
    };
    let tail = ["filled", "sh", "-c", &probe];
    // Each way makes its own.
    for (rest, holds) in [
        (&[][..], &["mount /srv/own", "/data/z regular file 0:0 12", "/srv/own/y", "writes /data/x"][..]),
        (&["--mount", "type=volume,src=bare,dst=/new,volume-nocopy,readonly"], &["mount /new"]),
    ] {
        let seen =
            ["by-corten:/data", "by-script:/data"].map(|volume| [&args(volume, rest)[..], &tail].concat());
        let (want, got) = (by_corten(&host, &seen[0]), by_shell(&host, &seen[1]));
        let lines = |seen: &Seen| {
            seen.lines.iter().map(|line| line.replace("by-script", "by-corten")).collect::<BTreeSet<_>>()
        };
        assert_eq!((want.code, got.code), (Some(0), Some(0)), "{} {}", want.stderr, got.stderr);
        assert_eq!(lines(&want), lines(&got), "{}", got.stderr);
        for hold in holds {
            assert!(want.lines.iter().any(|line| line.contains(hold)), "{hold}: {:#?}", want.lines);
        }
    }
    let mut named = volumes(&host);
    named.sort();
    assert_eq!(named, ["bare", "by-corten", "by-script"], "those without a name went with their containers");
    // What another container has, its binds and volumes.
    let donor = ["create", "--name", "donor", "-v", "by-script:/data:ro", "-v", "/own", "busybox", "true"];
    assert!(host.corten(&donor).status.success());
    compare(&host, &["--volumes-from", "donor"], &["mount /data", "mount /own"]);
    assert_eq!(volumes(&host).len(), 4, "the donor's stays");
}

#[test]
fn a_volume_of_a_script_is_in_use() {
    let Some(host) = host() else { return };
    let args = [
        "run",
        "--explain",
        "--rm",
        "-v",
        "data:/data",
        "-v",
        "/own",
        "busybox",
        "sh",
        "-c",
        "echo ready; sleep 1000",
    ];
    let script = text(&host.corten(&args).stdout);
    assert_eq!(volumes(&host), [""; 0], "the explanation makes none");
    let mut child = Running::start(&script);
    let refused = host.corten(&["volume", "rm", "data"]);
    assert!(text(&refused.stderr).contains("volume is in use"), "{}", text(&refused.stderr));
    assert!(text(&host.corten(&["volume", "prune", "-af"]).stdout).lines().count() < 2);
    assert_eq!(volumes(&host).len(), 2);
    assert_eq!(child.end(), Some(143));
    assert_eq!(volumes(&host), ["data"]);
    assert!(host.corten(&["volume", "rm", "data"]).status.success());
}

/// A script whose program has said that it is ready.
struct Running(std::process::Child);

impl Running {
    fn start(script: &str) -> Self {
        use std::io::Read;
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        Self(child)
    }

    /// Ends it as a user would; its exit code.
    fn end(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.0.wait().unwrap().code()
    }
}

#[test]
fn images_that_are_mounted() {
    let Some(host) = host() else { return };
    host.image("other", &[], |tree| {
        std::fs::create_dir_all(tree.join("deep/er")).unwrap();
        std::fs::write(tree.join("deep/er/x"), "").unwrap();
    });
    let probe =
        format!("{PROBE}\nbusybox find /img -maxdepth 2 | busybox sort; busybox stat -c '%u:%g' /img");
    for (flags, hold) in [
        (&["--mount", "type=image,src=other,dst=/img"][..], "/img/deep/er"),
        (&["--mount", "type=image,src=other,dst=/img,image-subpath=deep"], "/img/er/x"),
        (&["--mount", "type=image,src=other,dst=/img", "--userns", "host"], "/img/bin"),
    ] {
        let mut args = vec!["--rm", "-h", "probe"];
        args.extend(flags);
        args.extend(["busybox", "sh", "-c", &probe]);
        compare_args(&host, &args, &[hold, "mount /img"]);
    }
}

#[test]
fn devices_outside_dev() {
    let Some(host) = host() else { return };
    let probe = format!(
        "{PROBE}\nfor f in /srv/dev/*; do busybox stat -c '%n %F %a %u:%g %t:%T' $f; done; head -c 4 /srv/dev/nil | busybox od"
    );
    let flags = [
        "--device",
        "/dev/zero:/srv/dev/nil:r",
        "--device",
        "/dev/fuse:/dev/sub/fuse",
        "--device",
        "/dev/null:/srv/dev/void",
    ];
    for userns in [&[][..], &["--userns", "host"]] {
        let mut args = vec!["--rm", "-h", "probe"];
        args.extend(flags);
        args.extend(userns);
        args.extend(["busybox", "sh", "-c", &probe]);
        compare_args(&host, &args, &["/srv/dev/nil character special file 666 0:0 1:5", "dev /dev/sub/fuse"]);
    }
}

#[test]
fn namespaces_of_a_container() {
    let Some(host) = host() else { return };
    let run = |name: &str, flags: &[&str]| {
        let args = [
            &["run", "-d", "--name", name, "-h", name],
            flags,
            &["busybox", "sh", "-c", "echo in > /dev/shm/shared; sleep 1000"],
        ]
        .concat();
        let output = host.corten(&args);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let pid = text(&host.corten(&["inspect", "-f", "{{.State.Pid}}", name]).stdout);
        pid.trim().to_owned()
    };
    let pid = run("web", &["--ipc", "shareable", "--add-host", "a.example:192.0.2.1"]);
    // Which namespaces, not only whether they are the host's.
    let probe = format!(
        "{PROBE}\nfor kind in user net ipc pid uts; do echo \"which $(readlink /proc/self/ns/$kind)\"; done; echo shm $(cat /dev/shm/shared 2>&1)"
    );
    let namespace =
        |kind: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string();
    let which = |seen: &mut Seen, joined: &[&str]| {
        for kind in joined {
            let line = format!("which {}", namespace(kind));
            assert!(seen.lines.contains(&line), "{line} in {:#?} {}", seen.lines, seen.stderr);
        }
        seen.lines.retain(|line| !line.starts_with("which "));
    };
    let before = host.path("run/ids").read_dir().unwrap().count();
    for (flags, joined, hold) in [
        (&["--network", "container:web"][..], &["user", "net"][..], "hosts 192.0.2.1"),
        (&["--ipc", "container:web", "-h", "probe"], &["user", "ipc"], "shm in"),
        (&["--userns", "container:web", "-h", "probe"], &["user"], "mount /sys"),
        (
            &["--network", "container:web", "--ipc", "container:web", "--userns", "host"],
            &["net", "ipc"],
            "ns user the host's",
        ),
    ] {
        let mut args = vec!["--rm"];
        args.extend(flags);
        args.extend(["busybox", "sh", "-c", &probe]);
        let (mut want, mut got) = (by_corten(&host, &args), by_shell(&host, &args));
        assert_eq!((want.code, got.code), (Some(0), Some(0)), "{flags:?} {} {}", want.stderr, got.stderr);
        which(&mut want, joined);
        which(&mut got, joined);
        let only = |a: &Seen, b: &Seen| {
            a.lines.iter().filter(|line| !b.lines.contains(line)).cloned().collect::<Vec<_>>()
        };
        assert_eq!(only(&want, &got), only(&got, &want), "{flags:?}");
        assert!(want.lines.iter().any(|line| line.contains(hold)), "{flags:?} {hold} {:#?}", want.lines);
        assert_eq!(host.path("run/ids").read_dir().unwrap().count(), before, "{flags:?}: leases");
    }
    // Whose processes could look at those of the script is not joined.
    let refused = host.corten(&["run", "--explain", "--rm", "--pid", "container:web", "busybox", "true"]);
    let err = text(&refused.stderr);
    assert!(!refused.status.success() && err.contains("joining the pid namespace"), "{err}");
    // Its block of ids stays leased as long as the script's container runs, also without it.
    let args = [
        "run",
        "--explain",
        "--rm",
        "--network",
        "container:web",
        "busybox",
        "sh",
        "-c",
        "echo ready; sleep 1000",
    ];
    let script = text(&host.corten(&args).stdout);
    let mut child = Running::start(&script);
    assert!(host.corten(&["rm", "-f", "web"]).status.success());
    assert_eq!(host.path("run/ids").read_dir().unwrap().count(), 1, "handed over");
    assert_eq!(child.end(), Some(143));
    assert_eq!(host.path("run/ids").read_dir().unwrap().count(), 0);
    // Another of that name, with other ids, is not joined.
    run("web", &[]);
    let output = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{}", text(&output.stderr));
    assert!(host.corten(&["rm", "-f", "web"]).status.success());
    host.assert_clean(&[]);
}

#[test]
fn exit_codes_and_input() {
    use std::io::Write;
    let Some(host) = host() else { return };
    for (command, code) in [
        (&["sh", "-c", "exit 7"][..], 7),
        (&["sh", "-c", "kill -9 $$"], 137),
        (&["/nope"], 127),
        (&["/etc"], 126),
    ] {
        let mut args = vec!["--rm", "busybox"];
        args.extend(command);
        let seen = by_shell(&host, &args);
        assert_eq!(seen.code, Some(code), "{command:?}: {}", seen.stderr);
    }
    let seen = by_shell(&host, &["--rm", "-u", "ghost", "busybox", "true"]);
    assert!(seen.code != Some(0) && seen.stderr.contains("unable to find user ghost"), "{}", seen.stderr);
    let script = host.corten(&["run", "--explain", "-i", "--rm", "busybox", "cat"]);
    let mut child = Command::new("sh")
        .args(["-c", &text(&script.stdout)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"through\n").unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap().stdout), "through\n");
}

#[test]
fn a_script_that_is_ended_leaves_nothing() {
    use std::io::Read;
    let Some(host) = host() else { return };
    let before = listing(&host);
    let explained =
        host.corten(&["run", "--explain", "--rm", "busybox", "sh", "-c", "echo ready; sleep 1000"]);
    let script = text(&explained.stdout);
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_ne!(listing(&host), before);
    // The same once more is refused: it is that container's directory, lease and cgroup.
    let again = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
    assert!(
        !again.status.success() && text(&again.stderr).contains("File exists"),
        "{}",
        text(&again.stderr)
    );
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(listing(&host), before);
    assert_no_cgroup(&script);
}

#[test]
fn a_terminal_is_that_of_the_script() {
    let Some(host) = host() else { return };
    let output = host.corten(&["run", "--explain", "-it", "--rm", "busybox", "tty"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let file = host.path("terminal.sh");
    std::fs::write(&file, &output.stdout).unwrap();
    let command = format!("sh {}", file.display());
    let output =
        Command::new("script").args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout).trim()), (Some(0), "/dev/console"));
}

#[test]
fn a_link_of_the_image_leads_nowhere() {
    // The mounts of the script are made by mount(8), which would follow it to the host.
    let Some(host) = host() else { return };
    let outside = host.path("outside");
    std::fs::create_dir(&outside).unwrap();
    let image = |name: &str, link: &str, to: &std::path::Path| {
        let tree = host.path(name);
        std::fs::create_dir_all(tree.join("bin")).unwrap();
        std::fs::copy("/bin/busybox", tree.join("bin/sh")).unwrap();
        std::os::unix::fs::symlink(to, tree.join(link)).unwrap();
        let tar = host.path(&format!("{name}.tar"));
        let packed = Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&tar).arg(".").status().unwrap();
        assert!(packed.success());
        assert!(host.corten(&["import", tar.to_str().unwrap(), name]).status.success());
    };
    image("sys-elsewhere", "sys", std::path::Path::new("/run"));
    let seen = by_shell(&host, &["--rm", "sys-elsewhere", "sh", "-c", "echo runs"]);
    assert!(seen.lines.is_empty() && seen.code != Some(0), "a link in place of /sys: {:?}", seen.lines);
    image("data-elsewhere", "data", &outside);
    let volume = format!("{}:/data/sub", host.path("tree").display());
    let command = "while read -r _ _ _ _ at _; do echo $at; done < /proc/self/mountinfo";
    let args = ["--rm", "-v", &volume, "data-elsewhere", "sh", "-c", command];
    let (want, got) = (by_corten(&host, &args), by_shell(&host, &args));
    assert_eq!((want.code, want.lines.len()), (Some(0), got.lines.len()), "{} {}", want.stderr, got.stderr);
    let at = format!("{}/sub", outside.display());
    assert!(got.lines.contains(&at), "inside the root, where the link says: {:?}", got.lines);
    assert!(std::fs::read_dir(&outside).unwrap().next().is_none(), "and not on the host");
}
