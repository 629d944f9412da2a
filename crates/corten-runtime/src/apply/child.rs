//! The child's half: from the clone to execve(2).
//!
//! It walks its part of the plan and allocates nothing. On the first failure it reports the operation,
//! the call and the errno, and exits; the parent turns that into words.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use corten_sys::mount::{Change, attr};
use corten_sys::open::openat2;
use corten_sys::signal::SignalSet;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::payload;
use super::target;
use super::wire::{self, At, Call, Failure, Message};
use crate::plan::{Actor, Op, Plan};
use crate::spec::UserNamespace;

/// The exit code of a container whose set-up failed, if nobody is left to be told why.
const SETUP_FAILED: i32 = 125;

/// What the child inherits from the clone.
pub(crate) struct Inherited<'a> {
    pub(crate) plan: &'a mut Plan,
    pub(crate) socket: BorrowedFd<'a>,
    /// Standard input, output and error, if there is no terminal.
    pub(crate) stdio: Option<[BorrowedFd<'a>; 3]>,
    /// The program of corten's own init, on a mount that nobody can write to.
    pub(crate) init: Option<Init<'a>>,
    /// A FIFO that is opened before the program is executed, as OCI's `start` wants it.
    pub(crate) start_gate: Option<BorrowedFd<'a>>,
    /// The parent's end of the socket, by whose closing its death is seen here, and what else is only its.
    pub(crate) parent_end: BorrowedFd<'a>,
    pub(crate) starter_only: &'a [BorrowedFd<'a>],
}

impl Inherited<'_> {
    fn steps<'b>(&'b mut self, state: &'b State) -> payload::Steps<'b> {
        let plan = &mut *self.plan;
        payload::Steps {
            ops: &plan.ops,
            env: &mut plan.env,
            fill_home: plan.fill_home,
            search_path: &plan.search_path,
            keep_groups: plan.spec.process.keep_groups,
            is_root: plan.spec.namespaces.user != UserNamespace::Host,
            socket: self.socket,
            stdio: self.stdio,
            terminal: state.terminal.as_ref().map(AsFd::as_fd),
            start_gate: self.start_gate,
            dies_with_parent: false,
        }
    }

    /// Closes what must not outlive the parent in a copy. Once.
    pub(crate) fn close_the_parents(&self) {
        corten_sys::fd::close_copy(self.parent_end);
        self.starter_only.iter().for_each(|&fd| corten_sys::fd::close_copy(fd));
    }
}

/// What corten's init needs.
pub(crate) struct Init<'a> {
    pub(crate) program: BorrowedFd<'a>,
    /// Where it writes how the payload ended.
    pub(crate) exit_record: BorrowedFd<'a>,
    pub(crate) keep_unread: bool,
    /// Its arguments, the last of them reserved for the numbers.
    pub(crate) args: corten_sys::exec::StringVector,
    pub(crate) env: corten_sys::exec::StringVector,
}

/// Descriptors and findings on the way.
pub(crate) struct State {
    /// Close-on-exec, and never closed before: one call less for each.
    slots: [Option<OwnedFd>; wire::MAX_FDS],
    received: usize,
    root: Option<OwnedFd>,
    /// The working directory is the root.
    at_root: bool,
    /// Of /dev and /sys: it was mounted by this start at a place that is no link, so paths in it are ours.
    own_dev: bool,
    own_sys: bool,
    first_masked: Option<usize>,
    null_checked: bool,
    pub(crate) terminal: Option<OwnedFd>,
    pub(crate) master: Option<OwnedFd>,
}

/// Runs in the cloned process and never returns to what the parent was doing.
pub(crate) fn run(inherited: Inherited<'_>) -> i32 {
    inherited.close_the_parents();
    wait_and_go(inherited)
}

