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

/// Files that are written, and moved on when they are full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Files {
    /// A file that has this many bytes is full; absent: never.
    pub max_bytes: Option<u64>,
    /// So many files are kept.
    pub max_files: u32,
    /// Full ones are compressed.
    pub compress: bool,
}

impl Files {
    pub const ENDLESS: Self = Self { max_bytes: None, max_files: 1, compress: false };
    /// What `local` has without options.
    const LOCAL: Self = Self { max_bytes: Some(20_000_000), max_files: 5, compress: true };
}

/// Where a log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    None,
    JsonFile(Files),
    Local(Files),
    Journald,
}

impl Driver {
    /// As `--log-driver` names them.
    pub const NAMES: [&str; 4] = ["journald", "json-file", "local", "none"];
}

/// What driver and options say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    pub driver: Driver,
    /// The container does not wait for its log at all.
    pub non_blocking: bool,
    /// Names of labels and variables that are noted with each line.
    pub labels: Vec<String>,
    pub env: Vec<String>,
    /// A template.
    pub tag: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error("invalid logging opts for driver none")]
    NoneHasNone,
    #[error("logger: no log driver named '{0}' is registered: there are json-file, local, journald and none")]
    Driver(String),
    #[error("unknown log opt '{opt}' for {driver} log driver: there are {known}")]
    Opt { opt: String, driver: String, known: &'static str },
    #[error("invalid max-size {0:?}: expected a positive number with k, m or g")]
    MaxSize(String),
    #[error("invalid max-file {0:?}: it cannot be less than 1")]
    MaxFile(String),
    #[error("invalid compress {0:?}: expected true or false")]
    Compress(String),
    #[error("compress cannot be true when max-file is less than 2 or max-size is not set")]
    NothingToCompress,
    #[error("logger: invalid logging mode: {0}: there are blocking and non-blocking")]
    Mode(String),
    #[error(
        "invalid tag {0:?}: there are {{{{.ID}}}}, .FullID, .Name, .ImageID, .ImageFullID, .ImageName and .DaemonName"
    )]
    Tag(String),
    #[error("logger: journald is not there: nothing listens at {0}")]
    NoJournal(&'static str),
}

impl Log {
    pub fn checked(self) -> Result<Self, LogError> {
        self.parsed()?;
        Ok(self)
    }

    /// What it says.
    pub fn parsed(&self) -> Result<Parsed, LogError> {
        let name = self.driver.as_deref().filter(|name| !name.is_empty()).unwrap_or("json-file");
        let known = match name {
            "none" if self.opts.is_empty() => "",
            "none" => return Err(LogError::NoneHasNone),
            "json-file" | "local" => "max-size, max-file, compress, labels, env, tag, mode",
            "journald" => "labels, env, tag, mode",
            other => return Err(LogError::Driver(other.to_owned())),
        };
        let mut parsed = Parsed {
            driver: Driver::None,
            non_blocking: false,
            labels: Vec::new(),
            env: Vec::new(),
            tag: None,
        };
        let mut files = if name == "local" { Files::LOCAL } else { Files::ENDLESS };
        let mut compress = None;
        for (opt, value) in &self.opts {
            if !known.split(", ").any(|known| known == opt) {
                return Err(LogError::Opt { opt: opt.clone(), driver: name.to_owned(), known });
            }
            let names = || value.split(',').map(|name| name.trim().to_owned()).collect();
            match opt.as_str() {
                "max-size" => {
                    let bytes = decimal_bytes(value).filter(|bytes| *bytes > 0);
                    files.max_bytes = Some(bytes.ok_or_else(|| LogError::MaxSize(value.clone()))?);
                }
                "max-file" => {
                    let count = value.parse().ok().filter(|count| *count > 0);
                    files.max_files = count.ok_or_else(|| LogError::MaxFile(value.clone()))?;
                }
                "compress" => {
                    let said = super::parse_bool(value);
                    compress = Some(said.ok_or_else(|| LogError::Compress(value.clone()))?);
                }
                "labels" => parsed.labels = names(),
                "env" => parsed.env = names(),
                "tag" if is_tag(value) => parsed.tag = Some(value.clone()),
                "tag" => return Err(LogError::Tag(value.clone())),
                "mode" => match value.as_str() {
                    "blocking" => {}
                    "non-blocking" => parsed.non_blocking = true,
                    _ => return Err(LogError::Mode(value.clone())),
                },
                _ => {}
            }
        }
        let possible = files.max_files > 1 && files.max_bytes.is_some();
        if compress == Some(true) && !possible {
            return Err(LogError::NothingToCompress);
        }
        files.compress = compress.unwrap_or(files.compress) && possible;
        parsed.driver = match name {
            "none" => Driver::None,
            "local" => Driver::Local(files),
            "journald" => Driver::Journald,
            _ => Driver::JsonFile(files),
        };
        Ok(parsed)
    }
}

/// What a tag can have between its braces.
pub const TAG_FIELDS: [&str; 7] =
    [".ID", ".FullID", ".Name", ".ImageID", ".ImageFullID", ".ImageName", ".DaemonName"];

fn is_tag(text: &str) -> bool {
    text.split("{{")
        .skip(1)
        .all(|part| part.split_once("}}").is_some_and(|(field, _)| TAG_FIELDS.contains(&field.trim())))
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
        let driver = |log: Log| log.parsed().map(|parsed| parsed.driver);
        assert_eq!(driver(Log::default()), Ok(Driver::JsonFile(Files::ENDLESS)));
        let full = log("json-file", &[("max-size", "10k"), ("max-file", "3"), ("compress", "true")]);
        let files = Files { max_bytes: Some(10_000), max_files: 3, compress: true };
        assert_eq!(driver(full), Ok(Driver::JsonFile(files)));
        assert_eq!(driver(log("none", &[])), Ok(Driver::None));
        assert!(Driver::NAMES.iter().all(|name| log(name, &[]).parsed().is_ok()));
        assert_eq!(driver(log("local", &[])), Ok(Driver::Local(Files::LOCAL)));
        let one = Files { max_files: 1, compress: false, ..Files::LOCAL };
        assert_eq!(driver(log("local", &[("max-file", "1")])), Ok(Driver::Local(one)));
        let parsed = log("journald", &[("labels", "a, b"), ("mode", "non-blocking")]).parsed().unwrap();
        assert!(parsed.driver == Driver::Journald && parsed.non_blocking && parsed.labels == ["a", "b"]);
        for (driver, opts) in [
            ("none", &[("max-size", "1")][..]),
            ("syslog", &[]),
            ("journald", &[("max-size", "1")]),
            ("json-file", &[("max-size", "0")]),
            ("json-file", &[("max-size", "x")]),
            ("json-file", &[("max-file", "0")]),
            ("json-file", &[("compress", "true")]),
            ("json-file", &[("labels-regex", "x")]),
            ("local", &[("mode", "x")]),
            ("local", &[("tag", "{{.Nope}}")]),
            ("local", &[("tag", "{{.ID")]),
        ] {
            assert!(log(driver, opts).parsed().is_err(), "{driver} {opts:?}");
        }
    }
}
