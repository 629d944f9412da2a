//! The `json-file` log: one JSON object a line, with Docker's fields `log`, `stream` and `time`.
//!
//! With a `max-size` a full file becomes `log.json.1`, that one `log.json.2`, and so on; the oldest goes.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::config::log::JsonFile;
use crate::error::{At, EngineError};

/// A log that is written line by line.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    path: PathBuf,
    bytes: u64,
    limits: JsonFile,
    /// What came without its newline yet, for stdout and stderr. Docker splits at 16 KiB.
    partial: [Vec<u8>; 2],
}

const MAX_LINE: usize = 16 * 1024;

impl Log {
    pub(crate) fn open(path: &Path, limits: JsonFile) -> Result<Self, EngineError> {
        let file = append(path)?;
        // Only where it matters: one call less for most.
        let bytes = match limits.max_bytes {
            Some(_) => file.metadata().at("fstat", path)?.len(),
            None => 0,
        };
        Ok(Self { file, path: path.to_owned(), bytes, limits, partial: [Vec::new(), Vec::new()] })
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
        let mut line = serde_json::json!({
            "log": String::from_utf8_lossy(&bytes),
            "stream": stream,
            "time": corten_oci::time::rfc3339(std::time::SystemTime::now()),
        })
        .to_string();
        line.push('\n');
        if self.limits.max_bytes.is_some_and(|most| self.bytes >= most) {
            self.rotate();
        }
        // A full disk loses lines of the log, and never stops the container.
        let _lost = self.file.write_all(line.as_bytes());
        self.bytes += line.len() as u64;
    }

    /// Moves each file one on; what cannot be moved is written to further, which loses nothing.
    fn rotate(&mut self) {
        let numbered = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            if number > 0 {
                name.push(format!(".{number}"));
            }
            PathBuf::from(name)
        };
        let rotated = if self.limits.max_files == 1 {
            self.file.set_len(0)
        } else {
            for number in (1..self.limits.max_files - 1).rev() {
                let _not_there_yet = std::fs::rename(numbered(number), numbered(number + 1));
            }
            std::fs::rename(&self.path, numbered(1))
        };
        if rotated.is_ok()
            && let Ok(file) = append(&self.path)
        {
            self.file = file;
            self.bytes = 0;
        }
    }
}

fn append(path: &Path) -> Result<File, EngineError> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().create(true).append(true).mode(0o600).open(path).at("open", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDLESS: JsonFile = JsonFile { max_bytes: None, max_files: 1 };

    #[test]
    fn lines_are_whole_and_keep_their_stream() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(&dir.path().join("log"), ENDLESS).unwrap();
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

    #[test]
    fn a_full_file_is_moved_on_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.json");
        for (max_files, names) in [(1, &["log.json"][..]), (3, &["log.json", "log.json.1", "log.json.2"])] {
            let limits = JsonFile { max_bytes: Some(1), max_files };
            let mut log = Log::open(&path, limits).unwrap();
            (0..9).for_each(|number| log.write(1, format!("{number}\n").as_bytes()));
            let mut found: Vec<String> = std::fs::read_dir(dir.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            found.sort();
            assert_eq!(found, names);
            let oldest = std::fs::read_to_string(dir.path().join(names[names.len() - 1])).unwrap();
            assert!(oldest.contains(&format!("\"{}\\n\"", 9 - max_files)), "{oldest}");
            assert_eq!(oldest.lines().count(), 1);
        }
    }
}