/// As [`run`], after [`Inherited::close_the_parents`].
pub(crate) fn wait_and_go(mut inherited: Inherited<'_>) -> i32 {
    let mut go = Message::empty();
    let mut state = State {
        slots: [const { None }; wire::MAX_FDS],
        received: 0,
        root: None,
        at_root: false,
        own_dev: false,
        own_sys: false,
        first_masked: None,
        null_checked: false,
        terminal: None,
        master: None,
    };
    let plan = &*inherited.plan;
    for (index, op) in plan.of(Actor::Child) {
        if !op.is_early() && go.kind().is_none() && !state.receive(inherited.socket, &mut go) {
            // The parent gave up, and says why itself.
            return SETUP_FAILED;
        }
        if let Err(failure) = state.carry_out(op, plan, inherited.socket) {
            wire::report(inherited.socket, index, failure);
            return SETUP_FAILED;
        }
    }
    match inherited.init.take() {
        None => payload::run(&mut inherited.steps(&state), &go),
        Some(init) => with_init(&mut inherited, init, &state, &go),
    }
}

/// Forks the payload and becomes corten's init, whose memory then holds nothing of the host.
fn with_init(inherited: &mut Inherited<'_>, mut init: Init<'_>, state: &State, go: &Message) -> i32 {
    // Blocked signals wait: none is lost between here and init's first sigtimedwait(2).
    corten_sys::signal::set_mask(&SignalSet::all());
    let exec = inherited.plan.ops.len() - 1;
    let socket = inherited.socket;
    let payload = match corten_sys::clone::fork(|| payload::run(&mut inherited.steps(state), go)) {
        Ok(child) => child,
        Err(errno) => {
            wire::report(socket, exec, Failure { call: Call::Clone3, errno });
            return SETUP_FAILED;
        }
    };
    let streams = inherited.stdio.filter(|_| init.keep_unread && state.master.is_none());
    let failure = become_init(&mut init, socket, state, streams, payload.pid.as_raw_nonzero().get());
    wire::report(socket, exec, failure);
    SETUP_FAILED
}

/// `streams` are those that it holds open to the end.
fn become_init(
    init: &mut Init<'_>,
    socket: BorrowedFd<'_>,
    state: &State,
    streams: Option<[BorrowedFd<'_>; 3]>,
    payload: i32,
) -> Failure {
    use corten_sys::fd::place;
    let master = state.master.as_ref().map(AsFd::as_fd);
    // Without a terminal the socket twice.
    let keep = [init.program, socket, master.unwrap_or(socket)];
    let held = || -> Result<(), Failure> {
        if let Some([_, stdout, stderr]) = streams {
            place(stdout, 1).and_then(|()| place(stderr, 2)).at(Call::Dup2)?;
        }
        only_kill(init.exit_record, &keep)?;
        match &state.master {
            Some(master) => place(master.as_fd(), crate::init::MASTER).at(Call::Dup2),
            None => Ok(()),
        }
    };
    if let Err(failure) = held() {
        return failure;
    }
    let mut numbers = Decimal::new();
    numbers.push(payload);
    numbers.push(init.exit_record.as_raw_fd());
    if init.keep_unread {
        numbers.push(if state.master.is_some() { crate::init::TERMINAL } else { crate::init::PIPES });
    }
    if !init.args.replace_last(&[numbers.text()]) {
        return Failure { call: Call::Execveat, errno: Errno::TOOBIG };
    }
    Failure { call: Call::Execveat, errno: corten_sys::exec::execveat(init.program, &init.args, &init.env) }
}

/// What only CAP_KILL is needed for runs with only CAP_KILL, and these descriptors.
pub(crate) fn only_kill(record: BorrowedFd<'_>, keep: &[BorrowedFd<'_>]) -> Result<(), Failure> {
    use corten_sys::{caps, prctl};
    secure_no_root()?;
    let kill = caps::CapSet(1 << 5);
    caps::set(caps::ThreadCaps { effective: kill, permitted: kill, inheritable: kill }).at(Call::Capset)?;
    prctl::raise_ambient(5).at(Call::Prctl)?;
    prctl::set_no_new_privs().at(Call::Prctl)?;
    // Not at the execve: the memory that it brings is open to a debugger inside a moment before it closes.
    let mut all = [record; 4];
    all[1..].iter_mut().zip(keep).for_each(|(place, fd)| *place = *fd);
    corten_sys::fd::close_all_but(3, &all).at(Call::CloseRange)?;
    keep_open(record)
}

