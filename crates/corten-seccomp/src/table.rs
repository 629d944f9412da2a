//! System calls: names and, for each ABI, numbers.
//!
//! A [`Syscall`] is an index into one sorted list of names, so that static tables resolve theirs when this
//! crate is compiled, and compiling a filter compares no strings.
//!
//! ```text
//!   names::NAMES    [ _llseek │ _newselect │ … │ read │ … ]   sorted by name
//!                                                 ▲ index
//!   X86_64          [ (0, read) │ (1, write) │ … ]            sorted by number, one list an ABI
//! ```

mod aarch64;
mod arm;
mod names;
mod x32;
mod x86;
mod x86_64;

use crate::arch::Arch;
use names::NAMES;

/// A system call that some architecture of Linux has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Syscall(u16);

/// Second names of asm/unistd.h and of libseccomp.
const ALIASES: [(&str, &str); 1] = [("arm_sync_file_range", "sync_file_range2")];

static X86_64: [(u32, Syscall); x86_64::CALLS.len()] = resolve(x86_64::CALLS);
static X86: [(u32, Syscall); x86::CALLS.len()] = resolve(x86::CALLS);
static X32: [(u32, Syscall); x32::CALLS.len()] = resolve(x32::CALLS);
static AARCH64: [(u32, Syscall); aarch64::CALLS.len()] = resolve(aarch64::CALLS);
static ARM: [(u32, Syscall); arm::CALLS.len()] = resolve(arm::CALLS);

impl Syscall {
    /// How many there are; [`Syscall::index`] is below it.
    pub(crate) const COUNT: usize = NAMES.len();

    /// For static tables: a name that does not exist does not compile.
    pub(crate) const fn known(name: &str) -> Self {
        let (mut low, mut high) = (0, NAMES.len());
        while low < high {
            let middle = (low + high) / 2;
            let order = compare(NAMES[middle], name);
            if order == 0 {
                return Self(middle as u16);
            }
            if order < 0 {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        panic!("no such system call")
    }

    pub fn named(name: &str) -> Option<Self> {
        let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
        NAMES.binary_search(&name).ok().map(|index| Self(index as u16))
    }

    pub const fn name(self) -> &'static str {
        NAMES[self.0 as usize]
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// Its number as in `seccomp_data.nr`: x32's with bit 30 set.
    pub fn number(self, arch: Arch) -> Option<u32> {
        Self::all(arch).iter().find(|(_, syscall)| *syscall == self).map(|(number, _)| *number)
    }

    pub fn at(arch: Arch, number: u32) -> Option<Self> {
        let all = Self::all(arch);
        all.binary_search_by_key(&number, |(number, _)| *number).ok().map(|at| all[at].1)
    }

    /// All calls of an ABI, by number.
    pub fn all(arch: Arch) -> &'static [(u32, Self)] {
        match arch {
            Arch::X86_64 => &X86_64,
            Arch::X86 => &X86,
            Arch::X32 => &X32,
            Arch::Aarch64 => &AARCH64,
            Arch::Arm => &ARM,
        }
    }
}

/// Runs when this crate is compiled.
const fn resolve<const N: usize>(calls: [(u32, &str); N]) -> [(u32, Syscall); N] {
    let mut resolved = [(0, Syscall(0)); N];
    let mut at = 0;
    while at < N {
        assert!(at == 0 || calls[at - 1].0 < calls[at].0, "the table is not sorted by number");
        resolved[at] = (calls[at].0, Syscall::known(calls[at].1));
        at += 1;
    }
    resolved
}

/// As `Ord::cmp` on bytes, which a constant cannot call: below, at or above zero.
pub(crate) const fn compare(left: &str, right: &str) -> i32 {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut at = 0;
    while at < left.len() && at < right.len() {
        if left[at] != right[at] {
            return left[at] as i32 - right[at] as i32;
        }
        at += 1;
    }
    left.len() as i32 - right.len() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        for (name, numbers) in [
            ("read", [Some(0), Some(3), Some(0x4000_0000), Some(63), Some(3)]),
            ("execve", [Some(59), Some(11), Some(0x4000_0000 + 520), Some(221), Some(11)]),
            ("socketcall", [None, Some(102), None, None, None]),
            ("clone3", [Some(435), Some(435), Some(0x4000_0000 + 435), Some(435), Some(435)]),
            ("set_tls", [None, None, None, None, Some(0xf_0005)]),
            ("arm_sync_file_range", [None, None, None, None, Some(341)]),
            ("file_setattr", [Some(469), Some(469), Some(0x4000_0000 + 469), Some(469), Some(469)]),
            ("uprobe", [Some(336), None, None, None, None]),
            ("riscv_hwprobe", [None; 5]),
        ] {
            let syscall = Syscall::named(name).unwrap();
            assert_eq!(Arch::ALL.map(|arch| syscall.number(arch)), numbers, "{name}");
        }
        assert_eq!(Syscall::named("no_such_call"), None);
    }

    #[test]
    fn every_entry_is_found_again() {
        assert!(NAMES.is_sorted());
        for arch in Arch::ALL {
            for &(number, syscall) in Syscall::all(arch) {
                assert_eq!(Syscall::named(syscall.name()), Some(syscall));
                assert_eq!(syscall.number(arch), Some(number));
                assert_eq!(Syscall::at(arch, number), Some(syscall));
            }
        }
        assert_eq!(Syscall::at(Arch::X86_64, 400), None);
    }
}
