//! A layer's tar becomes a directory that overlayfs takes as a lower.
//!
//! ```text
//! input ──▶ inflate ──256 KiB buffers──▶ hash (diff-id) ──▶ tar ──▶ files
//!           a thread                     a thread           the caller's
//! ```
//!
//! Every name is resolved by the kernel under the layer's root (`openat2`, RESOLVE_IN_ROOT), never by
//! comparing text, so there is nothing to race or to fool (CVE-2026-17106, CVE-2021-30465). The last
//! component is created with O_EXCL and O_NOFOLLOW, so a link that lies there is replaced and not followed.
//!
//! On disk, whatever the layer's own order was:
//! - `.wh.x` is a char device 0:0 at `x` (a plain user can make one since Linux 5.8);
//! - `.wh..wh..opq` is `trusted.overlay.opaque=y` on the directory, or `user.overlay.opaque=y` where the
//!   overlay will be mounted with `userxattr`;
//! - `.wh.x` together with a new directory `x` is an opaque directory;
//! - directories that the layer has files in but no entry for are 0755, root's, and of 1970.

mod apply;
mod dirs;
mod inflate;
mod name;
mod stream;
mod xattr;

use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use corten_oci::{Compression, DiffId};

pub(crate) use inflate::detect;
pub(crate) use stream::with as plain_stream;

use crate::error::SysError;
use crate::tar::TarError;

/// Bounds on what one layer may be.
#[derive(Debug, Clone)]
pub struct Limits {
    pub entries: u64,
    /// bytes of all files, holes counted; on top of this, 80 % of what the file system has free
    pub bytes: u64,
    /// bytes out for each byte in, once `ratio_from` bytes are out
    pub ratio: u64,
    pub ratio_from: u64,
    /// bytes of names and values together, for one file
    pub xattrs: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { entries: 5_000_000, bytes: u64::MAX, ratio: 200, ratio_from: 1 << 30, xattrs: 64 << 10 }
    }
}

/// Whose the files are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// as the archive says, by chown: for root, and inside a user namespace with enough ids
    Real,
    /// all of them the caller's; devices cannot be made and are left out
    SingleUser,
}

/// Which namespace of attributes overlayfs will read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlayXattr {
    /// `trusted.overlay.`: needs CAP_SYS_ADMIN in the first user namespace
    Trusted,
    /// `user.overlay.`: for mounts with `userxattr`
    User,
}

#[derive(Debug, Clone)]
pub struct UnpackOptions {
    pub ids: Ids,
    pub overlay: OverlayXattr,
    pub limits: Limits,
}

impl UnpackOptions {
    /// What the calling process is able to do: root of the machine, root of a user namespace, or a user.
    pub fn of_this_process() -> UnpackOptions {
        let root = rustix::process::geteuid().is_root();
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let fields: Vec<&str> = map.split_whitespace().collect();
        let (ids, overlay) = match (root, &fields[..]) {
            (true, ["0", "0", "4294967295"]) => (Ids::Real, OverlayXattr::Trusted),
            (true, [_, _, "1"]) | (false, _) => (Ids::SingleUser, OverlayXattr::User),
            (true, _) => (Ids::Real, OverlayXattr::User),
        };
        UnpackOptions { ids, overlay, limits: Limits::default() }
    }
}

/// What was unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// of the whole tar stream, uncompressed
    pub diff_id: DiffId,
    pub compression: Compression,
    /// of the tar stream, uncompressed
    pub tar_bytes: u64,
    /// entries of the archive, and directories made for them
    pub entries: u64,
    /// bytes of all files, holes counted
    pub file_bytes: u64,
    pub skipped: Skipped,
}

/// What the archive had and this process could not or would not make. To be said, not to be hidden.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Skipped {
    pub devices: u64,
    /// attributes in namespaces that layers do not carry, or that the file system or our rights refuse
    pub xattrs: u64,
    /// owners not kept (SingleUser)
    pub owners: u64,
}

