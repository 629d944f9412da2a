//! The last steps before execve(2), in the process that becomes the program.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

use corten_sys::exec::StringVector;
use corten_sys::signal::SignalSet;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::wire::{self, At, Call, Failure, Message};
use crate::plan::{Actor, Op};
use crate::spec::{Capabilities, User};
use crate::user::MAX_GROUPS;

/// What a shell returns for a program that is not there, and for one that cannot be executed.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;
const SETUP_FAILED: i32 = 125;

/// What these steps take of a start, or of an exec in a container that runs.
pub(crate) struct Steps<'a> {
    pub(crate) ops: &'a [Op],
    pub(crate) env: &'a mut StringVector,
    pub(crate) fill_home: bool,
    pub(crate) search_path: &'a [CString],
    pub(crate) keep_groups: bool,
    /// It is root of a user namespace already.
    pub(crate) is_root: bool,
    pub(crate) socket: BorrowedFd<'a>,
    /// Standard input, output and error, if there is no terminal.
    pub(crate) stdio: Option<[BorrowedFd<'a>; 3]>,
    pub(crate) terminal: Option<BorrowedFd<'a>>,
    pub(crate) start_gate: Option<BorrowedFd<'a>>,
    /// Whoever cloned it must not be outlived.
    pub(crate) dies_with_parent: bool,
}

