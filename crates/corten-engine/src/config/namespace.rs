//! `--pid`, `--ipc`, `--uts`, `--userns`, `--cgroupns`, `--network`: which namespaces are the container's
//! own. `None` in the configuration is the default: a namespace of its own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamespaceError {
    #[error("--pid: invalid PID mode")]
    Pid,
    #[error("--ipc: invalid IPC mode")]
    Ipc,
    #[error("--uts: invalid UTS mode")]
    Uts,
    #[error("--userns: invalid USER mode")]
    User,
    #[error("--cgroupns: invalid CGROUP mode")]
    Cgroup,
    #[error("invalid container format container:<name|id>")]
    Container,
    #[error("invalid network name {0:?}")]
    Network(String),
    #[error("invalid field {0:?}: must be a key=value pair")]
    NetworkField(String),
    #[error("invalid field key {0}")]
    NetworkKey(String),
    #[error("network name/id is not specified")]
    NetworkName,
    #[error("invalid {key} {value:?} for a network")]
    NetworkValue { key: &'static str, value: String },
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PidMode {
    #[default]
    Private,
    Host,
    Container(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IpcMode {
    /// A namespace of its own, without /dev/shm.
    None,
    #[default]
    Private,
    /// As private, and `container:` may join it.
    Shareable,
    Host,
    Container(String),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UtsMode {
    #[default]
    Private,
    Host,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsernsMode {
    /// A block of ids of its own.
    #[default]
    Auto,
    Host,
    /// The user namespace of another container, with its block.
    Container(String),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupnsMode {
    #[default]
    Private,
    Host,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// Nothing was said, or `default`.
    #[default]
    Default,
    None,
    Host,
    Bridge,
    Container(String),
    Named(String),
}

/// One `--network`, with what the long form and `--ip`, `--network-alias` … add to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkAttachment {
    pub mode: NetworkMode,
    pub aliases: Vec<String>,
    pub links: Vec<String>,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub link_local_ips: Vec<String>,
    pub mac_address: Option<String>,
    pub driver_opts: BTreeMap<String, String>,
    pub gw_priority: Option<i32>,
}

/// The name after `container:`, if that is what the text says.
fn container(text: &str) -> Option<Result<String, NamespaceError>> {
    let name = text.strip_prefix("container:")?;
    Some(if name.is_empty() { Err(NamespaceError::Container) } else { Ok(name.to_owned()) })
}

impl PidMode {
    pub fn parse(text: &str) -> Result<Self, NamespaceError> {
        match text {
            "" | "private" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            _ => container(text).unwrap_or(Err(NamespaceError::Pid)).map(Self::Container),
        }
    }
}

impl IpcMode {
    pub fn parse(text: &str) -> Result<Self, NamespaceError> {
        match text {
            "none" => Ok(Self::None),
            "" | "private" => Ok(Self::Private),
            "shareable" => Ok(Self::Shareable),
            "host" => Ok(Self::Host),
            _ => container(text).unwrap_or(Err(NamespaceError::Ipc)).map(Self::Container),
        }
    }
}

impl UtsMode {
    pub fn parse(text: &str) -> Result<Self, NamespaceError> {
        match text {
            "" | "private" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            _ => Err(NamespaceError::Uts),
        }
    }
}

impl UsernsMode {
    /// `private` is Docker's word for a namespace of its own.
    pub fn parse(text: &str) -> Result<Self, NamespaceError> {
        match text {
            "" | "auto" | "private" => Ok(Self::Auto),
            "host" => Ok(Self::Host),
            _ => container(text).unwrap_or(Err(NamespaceError::User)).map(Self::Container),
        }
    }
}

impl CgroupnsMode {
    pub fn parse(text: &str) -> Result<Self, NamespaceError> {
        match text {
            "" | "private" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            _ => Err(NamespaceError::Cgroup),
        }
    }
}

impl NetworkMode {
    pub fn parse(text: &str) -> Result<Self, NamespaceError> {
        match text {
            "" | "default" => Ok(Self::Default),
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            "bridge" => Ok(Self::Bridge),
            _ => match container(text) {
                Some(name) => name.map(Self::Container),
                None if text.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) =>
                {
                    Ok(Self::Named(text.to_owned()))
                }
                None => Err(NamespaceError::Network(text.to_owned())),
            },
        }
    }
}

impl NetworkAttachment {
    /// `NETWORK`, or `name=NETWORK,alias=…,ip=…,ip6=…,mac-address=…,driver-opt=k=v,gw-priority=n`.
    pub fn parse(text: &str) -> Result<Self, NamespaceError> {
        if !text.contains('=') {
            return Ok(Self { mode: NetworkMode::parse(text)?, ..Self::default() });
        }
        let mut net = Self::default();
        let mut named = false;
        for field in super::csv::fields(text) {
            let Some((key, value)) = field.split_once('=') else {
                return Err(NamespaceError::NetworkField(field));
            };
            let bad = |key| NamespaceError::NetworkValue { key, value: value.to_owned() };
            match key.trim().to_ascii_lowercase().as_str() {
                "name" => {
                    net.mode = NetworkMode::parse(value)?;
                    named = true;
                }
                "alias" => net.aliases.push(value.to_owned()),
                "ip" => net.ipv4 = Some(value.parse().map_err(|_| bad("ip"))?),
                "ip6" => net.ipv6 = Some(value.parse().map_err(|_| bad("ip6"))?),
                "mac-address" => net.mac_address = Some(value.to_owned()),
                "link-local-ip" => net.link_local_ips.push(value.to_owned()),
                "driver-opt" => {
                    let (name, opt) = value.split_once('=').ok_or_else(|| bad("driver-opt"))?;
                    net.driver_opts.insert(name.to_owned(), opt.to_owned());
                }
                "gw-priority" => net.gw_priority = Some(value.parse().map_err(|_| bad("gw-priority"))?),
                _ => return Err(NamespaceError::NetworkKey(key.to_owned())),
            }
        }
        if named { Ok(net) } else { Err(NamespaceError::NetworkName) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!(PidMode::parse("host"), Ok(PidMode::Host));
        assert_eq!(PidMode::parse("container:web"), Ok(PidMode::Container("web".into())));
        assert_eq!(PidMode::parse("container:"), Err(NamespaceError::Container));
        assert_eq!(PidMode::parse("shareable"), Err(NamespaceError::Pid));
        assert_eq!(IpcMode::parse("shareable"), Ok(IpcMode::Shareable));
        assert_eq!(IpcMode::parse("none"), Ok(IpcMode::None));
        assert_eq!(UtsMode::parse("host"), Ok(UtsMode::Host));
        assert_eq!(UtsMode::parse("container:x"), Err(NamespaceError::Uts));
        assert_eq!(UsernsMode::parse("auto"), Ok(UsernsMode::Auto));
        assert_eq!(UsernsMode::parse("keep-id"), Err(NamespaceError::User));
        assert_eq!(CgroupnsMode::parse("host"), Ok(CgroupnsMode::Host));
        assert_eq!(CgroupnsMode::parse("x").unwrap_err().to_string(), "--cgroupns: invalid CGROUP mode");
    }

    #[test]
    fn networks() {
        assert_eq!(NetworkMode::parse("none"), Ok(NetworkMode::None));
        assert_eq!(NetworkMode::parse("back_end"), Ok(NetworkMode::Named("back_end".into())));
        assert!(NetworkMode::parse("../x").is_err());
        let net = NetworkAttachment::parse("name=back,alias=db,ip=10.0.0.2,driver-opt=a=b,gw-priority=3");
        let net = net.unwrap();
        assert_eq!(net.mode, NetworkMode::Named("back".into()));
        assert_eq!(net.aliases, ["db"]);
        assert_eq!(net.ipv4, Some(Ipv4Addr::new(10, 0, 0, 2)));
        assert_eq!((net.driver_opts["a"].as_str(), net.gw_priority), ("b", Some(3)));
        assert_eq!(NetworkAttachment::parse("alias=x"), Err(NamespaceError::NetworkName));
        assert!(NetworkAttachment::parse("name=x,ip=300.0.0.1").is_err());
        assert!(NetworkAttachment::parse("name=x,what=1").is_err());
    }
}
