//! Namespaces of other containers: `--network`, `--pid`, `--ipc` and `--userns container:NAME`.
//!
//! A namespace belongs to the user namespace that it was made in, and only a process of that one can mount
//! /proc, /sys or mqueue for it, or bind its low ports. So who joins a namespace of a container joins its
//! user namespace too, and has its block of ids, unless it has the host's.
//!
//! The files are named by process id. The other's pidfd is held meanwhile: while it has not ended, the
//! number is its.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use corten_runtime::spec::{IdMaps, IdRange, Mount, MountSource, Namespace, UserNamespace};
use corten_sys::mount::attr;

use crate::config::{Config, IpcMode, NetworkMode, PidMode, UsernsMode};
use crate::container::{self, Container};
use crate::dirs::Dirs;
use crate::error::{At, EngineError};
use crate::lease::Lease;

/// A running container of which something is joined.
struct Other {
    container: Container,
    pidfd: OwnedFd,
    user_ns: (u64, u64),
}

/// What is joined, resolved.
#[derive(Default)]
pub(crate) struct Joins {
    others: Vec<Other>,
    pub(crate) pid: Option<Namespace>,
    pub(crate) ipc: Option<Namespace>,
    pub(crate) network: Option<Namespace>,
    /// The user namespace that comes with them.
    pub(crate) user: Option<UserNamespace>,
    ipc_of: Option<usize>,
    network_of: Option<usize>,
}

fn file(pid: i32, kind: &str) -> PathBuf {
    format!("/proc/{pid}/ns/{kind}").into()
}

fn identity(path: &PathBuf) -> Result<(u64, u64), EngineError> {
    std::fs::metadata(path).map(|stat| (stat.dev(), stat.ino())).at("stat", path)
}

impl Joins {
    /// Finds the containers; in `config` their ids take the place of what the user called them.
    pub(crate) fn find(dirs: &Dirs, config: &mut Config) -> Result<Self, EngineError> {
        let mut joins = Self::default();
        let network = config.networks.first_mut().map(|network| &mut network.mode);
        if let Some(NetworkMode::Container(name)) = network {
            let at = joins.add(dirs, name, "network")?;
            joins.network = Some(joins.namespace(at, "net")?);
            joins.network_of = Some(at);
        }
        if let Some(PidMode::Container(name)) = &mut config.pid {
            let at = joins.add(dirs, name, "PID namespace")?;
            joins.pid = Some(joins.namespace(at, "pid")?);
        }
        if let Some(IpcMode::Container(name)) = &mut config.ipc {
            let at = joins.add(dirs, name, "IPC namespace")?;
            match joins.others[at].container.record.config.ipc {
                Some(IpcMode::Shareable | IpcMode::Host | IpcMode::Container(_)) => {}
                _ => {
                    let why = "non-shareable IPC (hint: use IpcMode:shareable for the donor container)";
                    return Err(joins.refuse(at, "IPC namespace", why));
                }
            }
            joins.ipc = Some(joins.namespace(at, "ipc")?);
            joins.ipc_of = Some(at);
        }
        let asked = match &mut config.userns {
            Some(UsernsMode::Container(name)) => Some(joins.add(dirs, name, "user namespace")?),
            _ => None,
        };
        joins.user = joins.user_namespace(config, asked)?;
        joins.check()?;
        Ok(joins)
    }

    fn refuse(&self, at: usize, what: &'static str, why: &str) -> EngineError {
        let name = self.others[at].container.record.name.clone();
        EngineError::Join { what, name, why: why.to_owned() }
    }

    fn add(&mut self, dirs: &Dirs, name: &mut String, what: &'static str) -> Result<usize, EngineError> {
        let container = container::find(dirs, name)?;
        let id = container.record.id.clone();
        if let Some(at) = self.others.iter().position(|other| other.container.record.id == id) {
            *name = id;
            return Ok(at);
        }
        let ended =
            || EngineError::Join { what, name: name.clone(), why: format!("container {id} is not running") };
        let pidfd = container::process(&container.state)?.ok_or_else(ended)?;
        let user_ns = identity(&file(container.state.pid, "user"))?;
        *name = id;
        self.others.push(Other { container, pidfd, user_ns });
        Ok(self.others.len() - 1)
    }

    /// The namespace of a container; the host's is called so.
    fn namespace(&self, at: usize, kind: &str) -> Result<Namespace, EngineError> {
        let path = file(self.others[at].container.state.pid, kind);
        let hosts = identity(&PathBuf::from("/proc/self/ns").join(kind))?;
        Ok(if identity(&path)? == hosts { Namespace::Host } else { Namespace::Join(path) })
    }

