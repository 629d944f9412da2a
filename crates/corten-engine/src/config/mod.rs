//! `Config`: what came over an edge for one container, typed and all optional.
//!
//! It is stored in the container's record. Each file below is one concept with its type, the parser of
//! Docker's syntax for it, and its errors, which are worded as Docker words them where people match on
//! them. Nothing here does I/O or reads the environment; files and host values are handed in as text.
//!
//! An absent value means "not said": the image's word or the engine's default holds.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub mod blkio;
pub mod capability;
pub mod cgroup_manager;
pub mod cpus;
mod csv;
pub mod device;
pub mod duration;
pub mod env;
pub mod health;
pub mod host_entry;
pub mod init;
pub mod label;
pub mod log;
pub mod mount;
pub mod name;
pub mod namespace;
pub mod port;
pub mod pull;
pub mod resources;
pub mod restart;
pub mod security_opt;
pub mod since;
pub mod size;
pub mod stream;
pub mod time_offset;
pub mod ulimit;
pub mod user;

pub use capability::{Capability, CapabilityArg};
pub use cgroup_manager::CgroupManager;
pub use device::{Device, DeviceCgroupRule};
pub use env::EnvVar;
pub use health::{Health, HealthTest};
pub use host_entry::{HostAddress, HostEntry};
pub use init::Init;
pub use log::Log;
pub use mount::{Mount, MountSource, Propagation};
pub use namespace::{CgroupnsMode, IpcMode, NetworkAttachment, NetworkMode, PidMode, UsernsMode, UtsMode};
pub use port::{ExposedPort, PortMapping};
pub use pull::PullPolicy;
pub use resources::Resources;
pub use restart::Restart;
pub use security_opt::{Seccomp, SecurityOpts};
pub use stream::Stream;
pub use time_offset::TimeOffset;
pub use ulimit::Ulimit;
pub use user::{IdOrName, User};

/// Everything that `docker run` can say about one container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// As typed; `host` is the machine itself.
    pub image: String,
    /// Absent: the engine makes one up.
    pub name: Option<String>,
    /// `os/arch[/variant]`.
    pub platform: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,

    // The process.
    /// `Some([])` takes the image's entrypoint away (`--entrypoint ""`).
    pub entrypoint: Option<Vec<String>>,
    /// What follows IMAGE; empty: the image's command.
    pub command: Vec<String>,
    /// In order; a later one of the same name wins.
    pub env: Vec<EnvVar>,
    pub workdir: Option<String>,
    pub user: Option<User>,
    pub group_add: Vec<IdOrName>,
    pub tty: bool,
    /// Standard input stays open (`-i`).
    pub interactive: bool,
    /// `-a`; empty: what Docker attaches by default.
    pub attach: Vec<Stream>,
    pub init: Option<Init>,
    pub stop_signal: Option<String>,
    pub stop_timeout_s: Option<i32>,

    // What it sees.
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub add_hosts: Vec<HostEntry>,
    pub dns: Vec<IpAddr>,
    pub dns_options: Vec<String>,
    pub dns_search: Vec<String>,
    pub mounts: Vec<Mount>,
    pub volumes_from: Vec<String>,
    pub volume_driver: Option<String>,
    pub shm_size_bytes: Option<u64>,
    pub read_only: bool,
    pub storage_opts: BTreeMap<String, String>,
    pub sysctls: BTreeMap<String, String>,

    // Isolation.
    pub pid: Option<PidMode>,
    pub ipc: Option<IpcMode>,
    pub uts: Option<UtsMode>,
    pub userns: Option<UsernsMode>,
    pub cgroupns: Option<CgroupnsMode>,
    /// A time namespace with these offsets (Corten's own).
    pub time_offset: Option<TimeOffset>,
    pub networks: Vec<NetworkAttachment>,
    pub ports: Vec<PortMapping>,
    pub exposed_ports: Vec<ExposedPort>,
    pub publish_all: bool,
    pub privileged: bool,
    pub cap_add: Vec<CapabilityArg>,
    pub cap_drop: Vec<CapabilityArg>,
    pub security_opts: SecurityOpts,
    pub resources: Resources,
    pub cgroup_manager: CgroupManager,

    // Its life.
    /// Remove it when it ends (`--rm`).
    pub auto_remove: bool,
    pub restart: Option<Restart>,
    pub health: Option<Health>,
    pub log: Log,
    pub runtime: Option<String>,
}

/// Go's strconv.ParseBool.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_disk() {
        let config = Config {
            image: "busybox".into(),
            mounts: vec![Mount::parse_volume("/a:/b:ro").unwrap(), Mount::parse_tmpfs("/t").unwrap()],
            cap_add: vec![CapabilityArg::All, CapabilityArg::parse("net_admin").unwrap()],
            user: Some(User::parse("1:adm").unwrap()),
            networks: vec![NetworkAttachment::parse("container:x").unwrap()],
            restart: Some(Restart::OnFailure { max_retries: 3 }),
            resources: Resources {
                ulimits: vec![Ulimit::parse("nofile=1").unwrap()],
                ..Resources::default()
            },
            ..Config::default()
        };
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
        // A record of an older version lacks the newer fields.
        assert_eq!(serde_json::from_str::<Config>("{}").unwrap(), Config::default());
    }
}
