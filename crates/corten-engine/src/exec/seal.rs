//! That no container can write to our own binary (CVE-2019-5736).
//!
//! Until its execve(2) the new process is Corten, and a container can have it execute /proc/self/exe: as a
//! link at a program's place, or in a script's first line. Then our file is a program of the container, open
//! to whoever has its file's rights. Root with a user namespace of its own has none. Where there is none, or
//! the file belongs to the ordinary user who is root in it, we first execute ourselves again, from a mount
//! that nobody can write to.

use std::ffi::{CString, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use corten_sys::clone::{CLONE_NEWNS, CLONE_NEWUSER, fork, unshare};
use corten_sys::exec::StringVector;
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use crate::dirs::Dirs;
use crate::error::{At, EngineError};
use crate::rootless::Rootless;
use crate::session;

const EXE: &str = "/proc/self/exe";

/// The path of our file, also after the command executed itself again.
pub(crate) fn program() -> Result<std::path::PathBuf, EngineError> {
    match (is_sealed()?, std::env::args_os().next()) {
        (true, Some(name)) if Path::new(&name).is_absolute() => Ok(name.into()),
        _ => std::fs::read_link(EXE).at("readlink", EXE),
    }
}

/// How this very command is executed again.
#[derive(Debug, Clone, Copy)]
pub struct Seal<'a> {
    /// Its arguments, the program's name first.
    pub args: &'a [OsString],
    /// `NAME=value`.
    pub env: &'a [String],
}

impl Seal<'_> {
    /// Comes back if our file cannot be written to through the mount that we were executed from; else
    /// executes the command again from one of that kind.
    ///
    /// # Errors
    /// The call that failed. Nothing goes on unsealed.
    pub fn apply(self, dirs: &Dirs) -> Result<(), EngineError> {
        if is_sealed()? {
            return Ok(());
        }
        let sealed = match &dirs.rootless {
            None => corten_runtime::apply::sealed_program(None)?,
            Some(_) => aside()?,
        };
        let nul = |_| Errno::INVAL;
        let words = |list: Vec<Vec<u8>>| list.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>();
        // The link does not tell the path afterwards; the name does (`program`).
        let path = std::fs::read_link(EXE).at("readlink", EXE)?.into_os_string();
        let args = std::iter::once(&path).chain(self.args.iter().skip(1));
        let args = args.map(|word| word.clone().into_vec()).collect();
        let env = self.env.iter().map(|entry| entry.clone().into_bytes()).collect();
        let args = StringVector::new(words(args).map_err(nul).at("execveat", EXE)?);
        let env = StringVector::new(words(env).map_err(nul).at("execveat", EXE)?);
        Err(corten_sys::exec::execveat(sealed.as_fd(), &args, &env)).at("execveat", EXE)
    }
}

/// Whether our file cannot be written to through the mount that we were executed from.
pub(crate) fn is_sealed() -> Result<bool, EngineError> {
    Ok(statvfs(EXE).at("statfs", EXE)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// For a process that the engine forked: comes back if it is sealed, else executes it again as the step `name` of
/// `corten internal`, told of the container and of these descriptors, which stay open.
pub(crate) fn again(dirs: &Dirs, name: &str, id: &str, keep: &[BorrowedFd<'_>]) -> Result<(), EngineError> {
    if is_sealed()? {
        return Ok(());
    }
    let mut args: Vec<OsString> = vec!["corten".into()];
    args.extend(["--root".into(), dirs.root.clone().into()]);
    args.extend(["--run-root".into(), dirs.run.clone().into()]);
    args.extend(["internal", name, id].map(OsString::from));
    for fd in keep {
        fcntl_setfd(fd, FdFlags::empty()).at("fcntl", name)?;
        args.push(fd.as_raw_fd().to_string().into());
    }
    // Where newuidmap(1) is looked for.
    let env: Vec<String> = dirs.rootless.iter().filter_map(Rootless::path).collect();
    Seal { args: &args, env: &env }.apply(dirs)
}

/// What [`again`] told: the container, and the descriptors, which are this process's own from now on; `None` if
/// it is another step.
pub(crate) fn told(name: &str, words: &[OsString]) -> Result<Option<(String, Vec<OwnedFd>)>, EngineError> {
    let mut words = words.iter().map(|word| word.to_str().unwrap_or_default());
    if words.next() != Some(name) {
        return Ok(None);
    }
    let id = words.next().unwrap_or_default().to_owned();
    let take = |word: &str| -> Result<OwnedFd, EngineError> {
        // The first three are the standard streams.
        let number = word.parse().ok().filter(|number| *number > 2).ok_or(Errno::BADF);
        let fd = number.and_then(corten_sys::fd::inherited).at("fcntl", word)?;
        fcntl_setfd(&fd, FdFlags::CLOEXEC).at("fcntl", word)?;
        Ok(fd)
    };
    Ok(Some((id, words.map(take).collect::<Result<_, _>>()?)))
}

/// For an ordinary user, who can mount nothing: made by a process in a user namespace of its own.
fn aside() -> Result<OwnedFd, EngineError> {
    let program = std::fs::read_link(EXE).at("readlink", EXE)?;
    let (here, there) = session::pair().at("socketpair", "sealing")?;
    let mut here = Some(here);
    let child = fork(|| {
        // The other end would not be seen to close while it was open here.
        let ours = here.take();
        drop(ours);
        match make(&program).and_then(|sealed| give(&there, &sealed)) {
            Ok(()) => 0,
            Err(error) => {
                let text = match &error {
                    EngineError::UserNamespace { way_out, .. } => format!("{error}; {way_out}"),
                    other => other.to_string(),
                };
                let _gone = session::tell(there.as_fd(), session::FAILED, text.as_bytes());
                1
            }
        }
    })
    .at("fork", "sealing")?;
    drop(there);
    let taken = match &here {
        Some(here) => take(here),
        None => Err(EngineError::Seal("it ended without a word".to_owned())),
    };
    corten_sys::wait::wait_pidfd(child.pidfd.as_fd()).at("waitid", "sealing")?;
    taken
}

fn make(program: &Path) -> Result<OwnedFd, EngineError> {
    unshare(CLONE_NEWUSER | CLONE_NEWNS)
        .map_err(|errno| crate::rootless::forbidden("unshare(CLONE_NEWUSER|CLONE_NEWNS)", errno))?;
    Ok(corten_runtime::apply::sealed_program(Some(program))?)
}

fn give(socket: &OwnedFd, fd: &OwnedFd) -> Result<(), EngineError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let data = [std::io::IoSlice::new(&[session::STARTED])];
    sendmsg(socket, &data, &mut control, SendFlags::NOSIGNAL).map(drop).at("sendmsg", "sealing")
}

fn take(socket: &OwnedFd) -> Result<OwnedFd, EngineError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 4096];
    let mut data = [std::io::IoSliceMut::new(&mut bytes)];
    let count =
        recvmsg(socket, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC).at("recvmsg", "sealing")?.bytes;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message
            && let Some(fd) = fds.next()
        {
            return Ok(fd);
        }
    }
    let said = bytes.get(1..count).unwrap_or_default();
    Err(EngineError::Seal(String::from_utf8_lossy(said).into_owned()))
}
