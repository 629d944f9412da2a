//! What happened: a journal in `<run>/events`, one JSON object a line, as Docker's API has events.
//!
//! Whoever does something appends its line with one write(2) (`O_APPEND`), so lines never mix; whoever wants
//! to know reads, and is told of more by inotify(7). It stays one file: what is too old is punched out of its
//! beginning (`FALLOC_FL_PUNCH_HOLE`), so nobody ever holds a file that was moved away.
//!
//! ```text
//!   0 ───────── hole ─────────┬── at most LIMIT bytes ──┐ size
//! ```

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom, fallocate, fstat, seek};
use rustix::io::{Errno, pread, write};
use serde_json::{Value, json};

use crate::config::{Config, Mount, MountSource};
use crate::dirs::Dirs;
use crate::error::{At, EngineError};
use crate::record::{self, Record};

/// What the journal may take, and what is left of it when that is reached.
const LIMIT: u64 = 1 << 20;
const KEEP: u64 = LIMIT / 2;
/// Labels and all, an event is no longer; longer ones lose their labels.
const LONGEST: usize = 64 << 10;

/// What it happened to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `container`, `image`, `volume`.
    kind: &'static str,
    id: String,
    attributes: BTreeMap<String, String>,
}

impl Actor {
    /// A container: its labels, image and name.
    #[must_use]
    pub fn container(record: &Record) -> Self {
        let mut attributes = record.config.labels.clone();
        attributes.insert("image".to_owned(), record.config.image.clone());
        attributes.insert("name".to_owned(), record.name.clone());
        Self { kind: "container", id: record.id.clone(), attributes }
    }

    /// An image, by its id and what it is called.
    #[must_use]
    pub fn image(id: &str, name: &str) -> Self {
        let attributes = [("name".to_owned(), name.to_owned())].into();
        Self { kind: "image", id: id.to_owned(), attributes }
    }

    /// A volume.
    #[must_use]
    pub fn volume(name: &str) -> Self {
        let attributes = [("driver".to_owned(), "local".to_owned())].into();
        Self { kind: "volume", id: name.to_owned(), attributes }
    }

    /// All of a kind, which a `prune` went through; it has no id.
    fn kind(kind: &'static str) -> Self {
        Self { kind, id: String::new(), attributes: BTreeMap::new() }
    }

    /// The lines of the journal about what happened to it.
    pub(crate) fn lines(&self, events: &[Event<'_>]) -> String {
        events.iter().map(|(action, more, ns)| self.line(action, more, *ns)).collect()
    }

    fn line(&self, action: &str, more: &[(&str, &str)], ns: u128) -> String {
        let mut attributes = self.attributes.clone();
        for (name, value) in more {
            attributes.insert((*name).to_owned(), (*value).to_owned());
        }
        let line = self.object(action, &attributes, ns).to_string();
        if line.len() <= LONGEST {
            return line + "\n";
        }
        attributes.retain(|name, _| ["image", "name"].contains(&name.as_str()));
        self.object(action, &attributes, ns).to_string() + "\n"
    }

    fn object(&self, action: &str, attributes: &BTreeMap<String, String>, ns: u128) -> Value {
        let mut object = json!({
            "Type": self.kind,
            "Action": action,
            "Actor": { "ID": self.id, "Attributes": attributes },
            "scope": "local",
            "time": (ns / 1_000_000_000) as u64,
            "timeNano": ns as u64,
        });
        if self.kind != "volume"
            && let Value::Object(map) = &mut object
        {
            // What the API had before 1.22, and clients still read.
            map.insert("status".to_owned(), action.into());
            if !self.id.is_empty() {
                map.insert("id".to_owned(), self.id.as_str().into());
            }
            if let Some(image) = attributes.get("image") {
                map.insert("from".to_owned(), image.as_str().into());
            }
        }
        object
    }
}

/// What happened, more attributes than the actor has, and when.
pub type Event<'a> = (&'a str, &'a [(&'a str, &'a str)], u128);

/// The journal, open for adding to it: for who has more than one thing to say.
#[derive(Debug)]
pub struct Journal(Option<OwnedFd>);

impl Journal {
    /// One system call. What cannot be opened is not written to: no event is worth failing for.
    #[must_use]
    pub fn open(dirs: &Dirs) -> Self {
        let file = match open(dirs, OFlags::WRONLY) {
            Err(Errno::NOENT) if crate::dirs::make_private(&dirs.run).is_ok() => open(dirs, OFlags::WRONLY),
            other => other,
        };
        Self(file.ok())
    }

