//! `Plan`: what is done to make a cgroup, before it is done. Pure, and each step prints itself as the
//! line of shell that does the same.
//!
//! Which hierarchies a container joins costs system calls at every start (mkdir, attach, rmdir), so
//! only these: memory, pids, cpu, cpuacct and devices always; one of the others if a limit needs it;
//! and one that freezes, kills and tells when it is empty. That is cgroup2 wherever it is mounted, on
//! a hybrid host too, where it does these three even without any controller; else v1's freezer, and
//! `name=systemd`, by which systemd would find and kill what it thinks is its own.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::controller::{Controller, Controllers};
use crate::devices::{DevicePolicy, DeviceRule};
use crate::error::{Error, Result};
use crate::layout::{Hierarchy, Kind, Layout, Version};
use crate::limits::{self, Absent, Setting};
use crate::path::CgroupPath;
use crate::resources::Resources;
use crate::systemd::{Scope, Start};

/// Joined on v1 whatever is asked.
const V1_BASE: Controllers = Controllers::NONE
    .with(Controller::Memory)
    .with(Controller::Pids)
    .with(Controller::Cpu)
    .with(Controller::Cpuacct)
    .with(Controller::Devices);

/// Enabled on v2 whatever is asked, as far as the host has them: statistics need them.
const V2_BASE: Controllers = Controllers::NONE
    .with(Controller::Cpu)
    .with(Controller::Memory)
    .with(Controller::Pids)
    .with(Controller::Io);

/// What a new cgroup with these limits takes of a host's controllers, for [`Layout::detect_for`].
pub fn needed(resources: &Resources) -> Controllers {
    if !resources.unified.is_empty() {
        return Controllers::ALL;
    }
    resources.asks().into_iter().fold(V1_BASE, |all, (controller, _)| all.with(controller))
}

/// One hierarchy that a cgroup is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub version: Version,
    pub controllers: Controllers,
    /// The name of a v1 hierarchy without controllers.
    #[serde(default)]
    pub name: Option<String>,
    /// Where the hierarchy is mounted.
    pub mount: PathBuf,
    /// The cgroup's directory.
    pub dir: PathBuf,
}

