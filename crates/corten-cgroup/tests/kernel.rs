//! What cgroups do to real processes, on this kernel and, by `cargo xtask test --host uml`, on pure v2.
//!
//! Each test runs in every world that the host has: a hybrid host also as v1 and as v2 alone.

mod support;

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use corten_cgroup::resources::{BlockIo, Cpu, HugepageLimit, Memory, Pids, ThrottleDevice};
use corten_cgroup::{Cgroup, CgroupPath, Controller, DeviceRule, Error, Plan, Resources, leftovers};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::Signal;
use support::{Scratch, eventually, layouts, layouts_with, path};

const MIB: i64 = 1 << 20;

fn memory(limit: i64, swap: Option<i64>) -> Resources {
    Resources {
        memory: Some(Memory { limit: Some(limit), swap, ..Memory::default() }),
        ..Resources::default()
    }
}

fn pids(limit: i64) -> Resources {
    Resources { pids: Some(Pids { limit: Some(limit) }), ..Resources::default() }
}

fn cpu(cpu: Cpu) -> Resources {
    Resources { cpu: Some(cpu), ..Resources::default() }
}

fn rule(allow: bool, kind: &str, major: Option<u32>, minor: Option<u32>, access: &str) -> DeviceRule {
    use corten_cgroup::DeviceKind::{All, Block, Char};
    let kind = match kind {
        "c" => Char,
        "b" => Block,
        _ => All,
    };
    DeviceRule { allow, kind, major, minor, access: access.parse().unwrap() }
}

#[test]
fn limits_reach_the_kernel_and_change_in_any_order() {
    for (world, layout) in layouts_with(Controller::Memory) {
        let mut c = Scratch::new("limits", &layout, &memory(64 * MIB, Some(128 * MIB)));
        let v2 = c.is_v2(Controller::Memory);
        let read = |c: &Scratch| {
            let files = if v2 {
                ["memory.max", "memory.swap.max"]
            } else {
                ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
            };
            files.map(|f| c.read(Controller::Memory, f).parse::<i64>().map_or(-1, |n| n / MIB))
        };
        let expected = |limit: i64, both: i64| [limit, if v2 { both - limit } else { both }];
        assert_eq!(read(&c), expected(64, 128), "{world}");
        // Up beyond the old sum, down below the old limit, and up again.
        for (limit, both) in [(256, 512), (32, 32), (100, 200)] {
            c.set(&memory(limit * MIB, Some(both * MIB))).unwrap();
            assert_eq!(read(&c), expected(limit, both), "{world}");
        }
        c.set(&memory(-1, None)).unwrap();
        let stats = c.stats().unwrap().memory.unwrap();
        assert_eq!((stats.limit_bytes, stats.swap_limit_bytes), (None, None), "{world}");
    }
}

#[test]
fn cpu_limits_reach_the_kernel_and_change_in_any_order() {
    for (world, layout) in layouts_with(Controller::Cpu) {
        let limits = |quota, period| cpu(Cpu { quota, period, shares: Some(2048), ..Cpu::default() });
        let mut c = Scratch::new("cpu", &layout, &limits(Some(50_000), Some(100_000)));
        let v2 = c.is_v2(Controller::Cpu);
        let read = |c: &Scratch| match v2 {
            true => {
                format!("{} {}", c.read(Controller::Cpu, "cpu.max"), c.read(Controller::Cpu, "cpu.weight"))
            }
            false => ["cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares"]
                .map(|f| c.read(Controller::Cpu, f))
                .join(" "),
        };
        let share = if v2 { 174 } else { 2048 };
        assert_eq!(read(&c), format!("50000 100000 {share}"), "{world}");
        c.set(&cpu(Cpu { period: Some(200_000), ..Cpu::default() })).unwrap();
        assert_eq!(read(&c), format!("50000 200000 {share}"), "{world}: the quota stays");
        c.set(&cpu(Cpu { quota: Some(20_000), ..Cpu::default() })).unwrap();
        assert_eq!(read(&c), format!("20000 200000 {share}"), "{world}: the period stays");
        // A burst above the old quota, then a quota below that burst.
        c.set(&cpu(Cpu { quota: Some(40_000), burst: Some(40_000), ..Cpu::default() })).unwrap();
        c.set(&cpu(Cpu { quota: Some(10_000), burst: Some(5_000), ..Cpu::default() })).unwrap();
        assert_eq!(read(&c), format!("10000 200000 {share}"), "{world}");
    }
}

