//! What is kept about a container: the record, written once, and its state, rewritten as it changes.

use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::{At, EngineError};

/// The version of both files; a newer one is refused rather than misread.
pub const VERSION: u32 = 1;
/// Few records are longer: one of a plain `run` has 2.2 KiB.
const USUAL_BYTES: usize = 8 << 10;

/// A container as it was created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created_ns: u128,
    /// The image's id; empty for `host`.
    pub image_id: String,
    /// The image's layers, by their diff-ids: what garbage collection must keep; those of mounted images too.
    pub layers: Vec<String>,
    /// The images of `--mount type=image`.
    #[serde(default)]
    pub mounted_images: Vec<String>,
    /// What was asked for, with what the image and other containers add to it.
    pub config: Config,
    /// The command as it is executed.
    pub args: Vec<String>,
    /// The environment as it is given.
    pub env: Vec<String>,
    /// Who it runs as, as said by the user or the image.
    pub user: String,
    /// Its working directory.
    pub workdir: String,
    /// Its cgroup, below each hierarchy.
    pub cgroup: Option<String>,
}

/// How far a container's life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Made, never started.
    Created,
    /// Its program runs.
    Running,
    /// Its program ended.
    Exited,
    /// Its program ended, and its policy is to start it again in a moment.
    Restarting,
}

/// The state of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`VERSION`].
    pub version: u32,
    /// How far.
    pub status: Status,
    /// Its first process, while it runs.
    pub pid: i32,
    /// When that process started, in clock ticks since boot: a number without it is not believed.
    pub pid_start: u64,
    /// The boot that it started in.
    pub boot_id: String,
    /// Nanoseconds since 1970.
    pub started_ns: u128,
    /// Nanoseconds since 1970; 0 while it runs.
    pub finished_ns: u128,
    /// The exit code as a shell shows it.
    pub exit_code: i32,
    /// Whether the kernel killed something in it for memory.
    pub oom_killed: bool,
    /// Why it could not start.
    pub error: String,
    /// First host id of its block; 0 where ids are not shifted.
    pub first_id: u32,
    /// Binds whose ids could not be shifted.
    pub unmapped_binds: Vec<String>,
    /// How often its policy started it again.
    #[serde(default)]
    pub restart_count: u32,
    /// What its health checks found; `None` without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<crate::health::Shown>,
    /// Its processes are frozen. Not kept here: a file beside the state says so.
    #[serde(skip)]
    pub paused: bool,
}

impl State {
    /// Of a container that has only been made.
    #[must_use]
    pub fn created() -> Self {
        Self {
            version: VERSION,
            status: Status::Created,
            pid: 0,
            pid_start: 0,
            boot_id: String::new(),
            started_ns: 0,
            finished_ns: 0,
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            first_id: 0,
            unmapped_binds: Vec::new(),
            restart_count: 0,
            health: None,
            paused: false,
        }
    }

    /// It has ended, and is to be started again.
    pub(crate) fn rests(&mut self) {
        self.status = Status::Restarting;
        self.restart_count += 1;
    }

    /// Whether its first process is there, and is the one that was started. If that cannot be told it is: who
    /// takes a container for dead cleans up after it.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.status == Status::Running && self.pid > 0 && self.is_same_process().unwrap_or(true)
    }

    /// Whether the process of that number is the one that was started.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub(crate) fn is_same_process(&self) -> Result<bool, EngineError> {
        Ok(boot_id()? == self.boot_id && start_of(self.pid)? == Some(self.pid_start))
    }
}

/// When a process that lives started, in clock ticks since boot: the 22nd field of /proc/PID/stat
/// (proc(5)). One that has ended and that nobody waits for (an orphan under a process 1 that does not)
/// does not live.
pub(crate) fn start_of(pid: i32) -> Result<Option<u64>, EngineError> {
    let path = format!("/proc/{pid}/stat");
    match try_read_text(&path) {
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        other => other.at("read", &path).map(|stat| parse_stat(&stat)),
    }
}

fn parse_stat(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let lives = !matches!(fields.next()?, "Z" | "X");
    fields.nth(18).filter(|_| lives)?.parse().ok()
}

/// The id of this boot, which no process outlives: it is read once.
pub(crate) fn boot_id() -> Result<&'static str, EngineError> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    static ID: OnceLock<String> = OnceLock::new();
    if let Some(id) = ID.get() {
        return Ok(id);
    }
    let text = try_read_text(PATH).at("read", PATH)?;
    Ok(ID.get_or_init(|| text.trim().to_owned()))
}

/// A small text file in as few calls as it takes: for one of up to 2 KiB that the kernel gives whole, three.
pub(crate) fn read_text(path: &str) -> Option<String> {
    try_read_text(path).ok()
}

/// As [`read_text`], with the reason.
fn try_read_text(path: &str) -> Result<String, Errno> {
    String::from_utf8(read_whole(path.as_ref(), 2048)?).map_err(|_| Errno::ILSEQ)
}

/// A file that is usually smaller than `expected_bytes`: then open, read and close are all that it takes.
fn read_whole(path: &Path, expected_bytes: usize) -> Result<Vec<u8>, Errno> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = vec![0; expected_bytes];
    let count = loop {
        match rustix::io::read(&file, &mut buffer) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    buffer.truncate(count);
    if count == expected_bytes {
        std::io::Read::read_to_end(&mut std::fs::File::from(file), &mut buffer)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    }
    Ok(buffer)
}

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

/// Reads a record or state.
pub(crate) fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>, EngineError> {
    let text = match read_whole(path, USUAL_BYTES) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.at("read", path)?,
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| EngineError::Record { path: path.into(), reason: error.to_string() })
}

/// Writes a record or state whole or not at all; `durable` if it must outlive a power cut.
pub(crate) fn write(path: &Path, value: &impl Serialize, durable: bool) -> Result<(), EngineError> {
    let damaged =
        |error: serde_json::Error| EngineError::Record { path: path.into(), reason: error.to_string() };
    let text = serde_json::to_vec(value).map_err(damaged)?;
    let beside = path.with_extension("new");
    write_beside(&beside, &text, durable)
        .and_then(|()| rustix::fs::rename(&beside, path).at("rename", path))
        // Nobody would ever finish it.
        .inspect_err(|_| {
            let _there_was_none = rustix::fs::unlink(&beside);
        })?;
    if durable && let Some(parent) = path.parent() {
        let dir =
            rustix::fs::open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .at("open", parent)?;
        rustix::fs::fsync(&dir).at("fsync", parent)?;
    }
    Ok(())
}

fn write_beside(beside: &Path, text: &[u8], durable: bool) -> Result<(), EngineError> {
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(beside, flags, Mode::from_raw_mode(0o600)).at("open", beside)?;
    let mut rest = text;
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(&file, rest).at("write", beside)?..];
    }
    if durable {
        rustix::fs::fsync(&file).at("fsync", beside)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_has_ended_does_not_live() {
        let stat = |state: &str| {
            format!(
                "7 (a) R (b) {state} 1 7 7 0 -1 4194560 90 0 0 0 0 0 0 0 20 0 1 0 4711 0 0 18446744073709551615"
            )
        };
        assert_eq!(parse_stat(&stat("S")), Some(4711));
        assert_eq!(parse_stat(&stat("Z")), None);
        assert_eq!(parse_stat("7 (torn"), None);
    }
}
