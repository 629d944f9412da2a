//! D-Bus messages as bytes: what is needed to call a method with a dictionary of variants, and to read
//! short replies and signals.
//!
//! ```text
//! endian type flags 1 | body length | serial | fields a(yv) | padding to 8 | body
//! ```
//!
//! Everything that is read comes from another process and is bounded: a message by [`MAX_MESSAGE`], a
//! string by its message. Source: dbus-specification.html, "Message Format", "Marshaling".

use super::fault::BusFault;
use super::value::Value;

/// The specification allows 128 MiB; the longest that is expected here has a few kilobytes.
pub(crate) const MAX_MESSAGE: usize = 256 * 1024;

/// The part with the lengths.
pub(crate) const HEADER: usize = 16;

const VERSION: u8 = 1;

/// Message types.
pub(crate) const CALL: u8 = 1;
pub(crate) const RETURN: u8 = 2;
pub(crate) const ERROR: u8 = 3;
pub(crate) const SIGNAL: u8 = 4;

/// Header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;

/// A message, whichever side it comes from. Absent fields are empty or zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) serial: u32,
    pub(crate) reply_serial: u32,
    pub(crate) destination: String,
    pub(crate) sender: String,
    pub(crate) path: String,
    pub(crate) interface: String,
    pub(crate) member: String,
    pub(crate) error_name: String,
    pub(crate) signature: String,
    pub(crate) body: Vec<u8>,
    pub(crate) big_endian: bool,
}

impl Message {
    /// A method call with an empty body.
    pub(crate) fn call(destination: &str, path: &str, interface: &str, member: &str) -> Message {
        Message {
            kind: CALL,
            destination: destination.to_owned(),
            path: path.to_owned(),
            interface: interface.to_owned(),
            member: member.to_owned(),
            ..Message::default()
        }
    }

    pub(crate) fn with(mut self, signature: &str, body: Writer) -> Message {
        self.signature = signature.to_owned();
        self.body = body.bytes;
        self
    }

    /// As bytes, little-endian.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut fields = Writer::default();
        let mut string = |code: u8, kind: &str, text: &str| {
            if !text.is_empty() {
                fields.align(8);
                fields.byte(code);
                fields.signature(kind);
                if kind == "g" { fields.signature(text) } else { fields.string(text) }
            }
        };
        string(PATH, "o", &self.path);
        string(INTERFACE, "s", &self.interface);
        string(MEMBER, "s", &self.member);
        string(ERROR_NAME, "s", &self.error_name);
        string(DESTINATION, "s", &self.destination);
        string(SENDER, "s", &self.sender);
        string(SIGNATURE, "g", &self.signature);
        if self.reply_serial != 0 {
            fields.align(8);
            fields.byte(REPLY_SERIAL);
            fields.signature("u");
            fields.u32(self.reply_serial);
        }
        let mut out = Writer::default();
        for byte in [b'l', self.kind, 0, VERSION] {
            out.byte(byte);
        }
        out.u32(self.body.len() as u32);
        out.u32(self.serial);
        out.u32(fields.bytes.len() as u32);
        out.bytes.extend_from_slice(&fields.bytes);
        out.align(8);
        out.bytes.extend_from_slice(&self.body);
        out.bytes
    }

    /// How long the whole message is, from its first [`HEADER`] bytes.
    pub(crate) fn length(header: &[u8; HEADER]) -> Result<usize, BusFault> {
        let big_endian = byte_order(header[0])?;
        if header[3] != VERSION {
            return Err(BusFault::Malformed("its protocol version is not 1"));
        }
        let number = |at: usize| {
            let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
            if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        // Three numbers of 32 bits: no overflow in 64.
        let fields = u64::from(number(12)).next_multiple_of(8);
        let length = HEADER as u64 + fields + u64::from(number(4));
        match usize::try_from(length) {
            Ok(length) if length <= MAX_MESSAGE => Ok(length),
            _ => Err(BusFault::TooLong { length_bytes: length }),
        }
    }

    /// From exactly the bytes that [`Message::length`] told.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Message, BusFault> {
        let big_endian = byte_order(*bytes.first().ok_or(SHORT)?)?;
        let mut reader = Reader { bytes, at: 1, big_endian };
        let mut message = Message { kind: reader.byte()?, big_endian, ..Message::default() };
        reader.at = 4;
        let body_length = reader.u32()? as usize;
        message.serial = reader.u32()?;
        let fields_end = (reader.u32()? as usize).checked_add(HEADER).ok_or(SHORT)?;
        while reader.at < fields_end {
            reader.align(8)?;
            let code = reader.byte()?;
            let kind = reader.signature()?.to_owned();
            match (code, kind.as_str()) {
                (PATH, "o") => message.path = reader.string()?.to_owned(),
                (INTERFACE, "s") => message.interface = reader.string()?.to_owned(),
                (MEMBER, "s") => message.member = reader.string()?.to_owned(),
                (ERROR_NAME, "s") => message.error_name = reader.string()?.to_owned(),
                (REPLY_SERIAL, "u") => message.reply_serial = reader.u32()?,
                (DESTINATION, "s") => message.destination = reader.string()?.to_owned(),
                (SENDER, "s") => message.sender = reader.string()?.to_owned(),
                (SIGNATURE, "g") => message.signature = reader.signature()?.to_owned(),
                // Fields to come must be ignored, those that are known have one type.
                (0 | PATH..=SIGNATURE, _) => {
                    return Err(BusFault::Malformed("a header field has a wrong type"));
                }
                (_, kind) => reader.skip(kind)?,
            }
        }
        if reader.at != fields_end {
            return Err(BusFault::Malformed("a header field is longer than the header"));
        }
        reader.align(8)?;
        let body = bytes.get(reader.at..).ok_or(SHORT)?;
        if body.len() != body_length {
            return Err(BusFault::Malformed("its body is not as long as its header says"));
        }
        message.body = body.to_vec();
        Ok(message)
    }

    /// The body, which must be of this type.
    pub(crate) fn read(&self, signature: &str) -> Result<Reader<'_>, BusFault> {
        if self.signature != signature {
            return Err(BusFault::Malformed("its body has another type than the method's"));
        }
        Ok(Reader { bytes: &self.body, at: 0, big_endian: self.big_endian })
    }

    /// The text of an error: its first argument, where that is a string.
    pub(crate) fn error_text(&self) -> String {
        let text = match self.signature.starts_with('s') {
            true => Reader { bytes: &self.body, at: 0, big_endian: self.big_endian }.string().ok(),
            false => None,
        };
        text.unwrap_or_default().to_owned()
    }
}

