//! The `json-file` format: one JSON object a line, byte for byte as Docker writes it, with the fields `log`,
//! `stream`, `attrs` (if there are any) and `time`.
//!
//! A line of this very form is taken apart without a JSON parser; any other by one.

use super::printer::{Entry, Stamp, Text};

/// Adds one line.
pub(super) fn encode(out: &mut Vec<u8>, stderr: bool, text: &[u8], attrs: &str, time: &str) {
    out.extend_from_slice(b"{\"log\":\"");
    escape(out, text);
    out.extend_from_slice(if stderr { b"\",\"stream\":\"stderr\"" } else { b"\",\"stream\":\"stdout\"" });
    if !attrs.is_empty() {
        out.extend_from_slice(b",\"attrs\":");
        out.extend_from_slice(attrs.as_bytes());
    }
    out.extend_from_slice(b",\"time\":\"");
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

/// What stands for itself. The rest Docker escapes, `<`, `>` and `&` too.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x7f {
        plain[byte] = !matches!(byte as u8, b'"' | b'\\' | b'<' | b'>' | b'&');
        byte += 1;
    }
    plain[0x7f] = true;
    plain
};

fn escape(out: &mut Vec<u8>, mut text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    while !text.is_empty() {
        let plain = text.iter().position(|byte| !PLAIN[usize::from(*byte)]).unwrap_or(text.len());
        out.extend_from_slice(&text[..plain]);
        text = &text[plain..];
        let Some(&byte) = text.first() else { return };
        let mut used = 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0..0x80 => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => match character(text) {
                Some(c @ ('\u{2028}' | '\u{2029}')) => {
                    out.extend_from_slice(if c == '\u{2028}' { b"\\u2028" } else { b"\\u2029" });
                    used = c.len_utf8();
                }
                Some(c) => {
                    used = c.len_utf8();
                    out.extend_from_slice(&text[..used]);
                }
                None => out.extend_from_slice(b"\\ufffd"),
            },
        }
        text = &text[used..];
    }
}

/// The first character, if it is one.
fn character(text: &[u8]) -> Option<char> {
    let most = &text[..text.len().min(4)];
    match std::str::from_utf8(most) {
        Ok(text) => text.chars().next(),
        Err(error) => std::str::from_utf8(&most[..error.valid_up_to()]).ok()?.chars().next(),
    }
}

/// One line without its newline; `scratch` keeps what the JSON parser made of another form. `None` for what
/// is no entry.
pub(super) fn decode<'a>(line: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<Entry<'a>> {
    if let Some(entry) = common(line) {
        return Some(entry);
    }
    #[derive(serde::Deserialize)]
    struct Other {
        #[serde(default)]
        log: String,
        #[serde(default)]
        stream: String,
        #[serde(default)]
        attrs: std::collections::BTreeMap<String, String>,
        time: String,
    }
    let other: Other = serde_json::from_slice(line).ok()?;
    let attrs = match other.attrs.is_empty() {
        true => String::new(),
        false => serde_json::to_string(&other.attrs).ok()?,
    };
    scratch.clear();
    encode(scratch, other.stream == "stderr", other.log.as_bytes(), &attrs, &other.time);
    scratch.pop();
    common(scratch)
}

/// The first line of `bytes` and its length with the newline, if it has the usual form and no attributes: the
/// text is gone through once, by a search that finds its escapes and its end alike.
pub(super) fn first(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let (stderr, text, rest) = beginning(bytes)?;
    let time = rest.strip_prefix(b",\"time\":\"")?;
    let (time, rest) = time.split_at(memchr::memchr(b'\n', time)?.checked_sub(2)?);
    rest.starts_with(b"\"}\n").then_some(())?;
    Some((Entry { stderr, text, time: Stamp::Text(time), attrs: &[] }, bytes.len() - rest.len() + 3))
}

fn common(line: &[u8]) -> Option<Entry<'_>> {
    let (stderr, text, rest) = beginning(line)?;
    let (attrs, rest) = match rest.strip_prefix(b",\"attrs\":") {
        Some(rest) => rest.split_at(memchr::memmem::rfind(rest, b",\"time\":\"")?),
        None => (&[][..], rest),
    };
    let time = rest.strip_prefix(b",\"time\":\"")?.strip_suffix(b"\"}")?;
    Some(Entry { stderr, text, time: Stamp::Text(time), attrs })
}

