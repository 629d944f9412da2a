//! How large a container is: what it wrote itself.

use std::os::unix::fs::MetadataExt;

use crate::dirs::Dirs;

/// Bytes of the files in its own layer, each counted once. What cannot be read counts nothing.
#[must_use]
pub fn size_of(dirs: &Dirs, id: &str) -> u64 {
    let mut waiting = vec![dirs.container(id).join("upper")];
    let mut seen = std::collections::HashSet::new();
    let mut bytes = 0;
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            // Not followed.
            let Ok(stat) = entry.metadata() else { continue };
            if stat.is_dir() {
                waiting.push(entry.path());
            } else if stat.nlink() < 2 || seen.insert((stat.dev(), stat.ino())) {
                bytes += if stat.is_file() { stat.size() } else { 0 };
            }
        }
    }
    bytes
}