/// Uid 0 gives no capabilities at exec.
fn secure_no_root() -> Result<(), Failure> {
    use corten_sys::prctl::{SECBIT_NOROOT, SECBIT_NOROOT_LOCKED, set_secure_bits};
    set_secure_bits(SECBIT_NOROOT | SECBIT_NOROOT_LOCKED).at(Call::Prctl)
}

fn keep_open(fd: BorrowedFd<'_>) -> Result<(), Failure> {
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).at(Call::Fcntl)
}

/// Decimal numbers, separated by blanks, without allocating.
struct Decimal {
    bytes: [u8; 32],
    length: usize,
}

impl Decimal {
    fn new() -> Self {
        Self { bytes: [0; 32], length: 0 }
    }

    fn push(&mut self, number: i32) {
        use std::io::Write;
        let separator = if self.length == 0 { "" } else { " " };
        let mut room = &mut self.bytes[self.length..];
        let before = room.len();
        // Two numbers of at most 11 characters and one of 1 fit; formatting into a slice does not allocate.
        if write!(room, "{separator}{number}").is_ok() {
            self.length += before - room.len();
        }
    }

    fn text(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl State {
    /// Waits for what the parent prepared; whether it came.
    fn receive(&mut self, socket: BorrowedFd<'_>, go: &mut Message) -> bool {
        let received = wire::receive(socket, go, |fd| {
            if let Some(slot) = self.slots.get_mut(self.received) {
                *slot = Some(fd);
                self.received += 1;
            }
        });
        received.is_ok() && go.kind() == Some(wire::GO)
    }

    /// Makes the root the working directory, for paths that are the container's own mounts from their
    /// first part to the last but one.
    fn go_to_root(&mut self) -> Result<(), Failure> {
        if !self.at_root {
            rustix::process::fchdir(self.root()?).at(Call::Fchdir)?;
            self.at_root = true;
        }
        Ok(())
    }

    fn slot(&self, slot: crate::plan::Slot) -> Result<BorrowedFd<'_>, Failure> {
        let fd = self.slots.get(usize::from(slot.0)).and_then(Option::as_ref);
        fd.map(AsFd::as_fd).ok_or(Failure { call: Call::Recvmsg, errno: Errno::BADF })
    }

    fn root(&self) -> Result<BorrowedFd<'_>, Failure> {
        self.root.as_ref().map(AsFd::as_fd).ok_or(Failure { call: Call::Fchdir, errno: Errno::BADF })
    }

    fn carry_out(&mut self, op: &Op, plan: &Plan, socket: BorrowedFd<'_>) -> Result<(), Failure> {
        match op {
            Op::JoinCgroup { files } => join_cgroup(files),
            Op::BecomeRoot => become_root(plan.spec.process.keep_groups),
            Op::UnshareCgroup { .. } => {
                corten_sys::clone::unshare(corten_sys::clone::CLONE_NEWCGROUP).at(Call::Unshare)
            }
            Op::PrivateMounts => {
                let flags = u64::from(
                    (rustix::mount::MountPropagationFlags::REC
                        | rustix::mount::MountPropagationFlags::PRIVATE)
                        .bits(),
                );
                corten_sys::mount::mount(c"none", c"/", None, flags, None).at(Call::Mount)
            }
            Op::EnterRoot { slot, at } => self.enter_root(*slot, at),
            Op::Attach { slot, target, directory } => self.attach(*slot, target, *directory),
            Op::Mount { kind, target, flags, options } => self.mount(kind, target, *flags, options),
            Op::MakeDirectory { target, mode } => {
                // On a mount of the container's own, below a path that was just mounted.
                rustix::fs::mkdirat(self.root()?, target.as_c_str(), Mode::from_raw_mode(*mode))
                    .at(Call::Mkdirat)
            }
            Op::Link { target, to } => {
                rustix::fs::symlinkat(to.as_c_str(), self.root()?, target.as_c_str()).at(Call::Symlinkat)
            }
            Op::Sysctl { target, value } => self.sysctl(target, value),
            Op::LoopbackUp => loopback_up(),
            Op::Mask { target } => self.mask(target, plan, op),
            Op::ReadOnly { target } => self.read_only(target),
            Op::Seal { target } => {
                let fd = target::open(self.root()?, target, ResolveFlags::empty()).at(Call::Openat2)?;
                let change = Change { set: attr::RDONLY, ..Change::default() };
                corten_sys::mount::mount_setattr(fd.as_fd(), change).at(Call::MountSetattr)?;
                std::mem::forget(fd);
                Ok(())
            }
            Op::Terminal { rows, columns, console } => self.terminal(*rows, *columns, *console, socket),
            Op::Hostname(name) => rustix::system::sethostname(name.to_bytes()).at(Call::Sethostname),
            Op::Domainname(name) => rustix::system::setdomainname(name.to_bytes()).at(Call::Setdomainname),
            Op::RootReadOnly => {
                let change = Change { set: attr::RDONLY, ..Change::default() };
                corten_sys::mount::mount_setattr(self.root()?, change).at(Call::MountSetattr)
            }
            Op::Pivot => self.pivot(),
            // The plan gives the child no operation of another actor.
            _ => Err(Failure { call: Call::Recvmsg, errno: Errno::NOSYS }),
        }
    }

