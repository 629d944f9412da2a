//! The systemd driver with systemd itself: a user's instance, in the guest of tests/uml, where it has
//! cgroup2 to itself. It judges what the fake bus cannot: whether it takes our properties for what we
//! mean, and whether limits outlive a `daemon-reload`.

mod support;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use corten_cgroup::resources::{Cpu, Memory, Pids};
use corten_cgroup::systemd::{BusFault, Systemd};
use corten_cgroup::{Cgroup, DeviceKind, DeviceRule, Error, Kind, Layout, Plan, Resources};
use support::{Payload, eventually};

/// A bus and a systemd on it, in the cgroup where logind would have put it.
struct Instance {
    runtime: PathBuf,
    bus: String,
    systemd: Option<Child>,
}

const OWN: &str = "/sys/fs/cgroup/user.slice/user-0.slice/user@0.service";

impl Instance {
    fn start() -> Instance {
        let runtime = PathBuf::from(format!("/run/systemd-test-{}", std::process::id()));
        let private =
            |dir: &Path| std::fs::DirBuilder::new().mode(0o700).recursive(true).create(dir).unwrap();
        private(&runtime);
        // Without it systemd refuses to be anybody's: sd_booted(3).
        private(Path::new("/run/systemd/system"));
        // Nothing of this machine's units; these are asked for by name.
        let units = runtime.join("units");
        private(&units);
        let quiet = "[Unit]\nDefaultDependencies=no\n";
        let write = |unit: &str, text: &str| {
            std::fs::write(units.join(unit), format!("{quiet}{text}")).unwrap();
        };
        for unit in ["basic.target", "shutdown.target", "exit.target", "sockets.target"] {
            write(unit, "");
        }
        // It goes to a bus only if the bus is a unit of its own.
        write("default.target", "Wants=dbus.socket dbus.service\n");
        write("dbus.socket", "[Socket]\nListenStream=%t/bus\n");
        write(
            "dbus.service",
            "Requires=dbus.socket\n[Service]\nType=notify\nExecStart=/usr/bin/dbus-daemon --session \
             --address=systemd: --nofork --nopidfile --nosyslog\n",
        );
        std::fs::create_dir_all(OWN).unwrap();
        for dir in ["/sys/fs/cgroup", "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup/user.slice/user-0.slice"] {
            std::fs::write(format!("{dir}/cgroup.subtree_control"), "+cpu +io +memory +pids").unwrap();
        }
        let bus = format!("unix:path={}/bus", runtime.display());
        let mut instance = Instance { runtime, bus, systemd: None };
        let script = format!("echo $$ > {OWN}/cgroup.procs && exec /lib/systemd/systemd --user");
        // Transient units and what is set of units are read from there at a reload.
        let kept = ["systemd/transient", "systemd/user.control"].map(|dir| instance.runtime.join(dir));
        let path = format!("{}:{}:{}", units.display(), kept[0].display(), kept[1].display());
        let mut systemd = instance.command("/bin/sh");
        systemd.args(["-c", &script]).current_dir("/").env("SYSTEMD_UNIT_PATH", path);
        systemd.env("SYSTEMD_LOG_TARGET", "console").env_remove("NOTIFY_SOCKET");
        instance.systemd = Some(systemd.spawn().unwrap());
        let there = || {
            let status =
                instance.command("busctl").args(["--user", "status", "org.freedesktop.systemd1"]).output();
            status.unwrap().status.success()
        };
        assert!(eventually(there), "systemd does not come to the bus");
        instance
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("XDG_RUNTIME_DIR", &self.runtime)
            .env("HOME", &self.runtime)
            .env("DBUS_SESSION_BUS_ADDRESS", &self.bus)
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// `systemctl --user show`: NAME=VALUE lines, sorted.
    fn show(&self, unit: &str, properties: &str) -> Vec<String> {
        let output =
            self.command("systemctl").args(["--user", "show", unit, "-p", properties]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut lines: Vec<String> =
            String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    fn reload(&self) {
        let status = self.command("systemctl").args(["--user", "daemon-reload"]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Its units, the bus among them, are in the same cgroup.
        let _gone = std::fs::write(format!("{OWN}/cgroup.kill"), "1");
        if let Some(mut systemd) = self.systemd.take() {
            let _killed = systemd.kill();
            let _reaped = systemd.wait();
        }
        let own = Path::new(OWN);
        let empty = || {
            !std::fs::read_to_string(own.join("cgroup.events")).unwrap_or_default().contains("populated 1")
        };
        eventually(empty);
        remove_below(own);
        for dir in own.ancestors().take(3) {
            let _left = std::fs::remove_dir(dir);
        }
        let _left = std::fs::remove_dir_all(&self.runtime);
    }
}

fn remove_below(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path());
            let _left = std::fs::remove_dir(entry.path());
        }
    }
}

fn why_not() -> Option<&'static str> {
    // Elsewhere there may be one already, and /run and the cgroups are not ours.
    if std::env::var_os("UML_DISK").is_none() {
        return Some("only in the guest of tests/uml (cargo xtask test --host uml)");
    }
    let missing = |program: &&str| !Path::new(program).exists();
    if ["/lib/systemd/systemd", "/usr/bin/dbus-daemon", "/usr/bin/busctl"].iter().any(missing) {
        return Some("needs systemd and dbus-daemon");
    }
    None
}

fn read(cgroup: &Cgroup, file: &str) -> String {
    std::fs::read_to_string(cgroup.members()[0].dir.join(file)).unwrap().trim().to_owned()
}

