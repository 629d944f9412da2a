//! `--time-offset`: a time namespace whose clocks are ahead of the host's or behind (time_namespaces(7)).

use serde::{Deserialize, Serialize};

/// Seconds that are added to the host's clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeOffset {
    /// `CLOCK_MONOTONIC`.
    pub monotonic_s: i64,
    /// `CLOCK_BOOTTIME`: /proc/uptime.
    pub boottime_s: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid time offset {0:?}: expected monotonic=SECONDS,boottime=SECONDS")]
pub struct TimeOffsetError(String);

impl TimeOffset {
    /// `monotonic=SECONDS,boottime=SECONDS`, either alone or both.
    pub fn parse(text: &str) -> Result<Self, TimeOffsetError> {
        let bad = || TimeOffsetError(text.to_owned());
        let (mut monotonic, mut boottime) = (None, None);
        for part in text.split(',') {
            let (clock, seconds) = part.split_once('=').ok_or_else(bad)?;
            let slot = match clock {
                "monotonic" => &mut monotonic,
                "boottime" => &mut boottime,
                _ => return Err(bad()),
            };
            if slot.replace(seconds.parse::<i64>().map_err(|_| bad())?).is_some() {
                return Err(bad());
            }
        }
        Ok(Self { monotonic_s: monotonic.unwrap_or(0), boottime_s: boottime.unwrap_or(0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_clock_once() {
        let both = TimeOffset { monotonic_s: 86_400, boottime_s: -7 };
        assert_eq!(TimeOffset::parse("monotonic=86400,boottime=-7"), Ok(both));
        assert_eq!(TimeOffset::parse("boottime=5").unwrap().boottime_s, 5);
        for bad in
            ["", "5", "monotonic", "monotonic=", "monotonic=1,monotonic=2", "realtime=1", "boottime=1s"]
        {
            assert!(TimeOffset::parse(bad).is_err(), "{bad}");
        }
    }
}