/// Whether it is standard error, the text, and what follows both.
fn beginning(line: &[u8]) -> Option<(bool, Text<'_>, &[u8])> {
    let inner = line.strip_prefix(b"{\"log\":\"")?;
    let (plain, end) = string(inner)?;
    let rest = inner[end..].strip_prefix(b"\",\"stream\":\"std")?;
    let (stderr, rest) = match rest.strip_prefix(b"out\"") {
        Some(rest) => (false, rest),
        None => (true, rest.strip_prefix(b"err\"")?),
    };
    Some((stderr, Text::Escaped { text: &inner[..end], plain }, rest))
}

/// How much of a string comes before its first escape, and where its closing quote is. There is none after a
/// newline, which a JSON string cannot have: that line was torn.
fn string(text: &[u8]) -> Option<(usize, usize)> {
    let mut plain = None;
    let mut at = memchr::memchr3(b'"', b'\\', b'\n', text)?;
    loop {
        match text[at] {
            b'"' => return Some((plain.unwrap_or(at), at)),
            b'\\' if text.get(at + 1) != Some(&b'\n') => plain = plain.or(Some(at)),
            _ => return None,
        }
        at = match near(text, at + 2, *b"\"\\\n") {
            Near::At(at) => at,
            Near::NotBefore(at) => at + memchr::memchr3(b'"', b'\\', b'\n', text.get(at..)?)?,
        };
    }
}

enum Near {
    At(usize),
    NotBefore(usize),
}

