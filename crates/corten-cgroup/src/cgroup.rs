//! `Cgroup`: one container's cgroup in every hierarchy that it joined.

use std::cell::OnceCell;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::apply::apply;
use crate::controller::{Controller, Controllers};
use crate::devices::DevicePolicy;
use crate::error::{Call, Error, Result};
use crate::file;
use crate::layout::{Layout, Position, Version};
use crate::path::CgroupPath;
use crate::plan::{CgroupOp, Member, Plan, device_ops};
use crate::resources::{Resources, given};
use crate::systemd::Scope;

/// Who makes cgroups. Docker's word in `info` and for `native.cgroupdriver`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Driver {
    /// Directories in the cgroup file system.
    Cgroupfs,
    /// Transient scopes of systemd.
    Systemd,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Driver::Cgroupfs => f.write_str("cgroupfs"),
            Driver::Systemd => f.write_str("systemd"),
        }
    }
}

/// A cgroup that exists. Dropping it leaves it as it is; [`Cgroup::remove`] removes it.
#[derive(Debug)]
pub struct Cgroup {
    path: CgroupPath,
    members: Vec<Member>,
    dir_fd: OnceCell<OwnedFd>,
    scope: Option<Scope>,
}

impl Cgroup {
    /// Makes it, with its limits. There must be no process in a cgroup of that path; an empty one is
    /// replaced. On failure nothing is left of it.
    pub fn create(layout: &Layout, path: &CgroupPath, resources: &Resources) -> Result<Cgroup> {
        Cgroup::carry_out(Plan::new(layout, path, resources)?)
    }

    /// Makes what was planned.
    pub fn carry_out(plan: Plan) -> Result<Cgroup> {
        if plan.scope.is_some() {
            return Err(Error::Unsupported { field: "scope", why: "systemd makes none without a process" });
        }
        apply(&plan.ops)?;
        Ok(Cgroup::from_members(plan.path, plan.members))
    }