impl<'a> Steps<'a> {
    fn of_payload(&self) -> impl Iterator<Item = (usize, &'a Op)> + use<'a> {
        self.ops.iter().enumerate().filter(|(_, op)| op.actor() == Actor::Payload)
    }
}

/// Runs in the process that becomes the program; returns an exit code only if it cannot become it.
pub(crate) fn run(inherited: &mut Steps<'_>, go: &Message) -> i32 {
    let mut identity = Identity::from_message(go);
    if !fill_home(inherited, &identity) {
        wire::report(inherited.socket, 0, Failure { call: Call::Execve, errno: Errno::NAMETOOLONG });
        return SETUP_FAILED;
    }
    let mut announced = false;
    for (index, op) in inherited.of_payload() {
        // A filter may forbid what reporting takes; from here on only the exec can fail in earnest.
        if !announced && matches!(op, Op::Seccomp(_) | Op::Exec { .. }) {
            if let Some(Err(failure)) = inherited.start_gate.map(wait_at) {
                wire::report(inherited.socket, index, failure);
                return SETUP_FAILED;
            }
            announced = true;
            if wire::send(inherited.socket, &Message::new(wire::EXEC), &[]).is_err() {
                return SETUP_FAILED;
            }
        }
        let Err(failure) = carry_out(op, inherited, &mut identity) else { continue };
        wire::report(inherited.socket, index, failure);
        return match failure {
            Failure { call: Call::Execve, errno: Errno::NOENT | Errno::NOTDIR } => NOT_FOUND,
            Failure { call: Call::Execve, .. } => NOT_EXECUTABLE,
            _ => SETUP_FAILED,
        };
    }
    SETUP_FAILED
}

/// Opens a FIFO and writes to it: blocks until `start` reads.
fn wait_at(gate: BorrowedFd<'_>) -> Result<(), Failure> {
    rustix::io::write(gate, b"0").at(Call::Write).map(drop)
}

/// Who the program runs as, as the parent found it.
struct Identity {
    uid: u32,
    gid: u32,
    groups: [u32; MAX_GROUPS],
    count: usize,
    home: [u8; 4096],
    home_length: usize,
    cwd_pending: bool,
}

impl Identity {
    fn from_message(go: &Message) -> Self {
        let mut identity = Self {
            uid: go.u32_at(0).unwrap_or(0),
            gid: go.u32_at(1).unwrap_or(0),
            groups: [0; MAX_GROUPS],
            count: (go.u32_at(2).unwrap_or(0) as usize).min(MAX_GROUPS),
            home: [0; 4096],
            home_length: 0,
            cwd_pending: false,
        };
        for index in 0..identity.count {
            identity.groups[index] = go.u32_at(3 + index).unwrap_or(0);
        }
        let home = go.body().get(12 + 4 * identity.count..).unwrap_or(&[]);
        identity.home_length = home.len().min(identity.home.len());
        identity.home[..identity.home_length].copy_from_slice(&home[..identity.home_length]);
        identity
    }
}

fn fill_home(inherited: &mut Steps<'_>, identity: &Identity) -> bool {
    if !inherited.fill_home {
        return true;
    }
    let home = &identity.home[..identity.home_length];
    inherited.env.replace_last(&[b"HOME=", if home.is_empty() { b"/" } else { home }])
}

fn carry_out(op: &Op, inherited: &Steps<'_>, identity: &mut Identity) -> Result<(), Failure> {
    match op {
        Op::Session { terminal } => session(*terminal, inherited, identity),
        Op::Keyring => match corten_sys::keyring::join_session(None) {
            // A kernel without keys has none to keep away from.
            Ok(()) | Err(Errno::NOSYS) => Ok(()),
            Err(errno) => Err(Failure { call: Call::Keyctl, errno }),
        },
        Op::Rlimit(limit) => {
            corten_sys::rlimit::set(limit.resource, limit.soft, limit.hard).at(Call::Prlimit)
        }
        Op::Umask(mask) => {
            rustix::process::umask(Mode::from_raw_mode(*mask));
            Ok(())
        }
        Op::Label { file, label, .. } => label_exec(file, label),
        Op::WorkingDirectory { path, create } => working_directory(path, *create, identity),
        Op::Bounding(dropped) => {
            for number in 0..64 {
                if dropped.has(number) {
                    match corten_sys::prctl::drop_bounding(number) {
                        // A capability newer than this kernel is not there to be dropped.
                        Ok(()) | Err(Errno::INVAL) => {}
                        Err(errno) => return Err(Failure { call: Call::Prctl, errno }),
                    }
                }
            }
            Ok(())
        }
        Op::User(user) => change_user(user, inherited, identity),
        Op::Capabilities(caps) => capabilities(*caps),
        Op::NoNewPrivileges => corten_sys::prctl::set_no_new_privs().at(Call::Prctl),
        Op::Seccomp(filter) => {
            corten_sys::seccomp::set_mode_filter(&filter.program, filter.flags).at(Call::Seccomp).map(drop)
        }
        Op::Exec { args } => Err(exec(inherited, args)),
        _ => Err(Failure { call: Call::Recvmsg, errno: Errno::NOSYS }),
    }
}

fn session(terminal: bool, inherited: &Steps<'_>, identity: &Identity) -> Result<(), Failure> {
    rustix::process::setsid().at(Call::Setsid)?;
    let stdio = match (inherited.terminal, inherited.stdio) {
        (Some(peer), _) if terminal => {
            corten_sys::ioctl::set_controlling_terminal(peer).at(Call::Ioctl)?;
            if identity.uid != 0 {
                // The group stays that of devpts: tty.
                let owner = rustix::fs::Uid::from_raw(identity.uid);
                rustix::fs::fchown(peer, Some(owner), None).at(Call::Fchown)?;
            }
            [peer; 3]
        }
        (_, Some(stdio)) => stdio,
        _ => return Ok(()),
    };
    for (number, fd) in stdio.into_iter().enumerate() {
        corten_sys::fd::place(fd, number as i32).at(Call::Dup2)?;
    }
    Ok(())
}

pub(super) fn label_exec(file: &CStr, label: &CStr) -> Result<(), Failure> {
    let fd = rustix::fs::open(file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).at(Call::Openat2)?;
    rustix::io::write(&fd, label.to_bytes()).at(Call::Write).map(drop)
}

fn working_directory(path: &CStr, create: bool, identity: &mut Identity) -> Result<(), Failure> {
    if path == c"/" {
        return Ok(());
    }
    match rustix::process::chdir(path) {
        Ok(()) => {}
        Err(Errno::NOENT) if create => {
            let root =
                rustix::fs::open(c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at(Call::Openat2)?;
            super::target::make_directories(root.as_fd(), path)?;
            rustix::process::chdir(path).at(Call::Chdir)?;
        }
        // Only the user may enter it (a home on a network file system).
        Err(Errno::ACCESS) => {
            identity.cwd_pending = true;
            return Ok(());
        }
        Err(errno) => return Err(Failure { call: Call::Chdir, errno }),
    }
    inside()
}

/// That the working directory is below the root and not a descriptor of the host's that a link of
/// procfs led to (CVE-2024-21626).
pub(crate) fn inside() -> Result<(), Failure> {
    let mut buffer = [0u8; 4097];
    match corten_sys::cwd::getcwd(&mut buffer).at(Call::Getcwd)?.first() {
        Some(b'/') => Ok(()),
        _ => Err(Failure { call: Call::Getcwd, errno: Errno::NOENT }),
    }
}

fn change_user(user: &User, inherited: &Steps<'_>, identity: &Identity) -> Result<(), Failure> {
    let (uid, gid, groups) = match user {
        User::Ids { uid, gid, groups } => (*uid, *gid, groups.as_slice()),
        User::Lookup { .. } => (identity.uid, identity.gid, &identity.groups[..identity.count]),
    };
    if uid != 0 {
        corten_sys::prctl::set_keep_caps(true).at(Call::Prctl)?;
    }
    if !inherited.keep_groups {
        corten_sys::ids::set_groups(groups).at(Call::Setgroups)?;
    }
    // In a user namespace of its own the process is root already.
    let root = inherited.is_root;
    if !(root && gid == 0) {
        corten_sys::ids::set_gid(gid).at(Call::Setresgid)?;
    }
    if !(root && uid == 0) {
        corten_sys::ids::set_uid(uid).at(Call::Setresuid)?;
    }
    if identity.cwd_pending {
        let pending = inherited.of_payload().find_map(|(_, op)| match op {
            Op::WorkingDirectory { path, .. } => Some(path),
            _ => None,
        });
        if let Some(path) = pending {
            rustix::process::chdir(path.as_c_str()).at(Call::Chdir)?;
            inside()?;
        }
    }
    Ok(())
}

fn capabilities(caps: Capabilities) -> Result<(), Failure> {
    let sets = corten_sys::caps::ThreadCaps {
        effective: caps.effective,
        permitted: caps.permitted,
        inheritable: caps.inheritable,
    };
    corten_sys::caps::set(sets).at(Call::Capset)?;
    for number in 0..64 {
        if caps.ambient.has(number) {
            corten_sys::prctl::raise_ambient(number).at(Call::Prctl)?;
        }
    }
    Ok(())
}

/// Tries the paths in order, as execvp(3) does.
fn exec(inherited: &Steps<'_>, args: &StringVector) -> Failure {
    let fail = |call, errno| Failure { call, errno };
    corten_sys::signal::reset_ignored();
    // Not at the execve: the memory that it brings is open to a debugger inside a moment before it closes.
    if let Err(errno) = corten_sys::fd::close_all_but(3, &[inherited.socket]) {
        return fail(Call::CloseRange, errno);
    }
    corten_sys::signal::set_mask(&SignalSet::empty());
    if inherited.dies_with_parent {
        // Last, as the kernel forgets it with a change of user. The container's own filter may refuse it: then a
        // parent that is killed leaves the program to the container.
        let _refused = corten_sys::prctl::set_parent_death_signal(9);
        // One that died before gives no signal, and hears of no failure.
        if is_gone(inherited.socket) {
            return fail(Call::Execve, Errno::SRCH);
        }
    }
    fail(Call::Execve, execute(inherited.search_path, args, inherited.env))
}

/// Whether the other side has closed it; no, if the filter does not let us look.
fn is_gone(socket: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}

/// Executes the first of the paths that can be; why the last could not.
pub(crate) fn execute(paths: &[CString], args: &StringVector, env: &StringVector) -> Errno {
    let mut last = Errno::NOENT;
    for path in paths {
        match corten_sys::exec::execve(path, args, env) {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => last = Errno::ACCESS,
            errno => return errno,
        }
    }
    last
}