/// Looks for one of some bytes in the next few: where an escape is, another or the end is often near, and a search
/// that is made for long texts takes longer to begin than this to end.
fn near<const N: usize>(text: &[u8], from: usize, wanted: [u8; N]) -> Near {
    const ONES: u64 = u64::MAX / 255;
    let mut at = from;
    while let Some(word) = text.get(at..at + 8).and_then(|word| <[u8; 8]>::try_from(word).ok())
        && at < from + 16
    {
        // The lowest byte that is one of them has its high bit set, and none below it has.
        let word = u64::from_le_bytes(word);
        let zeros = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
        let found = wanted.iter().fold(0, |found, byte| found | zeros(word ^ (ONES * u64::from(*byte))));
        if found != 0 {
            return Near::At(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    Near::NotBefore(at)
}

/// Adds what a JSON string stands for; what comes before its first escape is known.
pub(super) fn unescape(out: &mut Vec<u8>, text: &[u8], plain: usize) {
    let (plain, mut text) = text.split_at(plain);
    out.extend_from_slice(plain);
    loop {
        let at = match near(text, 0, [b'\\']) {
            Near::At(at) => at,
            Near::NotBefore(at) => match memchr::memchr(b'\\', &text[at..]) {
                Some(further) => at + further,
                None => break,
            },
        };
        out.extend_from_slice(&text[..at]);
        let (byte, used) = match text.get(at + 1) {
            Some(b'n') => (b'\n', 2),
            Some(b'r') => (b'\r', 2),
            Some(b't') => (b'\t', 2),
            Some(b'b') => (8, 2),
            Some(b'f') => (12, 2),
            Some(b'u') => {
                let (c, used) = unicode(&text[at..]);
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                text = &text[at + used..];
                continue;
            }
            Some(byte) => (*byte, 2),
            None => (b'\\', 1),
        };
        out.push(byte);
        text = &text[at + used..];
    }
    out.extend_from_slice(text);
}

/// `\u00e9`, or two of them for what lies above U+FFFF.
fn unicode(text: &[u8]) -> (char, usize) {
    let unit = |at: usize| {
        let text = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u32::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
    };
    let Some(first) = unit(0) else { return (char::REPLACEMENT_CHARACTER, 2) };
    if let (0xd800..0xdc00, Some(second @ 0xdc00..0xe000)) = (first, unit(6)) {
        let both = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(both).unwrap_or(char::REPLACEMENT_CHARACTER), 12);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(entry: &Entry<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        entry.text.add_to(&mut out);
        out
    }

    #[test]
    fn lines_are_dockers() {
        let mut out = Vec::new();
        encode(&mut out, false, "<a&b>\t\"é\\\u{2028}\x1b\n".as_bytes(), "", "2024-01-01T00:00:00.5Z");
        let want = r#"{"log":"\u003ca\u0026b\u003e\u0009\"é\\\u2028\u001b\n","stream":"stdout","time":"2024-01-01T00:00:00.5Z"}"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!("{want}\n"));
        let mut out = Vec::new();
        encode(&mut out, true, b"a\xffb\xe2\x80", r#"{"k":"v"}"#, "T");
        let want = r#"{"log":"a\ufffdb\ufffd\ufffd","stream":"stderr","attrs":{"k":"v"},"time":"T"}"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!("{want}\n"));
    }

    #[test]
    fn what_was_written_is_read() {
        for text in
            ["", "a\n", "\"\\\n", "\u{1f600}\u{2028}é<>&\0\x7f\r\n", "\\u0041", "},\"stream\":\"stderr\""]
        {
            for attrs in ["", r#"{"a":"b","time":",\"time\":\""}"#] {
                let mut line = Vec::new();
                encode(&mut line, true, text.as_bytes(), attrs, "2024-01-01T00:00:00Z");
                line.pop();
                let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
                assert_eq!(value["log"], *text);
                let entry = common(&line).unwrap();
                assert_eq!((plain(&entry), entry.stderr, entry.attrs), (text.into(), true, attrs.as_bytes()));
            }
        }
    }

    #[test]
    fn what_is_near_is_found() {
        for length in 0..40 {
            for place in 0..length {
                for other in [b'\x01', b'#', b'!', 0xff, 0xdc, 0x5d] {
                    let mut text = vec![other; length];
                    text[place] = b'\\';
                    let found = match near(&text, 0, *b"\"\\\n") {
                        Near::At(at) => at,
                        Near::NotBefore(at) => {
                            at + text[at..].iter().position(|byte| *byte == b'\\').unwrap()
                        }
                    };
                    assert_eq!(found, place);
                }
            }
        }
        assert!(matches!(near(b"1234567\\", 3, [b'\\']), Near::NotBefore(3)), "less than a word is left");
    }

    /// The short way through a line says what the long one says, or nothing.
    #[test]
    fn a_line_is_the_same_by_its_newline_and_without() {
        let mut lines = vec![Vec::new(), b"torn{\"log\":\"".to_vec(), b"{\"log\":\"a\\".to_vec()];
        for text in ["", "a", "a\n", "\"\\tab\\\\\n", "é\u{2028}<\n", "\n\n", "x\0y", "\\"] {
            for time in ["2026-11-24T12:00:00.123456789Z", "2026-11-24T12:00:00Z", "T", ""] {
                for attrs in ["", r#"{"a":"b"}"#] {
                    let mut line = Vec::new();
                    encode(&mut line, text.len() == 1, text.as_bytes(), attrs, time);
                    line.pop();
                    lines.push(line);
                }
            }
        }
        // Each cut short at each place, with the next one behind it.
        let cut = lines.iter().flat_map(|line| (0..=line.len()).map(|length| line[..length].to_vec()));
        let shown = |entry: Entry<'_>| {
            let Stamp::Text(time) = entry.time else { panic!("a time in text") };
            (entry.stderr, plain(&entry), time.to_vec(), entry.attrs.to_vec())
        };
        let mut short = 0;
        for line in cut.collect::<Vec<_>>() {
            let both = [&line[..], b"\n", &lines[5], b"\n"].concat();
            if let Some((entry, used)) = first(&both) {
                assert_eq!(used, line.len() + 1, "{}", String::from_utf8_lossy(&both));
                assert_eq!(Some(shown(entry)), common(&line).map(shown));
                short += 1;
            }
            // Not whole yet: nothing is said.
            assert!(first(&line).is_none());
        }
        assert_eq!(short, 8 * 4);
    }

    #[test]
    fn other_forms_are_read_too() {
        let mut scratch = Vec::new();
        let line = br#" {"time":"T", "stream":"stderr","log":"\ud83d\ude00\u00e9\/\n","attrs":{"k":"v"}}"#;
        let entry = decode(line, &mut scratch).unwrap();
        assert_eq!((plain(&entry), entry.stderr, entry.attrs), ("😀é/\n".into(), true, &br#"{"k":"v"}"#[..]));
        for bad in [&b""[..], b"{\"log\":\"a", b"[]", b"{\"log\":\"a\\\"}"] {
            assert!(decode(bad, &mut Vec::new()).is_none(), "{bad:?}");
        }
        let mut out = Vec::new();
        unescape(&mut out, br"\ud83d\ud83d\ude00\u00", 0);
        assert_eq!(String::from_utf8(out).unwrap(), "\u{fffd}\u{1f600}\u{fffd}00");
    }
}
