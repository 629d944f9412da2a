//! A profile: which system calls do what, under which conditions.
//!
//! OCI and Docker write the same thing in two forms (runtime-spec config-linux.md, "Seccomp"; moby's
//! seccomp.json). Both become a [`Profile`], which still has Docker's conditions: what they come to depends
//! on the container, so [`crate::compile()`] decides them.
//!
//! Where several rules name one system call, and the specification says nothing:
//!
//! 1. Of rules without arguments, the first in the document decides (libseccomp).
//! 2. A rule with arguments goes before it if its action is stricter, in the kernel's order. If it is not,
//!    the rule without arguments covers it (libseccomp covers both kinds; a condition that denies would be
//!    lost).
//! 3. Of rules with arguments that all match, the strictest action wins; of equally strict ones the first.
//! 4. Where no rule matches, the default action.
//!
//! And within one rule: all comparisons must hold, unless two of them are of the same argument; then any
//! one is enough (runc and crun, opencontainers/runc#2735; profiles in the field rely on it).

mod read;
mod write;

use std::borrow::Cow;

use crate::action::Action;
use crate::arch::{Arch, ArchName, ArchSet};
use crate::table::Syscall;

/// A whole profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// What happens to a call that no rule matches.
    pub default_action: Action,
    pub architectures: Architectures,
    /// `None` where the document does not speak of flags.
    pub flags: Option<Flags>,
    /// The unix socket that takes the notify descriptor of a filter with [`Action::Notify`].
    pub listener_path: Option<String>,
    /// Sent to the listener as it is.
    pub listener_metadata: Option<String>,
    pub rules: Cow<'static, [Rule]>,
}

/// The ABIs that the rules hold for. The kernel's own is always among them.
#[derive(Debug, Clone, PartialEq)]
pub enum Architectures {
    /// OCI's `architectures`.
    Listed(ArchSet),
    /// Docker's `archMap`: the entry of the kernel's architecture counts.
    Mapped(Cow<'static, [(ArchName, ArchSet)]>),
}

impl Architectures {
    /// The ABIs to compile for, the kernel's own first; those that it cannot be entered through are left out.
    pub fn of_kernel(&self, native: Arch) -> impl Iterator<Item = Arch> {
        let own = native.of_kernel()[0];
        let listed = match self {
            Self::Listed(set) => *set,
            Self::Mapped(map) => {
                map.iter().find(|(name, _)| *name == own.name()).map_or(ArchSet::EMPTY, |(_, set)| *set)
            }
        };
        native.of_kernel().iter().copied().filter(move |arch| *arch == own || listed.contains(arch.name()))
    }
}

/// `SECCOMP_FILTER_FLAG_*` that a profile may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u32);

impl Flags {
    pub const TSYNC: Self = Self(1 << 0);
    pub const LOG: Self = Self(1 << 1);
    pub const SPEC_ALLOW: Self = Self(1 << 2);
    pub const WAIT_KILLABLE_RECV: Self = Self(1 << 5);

    const NAMES: [(&'static str, Self); 4] = [
        ("SECCOMP_FILTER_FLAG_TSYNC", Self::TSYNC),
        ("SECCOMP_FILTER_FLAG_LOG", Self::LOG),
        ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", Self::SPEC_ALLOW),
        ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", Self::WAIT_KILLABLE_RECV),
    ];

    pub const fn bits(self) -> u32 {
        self.0
    }

    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn named(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, flag)| flag)
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(_, flag)| self.contains(*flag)).map(|(name, _)| name)
    }
}

/// One entry of `syscalls`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub syscalls: Cow<'static, [Syscall]>,
    /// Names that no architecture of Linux has, as far as the tables here know.
    pub unknown: Vec<String>,
    pub action: Action,
    pub args: Cow<'static, [Comparison]>,
    pub when: Condition,
    pub comment: Cow<'static, str>,
}

impl Rule {
    /// Any one comparison is enough, because two are of the same argument.
    pub(crate) fn is_any(&self) -> bool {
        let indexes = || self.args.iter().map(|arg| arg.index);
        indexes().enumerate().any(|(at, index)| indexes().take(at).any(|earlier| earlier == index))
    }
}

