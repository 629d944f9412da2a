//! Capabilities by the names that profiles use, from the kernel's table in `corten-sys`.

use corten_sys::caps::NAMES;

/// The bit of a capability, for static tables: a name that does not exist does not compile.
pub(crate) const fn bit(name: &str) -> u64 {
    let mut at = 0;
    while at < NAMES.len() {
        if crate::table::compare(NAMES[at], name) == 0 {
            return 1 << at;
        }
        at += 1;
    }
    panic!("no such capability")
}

pub(crate) fn named(name: &str) -> Option<u64> {
    NAMES.iter().position(|known| *known == name).map(|number| 1 << number)
}

/// The names in a set, by number.
pub(crate) fn names(set: u64) -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().enumerate().filter(move |(number, _)| set & 1 << number != 0).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        for (name, number) in [("CAP_CHOWN", 0), ("CAP_SYS_ADMIN", 21), ("CAP_CHECKPOINT_RESTORE", 40)] {
            assert_eq!((bit(name), named(name)), (1 << number, Some(1 << number)));
        }
        assert_eq!(named("SYS_ADMIN"), None);
        assert_eq!(names(1 << 39 | 1).collect::<Vec<_>>(), ["CAP_CHOWN", "CAP_BPF"]);
    }
}