    fn enter_root(&mut self, slot: crate::plan::Slot, at: &CStr) -> Result<(), Failure> {
        let tree = self.slot(slot)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(tree, c"", rustix::fs::CWD, at, flags).at(Call::MoveMount)?;
        rustix::process::fchdir(tree).at(Call::Fchdir)?;
        self.root = self.slots[usize::from(slot.0)].take();
        self.at_root = true;
        Ok(())
    }

    fn attach(
        &mut self,
        slot: crate::plan::Slot,
        path: &CStr,
        directory: Option<bool>,
    ) -> Result<(), Failure> {
        let tree = self.slot(slot)?;
        // /dev must be a directory of the image and no link: what is below it is trusted afterwards.
        let extra = if path == c"dev" { ResolveFlags::NO_SYMLINKS } else { ResolveFlags::empty() };
        let root = self.root()?;
        let place = match target::open(root, path, extra) {
            Ok(place) => place,
            Err(Errno::NOENT) => {
                let directory = directory.map_or_else(|| target::is_directory(tree), Ok)?;
                target::make(root, path, directory, extra)?
            }
            Err(errno) => return Err(Failure { call: Call::Openat2, errno }),
        };
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        if let Err(mut errno) = move_mount(tree, c"", place.as_fd(), c"", flags) {
            // The kernel has but EINVAL for a directory onto a file.
            if errno == Errno::INVAL {
                errno = match (target::is_directory(tree)?, target::is_directory(place.as_fd())?) {
                    (true, false) => Errno::NOTDIR,
                    (false, true) => Errno::ISDIR,
                    _ => errno,
                };
            }
            return Err(Failure { call: Call::MoveMount, errno });
        }
        // Close-on-exec: one call less.
        std::mem::forget(place);
        match path.to_bytes() {
            // Told apart from a bind by the plan: only of what is made here it knows the kind.
            b"dev" => self.own_dev = directory.is_some(),
            b"sys" => self.own_sys = false,
            _ => {}
        }
        Ok(())
    }

    /// Whether every part of the path but the last is known to be a directory of a mount of this start.
    fn is_own(&self, path: &CStr) -> bool {
        match path.to_bytes() {
            b"dev/pts" | b"dev/shm" | b"dev/mqueue" => self.own_dev,
            b"sys/fs/cgroup" => self.own_sys,
            path => self.own_sys && path.starts_with(b"sys/fs/cgroup/"),
        }
    }

