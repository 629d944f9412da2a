//! Compression, told by the first bytes and never by a name or media type: gzip of any number of members,
//! zstd of any number of frames with windows up to 128 MiB, or none.

use std::io::Read;

use corten_oci::Compression;
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, Operation};

use super::{Limits, UnpackError};
use crate::error::SysError;

/// log2 of the largest window: 128 MiB, what `zstd --ultra` uses without `--long`.
const ZSTD_WINDOW_LOG: u32 = 27;

pub(crate) fn detect(start: &[u8]) -> Result<Compression, &'static str> {
    // A skippable frame may come first (zstd:chunked); its magic is 0x184D2A50 to 5F.
    let skippable = start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == [0x2a, 0x4d, 0x18];
    match start {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Compression::Zstd),
        _ if skippable => Ok(Compression::Zstd),
        [b'B', b'Z', b'h', ..] => Err("bzip2"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err("xz"),
        _ => Ok(Compression::None),
    }
}

/// Gives `emit` filled buffers until the input ends; `emit` says whether more is wanted.
pub(super) fn inflate(
    mut input: impl Read,
    limits: &Limits,
    buffer: usize,
    fresh: impl Fn() -> Vec<u8>,
    mut emit: impl FnMut(Vec<u8>) -> bool,
) -> Result<Compression, UnpackError> {
    let mut piece = vec![0u8; buffer];
    let mut held = fill(&mut input, &mut piece)?;
    let compression =
        detect(&piece[..held]).map_err(|compression| UnpackError::OtherCompression { compression })?;
    let mut codec = Codec::new(compression)?;
    let (mut read, mut written) = (held as u64, 0u64);
    let mut out = fresh();
    loop {
        let mut rest = &piece[..held];
        loop {
            let before = out.len();
            let progress = codec.step(&mut rest, &mut out)?;
            written += (out.len() - before) as u64;
            if written > limits.ratio_from && written / limits.ratio > read {
                return Err(UnpackError::Ratio { read, written, ratio: limits.ratio });
            }
            if out.len() == out.capacity() && !emit(std::mem::replace(&mut out, fresh())) {
                return Ok(compression);
            }
            if !progress {
                break;
            }
        }
        held = fill(&mut input, &mut piece)?;
        read += held as u64;
        if held == 0 {
            break;
        }
    }
    codec.finish()?;
    if !out.is_empty() {
        emit(out);
    }
    Ok(compression)
}

/// Fills the buffer as far as the input goes.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, UnpackError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // A blob that is written while the input is read (`Tee`) says which call failed.
            Err(error) => {
                return Err(error.downcast::<SysError>().map_or_else(UnpackError::Input, Into::into));
            }
        }
    }
    Ok(filled)
}

enum Codec {
    Plain,
    Gzip { stream: Decompress, at: Member, trailing_zeros: bool },
    Zstd { stream: Decoder<'static>, frame_done: bool },
}

/// Where in a file of several gzip members we are.
#[derive(PartialEq)]
enum Member {
    Inside,
    /// one has ended; nothing or another follows
    Between,
}

impl Codec {
    fn new(compression: Compression) -> Result<Codec, UnpackError> {
        Ok(match compression {
            Compression::None => Codec::Plain,
            Compression::Gzip => {
                Codec::Gzip { stream: Decompress::new_gzip(15), at: Member::Inside, trailing_zeros: false }
            }
            Compression::Zstd => {
                let mut stream = Decoder::new().map_err(UnpackError::Input)?;
                let limit = DParameter::WindowLogMax(ZSTD_WINDOW_LOG);
                stream.set_parameter(limit).map_err(UnpackError::Input)?;
                Codec::Zstd { stream, frame_done: true }
            }
        })
    }

    /// One call of the decompressor; `false` when it can do nothing without more input.
    fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<bool, UnpackError> {
        match self {
            Codec::Plain => {
                let n = input.len().min(out.capacity() - out.len());
                out.extend_from_slice(&input[..n]);
                *input = &input[n..];
                Ok(!input.is_empty())
            }
            Codec::Gzip { stream, at, trailing_zeros } => {
                if *at == Member::Between {
                    return between(stream, at, trailing_zeros, input);
                }
                let (was_in, was_out) = (stream.total_in(), stream.total_out());
                let status = stream.decompress_vec(input, out, FlushDecompress::None);
                let status = status.map_err(|error| UnpackError::Compressed("gzip", error.to_string()))?;
                let taken = (stream.total_in() - was_in) as usize;
                *input = &input[taken..];
                if status == Status::StreamEnd {
                    *at = Member::Between;
                    return Ok(true);
                }
                Ok(taken > 0 || stream.total_out() > was_out)
            }
            Codec::Zstd { stream, frame_done } => {
                let start = out.len();
                out.resize(out.capacity(), 0);
                let status = stream.run_on_buffers(input, &mut out[start..]);
                let status = status.map_err(|error| match error.to_string() {
                    text if text.contains("much memory") => UnpackError::Window,
                    text if *frame_done && text.contains("nknown frame") => UnpackError::Trailing("zstd"),
                    text => UnpackError::Compressed("zstd", text),
                })?;
                out.truncate(start + status.bytes_written);
                *input = &input[status.bytes_read..];
                if status.bytes_read > 0 || status.bytes_written > 0 {
                    *frame_done = status.remaining == 0;
                    return Ok(true);
                }
                Ok(false)
            }
        }
    }

    /// At the end of the input.
    fn finish(&self) -> Result<(), UnpackError> {
        match self {
            Codec::Gzip { at: Member::Inside, .. } => Err(UnpackError::CutShort("gzip")),
            Codec::Zstd { frame_done: false, .. } => Err(UnpackError::CutShort("zstd")),
            _ => Ok(()),
        }
    }
}

/// Behind a gzip member: another one, zeros to the end (as tapes pad), or nothing.
fn between(
    stream: &mut Decompress,
    at: &mut Member,
    trailing_zeros: &mut bool,
    input: &mut &[u8],
) -> Result<bool, UnpackError> {
    let Some(first) = input.first() else { return Ok(false) };
    if *first == 0x1f && !*trailing_zeros {
        // `reset` would forget that this is gzip and not zlib.
        *stream = Decompress::new_gzip(15);
        *at = Member::Inside;
        return Ok(true);
    }
    if input.iter().any(|byte| *byte != 0) {
        return Err(UnpackError::Trailing("gzip"));
    }
    *trailing_zeros = true;
    *input = &[];
    Ok(false)
}
