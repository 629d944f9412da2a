//! Classic BPF as seccomp takes it: linux/filter.h, linux/bpf_common.h, kernel/seccomp.c
//! `seccomp_check_filter`.

/// BPF_MAXINSNS, the longest program that the kernel takes.
pub const MAX_INSNS: usize = 4096;

/// `struct sock_filter`, field for field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Insn {
    pub code: u16,
    /// How many instructions to skip if the comparison holds; and if it does not.
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

// `struct seccomp_data` in bytes: nr at 0, arch at 4, instruction_pointer at 8, args[6] at 16.
pub(crate) const NR: u32 = 0;
pub(crate) const ARCH: u32 = 4;
pub(crate) const DATA_BYTES: u32 = 64;

/// The lower half of an argument on a little-endian machine, as all of [`crate::Arch`] are.
pub(crate) const fn arg_low(index: u8) -> u32 {
    16 + 8 * index as u32
}

pub(crate) const fn arg_high(index: u8) -> u32 {
    arg_low(index) + 4
}

/// A = word of seccomp_data at k.
pub(crate) const LD_W_ABS: u16 = 0x20;
/// A &= k.
pub(crate) const AND_K: u16 = 0x54;
/// pc += k.
pub(crate) const JA: u16 = 0x05;
pub(crate) const JEQ_K: u16 = 0x15;
pub(crate) const JGE_K: u16 = 0x35;
pub(crate) const RET_K: u16 = 0x06;
