//! What Docker's container document says of health checks.

use corten_engine::config::Health;
use corten_engine::health::{Probe, Shown};
use serde_json::{Map, Value, json};

/// `.Config.Healthcheck`: what was not said is not there.
pub(crate) fn check(health: &Health) -> Value {
    let check = health.to_image();
    let mut map = Map::new();
    if !check.test.is_empty() {
        map.insert("Test".to_owned(), json!(check.test));
    }
    for (name, value) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
        ("Retries", check.retries),
    ] {
        if value != 0 {
            map.insert(name.to_owned(), value.into());
        }
    }
    map.into()
}

/// `.State.Health`.
pub(crate) fn shown(health: &Shown) -> Value {
    let probe = |probe: &Probe| {
        json!({
            "Start": time(probe.start_ns),
            "End": time(probe.end_ns),
            "ExitCode": probe.exit_code,
            "Output": probe.output,
        })
    };
    json!({
        "Status": health.status.as_str(),
        "FailingStreak": health.failing_streak,
        "Log": health.log.iter().map(probe).collect::<Vec<_>>(),
    })
}

/// RFC 3339 with nanoseconds.
fn time(ns: u128) -> String {
    let second = std::time::Duration::from_secs(u64::try_from(ns / 1_000_000_000).unwrap_or(u64::MAX));
    let second = corten_oci::time::rfc3339(std::time::UNIX_EPOCH + second);
    format!("{}.{:09}Z", second.trim_end_matches('Z'), ns % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use corten_engine::config::HealthTest;
    use corten_engine::health::Status;

    use super::*;

    #[test]
    fn as_docker_shows_it() {
        let words = vec!["a".to_owned(), "b".to_owned()];
        let health =
            Health { test: Some(HealthTest::Exec(words)), interval_ns: Some(5_000_000), ..Health::default() };
        assert_eq!(check(&health), json!({"Test": ["CMD", "a", "b"], "Interval": 5_000_000}));
        let probe = Probe {
            start_ns: 1_700_000_000_000_000_001,
            end_ns: 1_700_000_001_500_000_000,
            exit_code: 1,
            output: "no\n".to_owned(),
        };
        let health = Shown { status: Status::Unhealthy, failing_streak: 3, log: [probe].into() };
        let want = json!({
            "Status": "unhealthy",
            "FailingStreak": 3,
            "Log": [{
                "Start": "2023-11-14T22:13:20.000000001Z",
                "End": "2023-11-14T22:13:21.500000000Z",
                "ExitCode": 1,
                "Output": "no\n",
            }],
        });
        assert_eq!(shown(&health), want);
    }
}
