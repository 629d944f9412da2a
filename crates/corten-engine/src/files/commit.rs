//! `commit`: an image of the container's image and one more layer, what the container changed.
//!
//! The tar of the layer is made here and taken by the store as any other: so the image appears whole or not
//! at all. A container that runs is frozen while its files are read. A process of its own thaws it, however
//! this one ends.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use corten_oci::image::config::Empty;
use corten_oci::{Config as ImageDefaults, ImageConfig, Reference};
use corten_store::Store;
use corten_sys::clone::{Child, fork};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use super::diff::refuse_host;
use super::paths::{Found, Tree};
use super::read::Packer;
use crate::config::MountSource;
use crate::container;
use crate::dirs::Dirs;
use crate::error::{At, EngineError};
use crate::events::{Actor, Journal};
use crate::record::{Record, now_ns};

/// Whether the container stands still meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pause {
    /// If it has a cgroup to be frozen with.
    #[default]
    IfPossible,
    /// Or it fails.
    Yes,
    /// It runs on: files may be torn.
    No,
}

/// What the image is to be.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// Its name.
    pub reference: Option<Reference>,
    /// Who made it.
    pub author: Option<String>,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// The history's comment.
    pub message: Option<String>,
    /// Whether the container stands still.
    pub pause: Pause,
}

/// Makes the image; its id.
///
/// # Errors
/// The image `host`; an image that is gone; what the store says.
pub fn commit(dirs: &mut Dirs, name: &str, options: &CommitOptions) -> Result<String, EngineError> {
    let container = container::find(dirs, name)?;
    let record = &container.record;
    refuse_host(record)?;
    // One that does not run must not start or go meanwhile.
    let hold = if container.state.is_alive() { None } else { super::visit::hold_stopped(dirs, &record.id)? };
    let still = if hold.is_none() { freeze(record, options.pause)? } else { None };
    dirs.enter()?;
    let done = make(dirs, &container::find(dirs, &record.id)?.record, options, still);
    if let Ok(id) = &done {
        tell(dirs, record, id, options);
    }
    if let Some(hold) = hold {
        crate::collect::remove_tree(dirs, &dirs.live(&record.id))?;
        drop(hold);
    }
    done
}

fn tell(dirs: &Dirs, record: &Record, id: &str, options: &CommitOptions) {
    let name = options.reference.as_ref().map(Reference::familiar).unwrap_or_default();
    let comment = options.message.as_deref().unwrap_or_default();
    let attributes = [("comment", comment), ("imageID", id), ("imageRef", name.as_str())];
    let lines = Actor::container(record).lines(&[("commit", &attributes, now_ns())]);
    let tagged = options.reference.as_ref().map(|_| Actor::image(id, &name).lines(&[("tag", &[], now_ns())]));
    Journal::open(dirs).write(&(tagged.unwrap_or_default() + &lines));
}

fn make(
    dirs: &Dirs,
    record: &Record,
    options: &CommitOptions,
    still: Option<Still>,
) -> Result<String, EngineError> {
    let store = Store::open(&dirs.root)?;
    let base = store.resolve(&record.image_id, None)?;
    let mut config = config(&base.config, record);
    for change in &options.changes {
        corten_store::import::apply(&mut config, change).map_err(corten_store::StoreError::from)?;
    }
    let upper = dirs.container(&record.id).join("upper");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&upper, flags, Mode::empty()).at("open", &upper)?;
    let found = Found { fd, kind: FileType::Directory };
    let tree = Tree::of_host()?;
    let new = corten_store::Commit {
        reference: options.reference.clone(),
        author: options.author.clone().filter(|author| !author.is_empty()),
        message: options.message.clone().filter(|message| !message.is_empty()),
        created_by: record.args.join(" "),
        config,
    };
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).at("pipe", "commit")?;
    let (packed, made) = std::thread::scope(|scope| {
        let pack = move || {
            let mut packer = Packer::of_layer(&tree, File::from(write), "the layer");
            packer.add(&found, b".", Path::new("/"))?;
            let packed = packer.finish().map(drop);
            // All is read: the container may go on.
            still.map_or(Ok(()), Still::end)?;
            packed
        };
        // A thread that cannot be had is no bug: what the closure holds goes, and the container is thawed.
        let packer = std::thread::Builder::new().spawn_scoped(scope, pack).at("clone", "commit")?;
        let made = store.commit(&base, &mut Ended { input: File::from(read), whole: false }, &new);
        let packed = packer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok::<_, EngineError>((packed, made))
    })?;
    match (packed, made) {
        // The store ended the pipe and has the reason.
        (Err(EngineError::Call { errno: rustix::io::Errno::PIPE, .. }), Err(error)) => Err(error.into()),
        (Err(error), _) => Err(error),
        (Ok(()), made) => Ok(made?.id.to_string()),
    }
}

