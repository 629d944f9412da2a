//! The parent's half: from the cgroup to the news that the program runs.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use corten_cgroup::Cgroup;
use corten_sys::CallError;
use corten_sys::clone::{CLONE_NEWCGROUP, CLONE_NEWUSER, Child, CloneArgs};
use corten_sys::error::Context;
use corten_sys::exec::StringVector;
use corten_sys::fd::Pool;
use corten_sys::mount::{Change, attr, mount_setattr};
use corten_sys::wait::Exit;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{PidfdFlags, Signal};

use super::child::{self, Inherited, Init};
use super::mounts::{Maker, PRIVATE};
use super::wire::{self, Call, Message};
use super::{Options, Outcome, Started};
use crate::error::{During, StartError};
use crate::plan::{Actor, CloneOp, Op, Plan};
use crate::spec::{IdMaps, User};
use crate::user::{self, Identity};

/// Starts the container. The caller must have one thread, and a umask of 0: what is made for the container
/// gets the modes that it is given.
///
/// # Errors
/// [`StartError`] names the operation and the call. Nothing is left of the container then.
pub fn start(plan: Plan, options: &Options<'_>) -> Result<Started, StartError> {
    let mut starter =
        Starter { cgroup: None, child: None, outcome: Outcome::default(), pool: Pool::default() };
    let terminal = match starter.run(plan, options) {
        Ok(terminal) => terminal,
        Err(error) => {
            starter.undo();
            return Err(error);
        }
    };
    let Some(child) = starter.child else {
        return Err(StartError::Killed("an unknown cause".to_owned()));
    };
    Ok(Started { child, cgroup: starter.cgroup, terminal, outcome: starter.outcome })
}

struct Starter {
    cgroup: Option<Cgroup>,
    child: Option<Child>,
    outcome: Outcome,
    /// What is needed until the program runs: numbers next to each other, closed by one call.
    pool: Pool,
}

/// Who the parent is for file systems while it makes what the container's root is to own. It keeps its
/// capabilities, so paths that only the real root may walk are still open to it.
pub(crate) struct FsOwner;

impl FsOwner {
    pub(crate) fn become_one(maps: &IdMaps) -> Result<Option<Self>, CallError> {
        let (Some(uid), Some(gid)) = (maps.host_user(0), maps.host_group(0)) else { return Ok(None) };
        if (uid, gid) == (0, 0) {
            // An ordinary user's container: its root is who we are already.
            return Ok(None);
        }
        corten_sys::prctl::set_secure_bits(corten_sys::prctl::SECBIT_NO_SETUID_FIXUP)
            .call(|| "prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)")?;
        corten_sys::ids::set_fs_gid(gid);
        corten_sys::ids::set_fs_uid(uid);
        Ok(Some(FsOwner))
    }
}

impl Drop for FsOwner {
    fn drop(&mut self) {
        corten_sys::ids::set_fs_uid(0);
        corten_sys::ids::set_fs_gid(0);
    }
}

impl Starter {
    fn run(&mut self, mut plan: Plan, options: &Options<'_>) -> Result<Option<OwnedFd>, StartError> {
        let (here, there) = wire::pair().call(|| "socketpair()").during(|| "starting".to_owned())?;
        let init = if plan.spec.init { Some(init_program(plan.spec.init_program.as_deref())?) } else { None };
        let clone =
            plan.ops.iter().find_map(|op| if let Op::Clone(clone) = op { Some(clone.clone()) } else { None });
        let Some(clone) = clone else { return Err(StartError::Killed("a plan without a clone".to_owned())) };
        // Before the clone: the cgroup.
        let cgroup = plan
            .ops
            .iter()
            .find_map(|op| if let Op::Cgroup(cgroup) = op { Some(cgroup.clone()) } else { None });
        let (before, after) = match cgroup {
            Some(cgroup) if cgroup.needs_process() => (None, Some(cgroup)),
            other => (other, None),
        };
        self.cgroup = before.map(Cgroup::carry_out).transpose()?;
        self.clone(&mut plan, &clone, &here, &there, init.as_ref(), options)?;
        if let Some(cgroup) = after {
            self.cgroup = Some(Cgroup::carry_out_around(cgroup, self.pid())?);
        }
        drop(there);
        // Back to being the host's root for file systems as soon as everything is made.
        drop(self.prepare(&plan, &here, options)?);
        let terminal = self.watch(&plan, &here)?;
        init.into_iter().chain([here]).for_each(|fd| self.pool.give(fd));
        Ok(terminal)
    }

