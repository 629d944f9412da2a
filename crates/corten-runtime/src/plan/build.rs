//! Spec → Plan. Pure: no system call.

use std::ffi::{CStr, CString};

use corten_cgroup::plan::Member;
use corten_cgroup::{Layout, Version};
use corten_sys::caps::CapSet;
use corten_sys::clone::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWTIME, CLONE_NEWUSER,
    CLONE_NEWUTS,
};
use corten_sys::exec::StringVector;
use corten_sys::mount::attr;

use super::convert::{
    c_dir, c_string, dev_op, environment, mount_flags, overlay_op, search_path, target, time_offsets,
};
use super::sysctl::{SysctlNamespace, sysctl_namespace, sysctl_path};
use super::{CloneOp, Op, Plan, Slot};
use crate::error::{SpecError, StartError};
use crate::spec::{MountSource, Namespace, Process, RootSource, Spec, User, UserNamespace};

/// Builds the plan. `layout` is where the host's cgroup hierarchies are, if the container has a cgroup.
///
/// # Errors
/// [`StartError::Spec`] names the field that cannot be carried out, [`StartError::Cgroup`] the limit.
pub fn build(spec: Spec, layout: Option<&Layout>) -> Result<Plan, StartError> {
    let cgroup = match (&spec.cgroup, layout) {
        (Some(wanted), Some(layout)) => Some(match &wanted.scope {
            Some(scope) => corten_cgroup::Plan::in_scope(layout, scope.clone(), &wanted.resources)?,
            None => corten_cgroup::Plan::new(layout, &wanted.path, &wanted.resources)?,
        }),
        _ => None,
    };
    let view = View::of(cgroup.as_ref(), layout, &spec.namespaces.cgroup)?;
    let mut builder = Builder { ops: Vec::with_capacity(64), slots: 0 };
    builder.namespaces(&spec, cgroup, &view);
    let mut places = Vec::new();
    let root = builder.root(&spec)?;
    builder.sources(&spec, &view, &mut places)?;
    if let User::Lookup { user, groups } = &spec.process.user {
        builder.push(Op::LookupUser { user: user.clone(), groups: groups.clone() });
    }
    builder.child(&spec, &view, root, places)?;
    payload(&mut builder.ops, &spec.process, |file, label, lsm| Op::Label { file, label, lsm })?;
    let (env, fill_home) = environment(&spec.process)?;
    let search_path = search_path(&spec.process)?;
    let Builder { ops, slots } = builder;
    Ok(Plan { ops, slots: slots as usize, env, fill_home, search_path, spec })
}

/// The container's cgroup as it looks below its /sys/fs/cgroup.
struct View {
    /// Pure v2: one tree.
    unified: bool,
    /// The cgroup namespace can be made with the clone: the cgroup is there before the process.
    at_clone: bool,
    /// systemd makes the cgroup around the process.
    around: bool,
    /// The container mounts it: what the namespace shows, so only who owns the namespace may.
    mounted_inside: bool,
    /// With the host's cgroup namespace each from its root, where /proc/self/cgroup begins.
    members: Vec<Member>,
    /// What its first process joins by itself.
    join_files: Vec<CString>,
}

impl View {
    fn of(
        plan: Option<&corten_cgroup::Plan>,
        layout: Option<&Layout>,
        namespace: &Namespace,
    ) -> Result<Self, SpecError> {
        let unified = layout.is_some_and(Layout::cgroup_namespace_at_clone);
        let whole = *namespace == Namespace::Host;
        let mut members = plan.map_or_else(Vec::new, |plan| plan.members.clone());
        for member in members.iter_mut().filter(|_| whole) {
            member.dir.clone_from(&member.mount);
        }
        let mounted_inside = match unified {
            true => !whole || members.is_empty(),
            false => *namespace == Namespace::New,
        };
        let files = plan.map_or_else(Vec::new, corten_cgroup::Plan::join_files);
        let join_files = files.iter().map(|file| c_dir("cgroup", file)).collect::<Result<_, _>>()?;
        let around = plan.is_some_and(corten_cgroup::Plan::needs_process);
        Ok(Self { unified, at_clone: unified && !around, around, mounted_inside, members, join_files })
    }

    /// The directory of a hierarchy, as the host calls it.
    fn name(member: &Member) -> std::borrow::Cow<'_, str> {
        member.mount.file_name().unwrap_or(member.mount.as_os_str()).to_string_lossy()
    }
}

struct Builder {
    ops: Vec<Op>,
    slots: u8,
}

/// A mount of the specification, with where its content comes from.
enum Place {
    Slot(Slot),
    Inside,
}

