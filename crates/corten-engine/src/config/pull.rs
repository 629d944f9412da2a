//! `--pull`: when an image is fetched before a run.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    Always,
    #[default]
    Missing,
    Never,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid pull option: '{0}': must be one of \"always\", \"missing\" or \"never\"")]
pub struct PullError(pub String);

impl PullPolicy {
    pub fn parse(text: &str) -> Result<Self, PullError> {
        match text {
            "always" => Ok(Self::Always),
            "missing" => Ok(Self::Missing),
            "never" => Ok(Self::Never),
            _ => Err(PullError(text.to_owned())),
        }
    }
}
