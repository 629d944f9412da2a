//! RFC 3339, as Go's `time.RFC3339Nano` writes it.

use std::time::{SystemTime, UNIX_EPOCH};

/// In UTC, the fraction without trailing zeros. Times before 1970 are shown as 1970.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days as i64);
    let fraction = match since.subsec_nanos() {
        0 => String::new(),
        nanos => format!(".{nanos:09}").trim_end_matches('0').into(),
    };
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}{fraction}Z")
}

/// The second since 1970 that an RFC 3339 time in UTC stands for; fractions are dropped.
pub fn unix_seconds(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    // Days from a civil date, counted from 1 March so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = 365 * year + leaps + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Nanoseconds since 1970 of an RFC 3339 time in UTC, as [`rfc3339`] writes it.
pub fn unix_ns(text: &str) -> Option<i128> {
    let seconds = unix_seconds(text)?;
    let rest = text.get(19..)?.strip_suffix('Z')?;
    let nanos = match rest.strip_prefix('.') {
        None if rest.is_empty() => 0,
        Some(digits) if (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse::<i128>().ok()? * 10i128.pow(9 - digits.len() as u32)
        }
        _ => return None,
    };
    Some(i128::from(seconds) * 1_000_000_000 + nanos)
}

/// Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days; for days since 1970 ≥ 0.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn known_times() {
        let at = |secs, nanos| rfc3339(UNIX_EPOCH + Duration::new(secs, nanos));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400, 0), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_709_251_199, 500_000_000), "2024-02-29T23:59:59.5Z");
        assert_eq!(at(4_102_444_800, 1), "2100-01-01T00:00:00.000000001Z");
    }

    #[test]
    fn times_become_nanoseconds() {
        for (text, ns) in [
            ("1970-01-01T00:00:01Z", Some(1_000_000_000)),
            ("1970-01-01T00:00:00.000000001Z", Some(1)),
            ("2024-02-29T00:00:00.5Z", Some(1_709_164_800_500_000_000)),
            ("1970-01-01T00:00:00.Z", None),
            ("1970-01-01T00:00:00", None),
        ] {
            assert_eq!(unix_ns(text), ns, "{text}");
        }
    }

    #[test]
    fn times_become_seconds() {
        for (text, second) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2024-02-29T00:00:00.5Z", Some(1_709_164_800)),
            ("2026-11-24T08:15:29Z", Some(1_795_508_129)),
            ("yesterday", None),
        ] {
            assert_eq!(unix_seconds(text), second, "{text}");
        }
    }
}
