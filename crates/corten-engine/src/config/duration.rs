//! Durations as Go's `time.ParseDuration` reads them: `1h30m`, `1.5s`, `300ms`.

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit { unit: String, text: String },
}

/// Nanoseconds; a sign is allowed, as in Go.
pub fn parse_duration_ns(text: &str) -> Result<i64, DurationError> {
    let bad = || DurationError::Invalid(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(bad());
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        if number.is_empty() || number == "." || number.matches('.').count() > 1 {
            return Err(bad());
        }
        let unit_ns: i64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(DurationError::MissingUnit(text.to_owned())),
            _ => return Err(DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() }),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
        let fraction: f64 =
            if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().map_err(|_| bad())? };
        let part = whole
            .checked_mul(unit_ns)
            .and_then(|n| n.checked_add((fraction * unit_ns as f64) as i64))
            .ok_or_else(bad)?;
        total = total.checked_add(part).ok_or_else(bad)?;
        rest = tail;
    }
    Ok(if negative { -total } else { total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations() {
        for (text, ns) in [
            ("0", Some(0)),
            ("5s", Some(5_000_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            (".5m", Some(30_000_000_000)),
            ("300ms", Some(300_000_000)),
            ("10µs", Some(10_000)),
            ("-1s", Some(-1_000_000_000)),
            ("", None),
            ("-", None),
            ("3", None),
            ("s", None),
            ("1x", None),
            ("1.2.3s", None),
            ("9999999999h", None),
        ] {
            assert_eq!(parse_duration_ns(text).ok(), ns, "{text:?}");
        }
        assert_eq!(parse_duration_ns("3").unwrap_err().to_string(), r#"time: missing unit in duration "3""#);
        assert_eq!(
            parse_duration_ns("1x").unwrap_err().to_string(),
            r#"time: unknown unit "x" in duration "1x""#
        );
    }
}
