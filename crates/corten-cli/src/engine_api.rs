//! What the commands need of the engine. Thin and typed; the engine's own API takes its place.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use corten_engine::config::{Config, PullPolicy};
use corten_engine::exec::ExecConfig;
pub use corten_engine::files::Copied;
use corten_engine::log::read::{Output, Show};
use corten_engine::stats::Usage;
use corten_engine::top::Top;
pub use corten_engine::update::Update;
use corten_engine::volume::Pruned;
use serde_json::Value;

use crate::report::Report;

/// Where the state is; absent is the engine's default for this user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineOptions {
    pub root: Option<PathBuf>,
    pub run_root: Option<PathBuf>,
    /// The parent of an ordinary user's root.
    pub data_home: Option<PathBuf>,
    /// `PATH`.
    pub search: Vec<PathBuf>,
    pub debug: bool,
    /// Absent: what suits this user and machine.
    pub cgroup_manager: Option<corten_cgroup::Driver>,
    /// D-Bus addresses of the system's bus and of the user's own.
    pub system_bus: Option<String>,
    pub user_bus: Option<String>,
}

pub trait Engine {
    /// Creates and starts a container. In the foreground it returns when the container's process ended.
    fn run(&mut self, config: Config, options: RunOptions) -> Result<RunOutcome, Report>;

    /// Makes sure that no container can write to this program's file, if need be by executing this very command
    /// again from a mount that nobody can write to: before anything was read. `host_root`: root in the container
    /// has rights on the machine's own files.
    fn seal(&mut self, host_root: bool) -> Result<(), Report>;

    /// Creates a container and does not start it; its id.
    fn create(&mut self, config: Config, options: RunOptions) -> Result<String, Report>;

    /// Does something with a container that exists.
    fn control(&mut self, name: &str, action: Control) -> Result<Controlled, Report>;

    /// All containers, newest first; sizes only if asked for, they cost a walk.
    fn containers(&mut self, size: bool) -> Result<Vec<ContainerSummary>, Report>;

    /// By name, id, or a unique beginning of an id.
    fn remove_container(&mut self, name: &str, options: RemoveContainer) -> Result<(), Report>;

    /// One entry a tag, newest first.
    fn images(&mut self) -> Result<Vec<ImageSummary>, Report>;

    /// Removes those that are chosen; what went, and the bytes that they took.
    fn prune_images(
        &mut self,
        chosen: &dyn Fn(&ImageSummary) -> bool,
    ) -> Result<(Vec<ImageRemoval>, u64), Report>;

    fn remove_image(&mut self, reference: &str, options: &RemoveImage) -> Result<Vec<ImageRemoval>, Report>;

    /// The new image's id, `sha256:…`.
    fn import(&mut self, request: Import) -> Result<String, Report>;

    fn load(&mut self, request: Load) -> Result<Vec<Loaded>, Report>;

    /// What `docker inspect` shows; `None`: there is no such container.
    fn inspect_container(&mut self, name: &str, size: bool) -> Result<Option<Value>, Report>;

    fn inspect_image(&mut self, name: &str, platform: Option<&str>) -> Result<Option<Value>, Report>;

    /// The name of the volume, which may have been there before; `None`: one is made up.
    fn create_volume(
        &mut self,
        name: Option<&str>,
        labels: BTreeMap<String, String>,
    ) -> Result<String, Report>;

    /// All volumes, by name.
    fn volumes(&mut self) -> Result<Vec<VolumeSummary>, Report>;

    /// What `docker volume inspect` shows; `None`: there is no such volume.
    fn inspect_volume(&mut self, name: &str) -> Result<Option<Value>, Report>;

    /// With `force` one that is not there is no error.
    fn remove_volume(&mut self, name: &str, force: bool) -> Result<(), Report>;

    /// Removes those that no container uses and that are chosen.
    fn prune_volumes(&mut self, chosen: &dyn Fn(&VolumeSummary) -> bool) -> Result<Pruned, Report>;