impl Builder {
    fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    fn slot(&mut self) -> Result<Slot, SpecError> {
        let slot = Slot(self.slots);
        // SCM_RIGHTS carries at most 253 descriptors in one message.
        self.slots = self.slots.checked_add(1).filter(|&count| count <= 250).ok_or(SpecError::Conflict(
            "more than 250 mounts come from the host; a container can have at most that many",
        ))?;
        Ok(slot)
    }

    fn namespaces(&mut self, spec: &Spec, cgroup: Option<corten_cgroup::Plan>, view: &View) {
        let (before, after) = match cgroup {
            Some(plan) if view.around => (None, Some(plan)),
            other => (other, None),
        };
        self.ops.extend(before.map(Op::Cgroup));
        let mut clone = CloneOp { namespaces: CLONE_NEWNS as u64, join: Vec::new(), time_offsets: None };
        let table: [(&'static str, i32, &Namespace); 5] = [
            ("pid", CLONE_NEWPID, &spec.namespaces.pid),
            ("net", CLONE_NEWNET, &spec.namespaces.network),
            ("ipc", CLONE_NEWIPC, &spec.namespaces.ipc),
            ("uts", CLONE_NEWUTS, &spec.namespaces.uts),
            ("cgroup", CLONE_NEWCGROUP, &spec.namespaces.cgroup),
        ];
        match &spec.namespaces.user {
            UserNamespace::Host => {}
            UserNamespace::New(_) => clone.namespaces |= CLONE_NEWUSER as u64,
            UserNamespace::Join(path, _) => clone.join.push(("user", CLONE_NEWUSER, path.clone())),
        }
        for (name, bit, namespace) in table {
            match namespace {
                Namespace::Host => {}
                // On v1, and with systemd, it must be made after the move into the cgroups; on v2
                // CLONE_INTO_CGROUP comes first.
                Namespace::New if bit == CLONE_NEWCGROUP && !view.at_clone => {}
                Namespace::New => clone.namespaces |= bit as u64,
                Namespace::Join(path) => clone.join.push((name, bit, path.clone())),
            }
        }
        if let Some(offsets) = spec.namespaces.time {
            clone.namespaces |= CLONE_NEWTIME as u64;
            clone.time_offsets = Some(time_offsets(offsets));
        }
        self.push(Op::Clone(clone));
        self.ops.extend(after.map(Op::Cgroup));
        if let UserNamespace::New(maps) = &spec.namespaces.user {
            self.push(Op::IdMap(maps.clone()));
        }
        if let Some(value) = spec.process.oom_score_adj {
            self.push(Op::OomScoreAdj(value));
        }
    }

    fn root(&mut self, spec: &Spec) -> Result<Slot, SpecError> {
        let slot = self.slot()?;
        let op = match &spec.root.source {
            RootSource::Overlay(overlay) => {
                Op::Overlay { slot, overlay: overlay_op(overlay)?, attributes: 0 }
            }
            RootSource::Directory(path) => Op::RootDirectory { slot, path: path.clone() },
            RootSource::Memory { size_bytes } => Op::RootMemory { slot, size_bytes: *size_bytes },
        };
        self.push(op);
        Ok(slot)
    }

    /// The parent's part of each mount.
    fn sources(&mut self, spec: &Spec, view: &View, places: &mut Vec<Place>) -> Result<(), SpecError> {
        for mount in &spec.mounts {
            let attributes = mount.attributes;
            let place = match &mount.source {
                MountSource::Filesystem { .. } => Place::Inside,
                MountSource::Cgroup if view.mounted_inside => Place::Inside,
                MountSource::Cgroup => {
                    let first = Slot(self.slots);
                    for member in &view.members {
                        let slot = self.slot()?;
                        self.push(Op::CgroupTree { slot, member: member.clone() });
                    }
                    Place::Slot(first)
                }
                source => {
                    let slot = self.slot()?;
                    self.push(match source {
                        MountSource::Bind(bind) => Op::Bind {
                            slot,
                            bind: bind.clone(),
                            attributes,
                            recursive_attributes: mount.recursive_attributes,
                            propagation: mount.propagation,
                        },
                        MountSource::Overlay(overlay) => {
                            Op::Overlay { slot, overlay: overlay_op(overlay)?, attributes }
                        }
                        MountSource::File { path, content } => {
                            Op::File { slot, path: path.clone(), content: content.clone(), attributes }
                        }
                        MountSource::FromContainer { namespace, path } => Op::FromContainer {
                            slot,
                            namespace: namespace.clone(),
                            path: c_string("mount source", path)?,
                            attributes,
                        },
                        MountSource::Dev(dev) => Op::Dev { slot, dev: dev_op(dev)? },
                        MountSource::Filesystem { .. } | MountSource::Cgroup => {
                            return Err(SpecError::Conflict("a file system of the kernel has no source"));
                        }
                    });
                    Place::Slot(slot)
                }
            };
            places.push(place);
        }
        Ok(())
    }

    fn child(&mut self, spec: &Spec, view: &View, root: Slot, places: Vec<Place>) -> Result<(), SpecError> {
        if !view.join_files.is_empty() {
            self.push(Op::JoinCgroup { files: view.join_files.clone() });
        }
        if spec.namespaces.cgroup == Namespace::New && !view.at_clone {
            self.push(Op::UnshareCgroup { after_parent: view.around });
        }
        self.push(Op::PrivateMounts);
        let at = c_dir("run_dir", &spec.run_dir)?;
        self.push(Op::EnterRoot { slot: root, at });
        // Only now: the way to `run_dir` is open to the host's root, whose id the child still has.
        if spec.namespaces.user != UserNamespace::Host {
            self.push(Op::BecomeRoot);
        }
        let mut console = false;
        for (mount, place) in spec.mounts.iter().zip(places) {
            let target = target(&mount.target)?;
            match (&mount.source, place) {
                (MountSource::Filesystem { kind, options }, _) => self.push(Op::Mount {
                    kind: c_string("mount type", kind)?,
                    target,
                    flags: mount_flags(mount.attributes),
                    options: c_string("mount options", options)?,
                }),
                (MountSource::Cgroup, Place::Inside) if view.unified => self.push(Op::Mount {
                    kind: c"cgroup2".to_owned(),
                    target,
                    flags: mount_flags(mount.attributes),
                    options: CString::default(),
                }),
                (MountSource::Cgroup, place) if !view.unified => {
                    let first = if let Place::Slot(first) = place { Some(first) } else { None };
                    self.cgroup_v1(&mount.target, target, mount.attributes, view, first)?;
                }
                (source, Place::Slot(slot)) => {
                    console |= matches!(source, MountSource::Dev(dev) if dev.console);
                    let directory = match source {
                        MountSource::File { .. } => Some(false),
                        MountSource::Dev(_) | MountSource::Overlay(_) | MountSource::Cgroup => Some(true),
                        _ => None,
                    };
                    self.push(Op::Attach { slot, target, directory });
                }
                (_, Place::Inside) => return Err(SpecError::Conflict("a mount has neither source nor type")),
            }
        }
        self.settings(spec)?;
        self.protect(spec)?;
        if let Some((rows, columns)) = spec.process.terminal {
            self.push(Op::Terminal { rows, columns, console });
        }
        if let Some(name) = &spec.hostname {
            self.push(Op::Hostname(c_string("hostname", name)?));
        }
        if let Some(name) = &spec.domainname {
            self.push(Op::Domainname(c_string("domainname", name)?));
        }
        if spec.root.read_only {
            self.push(Op::RootReadOnly);
        }
        self.push(Op::Pivot);
        Ok(())
    }

    /// A tmpfs with one directory a hierarchy, then read-only. In a cgroup namespace of its own the
    /// container mounts its part of each itself; else the parent prepared them, from slot `first` on.
    fn cgroup_v1(
        &mut self,
        path: &str,
        target_dir: CString,
        attributes: u64,
        view: &View,
        first: Option<Slot>,
    ) -> Result<(), SpecError> {
        let below = |name: &str| target(&format!("{path}/{name}"));
        self.push(Op::Mount {
            kind: c"tmpfs".to_owned(),
            target: target_dir.clone(),
            flags: mount_flags(attributes & !attr::RDONLY),
            options: c"mode=755,size=64k".to_owned(),
        });
        for (index, member) in view.members.iter().enumerate() {
            let name = View::name(member);
            self.push(Op::MakeDirectory { target: below(&name)?, mode: 0o755 });
            let target = below(&name)?;
            self.push(match first {
                Some(first) => {
                    let slot = Slot(first.0 + index as u8);
                    Op::Attach { slot, target, directory: Some(true) }
                }
                None => hierarchy(member, target, attributes)?,
            });
            // Controllers of one hierarchy are found by their own names too: cpu → cpu,cpuacct.
            for link in name.split(',').filter(|link| **link != *name) {
                self.push(Op::Link { target: below(link)?, to: c_string("cgroup link", &name)? });
            }
        }
        self.push(Op::Seal { target: target_dir });
        Ok(())
    }

    fn settings(&mut self, spec: &Spec) -> Result<(), SpecError> {
        if spec.loopback && spec.namespaces.network == Namespace::New {
            self.push(Op::LoopbackUp);
        }
        for (name, value) in &spec.sysctls {
            let own = sysctl_namespace(name).is_some_and(|kind| match kind {
                SysctlNamespace::Network => spec.namespaces.network != Namespace::Host,
                SysctlNamespace::Ipc => spec.namespaces.ipc != Namespace::Host,
                SysctlNamespace::Uts => spec.namespaces.uts != Namespace::Host,
            });
            if !own {
                return Err(SpecError::Sysctl(name.clone()));
            }
            let target = target(&format!("/proc/sys/{}", sysctl_path(name)))?;
            self.push(Op::Sysctl { target, value: c_string("sysctl", value)? });
        }
        Ok(())
    }

    fn protect(&mut self, spec: &Spec) -> Result<(), SpecError> {
        for path in &spec.readonly_paths {
            self.push(Op::ReadOnly { target: target(path)? });
        }
        for path in &spec.masked_paths {
            self.push(Op::Mask { target: target(path)? });
        }
        Ok(())
    }
}

/// The last steps, those of the process that becomes the program.
pub(super) fn payload(
    ops: &mut Vec<Op>,
    process: &Process,
    labelled: impl Fn(&'static CStr, CString, &'static str) -> Op,
) -> Result<(), SpecError> {
    ops.push(Op::Session { terminal: process.terminal.is_some() });
    ops.push(Op::Keyring);
    for limit in &process.rlimits {
        ops.push(Op::Rlimit(*limit));
    }
    if !process.cwd.starts_with('/') {
        return Err(SpecError::NotAbsolute { field: "process.cwd", value: process.cwd.clone() });
    }
    if let Some(mask) = process.umask {
        ops.push(Op::Umask(mask));
    }
    if let Some(label) = &process.apparmor_profile {
        // AppArmor takes its verb in front; the file is the one that is its own where LSMs are stacked.
        let label = c_string("process.apparmorProfile", &format!("exec {label}"))?;
        ops.push(labelled(c"/proc/thread-self/attr/apparmor/exec", label, "AppArmor"));
    }
    if let Some(label) = &process.selinux_label {
        let label = c_string("process.selinuxLabel", label)?;
        ops.push(labelled(c"/proc/thread-self/attr/exec", label, "SELinux"));
    }
    ops.push(Op::WorkingDirectory {
        path: c_string("process.cwd", &process.cwd)?,
        create: process.create_cwd,
    });
    let dropped = CapSet::ALL.without(process.capabilities.bounding);
    if dropped != CapSet::EMPTY {
        ops.push(Op::Bounding(dropped));
    }
    // Without no_new_privs only a process with CAP_SYS_ADMIN may install a filter, and that is gone
    // after the change of user; with it, the later the filter, the fewer calls it must allow.
    let filter = process.seccomp.as_ref();
    if process.no_new_privileges {
        ops.push(Op::User(process.user.clone()));
        ops.push(Op::Capabilities(process.capabilities));
        ops.push(Op::NoNewPrivileges);
        filter.into_iter().for_each(|filter| ops.push(Op::Seccomp(filter.clone())));
    } else {
        filter.into_iter().for_each(|filter| ops.push(Op::Seccomp(filter.clone())));
        ops.push(Op::User(process.user.clone()));
        ops.push(Op::Capabilities(process.capabilities));
    }
    let args = process.args.iter().map(|arg| c_string("process.args", arg)).collect::<Result<Vec<_>, _>>()?;
    if args.is_empty() {
        return Err(SpecError::Empty("process.args"));
    }
    ops.push(Op::Exec { args: StringVector::new(args) });
    Ok(())
}

/// The mount of a hierarchy from inside a cgroup namespace, which is its root.
fn hierarchy(member: &Member, target: CString, attributes: u64) -> Result<Op, SpecError> {
    let flags = mount_flags(attributes);
    if member.version == Version::V2 {
        return Ok(Op::Mount { kind: c"cgroup2".to_owned(), target, flags, options: CString::default() });
    }
    let options = match &member.name {
        Some(name) => format!("none,name={name}"),
        None => member.controllers.iter().map(|c| c.v1_name()).collect::<Vec<_>>().join(","),
    };
    let options = c_string("cgroup hierarchy", &options)?;
    Ok(Op::Mount { kind: c"cgroup".to_owned(), target, flags, options })
}
