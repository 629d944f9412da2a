//! Carrying out the plan of an exec.
//!
//! ```text
//!  parent                                    child
//!    looks the user up in the container's root
//!    setns(pidfd, NEWPID), clone3 ───────────▶ writes 0 to the v1 cgroups' tasks
//!      (v2: CLONE_INTO_CGROUP)                 not dumpable; setns(pidfd, everything else)
//!                                              root of the user namespace, terminal
//!    end of file: it runs ◀─────────────────── user, capabilities, seccomp, execve
//! ```
//!
//! From its first moment in the container's pid namespace the child is seen by the container, and has the
//! host's files open: it is of another user namespace until the setns(2), and not dumpable from before that
//! until the execve(2), so nobody in the container may trace it or look into its /proc/PID (CVE-2016-9962).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_cgroup::Cgroup;
use corten_sys::clone::{Child, CloneArgs};
use corten_sys::error::Context;
use corten_sys::exec::StringVector;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, makedev};
use rustix::io::Errno;
use rustix::process::Signal;

use super::child::{become_root, join_cgroup};
use super::parent::{describe_end, go_message, has_ids, identity_of, start_error};
use super::payload::{self, Steps};
use super::wire::{self, At, Call, Failure, Message};
use crate::error::{During, StartError};
use crate::plan::{Actor, ExecPlan, Op};
use crate::user;

/// linux/magic.h: `DEVPTS_SUPER_MAGIC`.
const DEVPTS: u64 = 0x1cd1;
/// An exit code that nobody looks at: what failed was told on the socket.
const SETUP_FAILED: i32 = 125;

/// The container, and what the process gets of its starter.
#[derive(Debug)]
pub struct ExecOptions<'a> {
    /// The container's first process. It was checked, after this was opened, to be that.
    pub init: BorrowedFd<'a>,
    /// Its number.
    pub init_pid: i32,
    /// The container's cgroup.
    pub cgroup: Option<&'a Cgroup>,
    /// Standard input, output and error; not used if the process gets a terminal.
    pub stdio: [BorrowedFd<'a>; 3],
    /// When something happens on this, a process that does not run yet is killed: the container's files may
    /// be of a file system that never answers.
    pub give_up: Option<BorrowedFd<'a>>,
    /// The process is killed when the caller dies, unless its execve gives it rights (prctl(2),
    /// `PR_SET_PDEATHSIG`).
    pub dies_with_parent: bool,
}

/// A process that runs in the container, the caller's child.
#[derive(Debug)]
pub struct Executed {
    /// The process.
    pub child: Child,
    /// The master of its terminal.
    pub terminal: Option<OwnedFd>,
}

/// Starts the process. The caller must have one thread, and is good for nothing else afterwards: its
/// children are the container's.
///
/// # Errors
/// [`StartError`] names the operation and the call; there is no process then.
pub fn exec(mut plan: ExecPlan, options: &ExecOptions<'_>) -> Result<Executed, StartError> {
    let (here, there) = wire::pair().call(|| "socketpair()").during(|| "starting".to_owned())?;
    let mut identity = None;
    let mut before = None;
    let mut made = None;
    let ops = std::mem::take(&mut plan.ops);
    for op in ops.iter().filter(|op| op.actor() == Actor::Parent) {
        match op {
            Op::LookupUser { user, groups } => {
                let root = root_of(options).during(|| op.to_string())?;
                identity = Some(user::resolve(root.as_fd(), user, groups)?);
            }
            Op::PassLabel { file, label, .. } => payload::label_exec(file, label).map_err(|failure| {
                let call = format!("{}({file:?}, {label:?})", failure.call.name());
                StartError::Operation {
                    operation: op.to_string(),
                    call: corten_sys::CallError::new(call, failure.errno),
                }
            })?,
            Op::OomScoreAdj(value) => before = Some(OomScore::set(*value).during(|| op.to_string())?),
            Op::JoinFirst { namespaces } => {
                // With the container's user namespace come rights over this process.
                corten_sys::prctl::set_dumpable(false)
                    .call(|| "prctl(PR_SET_DUMPABLE, 0)")
                    .during(|| op.to_string())?;
                join(options.init, *namespaces).map_err(|errno| join_error(op, *namespaces, errno))?;
            }
            Op::CloneBeside => {
                let identity = identity_of(&plan.spec.process.user, identity.take());
                has_ids(plan.spec.maps.as_ref(), &identity)?;
                let go = go_message(&plan.spec.process.user, &identity)?;
                let steps = ChildSteps {
                    ops: &ops,
                    env: &mut plan.env,
                    fill_home: plan.fill_home,
                    search_path: &plan.search_path,
                    keep_groups: plan.spec.process.keep_groups,
                    is_root: plan.spec.maps.is_some(),
                    socket: there.as_fd(),
                    options,
                };
                made = Some(clone(options, op, steps, &go)?);
            }
            _ => {}
        }
    }
    drop(there);
    drop(before);
    let Some(child) = made else { return Err(StartError::Killed("a plan without a clone".to_owned())) };
    match watch(&ops, &here, &child, options) {
        Ok(terminal) => Ok(Executed { child, terminal }),
        Err(error) => {
            let _gone = rustix::process::pidfd_send_signal(&child.pidfd, Signal::KILL);
            // Reaped already where its end is the error.
            let _reaped = corten_sys::wait::wait_pidfd(child.pidfd.as_fd());
            Err(error)
        }
    }
}