#[test]
fn a_busy_loop_is_throttled() {
    for (world, layout) in layouts_with(Controller::Cpu) {
        let quota = cpu(Cpu { quota: Some(5_000), period: Some(50_000), ..Cpu::default() });
        let c = Scratch::new("throttle", &layout, &quota);
        let _busy = c.spawn("while :; do :; done");
        let throttled = || c.stats().unwrap().cpu.unwrap();
        assert!(eventually(|| throttled().throttling.throttled_periods > 1), "{world}: {:?}", throttled());
        assert!(throttled().usage_ns > 0 && throttled().throttling.throttled_ns > 0, "{world}");
    }
}

#[test]
fn a_memory_hog_is_killed_and_counted() {
    for (world, layout) in layouts_with(Controller::Memory) {
        let c = Scratch::new("oom", &layout, &memory(16 * MIB, Some(16 * MIB)));
        assert_eq!(c.oom_kills().unwrap(), 0);
        let events = c.oom_events().unwrap();
        assert!(!events.drain().unwrap());
        // tail keeps a last line that never ends.
        let mut hog = c.spawn("exec tail /dev/zero");
        let mut fds = [PollFd::new(&events, PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 30, tv_nsec: 0 })).unwrap();
        assert!(fds[0].revents().contains(PollFlags::IN), "{world}: no event");
        assert_eq!(hog.wait().signal(), Some(9), "{world}");
        assert!(events.drain().unwrap());
        assert!(eventually(|| c.oom_kills().unwrap() == 1), "{world}: {:?}", c.oom_kills());
        let stats = c.stats().unwrap().memory.unwrap();
        assert_eq!(stats.limit_bytes, Some(16 * MIB as u64), "{world}");
        assert!(!stats.stat.is_empty() && stats.max_usage_bytes > Some(8 * MIB as u64), "{world}: {stats:?}");
        // Here it is memory and swap that is hit, and v1 of 6.18 leaves memory.memsw.failcnt at 0 (measured).
        assert!(stats.limit_hits > 0 || !c.is_v2(Controller::Memory), "{world}: {stats:?}");
    }
}

#[test]
fn forks_end_at_the_limit() {
    for (world, layout) in layouts_with(Controller::Pids) {
        let c = Scratch::new("pids", &layout, &pids(5));
        let mut forks = c.spawn("for i in 1 2 3 4 5 6 7 8 9; do sleep 60 & done; exit 0");
        // dash gives up at the first fork that fails.
        assert_eq!(forks.wait().code(), Some(2), "{world}");
        let stats = c.stats().unwrap().pids.unwrap();
        assert_eq!(stats.limit, Some(5), "{world}");
        assert!((1..=5).contains(&stats.current), "{world}: {stats:?}");
        assert!(!c.procs().unwrap().is_empty());
    }
}

#[test]
fn a_frozen_loop_stands_still() {
    for (world, layout) in layouts() {
        let c = Scratch::new("freeze", &layout, &Resources::default());
        let busy = c.spawn("while :; do :; done");
        let ticks = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", busy.pid())).unwrap();
            stat.rsplit(')').next().unwrap().split(' ').nth(12).unwrap().parse::<u64>().unwrap()
        };
        assert!(eventually(|| ticks() > 0), "{world}: it does not run");
        c.freeze().unwrap();
        assert!(c.is_frozen().unwrap(), "{world}");
        let before = ticks();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(ticks(), before, "{world}: it runs on");
        c.thaw().unwrap();
        assert!(!c.is_frozen().unwrap(), "{world}");
        assert!(eventually(|| ticks() > before), "{world}: it stands still");
        // An empty one freezes too, and a frozen one can be killed.
        c.freeze().unwrap();
        c.kill_all().unwrap();
        c.wait_empty(Duration::from_secs(5)).unwrap();
        c.freeze().unwrap();
        c.thaw().unwrap();
    }
}

#[test]
fn a_fork_storm_is_killed_to_the_last() {
    for (world, layout) in layouts_with(Controller::Pids) {
        let c = Scratch::new("kill", &layout, &pids(40));
        let mut storm = c.spawn("while :; do sh -c 'while :; do sleep 1 & sleep 0; done' & sleep 0.01; done");
        assert!(eventually(|| c.procs().unwrap().len() > 10), "{world}");
        c.kill_all().unwrap();
        c.wait_empty(Duration::from_secs(10)).unwrap();
        assert_eq!(c.procs().unwrap(), [], "{world}");
        assert_eq!(storm.wait().signal(), Some(9), "{world}");
    }
}