    /// What `corten doctor` tells.
    fn doctor(&mut self) -> Result<Doctor, Report>;

    /// As `GET /info`.
    fn info(&mut self) -> Result<Value, Report>;

    /// Runs one more process in a container; in the foreground it returns when that ended.
    fn exec(&mut self, container: &str, config: ExecConfig) -> Result<RunOutcome, Report>;
    /// Hands out what a container wrote.
    fn logs(&mut self, name: &str, show: &Show, output: Output<'_>) -> Result<(), Report>;

    /// Shows events from `since_ns` (absent: from now) until `until_ns` (absent: for ever), or until `visit`
    /// says false.
    fn events(
        &mut self,
        since_ns: Option<i128>,
        until_ns: Option<i128>,
        visit: Visit<'_>,
    ) -> Result<(), Report>;

    /// What these containers use; without names all that run, or all.
    fn usage(&mut self, names: &[String], all: bool) -> Result<Vec<ContainerUsage>, Report>;

    /// The processes of a container, as ps shows them.
    fn top(&mut self, name: &str, options: &[String]) -> Result<Top, Report>;

    /// `corten internal …`: the engine's own processes.
    fn internal(&mut self, args: Vec<OsString>) -> Result<u8, Report>;

    /// Between a container and this machine; `progress` is told how many bytes have passed.
    fn copy(&mut self, request: &Copy, progress: &mut dyn FnMut(u64)) -> Result<Copied, Report>;

    /// A tar of its root file system.
    fn export(&mut self, name: &str, to: OwnedFd) -> Result<(), Report>;

    /// What it changed: `A`, `C` or `D`, and the path.
    fn diff(&mut self, name: &str) -> Result<Vec<(char, PathBuf)>, Report>;

    /// The new image's id, `sha256:…`.
    fn commit(&mut self, request: Commit) -> Result<String, Report>;

    fn rename_container(&mut self, name: &str, new: &str) -> Result<(), Report>;

    /// What was changed, for warnings.
    fn update_container(&mut self, name: &str, update: &Update) -> Result<(), Report>;

    /// Removes those that do not run and are chosen; their ids and the bytes that they took.
    fn prune_containers(&mut self, chosen: &dyn Fn(&ContainerSummary) -> bool) -> Result<Pruned, Report>;

    /// How an image came about, the last step first.
    fn image_history(&mut self, name: &str, platform: Option<&str>) -> Result<Vec<ImageStep>, Report>;

    /// One more name for an image.
    fn tag_image(&mut self, source: &str, target: &str) -> Result<(), Report>;
}

/// `cp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    pub direction: CopyDirection,
    pub container: String,
    /// In the container.
    pub path: PathBuf,
    /// `None`: a tar, from standard input or to standard output.
    pub local: Option<PathBuf>,
    pub archive: bool,
    pub follow_link: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyDirection {
    In,
    Out,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    pub container: String,
    pub reference: Option<String>,
    pub author: Option<String>,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    pub message: Option<String>,
    /// `None`: if it can be.
    pub pause: Option<bool>,
}

/// What is done with an event; false: no more.
pub type Visit<'a> = &'a mut dyn FnMut(&Value) -> Result<bool, Report>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerUsage {
    pub id: String,
    pub name: String,
    /// As it was asked for.
    pub asked: String,
    /// `None`: it does not run.
    pub usage: Option<Usage>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunOptions {
    pub detach: bool,
    /// Print the plan as a shell script and start nothing.
    pub explain: bool,
    pub pull: PullPolicy,
    pub quiet: bool,
    /// Written when the container exists; must not exist before.
    pub cidfile: Option<PathBuf>,
    pub sig_proxy: bool,
    pub detach_keys: Option<String>,
}

/// What was found on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doctor {
    pub host: Vec<DoctorFinding>,
    /// A line for each container that something is under way with.
    pub live: Vec<String>,
    /// What no record owns.
    pub leftovers: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoctorFinding {
    /// `ok`, `note`, `LACK`.
    pub mark: &'static str,
    pub what: &'static str,
    pub text: String,
}

/// What is done with a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// With [`Attach`] in the foreground.
    Start(Option<Attach>),
    /// Signal and seconds, if they are not the container's own.
    Stop {
        signal: Option<i32>,
        timeout_s: Option<i32>,
    },
    Restart {
        signal: Option<i32>,
        timeout_s: Option<i32>,
    },
    Kill {
        signal: i32,
    },
    Pause,
    Unpause,
    Wait,
    Attach(Attach),
}

/// How a command takes part in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attach {
    pub input: bool,
    pub sig_proxy: bool,
    pub detach_keys: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Controlled {
    Done,
    /// It ended; its exit code.
    Exited {
        code: i32,
        oom_killed: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutcome {
    /// The exit code as the client has to give it on: the process's own, or 128+n.
    Exited {
        code: u8,
        /// The kernel killed in it because its memory limit was reached.
        oom_killed: bool,
    },
    /// Detached; the id.
    Started(String),
    /// It runs, and the user left it by the detach keys.
    Detached,
    /// The shell script of `--explain`.
    Explained(String),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveContainer {
    pub force: bool,
    /// Its anonymous volumes too.
    pub volumes: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoveImage {
    pub force: bool,
    pub no_prune: bool,
    pub platforms: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageRemoval {
    Untagged(String),
    Deleted(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Import {
    /// `None`: standard input.
    pub file: Option<PathBuf>,
    pub reference: Option<String>,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    pub message: Option<String>,
    pub platform: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Load {
    /// A tar or a directory; `None`: standard input.
    pub input: Option<PathBuf>,
    pub platforms: Vec<String>,
    pub quiet: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeSummary {
    pub name: String,
    /// The directory that containers see, on the host.
    pub mountpoint: String,
    pub labels: BTreeMap<String, String>,
    pub anonymous: bool,
    /// How many use it; counted for lists only.
    pub containers: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    Tagged(String),
    Untagged(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerSummary {
    pub id: String,
    pub name: String,
    /// As it was named when the container was made.
    pub image: String,
    pub image_id: String,
    /// The whole command, as one would type it.
    pub command: String,
    /// Seconds since 1970.
    pub created_s: i64,
    pub state: ContainerState,
    /// `healthy`, `unhealthy`, `starting`.
    pub health: Option<String>,
    /// `0.0.0.0:80->80/tcp`.
    pub ports: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// Names of volumes, paths of binds.
    pub mounts: Vec<String>,
    /// How many of them are volumes.
    pub local_volumes: u32,
    pub networks: Vec<String>,
    /// Where volumes and binds are in it.
    pub targets: Vec<String>,
    /// Ports that its image or user exposes, with the protocol.
    pub exposed: Vec<(u16, String)>,
    pub size_rw_bytes: Option<u64>,
    pub size_root_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ContainerState {
    #[default]
    Created,
    Running {
        started_s: i64,
    },
    Paused {
        started_s: i64,
    },
    Restarting {
        code: i32,
        since_s: i64,
    },
    Removing,
    Exited {
        code: i32,
        finished_s: i64,
    },
    Dead,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageSummary {
    /// `sha256:…`.
    pub id: String,
    /// As the user sees it: without docker.io/library.
    pub repository: Option<String>,
    pub tag: Option<String>,
    pub digest: Option<String>,
    pub created_s: i64,
    pub size_bytes: u64,
    pub labels: BTreeMap<String, String>,
    pub containers: Option<u32>,
}

/// A step of an image's history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageStep {
    /// Of the image itself; only the last step has one.
    pub id: Option<String>,
    pub created_s: Option<i64>,
    pub created_by: String,
    pub comment: String,
    pub size_bytes: u64,
}