    fn mount(&mut self, kind: &CStr, path: &CStr, flags: u64, options: &CStr) -> Result<(), Failure> {
        let options = (!options.is_empty()).then_some(options);
        let source = if kind == c"tmpfs" && path == c"dev/shm" { c"shm" } else { kind };
        if self.is_own(path) {
            self.go_to_root()?;
            match corten_sys::mount::mount(source, path, Some(kind), flags, options) {
                Err(Errno::NOENT) => {}
                other => return other.at(Call::Mount),
            }
        }
        // A link in place of /proc or /sys would make everything that trusts them trust the image
        // (CVE-2019-19921, CVE-2023-28642).
        let kernel = kind == c"proc" || kind == c"sysfs";
        let extra = if kernel { ResolveFlags::NO_SYMLINKS } else { ResolveFlags::empty() };
        let place = target::open_or_make(self.root()?, path, true, extra)?;
        rustix::process::fchdir(place.as_fd()).at(Call::Fchdir)?;
        self.at_root = false;
        corten_sys::mount::mount(source, c".", Some(kind), flags, options).at(Call::Mount)?;
        std::mem::forget(place);
        match path.to_bytes() {
            b"dev" => self.own_dev = false,
            b"sys" => self.own_sys = kind == c"sysfs",
            _ => {}
        }
        Ok(())
    }

    fn sysctl(&self, path: &CStr, value: &CStr) -> Result<(), Failure> {
        // The container's own procfs, mounted a moment ago; nothing in it may be a link or a mount.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let file = openat2(self.root()?, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)
            .at(Call::Openat2)?;
        rustix::io::write(&file, value.to_bytes()).at(Call::Write)?;
        // Close-on-exec: one call less.
        std::mem::forget(file);
        Ok(())
    }

    fn mask(&mut self, path: &CStr, plan: &Plan, op: &Op) -> Result<(), Failure> {
        let bind = u64::from(rustix::mount::MountFlags::BIND.bits());
        let read_only = u64::from(rustix::mount::MountFlags::RDONLY.bits());
        if !in_kernel_files(path) {
            return self.mask_by_descriptor(path);
        }
        self.check_null()?;
        self.go_to_root()?;
        match corten_sys::mount::mount(c"dev/null", path, None, bind, None) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTDIR) => {}
            Err(errno) => return Err(Failure { call: Call::Mount, errno }),
        }
        // A directory: all of them share one empty file system that cannot be written.
        let first = self.first_masked.and_then(|index| match plan.ops.get(index) {
            Some(Op::Mask { target }) => Some(target.as_c_str()),
            _ => None,
        });
        match first {
            Some(first) => corten_sys::mount::mount(first, path, None, bind, None).at(Call::Mount),
            None => {
                corten_sys::mount::mount(
                    c"tmpfs",
                    path,
                    Some(c"tmpfs"),
                    read_only,
                    Some(c"size=0k,nr_inodes=2,mode=755"),
                )
                .at(Call::Mount)?;
                self.first_masked = plan.ops.iter().position(|other| std::ptr::eq(other, op));
                Ok(())
            }
        }
    }

    /// That /dev/null is the null device and nothing that the image put there (CVE-2025-31133).
    fn check_null(&mut self) -> Result<(), Failure> {
        if self.null_checked {
            return Ok(());
        }
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        let null = openat2(self.root()?, c"dev/null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
            .at(Call::Openat2)?;
        let stat = rustix::fs::statat(&null, c"", AtFlags::EMPTY_PATH).at(Call::Fstat)?;
        let character =
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::CharacterDevice;
        if !character || stat.st_rdev != rustix::fs::makedev(1, 3) {
            return Err(Failure { call: Call::Fstat, errno: Errno::NODEV });
        }
        std::mem::forget(null);
        self.null_checked = true;
        Ok(())
    }

    /// Any path but the kernel's own: by descriptor from first to last.
    fn mask_by_descriptor(&mut self, path: &CStr) -> Result<(), Failure> {
        let place = match target::open(self.root()?, path, ResolveFlags::empty()) {
            Ok(place) => place,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(errno) => return Err(Failure { call: Call::Openat2, errno }),
        };
        if target::is_directory(place.as_fd())? {
            rustix::process::fchdir(place.as_fd()).at(Call::Fchdir)?;
            self.at_root = false;
            let read_only = u64::from(rustix::mount::MountFlags::RDONLY.bits());
            return corten_sys::mount::mount(
                c"tmpfs",
                c".",
                Some(c"tmpfs"),
                read_only,
                Some(c"size=0k,nr_inodes=2"),
            )
            .at(Call::Mount);
        }
        self.check_null()?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let null = open_tree(self.root()?, c"dev/null", flags).at(Call::OpenTree)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(null.as_fd(), c"", place.as_fd(), c"", flags).at(Call::MoveMount)
    }

    fn read_only(&mut self, path: &CStr) -> Result<(), Failure> {
        let change = Change { set: attr::RDONLY, recursive: true, ..Change::default() };
        if in_kernel_files(path) {
            self.go_to_root()?;
            let flags =
                rustix::mount::MountFlags::BIND.bits() | rustix::mount::MountPropagationFlags::REC.bits();
            match corten_sys::mount::mount(path, path, None, flags.into(), None) {
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
                other => other.at(Call::Mount)?,
            }
            return corten_sys::mount::mount_setattr_at(self.root()?, path, change).at(Call::MountSetattr);
        }
        let place = match target::open(self.root()?, path, ResolveFlags::empty()) {
            Ok(place) => place,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(errno) => return Err(Failure { call: Call::Openat2, errno }),
        };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(place.as_fd(), c"", flags).at(Call::OpenTree)?;
        corten_sys::mount::mount_setattr(tree.as_fd(), change).at(Call::MountSetattr)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(tree.as_fd(), c"", place.as_fd(), c"", flags).at(Call::MoveMount)?;
        std::mem::forget((tree, place));
        Ok(())
    }

    fn terminal(
        &mut self,
        rows: u16,
        columns: u16,
        console: bool,
        socket: BorrowedFd<'_>,
    ) -> Result<(), Failure> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master =
            openat2(self.root()?, c"dev/pts/ptmx", flags, Mode::empty(), resolve).at(Call::Openat2)?;
        corten_sys::ioctl::pty_unlock(master.as_fd()).at(Call::Ioctl)?;
        let peer = corten_sys::ioctl::pty_peer(master.as_fd()).at(Call::Ioctl)?;
        if rows != 0 && columns != 0 {
            let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            rustix::termios::tcsetwinsize(&peer, size).at(Call::Ioctl)?;
        }
        if console {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_EMPTY_PATH;
            let tree = open_tree(peer.as_fd(), c"", flags).at(Call::OpenTree)?;
            let place =
                target::open(self.root()?, c"dev/console", ResolveFlags::NO_SYMLINKS).at(Call::Openat2)?;
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(tree.as_fd(), c"", place.as_fd(), c"", flags).at(Call::MoveMount)?;
        }
        wire::send(socket, &Message::new(wire::TERMINAL), &[master.as_fd()]).at(Call::Sendmsg)?;
        self.terminal = Some(peer);
        self.master = Some(master);
        Ok(())
    }

    fn pivot(&mut self) -> Result<(), Failure> {
        self.go_to_root()?;
        corten_sys::mount::pivot_root(c".", c".").at(Call::PivotRoot)?;
        corten_sys::mount::detach(c".").at(Call::Umount2)?;
        rustix::process::chdir(c"/").at(Call::Chdir)
    }
}