#[test]
fn a_signal_reaches_each_process() {
    for (world, layout) in layouts() {
        let c = Scratch::new("signal", &layout, &Resources::default());
        let mut payload = c.spawn("trap 'exit 3' TERM; sleep 60 & wait");
        // Before its exec a forked shell would take the signal for its parent's trap.
        let comm = |pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let sleeps = || c.procs().unwrap().into_iter().any(|pid| comm(pid) == "sleep\n");
        assert!(eventually(sleeps), "{world}");
        c.signal_all(Signal::TERM).unwrap();
        assert_eq!(payload.wait().code(), Some(3), "{world}");
        c.wait_empty(Duration::from_secs(5)).unwrap();
    }
}

#[test]
fn devices_are_denied_and_allowed_again() {
    for (world, layout) in layouts() {
        let null_only = [rule(false, "a", None, None, "rwm"), rule(true, "c", Some(1), Some(3), "rw")];
        let resources = |rules: &[DeviceRule]| Resources { devices: rules.to_vec(), ..Resources::default() };
        let mut c = match Cgroup::create(&layout, &path("probe"), &resources(&null_only)) {
            Err(Error::Call { call: call @ corten_cgroup::Call::Bpf(..), errno }) => {
                println!("skipped in {world}: this kernel has no device filter: {call} = {errno}");
                continue;
            }
            made => {
                made.unwrap().remove().unwrap();
                Scratch::new("devices", &layout, &resources(&null_only))
            }
        };
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("node");
        let script = format!(
            "n=0; (: <>/dev/null) && n=$((n+1)); (: </dev/full) && n=$((n+2)); (: >/dev/full) && n=$((n+4));
             mknod {} c 1 7 && n=$((n+8)); exit $n",
            node.display()
        );
        let what_works = |c: &Scratch| {
            let _ = std::fs::remove_file(&node);
            c.spawn(&script).wait().code().unwrap()
        };
        assert_eq!(what_works(&c), 1, "{world}: only null");
        let mut rules = null_only.to_vec();
        rules.push(rule(true, "c", Some(1), Some(7), "r"));
        c.set(&resources(&rules)).unwrap();
        assert_eq!(what_works(&c), 1 + 2, "{world}: and full to read");
        rules.push(rule(true, "c", Some(1), Some(7), "wm"));
        c.set(&resources(&rules)).unwrap();
        assert_eq!(what_works(&c), 15, "{world}: all");
        rules.push(rule(false, "c", Some(1), None, "m"));
        c.set(&resources(&rules)).unwrap();
        assert_eq!(what_works(&c), 7, "{world}: all but mknod");
        c.set(&resources(&[rule(true, "a", None, None, "rwm")])).unwrap();
        assert_eq!(what_works(&c), 15, "{world}: everything");
    }
}

#[test]
fn cpus_are_joined_late() {
    for (world, layout) in layouts_with(Controller::Cpuset) {
        let mut c = Scratch::new("cpuset", &layout, &Resources::default());
        let payload = c.spawn("sleep 60 & wait");
        assert!(eventually(|| c.procs().unwrap().len() == 2));
        c.set(&cpu(Cpu { cpus: Some("0".into()), ..Cpu::default() })).unwrap();
        assert!(c.controllers().contains(Controller::Cpuset));
        for pid in c.procs().unwrap() {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            assert!(status.contains("Cpus_allowed_list:\t0\n"), "{world}: {pid}");
        }
        let e = c.set(&cpu(Cpu { cpus: Some("0-4000".into()), ..Cpu::default() })).unwrap_err();
        assert!(e.to_string().contains("cpuset.cpus\", \"0-4000\") = E"), "{world}: {e}");
        assert!(e.hint().unwrap().contains("subset"), "{world}");
        drop(payload);
    }
}

