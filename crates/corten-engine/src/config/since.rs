//! `--since`, `--until`: a time as Docker's commands read it.

use super::duration::parse_duration_ns;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse value as time or duration: {0:?}")]
pub struct TimeError(String);

/// Nanoseconds since 1970: a duration before `now_ns`, seconds since 1970 with an optional fraction, or a
/// date with as much of a time as one likes and an optional zone; without one it is UTC.
pub fn parse_time_ns(text: &str, now_ns: i128) -> Result<i128, TimeError> {
    let error = || TimeError(text.to_owned());
    if let Ok(before) = parse_duration_ns(text)
        && text != "0"
    {
        return Ok(now_ns - i128::from(before));
    }
    match text.get(4..5) {
        Some("-") => date(text).ok_or_else(error),
        _ => seconds(text).ok_or_else(error),
    }
}

/// `1136073845.000000001`.
fn seconds(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok()?;
    Some(i128::from(whole) * 1_000_000_000 + nanos(fraction)?)
}

/// Digits behind the point.
fn nanos(digits: &str) -> Option<i128> {
    if digits.is_empty() {
        return Some(0);
    }
    let digits = digits.get(..digits.len().min(9)).filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    Some(digits.parse::<i128>().ok()? * 10i128.pow(9 - digits.len() as u32))
}

/// `2006-01-02[T15[:04[:05[.999999999]]]][Z|+07:00]`
fn date(text: &str) -> Option<i128> {
    let zone_at = text.get(10..)?.find(['Z', '+', '-']).map_or(text.len(), |at| at + 10);
    let (moment, zone) = text.split_at_checked(zone_at)?;
    let (date, clock) = match moment.split_at_checked(10)? {
        (date, "") => (date, "00"),
        (date, clock) => (date, clock.strip_prefix('T')?),
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let whole = match clock.len() {
        2 => format!("{date}T{clock}:00:00Z"),
        5 => format!("{date}T{clock}:00Z"),
        8 => format!("{date}T{clock}Z"),
        _ => return None,
    };
    let shape =
        |text: &str| text.bytes().map(|b| if b.is_ascii_digit() { b'0' } else { b }).collect::<Vec<_>>();
    if shape(&whole) != b"0000-00-00T00:00:00Z" || !in_range(&whole) {
        return None;
    }
    let seconds = corten_oci::time::unix_seconds(&whole)?;
    Some(i128::from(seconds) * 1_000_000_000 + nanos(fraction)? - i128::from(zone_s(zone)?) * 1_000_000_000)
}

/// Month, day, hour, minute and second are such.
fn in_range(whole: &str) -> bool {
    let part = |at: usize| whole.get(at..at + 2).and_then(|text| text.parse::<u32>().ok()).unwrap_or(99);
    (1..=12).contains(&part(5))
        && (1..=31).contains(&part(8))
        && part(11) < 24
        && part(14) < 60
        && part(17) < 60
}

/// Seconds east of Greenwich.
fn zone_s(text: &str) -> Option<i64> {
    let (sign, text) = match text.split_at_checked(1) {
        None | Some(("Z", "")) => return Some(0),
        Some(("+", text)) => (1, text),
        Some(("-", text)) => (-1, text),
        _ => return None,
    };
    let (hours, minutes) = text.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    Some(sign * (hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        const S: i128 = 1_000_000_000;
        let now = 1_709_208_000 * S;
        for (text, want) in [
            ("10m", now - 600 * S),
            ("1h30m", now - 5400 * S),
            ("-10s", now + 10 * S),
            ("1136073845", 1_136_073_845 * S),
            ("1136073845.5", 1_136_073_845 * S + S / 2),
            ("1136073845.000000001", 1_136_073_845 * S + 1),
            ("0", 0),
            ("2006-01-02", 1_136_160_000 * S),
            ("2006-01-02T15", 1_136_214_000 * S),
            ("2006-01-02T15:04", 1_136_214_240 * S),
            ("2006-01-02T15:04:05", 1_136_214_245 * S),
            ("2006-01-02T15:04:05Z", 1_136_214_245 * S),
            ("2006-01-02T15:04:05.25+07:00", (1_136_214_245 - 7 * 3600) * S + S / 4),
            ("2006-01-02-01:30", (1_136_160_000 + 5400) * S),
        ] {
            assert_eq!(parse_time_ns(text, now), Ok(want), "{text}");
        }
        for bad in
            ["", "yesterday", "2006-13-02", "2006-01-02T25", "2006-01-02 15:04", "2006-01-02T1:2:3", "1.x"]
        {
            assert!(parse_time_ns(bad, now).is_err(), "{bad}");
        }
    }
}
