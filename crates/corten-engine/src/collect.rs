//! Collecting what killed processes left.
//!
//! Everything that a container has (name, directory, lease of ids, cgroup, the record itself) exists only
//! while its directory of the living does, or its record is kept on disk (`hold.rs`). So one look at
//! `<run>/` tells whether anything is left, and every command takes it first. What is found unlocked has
//! lost whoever attended it, and one of these is so:
//!
//! | its record | its first process | then |
//! |---|---|---|
//! | none, or torn | may be half made | everything of it goes |
//! | not started | may be half made | its processes are killed; `--rm`: all goes, else it stays as made |
//! | started | lives | it goes on |
//! | started | is gone (or of an earlier boot) | `--rm`: all goes; else its end is noted, or its policy starts it again |
//!
//! A reboot empties `<run>/`, and with it the journal: what it knew is found by [`sweep`], once a boot and
//! with each command that is no start. A cgroup is found by its record alone: below `corten/` there may
//! be those of another `--root`, whose containers we do not know.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use corten_runtime::init;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::boot;
use crate::dirs::{Dirs, make_private};
use crate::error::{At, EngineError};
use crate::events::{Actor, Event, Journal};
use crate::hold::{Hold, Tried};
use crate::log::{Log, Sink};
use crate::monitor;
use crate::record::{self, Record, State, Status};

/// Says in `<run>/` that nothing of an earlier boot is left.
const SWEPT: &str = "swept";

/// The ids of containers that somebody held a moment ago: each is what its state says until its holder says
/// otherwise.
#[derive(Debug, Clone, Default)]
pub struct Attended(BTreeSet<String>);

impl Attended {
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.0.contains(id)
    }
}

/// Collects what the journal tells of. In the way of each start: four system calls, and three for each container
/// that runs, of which each lock is tried. (/proc/locks tells them all in one read; but who opens it waits for an
/// RCU grace period, 10 to 25 ms, in which every lock that anybody takes is slow.) Whatever cannot be collected now is
/// tried again by the next command.
pub fn collect(dirs: &Dirs) {
    let (attended, swept) = collect_journal(dirs);
    if !swept {
        sweep_all(dirs, &attended);
        boot::start_due(dirs);
    }
}

/// Whom it found attended, and whether this boot was swept.
fn collect_journal(dirs: &Dirs) -> (Attended, bool) {
    let (mut under_way, mut attended) = (Vec::new(), Attended::default());
    let mut swept = false;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(dir) = rustix::fs::open(&dirs.run, flags, Mode::empty()) {
        let mut buffer = Vec::with_capacity(16 << 10);
        let mut entries = RawDir::new(&dir, buffer.spare_capacity_mut());
        while let Some(Ok(entry)) = entries.next() {
            match entry.file_name().to_str() {
                Ok(SWEPT) => swept = true,
                Ok(name) if is_id(name) => under_way.push(name.to_owned()),
                _ => {}
            }
        }
        for id in under_way {
            match Hold::try_at(&dir, Path::new(&id)) {
                Ok(Tried::Held) => drop(attended.0.insert(id)),
                Ok(Tried::Taken(hold)) => settle_held(dirs, &id, hold),
                Ok(Tried::Gone) | Err(_) => {}
            }
        }
    }
    (attended, swept)
}

/// As [`collect`], and looks at every name, directory and lease whether it is somebody's. Whom it found attended.
pub fn sweep(dirs: &Dirs) -> Attended {
    let (attended, swept) = collect_journal(dirs);
    sweep_all(dirs, &attended);
    if !swept {
        boot::start_due(dirs);
    }
    crate::events::trim(dirs);
    attended
}

