//! The 512 bytes of one header.
//!
//! ```text
//! name 100 | mode 8 | uid 8 | gid 8 | size 12 | mtime 12 | chksum 8 | typeflag | linkname 100
//! magic 6 version 2 | uname 32 | gname 32 | devmajor 8 | devminor 8 | prefix 155 …
//! GNU instead of prefix: atime 12 | ctime 12 | offset 12 | longnames 4 | pad | 4 × (offset 12, length 12)
//!                        | isextended | realsize 12
//! ```

use super::number::{field, unsigned};
use super::{BLOCK, Reason};

pub(crate) struct Header<'a>(pub(crate) &'a [u8; BLOCK]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    V7,
    Ustar,
    /// ustar's magic with star's trailer: 131 bytes of prefix
    Star,
    Gnu,
}

impl<'a> Header<'a> {
    /// The sum is over all bytes, those of the sum itself taken as blanks; historic tars summed signed bytes.
    pub(crate) fn verify_checksum(&self) -> Result<(), Reason> {
        let stored = field(&self.0[148..156], "chksum").map_err(|_| Reason::Checksum)?;
        let (mut unsigned, mut signed) = (0i64, 0i64);
        for (at, byte) in self.0.iter().enumerate() {
            let byte = if (148..156).contains(&at) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte as i8);
        }
        if stored == unsigned || stored == signed { Ok(()) } else { Err(Reason::Checksum) }
    }

    pub(crate) fn format(&self) -> Format {
        match (&self.0[257..263], &self.0[263..265]) {
            (b"ustar\0", _) if &self.0[508..512] == b"tar\0" => Format::Star,
            (b"ustar\0", _) => Format::Ustar,
            (b"ustar ", b" \0") => Format::Gnu,
            _ => Format::V7,
        }
    }

    pub(crate) fn name(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = match self.format() {
            Format::Ustar => text(&self.0[345..500]),
            Format::Star => text(&self.0[345..476]),
            Format::V7 | Format::Gnu => b"",
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(crate) fn link(&self) -> &'a [u8] {
        text(&self.0[157..257])
    }

    pub(crate) fn typeflag(&self) -> u8 {
        self.0[156]
    }

    pub(crate) fn mode(&self) -> Result<u32, Reason> {
        // Some put the file type into the upper bits, as st_mode has it; those are not the mode's.
        Ok((unsigned(&self.0[100..108], "mode")? & 0o7777) as u32)
    }

    pub(crate) fn uid(&self) -> Result<u64, Reason> {
        unsigned(&self.0[108..116], "uid")
    }

    pub(crate) fn gid(&self) -> Result<u64, Reason> {
        unsigned(&self.0[116..124], "gid")
    }

    pub(crate) fn size(&self) -> Result<u64, Reason> {
        unsigned(&self.0[124..136], "size")
    }

    pub(crate) fn mtime(&self) -> Result<i64, Reason> {
        field(&self.0[136..148], "mtime")
    }

    pub(crate) fn device(&self) -> Result<(u32, u32), Reason> {
        let number =
            |range, what| u32::try_from(unsigned(&self.0[range], what)?).map_err(|_| Reason::Huge(what));
        Ok((number(329..337, "devmajor")?, number(337..345, "devminor")?))
    }
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|c| *c == 0).unwrap_or(field.len());
    &field[..end]
}