/// One step. Its Display is shell; `$corten` there is the path of corten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupOp {
    /// Makes the cgroup and those above it.
    Mkdir { mount: PathBuf, path: CgroupPath },
    /// Makes the cgroup and those above it where they are not there yet.
    Join { mount: PathBuf, path: CgroupPath },
    /// The cgroup must have these controllers already.
    Expect { dir: PathBuf, required: Vec<(Controller, &'static str)> },
    /// v1's cpuset takes no process before it has CPUs and memory nodes: each new cgroup on the way gets
    /// its parent's.
    InheritCpuset { mount: PathBuf, path: CgroupPath },
    /// Hands the controllers down to the cgroup. Those that are not `required` may be missing.
    Enable {
        mount: PathBuf,
        path: CgroupPath,
        wanted: Controllers,
        required: Vec<(Controller, &'static str)>,
    },
    /// Writes a control file.
    Write { dir: PathBuf, setting: Setting },
    /// Attaches a BPF program that decides about devices (v2).
    DeviceFilter { dir: PathBuf, rules: Vec<DeviceRule> },
}

/// All steps, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub path: CgroupPath,
    pub members: Vec<Member>,
    /// What systemd is asked for before the steps.
    pub(crate) scope: Option<Box<(Scope, Start)>>,
    pub ops: Vec<CgroupOp>,
}

impl Plan {
    /// The plan for a new cgroup. It fails if `resources` are not valid, or this host lacks a controller
    /// that they need.
    pub fn new(layout: &Layout, path: &CgroupPath, resources: &Resources) -> Result<Plan> {
        resources.validate()?;
        let members = members(layout, path, resources)?;
        let mut plan = Plan { path: path.clone(), members, scope: None, ops: Vec::new() };
        let required = plan.required(resources)?;
        plan.ops = plan.members.iter().flat_map(|m| birth(m, path, &required)).collect();
        plan.push_limits(resources)?;
        plan.push_devices(resources)?;
        Ok(plan)
    }

    /// The plan for a scope of systemd, which makes the cgroup on cgroup2 and, on v1, in its own and some
    /// other hierarchies: there it is joined in the rest.
    pub fn in_scope(layout: &Layout, scope: Scope, resources: &Resources) -> Result<Plan> {
        resources.validate()?;
        let path = scope.path()?;
        let members = members(layout, &path, resources)?;
        let start = Start::new(layout, resources)?;
        let mut plan = Plan { path, members, scope: Some(Box::new((scope, start))), ops: Vec::new() };
        let required = plan.required(resources)?;
        plan.ops = plan.members.iter().flat_map(|m| joined(m, layout.kind, &plan.path, &required)).collect();
        plan.push_limits(resources)?;
        plan.push_devices(resources)?;
        Ok(plan)
    }

    /// Whether it can only be carried out around a process.
    pub fn needs_process(&self) -> bool {
        self.scope.is_some()
    }

    /// The plan to change the limits of a cgroup that is in `present`. Device rules on v1 are left out:
    /// what to write depends on what is set.
    pub(crate) fn update(
        layout: &Layout,
        path: &CgroupPath,
        present: &[Member],
        resources: &Resources,
    ) -> Result<Plan> {
        resources.validate()?;
        let mut members = present.to_vec();
        for member in self::members(layout, path, resources)? {
            let asked = |(c, _): &(Controller, _)| member.controllers.contains(*c);
            if !present.iter().any(|m| m.dir == member.dir) && resources.asks().iter().any(asked) {
                members.push(member);
            }
        }
        let mut plan = Plan { path: path.clone(), members, scope: None, ops: Vec::new() };
        let required = plan.required(resources)?;
        for member in &plan.members {
            let new = !present.contains(member);
            plan.ops.extend(birth(member, path, &required).into_iter().filter(|op| match op {
                CgroupOp::Enable { .. } => !required.is_empty(),
                _ => new,
            }));
        }
        plan.push_limits(resources)?;
        if !plan.members.iter().any(|m| m.controllers.contains(Controller::Devices)) {
            plan.push_devices(resources)?;
        }
        Ok(plan)
    }

    /// The steps that put a process into the cgroup; `pid` is a number, or `$PID` for a reader.
    pub fn attach(&self, pid: &str) -> Vec<CgroupOp> {
        self.members.iter().map(|m| m.attach(pid)).collect()
    }

    /// The v1 files that a lone thread joins the cgroup by: it writes `0`, itself, into each.
    ///
    /// Whoever writes another's number into `cgroup.procs` waits until no process of the machine is in the
    /// middle of a fork or exit, 8 to 15 ms on an idle machine; a thread that moves itself does not (Linux
    /// 5.5). A process with one thread is moved as a whole.
    ///
    /// None for a scope, which is not there yet when the thread begins: it is moved.
    pub fn join_files(&self) -> Vec<PathBuf> {
        if self.scope.is_some() {
            return Vec::new();
        }
        let v1 = self.members.iter().filter(|m| m.version == Version::V1);
        v1.map(|m| m.dir.join("tasks")).collect()
    }

    fn push_limits(&mut self, resources: &Resources) -> Result<()> {
        for member in &self.members {
            for controller in member.controllers.iter() {
                for setting in limits::settings(controller, member.version, resources)? {
                    self.ops.push(CgroupOp::Write { dir: member.dir.clone(), setting });
                }
            }
        }
        if let Some(unified) = self.members.iter().find(|m| m.version == Version::V2) {
            for (file, value) in &resources.unified {
                let setting = Setting::new(file.clone(), value);
                self.ops.push(CgroupOp::Write { dir: unified.dir.clone(), setting });
            }
        }
        Ok(())
    }

    fn push_devices(&mut self, resources: &Resources) -> Result<()> {
        if resources.devices.is_empty() {
            return Ok(());
        }
        let v1 = self.members.iter().find(|m| m.controllers.contains(Controller::Devices));
        let v2 = self.members.iter().find(|m| m.version == Version::V2);
        match (v1, v2) {
            (Some(v1), _) => {
                let writes = DevicePolicy::from_rules(&resources.devices)?.v1_writes(None);
                self.ops.extend(device_ops(&v1.dir.clone(), writes));
            }
            (None, Some(v2)) => {
                let dir = v2.dir.clone();
                self.ops.push(CgroupOp::DeviceFilter { dir, rules: resources.devices.clone() });
            }
            (None, None) => return Err(missing(Controller::Devices, "devices", "any cgroup hierarchy")),
        }
        Ok(())
    }

    /// What must be enabled on v2, with the field that asks for it; `unified` files count by their prefix.
    fn required(&self, resources: &Resources) -> Result<Vec<(Controller, &'static str)>> {
        let unified = self.members.iter().find(|m| m.version == Version::V2);
        if let (None, false) = (unified, resources.unified.is_empty()) {
            return Err(Error::Unsupported { field: "unified", why: "this host has no cgroup2" });
        }
        let Some(unified) = unified else { return Ok(Vec::new()) };
        let mut required = resources.asks();
        required.retain(|(c, _)| unified.controllers.contains(*c));
        for file in resources.unified.keys() {
            let Some(controller) = file.split('.').next().and_then(Controller::from_name) else { continue };
            if !unified.controllers.contains(controller) {
                return Err(missing(controller, "unified", &unified.mount.display().to_string()));
            }
            required.push((controller, "unified"));
        }
        Ok(required)
    }
}

impl Member {
    pub(crate) fn of(hierarchy: &Hierarchy, path: &CgroupPath) -> Member {
        Member {
            version: hierarchy.version,
            controllers: hierarchy.controllers,
            name: hierarchy.name.clone(),
            mount: hierarchy.mount.clone(),
            dir: path.below(&hierarchy.mount),
        }
    }

    pub(crate) fn attach(&self, pid: &str) -> CgroupOp {
        CgroupOp::Write { dir: self.dir.clone(), setting: Setting::new("cgroup.procs", pid) }
    }
}

/// The hierarchies to join.
fn members(layout: &Layout, path: &CgroupPath, resources: &Resources) -> Result<Vec<Member>> {
    let mut wanted = V1_BASE;
    if layout.unified.is_none() {
        wanted = wanted.with(Controller::Freezer);
    }
    for (controller, field) in resources.asks() {
        if layout.hierarchy(controller).is_none() {
            let place = match (&layout.unified, layout.kind) {
                (Some(unified), Kind::V2) => unified.mount.display().to_string(),
                _ => "any cgroup hierarchy of this host".to_owned(),
            };
            return Err(missing(controller, field, &place));
        }
        wanted = wanted.with(controller);
    }
    let joins = |h: &&Hierarchy| {
        let systemd = layout.unified.is_none() && h.name.as_deref() == Some("systemd");
        systemd || h.version == Version::V2 || !h.controllers.intersection(wanted).is_empty()
    };
    Ok(layout.hierarchies().filter(joins).map(|h| Member::of(h, path)).collect())
}

/// Makes the cgroup in one hierarchy and readies it for limits and processes.
fn birth(member: &Member, path: &CgroupPath, required: &[(Controller, &'static str)]) -> Vec<CgroupOp> {
    let (mount, path) = (member.mount.clone(), path.clone());
    let mut ops = vec![CgroupOp::Mkdir { mount: mount.clone(), path: path.clone() }];
    match member.version {
        Version::V1 if member.controllers.contains(Controller::Cpuset) => {
            ops.push(CgroupOp::InheritCpuset { mount, path });
        }
        Version::V1 => {}
        Version::V2 => {
            let asked: Controllers = required.iter().map(|(c, _)| *c).collect();
            let wanted = member.controllers.intersection(V2_BASE.union(asked));
            if !wanted.is_empty() {
                ops.push(CgroupOp::Enable { mount, path, wanted, required: required.to_vec() });
            }
        }
    }
    ops
}

/// As [`birth`], for a cgroup that systemd has made, or may have.
fn joined(
    member: &Member,
    kind: Kind,
    path: &CgroupPath,
    required: &[(Controller, &'static str)],
) -> Vec<CgroupOp> {
    let (mount, path) = (member.mount.clone(), path.clone());
    match member.version {
        // systemd makes one there or not, by its version and how it was built.
        Version::V2 if kind == Kind::Hybrid => vec![CgroupOp::Join { mount, path }],
        Version::V1 if member.controllers.contains(Controller::Cpuset) => vec![
            CgroupOp::Join { mount: mount.clone(), path: path.clone() },
            CgroupOp::InheritCpuset { mount, path },
        ],
        Version::V1 => vec![CgroupOp::Join { mount, path }],
        Version::V2 if required.is_empty() => Vec::new(),
        // `Delegate` has them enabled; above the scope systemd alone may write.
        Version::V2 => vec![CgroupOp::Expect { dir: member.dir.clone(), required: required.to_vec() }],
    }
}

pub(crate) fn device_ops(dir: &Path, writes: Vec<(&'static str, Vec<String>)>) -> Vec<CgroupOp> {
    let op = |(file, lines)| CgroupOp::Write { dir: dir.to_owned(), setting: Setting::lines(file, lines) };
    writes.into_iter().map(op).collect()
}

fn missing(controller: Controller, field: &'static str, place: &str) -> Error {
    Error::MissingController { controller, field, place: place.to_owned() }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((scope, start)) = self.scope.as_deref() {
            start.shell(scope, &self.members, f)?;
        }
        self.ops.iter().try_for_each(|op| writeln!(f, "{op}"))
    }
}

impl fmt::Display for CgroupOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CgroupOp::Expect { dir, required } => {
                let file = sh(&dir.join("cgroup.controllers"));
                for (i, (controller, _)) in required.iter().enumerate() {
                    write!(f, "{}grep -qw {controller} {file}", if i == 0 { "" } else { "\n" })?;
                }
                Ok(())
            }
            CgroupOp::Mkdir { mount, path } | CgroupOp::Join { mount, path } => {
                write!(f, "mkdir -p {}", sh(&path.below(mount)))
            }
            CgroupOp::InheritCpuset { mount, path } => {
                let mut above = mount.clone();
                for (i, path) in path.with_ancestors().enumerate() {
                    let dir = mount.join(path);
                    for (j, file) in ["cpuset.cpus", "cpuset.mems"].into_iter().enumerate() {
                        let (from, to) = (sh(&above.join(file)), sh(&dir.join(file)));
                        let line = if i + j == 0 { "" } else { "\n" };
                        write!(f, "{line}[ -n \"$(cat {to})\" ] || cat {from} > {to}")?;
                    }
                    above = dir;
                }
                Ok(())
            }
            CgroupOp::Enable { mount, path, wanted, .. } => {
                let names: Vec<_> = wanted.iter().map(|c| format!("+{c}")).collect();
                for (i, dir) in enabled_in(mount, path).into_iter().enumerate() {
                    let line = if i == 0 { "" } else { "\n" };
                    let file = sh(&dir.join("cgroup.subtree_control"));
                    write!(f, "{line}echo '{}' > {file}", names.join(" "))?;
                }
                Ok(())
            }
            CgroupOp::Write { dir, setting } => write_shell(f, dir, setting),
            CgroupOp::DeviceFilter { dir, rules } => {
                // No shell tool loads a BPF program.
                write!(f, "\"$corten\" internal device-filter {}", sh(dir))?;
                rules.iter().try_for_each(|rule| write!(f, " {}", quote(&rule.to_string())))
            }
        }
    }
}

/// The cgroups above `path` whose `cgroup.subtree_control` gives to it, the mount point first.
pub(crate) fn enabled_in(mount: &Path, path: &CgroupPath) -> Vec<PathBuf> {
    let parent = path.parent();
    let above = parent.iter().flat_map(CgroupPath::with_ancestors).map(|p| mount.join(p));
    std::iter::once(mount.to_owned()).chain(above).collect()
}

fn write_shell(f: &mut fmt::Formatter<'_>, dir: &Path, setting: &Setting) -> fmt::Result {
    let file = sh(&dir.join(&*setting.file));
    let echo = |setting: &Setting| {
        let lines: Vec<_> = setting.values.iter().map(|v| format!("echo {} > {file}", quote(v))).collect();
        lines.join("\n")
    };
    match &setting.absent {
        Absent::Fail => f.write_str(&echo(setting)),
        Absent::Skip => write!(f, "[ ! -e {file} ] || {}", echo(setting).replace('\n', " && ")),
        Absent::SkipWithoutSwap => {
            write!(f, "[ ! -e {file} -a ! -e /proc/swaps ] || {}", echo(setting).replace('\n', " && "))
        }
        Absent::Use(other) => {
            write!(f, "if [ -e {file} ]; then\n{}\nelse\n", echo(setting))?;
            write_shell(f, dir, other)?;
            f.write_str("\nfi")
        }
    }
}

fn sh(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

/// Quotes what a shell would not take as it stands. `$PID` stays a variable.
fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=,@%".contains(c);
    match text {
        "$PID" => text.to_owned(),
        _ if !text.is_empty() && text.chars().all(plain) => text.to_owned(),
        _ => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
