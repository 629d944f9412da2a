//! `--cpus`: a decimal number of processors, kept in billionths as the API has it.

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpusError {
    #[error("failed to parse {0} as a rational number")]
    NotANumber(String),
    #[error("value is too precise")]
    TooPrecise,
}

/// `1.5` → 1 500 000 000.
pub fn parse_nano_cpus(text: &str) -> Result<i64, CpusError> {
    let bad = || CpusError::NotANumber(text.to_owned());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(bad());
    }
    if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 9 {
        return Err(CpusError::TooPrecise);
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
    let nanos: i64 = format!("{fraction:0<9}").parse().map_err(|_| bad())?;
    whole.checked_mul(1_000_000_000).and_then(|n| n.checked_add(nanos)).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals() {
        for (text, nanos) in [
            ("1", Some(1_000_000_000)),
            ("1.5", Some(1_500_000_000)),
            ("0.000000001", Some(1)),
            (".5", Some(500_000_000)),
            ("2.", Some(2_000_000_000)),
            ("1.5000000000000", Some(1_500_000_000)),
            ("0", Some(0)),
            ("0.0000000001", None),
            ("", None),
            (".", None),
            ("-1", None),
            ("1,5", None),
            ("all", None),
            ("99999999999", None),
        ] {
            assert_eq!(parse_nano_cpus(text).ok(), nanos, "{text:?}");
        }
    }
}
