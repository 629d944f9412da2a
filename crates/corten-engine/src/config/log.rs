//! `--log-driver`, `--log-opt`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// Absent: the default driver.
    pub driver: Option<String>,
    pub opts: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid logging opts for driver none")]
pub struct LogError;

impl Log {
    pub fn checked(self) -> Result<Self, LogError> {
        if self.driver.as_deref() == Some("none") && !self.opts.is_empty() { Err(LogError) } else { Ok(self) }
    }
}
