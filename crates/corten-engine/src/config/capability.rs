//! `--cap-add`, `--cap-drop`: capabilities(7) by name, with or without `CAP_`.

use corten_sys::caps::NAMES;
use serde::{Deserialize, Serialize};

/// A capability, by the kernel's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Capability(u8);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapabilityArg {
    All,
    One(Capability),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability: {0:?}")]
pub struct CapabilityError(pub String);

impl Capability {
    pub fn parse(text: &str) -> Result<Self, CapabilityError> {
        corten_sys::caps::number(text).map(Self).ok_or_else(|| CapabilityError(text.to_owned()))
    }

    /// Every capability that this program knows.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..NAMES.len() as u8).map(Self)
    }

    pub fn number(self) -> u8 {
        self.0
    }

    /// `CAP_CHOWN`.
    pub fn name(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }
}

impl TryFrom<String> for Capability {
    type Error = CapabilityError;
    fn try_from(text: String) -> Result<Self, CapabilityError> {
        Self::parse(&text)
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> Self {
        capability.name().to_owned()
    }
}

impl CapabilityArg {
    pub fn parse(text: &str) -> Result<Self, CapabilityError> {
        if text.eq_ignore_ascii_case("ALL") || text.eq_ignore_ascii_case("CAP_ALL") {
            return Ok(Self::All);
        }
        Capability::parse(text).map(Self::One)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, number) in [
            ("CHOWN", Some(0)),
            ("cap_chown", Some(0)),
            ("CAP_SYS_ADMIN", Some(21)),
            ("net_admin", Some(12)),
            ("CHECKPOINT_RESTORE", Some(40)),
            ("", None),
            ("CAP_", None),
            ("CAP_CAP_CHOWN", None),
            ("SUPERPOWER", None),
        ] {
            assert_eq!(Capability::parse(text).ok().map(Capability::number), number, "{text:?}");
        }
        assert_eq!(CapabilityArg::parse("all"), Ok(CapabilityArg::All));
        assert_eq!(CapabilityError("X".into()).to_string(), "unknown capability: \"X\"");
        let chown = Capability::parse("chown").unwrap();
        assert_eq!(serde_json::to_string(&chown).unwrap(), "\"CAP_CHOWN\"");
    }
}