    fn pid(&self) -> i32 {
        self.child.as_ref().map_or(0, |child| child.pid.as_raw_nonzero().get())
    }

    fn clone(
        &mut self,
        plan: &mut Plan,
        clone: &CloneOp,
        here: &OwnedFd,
        there: &OwnedFd,
        init: Option<&OwnedFd>,
        options: &Options<'_>,
    ) -> Result<(), StartError> {
        let maps =
            plan.ops.iter().find_map(|op| if let Op::IdMap(maps) = op { Some(maps.clone()) } else { None });
        let init = match (init, options.exit_record) {
            (Some(program), Some(exit_record)) => Some(Init {
                program: program.as_fd(),
                exit_record,
                keep_unread: options.keep_unread,
                args: StringVector::new(vec![crate::init::NAME.to_owned()]).with_reserved(c"", 64),
                env: StringVector::new(Vec::new()),
            }),
            _ => None,
        };
        let socket = there.as_fd();
        let inherited = Inherited {
            plan,
            socket,
            stdio: options.stdio,
            init,
            start_gate: options.start_gate,
            parent_end: here.as_fd(),
            starter_only: options.starter_only,
        };
        if clone.join.is_empty() && clone.time_offsets.is_none() {
            let cgroup = match &self.cgroup {
                Some(cgroup) => cgroup.dir_fd()?,
                None => None,
            };
            let args = CloneArgs { namespaces: clone.namespaces, cgroup };
            let child = corten_sys::clone::clone3(args, || child::run(inherited))
                .call(|| format!("clone3({:#x})", clone.namespaces))
                .during(|| "cloning the first process".to_owned())?;
            self.child = Some(child);
        } else {
            self.clone_by_helper(clone, maps.as_ref(), here, inherited, options.joined)?;
        }
        let pid = self.pid();
        if let (Some(maps), true) = (&maps, clone.join.is_empty() && clone.time_offsets.is_none()) {
            write_maps(pid, maps)?;
        }
        Ok(())
    }

    /// Namespaces that are joined, and a time namespace with offsets, take a process that enters them
    /// first and then clones the real one, which becomes our child, not its own.
    fn clone_by_helper(
        &mut self,
        clone: &CloneOp,
        maps: Option<&IdMaps>,
        here: &OwnedFd,
        inherited: Inherited<'_>,
        joined: &[BorrowedFd<'_>],
    ) -> Result<(), StartError> {
        let during = || "joining namespaces".to_owned();
        let mut join = Vec::new();
        for (name, bit, path) in &clone.join {
            match rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
                Ok(file) => join.push((*bit, file)),
                Err(Errno::NOENT) if !joined.is_empty() => return Err(StartError::JoinedGone),
                other => {
                    other.call(|| format!("open({path:?}) for namespace {name}")).during(during).map(drop)?;
                }
            }
        }
        still_there(joined)?;
        let user = clone.namespaces & CLONE_NEWUSER as u64;
        let rest = clone.namespaces & !(CLONE_NEWUSER as u64);
        let socket = inherited.socket;
        let args = CloneArgs { namespaces: user, cgroup: None };
        let offsets = clone.time_offsets.as_deref();
        let other_end = here.as_raw_fd();
        let helper =
            corten_sys::clone::clone3(args, || helper(socket, other_end, &join, rest, offsets, inherited))
                .call(|| format!("clone3({user:#x})"))
                .during(during)?;
        let cloned = self.lead_helper(&helper, rest, maps, here);
        if cloned.is_err() {
            // Dead already, or waiting for what does not come.
            let _gone = rustix::process::pidfd_send_signal(&helper.pidfd, Signal::KILL);
        }
        let end =
            corten_sys::wait::wait_pidfd(helper.pidfd.as_fd()).call(|| "waitid(helper)").during(during)?;
        let Some(pid) = cloned? else { return Err(StartError::Killed(describe_end(end))) };
        // Our own child and not reaped yet, so the number is still its.
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .call(|| format!("pidfd_open({})", pid.as_raw_nonzero()))
            .during(during)?;
        self.child = Some(Child { pid, pidfd });
        Ok(())
    }

