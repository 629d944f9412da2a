//! `--add-host`, `--dns`, `--dns-search`: what /etc/hosts and /etc/resolv.conf say.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    pub name: String,
    pub address: HostAddress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostAddress {
    Ip(IpAddr),
    /// `host-gateway`: where the host answers, known when the network is.
    Gateway,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostEntryError {
    #[error("bad format for add-host: {0:?}")]
    Format(String),
    #[error("invalid IP address in add-host: {0:?}")]
    Address(String),
    #[error("{0} is not an ip address")]
    NotAnAddress(String),
    #[error("{0} is not a valid domain")]
    Domain(String),
}

impl HostEntry {
    /// `NAME:IP` or `NAME=IP`; IPv6 may stand in brackets.
    pub fn parse(text: &str) -> Result<Self, HostEntryError> {
        let (name, address) = text
            .split_once('=')
            .or_else(|| text.split_once(':'))
            .filter(|(name, _)| !name.is_empty() && !name.contains(char::is_whitespace))
            .ok_or_else(|| HostEntryError::Format(text.to_owned()))?;
        if address == "host-gateway" {
            return Ok(Self { name: name.to_owned(), address: HostAddress::Gateway });
        }
        let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
        match bare.parse() {
            Ok(ip) => Ok(Self { name: name.to_owned(), address: HostAddress::Ip(ip) }),
            Err(_) => Err(HostEntryError::Address(address.to_owned())),
        }
    }
}

/// `--dns`.
pub fn parse_ip(text: &str) -> Result<IpAddr, HostEntryError> {
    text.trim().parse().map_err(|_| HostEntryError::NotAnAddress(text.to_owned()))
}

/// `--dns-search`; `.` clears the list.
pub fn parse_domain(text: &str) -> Result<String, HostEntryError> {
    let domain = text.trim();
    if domain == "." {
        return Ok(domain.to_owned());
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let bare = domain.strip_suffix('.').unwrap_or(domain);
    if domain.len() > 254 || !bare.split('.').all(label) {
        return Err(HostEntryError::Domain(text.to_owned()));
    }
    Ok(domain.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        for (text, want) in [
            ("db:10.0.0.1", Some(("db", "10.0.0.1"))),
            ("db=10.0.0.1", Some(("db", "10.0.0.1"))),
            ("db:::1", Some(("db", "::1"))),
            ("db=[fe80::1]", Some(("db", "fe80::1"))),
            ("h:host-gateway", Some(("h", "gateway"))),
            ("db", None),
            (":1.2.3.4", None),
            ("db:1.2.3", None),
            ("d b:1.2.3.4", None),
        ] {
            let got = HostEntry::parse(text).ok().map(|entry| match entry.address {
                HostAddress::Ip(ip) => (entry.name, ip.to_string()),
                HostAddress::Gateway => (entry.name, "gateway".to_owned()),
            });
            assert_eq!(got, want.map(|(a, b)| (a.into(), b.into())), "{text:?}");
        }
        assert_eq!(HostEntry::parse("db").unwrap_err().to_string(), "bad format for add-host: \"db\"");
    }

    #[test]
    fn names() {
        assert!(parse_ip("8.8.8.8").is_ok() && parse_ip("x").is_err());
        for (text, good) in [
            ("example.com", true),
            (".", true),
            ("a_b.c.", true),
            ("", false),
            ("a..b", false),
            ("-a.b", false),
        ] {
            assert_eq!(parse_domain(text).is_ok(), good, "{text:?}");
        }
    }
}
