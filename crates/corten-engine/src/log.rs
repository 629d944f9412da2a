//! The `json-file` log: one JSON object a line, with Docker's fields `log`, `stream` and `time`.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::error::{At, EngineError};

/// A log that is written line by line.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    /// What came without its newline yet, for stdout and stderr. Docker splits at 16 KiB.
    partial: [Vec<u8>; 2],
}

const MAX_LINE: usize = 16 * 1024;

impl Log {
    pub(crate) fn open(path: &Path) -> Result<Self, EngineError> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = File::options().create(true).append(true).mode(0o600).open(path).at("open", path)?;
        Ok(Self { file, partial: [Vec::new(), Vec::new()] })
    }

    /// Adds what the container wrote; `stream` is 1 or 2.
    pub(crate) fn write(&mut self, stream: u8, bytes: &[u8]) {
        let index = usize::from(stream == 2);
        for &byte in bytes {
            self.partial[index].push(byte);
            if byte == b'\n' || self.partial[index].len() >= MAX_LINE {
                self.line(index);
            }
        }
    }

    /// Writes what has no newline.
    pub(crate) fn finish(&mut self) {
        (0..2).for_each(|index| self.line(index));
    }

    fn line(&mut self, index: usize) {
        let bytes = std::mem::take(&mut self.partial[index]);
        if bytes.is_empty() {
            return;
        }
        let stream = ["stdout", "stderr"][index];
        let line = serde_json::json!({
            "log": String::from_utf8_lossy(&bytes),
            "stream": stream,
            "time": rfc3339(crate::record::now_ns()),
        });
        // A full disk loses lines of the log, and never stops the container.
        let _lost = writeln!(self.file, "{line}");
    }
}

/// RFC 3339 with nanoseconds, in UTC.
pub fn rfc3339(ns: u128) -> String {
    let (seconds, fraction) = ((ns / 1_000_000_000) as i64, ns % 1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Howard Hinnant's algorithm, days since 1970-01-01 to a civil date.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(1_709_164_800_000_000_001), "2024-02-29T00:00:00.000000001Z");
        assert_eq!(rfc3339(1_795_508_129_500_000_000), "2026-11-24T08:15:29.500000000Z");
    }

    #[test]
    fn lines_are_whole_and_keep_their_stream() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(&dir.path().join("log")).unwrap();
        log.write(1, b"a\nb");
        log.write(2, b"err\n");
        log.write(1, b"c\n");
        log.write(2, b"end");
        log.finish();
        let text = std::fs::read_to_string(dir.path().join("log")).unwrap();
        let lines: Vec<(String, String)> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|v| (v["stream"].as_str().unwrap().into(), v["log"].as_str().unwrap().into()))
            .collect();
        let expect = [("stdout", "a\n"), ("stderr", "err\n"), ("stdout", "bc\n"), ("stderr", "end")];
        assert_eq!(lines, expect.map(|(s, l)| (s.to_owned(), l.to_owned())));
    }
}