#[test]
fn io_limits_reach_the_kernel() {
    // A whole disk, not a partition: of the root file system's, or any.
    let disks = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let number = |d: std::fs::DirEntry| std::fs::read_to_string(d.path().join("dev")).ok();
    let Some(number) = disks.filter_map(number).find(|n| !n.starts_with("7:")) else {
        println!("skipped: no disk in /sys/block");
        return;
    };
    let (major, minor) = number.trim().split_once(':').unwrap();
    let device =
        ThrottleDevice { major: major.parse().unwrap(), minor: minor.parse().unwrap(), rate: 1_048_576 };
    let block_io = BlockIo { read_bps: vec![device.clone()], write_iops: vec![device], ..BlockIo::default() };
    for (world, layout) in layouts_with(Controller::Io) {
        let r = Resources { block_io: Some(block_io.clone()), ..Resources::default() };
        let c = Scratch::new("io", &layout, &r);
        let text = match c.is_v2(Controller::Io) {
            true => c.read(Controller::Io, "io.max"),
            false => c.read(Controller::Io, "blkio.throttle.read_bps_device"),
        };
        assert!(text.contains("1048576"), "{world}: {text}");
        assert!(c.stats().unwrap().io.is_some(), "{world}");
    }
}

/// On a hybrid host the one controller that cgroup2 owns.
#[test]
fn huge_pages_are_limited() {
    for (world, layout) in layouts_with(Controller::Hugetlb) {
        let limit = HugepageLimit { page_size: "2MB".into(), limit: 4 << 20 };
        let r = Resources { hugepage_limits: vec![limit], ..Resources::default() };
        let c = match Cgroup::create(&layout, &path("probe"), &r) {
            Err(e) if e.errno() == Some(Errno::NOENT) => {
                println!("skipped in {world}: no 2 MB pages: {e}");
                continue;
            }
            made => {
                made.unwrap().remove().unwrap();
                Scratch::new("hugetlb", &layout, &r)
            }
        };
        let file =
            if c.is_v2(Controller::Hugetlb) { "hugetlb.2MB.max" } else { "hugetlb.2MB.limit_in_bytes" };
        assert_eq!(c.read(Controller::Hugetlb, file), (4 << 20).to_string(), "{world}");
        assert_eq!(c.stats().unwrap().hugetlb.unwrap()["2MB"].usage_bytes, 0, "{world}");
    }
}

#[test]
fn what_has_processes_is_neither_replaced_nor_removed() {
    for (world, layout) in layouts() {
        let c = Scratch::new("populated", &layout, &Resources::default());
        let payload = c.spawn("sleep 60");
        let e = Cgroup::create(&layout, c.path(), &Resources::default()).unwrap_err();
        assert!(matches!(&e, Error::Populated { pids, .. } if pids.contains(&payload.pid())), "{world}: {e}");
        assert!(c.procs().unwrap().contains(&payload.pid()), "{world}: it is still there");
        let found = leftovers(&layout, &CgroupPath::new(support::PARENT).unwrap()).unwrap();
        let ours = found.iter().find(|l| l.path == *c.path()).unwrap();
        assert!(ours.populated, "{world}");
        assert_eq!(ours.dirs.len(), c.members().len(), "{world}");
        let again = Cgroup::open(&layout, c.path()).unwrap();
        assert_eq!(again.members(), c.members(), "{world}");
        c.kill_all().unwrap();
        c.wait_empty(Duration::from_secs(5)).unwrap();
        drop(payload);
        // Empty, it is replaced.
        Cgroup::create(&layout, c.path(), &Resources::default()).unwrap();
    }
}

#[test]
fn cgroups_below_are_removed_with_it() {
    for (_, layout) in layouts() {
        let c = Scratch::new("nested", &layout, &Resources::default());
        for member in c.members() {
            std::fs::create_dir_all(member.dir.join("a/b")).unwrap();
        }
        let payload = c.spawn("sleep 0.3");
        let path = c.path().clone();
        // sleep ends by itself, and its zombie is no obstacle.
        c.take().remove().unwrap();
        support::assert_nothing_left(&layout, &path);
        support::remove_parent(&layout);
        drop(payload);
    }
}

