//! The writing side: ustar, with a pax header only where ustar cannot say it, so that the same tree gives
//! the same bytes everywhere.

use super::number::put_octal;
use super::pax::put_record;
use super::{BLOCK, Entry, EntryKind};

/// What an archive ends with.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Zeros to write behind `size` bytes of data.
pub fn padding(size: u64) -> &'static [u8] {
    let n = size.next_multiple_of(BLOCK as u64) - size;
    &END[..n as usize]
}

/// The header or headers of an entry; `entry.size` bytes of data and their padding follow.
pub fn encode(entry: &Entry) -> Vec<u8> {
    let mut pax = Vec::new();
    let mut block = [0u8; BLOCK];
    let (flag, link, device) = match &entry.kind {
        EntryKind::File => (b'0', &b""[..], (0, 0)),
        EntryKind::HardLink { target } => (b'1', &target[..], (0, 0)),
        EntryKind::Symlink { target } => (b'2', &target[..], (0, 0)),
        EntryKind::CharDevice { major, minor } => (b'3', &b""[..], (*major, *minor)),
        EntryKind::BlockDevice { major, minor } => (b'4', &b""[..], (*major, *minor)),
        EntryKind::Directory => (b'5', &b""[..], (0, 0)),
        EntryKind::Fifo => (b'6', &b""[..], (0, 0)),
    };
    let mut path = entry.path.clone();
    if entry.kind == EntryKind::Directory && !path.ends_with(b"/") {
        path.push(b'/');
    }
    let size = if entry.kind == EntryKind::File { entry.size } else { 0 };
    put_path(&mut block, &mut pax, &path);
    if link.len() > 100 {
        put_record(&mut pax, b"linkpath", link);
    }
    let shown = &link[..link.len().min(100)];
    block[157..157 + shown.len()].copy_from_slice(shown);
    block[156] = flag;
    let mut number = |range: std::ops::Range<usize>, key: &[u8], value: u64| {
        if put_octal(&mut block[range], value).is_none() {
            put_record(&mut pax, key, value.to_string().as_bytes());
        }
    };
    number(100..108, b"", u64::from(entry.mode & 0o7777));
    number(108..116, b"uid", entry.uid);
    number(116..124, b"gid", entry.gid);
    number(124..136, b"size", size);
    number(329..337, b"", u64::from(device.0));
    number(337..345, b"", u64::from(device.1));
    let secs = u64::try_from(entry.mtime.secs).ok();
    let plain = secs.filter(|_| entry.mtime.nanos == 0).and_then(|s| put_octal(&mut block[136..148], s));
    if plain.is_none() {
        let _ = put_octal(&mut block[136..148], secs.unwrap_or(0).min(0o77777777777));
        put_record(&mut pax, b"mtime", time(entry.mtime.secs, entry.mtime.nanos).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        put_record(&mut pax, &[b"SCHILY.xattr.", &name[..]].concat(), value);
    }
    seal(&mut block);
    if pax.is_empty() { block.to_vec() } else { extended(&pax, &block) }
}

/// The name if it fits 100 bytes, or 155 and 100 with a slash between; else in pax, cut in the header.
fn put_path(block: &mut [u8; BLOCK], pax: &mut Vec<u8>, path: &[u8]) {
    if path.len() <= 100 {
        block[..path.len()].copy_from_slice(path);
        return;
    }
    let split = (1..path.len().min(156)).rev().find(|at| path[*at] == b'/' && path.len() - at - 1 <= 100);
    match split {
        Some(at) if at + 1 < path.len() => {
            block[345..345 + at].copy_from_slice(&path[..at]);
            let name = &path[at + 1..];
            block[..name.len()].copy_from_slice(name);
        }
        _ => {
            put_record(pax, b"path", path);
            block[..100].copy_from_slice(&path[..100]);
        }
    }
}

fn time(secs: i64, nanos: u32) -> String {
    let text = match (secs < 0, nanos) {
        (true, n) if n > 0 => format!("-{}.{:09}", -(secs + 1), 1_000_000_000 - n),
        _ => format!("{secs}.{nanos:09}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').into()
}

fn seal(block: &mut [u8; BLOCK]) {
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    block[154] = 0;
}

fn extended(pax: &[u8], member: &[u8; BLOCK]) -> Vec<u8> {
    let mut block = [0u8; BLOCK];
    let name = b"././@PaxHeader";
    block[..name.len()].copy_from_slice(name);
    let _ = put_octal(&mut block[100..108], 0o644);
    let _ = put_octal(&mut block[124..136], pax.len() as u64);
    for field in [108..116, 116..124, 136..148, 329..337, 337..345] {
        let _ = put_octal(&mut block[field], 0);
    }
    block[156] = b'x';
    seal(&mut block);
    [&block[..], pax, padding(pax.len() as u64), &member[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::super::{Decoder, Event, Time};
    use super::*;
    use proptest::prelude::*;

    /// Reads a whole archive in pieces of `step` bytes.
    fn read(archive: &[u8], step: usize) -> Vec<(Entry, Vec<u8>)> {
        let mut decoder = Decoder::new();
        let mut found: Vec<(Entry, Vec<u8>)> = Vec::new();
        for mut piece in archive.chunks(step) {
            while let Some(event) = decoder.next(&mut piece).unwrap() {
                match event {
                    Event::Entry(entry) => found.push((*entry, Vec::new())),
                    Event::Data { bytes, .. } => found.last_mut().unwrap().1.extend_from_slice(bytes),
                    Event::EntryEnd => {}
                }
            }
        }
        decoder.finish().unwrap();
        found
    }

    prop_compose! {
        fn entry()(
            path in "[a-z]{1,90}(/[a-zé]{1,80}){0,4}",
            kind in 0..7,
            mode in 0u32..0o10000,
            uid in prop_oneof![0u64..70000, 0u64..1 << 40],
            secs in -(1i64 << 40)..1 << 40,
            nanos in prop_oneof![Just(0u32), 0u32..1_000_000_000],
            target in "[a-z./]{1,150}",
            data in proptest::collection::vec(any::<u8>(), 0..1500),
            xattrs in proptest::collection::btree_map("user\\.[a-z]{1,5}", "\\PC{0,30}", 0..3),
        ) -> (Entry, Vec<u8>) {
            let target = target.into_bytes();
            let kind = match kind {
                0 => EntryKind::File,
                1 => EntryKind::Directory,
                2 => EntryKind::Symlink { target },
                3 => EntryKind::HardLink { target },
                4 => EntryKind::CharDevice { major: uid as u32 & 0xfff, minor: mode },
                5 => EntryKind::BlockDevice { major: mode, minor: 3 },
                _ => EntryKind::Fifo,
            };
            let data = if kind == EntryKind::File { data } else { Vec::new() };
            let mut path = path.into_bytes();
            if kind == EntryKind::Directory { path.push(b'/'); }
            let entry = Entry {
                path, kind, mode, uid, gid: uid / 2, mtime: Time { secs, nanos }, size: data.len() as u64,
                xattrs: xattrs.into_iter().map(|(k, v)| (k.into_bytes(), v.into_bytes())).collect(),
            };
            (entry, data)
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in proptest::collection::vec(entry(), 0..6), step in 1usize..3000) {
            let mut archive = Vec::new();
            for (entry, data) in &entries {
                archive.extend(encode(entry));
                archive.extend(data);
                archive.extend(padding(entry.size));
            }
            archive.extend(END);
            prop_assert_eq!(read(&archive, step), entries);
        }

        #[test]
        fn nothing_panics(mut bytes in proptest::collection::vec(any::<u8>(), 512..4096), flag in "[0-7SxgLK]", gnu: bool) {
            let mut block: [u8; BLOCK] = bytes[..BLOCK].try_into().unwrap();
            block[156] = flag.as_bytes()[0];
            for field in [100..108, 108..116, 116..124, 124..136, 136..148] { block[field].fill(0); }
            block[133] = b'7';
            seal(&mut block);
            if gnu {
                block[257..265].copy_from_slice(b"ustar  \0");
            }
            bytes[..BLOCK].copy_from_slice(&block);
            let mut decoder = Decoder::new();
            let mut input = &bytes[..];
            while let Ok(Some(_)) = decoder.next(&mut input) {}
            let _ = decoder.finish();
        }
    }
}
