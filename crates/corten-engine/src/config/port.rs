//! `-p` and `--expose`: `[[IP:][HOST[-HOST]]:]CONTAINER[-CONTAINER][/PROTOCOL]`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One port of the container, published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    pub container: u16,
    pub protocol: Protocol,
    /// Absent: every address.
    pub host_ip: Option<IpAddr>,
    /// First and last; one of them is taken. Absent: the engine chooses.
    pub host: Option<(u16, u16)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExposedPort {
    pub port: u16,
    pub protocol: Protocol,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    #[error("no port specified: {0}<empty>")]
    NoPort(String),
    #[error("invalid containerPort: {0}")]
    Container(String),
    #[error("invalid hostPort: {0}")]
    Host(String),
    #[error("invalid IP address: {0}")]
    Address(String),
    #[error("invalid proto: {0}")]
    Protocol(String),
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    Ranges { container: String, host: String },
    #[error("invalid range format for --expose: {0}")]
    Expose(String),
}

impl Protocol {
    /// As Docker writes it behind a port.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    fn parse(text: &str) -> Result<Self, PortError> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(PortError::Protocol(text.to_owned())),
        }
    }
}

/// `8080` or `8080-8090`; port 0 is none.
fn range(text: &str) -> Option<(u16, u16)> {
    let port = |text: &str| {
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten().filter(|p: &u16| *p > 0)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some((first, last))
}

impl PortMapping {
    /// A range of the container gives one mapping a port.
    pub fn parse(text: &str) -> Result<Vec<Self>, PortError> {
        let (rest, protocol) = match text.split_once('/') {
            Some((rest, protocol)) => (rest, Protocol::parse(protocol)?),
            None => (text, Protocol::Tcp),
        };
        let (rest, container) = match rest.rsplit_once(':') {
            Some((rest, container)) => (Some(rest), container),
            None => (None, rest),
        };
        if container.is_empty() {
            return Err(PortError::NoPort(text.to_owned()));
        }
        let (ip, host) = match rest {
            None => (None, ""),
            // Without a host port: `127.0.0.1::80`, `[::1]::80`.
            Some(rest) => match rest.rsplit_once(':') {
                Some((ip, host)) => (Some(ip), host),
                None => (None, rest),
            },
        };
        let ip = match ip {
            None | Some("") => None,
            Some(text) => {
                let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
                Some(bare.parse().map_err(|_| PortError::Address(text.to_owned()))?)
            }
        };
        let (first, last) = range(container).ok_or_else(|| PortError::Container(container.to_owned()))?;
        let host = match host {
            "" | "0" => None,
            _ => Some((host, range(host).ok_or_else(|| PortError::Host(host.to_owned()))?)),
        };
        let host = |nth: u16| match host {
            None => Ok(None),
            // One port of the container may take any of a range of the host.
            Some((_, range)) if first == last => Ok(Some(range)),
            Some((_, (from, to))) if to - from == last - first => Ok(Some((from + nth, from + nth))),
            Some((text, _)) => {
                Err(PortError::Ranges { container: container.to_owned(), host: text.to_owned() })
            }
        };
        (first..=last)
            .zip(0..)
            .map(|(port, nth)| Ok(Self { container: port, protocol, host_ip: ip, host: host(nth)? }))
            .collect()
    }
}

impl ExposedPort {
    pub fn parse(text: &str) -> Result<Vec<Self>, PortError> {
        let (ports, protocol) = match text.split_once('/') {
            Some((ports, protocol)) => (ports, Protocol::parse(protocol)?),
            None => (text, Protocol::Tcp),
        };
        let (first, last) = range(ports).ok_or_else(|| PortError::Expose(text.to_owned()))?;
        Ok((first..=last).map(|port| Self { port, protocol }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        match PortMapping::parse(text) {
            Err(error) => error.to_string(),
            Ok(ports) => {
                let port = |p: &PortMapping| {
                    format!("{:?} {:?} {} {:?}", p.host_ip, p.host, p.container, p.protocol)
                };
                ports.iter().map(port).collect::<Vec<_>>().join(", ")
            }
        }
    }

    #[test]
    fn mappings() {
        for (text, want) in [
            ("80", "None None 80 Tcp"),
            ("8080:80", "None Some((8080, 8080)) 80 Tcp"),
            ("8080:80/udp", "None Some((8080, 8080)) 80 Udp"),
            ("127.0.0.1:8080:80", "Some(127.0.0.1) Some((8080, 8080)) 80 Tcp"),
            ("127.0.0.1::80", "Some(127.0.0.1) None 80 Tcp"),
            ("[::1]:8080:80", "Some(::1) Some((8080, 8080)) 80 Tcp"),
            ("8000-8001:80-81", "None Some((8000, 8000)) 80 Tcp, None Some((8001, 8001)) 81 Tcp"),
            ("8000-8010:80", "None Some((8000, 8010)) 80 Tcp"),
            ("0:80", "None None 80 Tcp"),
            ("", "no port specified: <empty>"),
            ("80:", "no port specified: 80:<empty>"),
            ("80/icmp", "invalid proto: icmp"),
            ("x:80", "invalid hostPort: x"),
            ("80:x", "invalid containerPort: x"),
            ("80:70000", "invalid containerPort: 70000"),
            ("80:0", "invalid containerPort: 0"),
            ("x:1:80", "invalid IP address: x"),
            ("1-2:1-3", "invalid ranges specified for container and host Ports: 1-3 and 1-2"),
            ("2-1:80", "invalid hostPort: 2-1"),
        ] {
            assert_eq!(show(text), want, "{text:?}");
        }
        assert_eq!(PortMapping::parse("1-65535").unwrap().len(), 65535);
        assert_eq!(ExposedPort::parse("80-82/udp").unwrap().len(), 3);
        assert!(ExposedPort::parse("x").is_err());
    }
}
