//! The systemd driver: pid 1, or a user's own systemd, makes the cgroup when it is asked over D-Bus.
//!
//! ```text
//! clone ─► StartTransientUnit(corten-ID.scope, PIDs=[child], Delegate, limits) ─► job
//!          JobRemoved(job, "done") ─► /proc/CHILD/cgroup is looked at ─► limits in the files below
//! end   ─► rmdir ─► StopUnit ─► ResetFailedUnit
//! ```
//!
//! A scope must have a process from the start, so the child is there first and the cgroup namespace is
//! made after it was moved. What systemd says is believed only after the kernel says the same: the
//! process must be in the cgroup whose files are then written.
//!
//! Signals are asked for by a match rule alone: `Subscribe` would make systemd send every change of every
//! unit over the bus, and it sends JobRemoved to who started the job anyway
//! (systemd src/core/dbus-job.c, bus_job_send_removed_signal). Source: org.freedesktop.systemd1(5),
//! <https://systemd.io/CGROUP_DELEGATION>.

mod bus;
mod fault;
pub(crate) mod properties;
mod unit;
mod value;
mod wire;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::bus::Bus;
pub use self::fault::BusFault;
use self::properties::{Mapped, Property};
pub use self::unit::{NameError, ScopeName, SliceName};
use self::value::Value;
use self::wire::{Message, Writer};
use crate::error::{Error, Result};
use crate::layout::{Hierarchy, Layout, Position, Version};
use crate::path::CgroupPath;
use crate::plan::Member;
use crate::resources::Resources;
use crate::wait::Deadline;

/// Where the system's bus is if nobody says otherwise (DBUS_SYSTEM_BUS_ADDRESS).
pub const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

const MATCH: &str = "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
                     interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

/// For a job: systemd may be busy with a hundred others.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whose systemd makes the scopes, and where it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Systemd {
    /// D-Bus server addresses: `unix:path=…`, more than one with `;` between them.
    pub bus: String,
    /// A user's own, by the user's id; `None` is the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
}

/// One container's scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub systemd: Systemd,
    pub name: ScopeName,
    pub slice: SliceName,
}

/// A job that systemd has taken.
#[derive(Debug)]
pub(crate) struct Job {
    bus: Bus,
    taken: Message,
}

impl Systemd {
    /// The slice that containers are in if none is named: as Docker and podman have it.
    pub fn default_slice(&self) -> &'static str {
        if self.user.is_some() { "user.slice" } else { "system.slice" }
    }

    /// The scope of the container `id`, in `slice`.
    pub fn scope(&self, slice: &str, id: &str) -> Result<Scope> {
        let name = ScopeName::new(&format!("corten-{id}.scope"))?;
        Ok(Scope { systemd: self.clone(), name, slice: SliceName::new(slice)? })
    }

    /// The scope whose cgroup this is, as [`Scope::path`] has given it.
    pub fn scope_at(&self, path: &CgroupPath) -> Result<Scope> {
        let parent = path.parent();
        let slice = parent.as_ref().map_or("-.slice", CgroupPath::name);
        Ok(Scope { systemd: self.clone(), name: ScopeName::new(path.name())?, slice: SliceName::new(slice)? })
    }

    fn failed(&self, fault: BusFault) -> Error {
        Error::Systemd { bus: self.bus.clone(), fault }
    }
}

impl Scope {
    /// Where systemd will make it.
    pub fn path(&self) -> Result<CgroupPath> {
        Ok(unit::cgroup_of(&self.slice, &self.name, self.systemd.user)?)
    }

    /// Asks systemd to make it around `pid`.
    pub(crate) fn ask_to_start(&self, pid: i32, start: &Start) -> Result<Job> {
        let ask = || -> Result<Job, BusFault> {
            let mut bus = Bus::connect(&self.systemd.bus)?;
            bus.add_match(MATCH)?;
            let properties = start.properties(self, pid, || version(&mut bus))?;
            let mut body = Writer::default();
            body.string(self.name.as_str());
            body.string("fail");
            body.properties(&properties);
            // No auxiliary units.
            body.array(8, |_| {});
            let call = manager("StartTransientUnit").with("ssa(sv)a(sa(sv))", body);
            let taken = bus.ask(call, "StartTransientUnit")?;
            Ok(Job { bus, taken })
        };
        ask().map_err(|fault| self.systemd.failed(fault))
    }

    /// Waits until it is there, and sees to it that the kernel says so too.
    pub(crate) fn wait_for_start(&self, mut job: Job, pid: i32, start: &Start) -> Result<()> {
        self.finish(&mut job.bus, &job.taken).map_err(|fault| self.systemd.failed(fault))?;
        self.check_place(&start.tracked, pid)
    }

    /// Waits until the job is done. Only who took the job can tell: the bus sets the sender's name, and
    /// passes on what anybody sends to us alone.
    fn finish(&self, bus: &mut Bus, job: &Message) -> Result<(), BusFault> {
        let path = job.read("o")?.string()?;
        let deadline = Deadline::after(PATIENCE);
        loop {
            let signal = bus.signal(&deadline, "JobRemoved")?;
            let from_manager = signal.sender == job.sender && signal.interface == MANAGER;
            if !from_manager || signal.member != "JobRemoved" {
                continue;
            }
            let mut body = signal.read("uoss")?;
            let _number = body.u32()?;
            let (removed, _unit, result) = (body.string()?, body.string()?, body.string()?);
            match result {
                _ if removed != path => {}
                "done" => return Ok(()),
                other => {
                    let unit = self.name.as_str().to_owned();
                    return Err(BusFault::Job { unit, result: other.to_owned() });
                }
            }
        }
    }

