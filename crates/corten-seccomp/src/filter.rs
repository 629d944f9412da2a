//! A compiled filter, and the bytes that it is kept as.
//!
//! ```text
//!   0   "CSF1"           4   flags u32      8   notify u8, 3 × 0     12  insns u32
//!   16  insns × { code u16, jt u8, jf u8, k u32 }                    …   unknown names, each ended by 0
//! ```
//!
//! Little endian, as all of [`crate::Arch`] are; the instructions are `struct sock_filter` then.

use crate::bpf::{Insn, MAX_INSNS};
use crate::error::Error;

/// What [`crate::compile()`] makes, ready for seccomp(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// At most [`MAX_INSNS`].
    pub program: Vec<Insn>,
    /// `SECCOMP_FILTER_FLAG_*`, without NEW_LISTENER.
    pub flags: u32,
    /// Some call is handed to a listener: install with [`Filter::NEW_LISTENER`], pass the descriptor on.
    pub notify: bool,
    /// Names in rules that hold here, but that no architecture of Linux has; sorted.
    pub unknown_names: Vec<String>,
}

const MAGIC: [u8; 4] = *b"CSF1";
const HEADER_BYTES: usize = 16;
const INSN_BYTES: usize = 8;

impl Filter {
    /// SECCOMP_FILTER_FLAG_NEW_LISTENER.
    pub const NEW_LISTENER: u32 = 1 << 3;
    /// SECCOMP_FILTER_FLAG_TSYNC_ESRCH.
    pub const TSYNC_ESRCH: u32 = 1 << 4;

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + INSN_BYTES * self.program.len());
        bytes.extend(MAGIC);
        bytes.extend(self.flags.to_le_bytes());
        bytes.extend([self.notify as u8, 0, 0, 0]);
        bytes.extend((self.program.len() as u32).to_le_bytes());
        for insn in &self.program {
            bytes.extend(insn.code.to_le_bytes());
            bytes.extend([insn.jt, insn.jf]);
            bytes.extend(insn.k.to_le_bytes());
        }
        for name in &self.unknown_names {
            bytes.extend(name.as_bytes());
            bytes.push(0);
        }
        bytes
    }

    /// Checks the form only; what the instructions do, the kernel checks.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or(Error::Corrupt("too short"))?;
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if header[..4] != MAGIC {
            return Err(Error::Corrupt("no filter of this version"));
        }
        let notify = match word(8) {
            0 => false,
            1 => true,
            _ => return Err(Error::Corrupt("notify is neither 0 nor 1")),
        };
        let insns = word(12) as usize;
        if insns == 0 || insns > MAX_INSNS {
            return Err(Error::Corrupt("the length is none that the kernel takes"));
        }
        let (code, names) =
            rest.split_at_checked(insns * INSN_BYTES).ok_or(Error::Corrupt("instructions are cut off"))?;
        let insn = |bytes: &[u8]| Insn {
            code: u16::from_le_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        };
        let names = std::str::from_utf8(names).map_err(|_| Error::Corrupt("a name is not UTF-8"))?;
        if !names.is_empty() && !names.ends_with('\0') {
            return Err(Error::Corrupt("a name is cut off"));
        }
        Ok(Self {
            program: code.chunks_exact(INSN_BYTES).map(insn).collect(),
            flags: word(4),
            notify,
            unknown_names: names.split_terminator('\0').map(str::to_owned).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_there_and_back_and_no_prefix_passes() {
        let filter = Filter {
            program: vec![
                Insn { code: 0x35, jt: 1, jf: 255, k: 0x1234_5678 },
                Insn { code: 6, jt: 0, jf: 0, k: 1 },
            ],
            flags: 5,
            notify: true,
            unknown_names: vec!["one".into(), "two".into()],
        };
        let bytes = filter.to_bytes();
        assert_eq!(Filter::from_bytes(&bytes).unwrap(), filter);
        let without_names = HEADER_BYTES + 2 * INSN_BYTES;
        for cut in (0..bytes.len()).filter(|cut| *cut != without_names && *cut != without_names + 4) {
            assert!(Filter::from_bytes(&bytes[..cut]).is_err(), "{cut}");
        }
    }
}