/// `seccomp_data.args[index]` against a value. The argument is the whole register: 64 bits, except on a
/// 32-bit ABI, where values too are cut to 32 bits (libseccomp; profiles write -1 in 64 bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// At most 5.
    pub index: u8,
    pub op: Op,
    /// [`Op::MaskedEq`]: the mask.
    pub value: u64,
    /// [`Op::MaskedEq`]: what the masked argument equals, under the same mask (seccomp_rule_add(3)). Nothing
    /// to the others.
    pub value_two: u64,
}

/// `SCMP_CMP_*`, the argument on the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Ne,
    Lt,
    Le,
    Eq,
    Ge,
    Gt,
    MaskedEq,
}

impl Op {
    pub(crate) const NAMES: [(&'static str, Self); 7] = [
        ("SCMP_CMP_NE", Self::Ne),
        ("SCMP_CMP_LT", Self::Lt),
        ("SCMP_CMP_LE", Self::Le),
        ("SCMP_CMP_EQ", Self::Eq),
        ("SCMP_CMP_GE", Self::Ge),
        ("SCMP_CMP_GT", Self::Gt),
        ("SCMP_CMP_MASKED_EQ", Self::MaskedEq),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, op)| op)
    }

    fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

/// When a rule holds: what `includes` asks for is there, and nothing that `excludes` names.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Condition {
    pub includes: Gate,
    pub excludes: Gate,
}

/// Docker's filter on the container and the host.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Gate {
    /// A bit for each capability; compared with the bounding set.
    pub caps: u64,
    /// Compared with the kernel's own architecture, not with the ABI of a call.
    pub arches: ArchSet,
    /// Major and minor version.
    pub min_kernel: Option<(u32, u32)>,
}

impl Condition {
    /// moby, daemon/pkg/seccomp `setupSeccomp`: of `includes` all capabilities are needed, of `excludes`
    /// one is enough.
    pub(crate) fn holds(&self, caps: u64, native: ArchName, kernel: (u32, u32)) -> bool {
        let Self { includes, excludes } = self;
        includes.caps & !caps == 0
            && (includes.arches.is_empty() || includes.arches.contains(native))
            && includes.min_kernel.is_none_or(|least| kernel >= least)
            && excludes.caps & caps == 0
            && !excludes.arches.contains(native)
            && excludes.min_kernel.is_none_or(|least| kernel < least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn includes_need_all_and_excludes_need_one() {
        let gate = Gate { caps: 0b11, arches: ArchSet::of(&[Arch::Aarch64]), min_kernel: Some((4, 8)) };
        let native = Arch::Aarch64.name();
        let includes = Condition { includes: gate, ..Condition::default() };
        assert!(includes.holds(0b111, native, (4, 8)));
        assert!(!includes.holds(0b001, native, (4, 8)));
        assert!(!includes.holds(0b011, Arch::Arm.name(), (4, 8)));
        assert!(!includes.holds(0b011, native, (4, 7)));
        let excludes = Condition { excludes: gate, ..Condition::default() };
        assert!(excludes.holds(0b100, Arch::Arm.name(), (3, 10)));
        assert!(!excludes.holds(0b001, Arch::Arm.name(), (3, 10)));
        assert!(!excludes.holds(0b100, native, (3, 10)));
        assert!(!excludes.holds(0b100, Arch::Arm.name(), (5, 0)));
        assert!(Condition::default().holds(0, native, (0, 0)));
    }

    #[test]
    fn only_abis_of_the_kernel_are_compiled_for() {
        let listed = |arches: &[Arch], native| {
            Architectures::Listed(ArchSet::of(arches)).of_kernel(native).collect::<Vec<_>>()
        };
        assert_eq!(listed(&[], Arch::X86_64), [Arch::X86_64]);
        assert_eq!(listed(&[Arch::Arm, Arch::X86], Arch::X86_64), [Arch::X86_64, Arch::X86]);
        let map = vec![(Arch::Aarch64.name(), ArchSet::of(&[Arch::Arm]))];
        let mapped = Architectures::Mapped(map.into());
        assert_eq!(mapped.of_kernel(Arch::Aarch64).collect::<Vec<_>>(), [Arch::Aarch64, Arch::Arm]);
        assert_eq!(mapped.of_kernel(Arch::X86_64).collect::<Vec<_>>(), [Arch::X86_64]);
    }
}
