//! `--device`: which nodes, where, and who may do what with them.

use std::path::Path;

use corten_runtime::spec::{Bind, BindIds, DeviceNode, Mount, MountSource, Spec};
use rustix::fs::{CWD, FileType, Mode};

use super::{Context, Unmade};
use crate::config::{Config, device::Access};
use crate::dirs::make_private;
use crate::error::{At, EngineError};

/// Deeper than /dev is anywhere.
const MAX_DEPTH: usize = 16;
/// What of a /dev that is given whole is no device.
const NOT_DEVICES: [&str; 5] = ["pts", "shm", "fd", "mqueue", ".lxc"];

/// One node of the host.
pub(super) struct Node {
    place: String,
    pub(super) kind: FileType,
    pub(super) major: u32,
    pub(super) minor: u32,
    mode: u32,
    pub(super) access: Access,
}

/// The nodes that the flags name; for a directory all below it.
pub(super) fn nodes(config: &Config) -> Result<Vec<Node>, EngineError> {
    let mut nodes = Vec::new();
    for device in &config.resources.devices {
        let before = nodes.len();
        let (host, place) = (Path::new(&device.host_path), device.container_path.trim_end_matches('/'));
        // The user's own path: links in it are followed, as far as it goes itself.
        let stat = rustix::fs::stat(host).at("stat", host)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            walk(host, place, device.access, 0, &mut nodes)?;
        } else {
            nodes.extend(node(&stat, place, device.access));
        }
        if nodes.len() == before {
            return Err(EngineError::refused(
                format!("--device {}", device.host_path),
                "it is not a device node, nor a directory with one",
            ));
        }
    }
    Ok(nodes)
}

fn node(stat: &rustix::fs::Stat, place: &str, access: Access) -> Option<Node> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    matches!(kind, FileType::CharacterDevice | FileType::BlockDevice).then(|| Node {
        place: place.to_owned(),
        kind,
        major: rustix::fs::major(stat.st_rdev),
        minor: rustix::fs::minor(stat.st_rdev),
        mode: stat.st_mode & 0o777,
        access,
    })
}

fn walk(
    dir: &Path,
    place: &str,
    access: Access,
    depth: usize,
    nodes: &mut Vec<Node>,
) -> Result<(), EngineError> {
    for entry in std::fs::read_dir(dir).at("opendir", dir)? {
        let name = entry.at("readdir", dir)?.file_name();
        let (path, name) = (dir.join(&name), name.to_string_lossy().into_owned());
        // One that went meanwhile is not there, and a link is no device.
        let Ok(stat) = rustix::fs::lstat(&path) else { continue };
        let place = format!("{place}/{name}");
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if depth < MAX_DEPTH && !NOT_DEVICES.contains(&name.as_str()) => {
                walk(&path, &place, access, depth + 1, nodes)?;
            }
            _ => nodes.extend(node(&stat, &place, access)),
        }
    }
    Ok(())
}

/// Those in /dev, which are made with it; for the others a mount each.
pub(super) fn places(
    config: &Config,
    context: &Context<'_>,
    spec: &Spec,
) -> Result<(Vec<DeviceNode>, Vec<Mount>), EngineError> {
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    if context.bound_devices {
        return Ok((inside, outside));
    }
    for (number, node) in nodes(config)?.into_iter().enumerate() {
        match node.place.strip_prefix("/dev/").filter(|path| !path.is_empty()) {
            Some(path) => inside.push(DeviceNode {
                path: path.to_owned(),
                kind: node.kind.as_raw_mode(),
                major: node.major,
                minor: node.minor,
                mode: node.mode,
                uid: 0,
                gid: 0,
            }),
            None => outside.push(elsewhere(&node, number, context, spec)?),
        }
    }
    Ok((inside, outside))
}

fn make(node: &Node, dir: &Path, path: &Path, owner: Option<(u32, u32)>) -> Result<(), EngineError> {
    make_private(dir)?;
    let device = rustix::fs::makedev(node.major, node.minor);
    rustix::fs::mknodat(CWD, path, node.kind, Mode::RUSR, device).at("mknod", path)?;
    if let Some((uid, gid)) = owner {
        let owner = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        rustix::fs::chown(path, Some(owner.0), Some(owner.1)).at("chown", path)?;
    }
    rustix::fs::chmod(path, Mode::from_raw_mode(node.mode)).at("chmod", path)
}

/// A node of the container's own, mounted at its place: the host's own belongs to nobody in the container.
fn elsewhere(node: &Node, number: usize, context: &Context<'_>, spec: &Spec) -> Result<Mount, EngineError> {
    let dir = context.container_dir.join("devices");
    let path = dir.join(number.to_string());
    let maps = spec.namespaces.user.maps();
    let owner = maps.and_then(|maps| Some((maps.host_user(0)?, maps.host_group(0)?)));
    match context.unmade {
        Some(unmade) => unmade.borrow_mut().push(Unmade::Node {
            path: path.clone(),
            kind: if node.kind == FileType::BlockDevice { 'b' } else { 'c' },
            major: node.major,
            minor: node.minor,
            mode: node.mode,
            owner,
        }),
        None => make(node, &dir, &path, owner)?,
    }
    let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(&dir);
    let flags = rustix::fs::statvfs(there).at("statvfs", there)?.f_flag;
    if flags.contains(rustix::fs::StatVfsMountFlags::NODEV) {
        return Err(EngineError::refused(
            format!("--device …:{}", node.place),
            format!("{} is mounted nodev; a place below /dev needs nothing of it", dir.display()),
        ));
    }
    Ok(Mount {
        target: node.place.clone(),
        source: MountSource::Bind(Bind { source: path, subpath: None, recursive: false, ids: BindIds::Host }),
        attributes: 0,
        recursive_attributes: false,
        propagation: 1 << 18,
    })
}
