//! Fields of /proc/PID/mountinfo: proc_pid_mountinfo(5).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// A field as it is: the kernel writes blank, tab, newline and backslash as a backslash and three octal
/// digits (fs/proc_namespace.c, `mangle`).
pub fn unescape(field: &str) -> OsString {
    let bytes = field.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).and_then(|digits| match digits {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7'] => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        });
        match (bytes[at], octal) {
            (b'\\', Some(byte)) => {
                plain.push(byte);
                at += 4;
            }
            (byte, _) => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    OsString::from_vec(plain)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::unescape;

    #[test]
    fn octal_becomes_bytes() {
        assert_eq!(unescape(r"/a\040b\134c"), "/a b\\c");
        assert_eq!(unescape(r"/plain\9"), r"/plain\9");
        assert_eq!(unescape(r"\011\012\"), "\t\n\\");
        assert_eq!(unescape("/é\\040"), "/é ");
        assert_eq!(unescape(r"\377"), OsString::from_vec(vec![0xff]));
        // Above a byte: not what the kernel writes.
        assert_eq!(unescape(r"\777"), r"\777");
    }
}