    /// Adds what happened to it, together: one system call. An event is its action, attributes and time.
    pub fn add(&self, actor: &Actor, events: &[Event<'_>]) {
        self.write(&actor.lines(events));
    }

    /// Adds [`Actor::lines`], of one or several: one system call.
    pub(crate) fn write(&self, lines: &str) {
        if let Some(file) = &self.0 {
            let _not_worth_failing = write(file, lines.as_bytes());
        }
    }
}

impl AsFd for Journal {
    /// Of one that could not be opened, some descriptor that stays open anyway.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_ref().map_or_else(|| rustix::stdio::stderr(), AsFd::as_fd)
    }
}

/// The lines about a container's volumes when it begins to use them.
pub(crate) fn mounted(id: &str, config: &Config, ns: u128) -> String {
    let line = |mount: &Mount| {
        let MountSource::Volume(volume) = &mount.source else { return None };
        let attributes = [
            ("container", id),
            ("destination", mount.target.as_str()),
            ("propagation", ""),
            ("read/write", if mount.read_only { "false" } else { "true" }),
        ];
        Some(Actor::volume(volume.name.as_deref()?).lines(&[("mount", &attributes, ns)]))
    };
    config.mounts.iter().filter_map(line).collect()
}

/// And when it no longer does.
pub(crate) fn unmounted(id: &str, config: &Config, ns: u128) -> String {
    let line = |name| Actor::volume(name).lines(&[("unmount", &[("container", id)], ns)]);
    crate::volume::names_in(config).map(line).collect()
}

/// Says that something happened to a container just now.
pub(crate) fn tell(dirs: &Dirs, record: &Record, action: &str, attributes: &[(&str, &str)]) {
    emit(dirs, &Actor::container(record), action, attributes);
}

/// Says that something happened just now: three system calls.
pub fn emit(dirs: &Dirs, actor: &Actor, action: &str, attributes: &[(&str, &str)]) {
    Journal::open(dirs).add(actor, &[(action, attributes, record::now_ns())]);
}

/// Says that all containers, images or volumes (`kind`) that were not needed are gone, and how much that gave back.
pub fn tell_of_prune(dirs: &Dirs, kind: &'static str, bytes: u64) {
    emit(dirs, &Actor::kind(kind), "prune", &[("reclaimed", &bytes.to_string())]);
}

fn open(dirs: &Dirs, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(dirs.run.join("events"), flags, Mode::from_raw_mode(0o600))
}

/// Lets go of what is too old; for commands that are in no hurry.
pub(crate) fn trim(dirs: &Dirs) {
    let Ok(stat) = rustix::fs::stat(dirs.run.join("events")) else { return };
    if stat.st_blocks as u64 * 512 <= LIMIT {
        return;
    }
    let Ok(file) = open(dirs, OFlags::RDWR) else { return };
    let size = stat.st_size as u64;
    // Up to the beginning of a line.
    let mut block = vec![0; LONGEST];
    let from = size.saturating_sub(KEEP);
    let count = pread(&file, block.as_mut_slice(), from).unwrap_or(0);
    let Some(newline) = memchr::memchr(b'\n', &block[..count]) else { return };
    let end = from + newline as u64 + 1;
    if fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, end).is_err() {
        // A file system that has no holes.
        let _stays = rustix::fs::ftruncate(&file, 0);
    }
}

