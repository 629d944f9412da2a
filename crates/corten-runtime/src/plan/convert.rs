//! Values of the specification as system calls take them.

use std::ffi::CString;
use std::path::Path;

use corten_sys::exec::StringVector;
use corten_sys::mount::attr;

use super::op::c_path;
use super::{DevOp, NodeOp, OverlayOp};
use crate::error::SpecError;
use crate::spec::{Dev, Overlay, Process, TimeOffsets, User, Writable};

/// Where programs are looked for if the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Room for the `HOME` of the user's entry.
const HOME_CAPACITY: usize = 4096;
/// Mode bits of `S_IFCHR | 0666`.
const CHARACTER_0666: u32 = 0o020_666;
/// The nodes that every /dev has (runtime-spec, "Default Devices"): name, major, minor.
pub const STANDARD_NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

pub(super) fn nul(field: &'static str, value: &str) -> SpecError {
    SpecError::Nul { field, value: value.to_owned() }
}

pub(crate) fn c_string(field: &'static str, value: &str) -> Result<CString, SpecError> {
    CString::new(value).map_err(|_| nul(field, value))
}

pub(super) fn c_dir(field: &'static str, path: &Path) -> Result<CString, SpecError> {
    c_path(path).ok_or_else(|| nul(field, &path.to_string_lossy()))
}

/// An absolute path of the container, without the leading slash: relative to its root.
pub(super) fn target(path: &str) -> Result<CString, SpecError> {
    let refuse = || SpecError::MountTarget(path.to_owned());
    let clean: Vec<&str> = path
        .strip_prefix('/')
        .ok_or_else(refuse)?
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    if clean.is_empty() || clean.contains(&"..") {
        return Err(refuse());
    }
    c_string("mount target", &clean.join("/"))
}

/// The attributes as mount(2) takes them.
pub(super) fn mount_flags(attributes: u64) -> u64 {
    use rustix::mount::MountFlags;
    let mut flags = MountFlags::empty();
    for (bit, flag) in [
        (attr::RDONLY, MountFlags::RDONLY),
        (attr::NOSUID, MountFlags::NOSUID),
        (attr::NODEV, MountFlags::NODEV),
        (attr::NOEXEC, MountFlags::NOEXEC),
        (attr::NOATIME, MountFlags::NOATIME),
        (attr::STRICTATIME, MountFlags::STRICTATIME),
        (attr::NODIRATIME, MountFlags::NODIRATIME),
    ] {
        flags.set(flag, attributes & bit != 0);
    }
    let symlinks = if attributes & attr::NOSYMFOLLOW != 0 { 256 } else { 0 };
    u64::from(flags.bits()) | symlinks
}

pub(crate) fn overlay_op(overlay: &Overlay) -> Result<OverlayOp, SpecError> {
    if overlay.lowers.is_empty() {
        return Err(SpecError::Empty("root.layers"));
    }
    Ok(OverlayOp {
        lowers: overlay.lowers.iter().map(|dir| c_dir("layer", dir)).collect::<Result<_, _>>()?,
        writable: match &overlay.writable {
            None => None,
            Some(Writable::Directory(dir)) => Some(Writable::Directory(c_dir("upper", dir)?)),
            Some(Writable::Memory { mode }) => Some(Writable::Memory { mode: *mode }),
        },
        volatile: overlay.volatile,
        idmap: overlay.idmap,
        userxattr: overlay.userxattr,
        screened: overlay.screened,
        subpath: overlay.subpath.clone(),
    })
}

pub(super) fn dev_op(dev: &Dev) -> Result<DevOp, SpecError> {
    let mut op = DevOp { nodes: Vec::new(), directories: Vec::new(), links: Vec::new(), files: Vec::new() };
    for (name, mode) in [(c"pts", 0o755), (c"shm", 0o1777), (c"mqueue", 0o1777)] {
        op.directories.push((name.to_owned(), mode));
    }
    for (name, major, minor) in STANDARD_NODES {
        let path = c_string("device", name)?;
        op.nodes.push(NodeOp {
            path,
            mode: CHARACTER_0666,
            device: device_number(major, minor),
            uid: 0,
            gid: 0,
        });
    }
    for node in &dev.nodes {
        let mut at = 0;
        while let Some(slash) = node.path[at..].find('/') {
            let parent = c_string("device", &node.path[..at + slash])?;
            if !op.directories.iter().any(|(known, _)| *known == parent) {
                op.directories.push((parent, 0o755));
            }
            at += slash + 1;
        }
        let path = c_string("device", &node.path)?;
        if op.nodes.iter().any(|known| known.path == path) {
            continue;
        }
        let device = device_number(node.major, node.minor);
        op.nodes.push(NodeOp { path, mode: node.kind | node.mode, device, uid: node.uid, gid: node.gid });
    }
    if dev.bound {
        op.files.extend(op.nodes.drain(..).map(|node| node.path));
    }
    if dev.console {
        op.files.push(c"console".to_owned());
    }
    if dev.links {
        for (name, to) in [
            (c"fd", c"/proc/self/fd"),
            (c"stdin", c"/proc/self/fd/0"),
            (c"stdout", c"/proc/self/fd/1"),
            (c"stderr", c"/proc/self/fd/2"),
            (c"ptmx", c"pts/ptmx"),
        ] {
            op.links.push((name.to_owned(), to.to_owned()));
        }
    }
    Ok(op)
}

fn device_number(major: u32, minor: u32) -> u64 {
    rustix::fs::makedev(major, minor)
}

pub(super) fn time_offsets(offsets: TimeOffsets) -> String {
    let line = |clock: &str, (seconds, nanoseconds): (i64, u32)| format!("{clock} {seconds} {nanoseconds}\n");
    line("monotonic", offsets.monotonic) + &line("boottime", offsets.boottime)
}

/// The environment, with a place for `HOME` at the end if the user's entry is to fill it.
pub(super) fn environment(process: &Process) -> Result<(StringVector, bool), SpecError> {
    let mut env = Vec::with_capacity(process.env.len() + 1);
    for entry in &process.env {
        env.push(c_string("process.env", entry)?);
    }
    let has_home = process.env.iter().any(|entry| entry.starts_with("HOME=") && entry.len() > 5);
    let fill = !has_home && matches!(process.user, User::Lookup { .. });
    let vector = StringVector::new(env);
    Ok(if fill { (vector.with_reserved(c"HOME=/", HOME_CAPACITY), true) } else { (vector, false) })
}

/// `PATH`, joined with the program where that is a bare name: what execvp(3) would try, in order.
pub(super) fn search_path(process: &Process) -> Result<Vec<CString>, SpecError> {
    let program = process.args.first().map_or("", String::as_str);
    search_places(program, process.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")))
}

/// Where a program may be, `path` being what the environment has as `PATH`.
pub(crate) fn search_places(program: &str, path: Option<&str>) -> Result<Vec<CString>, SpecError> {
    if program.is_empty() {
        return Err(SpecError::NoProgram);
    }
    if program.contains('/') {
        return Ok(vec![c_string("process.args", program)?]);
    }
    path.unwrap_or(DEFAULT_PATH)
        .split(':')
        .map(|dir| c_string("process.env", &format!("{}/{program}", if dir.is_empty() { "." } else { dir })))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_relative_to_the_root_and_stay_below_it() {
        assert_eq!(target("/a//b/./c/").unwrap(), c"a/b/c".to_owned());
        for bad in ["a", "/", "/..", "/a/../b", "", "/./"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }
}
