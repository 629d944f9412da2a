//! One harmless check for each old escape that concerns the runtime: no exploit, only the question that it
//! asked. Each plants something outside the container and looks that it is untouched and unread.
//!
//! Not here: bugs of the kernel that a container cannot tell from inside (CVE-2022-0847 "Dirty Pipe" wrote
//! to pages of files that were open for reading only: no profile stops it, and Corten's binary is as open to
//! it as any file of the host).

mod common;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use common::{Host, text};

/// A directory of the host with a file in it that nobody may change.
struct Canary {
    dir: PathBuf,
}

impl Canary {
    fn plant(host: &Host) -> Self {
        let dir = host.path("canary");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("secret"), "a secret of the host\n").unwrap();
        Self { dir }
    }

    fn path(&self) -> &str {
        self.dir.to_str().unwrap()
    }

    fn assert_untouched(&self, when: &str) {
        let names: Vec<_> =
            std::fs::read_dir(&self.dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["secret"], "{when}");
        assert_eq!(
            std::fs::read_to_string(self.dir.join("secret")).unwrap(),
            "a secret of the host\n",
            "{when}"
        );
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.path()), "{when}: {mounts}");
    }
}

/// Replaces what is at `path` in the tree by a link.
fn link(tree: &Path, path: &str, to: &str) {
    let place = tree.join(path);
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    let _absent = std::fs::remove_dir_all(&place);
    let _absent = std::fs::remove_file(&place);
    symlink(to, place).unwrap();
}

#[test]
fn cve_2014_9357_and_2014_9358_an_id_is_no_path() {
    // Docker took image ids and names from archives and users as parts of paths.
    let host = need_host!();
    for name in ["..", ".", "../../etc", "/../etc", "a/../b", ""] {
        let output = host.corten(&["rm", "-f", name]);
        assert!(!output.status.success() || !text(&output.stderr).is_empty(), "{name}");
        let output = host.corten(&["run", "--rm", "--name", name, "busybox", "true"]);
        assert!(name.is_empty() || output.status.code() == Some(125), "{name}");
    }
    assert!(host.path("root").exists() && host.path("run").exists());
    host.assert_clean(&[]);
}

#[test]
fn cve_2015_3630_and_2016_8867_the_default_masks_and_capabilities() {
    // /proc/asound, /proc/timer_stats, /proc/latency_stats and others told of the host, or changed it
    // (also CVE-2017-16539 /proc/scsi, CVE-2018-10892 /proc/acpi, GHSA-6fw5-f8r9-fgfm /proc/interrupts,
    // CVE-2020-8694 powercap).
    let host = need_host!();
    let hidden = "for f in interrupts kcore keys latency_stats sched_debug timer_list timer_stats; do \
                  test ! -e /proc/$f || test ! -s /proc/$f && test -z \"$(cat /proc/$f 2>/dev/null)\" || echo $f; done; \
                  for d in /proc/acpi /proc/asound /proc/scsi /sys/firmware /sys/devices/virtual/powercap; do \
                  test -z \"$(ls -A $d 2>/dev/null)\" || echo $d; done; \
                  for w in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/vm/panic_on_oom \
                  /proc/irq/default_smp_affinity /proc/bus/x /proc/fs/x /sys/kernel/uevent_helper; do \
                  (echo x > $w) 2>/dev/null && echo wrote $w; done; true";
    for flags in [&[][..], &["-u", "web"], &["--userns", "host"]] {
        let (code, out, err) = host.sh(flags, hidden);
        assert_eq!((code, out.as_str()), (0, ""), "{flags:?}: {err}");
    }
}

#[test]
fn cve_2016_3697_2024_40635_2026_30892_a_number_is_a_number() {
    // A user of digits was looked up as a name, or overflowed into root.
    let host = need_host!();
    host.image("trap", &[], |tree| {
        std::fs::write(tree.join("etc/passwd"), "root:x:0:0::/:\n1:x:0:0::/:\n01:x:0:0::/:\n").unwrap();
    });
    for (user, uid) in [("1", "1\n"), ("01", "1\n"), ("2147483648", ""), ("4294967294", "")] {
        let output = host.corten(&["run", "--rm", "-u", user, "trap", "id", "-u"]);
        assert_eq!(text(&output.stdout), uid, "{user}: {}", text(&output.stderr));
        assert_eq!(output.status.success(), !uid.is_empty(), "{user}");
    }
    for user in
        ["4294967295", "4294967296", "18446744073709551616", "-1", "0x0", "1 ", "1:-1", "1:4294967296"]
    {
        let output = host.corten(&["run", "--rm", "-u", user, "trap", "id", "-u"]);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(125), ""), "{user}");
    }
}

