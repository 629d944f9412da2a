//! What subuid(5) and subgid(5) grant, and the programs that map it.

use std::path::{Path, PathBuf};

/// The kernel takes 340 lines in a map; nobody has that many ranges.
const MAX_RANGES: usize = 300;

/// The two set-uid programs, where both are there.
pub(super) struct Programs {
    pub(super) newuidmap: PathBuf,
    pub(super) newgidmap: PathBuf,
}

impl Programs {
    pub(super) fn find(search: &[PathBuf]) -> Option<Self> {
        let find = |name: &str| search.iter().map(|dir| dir.join(name)).find(|path| path.is_file());
        Some(Self { newuidmap: find("newuidmap")?, newgidmap: find("newgidmap")? })
    }
}

/// Ranges of more ids: (first, how many).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) users: Vec<(u32, u32)>,
    pub(super) groups: Vec<(u32, u32)>,
}

impl Grant {
    /// Of this user; `None` unless there are both user and group ids.
    pub(super) fn of(uid: u32) -> Option<Self> {
        let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
        let name = name_of(&read("/etc/passwd"), uid);
        let ranges = |path| ranges(&read(path), name.as_deref(), uid);
        let grant = Self { users: ranges("/etc/subuid"), groups: ranges("/etc/subgid") };
        (!grant.users.is_empty() && !grant.groups.is_empty()).then_some(grant)
    }
}

/// A user without an entry here (of a directory service) is granted ids by number only.
fn name_of(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// `NAME:FIRST:COUNT` or `UID:FIRST:COUNT`.
fn ranges(text: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let who = fields.next()?;
        if Some(who) != name && who.parse() != Ok(uid) {
            return None;
        }
        let (first, count) = (fields.next()?.parse::<u32>().ok()?, fields.next()?.parse::<u32>().ok()?);
        (count > 0 && first.checked_add(count).is_some()).then_some((first, count))
    };
    text.lines().filter_map(range).take(MAX_RANGES).collect()
}

/// What newuidmap(1) is called with, after the process id: 0 is the user, the rest follows from 1 on.
pub(super) fn arguments(own: u32, ranges: &[(u32, u32)]) -> Vec<String> {
    let mut words = vec![0, own, 1];
    let mut inside = 1u32;
    for &(first, count) in ranges {
        let count = count.min(u32::MAX - inside);
        words.extend([inside, first, count]);
        inside += count;
    }
    words.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let text = "web:100000:65536\n# no\n1000:300000:10\nother:1:1\nweb:x:1\nweb:5\nweb:9:0\n\nweb:4294967295:2\n";
        assert_eq!(ranges(text, Some("web"), 1000), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(ranges(text, None, 1000), [(300_000, 10)]);
        assert_eq!(ranges(text, Some("ghost"), 7), []);
    }

    #[test]
    fn names_come_from_passwd() {
        let passwd = "root:x:0:0::/:/bin/sh\n:x:5::::\nweb:x:1000:1000::/:\nweb2:x:1000:1000::/:\n";
        assert_eq!(name_of(passwd, 1000).as_deref(), Some("web"));
        assert_eq!(name_of(passwd, 5), None);
    }

    #[test]
    fn the_user_is_0_and_the_ranges_follow() {
        let words = arguments(1000, &[(100_000, 65_536), (300_000, 10)]);
        assert_eq!(words, ["0", "1000", "1", "1", "100000", "65536", "65537", "300000", "10"]);
    }
}
