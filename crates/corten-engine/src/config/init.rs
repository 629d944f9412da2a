//! `--init`: whether corten's own init is the container's first process.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// Yes, unless the command is an init itself.
    #[default]
    Auto,
    On,
    Off,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid init mode {0:?}: use auto, true or false")]
pub struct InitError(pub String);

impl Init {
    pub fn parse(text: &str) -> Result<Self, InitError> {
        match (text, super::parse_bool(text)) {
            ("auto", _) => Ok(Self::Auto),
            (_, Some(true)) => Ok(Self::On),
            (_, Some(false)) => Ok(Self::Off),
            _ => Err(InitError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!(Init::parse("auto"), Ok(Init::Auto));
        assert_eq!(Init::parse("true"), Ok(Init::On));
        assert_eq!(Init::parse("0"), Ok(Init::Off));
        assert!(Init::parse("tini").is_err());
    }
}