const SHORT: BusFault = BusFault::Malformed("it ends too early");

fn byte_order(mark: u8) -> Result<bool, BusFault> {
    match mark {
        b'l' => Ok(false),
        b'B' => Ok(true),
        _ => Err(BusFault::Malformed("it does not begin with a byte order")),
    }
}

/// Values one after the other, each aligned to its size from the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    pub(crate) fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Strings and object paths.
    pub(crate) fn string(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.bytes.extend_from_slice(text.as_bytes());
        self.byte(0);
    }

    fn signature(&mut self, text: &str) {
        self.byte(text.len() as u8);
        self.bytes.extend_from_slice(text.as_bytes());
        self.byte(0);
    }

    /// An array, whose elements are aligned to `align`: the length does not count the padding to the
    /// first one.
    pub(crate) fn array(&mut self, align: usize, elements: impl FnOnce(&mut Writer)) {
        self.u32(0);
        let at = self.bytes.len() - 4;
        self.align(align);
        let start = self.bytes.len();
        elements(self);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// `a(sv)`
    pub(crate) fn properties(&mut self, properties: &[(&str, Value)]) {
        self.array(8, |out| {
            for (name, value) in properties {
                out.align(8);
                out.string(name);
                out.signature(value.signature());
                out.value(value);
            }
        });
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(on) => self.u32(u32::from(*on)),
            Value::U64(number) => self.u64(*number),
            Value::Text(text) => self.string(text),
            Value::U32s(numbers) => self.array(4, |out| numbers.iter().for_each(|n| out.u32(*n))),
            Value::Bytes(bytes) => self.array(1, |out| out.bytes.extend_from_slice(bytes)),
            Value::Pairs(pairs) => self.array(8, |out| {
                for (one, two) in pairs {
                    out.align(8);
                    out.string(one);
                    out.string(two);
                }
            }),
        }
    }
}

/// Reads what a [`Writer`], ours or another's, has written.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) -> Result<(), BusFault> {
        let at = self.at.next_multiple_of(to);
        let padding = self.bytes.get(self.at..at).ok_or(SHORT)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(BusFault::Malformed("its padding is not zero"));
        }
        self.at = at;
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], BusFault> {
        let end = self.at.checked_add(count).ok_or(SHORT)?;
        let taken = self.bytes.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, BusFault> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, BusFault> {
        self.align(4)?;
        let bytes = <[u8; 4]>::try_from(self.take(4)?).map_err(|_| SHORT)?;
        Ok(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// A string or an object path.
    pub(crate) fn string(&mut self) -> Result<&'a str, BusFault> {
        let length = self.u32()? as usize;
        self.text(length)
    }

    fn signature(&mut self) -> Result<&'a str, BusFault> {
        let length = usize::from(self.byte()?);
        self.text(length)
    }

    fn text(&mut self, length: usize) -> Result<&'a str, BusFault> {
        let text = self.take(length)?;
        if self.byte()? != 0 || text.contains(&0) {
            return Err(BusFault::Malformed("a string does not end where it should"));
        }
        std::str::from_utf8(text).map_err(|_| BusFault::Malformed("a string is not UTF-8"))
    }

    /// A variant that must hold a string.
    pub(crate) fn variant_string(&mut self) -> Result<&'a str, BusFault> {
        match self.signature()? {
            "s" => self.string(),
            _ => Err(BusFault::Malformed("a property has another type than its own")),
        }
    }

    /// One value of a basic type.
    fn skip(&mut self, kind: &str) -> Result<(), BusFault> {
        let size = match kind {
            "y" => 1,
            "n" | "q" => 2,
            "b" | "i" | "u" | "h" => 4,
            "x" | "t" | "d" => 8,
            "s" | "o" => return self.string().map(drop),
            "g" => return self.signature().map(drop),
            _ => return Err(BusFault::Malformed("a header field that is not known has no basic type")),
        };
        self.align(size)?;
        self.take(size).map(drop)
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