    /// The parent's side of the talk with the helper; the number of the real first process.
    fn lead_helper(
        &self,
        helper: &Child,
        namespaces: u64,
        maps: Option<&IdMaps>,
        here: &OwnedFd,
    ) -> Result<Option<rustix::process::Pid>, StartError> {
        let during = || "joining namespaces".to_owned();
        let pid = helper.pid.as_raw_nonzero().get();
        if let Some(maps) = maps {
            write_maps(pid, maps)?;
        }
        if let Some(cgroup) = &self.cgroup {
            // The clone is where the helper is, and a cgroup namespace is rooted there; v1 it joins by itself
            // before it makes one.
            match namespaces & CLONE_NEWCGROUP as u64 {
                0 => cgroup.attach_v2(pid)?,
                _ => cgroup.attach(pid)?,
            }
        }
        wire::send(here.as_fd(), &Message::new(wire::MAPPED), &[])
            .call(|| "sendmsg(MAPPED)")
            .during(during)?;
        let mut message = Message::empty();
        wire::receive(here.as_fd(), &mut message, drop).call(|| "recvmsg(CLONED)").during(during)?;
        match message.kind() {
            Some(wire::CLONED) => {
                Ok(message.u32_at(0).and_then(|pid| rustix::process::Pid::from_raw(pid as i32)))
            }
            Some(wire::FAILED) => {
                let (call, errno) = failure_of(&message);
                let operation = match (call, errno) {
                    (Some(Call::Write), _) => "setting the offsets of the time namespace's clocks".to_owned(),
                    _ => during(),
                };
                let call = CallError::new(format!("{}()", call.map_or("?", Call::name)), errno);
                Err(StartError::Operation { operation, call })
            }
            _ => Ok(None),
        }
    }