    fn check_place(&self, tracked: &Hierarchy, pid: i32) -> Result<()> {
        let wanted = self.path()?;
        match Position::of(pid)?.in_hierarchy(tracked) {
            Some(found) if found == wanted => Ok(()),
            found => Err(self.systemd.failed(BusFault::Elsewhere {
                unit: self.name.as_str().to_owned(),
                pid,
                wanted: format!("/{wanted}"),
                found: found.map_or_else(|| "/".to_owned(), |path| format!("/{path}")),
            })),
        }
    }

    /// Tells systemd of new limits, so that it does not put old ones back.
    pub(crate) fn set(&self, mapped: Mapped) -> Result<()> {
        self.ask_to_set(mapped).map_err(|fault| self.systemd.failed(fault))
    }

    fn ask_to_set(&self, mapped: Mapped) -> Result<(), BusFault> {
        let mut bus = Bus::connect(&self.systemd.bus)?;
        let version = if mapped.needs_version() { version(&mut bus)? } else { 0 };
        let properties = mapped.known_to(version);
        if properties.is_empty() {
            return Ok(());
        }
        let mut body = Writer::default();
        body.string(self.name.as_str());
        // Until the next boot.
        body.u32(1);
        body.properties(&properties);
        bus.ask(manager("SetUnitProperties").with("sba(sv)", body), "SetUnitProperties").map(drop)
    }

    /// Has systemd forget it. One that it has forgotten already, as it does with an empty one, is no
    /// error; and where no bus runs any more there is nobody to forget it.
    pub(crate) fn stop(&self) -> Result<()> {
        match self.ask_to_stop() {
            Err(fault) if fault.is_nobody() => Ok(()),
            other => other.map_err(|fault| self.systemd.failed(fault)),
        }
    }

    fn ask_to_stop(&self) -> Result<(), BusFault> {
        let mut bus = Bus::connect(&self.systemd.bus)?;
        bus.add_match(MATCH)?;
        let mut body = Writer::default();
        body.string(self.name.as_str());
        body.string("replace");
        match bus.ask(manager("StopUnit").with("ss", body), "StopUnit") {
            Ok(job) => self.finish(&mut bus, &job)?,
            Err(fault) if fault.is(NO_SUCH_UNIT) => {}
            Err(fault) => return Err(fault),
        }
        // Before systemd 236 there was no CollectMode.
        let mut body = Writer::default();
        body.string(self.name.as_str());
        match bus.ask(manager("ResetFailedUnit").with("s", body), "ResetFailedUnit") {
            Err(fault) if fault.is(NO_SUCH_UNIT) => Ok(()),
            other => other.map(drop),
        }
    }
}

fn manager(method: &str) -> Message {
    Message::call(NAME, PATH, MANAGER, method)
}

/// The number in front of `252.22-1~deb12u1`.
fn version(bus: &mut Bus) -> Result<u32, BusFault> {
    let mut body = Writer::default();
    body.string(MANAGER);
    body.string("Version");
    let get = Message::call(NAME, PATH, "org.freedesktop.DBus.Properties", "Get").with("ss", body);
    let answer = bus.ask(get, "Get(Version)")?;
    let mut body = answer.read("v")?;
    let text = body.variant_string()?;
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().map_err(|_| BusFault::Malformed("systemd's version has no number"))
}

/// What a plan has to say to systemd. Its Display is shell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Start {
    limits: Mapped,
    version: Version,
    /// Where systemd counts processes.
    tracked: Hierarchy,
}

impl Start {
    pub(crate) fn new(layout: &Layout, resources: &Resources) -> Result<Start> {
        let version = layout.limits_version();
        let limits = properties::limits(resources, version)?;
        // In cgroup2, or in the v1 hierarchy that has its name.
        let own = layout.v1.iter().find(|h| h.name.as_deref() == Some("systemd"));
        let tracked = own.or(layout.unified.as_ref()).ok_or(Error::Unsupported {
            field: "systemd",
            why: "neither cgroup2 nor a hierarchy `name=systemd` is mounted",
        })?;
        Ok(Start { limits, version, tracked: tracked.clone() })
    }

    /// Whether the other hierarchies are ours to join.
    pub(crate) fn leaves_some_to_us(&self) -> bool {
        self.version == Version::V1
    }

    fn properties(
        &self,
        scope: &Scope,
        pid: i32,
        version: impl FnOnce() -> Result<u32, BusFault>,
    ) -> Result<Vec<Property>, BusFault> {
        let mut all = properties::scope(scope.slice.as_str(), pid.unsigned_abs(), self.version);
        let version = if self.limits.needs_version() { version()? } else { 0 };
        all.extend(self.limits.clone().known_to(version));
        Ok(all)
    }

    /// The call by busctl(1), then a wait for the directory.
    pub(crate) fn shell(&self, scope: &Scope, members: &[Member], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = if scope.systemd.user.is_some() { " --user" } else { "" };
        write!(
            f,
            "busctl{whose} call {NAME} {PATH} {MANAGER} StartTransientUnit 'ssa(sv)a(sa(sv))' '{}' fail",
            scope.name.as_str()
        )?;
        let properties = self.properties(scope, 0, || Ok(u32::MAX)).unwrap_or_default();
        write!(f, " {}", properties.len())?;
        for (name, value) in &properties {
            match value {
                Value::U32s(_) if *name == "PIDs" => write!(f, " {name} 'au' 1 $PID")?,
                value => write!(f, " {name} {value}")?,
            }
        }
        writeln!(f, " 0")?;
        let dir = members.last().map(|member| member.dir.display().to_string()).unwrap_or_default();
        writeln!(f, "until [ -d '{dir}' ]; do sleep 0.01; done")
    }
}
