//! Sizes as Docker reads them (go-units `RAMInBytes`): a decimal number and a binary multiple.

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid size: '{0}'")]
pub struct SizeError(pub String);

/// `128m`, `1.5GiB`, `4096`: bytes, in multiples of 1024; never negative.
pub fn parse_bytes(text: &str) -> Result<i64, SizeError> {
    let bad = || SizeError(text.to_owned());
    let split = text.rfind(|c: char| c.is_ascii_digit() || c == '.').ok_or_else(bad)? + 1;
    let (number, mut unit) = (&text[..split], &text[split..]);
    if let Some(rest) = unit.strip_prefix(' ') {
        unit = rest;
    }
    if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(bad());
    }
    let number: f64 = number.parse().map_err(|_| bad())?;
    let unit = unit.to_ascii_lowercase();
    let letter = match unit.as_bytes() {
        [] | [b'b'] => b' ',
        [letter] | [letter, b'b'] | [letter, b'i', b'b'] => *letter,
        _ => return Err(bad()),
    };
    let power = match letter {
        b' ' => 0,
        b'k' => 1,
        b'm' => 2,
        b'g' => 3,
        b't' => 4,
        b'p' => 5,
        _ => return Err(bad()),
    };
    let bytes = number * 1024f64.powi(power);
    if bytes >= i64::MAX as f64 {
        return Err(bad());
    }
    Ok(bytes as i64)
}

/// As [`parse_bytes`], with `-1` for "no limit" (`--memory-swap`).
pub fn parse_bytes_or_unlimited(text: &str) -> Result<i64, SizeError> {
    if text == "-1" { Ok(-1) } else { parse_bytes(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("32", Some(32)),
            ("32b", Some(32)),
            ("32B", Some(32)),
            ("32k", Some(32 << 10)),
            ("32K", Some(32 << 10)),
            ("32kb", Some(32 << 10)),
            ("32Kib", Some(32 << 10)),
            ("32Mb", Some(32 << 20)),
            ("1.5g", Some(3 << 29)),
            ("32 mb", Some(32 << 20)),
            ("1t", Some(1 << 40)),
            (".5k", Some(512)),
            ("", None),
            ("hello", None),
            ("-32", None),
            ("-1", None),
            (" 32", None),
            ("32  mb", None),
            ("32m b", None),
            ("32bm", None),
            ("1..5g", None),
            ("9999999p", None),
            ("1e3", None),
            ("٣k", None),
        ] {
            assert_eq!(parse_bytes(text).ok(), bytes, "{text:?}");
        }
        assert_eq!(parse_bytes_or_unlimited("-1"), Ok(-1));
        assert_eq!(parse_bytes("1x").unwrap_err().to_string(), "invalid size: '1x'");
    }
}
