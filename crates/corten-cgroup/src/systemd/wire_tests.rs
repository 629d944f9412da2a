use proptest::prelude::*;

use super::*;

fn decode(bytes: &[u8]) -> Result<Message, BusFault> {
    let header = <&[u8; HEADER]>::try_from(bytes.get(..HEADER).ok_or(SHORT)?).map_err(|_| SHORT)?;
    let length = Message::length(header)?;
    Message::decode(bytes.get(..length).ok_or(SHORT)?)
}

/// As dbus-daemon 1.14 takes it from `dbus-send --system --dest=a.b /c d.e.F string:hi`, by its fields.
#[test]
fn a_call_is_laid_out_as_the_specification_says() {
    let mut body = Writer::default();
    body.string("hi");
    let mut message = Message::call("a.b", "/c", "d.e", "F").with("s", body);
    message.serial = 7;
    let bytes = message.encode();
    #[rustfmt::skip]
    let expected: &[u8] = &[
        b'l', 1, 0, 1,  7, 0, 0, 0,  7, 0, 0, 0,  63, 0, 0, 0,
        1, 1, b'o', 0,  2, 0, 0, 0,  b'/', b'c', 0,  0, 0, 0, 0, 0,
        2, 1, b's', 0,  3, 0, 0, 0,  b'd', b'.', b'e', 0,  0, 0, 0, 0,
        3, 1, b's', 0,  1, 0, 0, 0,  b'F', 0,  0, 0, 0, 0, 0, 0,
        6, 1, b's', 0,  3, 0, 0, 0,  b'a', b'.', b'b', 0,  0, 0, 0, 0,
        8, 1, b'g', 0,  1, b's', 0,
    ];
    let mut expected = expected.to_vec();
    expected[12] = (expected.len() - HEADER) as u8;
    expected.resize(expected.len().next_multiple_of(8), 0);
    expected.extend([2, 0, 0, 0, b'h', b'i', 0]);
    assert_eq!(bytes, expected);
    assert_eq!(decode(&bytes).unwrap(), message);
}

#[test]
fn arrays_are_measured_without_their_first_padding() {
    let mut out = Writer::default();
    out.properties(&[("A", Value::U64(5)), ("B", Value::U32s(vec![1, 2]))]);
    #[rustfmt::skip]
    let expected = [
        52, 0, 0, 0,  0, 0, 0, 0,
        1, 0, 0, 0, b'A', 0,  1, b't', 0,  0, 0, 0, 0, 0, 0, 0,  5, 0, 0, 0, 0, 0, 0, 0,
        1, 0, 0, 0, b'B', 0,  2, b'a', b'u', 0,  0, 0,  8, 0, 0, 0,  1, 0, 0, 0,  2, 0, 0, 0,
    ];
    let mut expected = expected.to_vec();
    expected[0] = (expected.len() - 8) as u8;
    assert_eq!(out.bytes, expected);
}

#[test]
fn both_byte_orders_are_read() {
    let mut bytes = vec![b'B', 2, 1, 1, 0, 0, 0, 4, 0, 0, 0, 9, 0, 0, 0, 15];
    bytes.extend([5, 1, b'u', 0, 0, 0, 0, 3, 8, 1, b'g', 0, 1, b'u', 0, 0, 0, 0, 1, 2]);
    let message = decode(&bytes).unwrap();
    assert_eq!((message.kind, message.serial, message.reply_serial), (RETURN, 9, 3));
    assert_eq!(message.read("u").unwrap().u32().unwrap(), 0x102);
    assert!(message.read("s").is_err());
}

#[test]
fn a_length_is_bounded_before_anything_is_read() {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(b"l\x01\x00\x01");
    header[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    header[12..].copy_from_slice(&u32::MAX.to_le_bytes());
    let fault = Message::length(&header).unwrap_err();
    assert_eq!(fault.to_string(), "a message of 8589934607 bytes, of which at most 262144 are taken");
}

fn message() -> impl Strategy<Value = Message> {
    let name = || "[a-z./]{0,20}";
    (1..5u8, any::<u32>(), any::<u32>(), [name(), name(), name(), name(), name(), name()], "[su]{0,9}")
        .prop_map(
            |(
                kind,
                serial,
                reply_serial,
                [path, interface, member, error_name, destination, sender],
                signature,
            )| {
                Message {
                    kind,
                    serial,
                    reply_serial,
                    path,
                    interface,
                    member,
                    error_name,
                    destination,
                    sender,
                    signature,
                    body: vec![1, 2, 3],
                    big_endian: false,
                }
            },
        )
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in message()) {
        prop_assert_eq!(decode(&message.encode()).unwrap(), message);
    }

    /// No panic, no endless loop, whatever comes.
    #[test]
    fn a_changed_message_is_read_or_refused(
        message in message(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = message.encode();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            if let Ok(message) = decode(bytes) {
                let _text = message.error_text();
                let _job = message.read("uoss").and_then(|mut body| { body.u32()?; body.string().map(drop) });
            }
        }
    }
}
