//! `--health-*`, `--no-healthcheck`: what overrides the image's HEALTHCHECK. Absent fields inherit.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    pub test: Option<HealthTest>,
    pub interval_ns: Option<i64>,
    pub timeout_ns: Option<i64>,
    pub start_period_ns: Option<i64>,
    pub start_interval_ns: Option<i64>,
    pub retries: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthTest {
    /// `NONE`: off, even if the image has one.
    None,
    /// `CMD-SHELL`.
    Shell(String),
    /// `CMD`.
    Exec(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HealthError {
    #[error("--no-healthcheck conflicts with --health-* options")]
    Conflict,
    #[error("--{0} cannot be negative")]
    Negative(&'static str),
}

impl Health {
    /// What must hold together: `disabled` is `--no-healthcheck`. `None`: nothing was said.
    pub fn checked(self, disabled: bool) -> Result<Option<Self>, HealthError> {
        if disabled {
            if self != Self::default() {
                return Err(HealthError::Conflict);
            }
            return Ok(Some(Self { test: Some(HealthTest::None), ..self }));
        }
        for (name, value) in [
            ("health-interval", self.interval_ns),
            ("health-timeout", self.timeout_ns),
            ("health-start-period", self.start_period_ns),
            ("health-start-interval", self.start_interval_ns),
        ] {
            if value.is_some_and(|ns| ns < 0) {
                return Err(HealthError::Negative(name));
            }
        }
        Ok((self != Self::default()).then_some(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn together() {
        let some = Health { retries: Some(3), ..Health::default() };
        assert_eq!(Health::default().checked(false), Ok(None));
        assert_eq!(some.clone().checked(false), Ok(Some(some.clone())));
        assert_eq!(some.checked(true), Err(HealthError::Conflict));
        assert_eq!(Health::default().checked(true).unwrap().unwrap().test, Some(HealthTest::None));
        let negative = Health { interval_ns: Some(-1), ..Health::default() };
        assert_eq!(negative.checked(false).unwrap_err().to_string(), "--health-interval cannot be negative");
    }
}
