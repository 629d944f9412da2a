//! Out of memory: how often, and the moment it happens.
//!
//! Sources: cgroup-v2.rst "memory.events", cgroup-v1/memory.rst "OOM Control" and "cgroups.rst 2.4"
//! (`oom_kill` in v1's memory.oom_control since Linux 4.13).

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::EventfdFlags;
use rustix::fs::inotify;
use rustix::io::Errno;

use crate::cgroup::Cgroup;
use crate::controller::Controller;
use crate::error::{Call, Error, Result};
use crate::file;
use crate::layout::Version;
use crate::plan::Member;

impl Cgroup {
    /// How many processes of the cgroup and below the kernel has killed for want of memory.
    pub fn oom_kills(&self) -> Result<u64> {
        let memory = self.memory()?;
        if memory.version == Version::V2 {
            return Ok(field(&file::read_short(&memory.dir.join("memory.events"))?, "oom_kill"));
        }
        // v1 counts only where the victim was.
        let mut kills = 0;
        for dir in file::subtree(&memory.dir)? {
            match file::read_short(&dir.join("memory.oom_control")) {
                Ok(text) => kills += field(&text, "oom_kill"),
                // One below that was removed meanwhile.
                Err(e) if matches!(e.errno(), Some(Errno::NOENT | Errno::NODEV)) && dir != memory.dir => {}
                Err(e) => return Err(e),
            }
        }
        Ok(kills)
    }

    /// A descriptor to poll for the kernel running out of memory here.
    pub fn oom_events(&self) -> Result<OomEvents> {
        let memory = self.memory()?;
        match memory.version {
            Version::V1 => OomEvents::v1(&memory.dir),
            Version::V2 => OomEvents::v2(&memory.dir),
        }
    }

    fn memory(&self) -> Result<&Member> {
        self.member(Controller::Memory).ok_or_else(|| Error::MissingController {
            controller: Controller::Memory,
            field: "OOM events",
            place: self.path().to_string(),
        })
    }
}

/// Readable (POLLIN) after the kernel ran out of memory in the cgroup, and when the cgroup is removed;
/// then [`OomEvents::drain`] it and ask [`Cgroup::oom_kills`].
#[derive(Debug)]
pub struct OomEvents {
    fd: OwnedFd,
    version: Version,
    dir: PathBuf,
}

impl OomEvents {
    /// An eventfd that memory.oom_control is told of through cgroup.event_control.
    fn v1(dir: &Path) -> Result<OomEvents> {
        let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| Call::Eventfd.failed(e))?;
        let path = dir.join("memory.oom_control");
        let control = file::open_read(&path).map_err(|e| Call::Open(path).failed(e))?;
        let line = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
        file::write(&dir.join("cgroup.event_control"), &line)?;
        Ok(OomEvents { fd, version: Version::V1, dir: dir.to_owned() })
    }

    /// inotify rather than POLLPRI on memory.events, so that both worlds give a plain POLLIN.
    fn v2(dir: &Path) -> Result<OomEvents> {
        let path = dir.join("memory.events");
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .map_err(|e| Call::Watch(path.clone()).failed(e))?;
        let what = inotify::WatchFlags::MODIFY | inotify::WatchFlags::DELETE_SELF;
        inotify::add_watch(&fd, &path, what).map_err(|e| Call::Watch(path).failed(e))?;
        Ok(OomEvents { fd, version: Version::V2, dir: dir.to_owned() })
    }

    /// v1 tells before it kills, and so before it counts the kill; v2 afterwards, and of other things too.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Takes what is there to read; whether there was anything. It does not block.
    pub fn drain(&self) -> Result<bool> {
        let mut any = false;
        let mut room = [MaybeUninit::<u8>::uninit(); 1024];
        loop {
            match rustix::io::read(&self.fd, &mut room) {
                Ok(([], _)) => return Ok(any),
                Ok(_) => any = true,
                Err(Errno::AGAIN) => return Ok(any),
                Err(Errno::INTR) => {}
                Err(e) => return Err(Call::Read(self.dir.clone()).failed(e)),
            }
            // An eventfd gives everything at once.
            if self.version == Version::V1 {
                return Ok(any);
            }
        }
    }
}

impl AsFd for OomEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The number after `key` in lines of `KEY NUMBER`; zero for one that the kernel does not have.
fn field(text: &str, key: &str) -> u64 {
    let value = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        assert_eq!(field("oom_kill_disable 1\nunder_oom 0\noom_kill 3\n", "oom_kill"), 3);
        assert_eq!(field("low 0\noom 1\noom_kill 2\noom_group_kill 9\n", "oom_kill"), 2);
        assert_eq!(field("", "oom_kill"), 0);
    }
}