#[test]
fn cve_2016_9962_nothing_of_the_starter_can_be_reached_through_init() {
    // A process of the container traced the one that was entering it and took its descriptors of the host.
    let host = need_host!();
    let script = "for fd in /proc/1/fd/*; do \
                  case \"$(readlink $fd)\" in /exit|*/exit) (echo evil > $fd) 2>/dev/null && echo wrote $fd;; \
                  *null|pipe:*|*stdout|*stderr|'') ;; *) echo $fd $(readlink $fd);; esac; done; \
                  ls /proc/1/cwd/ | grep -c passwd; readlink /proc/1/root; echo $(readlink /proc/1/cwd)";
    let (_, out, err) = host.sh(&[], script);
    assert_eq!(out, "0\n/\n/\n", "{err}");
}

#[test]
fn cve_2017_1002101_a_subpath_stays_in_its_source() {
    // Kubernetes: a link in a volume led the mount of a path below it to the host.
    let host = need_host!();
    let canary = Canary::plant(&host);
    let data = host.path("data");
    std::fs::create_dir_all(data.join("real")).unwrap();
    symlink(canary.path(), data.join("absolute")).unwrap();
    symlink("../canary", data.join("up")).unwrap();
    symlink("real", data.join("inside")).unwrap();
    for (sub, works) in [("real", true), ("inside", true), ("absolute", false), ("up", false)] {
        let mount = format!("type=bind,src={},dst=/x,bind-subpath={sub}", data.display());
        let (code, out, err) = host.sh(&["--mount", &mount], "cat /x/secret; touch /x/new && echo wrote");
        if works {
            assert_eq!((code, out.as_str()), (0, "wrote\n"), "{sub}: {err}");
        } else {
            assert_eq!((code, out.as_str()), (125, ""), "{sub}: {err}");
        }
    }
    for sub in ["..", "/", "real/../../canary"] {
        let mount = format!("type=bind,src={},dst=/x,bind-subpath={sub}", data.display());
        assert_ne!(host.sh(&["--mount", &mount], "cat /x/secret").0, 0, "{sub}");
    }
    canary.assert_untouched("subpath");
}

#[test]
fn cve_2019_5736_the_binary_cannot_be_written_through_proc() {
    // The program of the container overwrote runc through /proc/PID/exe.
    let host = need_host!();
    let before = std::fs::read(env!("CARGO_BIN_EXE_corten")).unwrap();
    for flags in [&[][..], &["--userns", "host"], &["--userns", "host", "--cap-add", "ALL"]] {
        let (_, out, _) = host.sh(flags, "(echo evil > /proc/1/exe) 2>/dev/null || echo refused");
        assert_eq!(out, "refused\n", "{flags:?}");
    }
    // The program is Corten's own binary, as long as it runs.
    host.image("itself", &[], |tree| link(tree, "bin/itself", "/proc/self/exe"));
    host.corten(&["run", "--rm", "itself", "/bin/itself", "--version"]);
    assert!(std::fs::read(env!("CARGO_BIN_EXE_corten")).unwrap() == before);
}

#[test]
fn cve_2019_16884_2019_19921_2023_27561_2023_28642_proc_and_sys_are_no_links() {
    // A link at /proc or /sys made labels, masks and settings go to files of the image.
    let host = need_host!();
    let canary = Canary::plant(&host);
    for path in ["proc", "sys"] {
        for (kind, to) in [("absolute", canary.path()), ("inside", "/tmp"), ("dangling", "nowhere")] {
            let name = format!("{path}-{kind}");
            host.image(&name, &[], |tree| link(tree, path, to));
            let output = host.corten(&["run", "--rm", &name, "ls", "/proc", "/sys"]);
            assert_eq!(output.status.code(), Some(125), "{name}: {}", text(&output.stdout));
            let err = text(&output.stderr);
            assert!(err.contains(path) && err.contains("ELOOP"), "{name}: {err}");
        }
    }
    canary.assert_untouched("links at /proc and /sys");
    host.assert_clean(&[]);
}

