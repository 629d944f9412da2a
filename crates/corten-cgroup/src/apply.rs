//! Carries out the steps of a plan.

use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::controller::{Controller, Controllers};
use crate::devices::bpf;
use crate::error::{Call, Error, Result};
use crate::file;
use crate::limits::{Absent, Setting};
use crate::parents;
use crate::path::CgroupPath;
use crate::plan::{CgroupOp, enabled_in};

/// All steps in order; on failure the cgroups that were made go again.
pub(crate) fn apply(ops: &[CgroupOp]) -> Result<()> {
    let mut made = Vec::new();
    let outcome = walk(ops, &mut made);
    if outcome.is_err() {
        for (mount, path) in made.iter().rev() {
            // The first failure is the one to report.
            let _ = rustix::fs::rmdir(path.below(mount));
            parents::remove_above(mount, path);
        }
    }
    outcome
}

fn walk<'a>(ops: &'a [CgroupOp], made: &mut Vec<(&'a Path, &'a CgroupPath)>) -> Result<()> {
    let mut rest = ops;
    while let Some((op, after)) = rest.split_first() {
        rest = after;
        match op {
            CgroupOp::Mkdir { mount, path } => {
                make(mount, path)?;
                made.push((mount.as_path(), path));
            }
            CgroupOp::Join { mount, path } => join(mount, path)?,
            CgroupOp::Expect { dir, required } => expect(dir, required)?,
            CgroupOp::InheritCpuset { mount, path } => {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    inherit(mount, &path.below(mount), file)?;
                }
            }
            CgroupOp::Enable { mount, path, wanted, required } => enable(mount, path, *wanted, required)?,
            CgroupOp::DeviceFilter { dir, rules } => bpf::install(dir, rules)?,
            CgroupOp::Write { dir, .. } => {
                let same = |op: &CgroupOp| matches!(op, CgroupOp::Write { dir: d, .. } if d == dir);
                let more = after.iter().take_while(|op| same(op)).count();
                write_all(&ops[ops.len() - after.len() - 1..][..more + 1])?;
                rest = &after[more..];
            }
        }
    }
    Ok(())
}

/// How often another may remove an empty parent between our making it and our making the child.
const RACES: u32 = 16;

/// mkdir -p, of which the last directory is new: an empty one that is there already is made anew, since
/// it could be frozen or hold limits of its past.
fn make(mount: &Path, path: &CgroupPath) -> Result<()> {
    let dir = path.below(mount);
    for _ in 0..RACES {
        match mkdir(&dir) {
            Ok(()) => return Ok(()),
            Err(Errno::NOENT) => {
                for above in path.parent().iter().flat_map(CgroupPath::with_ancestors) {
                    match mkdir(&mount.join(above)) {
                        Ok(()) => parents::mark(&mount.join(above)),
                        Err(Errno::EXIST | Errno::NOENT) => {}
                        Err(e) => return Err(Call::Mkdir(mount.join(above)).failed(e)),
                    }
                }
            }
            Err(Errno::EXIST) => match rustix::fs::rmdir(&dir) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::BUSY) => return Err(Error::Populated { pids: file::procs_below(&dir)?, dir }),
                Err(e) => return Err(Call::Rmdir(dir).failed(e)),
            },
            Err(e) => return Err(Call::Mkdir(dir).failed(e)),
        }
    }
    Err(Call::Mkdir(dir).failed(Errno::NOENT))
}

/// mkdir -p.
fn join(mount: &Path, path: &CgroupPath) -> Result<()> {
    for dir in path.with_ancestors().map(|path| mount.join(path)) {
        match mkdir(&dir) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(Call::Mkdir(dir).failed(e)),
        }
    }
    Ok(())
}

