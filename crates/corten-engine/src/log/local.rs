//! The `local` format: binary records, which can be read from either end.
//!
//! ```text
//!   length u32 │ flags u8 │ time u64, ns since 1970 │ attributes' length u16, attributes │ text │ length u32
//! ```
//!
//! Little-endian; `length` is that of what lies between the two. Flag 1: standard error; flag 2: the line
//! goes on in the next record. The attributes are a JSON object or nothing.

use super::printer::{Entry, Stamp, Text};

const STDERR: u8 = 1;
const PARTIAL: u8 = 2;
/// Flags, time, length of the attributes.
const FIXED: usize = 11;
/// Longer ones are damaged.
const MAX: usize = 1 << 20;

/// Adds one record; the newline of `text` is kept by the flag alone.
pub(super) fn encode(out: &mut Vec<u8>, stderr: bool, text: &[u8], attrs: &str, time_ns: u64) {
    let (text, partial) = match text.strip_suffix(b"\n") {
        Some(text) => (text, 0),
        None => (text, PARTIAL),
    };
    let attrs = if attrs.len() > usize::from(u16::MAX) { "" } else { attrs };
    let length = ((FIXED + attrs.len() + text.len()) as u32).to_le_bytes();
    out.extend_from_slice(&length);
    out.push(if stderr { partial | STDERR } else { partial });
    out.extend_from_slice(&time_ns.to_le_bytes());
    out.extend_from_slice(&(attrs.len() as u16).to_le_bytes());
    out.extend_from_slice(attrs.as_bytes());
    out.extend_from_slice(text);
    out.extend_from_slice(&length);
}

/// What a beginning of a file holds.
pub(super) enum Found<'a> {
    /// A record, and where the next one begins.
    Whole(Entry<'a>, usize),
    /// The beginning of one.
    More,
    Damaged,
}

pub(super) fn decode(bytes: &[u8]) -> Found<'_> {
    let Some(length) = number(bytes, 0) else { return Found::More };
    if !(FIXED..=MAX).contains(&length) {
        return Found::Damaged;
    }
    let Some(again) = number(bytes, 4 + length) else { return Found::More };
    let body = &bytes[4..4 + length];
    let attrs = usize::from(u16::from_le_bytes([body[9], body[10]]));
    if again != length || FIXED + attrs > length {
        return Found::Damaged;
    }
    let mut time = [0; 8];
    time.copy_from_slice(&body[1..9]);
    let text = &body[FIXED + attrs..];
    let entry = Entry {
        stderr: body[0] & STDERR != 0,
        text: if body[0] & PARTIAL == 0 { Text::Line(text) } else { Text::Part(text) },
        time: Stamp::Ns(u64::from_le_bytes(time)),
        attrs: &body[FIXED..FIXED + attrs],
    };
    Found::Whole(entry, length + 8)
}

/// The length of the record that ends where `bytes` end, with both its lengths.
pub(super) fn length_before(bytes: &[u8]) -> Option<usize> {
    let length = number(bytes, bytes.len().checked_sub(4)?)?;
    (FIXED..=MAX).contains(&length).then_some(length + 8)
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_from_both_ends() {
        let mut bytes = Vec::new();
        encode(&mut bytes, true, b"a\n", r#"{"k":"v"}"#, 7);
        let first = bytes.len();
        encode(&mut bytes, false, b"part", "", 8);
        assert_eq!(length_before(&bytes), Some(bytes.len() - first));
        assert_eq!(length_before(&bytes[..first]), Some(first));
        let Found::Whole(entry, next) = decode(&bytes) else { panic!() };
        assert_eq!((next, entry.stderr, entry.attrs), (first, true, &br#"{"k":"v"}"#[..]));
        assert!(matches!(entry.time, Stamp::Ns(7)) && matches!(entry.text, Text::Line(b"a")));
        let Found::Whole(entry, _) = decode(&bytes[first..]) else { panic!() };
        assert!(!entry.stderr && matches!(entry.text, Text::Part(b"part")));
        for cut in 0..first {
            assert!(matches!(decode(&bytes[..cut]), Found::More));
        }
        bytes[first - 1] = 1;
        assert!(matches!(decode(&bytes), Found::Damaged));
        assert!(matches!(decode(&[0; 64]), Found::Damaged));
    }
}
