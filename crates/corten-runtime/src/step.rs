//! One operation of a plan at a time, for a script that [`crate::explain`] printed: each does, in the process
//! that calls it, what no shell tool can. They share the code of [`crate::apply`].

mod other;

use std::ffi::CString;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use corten_sys::CallError;
use corten_sys::error::Context;
use corten_sys::exec::StringVector;
use corten_sys::signal::SignalSet;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, move_mount};

use crate::apply::{FsOwner, Maker, child, payload, target};
use crate::error::SpecError;
use crate::spec::{Bind, IdMaps, IdRange, Overlay, Seccomp};
use crate::user::{self, Identity};

pub use other::{Joined, join, taken};

/// A step that failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A call.
    #[error(transparent)]
    Call(#[from] CallError),
    /// What was asked for makes no sense.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The user is not in the container's files.
    #[error(transparent)]
    User(#[from] user::UserError),
    /// A container of which something is taken is gone.
    #[error("the container that this joins has ended")]
    OtherEnded,
    /// Whoever is to let the program start is gone.
    #[error("whoever started this is gone")]
    Abandoned,
    /// The program cannot be executed.
    #[error("exec {program:?}: {}", corten_sys::errno_name(*errno))]
    Exec {
        /// Which.
        program: String,
        /// What execve(2) said.
        errno: Errno,
    },
}

impl StepError {
    /// As a shell has it: 127 for a program that is not there, 126 for one that cannot be executed, else 125.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            StepError::Exec { errno: Errno::NOENT | Errno::NOTDIR, .. } => 127,
            StepError::Exec { .. } => 126,
            _ => 125,
        }
    }
}

/// What the child's half reports without words.
fn described(failure: crate::apply::wire::Failure, what: impl fmt::Display) -> StepError {
    CallError::new(format!("{}({what})", failure.call.name()), failure.errno).into()
}

/// Who shifts ids.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shift<'a> {
    /// The file of the user namespace that has the maps.
    pub userns: Option<&'a Path>,
    /// Its root, as the host knows it: uid, gid.
    pub owner: Option<(u32, u32)>,
}

impl Shift<'_> {
    fn open(&self) -> Result<Option<OwnedFd>, CallError> {
        self.userns
            .map(|path| {
                rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                    .call(|| format!("open({path:?})"))
            })
            .transpose()
    }

    fn maps(&self) -> Option<IdMaps> {
        let one = |outside| vec![IdRange { inside: 0, outside, size: 1 }];
        self.owner.map(|(uid, gid)| IdMaps { users: one(uid), groups: one(gid) })
    }
}

/// Mounts an overlay at a directory that is there.
///
/// # Errors
/// The call that failed.
pub fn overlay(overlay: &Overlay, attributes: u64, shift: Shift<'_>, at: &Path) -> Result<(), StepError> {
    let op = crate::plan::overlay_op(overlay)?;
    let (userns, maps) = (shift.open()?, shift.maps());
    let pool = corten_sys::fd::Pool::default();
    let userns = userns.as_ref().map(AsFd::as_fd);
    let maker =
        Maker { userns, maps: maps.as_ref(), run_dir: at, pool: &pool, unshiftable: Default::default() };
    let _owner = maps.as_ref().map(FsOwner::become_one).transpose()?;
    let (mut made, _by_path) = maker.overlay(&op, attributes)?;
    if let Some(path) = &overlay.subpath {
        made = maker.below(made, path)?;
    }
    attach(&made, at)
}

/// How a bind mount differs from what is bound.
#[derive(Debug, Clone, Copy, Default)]
pub struct BindChange {
    /// `MOUNT_ATTR_*`.
    pub attributes: u64,
    /// Whether they hold for everything below.
    pub recursive_attributes: bool,
    /// `MS_PRIVATE`, `MS_SLAVE`.
    pub propagation: u64,
}

/// Binds a file or directory at a path, whose place is made, in the mount namespace of the file `into`. Whether
/// its ids were left as they are.
///
/// # Errors
/// The call that failed.
pub fn bind(
    bind: &Bind,
    change: BindChange,
    shift: Shift<'_>,
    into: &Path,
    at: &Path,
) -> Result<bool, StepError> {
    let into = Inside::open(into)?;
    let userns = shift.open()?;
    let pool = corten_sys::fd::Pool::default();
    let userns = userns.as_ref().map(AsFd::as_fd);
    let maker = Maker {
        userns,
        maps: None,
        run_dir: Path::new("/tmp"),
        pool: &pool,
        unshiftable: Default::default(),
    };
    let mut unmapped = false;
    let made =
        maker.bind(bind, change.attributes, change.recursive_attributes, change.propagation, || {
            unmapped = true;
        })?;
    into.attach(&made, at)?;
    Ok(unmapped)
}

