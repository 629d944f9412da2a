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
            "time": corten_oci::time::rfc3339(std::time::SystemTime::now()),
        });
        // A full disk loses lines of the log, and never stops the container.
        let _lost = writeln!(self.file, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
