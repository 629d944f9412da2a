//! Who a name is: /etc/passwd and /etc/group of the container, never of the host.
//!
//! The files are hostile: they are opened inside the root, must be regular, are read up to a bound and
//! parsed line by line; a line that is not well formed is skipped, as the C library does. A number is a
//! number and never looked up as a name, and must fit 32 bits (CVE-2024-40635, CVE-2026-30892).

use std::os::fd::{AsFd, BorrowedFd};

use corten_sys::error::Context;
use corten_sys::open::openat2;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat};
use rustix::io::Errno;

use crate::spec::{IdMaps, IdRange};

/// Files larger than this are refused.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// A process can have at most so many supplementary groups here; the kernel's own bound is 65 536.
pub const MAX_GROUPS: usize = 1024;

/// A user or group that could not be determined.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No such name in the container's passwd file.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    UnknownUser(String),
    /// No such name in the container's group file.
    #[error("unable to find group {0}: no matching entries in group file")]
    UnknownGroup(String),
    /// Neither a name nor a number that fits.
    #[error("user {0:?}: want `user`, `uid`, `user:group` or `uid:gid` with ids from 0 to 4294967294")]
    Malformed(String),
    /// More groups than a process gets here.
    #[error("user {user:?} has {count} groups; at most {MAX_GROUPS} are supported")]
    TooManyGroups {
        /// The user.
        user: String,
        /// How many.
        count: usize,
    },
    /// The container's user namespace has no such id.
    #[error(
        "{kind} {id} is not there: the container's user namespace has {count} ids (root has all with --userns host, \
         an ordinary user more with a range in /etc/subuid and /etc/subgid, and newuidmap)"
    )]
    Unmapped {
        /// `user` or `group`.
        kind: &'static str,
        /// The id.
        id: u32,
        /// How many ids there are.
        count: u32,
    },
    /// The file is not a regular one, or too large.
    #[error("{path} of the container: {problem}")]
    File {
        /// Which.
        path: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A call failed.
    #[error(transparent)]
    Call(#[from] corten_sys::CallError),
}

/// A user, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups, the primary one first (CVE-2022-36109).
    pub groups: Vec<u32>,
    /// Home directory; `/` for a user without an entry.
    pub home: String,
}

impl Identity {
    /// Refuses ids that the container's user namespace lacks; the kernel would only say `EINVAL`.
    pub(crate) fn check(&self, maps: &IdMaps) -> Result<(), UserError> {
        let count =
            |ranges: &[IdRange]| ranges.iter().fold(0u32, |sum, range| sum.saturating_add(range.size));
        if maps.host_user(self.uid).is_none() {
            return Err(UserError::Unmapped { kind: "user", id: self.uid, count: count(&maps.users) });
        }
        match self.groups.iter().chain([&self.gid]).find(|&&id| maps.host_group(id).is_none()) {
            Some(&id) => Err(UserError::Unmapped { kind: "group", id, count: count(&maps.groups) }),
            None => Ok(()),
        }
    }
}

/// Resolves `user` (`""`, `name`, `uid`, `name:group`, …) and `extra` groups inside `root`.
///
/// # Errors
/// See [`UserError`].
pub fn resolve(root: BorrowedFd<'_>, user: &str, extra: &[String]) -> Result<Identity, UserError> {
    // Groups are read only where something may be in them: a start reads one file less for most users.
    let passwd = read(root, "etc/passwd")?;
    let group = read(root, "etc/group")?;
    lookup(&passwd, &group, user, extra)
}

fn read(root: BorrowedFd<'_>, path: &'static str) -> Result<Vec<u8>, UserError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = match openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        Err(errno) => return Err(corten_sys::CallError::new(format!("openat2({path:?})"), errno).into()),
    };
    let stat = fstat(file.as_fd()).call(|| format!("fstat({path:?})"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(UserError::File { path, problem: "is not a regular file" });
    }
    if stat.st_size as u64 > MAX_FILE_BYTES {
        return Err(UserError::File { path, problem: "is larger than 4 MiB" });
    }
    let mut content = vec![0; stat.st_size as usize];
    let mut filled = 0;
    while filled < content.len() {
        match rustix::io::read(&file, &mut content[filled..]).call(|| format!("read({path:?})"))? {
            0 => break,
            count => filled += count,
        }
    }
    content.truncate(filled);
    Ok(content)
}

enum Name<'a> {
    Number(u32),
    Text(&'a str),
}

/// Digits only are a number, which must fit; `u32::MAX` is what set*id(2) takes as "leave it".
fn parse_name<'a>(text: &'a str, whole: &str) -> Result<Name<'a>, UserError> {
    let malformed = || UserError::Malformed(whole.to_owned());
    if text.is_empty() || text.contains(['\n', '\0', ':']) {
        return Err(malformed());
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.parse::<u32>() {
            Ok(number) if number != u32::MAX => Ok(Name::Number(number)),
            _ => Err(malformed()),
        };
    }
    if text.starts_with(['-', '+']) && text[1..].bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed());
    }
    Ok(Name::Text(text))
}

fn fields(file: &[u8]) -> impl Iterator<Item = Vec<&str>> {
    file.split(|&byte| byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split(':').collect())
}

