//! Numbers in headers: octal text, GNU's base-256, pax's decimals.

use super::{Reason, Time};

/// Octal digits between blanks, or base-256 if the first bit is set (the second is then the sign).
pub(crate) fn field(bytes: &[u8], what: &'static str) -> Result<i64, Reason> {
    if bytes.first().is_some_and(|first| first & 0x80 != 0) {
        return base256(bytes, what);
    }
    let blank = |c: &u8| matches!(c, b' ' | 0);
    let start = bytes.iter().position(|c| !blank(c)).unwrap_or(bytes.len());
    let digits = &bytes[start..];
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    if !digits[end..].iter().all(blank) {
        return Err(Reason::Number(what));
    }
    digits[..end].iter().try_fold(0i64, |value, c| match c {
        b'0'..=b'7' => {
            value.checked_mul(8).and_then(|v| v.checked_add(i64::from(c - b'0'))).ok_or(Reason::Huge(what))
        }
        _ => Err(Reason::Number(what)),
    })
}

fn base256(bytes: &[u8], what: &'static str) -> Result<i64, Reason> {
    let negative = bytes[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (at, byte) in bytes.iter().enumerate() {
        let byte = match at {
            0 if negative => byte | 0x80,
            0 => byte & 0x3f,
            _ => *byte,
        };
        value = value << 8 | i128::from(byte);
        if i64::try_from(value).is_err() {
            return Err(if negative { Reason::Number(what) } else { Reason::Huge(what) });
        }
    }
    i64::try_from(value).map_err(|_| Reason::Huge(what))
}

/// As `field`, for what cannot be below zero.
pub(crate) fn unsigned(bytes: &[u8], what: &'static str) -> Result<u64, Reason> {
    u64::try_from(field(bytes, what)?).map_err(|_| Reason::Negative(what))
}

/// Nothing but decimal digits, below 2^63.
pub(crate) fn decimal(text: &[u8], what: &'static str) -> Result<u64, Reason> {
    if text.is_empty() {
        return Err(Reason::Number(what));
    }
    if text[0] == b'-' {
        return Err(Reason::Negative(what));
    }
    let value = text.iter().try_fold(0i64, |value, c| match c {
        b'0'..=b'9' => {
            value.checked_mul(10).and_then(|v| v.checked_add(i64::from(c - b'0'))).ok_or(Reason::Huge(what))
        }
        _ => Err(Reason::Number(what)),
    })?;
    Ok(value.unsigned_abs())
}

/// pax times: `-12.5` is 13 seconds before 1970 and half a second forwards. No `inf`, no `nan`, no exponent.
pub(crate) fn time(text: &[u8]) -> Result<Time, Reason> {
    let what = "mtime";
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|c| *c == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(Reason::Number(what));
    }
    let secs = decimal(whole, what)? as i64;
    let nanos = (0..9).fold(0u32, |n, at| n * 10 + fraction.get(at).map_or(0, |c| u32::from(c - b'0')));
    Ok(match (negative, nanos) {
        (false, nanos) => Time { secs, nanos },
        (true, 0) => Time { secs: -secs, nanos: 0 },
        (true, nanos) => Time { secs: -secs - 1, nanos: 1_000_000_000 - nanos },
    })
}

/// Octal with a NUL behind, filling the field; `None` if it does not fit.
pub(crate) fn put_octal(field: &mut [u8], value: u64) -> Option<()> {
    let digits = format!("{value:0width$o}", width = field.len() - 1);
    if digits.len() > field.len() - 1 {
        return None;
    }
    field[..digits.len()].copy_from_slice(digits.as_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn octal_and_base256() {
        let value = |bytes: &[u8]| field(bytes, "size");
        assert_eq!(value(b"00000000010\0"), Ok(8));
        assert_eq!(value(b"   10 \0\0\0"), Ok(8));
        assert_eq!(value(b"77777777777"), Ok(0o77777777777));
        assert_eq!(value(b"\0\0\0\0"), Ok(0));
        assert_eq!(value(b"12x4\0"), Err(Reason::Number("size")));
        assert_eq!(value(b"1 2\0"), Err(Reason::Number("size")));
        assert_eq!(value(b"-1\0"), Err(Reason::Number("size")));
        assert_eq!(value(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]), Ok(256));
        assert_eq!(value(&[0xff; 12]), Ok(-1));
        assert_eq!(value(&[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]), Err(Reason::Huge("size")));
        assert_eq!(unsigned(&[0xff; 12], "size"), Err(Reason::Negative("size")));
        assert_eq!(decimal(b"9223372036854775808", "size"), Err(Reason::Huge("size")));
        assert_eq!(decimal(b"+1", "size"), Err(Reason::Number("size")));
    }

    #[test]
    fn times() {
        assert_eq!(time(b"12.5"), Ok(Time { secs: 12, nanos: 500_000_000 }));
        assert_eq!(time(b"-12.5"), Ok(Time { secs: -13, nanos: 500_000_000 }));
        assert_eq!(time(b"1.1234567899"), Ok(Time { secs: 1, nanos: 123_456_789 }));
        for bad in ["inf", "nan", "-", "", ".5", "1e9", "1.x", "--1", "1,5"] {
            assert!(time(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn octal_round_trips(value in 0u64..1 << 33) {
            let mut bytes = [0u8; 12];
            put_octal(&mut bytes, value).unwrap();
            prop_assert_eq!(unsigned(&bytes, "size"), Ok(value));
        }

        #[test]
        fn base256_round_trips(value: i64) {
            let mut bytes = [if value < 0 { 0xff } else { 0 }; 12];
            bytes[4..].copy_from_slice(&value.to_be_bytes());
            bytes[0] |= 0x80;
            prop_assert_eq!(field(&bytes, "size"), Ok(value));
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            let _ = (field(&bytes, "x"), decimal(&bytes, "x"), time(&bytes));
        }
    }
}