/// What is of one that is attended is somebody's: that costs no look at its files.
fn sweep_all(dirs: &Dirs, attended: &Attended) {
    if !dirs.root.exists() {
        return;
    }
    let kept = |id: &str| dirs.container(id).join("config.json").exists();
    let lives = |id: &str| attended.contains(id) || dirs.live(id).exists();
    let nobody = |id: &str| is_id(id) && !attended.contains(id) && !kept(id) && !dirs.live(id).exists();
    let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries(&dirs.root.join("containers")) {
        if let Some(id) = entry.file_name().to_str().filter(|id| nobody(id)) {
            settle_missing(dirs, id);
        }
    }
    let owned = |links: &Path| -> Vec<(PathBuf, String)> {
        let owner = |path: PathBuf| {
            let id = std::fs::read_link(&path).ok()?.into_os_string().into_string().ok()?;
            Some((path, id))
        };
        entries(links).filter_map(|entry| owner(entry.path())).collect()
    };
    // A lease is of one that runs or is about to; a name also of one that is kept.
    let names = owned(&dirs.root.join("names"));
    for (_, id) in names.iter().filter(|(_, id)| nobody(id)) {
        settle_missing(dirs, id);
    }
    for (_, id) in owned(&dirs.leases()).iter().filter(|(_, id)| is_id(id) && !lives(id)) {
        settle_missing(dirs, id);
    }
    crate::rename::settle(dirs, &names);
    // Those that were being made or removed; what cannot go now goes the next time.
    let _left = crate::volume::collect(dirs);
    // If it cannot be made, the next command sweeps again.
    if make_private(&dirs.run).is_ok() {
        let _again = std::fs::write(dirs.run.join(SWEPT), "");
    }
}

/// Nothing else is taken for a container, whatever somebody put there.
pub(crate) fn is_id(name: &str) -> bool {
    name.parse::<corten_oci::ContainerId>().is_ok()
}

/// Finishes what whoever held it left, if nobody holds it now.
pub(crate) fn settle(dirs: &Dirs, id: &str) {
    if let Ok(Some(hold)) = Hold::try_existing(dirs, id) {
        settle_held(dirs, id, hold);
    }
}

/// What cannot be done now is tried again by the next command.
fn settle_held(dirs: &Dirs, id: &str, hold: Hold) {
    let _again = finish_unless_alive(dirs, id, true).and_then(|left| match left {
        Left::Nothing => Ok(()),
        Left::Running(record, state) => monitor::adopt(dirs, &record, state, hold),
        Left::Resting(record, state) => monitor::resume(dirs, &record, state, hold),
    });
}

/// As [`settle`], for what has no directory of the living.
pub(crate) fn settle_missing(dirs: &Dirs, id: &str) {
    if let Ok(Some(hold)) = Hold::try_take(dirs, id) {
        settle_held(dirs, id, hold);
    }
}

/// Brings a container to an end that its record can tell. The caller holds it.
pub(crate) fn finish(dirs: &Dirs, id: &str) -> Result<(), EngineError> {
    finish_unless_alive(dirs, id, false).map(drop)
}

/// What is left of a container that nobody attends: one that has ended needs nobody.
enum Left {
    Nothing,
    Running(Record, State),
    /// Its policy is to start it again.
    Resting(Record, State),
}

/// As [`finish`], unless it lives or, if its policy counts, is to be started again.
fn finish_unless_alive(dirs: &Dirs, id: &str, policy_counts: bool) -> Result<Left, EngineError> {
    let (live, kept) = (dirs.live(id), dirs.container(id));
    let living = untorn(record::read::<Record>(&live.join("config.json")))?;
    let record = match living {
        None => record::read::<Record>(&kept.join("config.json"))?,
        some => some,
    };
    let Some(record) = record else {
        release(dirs, id, None)?;
        return forget(dirs, id, None).map(|()| Left::Nothing);
    };
    let mut state = untorn(record::read::<State>(&live.join("state.json")))?;
    if let Some(state) = state.take_if(|state| state.is_alive()) {
        return Ok(Left::Running(record, state));
    }
    // Of one that rests its monitor has told already.
    let told = state.as_ref().is_some_and(|state| state.status == Status::Restarting);
    if let Some(state) = state.as_mut().filter(|_| told) {
        state.status = Status::Exited;
    }
    let unnoted = state.as_ref().is_some_and(|state| state.status == Status::Running);
    let mut end = state.map(|state| ended(&live, state));
    // Afterwards: its age is the time of the end.
    if unnoted && !record.config.auto_remove {
        log_unread(dirs, &record);
    }
    let killed_for_memory = release(dirs, id, Some(&record))?;
    let mut tell_of_oom = false;
    if let Some(end) = &mut end {
        // Its monitor tells of it when it notes it.
        tell_of_oom = killed_for_memory && !end.oom_killed;
        end.oom_killed |= killed_for_memory;
    }
    let untold = end.as_ref().filter(|_| !told);
    tell(dirs, &record, untold, tell_of_oom, &kept.join("state.json"))?;
    if record.config.auto_remove {
        crate::volume::discard(dirs, id, &crate::volume::anonymous_in(&record.config));
        return forget(dirs, id, Some(&record.name)).map(|()| Left::Nothing);
    }
    let path = kept.join("state.json");
    if let Some(end) = end.as_mut().filter(|_| policy_counts)
        && !noted_already(&path, end)?
        && monitor::is_due(dirs, &record, end, told)
    {
        if told {
            end.status = Status::Restarting;
        } else {
            end.rests();
        }
        record::write(&live.join("state.json"), end, false)?;
        return Ok(Left::Resting(record, end.clone()));
    }
    match end {
        // Its monitor came as far as noting the end itself, and knew more.
        Some(state) if noted_already(&path, &state)? => {}
        Some(state) => record::write(&path, &state, true)?,
        None if record::read::<State>(&path)?.is_none_or(|state| state == State::created()) => {
            let error = "its start was cut short: whoever started it was killed".to_owned();
            crate::started::forget(&kept)?;
            record::write(&path, &State { error, exit_code: 125, ..State::created() }, true)?;
        }
        None => {}
    }
    for partial in ["config.new", "state.new"] {
        remove_file(&kept.join(partial))?;
    }
    remove_tree(dirs, &live).map(|()| Left::Nothing)
}