impl Skipped {
    pub(crate) fn add(&mut self, other: &Skipped) {
        self.devices += other.devices;
        self.xattrs += other.xattrs;
        self.owners += other.owners;
    }

    pub fn is_empty(&self) -> bool {
        *self == Skipped::default()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error(transparent)]
    Sys(#[from] SysError),
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error("layer entry {path:?}: {why}")]
    Refused { path: PathBuf, why: Refusal },
    #[error("reading the layer: {0}")]
    Input(std::io::Error),
    #[error("{0}: the compressed data is damaged: {1}")]
    Compressed(&'static str, String),
    #[error("{0}: the compressed data ends too early")]
    CutShort(&'static str),
    #[error("{0}: there is something else behind the compressed data")]
    Trailing(&'static str),
    #[error("zstd: the frame wants a window of more than 128 MiB")]
    Window,
    #[error("the layer is {compression} by its first bytes, which image layers are not")]
    OtherCompression { compression: &'static str },
    #[error("{written} bytes came out of {read}: more than {ratio} for one, as in a decompression bomb")]
    Ratio { read: u64, written: u64, ratio: u64 },
    #[error("the layer has more than {0} entries")]
    Entries(u64),
    #[error("the layer's files need {needed} bytes, and {allowed} may be used (80 % of what is free there)")]
    Bytes { needed: u64, allowed: u64 },
    #[error("the directories of the layer take more memory to keep than {0} bytes")]
    Memory(usize),
}

/// Why an entry is not taken. The whole layer is then refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the name is empty")]
    EmptyName,
    #[error("the name has `..` in it; what that means depends on links, and nobody needs it")]
    DotDot,
    #[error("the name is longer than 4095 bytes")]
    NameTooLong,
    #[error("a part of the name is longer than 255 bytes")]
    ComponentTooLong,
    #[error("the name has a NUL inside")]
    Nul,
    #[error("the root of a layer can only be a directory")]
    RootType,
    #[error("a whiteout has to name what it removes")]
    WhiteoutName,
    #[error("names with .wh. in front are kept for whiteouts, which have nothing below them")]
    WhiteoutInPath,
    #[error("a char device 0:0 would be taken for a whiteout")]
    CharZero,
    #[error("the hard link's target {0:?} is not in this layer (overlay cannot link across layers)")]
    NoLinkTarget(PathBuf),
    #[error("the link's target is empty, too long, or has a NUL inside")]
    LinkTarget,
    #[error("`{0}` belongs to overlayfs; a layer that sets it would forge the merge")]
    OverlayXattr(String),
    #[error("{size} bytes of extended attributes; {limit} are allowed")]
    XattrSize { size: usize, limit: usize },
    #[error("owner {0} does not fit 32 bits")]
    Owner(u64),
    #[error("a part of its path is no directory, or a link that leads nowhere")]
    NoParent,
}

/// Unpacks `input` into the empty directory `root`, whose path is for messages.
pub fn unpack(
    input: impl Read + Send,
    root: BorrowedFd<'_>,
    path: &Path,
    options: &UnpackOptions,
) -> Result<Unpacked, UnpackError> {
    stream::with(input, &options.limits, |chunks| {
        let mut applier = apply::Applier::new(root, path, options)?;
        let mut decoder = crate::tar::Decoder::new();
        for chunk in chunks.iter() {
            let chunk = chunk?;
            let mut bytes = &chunk[..];
            while let Some(event) = decoder.next(&mut bytes)? {
                applier.event(event)?;
            }
            chunks.recycle(chunk);
        }
        decoder.finish()?;
        applier.finish()
    })?
    .map(|(counted, streamed)| Unpacked {
        diff_id: streamed.diff_id,
        compression: streamed.compression,
        tar_bytes: streamed.bytes,
        entries: counted.entries,
        file_bytes: counted.bytes,
        skipped: counted.skipped,
    })
}
