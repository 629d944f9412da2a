//! Making the engine's user namespace.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use corten_sys::clone::{CLONE_NEWNS, CLONE_NEWUSER, Child, fork, unshare};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{getegid, geteuid, getpid, getppid};

use super::grant::{Grant, Programs, arguments};
use crate::error::{At, EngineError};

/// Enters a new user namespace in which the user is root.
pub(super) fn make(search: &[PathBuf]) -> Result<(), EngineError> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    match Programs::find(search).zip(Grant::of(uid)) {
        Some((programs, grant)) => {
            let mapper = Mapper::start(programs, uid, gid, &grant)?;
            unshare(CLONE_NEWUSER).map_err(|errno| forbidden("unshare(CLONE_NEWUSER)", errno))?;
            mapper.map()
        }
        None => {
            unshare(CLONE_NEWUSER).map_err(|errno| forbidden("unshare(CLONE_NEWUSER)", errno))?;
            // Or a group could be given up that only takes rights away (user_namespaces(7)).
            write("/proc/self/setgroups", "deny")?;
            write("/proc/self/uid_map", &format!("0 {uid} 1"))?;
            write("/proc/self/gid_map", &format!("0 {gid} 1"))
        }
    }
}

/// Enters a mount namespace that belongs to the user namespace: nothing could be mounted otherwise.
pub(super) fn own_mounts() -> Result<(), EngineError> {
    unshare(CLONE_NEWNS).map_err(|errno| forbidden("unshare(CLONE_NEWNS)", errno))
}

fn write(path: &str, text: &str) -> Result<(), EngineError> {
    let failed = |error: std::io::Error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        forbidden(&format!("write({path:?}, {text:?})"), errno)
    };
    fs::write(path, text).map_err(failed)
}

/// A process that stays outside and maps the ids of this one: only there newuidmap(1) is what it is.
struct Mapper {
    child: Child,
    socket: OwnedFd,
}

impl Mapper {
    fn start(programs: Programs, uid: u32, gid: u32, grant: &Grant) -> Result<Self, EngineError> {
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .at("socketpair", "newuidmap")?;
        let parent = getpid();
        let calls = [
            (programs.newuidmap, arguments(uid, &grant.users)),
            (programs.newgidmap, arguments(gid, &grant.groups)),
        ];
        // The closure owns their end: here it is closed when `fork` returns.
        let child = fork(move || {
            let killed = corten_sys::prctl::set_parent_death_signal(9);
            let mut go = [0];
            if killed.is_err() || getppid() != Some(parent) || rustix::io::read(&theirs, &mut go) != Ok(1) {
                return 1;
            }
            let pid = parent.as_raw_nonzero().to_string();
            match calls.iter().try_for_each(|(program, words)| run(program, &pid, words)) {
                Ok(()) => 0,
                Err(said) => {
                    // The other side is gone, or told by the end of the file.
                    let _gone = rustix::io::write(&theirs, said.as_bytes());
                    1
                }
            }
        })
        .at("fork", "newuidmap")?;
        Ok(Self { child, socket })
    }

    fn map(self) -> Result<(), EngineError> {
        rustix::io::write(&self.socket, &[1]).at("write", "newuidmap")?;
        let mut said = String::new();
        fs::File::from(self.socket).read_to_string(&mut said).at("read", "newuidmap")?;
        let end = corten_sys::wait::wait_pidfd(self.child.pidfd.as_fd()).at("waitid", "newuidmap")?;
        match end {
            corten_sys::wait::Exit::Code(0) => Ok(()),
            _ if said.is_empty() => Err(EngineError::IdMap("newuidmap ended without a word".to_owned())),
            _ => Err(EngineError::IdMap(said)),
        }
    }
}

fn run(program: &Path, pid: &str, words: &[String]) -> Result<(), String> {
    let output = Command::new(program)
        .arg(pid)
        .args(words)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} {pid} {}: {} ({})", program.display(), words.join(" "), said.trim(), output.status))
}

/// Why this machine does not let a user have a user namespace, and where that is changed.
pub(crate) fn forbidden(call: &str, errno: Errno) -> EngineError {
    let setting = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    let is = |path: &str, value: &str| setting(path).as_deref() == Some(value);
    let way_out = if is("/proc/sys/user/max_user_namespaces", "0") || errno == Errno::NOSPC {
        "the limit of user namespaces is reached: raise it as root with `sysctl -w user.max_user_namespaces=N`"
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "this machine keeps user namespaces to root: `sysctl -w kernel.unprivileged_userns_clone=1` as root allows \
         them"
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "AppArmor keeps user namespaces to programs with a profile: give corten one with the rule `userns,`, or \
         run `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` as root"
    } else {
        match errno {
            Errno::INVAL | Errno::NOSYS => "this kernel was built without user namespaces (CONFIG_USER_NS)",
            Errno::PERM => "a chroot, a seccomp filter or a security module forbids user namespaces here",
            Errno::USERS => "user namespaces are nested too deep here",
            _ => "run it as root; root in the container is nobody on the host all the same",
        }
    };
    EngineError::UserNamespace { call: call.to_owned(), errno, way_out }
}
