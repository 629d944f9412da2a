//! Entries of a log as `docker logs` prints them.

use super::read::{Output, Show};

/// One entry, as a file has it.
pub(super) struct Entry<'a> {
    pub(super) stderr: bool,
    pub(super) text: Text<'a>,
    pub(super) time: Stamp<'a>,
    /// A JSON object, or nothing.
    pub(super) attrs: &'a [u8],
}

/// What the container wrote.
pub(super) enum Text<'a> {
    /// The inside of a JSON string, and how much of it comes before its first escape.
    Escaped { text: &'a [u8], plain: usize },
    /// A line without its newline.
    Line(&'a [u8]),
    /// The beginning or middle of a line.
    Part(&'a [u8]),
}

impl Text<'_> {
    pub(super) fn add_to(&self, out: &mut Vec<u8>) {
        match self {
            Text::Escaped { text, plain } => super::json::unescape(out, text, *plain),
            Text::Line(text) => {
                out.extend_from_slice(text);
                out.push(b'\n');
            }
            Text::Part(text) => out.extend_from_slice(text),
        }
    }
}

/// When.
pub(super) enum Stamp<'a> {
    /// RFC 3339.
    Text(&'a [u8]),
    /// Nanoseconds since 1970.
    Ns(u64),
}

impl Stamp<'_> {
    fn ns(&self) -> Option<i128> {
        match self {
            Stamp::Text(text) => corten_oci::time::unix_ns(std::str::from_utf8(text).ok()?),
            Stamp::Ns(ns) => Some(i128::from(*ns)),
        }
    }

    /// With nine digits of a second, always, as Docker prints it.
    fn add_to(&self, out: &mut Vec<u8>) {
        let made;
        let text = match self {
            Stamp::Text(text) => text,
            Stamp::Ns(ns) => {
                let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(*ns);
                made = corten_oci::time::rfc3339(time);
                made.as_bytes()
            }
        };
        // As a writer of nine digits has it.
        if let (30, [.., b'Z'], Some(b'.')) = (text.len(), text, text.get(19))
            && text[20..29].iter().all(u8::is_ascii_digit)
        {
            return out.extend_from_slice(text);
        }
        // 2024-01-01T00:00:00[.digits]zone
        let (whole, rest) = text.split_at(text.len().min(19));
        let fraction = rest.strip_prefix(b".").unwrap_or_default();
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let zone = if digits > 0 { &fraction[digits..] } else { rest };
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(&fraction[..digits.min(9)]);
        out.extend_from_slice(&b"000000000"[digits.min(9)..]);
        out.extend_from_slice(zone);
    }
}

/// How much is gathered before it is handed out.
const FULL: usize = 128 << 10;

pub(super) struct Printer<'a> {
    show: &'a Show,
    output: Output<'a>,
    /// For stdout and stderr.
    gathered: [Vec<u8>; 2],
    /// What came after `until`, or the reader of the output is gone.
    ended: bool,
}

impl<'a> Printer<'a> {
    pub(super) fn new(show: &'a Show, output: Output<'a>) -> Self {
        let room = || Vec::with_capacity(FULL + (FULL >> 2));
        Self { show, output, gathered: [room(), if show.merged { Vec::new() } else { room() }], ended: false }
    }

    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    pub(super) fn print(&mut self, entry: &Entry<'_>) -> std::io::Result<()> {
        if self.ended || !self.is_in_time(entry) {
            return Ok(());
        }
        let index = usize::from(entry.stderr && !self.show.merged);
        let out = &mut self.gathered[index];
        if self.show.timestamps {
            entry.time.add_to(out);
            out.push(b' ');
        }
        if self.show.details {
            details(out, entry.attrs);
            out.push(b' ');
        }
        entry.text.add_to(out);
        if out.len() >= FULL { self.flush_one(index) } else { Ok(()) }
    }

    fn is_in_time(&mut self, entry: &Entry<'_>) -> bool {
        if self.show.since_ns.is_none() && self.show.until_ns.is_none() {
            return true;
        }
        let Some(ns) = entry.time.ns() else { return true };
        self.ended = self.show.until_ns.is_some_and(|until| ns > until);
        !self.ended && self.show.since_ns.is_none_or(|since| ns >= since)
    }

    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        self.flush_one(0)?;
        self.flush_one(1)
    }

    fn flush_one(&mut self, index: usize) -> std::io::Result<()> {
        let gathered = &mut self.gathered[index];
        if gathered.is_empty() {
            return Ok(());
        }
        let written = (self.output)(index == 1, gathered);
        gathered.clear();
        written
    }
}

/// `name=value,other=value`, escaped as in a URL.
fn details(out: &mut Vec<u8>, attrs: &[u8]) {
    let attrs: std::collections::BTreeMap<String, String> = serde_json::from_slice(attrs).unwrap_or_default();
    for (nth, (name, value)) in attrs.iter().enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        escape(out, name);
        out.push(b'=');
        escape(out, value);
    }
}

/// Go's url.QueryEscape.
fn escape(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte),
            b' ' => out.push(b'+'),
            _ => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_nine_digits() {
        for (text, want) in [
            ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00.000000000Z"),
            ("2024-01-01T00:00:00.5Z", "2024-01-01T00:00:00.500000000Z"),
            ("2024-01-01T00:00:00.123456789+02:00", "2024-01-01T00:00:00.123456789+02:00"),
        ] {
            let mut out = Vec::new();
            Stamp::Text(text.as_bytes()).add_to(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
        let mut out = Vec::new();
        Stamp::Ns(500_000_000).add_to(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "1970-01-01T00:00:00.500000000Z");
    }

    #[test]
    fn attributes_are_escaped() {
        let mut out = Vec::new();
        details(&mut out, br#"{"b":"x y","a":"1,2"}"#);
        assert_eq!(String::from_utf8(out).unwrap(), "a=1%2C2,b=x+y");
    }
}
