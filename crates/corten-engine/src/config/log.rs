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

/// What the options of `json-file` say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonFile {
    /// A file that has this many bytes is full; absent: never.
    pub max_bytes: Option<u64>,
    /// So many files are kept.
    pub max_files: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error("invalid logging opts for driver none")]
    NoneHasNone,
    #[error("logger: no log driver named '{0}' is registered: there are json-file and none")]
    Driver(String),
    #[error("unknown log opt '{0}' for json-file log driver: there are max-size and max-file")]
    Opt(String),
    #[error("invalid max-size {0:?}: expected a positive number with k, m or g")]
    MaxSize(String),
    #[error("invalid max-file {0:?}: it cannot be less than 1")]
    MaxFile(String),
}

impl Log {
    pub fn checked(self) -> Result<Self, LogError> {
        self.json_file()?;
        Ok(self)
    }

    /// The file that is written; `None` if nothing is.
    pub fn json_file(&self) -> Result<Option<JsonFile>, LogError> {
        match self.driver.as_deref() {
            Some("none") if self.opts.is_empty() => return Ok(None),
            Some("none") => return Err(LogError::NoneHasNone),
            None | Some("" | "json-file") => {}
            Some(other) => return Err(LogError::Driver(other.to_owned())),
        }
        let mut file = JsonFile { max_bytes: None, max_files: 1 };
        for (name, value) in &self.opts {
            match name.as_str() {
                "max-size" => {
                    let bytes = decimal_bytes(value).filter(|bytes| *bytes > 0);
                    file.max_bytes = Some(bytes.ok_or_else(|| LogError::MaxSize(value.clone()))?);
                }
                "max-file" => {
                    let count = value.parse().ok().filter(|count| *count > 0);
                    file.max_files = count.ok_or_else(|| LogError::MaxFile(value.clone()))?;
                }
                _ => return Err(LogError::Opt(name.clone())),
            }
        }
        Ok(Some(file))
    }
}

/// A number with a decimal unit, as Docker reads sizes of logs: `10k` are 10 000.
fn decimal_bytes(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let (number, unit) = match lower.char_indices().last()? {
        (at, 'k') => (&lower[..at], 1_000),
        (at, 'm') => (&lower[..at], 1_000_000),
        (at, 'g') => (&lower[..at], 1_000_000_000),
        _ => (lower, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(driver: &str, opts: &[(&str, &str)]) -> Log {
        let opts = opts.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Log { driver: Some(driver.into()), opts }
    }

    #[test]
    fn drivers_and_their_options() {
        assert_eq!(Log::default().json_file(), Ok(Some(JsonFile { max_bytes: None, max_files: 1 })));
        let full = log("json-file", &[("max-size", "10k"), ("max-file", "3")]);
        assert_eq!(full.json_file(), Ok(Some(JsonFile { max_bytes: Some(10_000), max_files: 3 })));
        assert_eq!(log("none", &[]).json_file(), Ok(None));
        for (driver, opts) in [
            ("none", &[("max-size", "1")][..]),
            ("local", &[]),
            ("json-file", &[("max-size", "0")]),
            ("json-file", &[("max-size", "x")]),
            ("json-file", &[("max-file", "0")]),
            ("json-file", &[("tag", "x")]),
        ] {
            assert!(log(driver, opts).json_file().is_err(), "{driver} {opts:?}");
        }
    }
}