#[test]
fn cve_2020_15257_no_abstract_socket() {
    // containerd's shim listened at an abstract socket: whoever shares the network namespace reached it.
    let host = need_host!();
    let output = host.corten(&["run", "-d", "--name", "web", "--network", "host", "busybox", "sleep", "100"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    let ours = host.dir.path().to_str().unwrap();
    let found: Vec<&str> =
        sockets.lines().filter(|line| line.contains("@corten") || line.contains(ours)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn cve_2021_30465_and_2024_45310_places_of_mounts_stay_in_the_root() {
    // A link, swapped in at the right moment, led a mount, or the making of its place, to the host. Here it
    // is there from the start; crates/corten-runtime/src/apply/target.rs races it.
    let host = need_host!();
    let canary = Canary::plant(&host);
    let data = host.path("data");
    std::fs::create_dir(&data).unwrap();
    let up = format!("../../../../../../../..{}", canary.path());
    host.image("links", &[], |tree| {
        symlink(canary.path(), tree.join("absolute")).unwrap();
        symlink(&up, tree.join("up")).unwrap();
        symlink("/proc/self/cwd", tree.join("magic")).unwrap();
    });
    for place in ["absolute/made/here", "up/made/here", "magic/made", "absolute", "up"] {
        let volume = format!("{}:/{place}", data.display());
        let output = host.corten(&["run", "--rm", "-v", &volume, "links", "true"]);
        assert!(matches!(output.status.code(), Some(0 | 125)), "{place}: {}", text(&output.stderr));
        canary.assert_untouched(place);
    }
}

#[test]
fn cve_2021_41091_and_2021_41103_the_store_is_closed_to_others() {
    // Any user of the host could walk into the images and use their set-uid programs.
    use std::os::unix::fs::MetadataExt;
    let host = need_host!();
    assert_eq!(host.sh(&[], "true").0, 0);
    for dir in ["root", "run"] {
        assert_eq!(std::fs::metadata(host.path(dir)).unwrap().mode() & 0o077, 0, "{dir}");
    }
}

#[test]
fn cve_2022_0492_no_release_agent() {
    // Root in a new user and cgroup namespace mounted cgroup v1 and named a program that the host runs.
    let host = need_host!();
    let script = "for f in /sys/fs/cgroup/release_agent /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/*/notify_on_release; do \
                  (echo /evil > $f) 2>/dev/null && echo wrote $f; done; \
                  busybox unshare -r true 2>/dev/null && echo unshared; busybox unshare -m true 2>/dev/null && echo unshared; \
                  mkdir /tmp/m; mount -t cgroup -o rdma x /tmp/m 2>/dev/null && echo mounted; \
                  mkdir /sys/fs/cgroup/x 2>/dev/null && echo made; \
                  mount -o remount,rw /sys/fs/cgroup 2>/dev/null && echo remounted; true";
    for flags in [&[][..], &["--userns", "host"], &["--cgroupns", "host"]] {
        let (code, out, err) = host.sh(flags, script);
        assert_eq!((code, out.as_str()), (0, ""), "{flags:?}: {err}");
    }
}

#[test]
fn cve_2022_0811_settings_are_names_and_nothing_else() {
    // CRI-O handed "kernel.shm_rmid_forced=1+kernel.core_pattern=|/evil" to a tool that split it.
    let host = need_host!();
    let before = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    for setting in [
        "kernel.shm_rmid_forced=1+kernel.core_pattern=x",
        "net.../../kernel/core_pattern=x",
        "net/../kernel/core_pattern=x",
        "net.ipv4/../../kernel/core_pattern=x",
        "kernel.core_pattern=x",
    ] {
        let output = host.corten(&["run", "--rm", "--sysctl", setting, "busybox", "true"]);
        assert_eq!(output.status.code(), Some(125), "{setting:?}");
    }
    // The value goes to the one file, whatever it is.
    let lines = "kernel.shm_rmid_forced=1\nkernel.core_pattern=x";
    host.corten(&["run", "--rm", "--sysctl", lines, "busybox", "true"]);
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before);
    host.assert_clean(&[]);
}

#[test]
fn cve_2022_24769_2022_29162_no_inheritable_and_2022_36109_all_groups() {
    // Inheritable capabilities gave file capabilities to a plain user; the primary group was left out of the
    // supplementary ones, so that a rule which denies it was passed by.
    let host = need_host!();
    let script =
        "while read k v; do case $k in CapInh:|CapAmb:) echo $v;; esac; done < /proc/self/status; id -G";
    for (user, groups) in [("0", "0"), ("web", "1001 4"), ("7:8", "8"), ("web:adm", "4")] {
        let (_, out, err) = host.sh(&["-u", user], script);
        assert_eq!(out, format!("{:016}\n{:016}\n{groups}\n", 0, 0), "{user}: {err}");
    }
}

#[test]
fn cve_2022_4318_a_line_is_one_line() {
    // A newline in HOME became a line of /etc/passwd with a user of the image's choice.
    let host = need_host!();
    host.image("lines", &["ENV HOME=/x\\nevil:x:0:0::/:/bin/sh"], |_| ());
    for flags in [&["-e", "HOME=/x\nevil:x:0:0::/:"][..], &["-e", "A=b\nC=d"], &[]] {
        let mut args = vec!["run", "--rm"];
        args.extend(flags);
        args.extend(["lines", "cat", "/etc/passwd", "/etc/hosts"]);
        let out = text(&host.corten(&args).stdout);
        assert!(!out.contains("evil"), "{flags:?}: {out}");
    }
    for flags in [
        ["--hostname", "a\n1.2.3.4 evil"],
        ["--add-host", "a\n1.2.3.4 evil:1.2.3.4"],
        ["--dns-search", "a\nnameserver 6.6.6.6"],
        ["--domainname", "a\nb"],
    ] {
        let (code, out, _) = host.sh(&flags, "cat /etc/hosts /etc/resolv.conf");
        assert!(code == 125 && out.is_empty(), "{flags:?}: {out}");
    }
}

#[test]
fn cve_2023_0778_and_2024_21626_no_way_out_by_the_working_directory() {
    // runc's descriptor of the host's cgroup directory was open: /proc/self/fd/7 as the working directory
    // led to the host. Only the three standard ones are open (and the one that ls reads with).
    let host = need_host!();
    let (_, out, _) = host.sh(&[], "ls /proc/self/fd");
    assert_eq!(out, "0\n1\n2\n3\n");
    host.image("cwd", &["WORKDIR /link"], |tree| symlink("/proc/self/fd/7", tree.join("link")).unwrap());
    for number in 3..40 {
        let cwd = format!("/proc/self/fd/{number}");
        let (_, out, err) = host.sh(&["-w", &cwd], "ls ../../../..");
        // Numbers that are open during the set-up may lead to the container's own root; it has no /usr.
        assert!(!out.contains("usr"), "{cwd}: {out}{err}");
    }
    let output = host.corten(&["run", "--rm", "cwd", "ls", "-a", "../../.."]);
    assert!(!output.status.success() && output.stdout.is_empty(), "{}", text(&output.stdout));
    for cwd in ["/proc/1/cwd", "/proc/self/root/../../..", "/proc/self/task/../cwd"] {
        let (_, out, _) = host.sh(&["-w", cwd], "ls /proc/self/cwd/ ../../../..");
        assert!(!out.contains("usr"), "{cwd}: {out}");
    }
}

#[test]
fn cve_2023_25809_cgroups_cannot_be_written() {
    // Without a cgroup namespace the tree of the host was there to write.
    let host = need_host!();
    for flags in [&[][..], &["--cgroupns", "host"], &["--userns", "host"], &["--network", "host"]] {
        let script = "for f in $(busybox find /sys/fs/cgroup -name cgroup.procs -o -name '*.max' -o -name '*limit_in_bytes'); do \
                      (echo 1 > $f) 2>/dev/null && echo wrote $f; done; true";
        let (code, out, err) = host.sh(flags, script);
        assert_eq!((code, out.as_str()), (0, ""), "{flags:?}: {err}");
    }
}

#[test]
fn cve_2025_31133_the_mask_is_the_null_device() {
    // /dev/null of the image, a link to a file of procfs, was bound over what was to be hidden.
    let host = need_host!();
    let canary = Canary::plant(&host);
    host.image("null", &[], |tree| link(tree, "dev/null", "/proc/sys/kernel/core_pattern"));
    let script = "stat -c %F /dev/null; cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c; \
                  (echo x > /proc/keys) 2>/dev/null; true";
    let output = host.corten(&[
        "run",
        "--rm",
        "null",
        "/bin/busybox",
        "sh",
        "-c",
        &script.replace("wc", "busybox wc"),
    ]);
    assert_eq!(text(&output.stdout), "character special file\n0\n", "{}", text(&output.stderr));
    // A mount of the user's at /dev leaves no null device to mask with: refused, not skipped.
    let empty = host.path("empty");
    std::fs::create_dir(&empty).unwrap();
    for null in [None, Some("/proc/sys/kernel/core_pattern"), Some(canary.path())] {
        if let Some(to) = null {
            link(&empty, "null", to);
        }
        let volume = format!("{}:/dev", empty.display());
        let (code, out, err) = host.sh(&["-v", &volume], "cat /proc/keys");
        assert_eq!((code, out.as_str()), (125, ""), "{null:?}: {err}");
    }
    canary.assert_untouched("/dev/null");
    host.assert_clean(&[]);
}

#[test]
fn cve_2025_52565_the_console_is_the_terminal() {
    // /dev/pts/0 of the image, a link, was bound at /dev/console.
    let host = need_host!();
    host.image("console", &[], |tree| {
        link(tree, "dev/pts/0", "/proc/sys/kernel/core_pattern");
        link(tree, "dev/console", "/proc/sys/kernel/core_pattern");
        link(tree, "dev/ptmx", "/proc/sys/kernel/core_pattern");
    });
    let output =
        host.corten(&["run", "--rm", "-t", "console", "stat", "-c", "%F %t", "/dev/console", "/dev/pts/0"]);
    let out = text(&output.stdout).replace('\r', "");
    assert_eq!(out, "character special file 88\ncharacter special file 88\n", "{}", text(&output.stderr));
}

#[test]
fn cve_2025_52881_nothing_lies_over_procfs() {
    // A mount over /proc/self/attr or /proc/sys made labels and settings go elsewhere.
    let host = need_host!();
    let data = host.path("data");
    std::fs::create_dir_all(data.join("net/ipv4")).unwrap();
    for file in ["net/ipv4/ip_unprivileged_port_start", "net/ipv4/ping_group_range", "exec"] {
        std::fs::write(data.join(file), "").unwrap();
    }
    for place in ["/proc", "/proc/sys", "/proc/sys/net/", "/proc/self/attr", "/proc/x/../thread-self/attr"] {
        let volume = format!("{}:{place}", data.display());
        let (code, out, err) = host.sh(&["-v", &volume], "echo ran");
        assert_eq!((code, out.as_str()), (125, ""), "{place}: {err}");
        let (code, out, err) = host.sh(&["--tmpfs", place], "echo ran");
        assert_eq!((code, out.as_str()), (125, ""), "tmpfs {place}: {err}");
    }
    assert_eq!(std::fs::read_to_string(data.join("net/ipv4/ip_unprivileged_port_start")).unwrap(), "");
    let told = format!("{}:/proc/uptime", data.join("exec").display());
    assert_eq!(host.sh(&["-v", &told], "cat /proc/uptime; echo ran").1, "ran\n");
}

#[test]
fn cve_2026_41579_and_2026_47766_dev_is_no_link() {
    // Device nodes were made where a link at /dev of the image led to.
    let host = need_host!();
    let canary = Canary::plant(&host);
    for (kind, to) in [("absolute", canary.path()), ("up", "../../../../tmp"), ("inside", "/tmp")] {
        let name = format!("dev-{kind}");
        host.image(&name, &[], |tree| link(tree, "dev", to));
        let output = host.corten(&["run", "--rm", &name, "ls", "/dev"]);
        assert_eq!(output.status.code(), Some(125), "{name}: {}", text(&output.stdout));
        canary.assert_untouched(&name);
    }
    host.assert_clean(&[]);
}

#[test]
fn cve_2026_57231_the_environment_of_the_host_stays_there() {
    // An Env entry of an image without `=` copied that variable of the host's.
    let host = need_host!();
    let mut run = host.command(&["run", "--rm", "busybox", "env"]);
    let output = run.env("CORTEN_TEST_SECRET", "a secret of the host").output().unwrap();
    let out = text(&output.stdout);
    assert!(out.contains("HOSTNAME=") && !out.contains("secret"), "{out}");
}

#[test]
fn files_that_are_made_for_the_container_follow_no_link() {
    // /etc/hosts and its like, where the image has links, FIFOs and directories in their places
    // (CVE-2015-3629, CVE-2023-0778, and the engines' /etc/mtab).
    let host = need_host!();
    let canary = Canary::plant(&host);
    let secret = format!("{}/secret", canary.path());
    let up = format!("../../../../../../..{secret}");
    for file in ["hosts", "hostname", "resolv.conf", "mtab"] {
        for (kind, to) in [("absolute", secret.as_str()), ("up", &up), ("magic", "/proc/self/fd/0")] {
            let name = format!("etc-{}-{kind}", file.replace('.', "-"));
            host.image(&name, &[], |tree| link(tree, &format!("etc/{file}"), to));
            let output = host.corten(&["run", "--rm", &name, "cat", &format!("/etc/{file}")]);
            assert!(matches!(output.status.code(), Some(0 | 1 | 125)), "{name}: {}", text(&output.stderr));
            assert!(!text(&output.stdout).contains("secret"), "{name}");
            canary.assert_untouched(&name);
        }
    }
    host.assert_clean(&[]);
}
