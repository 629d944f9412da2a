//! The systemd driver against a bus that the test runs, and that does to cgroups what systemd would.

#[path = "support/fake_systemd.rs"]
mod fake_systemd;
mod support;

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use corten_cgroup::resources::{Cpu, Memory, Pids};
use corten_cgroup::systemd::{Scope, Systemd};
use corten_cgroup::{
    Cgroup, Controller, DeviceKind, DeviceRule, Driver, Kind, Layout, Plan, Resources, Version,
};
use fake_systemd::{Any, FakeSystemd, Trick};
use support::layouts;

/// A slice that is neither the machine's nor another test's.
fn slice() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("cortentest{}x{number}-deep.slice", std::process::id())
}

fn fake(layout: &Layout, trick: Trick) -> FakeSystemd {
    let hierarchies = layout.hierarchies();
    // On v1 systemd makes it in its own hierarchy and where it manages limits.
    let made = hierarchies.filter(|h| {
        h.version == Version::V2
            || h.name.as_deref() == Some("systemd")
            || [Controller::Memory, Controller::Pids, Controller::Cpu]
                .iter()
                .any(|c| h.controllers.contains(*c))
    });
    FakeSystemd::start(made.map(|h| (h.mount.clone(), layout.kind == Kind::V2)).collect(), trick)
}

fn scope(fake: &FakeSystemd) -> Scope {
    Systemd { bus: fake.address.clone(), user: None }.scope(&slice(), "0123abcd").unwrap()
}

struct Payload(Child);

