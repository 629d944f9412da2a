//! capabilities(7): names, sets, capget(2) and capset(2).

use std::fmt;

use rustix::io::Errno;

use crate::check;

/// The kernel's names, in the order of their numbers (Linux 6.18, `linux/capability.h`).
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// A set of capabilities: bit *n* is the capability of number *n*.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct CapSet(pub u64);

impl CapSet {
    /// No capability.
    pub const EMPTY: CapSet = CapSet(0);
    /// Every capability that this program has a name for.
    pub const ALL: CapSet = CapSet((1 << NAMES.len()) - 1);

    /// The set of these names, each with or without `CAP_`, in any case. `None` if one is unknown.
    #[must_use]
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        names.into_iter().try_fold(CapSet::EMPTY, |set, name| Some(set | CapSet(1 << number(name)?)))
    }

    /// Whether the capability of this number is in the set.
    #[must_use]
    pub const fn has(self, number: u8) -> bool {
        self.0 & (1 << number) != 0
    }

    /// The names, with `CAP_`, in the order of their numbers.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        (0..NAMES.len())
            .filter(|&number| self.has(number as u8))
            .map(|number| NAMES[number].to_owned())
            .collect()
    }

    /// What is in this set but not in `other`.
    #[must_use]
    pub const fn without(self, other: CapSet) -> CapSet {
        CapSet(self.0 & !other.0)
    }
}

impl std::ops::BitOr for CapSet {
    type Output = CapSet;
    fn bitor(self, other: CapSet) -> CapSet {
        CapSet(self.0 | other.0)
    }
}

impl std::ops::BitAnd for CapSet {
    type Output = CapSet;
    fn bitand(self, other: CapSet) -> CapSet {
        CapSet(self.0 & other.0)
    }
}

impl fmt::Debug for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// The number of a capability by its name, with or without `CAP_`, in any case.
#[must_use]
pub fn number(name: &str) -> Option<u8> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|&known| known["CAP_".len()..] == *bare).map(|position| position as u8)
}

/// The three sets of a thread that capset(2) changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ThreadCaps {
    /// What checks are made against.
    pub effective: CapSet,
    /// What may be made effective.
    pub permitted: CapSet,
    /// What an exec may pass on.
    pub inheritable: CapSet,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

/// capset(2) for this thread.
///
/// # Errors
/// `EPERM` for a set that grows beyond what is permitted.
pub fn set(caps: ThreadCaps) -> Result<(), Errno> {
    let half = |shift: u32| Data {
        effective: (caps.effective.0 >> shift) as u32,
        permitted: (caps.permitted.0 >> shift) as u32,
        inheritable: (caps.inheritable.0 >> shift) as u32,
    };
    let mut header = Header { version: VERSION_3, pid: 0 };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads the header and two data elements.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) }).map(drop)
}

/// capget(2) for this thread.
///
/// # Errors
/// What capget(2) says.
pub fn get() -> Result<ThreadCaps, Errno> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 writes two data elements.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let join = |low: u32, high: u32| CapSet(u64::from(low) | u64::from(high) << 32);
    Ok(ThreadCaps {
        effective: join(data[0].effective, data[1].effective),
        permitted: join(data[0].permitted, data[1].permitted),
        inheritable: join(data[0].inheritable, data[1].inheritable),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        assert_eq!(number("cap_net_raw"), Some(13));
        assert_eq!(number("CHECKPOINT_RESTORE"), Some(40));
        assert_eq!(number("CAP_NOPE"), None);
        let set = CapSet::from_names(["KILL", "CAP_MKNOD"]).unwrap();
        assert_eq!(set.names(), ["CAP_KILL", "CAP_MKNOD"]);
        assert_eq!(CapSet::ALL.0.count_ones(), 41);
    }

    #[test]
    fn capget_agrees_with_proc() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
        assert_eq!(get().unwrap().effective.0, u64::from_str_radix(line.trim(), 16).unwrap());
    }
}