/// A power cut can tear what is under /run, which is never synced, where that outlives a boot. What only could
/// not be read says nothing: nobody is taken for dead because of it.
fn untorn<T>(read: Result<Option<T>, EngineError>) -> Result<Option<T>, EngineError> {
    match read {
        Err(EngineError::Record { .. }) => Ok(None),
        other => other,
    }
}

/// The event of an end that nobody told of.
fn tell(
    dirs: &Dirs,
    record: &Record,
    end: Option<&State>,
    of_oom: bool,
    path: &Path,
) -> Result<(), EngineError> {
    let Some(end) = end.filter(|end| end.status == Status::Exited) else { return Ok(()) };
    if noted_already(path, end)? {
        return Ok(());
    }
    let actor = Actor::container(record);
    let code = end.exit_code.to_string();
    let seconds = (end.finished_ns.saturating_sub(end.started_ns) / 1_000_000_000).to_string();
    let how = [("execDuration", seconds.as_str()), ("exitCode", code.as_str())];
    let events: [Event<'_>; 2] = [("oom", &[], end.finished_ns), ("die", &how, end.finished_ns)];
    let mut lines = actor.lines(&events[usize::from(!of_oom)..]);
    lines += &crate::events::unmounted(&record.id, &record.config, end.finished_ns);
    if record.config.auto_remove {
        lines += &actor.lines(&[("destroy", &[], record::now_ns())]);
    }
    Journal::open(dirs).write(&lines);
    Ok(())
}

fn noted_already(path: &Path, state: &State) -> Result<bool, EngineError> {
    let noted = record::read::<State>(path)?;
    Ok(noted.is_some_and(|noted| noted.status == Status::Exited && noted.started_ns == state.started_ns))
}

/// How it ended, if nobody was there to say so: init's own record has the code, and its age the time.
pub(crate) fn ended(live: &Path, mut state: State) -> State {
    if state.status == Status::Running && !state.is_alive() {
        state.status = Status::Exited;
        let path = live.join("exit");
        let end = init::parse_record(&exit_record(live, LINE));
        state.exit_code = end.map_or(255, |end| i32::from(end.shell_code()));
        let written = std::fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
        let since = written.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        // The times of files are the clock's of the last tick.
        state.finished_ns = since.map_or_else(record::now_ns, |since| since.as_nanos()).max(state.started_ns);
        state.pid = 0;
        if let Some(health) = &mut state.health {
            health.end();
        }
    }
    state
}

/// More than the first line of an exit record has.
const LINE: usize = 32;

/// What init wrote when it ended, `most` bytes of it.
fn exit_record(live: &Path, most: usize) -> Vec<u8> {
    let mut record = Vec::new();
    if let Ok(file) = std::fs::File::open(live.join("exit")) {
        let _torn = file.take(most as u64).read_to_end(&mut record);
    }
    record
}

/// What a container wrote last, when nobody attended it any more: init has kept it.
fn log_unread(dirs: &Dirs, record: &Record) {
    let live = dirs.live(&record.id);
    let written = exit_record(&live, init::MAX_RECORD);
    let mut pieces = init::unread(&written).peekable();
    if pieces.peek().is_none() {
        return;
    }
    let Ok(Some(sink)) = Sink::of(record) else { return };
    let Ok(mut log) = Log::open(dirs.container(&record.id), sink) else { return };
    pieces.for_each(|(stream, bytes)| log.write(stream, bytes));
    log.finish();
    // Not once more by whoever finishes this if we are killed.
    let line = written.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let file = std::fs::File::options().write(true).open(live.join("exit"));
    let _twice = file.and_then(|file| file.set_len(line as u64));
}

/// Gives back what a container holds of the machine; kills what is in its cgroup. Its record must stay
/// until this has succeeded. Whether the kernel killed in it for memory.
pub(crate) fn release(dirs: &Dirs, id: &str, record: Option<&Record>) -> Result<bool, EngineError> {
    let mut killed_for_memory = false;
    let path = record.map(crate::container::cgroup_path).transpose()?.flatten();
    if let (Some(record), Some(path)) = (record, path) {
        let layout = corten_cgroup::Layout::detect()?;
        if let Some(cgroup) = crate::container::cgroup_at(&layout, record, &path)? {
            killed_for_memory = cgroup.oom_kills().is_ok_and(|kills| kills > 0);
            cgroup.kill_all()?;
            cgroup.remove()?;
        }
        // Of a parent that the user named nothing is left either; the usual one stays.
        if record.config.resources.cgroup_parent.is_some() {
            corten_cgroup::remove_parents(&layout, &path);
        }
    }
    crate::lease::release_of(dirs, id)?;
    Ok(killed_for_memory)
}

/// Removes all files of a container, the directory of the living last, so that a killed removal is found.
/// `name` is looked for if it is not known: then the container may not even have a record yet.
pub(crate) fn forget(dirs: &Dirs, id: &str, name: Option<&str>) -> Result<(), EngineError> {
    let container = dirs.container(id);
    // What a volatile overlay leaves, innermost first: known, so it needs no reading of directories.
    for name in ["work/work/incompat/volatile/dirty", "work/work/incompat/volatile", "work/work/incompat"] {
        let directory = !name.ends_with("dirty");
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        if rustix::fs::unlinkat(CWD, container.join(name), flags).is_err() {
            break;
        }
    }
    remove_tree(dirs, &container)?;
    if name.is_none() {
        remove_tree(dirs, &crate::places::beside(dirs, id))?;
    }
    let links_to_it = |path: &Path| std::fs::read_link(path).is_ok_and(|to| to.as_os_str() == id);
    let names = match name.map(|name| dirs.name(name)).filter(|path| links_to_it(path)) {
        Some(path) => vec![path],
        // Or it was renamed since.
        None => std::fs::read_dir(dirs.root.join("names"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| links_to_it(path))
            .collect(),
    };
    names.iter().try_for_each(|path| remove_file(path))?;
    remove_tree(dirs, &dirs.live(id))
}

pub(crate) fn remove_file(path: &Path) -> Result<(), EngineError> {
    match rustix::fs::unlink(path) {
        Err(Errno::NOENT) => Ok(()),
        other => other.at("unlink", path),
    }
}

pub(crate) fn remove_tree(dirs: &Dirs, path: &Path) -> Result<(), EngineError> {
    let outside = dirs.rootless.as_ref().filter(|_| !rustix::process::geteuid().is_root());
    match (corten_sys::tree::remove(path), outside) {
        // Files of the user's other ids, which are nobody's out here.
        (Err(Errno::ACCESS | Errno::PERM), Some(rootless)) => {
            rootless.aside(&dirs.root, || {
                // Whether all is gone is seen below.
                let _left = corten_sys::tree::remove(path);
            })?;
            corten_sys::tree::remove(path)
        }
        (removed, _) => removed,
    }
    .at("unlinkat", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file's time is that of the clock's last tick, which may be before the start.
    #[test]
    fn nothing_ends_before_it_began() {
        let live = tempfile::tempdir().unwrap();
        std::fs::write(live.path().join("exit"), "").unwrap();
        let far = record::now_ns() + 1_000_000_000_000;
        for (started_ns, early) in [(far, true), (1, false)] {
            // No process is of another boot.
            let running = State { status: Status::Running, pid: 1, started_ns, ..State::created() };
            let end = ended(live.path(), running);
            assert_eq!((end.status, end.finished_ns == started_ns), (Status::Exited, early));
        }
    }
}