#[test]
fn nothing_is_left_of_a_create_that_failed() {
    for (world, layout) in layouts_with(Controller::Pids) {
        let path = path("fails");
        // More than the kernel's PIDS_MAX: EINVAL at the last step.
        let e = Cgroup::create(&layout, &path, &pids(i64::MAX)).unwrap_err();
        assert!(e.to_string().ends_with(r#"pids.max", "9223372036854775807") = EINVAL"#), "{world}: {e}");
        support::assert_nothing_left(&layout, &path);
        support::remove_parent(&layout);
        assert!(Cgroup::open(&layout, &path).is_err());
    }
}

#[test]
fn exec_follows_init_into_a_nested_cgroup() {
    for (world, layout) in layouts_with(Controller::Pids) {
        let Some(unified) = layout.unified.as_ref().filter(|u| u.controllers.contains(Controller::Pids))
        else {
            continue;
        };
        let c = Scratch::new("exec", &layout, &Resources::default());
        let init = c.spawn("sleep 60");
        // What systemd in a container does: into a leaf, then controllers to it.
        let dir = c.path().below(&unified.mount);
        std::fs::create_dir(dir.join("init.scope")).unwrap();
        std::fs::write(dir.join("init.scope/cgroup.procs"), init.pid().to_string()).unwrap();
        std::fs::write(dir.join("cgroup.subtree_control"), "+pids").unwrap();
        let mut exec = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = exec.id() as i32;
        assert!(c.attach(pid).is_err(), "{world}");
        c.attach_beside(pid, init.pid()).unwrap();
        let now = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert!(now.trim().ends_with(&format!("{}/init.scope", c.path())), "{world}: {now}");
        exec.kill().unwrap();
        exec.wait().unwrap();
    }
}

#[test]
fn the_printed_plan_does_the_same() {
    for (world, layout) in layouts_with(Controller::Memory) {
        let mut r = memory(64 * MIB, None);
        r.pids = pids(77).pids;
        r.cpu =
            cpu(Cpu { shares: Some(512), quota: Some(20_000), period: Some(50_000), ..Cpu::default() }).cpu;
        if layout.controllers().contains(Controller::Cpuset) {
            r.cpu.as_mut().unwrap().cpus = Some("0".into());
        }
        if layout.kind != corten_cgroup::Kind::V2 {
            r.devices = vec![rule(true, "c", Some(1), Some(3), "rwm")];
        }
        let ours = Scratch::new("plan", &layout, &r);
        let path = path("shell");
        let plan = Plan::new(&layout, &path, &r).unwrap();
        let status = Command::new("/bin/sh").args(["-ec", &plan.to_string()]).status().unwrap();
        assert!(status.success(), "{world}: {plan}");
        let by_shell = Cgroup::open(&layout, &path).unwrap();
        assert_eq!(by_shell.members().len(), ours.members().len(), "{world}");
        for (a, b) in ours.members().iter().zip(by_shell.members()) {
            for file in readable(&a.dir) {
                let read = |dir: &PathBuf| std::fs::read_to_string(dir.join(&file)).unwrap_or_default();
                assert_eq!(read(&a.dir), read(&b.dir), "{world}: {file}");
            }
        }
        by_shell.remove().unwrap();
    }
}

/// The files that hold settings rather than measurements.
fn readable(dir: &PathBuf) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
    let settings =
        ["limit_in_bytes", "max", "shares", "weight", "quota_us", "period_us", "list", "cpus", "mems"];
    names.filter(|n| settings.iter().any(|s| n.ends_with(s))).collect()
}

#[test]
fn a_directory_to_clone_into() {
    for (world, layout) in layouts() {
        let c = Scratch::new("clone", &layout, &Resources::default());
        let fd = c.dir_fd().unwrap();
        assert_eq!(fd.is_some(), layout.unified.is_some(), "{world}");
        assert_eq!(layout.cgroup_namespace_at_clone(), world == "v2");
    }
}

#[test]
fn usage_is_checked_before_a_limit_sinks() {
    for (world, layout) in layouts_with(Controller::Memory) {
        let mut c = Scratch::new("check", &layout, &memory(256 * MIB, None));
        let _payload = c.spawn("head -c 30000000 /dev/zero | tail | sleep 60");
        let usage = || c.stats().unwrap().memory.unwrap().usage_bytes;
        assert!(eventually(|| usage() > 20_000_000), "{world}: {}", usage());
        let mut low = memory(4 * MIB, None);
        low.memory.as_mut().unwrap().check_before_update = Some(true);
        let e = c.set(&low).unwrap_err();
        assert!(e.to_string().starts_with("memory.limit: 4194304: is below the usage"), "{world}: {e}");
        assert_eq!(c.oom_kills().unwrap(), 0, "{world}");
    }
}
