//! `--device` and `--device-cgroup-rule`: which device nodes, and which device accesses.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub host_path: String,
    pub container_path: String,
    pub access: Access,
}

/// The letters of the devices cgroup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}

/// `TYPE MAJOR:MINOR ACCESS`; absent numbers are `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceCgroupRule {
    pub kind: DeviceKind,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: Access,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    All,
    Block,
    Char,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    #[error("invalid device specification: {0}")]
    Specification(String),
    #[error("bad format for path: {0}")]
    Path(String),
    #[error("bad mode specified: {0}")]
    Mode(String),
    #[error("{0}: devices of the Container Device Interface are not supported")]
    Cdi(String),
    #[error("invalid device cgroup format '{0}'")]
    CgroupRule(String),
}

impl Access {
    pub const ALL: Self = Self { read: true, write: true, mknod: true };

    /// Some of `rwm`, each at most once.
    pub fn parse(text: &str) -> Option<Self> {
        let mut access = Self::default();
        for letter in text.bytes() {
            let slot = match letter {
                b'r' => &mut access.read,
                b'w' => &mut access.write,
                b'm' => &mut access.mknod,
                _ => return None,
            };
            if std::mem::replace(slot, true) {
                return None;
            }
        }
        (!text.is_empty()).then_some(access)
    }
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (set, letter) in [(self.read, "r"), (self.write, "w"), (self.mknod, "m")] {
            if set {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

impl Device {
    /// `HOST[:CONTAINER][:rwm]`.
    pub fn parse(text: &str) -> Result<Self, DeviceError> {
        if !text.starts_with('/') && text.contains('=') {
            return Err(DeviceError::Cdi(text.to_owned()));
        }
        let parts: Vec<&str> = text.split(':').collect();
        let (host, container, access) = match parts[..] {
            [host] => (host, host, Access::ALL),
            [host, second] => match Access::parse(second) {
                Some(access) => (host, host, access),
                None => (host, second, Access::ALL),
            },
            [host, container, mode] => {
                (host, container, Access::parse(mode).ok_or_else(|| DeviceError::Mode(mode.to_owned()))?)
            }
            _ => return Err(DeviceError::Specification(text.to_owned())),
        };
        for path in [host, container] {
            if !path.starts_with('/') || path == "/" || path.split('/').any(|part| part == "..") {
                return Err(DeviceError::Path(path.to_owned()));
            }
        }
        Ok(Self { host_path: host.to_owned(), container_path: container.to_owned(), access })
    }
}

impl DeviceCgroupRule {
    /// `c 1:3 mr`, `a *:* rwm`.
    pub fn parse(text: &str) -> Result<Self, DeviceError> {
        let bad = || DeviceError::CgroupRule(text.to_owned());
        let number = |text: &str| match text {
            "*" => Ok(None),
            _ if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().map(Some).map_err(|_| bad()),
            _ => Err(bad()),
        };
        let parts: Vec<&str> = text.split(' ').collect();
        let [kind, numbers, access] = parts[..] else { return Err(bad()) };
        let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
        let kind = match kind {
            "a" => DeviceKind::All,
            "b" => DeviceKind::Block,
            "c" => DeviceKind::Char,
            _ => return Err(bad()),
        };
        Ok(Self {
            kind,
            major: number(major)?,
            minor: number(minor)?,
            access: Access::parse(access).ok_or_else(bad)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        for (text, want) in [
            ("/dev/fuse", Some(("/dev/fuse", "/dev/fuse", "rwm"))),
            ("/dev/fuse:r", Some(("/dev/fuse", "/dev/fuse", "r"))),
            ("/dev/sda:/dev/xvdc:rw", Some(("/dev/sda", "/dev/xvdc", "rw"))),
            ("/dev/sda:/dev/xvdc", Some(("/dev/sda", "/dev/xvdc", "rwm"))),
            ("/dev/sda:/dev/xvdc:x", None),
            ("/dev/sda:/dev/xvdc:rr", None),
            ("/dev/sda:xvdc", None),
            ("sda", None),
            ("/dev/a:/dev/../etc/x", None),
            ("/dev/a:/b:r:w", None),
            ("vendor.com/class=name", None),
            ("", None),
        ] {
            let got = Device::parse(text).ok();
            let got = got.map(|d| (d.host_path, d.container_path, d.access.to_string()));
            assert_eq!(got, want.map(|(a, b, c)| (a.into(), b.into(), c.into())), "{text:?}");
        }
    }

    #[test]
    fn rules() {
        let rule = DeviceCgroupRule::parse("c 1:3 mr").unwrap();
        assert_eq!((rule.kind, rule.major, rule.minor), (DeviceKind::Char, Some(1), Some(3)));
        assert_eq!(rule.access.to_string(), "rm");
        assert_eq!(DeviceCgroupRule::parse("a *:* rwm").unwrap().major, None);
        for text in ["", "c 1:3", "d 1:3 r", "c 1 r", "c 1:-3 r", "c 1:3 rwmr", "c  1:3 r", "c 1:3 rx"] {
            let message = DeviceCgroupRule::parse(text).unwrap_err().to_string();
            assert_eq!(message, format!("invalid device cgroup format '{text}'"));
        }
    }
}