impl Payload {
    fn new() -> Payload {
        let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        Payload(child)
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    fn cgroups(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/cgroup", self.pid())).unwrap()
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn remove_slices(layout: &Layout, scope: &Scope) {
    let deep = scope.path().unwrap().parent().unwrap();
    for h in layout.hierarchies() {
        for slice in [deep.clone(), deep.parent().unwrap()] {
            let _not_there = std::fs::remove_dir(slice.below(&h.mount));
        }
    }
}

fn assert_nothing_left(layout: &Layout, scope: &Scope) {
    for h in layout.hierarchies() {
        let dir = scope.path().unwrap().below(&h.mount);
        assert!(!dir.exists(), "{} is left", dir.display());
    }
    remove_slices(layout, scope);
}

/// What this layout can limit.
fn limits(layout: &Layout) -> Resources {
    let has = |c| layout.controllers().contains(c);
    Resources {
        memory: has(Controller::Memory).then(|| Memory {
            limit: Some(64 << 20),
            swap: Some(96 << 20),
            ..Memory::default()
        }),
        cpu: has(Controller::Cpu).then(|| Cpu {
            shares: Some(512),
            quota: Some(20_000),
            period: Some(50_000),
            ..Cpu::default()
        }),
        pids: has(Controller::Pids).then_some(Pids { limit: Some(77) }),
        ..Resources::default()
    }
}

#[test]
fn a_scope_is_made_limited_changed_and_removed() {
    for (world, layout) in layouts() {
        for trick in [Trick::None, Trick::SignalFirst, Trick::Flood, Trick::Forgets] {
            let fake = fake(&layout, trick);
            let scope = scope(&fake);
            assert_eq!(scope.systemd.scope_at(&scope.path().unwrap()).unwrap(), scope);
            let payload = Payload::new();
            let plan = Plan::in_scope(&layout, scope.clone(), &limits(&layout)).unwrap();
            assert!(plan.needs_process());
            let mut cgroup = Cgroup::carry_out_around(plan, payload.pid()).unwrap();
            assert_eq!(cgroup.driver(), Driver::Systemd);
            let wanted = format!(":/{}", scope.path().unwrap());
            assert!(payload.cgroups().lines().any(|line| line.ends_with(&wanted)), "{}", payload.cgroups());
            for member in cgroup.members() {
                let procs = std::fs::read_to_string(member.dir.join("cgroup.procs")).unwrap();
                assert_eq!(procs.trim(), payload.pid().to_string(), "{world}: {}", member.dir.display());
            }
            let started = fake.call("StartTransientUnit");
            assert_eq!(started.args[0].text(), scope.name.as_str());
            let properties = started.properties();
            let has = |name: &str, kind: &str, value: Any| {
                assert_eq!(properties.get(name), Some(&(kind.to_owned(), value)), "{world}: {name}");
            };
            has("Slice", "s", Any::Text(scope.slice.as_str().into()));
            has("Delegate", "b", Any::Number(1));
            has("PIDs", "au", Any::List(vec![Any::Number(payload.pid() as u64)]));
            has("DefaultDependencies", "b", Any::Number(0));
            if layout.controllers().contains(Controller::Memory) {
                let v2 = layout.kind == Kind::V2;
                has(if v2 { "MemoryMax" } else { "MemoryLimit" }, "t", Any::Number(64 << 20));
                has("TasksMax", "t", Any::Number(77));
                has("CPUQuotaPerSecUSec", "t", Any::Number(400_000));
                has("CPUQuotaPeriodUSec", "t", Any::Number(50_000));
                let stats = cgroup.stats().unwrap();
                assert_eq!(stats.memory.unwrap().limit_bytes, Some(64 << 20), "{world}");
                assert_eq!(stats.pids.unwrap().limit, Some(77), "{world}");
                let more = Resources { pids: Some(Pids { limit: Some(99) }), ..Resources::default() };
                cgroup.set(&layout, &more).unwrap();
                assert_eq!(cgroup.stats().unwrap().pids.unwrap().limit, Some(99), "{world}");
                let set = fake.call("SetUnitProperties").properties();
                assert_eq!(set["TasksMax"], ("t".to_owned(), Any::Number(99)));
            }
            // It is not removed over the head of a process, and systemd not told to kill it.
            cgroup.kill_all().unwrap();
            drop(payload);
            cgroup.wait_empty(Duration::from_secs(5)).unwrap();
            assert!(!fake.was_called("StopUnit"));
            cgroup.remove().unwrap();
            assert!(fake.was_called("StopUnit") && fake.was_called("ResetFailedUnit"));
            assert_nothing_left(&layout, &scope);
        }
    }
}

#[test]
fn devices_are_told_to_systemd_too() {
    for (world, layout) in layouts() {
        let fake = fake(&layout, Trick::None);
        let scope = scope(&fake);
        let rule = |allow, kind, major, minor, access: &str| DeviceRule {
            allow,
            kind,
            major,
            minor,
            access: access.parse().unwrap(),
        };
        let rules = vec![
            rule(false, DeviceKind::All, None, None, "rwm"),
            rule(true, DeviceKind::Char, Some(1), Some(3), "rw"),
        ];
        let resources = Resources { devices: rules, ..Resources::default() };
        let payload = Payload::new();
        let plan = Plan::in_scope(&layout, scope.clone(), &resources).unwrap();
        let cgroup = Cgroup::carry_out_around(plan, payload.pid()).unwrap();
        let properties = fake.call("StartTransientUnit").properties();
        assert_eq!(properties["DevicePolicy"].1, Any::Text("strict".into()), "{world}");
        let pair = vec![Any::Text("/dev/char/1:3".into()), Any::Text("rw".into())];
        assert_eq!(properties["DeviceAllow"], ("a(ss)".to_owned(), Any::List(vec![Any::List(pair)])));
        drop(payload);
        cgroup.remove().unwrap();
        assert_nothing_left(&layout, &scope);
    }
}

#[test]
fn what_lies_or_fails_ends_the_start() {
    let table = [
        (Trick::RejectsEveryone, "AUTH EXTERNAL was answered with REJECTED EXTERNAL"),
        (Trick::EndlessLine, "an answer to AUTH that does not end"),
        (Trick::ClosesAfterHello, "the connection was closed while waiting for AddMatch"),
        (Trick::HugeMessage, "a message of 8589934607 bytes, of which at most"),
        (Trick::Garbage, "a message that is not D-Bus's: it does not begin with a byte order"),
        (Trick::WrongType, "its body has another type than the method's"),
        (Trick::NoSuchService, "StartTransientUnit: org.freedesktop.DBus.Error.ServiceUnknown: The name"),
        (Trick::JobFails, ".scope ended as failed"),
        (Trick::ForgedSignal, ".scope ended as failed"),
        (Trick::DoesNotMove, "is there, but process"),
    ];
    for (world, layout) in layouts() {
        for (trick, expected) in table {
            let fake = fake(&layout, trick);
            let scope = scope(&fake);
            let payload = Payload::new();
            let plan = Plan::in_scope(&layout, scope.clone(), &limits(&layout)).unwrap();
            let error = Cgroup::carry_out_around(plan, payload.pid()).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with(&format!("systemd at {}: ", fake.address)), "{world} {trick:?}: {text}");
            assert!(text.contains(expected), "{world} {trick:?}: {text}");
            assert_nothing_left(&layout, &scope);
        }
    }
}

#[test]
fn nobody_there_is_told_with_the_way_out() {
    let Some((_, layout)) = layouts().into_iter().next() else { return };
    let systemd = Systemd { bus: "unix:path=/nonexistent/bus".into(), user: None };
    let scope = systemd.scope(&slice(), "x").unwrap();
    let plan = Plan::in_scope(&layout, scope.clone(), &limits(&layout)).unwrap();
    let error = Cgroup::carry_out_around(plan, Payload::new().pid()).unwrap_err();
    assert_eq!(error.to_string(), "systemd at unix:path=/nonexistent/bus: connect() = ENOENT");
    assert_eq!(error.hint().as_deref(), Some("no D-Bus runs there; use `--cgroup-manager cgroupfs`"));
    assert_nothing_left(&layout, &scope);
}

/// The reference implementation as the judge of what we send: it closes the connection of who sends a
/// message that is not well formed, and answers ours with what is true: there is no systemd on it.
#[test]
fn dbus_daemon_understands_us() {
    let Some((_, layout)) = layouts().into_iter().next() else { return };
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("bus");
    let config = format!(
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
         \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\"><busconfig><listen>unix:path={}</listen>\
         <auth>EXTERNAL</auth><policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
         <allow own=\"*\"/><allow eavesdrop=\"true\"/><allow user=\"*\"/></policy></busconfig>",
        socket.display()
    );
    let file = dir.path().join("bus.conf");
    std::fs::write(&file, config).unwrap();
    let daemon = Command::new("dbus-daemon")
        .arg(format!("--config-file={}", file.display()))
        .args(["--nofork", "--nopidfile", "--nosyslog", "--print-address"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut daemon) = daemon else { return println!("skipped: needs dbus-daemon") };
    // It listens when it has printed where.
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(daemon.stdout.take().unwrap()), &mut line)
        .unwrap();
    let daemon = Payload(daemon);
    assert!(line.starts_with("unix:path="), "{line}");
    let systemd = Systemd { bus: line.trim().to_owned(), user: None };
    let mut resources = limits(&layout);
    resources.devices = vec![DeviceRule {
        allow: true,
        kind: DeviceKind::Char,
        major: Some(1),
        minor: None,
        access: "rw".parse().unwrap(),
    }];
    let scope = systemd.scope(&slice(), "x").unwrap();
    let plan = Plan::in_scope(&layout, scope.clone(), &resources).unwrap();
    let error = Cgroup::carry_out_around(plan, Payload::new().pid()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("org.freedesktop.DBus.Error.ServiceUnknown"), "{text}");
    assert!(error.hint().unwrap().contains("systemd is not this machine's init"), "{error:?}");
    drop(daemon);
    assert_nothing_left(&layout, &scope);
}