/// The mount namespace of a container that is being made; opened before what is to be attached there is made.
struct Inside(OwnedFd);

impl Inside {
    fn open(path: &Path) -> Result<Self, CallError> {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .call(|| format!("open({path:?})"))
            .map(Self)
    }

    /// Enters it and attaches a detached mount at a path, whose place is made.
    fn attach(self, made: &OwnedFd, at: &Path) -> Result<(), StepError> {
        corten_sys::clone::setns(self.0.as_fd(), corten_sys::clone::CLONE_NEWNS)
            .call(|| "setns(the container's, CLONE_NEWNS)")?;
        if target::is_directory(made.as_fd()).map_err(|failure| described(failure, at.display()))? {
            rustix::fs::mkdir(at, Mode::from_raw_mode(0o755)).call(|| format!("mkdir({at:?})"))?;
        } else {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::WRONLY;
            rustix::fs::open(at, flags, Mode::from_raw_mode(0o644))
                .call(|| format!("open({at:?}, O_CREAT)"))?;
        }
        attach(made, at)
    }
}

fn attach(made: &OwnedFd, at: &Path) -> Result<(), StepError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(made, c"", CWD, at, flags).call(|| format!("move_mount({at:?})")).map_err(Into::into)
}

/// What a place in the root file system is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceKind {
    /// A directory, made if it is missing.
    Directory,
    /// A file, made if it is missing.
    File,
    /// Whatever is there.
    Existing,
}

/// Resolves a path inside the root file system, which is the working directory: relative to that, and with no
/// link in it. `None` if nothing is there and nothing is to be.
///
/// # Errors
/// The call that failed; a path with a newline, which a script could not take over.
pub fn place(path: &str, kind: PlaceKind, no_symlinks: bool) -> Result<Option<String>, StepError> {
    let root = rustix::fs::open(".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .call(|| "open(\".\", O_PATH)")?;
    let wanted = CString::new(path).map_err(|_| SpecError::Nul { field: "path", value: path.to_owned() })?;
    let extra = if no_symlinks { ResolveFlags::NO_SYMLINKS } else { ResolveFlags::empty() };
    let place = match kind {
        PlaceKind::Existing => match target::open(root.as_fd(), &wanted, extra) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            found => found.call(|| format!("openat2({path:?})"))?,
        },
        kind => target::open_or_make(root.as_fd(), &wanted, kind == PlaceKind::Directory, extra)
            .map_err(|failure| described(failure, format_args!("{path:?}")))?,
    };
    let (root, place) = (name_of(&root)?, name_of(&place)?);
    let below = place.strip_prefix(&root).map(|rest| rest.trim_start_matches('/'));
    match below {
        Some(below) if !below.contains('\n') => Ok(Some(format!("./{below}"))),
        _ => Err(CallError::new(format!("openat2({path:?}) leads to {place:?}"), Errno::INVAL).into()),
    }
}

/// Whether a path, relative to the working directory, is a directory.
///
/// # Errors
/// What stat(2) says.
pub fn is_directory(path: &str) -> Result<bool, StepError> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::empty()).call(|| format!("stat({path:?})"))?;
    Ok(rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory)
}

fn name_of(fd: &OwnedFd) -> Result<String, CallError> {
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let name = rustix::fs::readlink(link.as_str(), Vec::new()).call(|| format!("readlink({link:?})"))?;
    name.into_string().map_err(|_| CallError::new(format!("readlink({link:?})"), Errno::ILSEQ))
}

/// Finds a user in the files of a root file system.
///
/// # Errors
/// See [`user::UserError`].
pub fn find_user(root: &Path, user: &str, groups: &[String]) -> Result<Identity, StepError> {
    let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open({root:?}, O_PATH)"))?;
    Ok(user::resolve(root.as_fd(), user, groups)?)
}

/// A session keyring of this process's own.
///
/// # Errors
/// What keyctl(2) says.
pub fn keyring() -> Result<(), StepError> {
    match corten_sys::keyring::join_session(None) {
        Ok(()) | Err(Errno::NOSYS) => Ok(()),
        Err(errno) => Err(CallError::new("keyctl(KEYCTL_JOIN_SESSION_KEYRING)", errno).into()),
    }
}

/// A system-call filter for this process and what it executes. `text` has the instructions as
/// `code,jt,jf,k`, apart by white space.
///
/// # Errors
/// An instruction that is none; what seccomp(2) says.
pub fn seccomp(text: &str, flags: u32) -> Result<(), StepError> {
    let filter = Seccomp { program: parse_filter(text)?, flags };
    corten_sys::seccomp::set_mode_filter(&filter.program, filter.flags)
        .call(|| format!("seccomp(SECCOMP_SET_MODE_FILTER, {flags:#x})"))
        .map(drop)
        .map_err(Into::into)
}