fn expect(dir: &Path, required: &[(Controller, &'static str)]) -> Result<()> {
    let text = file::read_short(&dir.join("cgroup.controllers"))?;
    let available = Controllers::parse(&text, char::is_whitespace);
    match required.iter().find(|(controller, _)| !available.contains(*controller)) {
        None => Ok(()),
        Some((controller, field)) => {
            let place = dir.display().to_string();
            Err(Error::MissingController { controller: *controller, field, place })
        }
    }
}

fn mkdir(dir: &Path) -> Result<(), Errno> {
    rustix::fs::mkdir(dir, Mode::from_raw_mode(0o755))
}

/// Fills an empty file from the nearest cgroup above that has it filled; gives what is in it then.
fn inherit(mount: &Path, dir: &Path, name: &str) -> Result<String> {
    let path = dir.join(name);
    let value = file::read_short(&path)?.trim().to_owned();
    let above = dir.parent().filter(|_| dir != mount);
    match above {
        Some(above) if value.is_empty() => {
            let value = inherit(mount, above, name)?;
            file::write(&path, &value)?;
            Ok(value)
        }
        _ => Ok(value),
    }
}

/// Hands `wanted` down. Mostly an earlier start has done it, so look at the end of the way first.
///
/// All controllers are asked for in one write. If the kernel refuses it, because one is not available at
/// that place or because a cgroup is not ours (a delegated subtree), each is tried by itself: what
/// counts is whether the required ones are there in the end.
fn enable(
    mount: &Path,
    path: &CgroupPath,
    wanted: Controllers,
    required: &[(Controller, &'static str)],
) -> Result<()> {
    let leaf = path.below(mount).join("cgroup.controllers");
    let available = || file::read_short(&leaf).map(|text| Controllers::parse(&text, char::is_whitespace));
    if available()?.contains_all(wanted) {
        return Ok(());
    }
    let mut refused = Vec::new();
    for dir in enabled_in(mount, path) {
        let control = dir.join("cgroup.subtree_control");
        let plus = |set: Controllers| set.iter().map(|c| format!("+{c}")).collect::<Vec<_>>().join(" ");
        if file::write(&control, &plus(wanted)).is_err() {
            for c in wanted.iter() {
                let one = file::write(&control, &plus(Controllers::NONE.with(c)));
                refused.extend(one.err().map(|e| (c, e)));
            }
        }
    }
    let available = available()?;
    let Some((controller, field)) = required.iter().find(|(c, _)| !available.contains(*c)) else {
        return Ok(());
    };
    Err(match refused.into_iter().find(|(c, _)| c == controller) {
        // To say that a controller is unknown there the kernel has only ENOENT or EINVAL.
        Some((_, e)) if e.errno() != Some(Errno::NOENT) => e,
        _ => Error::MissingController {
            controller: *controller,
            field,
            place: path.below(mount).display().to_string(),
        },
    })
}

/// Writes the settings of one directory.
///
/// In which order the kernel takes them depends on what is set: memory before memory+swap when both
/// sink, after it when they rise; a quota and its burst and period likewise. Rather than read it all
/// first, write in the usual order and write again what was refused with EINVAL, for as long as that
/// gets further. A fresh cgroup takes all at once.
fn write_all(ops: &[CgroupOp]) -> Result<()> {
    let mut left: Vec<&CgroupOp> = ops.iter().collect();
    loop {
        let mut refused = Vec::new();
        let mut first = None;
        for op in &left {
            let CgroupOp::Write { dir, setting } = op else { continue };
            match write(dir, setting) {
                Err(e) if e.errno() == Some(Errno::INVAL) => {
                    refused.push(*op);
                    first.get_or_insert(e);
                }
                other => other?,
            }
        }
        match first {
            None => return Ok(()),
            Some(e) if refused.len() == left.len() => return Err(e),
            Some(_) => left = refused,
        }
    }
}

/// One open for all values.
fn write(dir: &Path, setting: &Setting) -> Result<()> {
    let path = dir.join(&*setting.file);
    let fd = match file::open_write(&path) {
        Ok(fd) => fd,
        Err(Errno::NOENT) if dir.exists() => match &setting.absent {
            Absent::Skip => return Ok(()),
            Absent::SkipWithoutSwap if !Path::new("/proc/swaps").exists() => return Ok(()),
            Absent::Use(other) => return write(dir, other),
            _ => return Err(Call::OpenWrite(path).failed(Errno::NOENT)),
        },
        Err(e) => return Err(Call::OpenWrite(path).failed(e)),
    };
    setting.values.iter().try_for_each(|value| file::write_to(&fd, &path, value))
}