/// A tar that is cut short is an error, not the end: the thread that makes it may fail.
struct Ended {
    input: File,
    whole: bool,
}

impl std::io::Read for &mut Ended {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = std::io::Read::read(&mut self.input, buffer)?;
        if count == 0 {
            return match self.whole {
                true => Ok(0),
                false => Err(std::io::Error::other("the layer could not be read to its end")),
            };
        }
        // Every tar of ours ends with its two blocks of zeros, and nothing else ends so.
        self.whole = buffer[..count].iter().rev().take(1024).all(|byte| *byte == 0);
        Ok(count)
    }
}

/// A container that stands still.
struct Still {
    guard: Child,
    ours: OwnedFd,
    cgroup: corten_cgroup::Cgroup,
}

impl Still {
    fn end(self) -> Result<(), EngineError> {
        drop(self.ours);
        match corten_sys::wait::wait_pidfd(self.guard.pidfd.as_fd()) {
            Ok(exit) if exit.shell_code() == 0 => Ok(()),
            // It was killed itself, or failed.
            _ => Ok(self.cgroup.thaw()?),
        }
    }
}

fn freeze(record: &Record, pause: Pause) -> Result<Option<Still>, EngineError> {
    if pause == Pause::No {
        return Ok(None);
    }
    if record.cgroup.is_none() {
        let why = "the container has no cgroup, so it cannot be frozen; --pause=false goes without";
        return if pause == Pause::Yes { Err(EngineError::refused("--pause", why)) } else { Ok(None) };
    }
    let cgroup = container::needed_cgroup(record, "--pause")?;
    if cgroup.is_frozen()? {
        // Paused by its user, whose it is to end that.
        return Ok(None);
    }
    let (read, ours) = pipe_with(PipeFlags::CLOEXEC).at("pipe", "thaw")?;
    // There before anything is frozen.
    let guard = fork(|| {
        corten_sys::fd::close_copy(ours.as_fd());
        // What ends this process's group does not end it before its work is done.
        let _same = rustix::process::setsid();
        while let Err(rustix::io::Errno::INTR) = rustix::io::read(&read, &mut [0u8; 1]) {}
        i32::from(cgroup.thaw().is_err())
    })
    .at("fork", "thaw")?;
    let still = Still { guard, ours, cgroup };
    match still.cgroup.freeze() {
        Ok(()) => Ok(Some(still)),
        Err(error) => {
            still.end()?;
            Err(error.into())
        }
    }
}

/// The image's defaults with what the container was made with.
fn config(image: &ImageConfig, record: &Record) -> ImageDefaults {
    let wanted = &record.config;
    let mut config = image.config.clone();
    if let Some(entrypoint) = &wanted.entrypoint {
        // Another program: the image's words are not for it.
        config.entrypoint = Some(entrypoint.clone());
        config.cmd = None;
    }
    if !wanted.command.is_empty() {
        config.cmd = Some(wanted.command.clone());
    }
    // What every container is given is not the image's.
    for entry in &record.env {
        let name = entry.split('=').next().unwrap_or_default();
        let prefix = format!("{name}=");
        let said = wanted.env.iter().any(|variable| variable.name == name);
        match config.env.iter_mut().find(|known| known.starts_with(&prefix)) {
            Some(known) if said => known.clone_from(entry),
            None if said || name == "PATH" => config.env.push(entry.clone()),
            _ => {}
        }
    }
    if wanted.user.is_some() {
        config.user.clone_from(&record.user);
    }
    if let Some(workdir) = &wanted.workdir {
        config.working_dir.clone_from(workdir);
    }
    config.labels.extend(wanted.labels.clone());
    for port in &wanted.exposed_ports {
        config.exposed_ports.insert(format!("{}/{}", port.port, port.protocol.as_str()), Empty {});
    }
    for mount in &wanted.mounts {
        if matches!(&mount.source, MountSource::Volume(volume) if volume.anonymous) {
            config.volumes.insert(mount.target.clone(), Empty {});
        }
    }
    if wanted.stop_signal.is_some() {
        config.stop_signal.clone_from(&wanted.stop_signal);
    }
    if let Some(health) = &wanted.health {
        config.healthcheck = Some(health.to_image());
    }
    if wanted.stop_timeout_s.is_some() {
        config.stop_timeout = wanted.stop_timeout_s.map(i64::from);
    }
    config
}
