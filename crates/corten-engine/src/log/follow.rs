//! `logs -f`: what is added to a log, as it is added, until the container has ended and all is printed.
//!
//! inotify(7) tells of each change, so nothing is asked twice and nothing waits by the clock:
//!
//! | watched | event | means |
//! |---|---|---|
//! | the log's directory | a file is written | there is more to read |
//! | | `log.json.1` is moved to, or `log.json` is removed | one file more lies between ours and the newest |
//! | | `log.json.2` or a later one is moved to | the numbers are not to be relied on before `log.json` is made or written |
//! | `<run>/<id>/`, which the monitor holds | it is closed | see whether anybody holds it still |
//! | | `state.json` is moved to | it runs again: another first process |
//! | the first process, as a pidfd | it has ended | the monitor is about to, if it was not killed |

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat};
use rustix::io::Errno;

use super::files::Opened;
use super::printer::Printer;
use super::read::Reader;
use crate::container::{self, Container};
use crate::dirs::Dirs;
use crate::error::{At, EngineError};

/// How often the lock is tried after its holder closed it: the kernel tells of that a moment before.
const TRIES: u32 = 1000;

pub(super) struct Follower {
    dirs: Dirs,
    id: String,
    newest: PathBuf,
    inotify: OwnedFd,
    /// `<run>/<id>/`, open: to open and close it for each look would itself be an event.
    live: OwnedFd,
    live_watch: i32,
    /// The first process, until it has ended.
    process: Option<OwnedFd>,
    /// Files that lie between the one that is read and the newest, which counts.
    behind: u32,
    /// Files are being moved on.
    rotating: bool,
    /// The container may have ended.
    look: bool,
    /// Events were lost.
    overflow: bool,
}

