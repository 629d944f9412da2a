//! `--health-*`, `--no-healthcheck`, and the image's HEALTHCHECK below them. Absent fields inherit.

use corten_oci::Healthcheck;
use serde::{Deserialize, Serialize};

/// Docker's `MinimumDuration`.
const LEAST_NS: i64 = 1_000_000;
/// An image's probes are no closer: each costs the machine a little that no limit of the container's counts.
const LEAST_OF_IMAGE_NS: i64 = 100_000_000;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    pub test: Option<HealthTest>,
    pub interval_ns: Option<i64>,
    pub timeout_ns: Option<i64>,
    pub start_period_ns: Option<i64>,
    pub start_interval_ns: Option<i64>,
    pub retries: Option<u32>,
    /// What a line is given to: the image's SHELL. Empty: `/bin/sh -c`.
    pub shell: Vec<String>,
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
    #[error("--{0} cannot be less than 1ms")]
    TooShort(&'static str),
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
            match value {
                Some(ns) if ns < 0 => return Err(HealthError::Negative(name)),
                Some(ns) if ns > 0 && ns < LEAST_NS => return Err(HealthError::TooShort(name)),
                _ => {}
            }
        }
        Ok((self != Self::default()).then_some(self))
    }

    /// With what the image says where nothing was said here (0 says nothing); `shell` is its SHELL. Over
    /// itself it is the same again.
    #[must_use]
    pub fn over(own: Option<Self>, image: Option<&Healthcheck>, shell: Option<&[String]>) -> Option<Self> {
        if own.is_none() && image.is_none() {
            return None;
        }
        let mut health = own.unwrap_or_default();
        let nothing = Healthcheck::default();
        let image = image.unwrap_or(&nothing);
        let choose = |own: Option<i64>, theirs: i64, least: i64| {
            own.filter(|ns| *ns > 0).or((theirs > 0).then(|| theirs.max(least)))
        };
        health.interval_ns = choose(health.interval_ns, image.interval, LEAST_OF_IMAGE_NS);
        health.timeout_ns = choose(health.timeout_ns, image.timeout, LEAST_NS);
        health.start_period_ns = choose(health.start_period_ns, image.start_period, LEAST_NS);
        health.start_interval_ns = choose(health.start_interval_ns, image.start_interval, LEAST_OF_IMAGE_NS);
        let retries = || u32::try_from(image.retries).ok();
        health.retries = health.retries.filter(|n| *n > 0).or_else(retries).filter(|n| *n > 0);
        if health.shell.is_empty() {
            health.shell = shell.unwrap_or_default().to_vec();
        }
        health.test = health.test.or_else(|| HealthTest::of_image(&image.test));
        Some(health)
    }

    /// As an image has it.
    #[must_use]
    pub fn to_image(&self) -> Healthcheck {
        let test = match &self.test {
            None => Vec::new(),
            Some(HealthTest::None) => vec!["NONE".to_owned()],
            Some(HealthTest::Shell(line)) => vec!["CMD-SHELL".to_owned(), line.clone()],
            Some(HealthTest::Exec(words)) => [&["CMD".to_owned()], words.as_slice()].concat(),
        };
        Healthcheck {
            test,
            interval: self.interval_ns.unwrap_or(0),
            timeout: self.timeout_ns.unwrap_or(0),
            start_period: self.start_period_ns.unwrap_or(0),
            start_interval: self.start_interval_ns.unwrap_or(0),
            retries: self.retries.unwrap_or(0).into(),
            ..Healthcheck::default()
        }
    }
}

impl HealthTest {
    /// `None` for nothing at all, or a kind that nobody knows: Docker checks nothing then.
    fn of_image(test: &[String]) -> Option<Self> {
        match test {
            [kind, ..] if kind == "NONE" => Some(Self::None),
            [kind, line] if kind == "CMD-SHELL" => Some(Self::Shell(line.clone())),
            [kind, words @ ..] if kind == "CMD" && !words.is_empty() => Some(Self::Exec(words.to_vec())),
            _ => None,
        }
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
        let interval = |ns| Health { interval_ns: Some(ns), ..Health::default() }.checked(false);
        assert_eq!(interval(-1).unwrap_err().to_string(), "--health-interval cannot be negative");
        assert_eq!(interval(999_999).unwrap_err().to_string(), "--health-interval cannot be less than 1ms");
        assert!(interval(0).is_ok() && interval(LEAST_NS).is_ok());
    }

    #[test]
    fn flags_go_over_the_image_field_by_field() {
        let words = |words: &[&str]| -> Vec<String> { words.iter().map(ToString::to_string).collect() };
        let image = |test: &[&str]| Healthcheck {
            test: words(test),
            retries: 7,
            interval: 9,
            timeout: 5_000_000_000,
            ..Healthcheck::default()
        };
        let over = |own: Option<Health>, image: &Healthcheck| Health::over(own, Some(image), None).unwrap();
        let got = over(None, &image(&["CMD-SHELL", "a b"]));
        assert_eq!(got.test, Some(HealthTest::Shell("a b".to_owned())));
        assert_eq!((got.retries, got.interval_ns), (Some(7), Some(LEAST_OF_IMAGE_NS)));
        assert_eq!((got.timeout_ns, got.start_period_ns), (Some(5_000_000_000), None));
        assert_eq!(over(Some(got.clone()), &image(&["CMD-SHELL", "a b"])), got, "over itself it is the same");
        assert_eq!(over(None, &image(&["CMD", "a", "b"])).test, Some(HealthTest::Exec(words(&["a", "b"]))));
        assert_eq!(over(None, &image(&["NONE"])).test, Some(HealthTest::None));
        for nothing in [&[][..], &["CMD"], &["WHAT", "a"], &["CMD-SHELL"]] {
            assert_eq!(over(None, &image(nothing)).test, None, "{nothing:?}");
        }
        let own = Health {
            test: Some(HealthTest::Shell("c".to_owned())),
            retries: Some(2),
            timeout_ns: Some(0),
            interval_ns: Some(LEAST_NS),
            ..Health::default()
        };
        let shell = words(&["/bin/bash", "-ec"]);
        let got = Health::over(Some(own.clone()), Some(&image(&["NONE"])), Some(&shell)).unwrap();
        assert_eq!((&got.test, got.retries, &got.shell), (&own.test, Some(2), &shell));
        assert_eq!(got.interval_ns, Some(LEAST_NS), "what was typed is taken as it is");
        assert_eq!(got.timeout_ns, Some(5_000_000_000), "0 inherits");
        let off = Health { test: Some(HealthTest::None), ..Health::default() };
        assert_eq!(over(Some(off), &image(&["CMD", "a"])).test, Some(HealthTest::None));
        assert_eq!(Health::over(None, None, Some(&shell)), None);
        assert_eq!(got.to_image().test, ["CMD-SHELL", "c"]);
        assert_eq!((got.to_image().retries, got.to_image().start_period), (2, 0));
    }
}
