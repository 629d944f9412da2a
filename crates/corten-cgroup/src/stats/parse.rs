//! The formats that the files of both worlds share.

use std::collections::BTreeMap;

use super::{IoStats, Pressure, PressureLine};

/// Lines of `KEY NUMBER`. Others are left out.
pub(super) fn flat(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// A key of [`flat`], zero if this kernel does not have it.
pub(super) fn get(map: &BTreeMap<String, u64>, key: &str) -> u64 {
    map.get(key).copied().unwrap_or(0)
}

pub(super) fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().filter_map(|n| n.parse().ok()).collect()
}

/// The entry of `8:0`, made if it is new.
pub(super) fn device<'a>(all: &'a mut Vec<IoStats>, text: &str) -> Option<&'a mut IoStats> {
    let (major, minor) = text.split_once(':')?;
    let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
    let at = all.iter().position(|d| (d.major, d.minor) == (major, minor)).unwrap_or_else(|| {
        all.push(IoStats { major, minor, ..IoStats::default() });
        all.len() - 1
    });
    all.get_mut(at)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
pub(super) fn pressure(text: &str) -> Option<Pressure> {
    let line = |kind: &str| {
        let rest = text.lines().find_map(|l| l.strip_prefix(kind)?.strip_prefix(' '))?;
        let value = |key: &str| rest.split(' ').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        Some(PressureLine {
            avg10: value("avg10")?.parse().ok()?,
            avg60: value("avg60")?.parse().ok()?,
            avg300: value("avg300")?.parse().ok()?,
            total_us: value("total")?.parse().ok()?,
        })
    };
    Some(Pressure { some: line("some")?, full: line("full") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psi() {
        let text = "some avg10=1.50 avg60=0.20 avg300=0.00 total=12345\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=6\n";
        let p = pressure(text).unwrap();
        assert_eq!((p.some.avg10, p.some.total_us, p.full.unwrap().total_us), (1.5, 12345, 6));
        assert_eq!(pressure(""), None);
    }

    #[test]
    fn keys_and_devices() {
        let map = flat("cache 4096\nrss 8192\nodd\nhierarchical_memory_limit 9223372036854771712\n");
        assert_eq!((get(&map, "rss"), get(&map, "none"), map.len()), (8192, 0, 3));
        let mut all = Vec::new();
        device(&mut all, "8:0").unwrap().read_ops = 1;
        device(&mut all, "8:0").unwrap().write_ops = 2;
        assert!(device(&mut all, "Total").is_none());
        assert_eq!((all.len(), all[0].read_ops, all[0].write_ops), (1, 1, 2));
    }
}