fn parse_filter(text: &str) -> Result<Vec<corten_sys::seccomp::Instruction>, StepError> {
    let instruction = |word: &str| {
        let mut fields = word.split(',');
        let instruction = corten_sys::seccomp::Instruction {
            code: fields.next()?.parse().ok()?,
            jt: fields.next()?.parse().ok()?,
            jf: fields.next()?.parse().ok()?,
            k: fields.next()?.parse().ok()?,
        };
        fields.next().is_none().then_some(instruction)
    };
    text.split_whitespace()
        .map(|word| {
            instruction(word).ok_or_else(|| {
                CallError::new(format!("{word:?} is no instruction of a filter"), Errno::INVAL).into()
            })
        })
        .collect()
}

/// Executes `words`, the first of which is looked for in `path`. Returns only why not.
#[must_use]
pub fn execute(words: &[String], path: Option<&str>, env: &[String]) -> StepError {
    let program = words.first().cloned().unwrap_or_default();
    let vectors = || -> Result<_, SpecError> {
        let strings = |list: &[String]| {
            list.iter().map(|word| crate::plan::c_string("argument", word)).collect::<Result<Vec<_>, _>>()
        };
        let places = crate::plan::search_places(&program, path)?;
        Ok((StringVector::new(strings(words)?), StringVector::new(strings(env)?), places))
    };
    let (args, env, places) = match vectors() {
        Ok(vectors) => vectors,
        Err(error) => return error.into(),
    };
    StepError::Exec { program, errno: payload::execute(&places, &args, &env) }
}

/// The last step of a program: tells on `ready` that nothing but itself is needed any more, waits on `wait`
/// until the root has changed, and executes it with this process's environment. Returns only why not.
#[must_use]
pub fn exec(words: &[String], path: Option<&str>, env: &[String], ready: i32, wait: i32) -> StepError {
    let meet = || -> Result<(), StepError> {
        let ready = corten_sys::fd::inherited(ready).call(|| format!("fcntl({ready})"))?;
        let wait = corten_sys::fd::inherited(wait).call(|| format!("fcntl({wait})"))?;
        rustix::io::write(&ready, b"ready\n").call(|| "write(ready)")?;
        drop(ready);
        let mut byte = [0];
        match rustix::io::read(&wait, &mut byte).call(|| "read(wait)")? {
            0 => return Err(StepError::Abandoned),
            _ => drop(wait),
        }
        payload::inside().map_err(|failure| described(failure, "the working directory"))?;
        corten_sys::signal::reset_ignored();
        corten_sys::fd::close_all_but(3, &[]).call(|| "close_range(3)")?;
        corten_sys::signal::set_mask(&SignalSet::empty());
        Ok(())
    };
    match meet() {
        Ok(()) => execute(words, path, env),
        Err(error) => error,
    }
}

/// Becomes corten's init, whose program is the child `payload`. Returns only why not.
#[must_use]
pub fn init(payload: i32, record: i32) -> StepError {
    let become_init = || -> Result<Errno, StepError> {
        corten_sys::signal::set_mask(&SignalSet::all());
        corten_sys::signal::reset_ignored();
        corten_sys::signal::ignore_pipe();
        let program = rustix::fs::open("/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .call(|| "open(\"/proc/self/exe\")")?;
        let record_fd = corten_sys::fd::inherited(record).call(|| format!("fcntl({record})"))?;
        child::only_kill(record_fd.as_fd(), &[program.as_fd()])
            .map_err(|failure| described(failure, "init"))?;
        let args = StringVector::new(vec![crate::init::NAME.to_owned()])
            .with_reserved(&CString::new(format!("{payload} {record}")).unwrap_or_default(), 0);
        Ok(corten_sys::exec::execveat(program.as_fd(), &args, &StringVector::new(Vec::new())))
    };
    match become_init() {
        Ok(errno) => CallError::new("execveat(\"/proc/self/exe\")", errno).into(),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_back_whole_or_not_at_all() {
        let program = parse_filter("32,0,0,4 21,1,0,3221225534\n6,0,0,2147418112").unwrap();
        assert_eq!((program.len(), program[1].jt, program[2].k), (3, 1, 0x7fff_0000));
        for bad in ["6,0,0", "6,0,0,1,2", "6,256,0,1", "x"] {
            assert!(parse_filter(bad).is_err(), "{bad}");
        }
    }
}