impl Follower {
    /// `None` if it has ended meanwhile.
    pub(super) fn new(
        dirs: &Dirs,
        container: &Container,
        newest: &Path,
    ) -> Result<Option<Self>, EngineError> {
        let id = &container.record.id;
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).at("inotify_init1", "")?;
        let dir = dirs.container(id);
        let changes = WatchFlags::MODIFY | WatchFlags::MOVED_TO | WatchFlags::DELETE | WatchFlags::CREATE;
        inotify::add_watch(&inotify, &dir, changes).at("inotify_add_watch", &dir)?;
        let path = dirs.live(id);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let live = match rustix::fs::open(&path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.at("open", &path)?,
        };
        let ends = WatchFlags::CLOSE_NOWRITE | WatchFlags::MOVED_TO;
        let live_watch = match inotify::add_watch(&inotify, &path, ends) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.at("inotify_add_watch", &path)?,
        };
        let mut follower = Self {
            dirs: dirs.clone(),
            id: id.clone(),
            newest: newest.to_owned(),
            inotify,
            live,
            live_watch,
            process: None,
            behind: 0,
            rotating: false,
            look: true,
            overflow: false,
        };
        follower.find_process();
        Ok(Some(follower))
    }

    /// The newest file, and each rotation that is counted from now on came after.
    pub(super) fn open_newest(&mut self) -> Result<Option<Opened>, EngineError> {
        loop {
            let opened = Opened::find(&self.newest, 0).at("open", &self.newest)?;
            self.take_news();
            self.behind = 0;
            let there = std::fs::metadata(&self.newest).ok().map(|meta| meta.ino());
            match opened {
                Some(opened) if there == Some(opened.inode) => return Ok(Some(opened)),
                Some(_) => {}
                // It is about to be made.
                None if there.is_none() => {
                    if std::mem::take(&mut self.look) && self.has_ended() {
                        return Ok(None);
                    }
                    self.wait(None)?;
                }
                None => {}
            }
        }
    }

    pub(super) fn follow(
        mut self,
        mut current: Opened,
        mut input: Box<dyn Read>,
        mut reader: Reader,
        printer: &mut Printer<'_>,
        until_ns: Option<i128>,
    ) -> Result<(), EngineError> {
        let mut last = false;
        loop {
            reader.print(&mut *input, 0, printer)?;
            printer.flush().at("write", "the output")?;
            if printer.ended() {
                return Ok(());
            }
            let news = self.take_news();
            if std::mem::take(&mut self.overflow)
                && std::fs::metadata(&self.newest).is_ok_and(|meta| meta.ino() != current.inode)
            {
                self.behind = self.behind.max(1);
            }
            if self.behind > 0 {
                // What was added before it was moved on is read now.
                reader.print(&mut *input, 0, printer)?;
                reader.next_file();
                let Some(next) = self.next()? else { return printer.flush().at("write", "the output") };
                current = next;
                input = current.reader(0).at("read", &self.newest)?;
                continue;
            }
            if last {
                return Ok(());
            }
            if news {
                // What it told of may have been written after we read.
                continue;
            }
            if std::mem::take(&mut self.look) {
                last = self.has_ended();
                // What was written before it ended is read first.
                if last {
                    continue;
                }
            }
            if !self.wait(until_ns)? {
                return Ok(());
            }
        }
    }

    /// The file after the one that was read to its end; `None`: the container has ended, and there is none.
    fn next(&mut self) -> Result<Option<Opened>, EngineError> {
        loop {
            // A writer that was killed in the middle of it leaves it so.
            while self.rotating && !self.has_ended() {
                self.wait(None)?;
                self.take_news();
            }
            self.rotating = false;
            let number = self.behind - 1;
            let found = Opened::find(&self.newest, number).at("open", &self.newest)?;
            let before = self.behind;
            self.take_news();
            if self.behind != before || self.rotating {
                // The numbers changed while we looked.
                continue;
            }
            match found {
                Some(opened) => {
                    self.behind = number;
                    return Ok(Some(opened));
                }
                // The oldest is gone: so far behind were we.
                None if number > 0 => self.behind = number,
                None if self.has_ended() => return Ok(None),
                None => drop(self.wait(None)?),
            }
        }
    }

    /// Whether files were moved on since the newest was opened.
    pub(super) fn is_passed(&mut self) -> bool {
        self.take_news();
        self.behind > 0 || self.rotating
    }

    /// Waits for an event; false if the time has come first.
    fn wait(&mut self, until_ns: Option<i128>) -> Result<bool, EngineError> {
        let timeout = until_ns.map(|until| {
            let rest = (until - crate::record::now_ns() as i128).max(0);
            Timespec {
                tv_sec: i64::try_from(rest / 1_000_000_000).unwrap_or(i64::MAX),
                tv_nsec: (rest % 1_000_000_000) as i64,
            }
        });
        let mut fds = vec![PollFd::new(&self.inotify, PollFlags::IN)];
        if let Some(process) = &self.process {
            fds.push(PollFd::new(process, PollFlags::IN));
        }
        let count = match poll(&mut fds, timeout.as_ref()) {
            Err(Errno::INTR) => return Ok(true),
            other => other.at("poll", "inotify")?,
        };
        if fds.get(1).is_some_and(|fd| !fd.revents().is_empty()) {
            self.process = None;
            self.look = true;
        }
        Ok(count > 0)
    }

    /// Whether there was any.
    fn take_news(&mut self) -> bool {
        let name = |suffix: &str| -> OsString {
            let mut name = self.newest.file_name().unwrap_or_default().to_owned();
            name.push(suffix);
            name
        };
        let (newest, moved) = (name(""), name(".1"));
        let (mut any, mut runs_again) = (false, false);
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        while let Ok(event) = events.next() {
            any = true;
            let mask = event.events();
            let about = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            if mask.contains(ReadFlags::QUEUE_OVERFLOW) {
                (self.overflow, self.look) = (true, true);
            } else if event.wd() == self.live_watch {
                self.look = true;
                runs_again |= mask.contains(ReadFlags::MOVED_TO);
            } else if (mask.contains(ReadFlags::MOVED_TO) && about == Some(&moved))
                || (mask.contains(ReadFlags::DELETE) && about == Some(&newest))
            {
                self.behind += 1;
                self.rotating = true;
            } else if about == Some(&newest) {
                self.rotating = false;
            } else if mask.contains(ReadFlags::MOVED_TO)
                && about.is_some_and(|name| is_numbered(name, &newest))
            {
                self.rotating = true;
            }
        }
        if runs_again {
            self.find_process();
        }
        any
    }

    fn find_process(&mut self) {
        let Ok(container) = container::find(&self.dirs, &self.id) else { return };
        // If that cannot be told, its lock tells when it has ended.
        self.process = container::process(&container.state).ok().flatten();
    }

    /// Whether its process has ended and nobody attends it any more: then all that it wrote is in the log.
    fn has_ended(&self) -> bool {
        if self.process.is_some() {
            return false;
        }
        for _ in 0..TRIES {
            if fstat(&self.live).is_ok_and(|stat| stat.st_nlink == 0) {
                return true;
            }
            if flock(&self.live, FlockOperation::NonBlockingLockShared).is_ok() {
                let _dropped = flock(&self.live, FlockOperation::Unlock);
                return true;
            }
            std::thread::yield_now();
        }
        false
    }
}

/// Whether it is an older file of the log; the first is compressed where it is, which changes no number.
fn is_numbered(name: &OsStr, newest: &OsStr) -> bool {
    let rest = name.as_bytes().strip_prefix(newest.as_bytes()).and_then(|rest| rest.strip_prefix(b"."));
    rest.is_some_and(|rest| rest != b"1.gz" && rest.first().is_some_and(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_moves_on_changes_numbers() {
        let newest = OsStr::new("log.json");
        for (name, expected) in [
            ("log.json.2", true),
            ("log.json.10.gz", true),
            ("log.json.1.gz", false),
            ("log.json.gz.new", false),
            ("log.json", false),
            ("config.json", false),
        ] {
            assert_eq!(is_numbered(OsStr::new(name), newest), expected, "{name}");
        }
    }
}
