//! `--ulimit NAME=SOFT[:HARD]`, see getrlimit(2).

use serde::{Deserialize, Serialize};

/// Absent is unlimited (`-1`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub resource: Resource,
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UlimitError {
    #[error("invalid ulimit argument: {0}")]
    Argument(String),
    #[error("invalid ulimit type: {0}")]
    Resource(String),
    #[error("too many limit value arguments - {0}, can only have up to two, `soft[:hard]`")]
    TooMany(String),
    #[error("invalid ulimit value: {0}")]
    Value(String),
    #[error("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")]
    SoftAboveHard { soft: String, hard: u64 },
}

macro_rules! resources {
    ($($variant:ident $name:literal $constant:literal $number:literal),* $(,)?) => {
        /// The resource, numbered as on x86-64 and arm64.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        #[repr(u8)]
        pub enum Resource { $($variant = $number),* }

        impl Resource {
            /// Docker's name: `nofile`.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($name => Some(Self::$variant),)* _ => None }
            }
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
            /// The OCI's and kernel's name: `RLIMIT_NOFILE`.
            pub fn constant(self) -> &'static str {
                match self { $(Self::$variant => $constant),* }
            }
        }
    };
}

resources! {
    Cpu "cpu" "RLIMIT_CPU" 0,
    Fsize "fsize" "RLIMIT_FSIZE" 1,
    Data "data" "RLIMIT_DATA" 2,
    Stack "stack" "RLIMIT_STACK" 3,
    Core "core" "RLIMIT_CORE" 4,
    Rss "rss" "RLIMIT_RSS" 5,
    Nproc "nproc" "RLIMIT_NPROC" 6,
    Nofile "nofile" "RLIMIT_NOFILE" 7,
    Memlock "memlock" "RLIMIT_MEMLOCK" 8,
    As "as" "RLIMIT_AS" 9,
    Locks "locks" "RLIMIT_LOCKS" 10,
    Sigpending "sigpending" "RLIMIT_SIGPENDING" 11,
    Msgqueue "msgqueue" "RLIMIT_MSGQUEUE" 12,
    Nice "nice" "RLIMIT_NICE" 13,
    Rtprio "rtprio" "RLIMIT_RTPRIO" 14,
    Rttime "rttime" "RLIMIT_RTTIME" 15,
}

impl Ulimit {
    pub fn parse(text: &str) -> Result<Self, UlimitError> {
        let (name, values) = text.split_once('=').ok_or_else(|| UlimitError::Argument(text.to_owned()))?;
        let resource = Resource::parse(name).ok_or_else(|| UlimitError::Resource(name.to_owned()))?;
        let number = |text: &str| match text {
            "-1" | "unlimited" => Ok(None::<u64>),
            _ => text.parse().map(Some).map_err(|_| UlimitError::Value(text.to_owned())),
        };
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        if hard.contains(':') {
            return Err(UlimitError::TooMany(values.to_owned()));
        }
        let (soft, hard) = (number(soft)?, number(hard)?);
        if let Some(hard) = hard
            && soft.is_none_or(|soft| soft > hard)
        {
            let soft = soft.map_or_else(|| "-1".to_owned(), |soft| soft.to_string());
            return Err(UlimitError::SoftAboveHard { soft, hard });
        }
        Ok(Self { resource, soft, hard })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let limit = Ulimit::parse("nofile=512:1024").unwrap();
        assert_eq!((limit.resource, limit.soft, limit.hard), (Resource::Nofile, Some(512), Some(1024)));
        let limit = Ulimit::parse("core=0").unwrap();
        assert_eq!((limit.soft, limit.hard), (Some(0), Some(0)));
        let limit = Ulimit::parse("memlock=-1:-1").unwrap();
        assert_eq!((limit.soft, limit.hard, limit.resource.constant()), (None, None, "RLIMIT_MEMLOCK"));
        for (text, message) in [
            ("nofile", "invalid ulimit argument: nofile"),
            ("files=1", "invalid ulimit type: files"),
            (
                "nofile=1:2:3",
                "too many limit value arguments - 1:2:3, can only have up to two, `soft[:hard]`",
            ),
            ("nofile=x", "invalid ulimit value: x"),
            ("nofile=-2", "invalid ulimit value: -2"),
            ("nofile=2:1", "ulimit soft limit must be less than or equal to hard limit: 2 > 1"),
            ("nofile=-1:1", "ulimit soft limit must be less than or equal to hard limit: -1 > 1"),
        ] {
            assert_eq!(Ulimit::parse(text).unwrap_err().to_string(), message);
        }
    }
}