    /// Everything between the clone and GO.
    fn prepare(
        &mut self,
        plan: &Plan,
        here: &OwnedFd,
        options: &Options<'_>,
    ) -> Result<Option<FsOwner>, StartError> {
        let pid = self.pid();
        let maps = plan.spec.namespaces.user.maps();
        let userns = match maps {
            None => None,
            Some(_) => {
                let path = format!("/proc/{pid}/ns/user");
                Some(
                    rustix::fs::open(path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                        .call(|| format!("open({path:?})"))
                        .during(|| "opening the user namespace".to_owned())?,
                )
            }
        };
        let pool = Pool::default();
        let mut owner = None;
        let mut slots: Vec<Option<OwnedFd>> = (0..plan.slots).map(|_| None).collect();
        let mut identity = None;
        let maker = Maker {
            userns: userns.as_ref().map(AsFd::as_fd),
            maps,
            run_dir: &plan.spec.run_dir,
            pool: &pool,
            unshiftable: Default::default(),
        };
        for (_, op) in plan.of(Actor::Parent) {
            match op {
                Op::Cgroup(_) | Op::Clone(_) | Op::IdMap(_) => {}
                Op::OomScoreAdj(value) => {
                    let path = format!("/proc/{pid}/oom_score_adj");
                    write_file(&path, &value.to_string()).during(|| op.to_string())?;
                }
                Op::LookupUser { user, groups } => {
                    let root = slots.first().and_then(Option::as_ref).map(AsFd::as_fd);
                    let root = root.ok_or(StartError::Killed("a plan without a root".to_owned()))?;
                    let found = user::resolve(root, user, groups)?;
                    identity = Some(found);
                }
                source => {
                    if let (None, Some(maps)) = (&owner, maps) {
                        owner = FsOwner::become_one(maps)
                            .during(|| "becoming the container's root".to_owned())?;
                    }
                    let (slot, made) = make(&maker, source, &mut self.outcome)
                        .map_err(|call| mount_error(&maker, source, call))?;
                    if matches!(source, Op::FromContainer { .. }) {
                        still_there(options.joined)?;
                    }
                    if let Some(place) = slots.get_mut(usize::from(slot)) {
                        *place = Some(made);
                    }
                }
            }
        }
        let fds: Vec<BorrowedFd<'_>> = slots.iter().flatten().map(AsFd::as_fd).collect();
        let identity = identity_of(&plan.spec.process.user, identity);
        has_ids(maps, &identity)?;
        let go = go_message(&plan.spec.process.user, &identity)?;
        let sent = wire::send(here.as_fd(), &go, &fds);
        slots.into_iter().flatten().for_each(|fd| pool.give(fd));
        userns.into_iter().for_each(|fd| self.pool.give(fd));
        match sent {
            // It died; `watch` finds out of what.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(owner),
            Err(errno) => Err(errno).call(|| "sendmsg(GO)").during(|| "handing over the mounts".to_owned()),
        }
    }

    /// Waits until the program runs, or for the news why not.
    fn watch(&mut self, plan: &Plan, here: &OwnedFd) -> Result<Option<OwnedFd>, StartError> {
        let (mut terminal, mut announced) = (None, false);
        loop {
            let mut message = Message::empty();
            wire::receive(here.as_fd(), &mut message, |fd| terminal = Some(fd))
                .call(|| "recvmsg()")
                .during(|| "waiting for the container".to_owned())?;
            match message.kind() {
                None if announced => return Ok(terminal),
                None => {
                    let end =
                        self.child.as_ref().map(|child| corten_sys::wait::wait_pidfd(child.pidfd.as_fd()));
                    let cause = match end {
                        Some(Ok(end)) => describe_end(end),
                        _ => "an unknown cause".to_owned(),
                    };
                    self.child = None;
                    return Err(StartError::Killed(cause));
                }
                Some(wire::EXEC) => announced = true,
                Some(wire::FAILED) => return Err(start_error(&plan.ops, &message)),
                Some(_) => {}
            }
        }
    }

    /// Kills and reaps the child and removes its cgroup.
    fn undo(&mut self) {
        if let Some(child) = self.child.take() {
            // Already dead, or dies now; either way it is ours to reap.
            let _gone = rustix::process::pidfd_send_signal(&child.pidfd, Signal::KILL);
            let _reaped = corten_sys::wait::wait_pidfd(child.pidfd.as_fd());
        }
        if let Some(cgroup) = self.cgroup.take() {
            // What cannot be removed now is an empty directory that the next command collects.
            let _left = cgroup.remove();
        }
    }
}

/// Joins, unshares, and clones the real first process as a sibling of itself.
fn helper(
    socket: BorrowedFd<'_>,
    other_end: i32,
    join: &[(i32, OwnedFd)],
    namespaces: u64,
    offsets: Option<&str>,
    inherited: Inherited<'_>,
) -> i32 {
    use super::wire::{At, Failure};
    inherited.close_the_parents();
    let enter = || -> Result<(), Failure> {
        // From the moment that we are in their namespaces, processes of another container could look at
        // this one, whose root directory is still the host's.
        corten_sys::prctl::set_dumpable(false).at(Call::Prctl)?;
        // Without a copy of the other end it is told when the parent goes.
        corten_sys::fd::place(socket, other_end).at(Call::Dup2)?;
        let mut message = Message::empty();
        wire::receive(socket, &mut message, drop).at(Call::Recvmsg)?;
        if message.kind() != Some(wire::MAPPED) {
            return Err(Failure { call: Call::Recvmsg, errno: Errno::PIPE });
        }
        for (bit, file) in join {
            corten_sys::clone::setns(file.as_fd(), *bit).at(Call::Setns)?;
        }
        if let Some(offsets) = offsets {
            corten_sys::clone::unshare(corten_sys::clone::CLONE_NEWTIME).at(Call::Unshare)?;
            let file = rustix::fs::open(
                c"/proc/self/timens_offsets",
                OFlags::WRONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .at(Call::Openat2)?;
            rustix::io::write(&file, offsets.as_bytes()).at(Call::Write)?;
        }
        Ok(())
    };
    if let Err(failure) = enter() {
        wire::report(socket, 0, failure);
        return 125;
    }
    // The time namespace is that of children already.
    let namespaces = namespaces & !(corten_sys::clone::CLONE_NEWTIME as u64);
    match corten_sys::clone::clone3_sibling(namespaces, || child::wait_and_go(inherited)) {
        Ok(pid) => {
            let mut message = Message::new(wire::CLONED);
            message.push_u32(pid.as_raw_nonzero().get() as u32);
            i32::from(wire::send(socket, &message, &[]).is_err()) * 125
        }
        Err(errno) => {
            wire::report(socket, 0, Failure { call: Call::Clone3, errno });
            125
        }
    }
}

/// Corten itself, on a mount of its own that nobody can write to (CVE-2019-5736).
fn init_program(path: Option<&Path>) -> Result<OwnedFd, StartError> {
    let make = || -> Result<OwnedFd, CallError> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        // We were executed from such a mount ourselves, which is attached nowhere: it is that.
        let ourselves = || {
            rustix::fs::open(c"/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .call(|| "open(\"/proc/self/exe\", O_PATH)")
        };
        let tree = match path {
            None => match open_tree(CWD, c"/proc/self/exe", flags) {
                Err(Errno::INVAL) if is_sealed()? => return ourselves(),
                other => other,
            },
            Some(path) => match own_program(path) {
                // An upgrade has put another at the path since.
                Err(_) if is_sealed()? => return ourselves(),
                found => open_tree(&found?, c"", flags | OpenTreeFlags::AT_EMPTY_PATH),
            },
        }
        .call(|| "open_tree(\"/proc/self/exe\", OPEN_TREE_CLONE)")?;
        let set = attr::RDONLY | attr::NOSUID | attr::NODEV;
        mount_setattr(tree.as_fd(), Change { set, propagation: PRIVATE, ..Change::default() })
            .call(|| "mount_setattr(\"/proc/self/exe\", MOUNT_ATTR_RDONLY)")?;
        Ok(tree)
    };
    make().during(|| "preparing init".to_owned())
}

/// Whether the mount that we were executed from can be written to by nobody.
fn is_sealed() -> Result<bool, CallError> {
    let stat = rustix::fs::statvfs(c"/proc/self/exe").call(|| "statfs(\"/proc/self/exe\")")?;
    Ok(stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// Corten's own binary on a mount of its own that nobody can write to; `path` is where it is, if this is
/// another mount namespace than it was executed in.
///
/// # Errors
/// [`StartError`] names the call.
pub fn sealed_program(path: Option<&Path>) -> Result<OwnedFd, StartError> {
    init_program(path)
}

/// The program that this is, by its path in this mount namespace.
fn own_program(name: &Path) -> Result<OwnedFd, CallError> {
    let file = rustix::fs::open(name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open({name:?}, O_PATH)"))?;
    let (found, own) = (
        rustix::fs::fstat(&file).call(|| format!("fstat({name:?})"))?,
        rustix::fs::stat("/proc/self/exe").call(|| "stat(\"/proc/self/exe\")")?,
    );
    if (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino) {
        // Replaced or hidden since it was executed.
        return Err(CallError::new(
            format!("open({name:?}, O_PATH): another file than /proc/self/exe"),
            Errno::STALE,
        ));
    }
    Ok(file)
}

fn make(maker: &Maker<'_>, op: &Op, outcome: &mut Outcome) -> Result<(u8, OwnedFd), CallError> {
    let cgroup = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
    let (slot, made) = match op {
        Op::Overlay { slot, overlay, attributes } => {
            let (made, by_path) = maker.overlay(overlay, *attributes)?;
            outcome.layers_by_path |= by_path;
            let made = match &overlay.subpath {
                Some(path) => maker.below(made, path)?,
                None => made,
            };
            (slot, made)
        }
        Op::RootDirectory { slot, path } => (slot, maker.directory(path, 0, true)?),
        Op::RootMemory { slot, size_bytes } => {
            let mut options = vec![(c"mode", "755".to_owned())];
            options.extend(size_bytes.map(|size| (c"size", size.to_string())));
            (slot, maker.memory(&options, 0)?)
        }
        Op::Dev { slot, dev } => (slot, maker.dev(dev)?),
        Op::Bind { slot, bind, attributes, recursive_attributes, propagation } => {
            let source = || outcome.unmapped_binds.push(bind.source.display().to_string());
            (slot, maker.bind(bind, *attributes, *recursive_attributes, *propagation, source)?)
        }
        Op::File { slot, path, content, attributes } => (slot, maker.file(path, content, *attributes)?),
        Op::FromContainer { slot, namespace, path, attributes } => {
            (slot, maker.taken_from(namespace, path, *attributes)?)
        }
        Op::CgroupTree { slot, member } => (slot, maker.directory(&member.dir, cgroup, false)?),
        other => return Err(CallError::new(other.to_string(), Errno::NOSYS)),
    };
    Ok((slot.0, made))
}

/// Who the program runs as.
pub(super) fn identity_of(user: &User, found: Option<Identity>) -> Identity {
    match (user, found) {
        (User::Ids { uid, gid, groups }, _) => {
            Identity { uid: *uid, gid: *gid, groups: groups.clone(), home: String::new() }
        }
        (User::Lookup { .. }, Some(found)) => found,
        (User::Lookup { .. }, None) => Identity { uid: 0, gid: 0, groups: Vec::new(), home: String::new() },
    }
}

/// All ids of the program must exist in the user namespace.
pub(super) fn has_ids(maps: Option<&IdMaps>, identity: &Identity) -> Result<(), StartError> {
    maps.map_or(Ok(()), |maps| identity.check(maps)).map_err(StartError::from)
}

/// The processes whose namespaces were opened by number were still there afterwards.
pub(crate) fn still_there(joined: &[BorrowedFd<'_>]) -> Result<(), StartError> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    for pidfd in joined {
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        let ended =
            poll(&mut fds, Some(&now)).call(|| "poll(pidfd)").during(|| "joining namespaces".to_owned())?;
        if ended > 0 {
            return Err(StartError::JoinedGone);
        }
    }
    Ok(())
}

/// What failed, and if it was a shift of ids, on which file system.
fn mount_error(maker: &Maker<'_>, op: &Op, call: CallError) -> StartError {
    match (maker.unshiftable.take(), call.errno) {
        (Some(path), Errno::INVAL | Errno::PERM | Errno::OPNOTSUPP) => StartError::Unshiftable {
            filesystem: super::mounts::file_system_of(&path),
            layer: matches!(op, Op::Overlay { .. }),
            path,
            errno: call.errno,
        },
        _ => StartError::Operation { operation: op.to_string(), call },
    }
}

pub(super) fn go_message(user: &User, identity: &Identity) -> Result<Message, StartError> {
    let mut go = Message::new(wire::GO);
    let mut fits = go.push_u32(identity.uid) && go.push_u32(identity.gid);
    fits &= go.push_u32(identity.groups.len() as u32);
    fits &= identity.groups.iter().all(|group| go.push_u32(*group));
    fits &= go.push(identity.home.as_bytes());
    if fits {
        return Ok(go);
    }
    let user = format!("{user:?}");
    Err(user::UserError::TooManyGroups { user, count: identity.groups.len() }.into())
}

fn write_maps(pid: i32, maps: &IdMaps) -> Result<(), StartError> {
    for (file, ranges) in [("uid_map", &maps.users), ("gid_map", &maps.groups)] {
        let text: String = ranges
            .iter()
            .map(|range| format!("{} {} {}\n", range.inside, range.outside, range.size))
            .collect();
        write_file(&format!("/proc/{pid}/{file}"), &text)
            .during(|| "mapping user and group ids".to_owned())?;
    }
    Ok(())
}

fn write_file(path: &str, text: &str) -> Result<(), CallError> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open({path:?}, O_WRONLY)"))?;
    rustix::io::write(&file, text.as_bytes()).call(|| format!("write({path:?}, {text:?})")).map(drop)
}

fn failure_of(message: &Message) -> (Option<Call>, Errno) {
    let call = message.u32_at(1).and_then(Call::from_number);
    let errno = Errno::from_raw_os_error(message.u32_at(2).unwrap_or(0) as i32);
    (call, errno)
}

pub(super) fn start_error(ops: &[Op], message: &Message) -> StartError {
    let (call, errno) = failure_of(message);
    let op = message.u32_at(0).and_then(|index| ops.get(index as usize));
    let program = |args: &StringVector| {
        args.iter().next().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    match (op, call, errno) {
        (Some(Op::Exec { args }), Some(Call::Execve), Errno::NOENT | Errno::NOTDIR) => {
            StartError::NotFound { program: program(args) }
        }
        (Some(Op::Exec { args }), Some(Call::Execve), errno) => {
            StartError::NotExecutable { program: program(args), errno }
        }
        (Some(Op::JoinNamespaces { .. }), Some(Call::Setns), Errno::SRCH) => StartError::Ended,
        (Some(Op::WorkingDirectory { path, create: false }), _, errno) => {
            StartError::WorkingDirectory { path: path.to_string_lossy().into_owned(), errno }
        }
        (Some(op @ Op::Mask { .. }), Some(Call::Openat2), Errno::NOENT) => {
            StartError::NoNull { operation: op.to_string() }
        }
        (op, call, errno) => {
            let operation = op.map_or_else(|| "setting up".to_owned(), ToString::to_string);
            let failed = CallError::new(format!("{}()", call.map_or("?", Call::name)), errno);
            match (op, errno) {
                (Some(Op::Attach { .. } | Op::Mount { .. }), Errno::NOTDIR | Errno::ISDIR) => {
                    StartError::Kind { operation, call: failed }
                }
                _ => StartError::Operation { operation, call: failed },
            }
        }
    }
}

pub(super) fn describe_end(end: Exit) -> String {
    match end {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(signal) => corten_sys::signal::name(signal.into()),
    }
}