fn rule(allow: bool, kind: DeviceKind, numbers: Option<(u32, Option<u32>)>, access: &str) -> DeviceRule {
    DeviceRule {
        allow,
        kind,
        major: numbers.map(|(major, _)| major),
        minor: numbers.and_then(|(_, minor)| minor),
        access: access.parse().unwrap(),
    }
}

#[test]
fn systemd_takes_our_limits_and_keeps_them() {
    if let Some(reason) = why_not() {
        return println!("skipped: {reason}");
    }
    let instance = Instance::start();
    let layout = Layout::detect().unwrap();
    assert_eq!(layout.kind, Kind::V2);
    let resources = Resources {
        memory: Some(Memory {
            limit: Some(64 << 20),
            swap: Some(96 << 20),
            reservation: Some(8 << 20),
            ..Memory::default()
        }),
        cpu: Some(Cpu { shares: Some(512), quota: Some(20_000), period: Some(50_000), ..Cpu::default() }),
        pids: Some(Pids { limit: Some(77) }),
        devices: vec![
            rule(false, DeviceKind::All, None, "rwm"),
            rule(true, DeviceKind::Char, None, "m"),
            rule(true, DeviceKind::Char, Some((1, Some(3))), "rwm"),
            rule(true, DeviceKind::Char, Some((136, None)), "rw"),
        ],
        ..Resources::default()
    };
    let systemd = Systemd { bus: instance.bus.clone(), user: Some(0) };
    let scope = systemd.scope(systemd.default_slice(), "4f2a").unwrap();
    let unit = scope.name.as_str().to_owned();
    let mut child = Command::new("/bin/sh");
    child.args(["-c", "read go; sleep 1000"]).stdin(Stdio::piped()).stderr(Stdio::null());
    let child = Payload::of(child.spawn().unwrap());
    let plan = Plan::in_scope(&layout, scope.clone(), &resources).unwrap();
    let mut cgroup = Cgroup::carry_out_around(plan, child.pid()).unwrap_or_else(|e| panic!("{e}"));
    let kernel = |cgroup: &Cgroup| {
        ["memory.max", "memory.swap.max", "memory.low", "cpu.max", "cpu.weight", "pids.max"]
            .map(|file| read(cgroup, file))
    };
    let expected = ["67108864", "33554432", "8388608", "20000 50000", "59", "77"];
    assert_eq!(kernel(&cgroup), expected);
    let properties = "ActiveState,CPUQuotaPerSecUSec,CPUQuotaPeriodUSec,CPUWeight,Delegate,DevicePolicy,MemoryLow,\
                      MemoryMax,MemorySwapMax,Slice,TasksMax,CollectMode";
    let shown = [
        "ActiveState=active",
        "CPUQuotaPerSecUSec=400ms",
        "CPUQuotaPeriodUSec=50ms",
        "CPUWeight=59",
        "CollectMode=inactive-or-failed",
        "Delegate=yes",
        "DevicePolicy=strict",
        "MemoryLow=8388608",
        "MemoryMax=67108864",
        "MemorySwapMax=33554432",
        "Slice=user.slice",
        "TasksMax=77",
    ];
    assert_eq!(instance.show(&unit, properties), shown);
    let devices = instance.show(&unit, "DeviceAllow");
    for entry in ["DeviceAllow=/dev/char/1:3 rwm", "DeviceAllow=char-* m", "DeviceAllow=char-136 rw"] {
        assert!(devices.iter().any(|line| line == entry), "{devices:?}");
    }
    // What it is told of stays when it reads everything anew.
    instance.reload();
    assert_eq!(kernel(&cgroup), expected, "after daemon-reload");
    let script = "n=0; (: <>/dev/null) && n=$((n+1)); (: </dev/full) && n=$((n+2)); exit $n";
    assert_eq!(in_it(&cgroup, script), 1, "only null");
    let more = Resources { pids: Some(Pids { limit: Some(99) }), ..Resources::default() };
    cgroup.set(&layout, &more).unwrap();
    instance.reload();
    assert_eq!(read(&cgroup, "pids.max"), "99");
    assert_eq!(read(&cgroup, "memory.max"), "67108864");
    // A second one of that name is refused by systemd itself.
    let other = Payload::of(Command::new("sleep").arg("1000").spawn().unwrap());
    let plan = Plan::in_scope(&layout, scope.clone(), &resources).unwrap();
    let mut twin = plan.clone();
    twin.ops.clear();
    match systemd.scope(systemd.default_slice(), "4f2a").map(|_| Cgroup::carry_out_around(twin, other.pid()))
    {
        Ok(Err(Error::Systemd { fault: BusFault::Refused { name, .. }, .. })) => {
            assert_eq!(name, "org.freedesktop.systemd1.UnitExists");
        }
        other => panic!("{other:?}"),
    }
    assert!(cgroup.members()[0].dir.exists(), "the first one is still there");
    cgroup.kill_all().unwrap();
    drop(child);
    cgroup.wait_empty(Duration::from_secs(10)).unwrap();
    let dir = cgroup.members()[0].dir.clone();
    cgroup.remove().unwrap();
    assert!(!dir.exists());
    assert_eq!(instance.show(&unit, "LoadState"), ["LoadState=not-found"]);
}

/// Runs a script in the cgroup; its exit code.
fn in_it(cgroup: &Cgroup, script: &str) -> i32 {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("read go; {script}")]).stdin(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    cgroup.attach(child.id() as i32).unwrap();
    drop(std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n"));
    child.wait().unwrap().code().unwrap_or(-1)
}