    /// Makes what was planned around a process that is there already, as systemd needs it. If it fails,
    /// nothing is left of it, and the process may have been killed.
    pub fn carry_out_around(plan: Plan, pid: i32) -> Result<Cgroup> {
        let Plan { path, members, scope, ops } = plan;
        let Some((scope, start)) = scope.map(|both| *both) else {
            let cgroup = Cgroup::carry_out(Plan { path, members, scope: None, ops })?;
            return cgroup.attach(pid).map(|()| cgroup);
        };
        let cgroup = Cgroup::from_members(path, members).of_scope(scope.clone());
        // Until systemd has taken the job, a cgroup of that name is another's.
        let job = scope.ask_to_start(pid, &start)?;
        let made = scope
            .wait_for_start(job, pid, &start)
            .and_then(|()| apply(&ops))
            .and_then(|()| if start.leaves_some_to_us() { cgroup.attach(pid) } else { Ok(()) });
        match made {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                // The first failure is the one to report. What cannot be removed is empty by then, and
                // systemd collects it.
                let _killed = cgroup.kill_all();
                let _left = cgroup.remove();
                Err(error)
            }
        }
    }

    /// As one that systemd made, and must be told of changes.
    pub fn of_scope(self, scope: Scope) -> Cgroup {
        Cgroup { scope: Some(scope), ..self }
    }

    pub(crate) fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }

    /// One that was made before, by whomever: looks in which hierarchies it is.
    pub fn open(layout: &Layout, path: &CgroupPath) -> Result<Cgroup> {
        let mut cgroup = Cgroup::joined(layout, path);
        let mut there = Vec::with_capacity(cgroup.members.len());
        for member in cgroup.members {
            match rustix::fs::stat(&member.dir) {
                Ok(_) => there.push(member),
                Err(Errno::NOENT) => {}
                // One that is only not seen would be left behind by whoever removes it.
                Err(errno) => return Err(Call::Open(member.dir).failed(errno)),
            }
        }
        cgroup.members = there;
        match cgroup.members.is_empty() {
            true => Err(match layout.hierarchies().next() {
                Some(h) => Call::Open(path.below(&h.mount)).failed(Errno::NOENT),
                None => Error::NotMounted,
            }),
            false => Ok(cgroup),
        }
    }

    /// As [`Cgroup::open`], without a system call: from what [`Cgroup::members`] gave when it was made.
    pub fn from_members(path: CgroupPath, members: Vec<Member>) -> Cgroup {
        Cgroup { path, members, dir_fd: OnceCell::new(), scope: None }
    }

    /// As if in every hierarchy.
    fn joined(layout: &Layout, path: &CgroupPath) -> Cgroup {
        Cgroup::from_members(path.clone(), layout.hierarchies().map(|h| Member::of(h, path)).collect())
    }

    pub fn path(&self) -> &CgroupPath {
        &self.path
    }

    /// For the container's state file.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    pub fn driver(&self) -> Driver {
        if self.scope.is_some() { Driver::Systemd } else { Driver::Cgroupfs }
    }

    /// Puts a process, with all its threads, into the cgroup.
    pub fn attach(&self, pid: i32) -> Result<()> {
        self.attach_to(pid, |_| true)
    }

    /// As [`Cgroup::attach`], for a process that was cloned into [`Cgroup::dir_fd`]: only v1 is left.
    pub fn attach_v1(&self, pid: i32) -> Result<()> {
        self.attach_to(pid, |m| m.version == Version::V1)
    }

    /// As [`Cgroup::attach`], for a process that joins v1 by itself ([`Plan::join_files`]).
    pub fn attach_v2(&self, pid: i32) -> Result<()> {
        self.attach_to(pid, |m| m.version == Version::V2)
    }

    /// For `exec`: attaches `pid`, and if the container has made cgroups of its own below this one, so
    /// that it can hold no process (v2: EBUSY), attaches it where the container's `init` is.
    pub fn attach_beside(&self, pid: i32, init: i32) -> Result<()> {
        self.attach_v1(pid)?;
        let Some(unified) = self.unified() else { return Ok(()) };
        match write_pid(unified, &unified.dir, pid) {
            Err(Error::Call { errno: Errno::BUSY | Errno::OPNOTSUPP, .. }) => {}
            other => return other,
        }
        match self.position_below(unified, init)? {
            Some(dir) => write_pid(unified, &dir, pid),
            None => Err(Call::Write(unified.dir.join("cgroup.procs"), pid.to_string()).failed(Errno::BUSY)),
        }
    }

    /// For `exec`, where a clone into [`Cgroup::dir_fd`] says `EBUSY`: the cgroup2 directory below this one
    /// in which the container's `init` is.
    pub fn dir_beside(&self, init: i32) -> Result<OwnedFd> {
        let Some(unified) = self.unified() else { return Err(Error::NotMounted) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match self.position_below(unified, init)? {
            Some(dir) => rustix::fs::open(&dir, flags, Mode::empty()).map_err(|e| Call::Open(dir).failed(e)),
            None => Err(Call::Open(unified.dir.clone()).failed(Errno::BUSY)),
        }
    }

    /// Where a process is, if that is in this cgroup or below: never out of it, wherever the process may be.
    fn position_below(&self, unified: &Member, pid: i32) -> Result<Option<std::path::PathBuf>> {
        let dir = Position::of(pid)?.unified_path().map(|p| unified.mount.join(p.trim_start_matches('/')));
        Ok(dir.filter(|d| d.starts_with(&unified.dir)))
    }

    fn attach_to(&self, pid: i32, which: impl Fn(&Member) -> bool) -> Result<()> {
        let pid = pid.to_string();
        let ops: Vec<_> = self.members.iter().filter(|m| which(m)).map(|m| m.attach(&pid)).collect();
        apply(&ops)
    }

    /// The cgroup2 directory, for `CLONE_INTO_CGROUP`; `None` on a host without cgroup2. On a hybrid
    /// host the clone covers cgroup2 only and [`Cgroup::attach_v1`] must follow.
    pub fn dir_fd(&self) -> Result<Option<BorrowedFd<'_>>> {
        let Some(unified) = self.unified() else { return Ok(None) };
        if self.dir_fd.get().is_none() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::open(&unified.dir, flags, Mode::empty())
                .map_err(|e| Call::Open(unified.dir.clone()).failed(e))?;
            let _ = self.dir_fd.set(fd);
        }
        Ok(self.dir_fd.get().map(AsFd::as_fd))
    }

    /// Every process in it and in cgroups below it.
    pub fn procs(&self) -> Result<Vec<i32>> {
        file::procs_below(self.life())
    }

    /// Changes limits: what is not given stays. A controller that no limit needed before is joined now.
    ///
    /// As with `docker update`, a change that fails half way leaves what was set before it.
    pub fn set(&mut self, layout: &Layout, resources: &Resources) -> Result<()> {
        let resources = &self.with_present_values(resources)?;
        let plan = Plan::update(layout, &self.path, &self.members, resources)?;
        if let Some(scope) = &self.scope {
            let version = layout.limits_version();
            scope.set(crate::systemd::properties::limits(resources, version)?)?;
        }
        apply(&plan.ops)?;
        let new = plan.members.len() > self.members.len();
        let joined: Vec<Member> = plan.members[self.members.len()..].to_vec();
        if new {
            self.follow(&joined)?;
        }
        self.members = plan.members;
        self.set_devices_v1(resources)
    }

    /// Moves the processes of the cgroup into hierarchies that it joined late. One that is forked
    /// meanwhile by one not yet moved is seen in the next round.
    fn follow(&self, joined: &[Member]) -> Result<()> {
        let mut moved = std::collections::BTreeSet::new();
        loop {
            let new: Vec<i32> = self.procs()?.into_iter().filter(|pid| moved.insert(*pid)).collect();
            if new.is_empty() {
                return Ok(());
            }
            for (pid, member) in new.iter().flat_map(|pid| joined.iter().map(move |m| (*pid, m))) {
                match write_pid(member, &member.dir, pid) {
                    Err(e) if e.errno() == Some(Errno::SRCH) => {}
                    other => other?,
                }
            }
        }
    }

    fn set_devices_v1(&self, resources: &Resources) -> Result<()> {
        let Some(dir) = self.dir(Controller::Devices).filter(|_| !resources.devices.is_empty()) else {
            return Ok(());
        };
        let present = DevicePolicy::parse_list(&file::read(&dir.join("devices.list"))?);
        let wanted = DevicePolicy::from_rules(&resources.devices)?;
        apply(&device_ops(dir, wanted.v1_writes(present.as_ref())))
    }

    /// Completes a change by what only the kernel knows: cgroup2 has quota and period in one file, and
    /// limits swap by itself where `Resources` limits the sum.
    fn with_present_values(&self, resources: &Resources) -> Result<Resources> {
        let mut full = resources.clone();
        if let (Some(cpu), Some(dir)) = (&mut full.cpu, self.v2_dir(Controller::Cpu))
            && cpu.quota().is_none()
            && cpu.period().is_some()
        {
            let max = file::read_short(&dir.join("cpu.max"))?;
            cpu.quota = max.split(' ').next().and_then(|quota| quota.parse().ok());
        }
        if let Some(memory) = &mut full.memory {
            if let Some(dir) = self.v2_dir(Controller::Memory)
                && given(memory.limit).is_none()
                && given(memory.swap).is_some_and(|s| s > 0)
            {
                memory.limit = file::read_limit(&dir.join("memory.max"))?.map(|bytes| bytes as i64);
            }
            if memory.check_before_update == Some(true) {
                self.check_usage(given(memory.limit))?;
            }
        }
        Ok(full)
    }

    /// `checkBeforeUpdate`: cgroup2 would kill to get below a new limit.
    fn check_usage(&self, limit: Option<i64>) -> Result<()> {
        let Some(limit) = limit.filter(|l| *l > 0) else { return Ok(()) };
        let Some(member) = self.members.iter().find(|m| m.controllers.contains(Controller::Memory)) else {
            return Ok(());
        };
        let usage = file::read_u64(&member.dir.join(match member.version {
            Version::V1 => "memory.usage_in_bytes",
            Version::V2 => "memory.current",
        }))?;
        match usage > limit as u64 {
            true => {
                Err(crate::validate::invalid("memory.limit", limit, format!("is below the usage ({usage})")))
            }
            false => Ok(()),
        }
    }

    /// The controllers whose limits and statistics it has.
    pub fn controllers(&self) -> Controllers {
        self.members.iter().fold(Controllers::NONE, |all, m| all.union(m.controllers))
    }

    pub(crate) fn member(&self, controller: Controller) -> Option<&Member> {
        self.members.iter().find(|m| m.controllers.contains(controller))
    }

    /// Its v1 directory for `controller`.
    pub(crate) fn dir(&self, controller: Controller) -> Option<&Path> {
        self.member(controller).filter(|m| m.version == Version::V1).map(|m| m.dir.as_path())
    }

    fn v2_dir(&self, controller: Controller) -> Option<&Path> {
        self.member(controller).filter(|m| m.version == Version::V2).map(|m| m.dir.as_path())
    }

    pub(crate) fn unified(&self) -> Option<&Member> {
        self.members.iter().find(|m| m.version == Version::V2)
    }

    /// The directory by which it is told whether processes are left: cgroup2's, which tells of changes
    /// itself, else the freezer's, else any.
    pub(crate) fn life(&self) -> &Path {
        let unified = self.unified().map(|m| m.dir.as_path());
        unified.or_else(|| self.dir(Controller::Freezer)).unwrap_or(&self.members[0].dir)
    }
}

fn write_pid(member: &Member, dir: &Path, pid: i32) -> Result<()> {
    let CgroupOp::Write { setting, .. } = member.attach(&pid.to_string()) else { return Ok(()) };
    file::write(&dir.join(&*setting.file), &setting.values[0])
}
