//! tar without I/O: bytes go in, entries and their data come out (and the other way round).
//!
//! Formats: v7, ustar (POSIX.1-1988), pax (POSIX.1-2001), GNU (long names, base-256 numbers, sparse 0.0,
//! 0.1, 1.0 and the old form), star's prefix. Where implementations disagree about what an archive says,
//! as in CVE-2025-62518, a scanner and a runtime see two different things; so the rules are those of Go's
//! archive/tar (the pax `size` always wins; what is global never names, sizes or owns), and a header that
//! GNU tar, Go and Python would read differently is refused. See [`TarError`] for the whole list.
//!
//! ```text
//! block 512 | [x header, its data] [L header, its data] | header | data, padded to 512 | … | two zero blocks
//! ```

mod decode;
mod encode;
mod header;
mod number;
mod pax;
mod sparse;

use std::fmt;

pub use decode::{Decoder, Event};
pub use encode::{END, encode, padding};

/// Gives the uncompressed bytes of a tar (plain, gzip or zstd by its first bytes) piece by piece, within the
/// bounds that a layer has. Starts threads.
pub fn plain<E: From<crate::StoreError>>(
    input: impl std::io::Read + Send,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    crate::unpack::plain_stream(input, &crate::Limits::default(), |chunks| {
        for chunk in chunks.iter() {
            let chunk = chunk.map_err(crate::StoreError::from)?;
            take(&chunk)?;
            chunks.recycle(chunk);
        }
        Ok(())
    })
    .map_err(|error| crate::StoreError::from(crate::UnpackError::from(error)))?
    .map(drop)
}

pub const BLOCK: usize = 512;

/// Bound on the data of one extension header (x, g, L, K) and on one sparse map: that of Go.
pub const MAX_EXTENSION_BYTES: usize = 1 << 20;

/// One member, its extension headers already applied. Names are bytes: nothing says that they are UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub path: Vec<u8>,
    pub kind: EntryKind,
    /// permission bits with setuid, setgid and sticky: at most 0o7777
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: Time,
    /// of a file as it will be, holes and all
    pub size: u64,
    /// full names (`user.x`) with their values
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    File,
    Directory,
    Symlink { target: Vec<u8> },
    HardLink { target: Vec<u8> },
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

/// Seconds and nanoseconds since 1970, the latter always counted forwards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    pub secs: i64,
    pub nanos: u32,
}

/// Why an archive is refused. `at` is the offset of the header in the tar stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tar header at byte {at}: {reason}")]
pub struct TarError {
    pub at: u64,
    pub reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("the checksum does not fit: this is no tar archive, or it is damaged")]
    Checksum,
    #[error("the archive ends in the middle of a member")]
    Truncated,
    #[error("one block of zeros is followed by more headers; an archive ends with two")]
    LoneZeroBlock,
    #[error("there is data after the end of the archive, which some programs would read and others not")]
    TrailingData,
    #[error("the number in `{0}` cannot be read")]
    Number(&'static str),
    #[error("`{0}` is negative")]
    Negative(&'static str),
    #[error("`{0}` is larger than 2^63-1")]
    Huge(&'static str),
    #[error("pax record: {0}")]
    Pax(&'static str),
    #[error("a global pax header sets `{0}` for all that follows; Go ignores that and GNU tar does not")]
    GlobalOverride(String),
    #[error("two extension headers of type `{0}` for one member")]
    DuplicateExtension(char),
    #[error("both a pax header and a GNU long name give the {0}, and programs differ in which they take")]
    TwoNames(&'static str),
    #[error("an extension header of {size} bytes; {MAX_EXTENSION_BYTES} are read")]
    ExtensionSize { size: u64 },
    #[error("extension headers at the end, with no member that they belong to")]
    DanglingExtension,
    #[error("a {0} with {1} bytes of data, which some programs skip and others take for headers")]
    DataWhereNoneCanBe(&'static str, u64),
    #[error("the name has a NUL inside")]
    NulInName,
    #[error("type flag {0:?} is not one that an image layer may have")]
    UnknownType(char),
    #[error("sparse map: {0}")]
    Sparse(&'static str),
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.secs, self.nanos)
    }
}

impl Entry {
    /// A file of 0 bytes, mode 0644, owned by root, of 1970.
    pub fn file(path: impl Into<Vec<u8>>) -> Entry {
        Entry::new(path, EntryKind::File, 0o644)
    }

    pub fn new(path: impl Into<Vec<u8>>, kind: EntryKind, mode: u32) -> Entry {
        Entry {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            size: 0,
            xattrs: Vec::new(),
        }
    }
}
