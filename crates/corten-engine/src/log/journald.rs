//! The `journald` driver: datagrams to systemd's journal, in its native protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>), with the fields that Docker sets.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with,
};

use super::sink::Sink;

/// Where the journal listens.
pub(crate) const SOCKET: &str = "/run/systemd/journal/socket";

#[derive(Debug)]
pub(super) struct Journal {
    socket: OwnedFd,
    /// The fields that are the same for all.
    fields: Vec<u8>,
}

impl Journal {
    pub(super) fn open(sink: &Sink) -> Result<Self, Errno> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &SocketAddrUnix::new(SOCKET)?)?;
        let mut fields = Vec::new();
        let short: String = sink.id.chars().take(12).collect();
        for (name, value) in [
            ("CONTAINER_ID", &short),
            ("CONTAINER_ID_FULL", &sink.id),
            ("CONTAINER_NAME", &sink.name),
            ("CONTAINER_TAG", &sink.tag),
            ("IMAGE_NAME", &sink.image),
            ("SYSLOG_IDENTIFIER", &sink.tag),
        ] {
            field(&mut fields, name, value.as_bytes());
        }
        for (name, value) in &sink.attrs {
            if name != "tag" {
                field(&mut fields, &sanitized(name), value.as_bytes());
            }
        }
        Ok(Self { socket, fields })
    }

    /// Sends one line, or part of one.
    pub(super) fn send(&self, stderr: bool, text: &[u8], time_ns: u64) -> Result<(), Errno> {
        let mut message = self.fields.clone();
        let line = text.strip_suffix(b"\n");
        field(&mut message, "MESSAGE", line.unwrap_or(text));
        // LOG_ERR and LOG_INFO of syslog(3).
        field(&mut message, "PRIORITY", if stderr { b"3" } else { b"6" });
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(time_ns);
        field(&mut message, "SYSLOG_TIMESTAMP", corten_oci::time::rfc3339(time).as_bytes());
        if line.is_none() {
            field(&mut message, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        loop {
            match send(&self.socket, &message, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                other => return other.map(drop),
            }
        }
    }
}

/// `NAME=value`, or with its length if there is a newline in it.
fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// The journal takes capital letters, digits and underscores, no underscore in front.
fn sanitized(name: &str) -> String {
    let ok = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    name.chars().map(ok).collect::<String>().trim_start_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let mut out = Vec::new();
        field(&mut out, "A", b"b");
        field(&mut out, "C", b"d\ne");
        assert_eq!(out, b"A=b\nC\n\x03\0\0\0\0\0\0\0d\ne\n");
        assert_eq!(sanitized("_com.example.x-1"), "COM_EXAMPLE_X_1");
    }
}
