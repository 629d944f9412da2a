//! Device rules: who may read, write or make which device node.
//!
//! The rules are a list; a later one outweighs an earlier one, and what none names is denied. v1 has
//! no list but one default and its exceptions, so a list that needs more is refused there rather than
//! loosened: `allow c *:* rwm; deny c 1:3 w` would leave 1:3 writable, since the kernel takes back only
//! an exception that was given in the same words (Documentation/admin-guide/cgroup-v1/devices.rst).

pub(crate) mod bpf;
mod policy;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

pub(crate) use policy::DevicePolicy;

/// One rule, of the shape of `linux.resources.devices[]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    pub allow: bool,
    #[serde(rename = "type", default)]
    pub kind: DeviceKind,
    /// `None` (or a negative number in JSON): every one.
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_none")]
    pub major: Option<u32>,
    #[serde(default, deserialize_with = "number", skip_serializing_if = "Option::is_none")]
    pub minor: Option<u32>,
    #[serde(default)]
    pub access: Access,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DeviceKind {
    #[default]
    #[serde(rename = "a")]
    All,
    /// `u`, unbuffered, is mknod(1)'s other word for it.
    #[serde(rename = "c", alias = "u")]
    Char,
    #[serde(rename = "b")]
    Block,
}

/// A set of read, write, mknod. The default, as an absent `access` of a bundle, is all three.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Access(u8);

impl Access {
    pub const MKNOD: Access = Access(1);
    pub const READ: Access = Access(2);
    pub const WRITE: Access = Access(4);
    pub const ALL: Access = Access(7);
    pub(crate) const NONE: Access = Access(0);

    /// linux/bpf.h: BPF_DEVCG_ACC_MKNOD, _READ, _WRITE.
    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    pub const fn union(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }

    pub(crate) const fn intersects(self, other: Access) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) const fn without(self, other: Access) -> Access {
        Access(self.0 & !other.0)
    }
}

impl Default for Access {
    fn default() -> Self {
        Access::ALL
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in [(Access::READ, "r"), (Access::WRITE, "w"), (Access::MKNOD, "m")] {
            f.write_str(if self.intersects(bit) { letter } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[derive(Debug, thiserror::Error)]
#[error("device access {0:?}: only r, w and m are known")]
pub struct AccessError(String);

impl std::str::FromStr for Access {
    type Err = AccessError;
    fn from_str(text: &str) -> Result<Access, AccessError> {
        let bits = text.chars().try_fold(Access::NONE, |all, letter| {
            Some(all.union(match letter {
                'r' => Access::READ,
                'w' => Access::WRITE,
                'm' => Access::MKNOD,
                _ => return None,
            }))
        });
        match bits {
            Some(Access::NONE) => Ok(Access::ALL),
            Some(access) => Ok(access),
            None => Err(AccessError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Access {
    type Error = AccessError;
    fn try_from(text: String) -> Result<Access, AccessError> {
        text.parse()
    }
}

impl From<Access> for String {
    fn from(access: Access) -> String {
        access.to_string()
    }
}

impl DeviceRule {
    /// `kind`, `major` and `minor` of all devices, which v1 writes as the single letter `a`.
    pub(crate) fn is_everything(&self) -> bool {
        self.kind == DeviceKind::All && self.major.is_none() && self.minor.is_none()
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceKind::All => "a",
            DeviceKind::Char => "c",
            DeviceKind::Block => "b",
        })
    }
}

/// `allow c 1:3 rwm`
impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.allow { "allow" } else { "deny" };
        write!(f, "{verb} {} {}:{} {}", self.kind, star(self.major), star(self.minor), self.access)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("device rule {0:?}: want `allow c 1:3 rwm` or the like")]
pub struct RuleError(String);

/// Reads what Display writes.
impl std::str::FromStr for DeviceRule {
    type Err = RuleError;
    fn from_str(text: &str) -> Result<DeviceRule, RuleError> {
        let number = |text: &str| match text {
            "*" => Some(None),
            number => number.parse().ok().map(Some),
        };
        let rule = || {
            let mut words = text.split(' ');
            let allow = match words.next()? {
                "allow" => true,
                "deny" => false,
                _ => return None,
            };
            let kind = match words.next()? {
                "a" => DeviceKind::All,
                "c" => DeviceKind::Char,
                "b" => DeviceKind::Block,
                _ => return None,
            };
            let (major, minor) = words.next()?.split_once(':')?;
            let (major, minor) = (number(major)?, number(minor)?);
            let access = words.next()?.parse().ok()?;
            words.next().is_none().then_some(DeviceRule { allow, kind, major, minor, access })
        };
        rule().ok_or_else(|| RuleError(text.to_owned()))
    }
}

/// Lets these rules decide about the devices of a cgroup2 directory, in the place of ours that are there.
pub fn install_device_filter(dir: &std::path::Path, rules: &[DeviceRule]) -> crate::Result<()> {
    bpf::install(dir, rules)
}

pub(crate) fn star(number: Option<u32>) -> String {
    number.map_or_else(|| "*".to_owned(), |n| n.to_string())
}

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    match Option::<i64>::deserialize(from)? {
        Some(n) if n >= 0 => u32::try_from(n).map(Some).map_err(serde::de::Error::custom),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_back_as_it_is_written() {
        for text in ["allow c 1:3 rwm", "deny a *:* rwm", "allow b 8:* r", "allow c *:* m"] {
            assert_eq!(text.parse::<DeviceRule>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "allow",
            "allow x 1:3 r",
            "allow c 1 r",
            "allow c 1:3 x",
            "allow c 1:3 r more",
            "permit c 1:3 r",
        ] {
            assert!(bad.parse::<DeviceRule>().is_err(), "{bad}");
        }
    }
}