/// Whether a path is below /proc or /sys, which are mounts of the kernel's and were checked to be no links.
fn in_kernel_files(path: &CStr) -> bool {
    let path = path.to_bytes();
    path.starts_with(b"proc/") || path.starts_with(b"sys/")
}

pub(super) fn join_cgroup(files: &[std::ffi::CString]) -> Result<(), Failure> {
    for path in files {
        let file = rustix::fs::open(path.as_c_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .at(Call::Openat2)?;
        rustix::io::write(&file, b"0").at(Call::Write)?;
        // Close-on-exec: one call less.
        std::mem::forget(file);
    }
    Ok(())
}

pub(super) fn become_root(keep_groups: bool) -> Result<(), Failure> {
    // Init stays as it is now, and who traces it must not find a group of the host in it.
    if !keep_groups {
        corten_sys::ids::set_groups(&[]).at(Call::Setgroups)?;
    }
    corten_sys::ids::set_gid(0).at(Call::Setresgid)?;
    corten_sys::ids::set_uid(0).at(Call::Setresuid)
}

fn loopback_up() -> Result<(), Failure> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket =
        socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).at(Call::Socket)?;
    corten_sys::ioctl::loopback_up(socket.as_fd()).at(Call::Ioctl)?;
    std::mem::forget(socket);
    Ok(())
}
