//! Where the last entries of a log begin: looked for from the end, in blocks.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::files::Opened;
use super::local;
use super::read::{Format, entries};

const BLOCK: u64 = 64 << 10;

/// Where to begin: in which file (an index of `files`, the newest first), at which byte of it, and how many
/// entries are passed over from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) file: usize,
    pub(super) at: u64,
    pub(super) skip: u64,
}

/// The place from which there are `count` entries, or the first of all.
pub(super) fn start(format: Format, files: &[Opened], count: u64) -> std::io::Result<Start> {
    let mut wanted = count;
    let mut start = Start { file: 0, at: 0, skip: 0 };
    for (index, opened) in files.iter().enumerate() {
        let (found, at, skip) = in_one(format, opened, wanted)?;
        start = Start { file: index, at, skip };
        wanted -= found.min(wanted);
        if wanted == 0 {
            break;
        }
    }
    Ok(start)
}

/// How many were found, up to `wanted`, and where they begin.
fn in_one(format: Format, opened: &Opened, wanted: u64) -> std::io::Result<(u64, u64, u64)> {
    let size = opened.file.metadata()?.len();
    if !opened.compressed {
        let found = match format {
            Format::Json => Some(lines(&opened.file, size, wanted)?),
            Format::Local => records(&opened.file, size, wanted)?,
        };
        if let Some((found, at)) = found {
            return Ok((found, at, 0));
        }
    }
    // From its beginning: it is compressed, or its end is torn.
    let mut all = 0;
    entries(format, &mut *opened.reader(0)?, 0, &mut |_| {
        all += 1;
        Ok(true)
    })?;
    Ok((all.min(wanted), 0, all.saturating_sub(wanted)))
}

fn lines(file: &File, size: u64, wanted: u64) -> std::io::Result<(u64, u64)> {
    // An entry begins behind a newline; what is behind the last is not whole yet.
    let mut block = vec![0; BLOCK as usize];
    let (mut newlines, mut end) = (0, size);
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let block = &mut block[..(end - start) as usize];
        file.read_exact_at(block, start)?;
        for at in memchr::memrchr_iter(b'\n', block) {
            if newlines == wanted {
                return Ok((wanted, start + at as u64 + 1));
            }
            newlines += 1;
        }
        end = start;
    }
    Ok((newlines, 0))
}

/// `None` if the file does not end with a whole record.
fn records(file: &File, size: u64, wanted: u64) -> std::io::Result<Option<(u64, u64)>> {
    let (mut found, mut end) = (0, size);
    let mut block = Vec::new();
    let mut block_start = size;
    while end > 0 && found < wanted {
        // The record's last four bytes are in the block.
        if end < block_start + 4 {
            block_start = end.saturating_sub(BLOCK);
            block.resize((end - block_start) as usize, 0);
            file.read_exact_at(&mut block, block_start)?;
        }
        let Some(length) = local::length_before(&block[..(end - block_start) as usize]) else {
            return Ok(None);
        };
        let Some(start) = end.checked_sub(length as u64) else { return Ok(None) };
        let mut head = [0; 4];
        file.read_exact_at(&mut head, start)?;
        if u32::from_le_bytes(head) as usize + 8 != length {
            return Ok(None);
        }
        end = start;
        found += 1;
    }
    Ok(Some((found, end)))
}

/// Where the last line begins that begins at `before` or earlier.
pub(super) fn line_before(file: &File, before: u64) -> Option<u64> {
    let start = before.saturating_sub(BLOCK);
    let mut block = vec![0; (before - start) as usize];
    file.read_exact_at(&mut block, start).ok()?;
    match memchr::memrchr(b'\n', &block) {
        Some(at) => Some(start + at as u64 + 1),
        None => (start == 0).then_some(0),
    }
}

/// Where the last record begins that begins at `before` or earlier.
pub(super) fn record_before(file: &File, before: u64) -> Option<u64> {
    let mut end = file.metadata().ok()?.len();
    while end > before {
        let mut last = [0; 4];
        file.read_exact_at(&mut last, end.checked_sub(4)?).ok()?;
        end = end.checked_sub(local::length_before(&last)? as u64)?;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(bytes: &[u8]) -> Opened {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Opened { file, inode: 0, compressed: false }
    }

    fn compressed(bytes: &[u8]) -> Opened {
        let mut to =
            flate2::write::GzEncoder::new(tempfile::tempfile().unwrap(), flate2::Compression::fast());
        to.write_all(bytes).unwrap();
        Opened { file: to.finish().unwrap(), inode: 0, compressed: true }
    }

    #[test]
    fn the_last_lines_are_found_over_files_and_blocks() {
        let long = "x".repeat(100_000);
        let line = |text: &str| {
            let mut out = Vec::new();
            super::super::json::encode(&mut out, false, format!("{text}\n").as_bytes(), "", "T");
            out
        };
        let newest = [line("c"), line(&long), line("d"), b"{\"log\":\"torn".to_vec()].concat();
        let older = [line("a"), line("b")].concat();
        let at = |lines: usize| {
            let ends: Vec<usize> = memchr::memchr_iter(b'\n', &newest).collect();
            (ends.len() - lines).checked_sub(1).map_or(0, |index| ends[index] as u64 + 1)
        };
        let files = [file(&newest), file(&older), compressed(&older)];
        let start = |count| start(Format::Json, &files, count).unwrap();
        for lines in 0..=3 {
            assert_eq!(start(lines as u64), Start { file: 0, at: at(lines), skip: 0 }, "{lines}");
        }
        assert_eq!(start(4), Start { file: 1, at: line("a").len() as u64, skip: 0 });
        assert_eq!(start(6), Start { file: 2, at: 0, skip: 1 });
        assert_eq!(start(99), Start { file: 2, at: 0, skip: 0 });
    }

    #[test]
    fn the_last_records_are_found_and_a_torn_end_is_none() {
        let mut bytes = Vec::new();
        let mut starts = Vec::new();
        for text in ["a\n", &"y".repeat(70_000), "b\n"] {
            starts.push(bytes.len() as u64);
            local::encode(&mut bytes, false, text.as_bytes(), "", 1);
        }
        let whole = [file(&bytes)];
        for count in 1..=3 {
            let want = Start { file: 0, at: starts[3 - count], skip: 0 };
            assert_eq!(start(Format::Local, &whole, count as u64).unwrap(), want);
        }
        assert_eq!(record_before(&whole[0].file, starts[2] - 1), Some(starts[1]));
        bytes.extend_from_slice(&[9, 0, 0]);
        let torn = [file(&bytes)];
        assert_eq!(start(Format::Local, &torn, 1).unwrap(), Start { file: 0, at: 0, skip: 2 });
    }
}