/// The container's root. Its number is its first process's own as long as that has not ended.
fn root_of(options: &ExecOptions<'_>) -> Result<OwnedFd, corten_sys::CallError> {
    let path = format!("/proc/{}/root", options.init_pid);
    rustix::fs::open(path.as_str(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open({path:?}, O_PATH)"))
}

/// setns(2) by pidfd: several at once since Linux 5.8.
fn join(init: BorrowedFd<'_>, namespaces: i32) -> Result<(), Errno> {
    corten_sys::clone::setns(init, namespaces)
}

fn join_error(op: &Op, namespaces: i32, errno: Errno) -> StartError {
    match errno {
        Errno::SRCH => StartError::Ended,
        errno => {
            let call = corten_sys::CallError::new(format!("setns(pidfd, {namespaces:#x})"), errno);
            StartError::Operation { operation: op.to_string(), call }
        }
    }
}

/// oom_score_adj of this process, which its children begin with; put back when dropped.
struct OomScore {
    file: OwnedFd,
    before: Vec<u8>,
}

impl OomScore {
    fn set(value: i32) -> Result<Self, corten_sys::CallError> {
        let path = "/proc/self/oom_score_adj";
        let file = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .call(|| format!("open({path:?}, O_RDWR)"))?;
        let mut before = vec![0; 16];
        let count = rustix::io::pread(&file, &mut before, 0).call(|| format!("read({path:?})"))?;
        before.truncate(count);
        let text = value.to_string();
        rustix::io::write(&file, text.as_bytes()).call(|| format!("write({path:?}, {text:?})"))?;
        Ok(Self { file, before })
    }
}

impl Drop for OomScore {
    fn drop(&mut self) {
        // Where it cannot be lowered again, this process only goes with the one that it waits for.
        let _lower = rustix::io::write(&self.file, &self.before);
    }
}

/// What the child takes over, by reference to memory that it has a copy of.
struct ChildSteps<'a> {
    ops: &'a [Op],
    env: &'a mut StringVector,
    fill_home: bool,
    search_path: &'a [std::ffi::CString],
    keep_groups: bool,
    is_root: bool,
    socket: BorrowedFd<'a>,
    options: &'a ExecOptions<'a>,
}

fn clone(
    options: &ExecOptions<'_>,
    op: &Op,
    mut steps: ChildSteps<'_>,
    go: &Message,
) -> Result<Child, StartError> {
    let cgroup = match options.cgroup {
        Some(cgroup) => cgroup.dir_fd()?,
        None => None,
    };
    let mut made = corten_sys::clone::clone3(CloneArgs { namespaces: 0, cgroup }, || run(&mut steps, go));
    if let (Err(Errno::BUSY | Errno::OPNOTSUPP), Some(cgroup)) = (&made, options.cgroup) {
        // The container has made cgroups of its own below this one, which can hold no process any more.
        let beside = cgroup.dir_beside(options.init_pid)?;
        let args = CloneArgs { namespaces: 0, cgroup: Some(beside.as_fd()) };
        made = corten_sys::clone::clone3(args, || run(&mut steps, go));
    }
    match made {
        // The pid namespace takes no more processes: its first one is gone.
        Err(Errno::NOMEM) if ended(options.init) => Err(StartError::Ended),
        made => made.call(|| "clone3()").during(|| op.to_string()),
    }
}

fn ended(pidfd: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

/// The child, from the clone on. It allocates nothing.
fn run(steps: &mut ChildSteps<'_>, go: &Message) -> i32 {
    let ops = steps.ops;
    let mut terminal = None;
    for (index, op) in ops.iter().enumerate().filter(|(_, op)| op.actor() == Actor::Child) {
        let done = match op {
            Op::JoinCgroup { files } => join_cgroup(files),
            Op::JoinNamespaces { namespaces } => corten_sys::prctl::set_dumpable(false)
                .at(Call::Prctl)
                .and_then(|()| join(steps.options.init, *namespaces).at(Call::Setns)),
            Op::BecomeRoot => become_root(steps.keep_groups),
            Op::TerminalInside { rows, columns } => {
                open_terminal(*rows, *columns, steps.socket).map(|peer| terminal = Some(peer))
            }
            // The plan gives the child no operation of another actor.
            _ => Err(Failure { call: Call::Recvmsg, errno: Errno::NOSYS }),
        };
        if let Err(failure) = done {
            wire::report(steps.socket, index, failure);
            return SETUP_FAILED;
        }
    }
    let mut payload = Steps {
        ops,
        env: &mut *steps.env,
        fill_home: steps.fill_home,
        search_path: steps.search_path,
        keep_groups: steps.keep_groups,
        is_root: steps.is_root,
        socket: steps.socket,
        stdio: Some(steps.options.stdio),
        terminal: terminal.as_ref().map(AsFd::as_fd),
        start_gate: None,
        dies_with_parent: steps.options.dies_with_parent,
    };
    payload::run(&mut payload, go)
}

/// A pseudo-terminal of the container's devpts, whose master goes to the parent. The container may have put
/// anything at the path: what is opened must be the multiplexer, and of a devpts.
fn open_terminal(rows: u16, columns: u16, socket: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    let wrong = Err(Failure { call: Call::Fstat, errno: Errno::NODEV });
    let resolve = ResolveFlags::NO_SYMLINKS;
    // First without effect: opening a device, a FIFO or a file of the container's choice may have one.
    let place =
        corten_sys::open::openat2(CWD, c"/dev/pts", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
            .at(Call::Openat2)?;
    let filesystem = rustix::fs::fstatfs(&place).at(Call::Fstat)?;
    if filesystem.f_type as u64 != DEVPTS {
        return wrong;
    }
    // A devpts has no links, and no mount is crossed.
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH | ResolveFlags::NO_XDEV;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master =
        corten_sys::open::openat2(&place, c"ptmx", flags, Mode::empty(), resolve).at(Call::Openat2)?;
    let stat = rustix::fs::fstat(&master).at(Call::Fstat)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || stat.st_rdev != makedev(5, 2) {
        return wrong;
    }
    corten_sys::ioctl::pty_unlock(master.as_fd()).at(Call::Ioctl)?;
    let peer = corten_sys::ioctl::pty_peer(master.as_fd()).at(Call::Ioctl)?;
    if rows != 0 && columns != 0 {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&peer, size).at(Call::Ioctl)?;
    }
    wire::send(socket, &Message::new(wire::TERMINAL), &[master.as_fd()]).at(Call::Sendmsg)?;
    Ok(peer)
}

/// Waits for either; whether the first has something.
fn is_first(first: &OwnedFd, second: BorrowedFd<'_>) -> Result<bool, corten_sys::CallError> {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut fds = [PollFd::new(first, PollFlags::IN), PollFd::from_borrowed_fd(second, PollFlags::IN)];
    loop {
        match poll(&mut fds, None) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).call(|| "poll()"),
            Ok(_) => break,
        }
    }
    Ok(!fds[0].revents().is_empty())
}

/// Waits until the program runs, or for the news why not.
fn watch(
    ops: &[Op],
    here: &OwnedFd,
    child: &Child,
    options: &ExecOptions<'_>,
) -> Result<Option<OwnedFd>, StartError> {
    let (mut terminal, mut announced) = (None, false);
    loop {
        if let Some(give_up) = options.give_up
            && !is_first(here, give_up).during(|| "waiting for the process".to_owned())?
        {
            return Err(StartError::GivenUp);
        }
        let mut message = Message::empty();
        wire::receive(here.as_fd(), &mut message, |fd| terminal = Some(fd))
            .call(|| "recvmsg()")
            .during(|| "waiting for the process".to_owned())?;
        match message.kind() {
            None if announced => return Ok(terminal),
            None => {
                let end = corten_sys::wait::wait_pidfd(child.pidfd.as_fd());
                if ended(options.init) {
                    return Err(StartError::Ended);
                }
                return Err(StartError::Killed(end.map_or("an unknown cause".to_owned(), describe_end)));
            }
            Some(wire::EXEC) => announced = true,
            Some(wire::FAILED) => return Err(start_error(ops, &message)),
            Some(_) => {}
        }
    }
}