fn id(field: Option<&&str>) -> Option<u32> {
    field?.parse().ok()
}

/// The pure part of [`resolve`]: `passwd` and `group` are the contents of the files.
///
/// # Errors
/// See [`UserError`].
pub fn lookup(passwd: &[u8], group: &[u8], user: &str, extra: &[String]) -> Result<Identity, UserError> {
    let (user_part, group_part) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    let wanted = parse_name(if user_part.is_empty() { "0" } else { user_part }, user)?;
    let entry = fields(passwd).filter(|entry| entry.len() >= 4).find(|entry| match wanted {
        Name::Number(number) => id(entry.get(2)) == Some(number),
        Name::Text(name) => entry[0] == name,
    });
    let (login, uid, primary, home) = match (&entry, &wanted) {
        (Some(entry), _) => {
            let uid = id(entry.get(2)).ok_or_else(|| UserError::UnknownUser(user_part.to_owned()))?;
            let gid = id(entry.get(3)).unwrap_or(0);
            let home = entry.get(5).copied().filter(|home| home.starts_with('/')).unwrap_or("/");
            (Some(entry[0]), uid, gid, home)
        }
        (None, Name::Number(number)) => (None, *number, 0, if *number == 0 { "/root" } else { "/" }),
        (None, Name::Text(name)) => return Err(UserError::UnknownUser((*name).to_owned())),
    };
    let find_group = |name: &str, whole: &str| match parse_name(name, whole)? {
        Name::Number(number) => Ok(number),
        Name::Text(name) => fields(group)
            .find(|entry| entry.len() >= 3 && entry[0] == name)
            .and_then(|entry| id(entry.get(2)))
            .ok_or_else(|| UserError::UnknownGroup(name.to_owned())),
    };
    let gid = match group_part {
        Some(name) => find_group(name, user)?,
        None => primary,
    };
    let mut groups = vec![gid];
    let mut add = |id: u32| {
        if !groups.contains(&id) {
            groups.push(id);
        }
    };
    if let (None, Some(login)) = (group_part, login) {
        fields(group)
            .filter(|entry| entry.len() >= 4 && entry[3].split(',').any(|member| member == login))
            .filter_map(|entry| id(entry.get(2)))
            .take(MAX_GROUPS + 1)
            .for_each(&mut add);
    }
    for name in extra {
        add(find_group(name, name)?);
    }
    if groups.len() > MAX_GROUPS {
        return Err(UserError::TooManyGroups { user: user.to_owned(), count: groups.len() });
    }
    Ok(Identity { uid, gid, groups, home: home.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/srv/web:/bin/sh\nbroken\n0evil:x:0\n1:x:7:7::/trap:\n";
    const GROUP: &[u8] = b"root:x:0:\nweb:x:1001:\nadm:x:4:web,root\nwheel:x:10:root\n";

    fn get(user: &str, extra: &[&str]) -> Result<(u32, u32, Vec<u32>, String), String> {
        let extra: Vec<String> = extra.iter().map(|&group| group.to_owned()).collect();
        lookup(PASSWD, GROUP, user, &extra)
            .map(|who| (who.uid, who.gid, who.groups, who.home))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn users_by_name_and_number() {
        let ok = |uid, gid, groups: &[u32], home: &str| Ok((uid, gid, groups.to_vec(), home.to_owned()));
        assert_eq!(get("", &[]), ok(0, 0, &[0, 4, 10], "/root"));
        assert_eq!(get("web", &[]), ok(1000, 1001, &[1001, 4], "/srv/web"));
        assert_eq!(get("1000", &[]), ok(1000, 1001, &[1001, 4], "/srv/web"));
        assert_eq!(get("web:adm", &[]), ok(1000, 4, &[4], "/srv/web"));
        assert_eq!(get("1000:7", &["adm", "99"]), ok(1000, 7, &[7, 4, 99], "/srv/web"));
        assert_eq!(get("4294967294", &[]), ok(4_294_967_294, 0, &[0], "/"));
        // An entry named `1` exists: the number 1 is not it.
        assert_eq!(get("1", &[]), ok(1, 0, &[0], "/"));
        assert_eq!(get("01", &[]), ok(1, 0, &[0], "/"));
    }

    #[test]
    fn what_is_no_user_is_refused() {
        for user in
            ["4294967295", "4294967296", "-1", "+1", "1:", "web:", "1:2:3", "a\nb", ":", "1:4294967296"]
        {
            assert!(get(user, &[]).unwrap_err().contains("ids from 0 to 4294967294"), "{user}");
        }
        for user in ["nobody", "0x1", "1000 ", "Web"] {
            assert!(get(user, &[]).unwrap_err().contains("no matching entries in passwd file"), "{user}");
        }
        assert!(get("web:none", &[]).unwrap_err().contains("unable to find group none"));
        assert!(get("web", &["none"]).unwrap_err().contains("unable to find group none"));
    }

    #[test]
    fn without_files_root_is_root() {
        let who = lookup(b"", b"", "", &[]).unwrap();
        assert_eq!((who.uid, who.gid, who.home.as_str()), (0, 0, "/root"));
    }
}
