//! `-a`: the standard streams that a client takes part in.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("valid streams are STDIN, STDOUT and STDERR")]
pub struct StreamError;

impl Stream {
    pub fn parse(text: &str) -> Result<Self, StreamError> {
        match text.to_ascii_lowercase().as_str() {
            "stdin" => Ok(Self::Stdin),
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            _ => Err(StreamError),
        }
    }
}