    fn user_namespace(
        &self,
        config: &Config,
        asked: Option<usize>,
    ) -> Result<Option<UserNamespace>, EngineError> {
        let host = crate::resolve::shares_user_namespace(config);
        if host && asked.is_some() {
            return Err(EngineError::Conflict("--userns container:… and --privileged or --pid host"));
        }
        let Some(first) = self.others.get(asked.unwrap_or(0)) else { return Ok(None) };
        if host {
            // The host's root may join any.
            return Ok(Some(UserNamespace::Host));
        }
        if let Some(at) = self.others.iter().position(|other| other.user_ns != first.user_ns) {
            let name = &first.container.record.name;
            let why = format!("its user namespace is not that of container {name}; --userns host joins both");
            return Err(self.refuse(at, "namespaces", &why));
        }
        let hosts = identity(&PathBuf::from("/proc/self/ns/user"))?;
        if first.user_ns == hosts {
            return Ok(Some(UserNamespace::Host));
        }
        let pid = first.container.state.pid;
        let maps = IdMaps { users: ranges(pid, "uid_map")?, groups: ranges(pid, "gid_map")? };
        Ok(Some(UserNamespace::Join(file(pid, "user"), maps)))
    }

    /// That what was read by number was the containers'.
    fn check(&self) -> Result<(), EngineError> {
        for (at, other) in self.others.iter().enumerate() {
            if container::has_ended(&other.pidfd)? {
                return Err(self.refuse(at, "namespaces", "it has just ended"));
            }
        }
        Ok(())
    }

    /// The containers.
    pub(crate) fn containers(&self) -> impl Iterator<Item = &Container> {
        self.others.iter().map(|other| &other.container)
    }

    /// Whether they come with a user namespace other than the host's.
    pub(crate) fn user_maps(&self) -> bool {
        matches!(self.user, Some(UserNamespace::Join(..)))
    }

    /// The one whose block of ids comes with its user namespace.
    pub(crate) fn owner(&self) -> Option<&Container> {
        self.containers().find(|container| container.state.first_id != 0)
    }

    /// The block of ids of a container with these joins: its own, the other's, or none on the host's.
    pub(crate) fn lease(&self, dirs: &Dirs, id: &str) -> Result<Option<Lease>, EngineError> {
        match &self.user {
            None => Lease::take(dirs, id).map(Some),
            Some(UserNamespace::Join(..)) => {
                let Some(Container { record, state }) = self.owner() else { return Ok(None) };
                let lease = Lease::join(dirs, id, &record.id, state.first_id)?;
                self.check()?;
                Ok(Some(lease))
            }
            Some(_) => Ok(None),
        }
    }

    /// The processes that must still be there when the namespaces have been opened.
    pub(crate) fn into_pidfds(self) -> Vec<OwnedFd> {
        self.others.into_iter().map(|other| other.pidfd).collect()
    }

    /// The host name that comes with a joined network.
    pub(crate) fn hostname(&self) -> Option<(String, Option<String>)> {
        let record = &self.others[self.network_of?].container.record;
        let name = record.config.hostname.clone().unwrap_or_else(|| record.id[..12].to_owned());
        Some((name, record.config.domainname.clone()))
    }

    /// /dev/shm of the container whose IPC namespace is joined.
    pub(crate) fn shm(&self) -> Option<Mount> {
        let attributes = attr::NOSUID | attr::NODEV | attr::NOEXEC;
        self.ipc_of.map(|at| self.taken(at, "/dev/shm", attributes))
    }

    /// /etc/hosts and the like of the container whose network is joined.
    pub(crate) fn network_file(&self, path: &str) -> Option<Mount> {
        self.network_of.map(|at| self.taken(at, path, 0))
    }

    fn taken(&self, at: usize, path: &str, attributes: u64) -> Mount {
        let namespace = file(self.others[at].container.state.pid, "mnt");
        Mount {
            target: path.to_owned(),
            source: MountSource::FromContainer { namespace, path: path.to_owned() },
            attributes,
            recursive_attributes: false,
            propagation: 0,
        }
    }
}

/// The pidfds as the runtime takes them.
pub(crate) fn borrowed(pidfds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    pidfds.iter().map(AsFd::as_fd).collect()
}

/// A map of ids as the host sees it.
pub(crate) fn ranges(pid: i32, kind: &str) -> Result<Vec<IdRange>, EngineError> {
    let path = PathBuf::from(format!("/proc/{pid}/{kind}"));
    let text = std::fs::read_to_string(&path).at("read", &path)?;
    let range = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<u32>().ok());
        let (inside, outside, size) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some(IdRange { inside, outside, size })
    };
    text.lines()
        .map(range)
        .collect::<Option<_>>()
        .ok_or(EngineError::Record { path, reason: "not a map of ids".to_owned() })
}