/// Shows each event from `since_ns` on (without it, those from now on) to `visit`, until that says false or
/// it is `until_ns`.
///
/// # Errors
/// What a call says; what `visit` returns.
pub fn watch<E: From<EngineError>>(
    dirs: &Dirs,
    since_ns: Option<i128>,
    until_ns: Option<i128>,
    mut visit: impl FnMut(Value) -> Result<bool, E>,
) -> Result<(), E> {
    crate::dirs::make_private(&dirs.run)?;
    let path = dirs.run.join("events");
    let file = open(dirs, OFlags::RDWR).at("open", &path)?;
    let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).at("inotify_init1", "")?;
    inotify::add_watch(&inotify, &path, WatchFlags::MODIFY).at("inotify_add_watch", &path)?;
    let mut at = match since_ns {
        Some(_) => first_byte(&file).at("lseek", &path)?,
        None => fstat(&file).at("fstat", &path)?.st_size as u64,
    };
    let mut carry = Vec::new();
    let mut block = vec![0; LONGEST];
    loop {
        loop {
            let count = pread(&file, block.as_mut_slice(), at).at("read", &path)?;
            if count == 0 {
                break;
            }
            at += count as u64;
            carry.extend_from_slice(&block[..count]);
            let mut done = 0;
            for end in memchr::memchr_iter(b'\n', &carry) {
                let line = &carry[done..end];
                done = end + 1;
                // What was punched out meanwhile reads as zeros.
                let Ok(event) = serde_json::from_slice::<Value>(behind_zeros(line)) else {
                    continue;
                };
                let ns = event["timeNano"].as_u64().map_or(0, i128::from);
                if until_ns.is_some_and(|until| ns > until) {
                    return Ok(());
                }
                if since_ns.is_none_or(|since| ns >= since) && !visit(event)? {
                    return Ok(());
                }
            }
            carry.drain(..done);
        }
        // As Docker: what ends in the past shows what was, and comes back.
        let timeout = until_ns.map(|until| {
            let rest = (until - record::now_ns() as i128).max(0);
            let tv_sec = i64::try_from(rest / 1_000_000_000).unwrap_or(i64::MAX);
            Timespec { tv_sec, tv_nsec: (rest % 1_000_000_000) as i64 }
        });
        match poll(&mut [PollFd::new(&inotify, PollFlags::IN)], timeout.as_ref()) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).at("poll", &path).map_err(E::from),
        }
        let mut events = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&inotify, &mut events);
        while reader.next().is_ok() {}
    }
}

/// Behind the hole.
fn first_byte(file: &OwnedFd) -> Result<u64, Errno> {
    match seek(file, SeekFrom::Data(0)) {
        // Nothing but a hole, or nothing.
        Err(Errno::NXIO) => Ok(fstat(file)?.st_size as u64),
        other => other,
    }
}

fn behind_zeros(line: &[u8]) -> &[u8] {
    &line[line.iter().take_while(|byte| **byte == 0).count()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_keeps_the_newest_and_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs { root: dir.path().join("root"), run: dir.path().join("run"), rootless: None };
        crate::dirs::make_private(&dirs.run).unwrap();
        let padding = "x".repeat(10_000);
        for number in 0..250 {
            let number = number.to_string();
            emit(&dirs, &Actor::volume(&number), "create", &[("padding", &padding)]);
            trim(&dirs);
        }
        let used =
            std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(dirs.run.join("events")).unwrap());
        assert!(used * 512 <= LIMIT + (64 << 10), "{used} blocks");
        let mut seen = Vec::new();
        watch(&dirs, Some(0), Some(record::now_ns() as i128), |event| {
            seen.push(event["Actor"]["ID"].as_str().unwrap().parse::<u32>().unwrap());
            Ok::<_, EngineError>(true)
        })
        .unwrap();
        assert!(seen.len() >= 40 && seen.is_sorted(), "{seen:?}");
        assert_eq!((seen.last(), seen.len()), (Some(&249), 250 - seen[0] as usize));
    }

    #[test]
    fn a_line_is_bounded() {
        let long = "y".repeat(LONGEST);
        let line = Actor::image("sha256:1", "a").line("tag", &[("label", &long)], 1_500_000_000);
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["Actor"]["Attributes"], json!({"name": "a"}));
        assert_eq!((&event["time"], &event["timeNano"]), (&json!(1), &json!(1_500_000_000)));
        assert_eq!((&event["status"], &event["id"]), (&json!("tag"), &json!("sha256:1")));
    }
}
