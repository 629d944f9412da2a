//! Architectures: those a filter can be compiled for, and the names of all that a document may list.

/// An ABI of system calls that has a table here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arch {
    X86_64,
    /// i386; on an x86-64 kernel through `int 0x80` and 32-bit `sysenter`.
    X86,
    /// x86-64 with 32-bit pointers: [`Arch::X86_64`]'s audit number, and bit 30 of the call's number set.
    X32,
    Aarch64,
    /// EABI, little endian; on an arm64 kernel for 32-bit processes.
    Arm,
}

/// Bit 30 of the number of a call made through the x32 ABI (asm/unistd.h).
pub(crate) const X32_SYSCALL_BIT: u32 = 0x4000_0000;

impl Arch {
    pub const ALL: [Arch; 5] = [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm];

    /// What this binary was compiled for, where a table exists for it.
    pub const NATIVE: Option<Arch> = if cfg!(target_arch = "x86_64") {
        Some(Arch::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Arch::Aarch64)
    } else if cfg!(target_arch = "x86") {
        Some(Arch::X86)
    } else if cfg!(target_arch = "arm") {
        Some(Arch::Arm)
    } else {
        None
    };

    /// `AUDIT_ARCH_*` of linux/audit.h, as in `struct seccomp_data`: ELF machine, 64-bit and endian bits.
    pub const fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Whether `seccomp_data.args` hold 64 bits. x32 passes its arguments in whole 64-bit registers.
    pub const fn is_wide(self) -> bool {
        matches!(self, Self::X86_64 | Self::X32 | Self::Aarch64)
    }

    /// The ABIs through which a process can enter a kernel of this architecture, its own first.
    pub const fn of_kernel(self) -> &'static [Arch] {
        match self {
            Self::X86_64 | Self::X32 => &[Self::X86_64, Self::X86, Self::X32],
            Self::X86 => &[Self::X86],
            Self::Aarch64 => &[Self::Aarch64, Self::Arm],
            Self::Arm => &[Self::Arm],
        }
    }

    pub const fn name(self) -> ArchName {
        ArchName(self as u8)
    }

    pub const fn oci_name(self) -> &'static str {
        self.name().oci()
    }

    pub const fn docker_name(self) -> &'static str {
        self.name().docker()
    }
}

/// An architecture that OCI names, whether or not a filter can be compiled for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ArchName(u8);

/// In OCI (config-linux.md, "architectures") and in Docker's conditions (libseccomp-golang's
/// `ScmpArch.String`). Those of [`Arch`] come first, in its order.
const NAMES: [(&str, &str); 23] = [
    ("SCMP_ARCH_X86_64", "amd64"),
    ("SCMP_ARCH_X86", "x86"),
    ("SCMP_ARCH_X32", "x32"),
    ("SCMP_ARCH_AARCH64", "arm64"),
    ("SCMP_ARCH_ARM", "arm"),
    ("SCMP_ARCH_MIPS", "mips"),
    ("SCMP_ARCH_MIPS64", "mips64"),
    ("SCMP_ARCH_MIPS64N32", "mips64n32"),
    ("SCMP_ARCH_MIPSEL", "mipsel"),
    ("SCMP_ARCH_MIPSEL64", "mipsel64"),
    ("SCMP_ARCH_MIPSEL64N32", "mipsel64n32"),
    ("SCMP_ARCH_PPC", "ppc"),
    ("SCMP_ARCH_PPC64", "ppc64"),
    ("SCMP_ARCH_PPC64LE", "ppc64le"),
    ("SCMP_ARCH_S390", "s390"),
    ("SCMP_ARCH_S390X", "s390x"),
    ("SCMP_ARCH_PARISC", "parisc"),
    ("SCMP_ARCH_PARISC64", "parisc64"),
    ("SCMP_ARCH_RISCV64", "riscv64"),
    ("SCMP_ARCH_LOONGARCH64", "loong64"),
    ("SCMP_ARCH_M68K", "m68k"),
    ("SCMP_ARCH_SH", "sh"),
    ("SCMP_ARCH_SHEB", "sheb"),
];

/// Other spellings in conditions: Go's and the kernel's.
const ALIASES: [(&str, &str); 4] =
    [("386", "x86"), ("x86_64", "amd64"), ("aarch64", "arm64"), ("loongarch64", "loong64")];

impl ArchName {
    pub const fn oci(self) -> &'static str {
        NAMES[self.0 as usize].0
    }

    pub const fn docker(self) -> &'static str {
        NAMES[self.0 as usize].1
    }

    pub(crate) fn from_oci(name: &str) -> Option<Self> {
        (0..).zip(NAMES).find(|(_, (oci, _))| *oci == name).map(|(index, _)| Self(index))
    }

    pub(crate) fn from_docker(name: &str) -> Option<Self> {
        let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, docker)| docker);
        (0..).zip(NAMES).find(|(_, (_, docker))| *docker == name).map(|(index, _)| Self(index))
    }
}

/// A set of architectures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArchSet(u32);

impl ArchSet {
    pub const EMPTY: Self = Self(0);

    pub const fn of(arches: &[Arch]) -> Self {
        let mut set = Self::EMPTY;
        let mut at = 0;
        while at < arches.len() {
            set = set.with(arches[at].name());
            at += 1;
        }
        set
    }

    pub const fn with(self, name: ArchName) -> Self {
        Self(self.0 | 1 << name.0)
    }

    pub const fn contains(self, name: ArchName) -> bool {
        self.0 & 1 << name.0 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = ArchName> {
        (0..NAMES.len() as u8).map(ArchName).filter(move |name| self.contains(*name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_find_their_architecture() {
        for arch in Arch::ALL {
            assert_eq!(ArchName::from_oci(arch.oci_name()), Some(arch.name()));
            assert_eq!(ArchName::from_docker(arch.docker_name()), Some(arch.name()));
        }
        assert_eq!(Arch::X86_64.oci_name(), "SCMP_ARCH_X86_64");
        assert_eq!(Arch::Arm.docker_name(), "arm");
        assert_eq!(ArchName::from_docker("386"), Some(Arch::X86.name()));
        assert_eq!(ArchName::from_oci("amd64"), None);
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set = ArchSet::of(&[Arch::X86_64, Arch::Arm]);
        assert_eq!(set.iter().map(ArchName::docker).collect::<Vec<_>>(), ["amd64", "arm"]);
        assert!(!set.contains(Arch::X32.name()) && !set.is_empty() && ArchSet::EMPTY.is_empty());
    }
}
