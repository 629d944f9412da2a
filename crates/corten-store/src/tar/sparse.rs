//! Sparse maps, in the four forms that GNU tar has had. Each is bounded before anything is allocated for
//! it (CVE-2025-58183), and has to be in order, without overlap, and to add up.

use super::number::{decimal, unsigned};
use super::{BLOCK, MAX_EXTENSION_BYTES, Reason};

const MAX_SEGMENTS: usize = 1 << 16;

/// Data at an offset; what no segment covers is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// What pax records say of a sparse file.
#[derive(Debug, Default)]
pub(crate) struct SparseSpec {
    pub(crate) major: Option<u64>,
    pub(crate) minor: Option<u64>,
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) real_size: Option<u64>,
    pub(crate) count: Option<u64>,
    pub(crate) map: Option<Vec<Segment>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SparseForm {
    None,
    /// the map is known
    Map(Vec<Segment>),
    /// the map comes first in the data (1.0)
    InData,
}

impl SparseSpec {
    pub(crate) fn form(&mut self) -> Result<SparseForm, Reason> {
        match (self.major, self.minor, self.map.take()) {
            (None, None, None) => Ok(SparseForm::None),
            (None, None, Some(map)) | (Some(0), Some(0 | 1), Some(map)) => {
                if self.count.is_some_and(|count| count != map.len() as u64) {
                    return Err(Reason::Sparse("it has not as many parts as it says"));
                }
                Ok(SparseForm::Map(map))
            }
            (Some(1), Some(0), None) => Ok(SparseForm::InData),
            _ => Err(Reason::Sparse("of a version that does not exist")),
        }
    }
}

impl Segment {
    /// 0.1: `offset,length,offset,length…`
    pub(crate) fn list(text: &[u8]) -> Result<Vec<Segment>, Reason> {
        let mut map = Vec::new();
        if text.is_empty() {
            return Ok(map);
        }
        let mut numbers = text.split(|c| *c == b',');
        while let Some(offset) = numbers.next() {
            let length = numbers.next().ok_or(Reason::Sparse("an offset without length"))?;
            let offset = decimal(offset, "GNU.sparse.map")?;
            map.push(Segment { offset, length: decimal(length, "GNU.sparse.map")? });
            if map.len() > MAX_SEGMENTS {
                return Err(Reason::Sparse("too many parts"));
            }
        }
        Ok(map)
    }

    /// The old form: 24 bytes each, in the header (4) and in blocks behind it (21). The first whose offset
    /// field is empty ends the list.
    pub(crate) fn old(fields: &[u8], map: &mut Vec<Segment>) -> Result<(), Reason> {
        for field in fields.chunks_exact(24) {
            if field[0] == 0 {
                break;
            }
            let offset = unsigned(&field[..12], "sparse offset")?;
            map.push(Segment { offset, length: unsigned(&field[12..], "sparse length")? });
            if map.len() > MAX_SEGMENTS {
                return Err(Reason::Sparse("too many parts"));
            }
        }
        Ok(())
    }
}

/// The map of form 1.0, as it arrives: decimal lines, the first their number, padded to a block.
#[derive(Debug, Default)]
pub(crate) struct MapReader {
    line: Vec<u8>,
    count: Option<u64>,
    numbers: Vec<u64>,
    pub(crate) read: u64,
}

impl MapReader {
    /// Takes one block; `Some` when it was the last.
    pub(crate) fn block(&mut self, block: &[u8; BLOCK]) -> Result<Option<Vec<Segment>>, Reason> {
        self.read += BLOCK as u64;
        if self.read as usize > MAX_EXTENSION_BYTES {
            return Err(Reason::Sparse("longer than 1 MiB"));
        }
        for byte in block {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > 20 {
                    return Err(Reason::Sparse("a line that is no number"));
                }
                continue;
            }
            let number = decimal(&self.line, "sparse map")?;
            self.line.clear();
            match self.count {
                None if number > MAX_SEGMENTS as u64 => return Err(Reason::Sparse("too many parts")),
                None => self.count = Some(number * 2),
                Some(_) => self.numbers.push(number),
            }
            if self.count == Some(self.numbers.len() as u64) {
                let pairs = self.numbers.chunks_exact(2);
                return Ok(Some(pairs.map(|p| Segment { offset: p[0], length: p[1] }).collect()));
            }
        }
        Ok(None)
    }
}

/// In order, without overlap, inside the file, and as long as the data.
pub(crate) fn check(map: &[Segment], real_size: u64, data: u64) -> Result<(), Reason> {
    let (mut end, mut total) = (0u64, 0u64);
    for part in map {
        if part.offset < end {
            return Err(Reason::Sparse("its parts overlap or are out of order"));
        }
        end = part.offset.checked_add(part.length).ok_or(Reason::Sparse("a part ends beyond 2^64"))?;
        total += part.length;
    }
    if end > real_size {
        return Err(Reason::Sparse("it leads beyond the end of the file"));
    }
    if total != data {
        return Err(Reason::Sparse("it does not cover the data exactly"));
    }
    Ok(())
}
