//! `--restart`: what the monitor does when the container's process ends.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    #[default]
    No,
    Always,
    UnlessStopped,
    /// 0 retries: for ever.
    OnFailure {
        max_retries: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestartError {
    #[error("invalid restart policy format: no policy provided before colon")]
    NoPolicy,
    #[error("invalid restart policy format: maximum retry count must be an integer")]
    Count,
    #[error("invalid restart policy: maximum retry count can only be used with 'on-failure'")]
    CountNotAllowed,
    #[error(
        "invalid restart policy: unknown policy '{0}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
    )]
    Unknown(String),
}

impl Restart {
    pub fn parse(text: &str) -> Result<Self, RestartError> {
        let (name, count) = match text.split_once(':') {
            Some(("", _)) => return Err(RestartError::NoPolicy),
            Some((name, count)) => (name, Some(count.parse().map_err(|_| RestartError::Count)?)),
            None => (text, None),
        };
        match (name, count) {
            ("on-failure", count) => Ok(Self::OnFailure { max_retries: count.unwrap_or(0) }),
            ("no" | "always" | "unless-stopped", Some(_)) => Err(RestartError::CountNotAllowed),
            ("" | "no", None) => Ok(Self::No),
            ("always", None) => Ok(Self::Always),
            ("unless-stopped", None) => Ok(Self::UnlessStopped),
            _ => Err(RestartError::Unknown(name.to_owned())),
        }
    }

    /// Docker's name and count, as `inspect` shows them.
    pub fn name_and_count(self) -> (&'static str, u32) {
        match self {
            Self::No => ("no", 0),
            Self::Always => ("always", 0),
            Self::UnlessStopped => ("unless-stopped", 0),
            Self::OnFailure { max_retries } => ("on-failure", max_retries),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        assert_eq!(Restart::parse("no"), Ok(Restart::No));
        assert_eq!(Restart::parse("always"), Ok(Restart::Always));
        assert_eq!(Restart::parse("on-failure"), Ok(Restart::OnFailure { max_retries: 0 }));
        assert_eq!(Restart::parse("on-failure:3"), Ok(Restart::OnFailure { max_retries: 3 }));
        assert_eq!(Restart::parse("unless-stopped").map(Restart::name_and_count), Ok(("unless-stopped", 0)));
        assert_eq!(Restart::parse(":3"), Err(RestartError::NoPolicy));
        assert_eq!(Restart::parse("on-failure:x"), Err(RestartError::Count));
        assert_eq!(Restart::parse("on-failure:-1"), Err(RestartError::Count));
        assert_eq!(Restart::parse("always:3"), Err(RestartError::CountNotAllowed));
        assert_eq!(Restart::parse("sometimes"), Err(RestartError::Unknown("sometimes".into())));
    }
}
