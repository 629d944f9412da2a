//! What depends on a capability, on the kernel or on an argument.
//!
//! A capability opens the calls that do nothing without it, so that `--cap-add` is enough and no second
//! option is needed. Without it they are closed, though the kernel would refuse too: a user namespace would
//! give the capability over them, and most kernel exploits of recent years begin there.

use super::{NOTHING, compare, names};
use crate::profile::{Comparison, Condition, Gate, Op};
use crate::table::Syscall;

/// Before 4.8 a tracer saw the call after the filter had, and could replace it. (A process that is not in
/// the same user namespace, or has other rights, is out of reach in any case.)
pub(super) const SINCE_4_8: Condition =
    Condition { includes: Gate { min_kernel: Some((4, 8)), ..NOTHING }, excludes: NOTHING };
pub(super) const TRACING: &[Syscall] = &names(["process_vm_readv", "process_vm_writev", "ptrace"]);

/// linux/personality.h. Others emulate foreign systems: old paths in the kernel, and MMAP_PAGE_ZERO.
pub(super) const PERSONALITY: &[Syscall] = &names(["personality"]);
pub(super) const PERSONALITIES: &[Comparison] = &[
    // PER_LINUX.
    compare(0, Op::Eq, 0x0),
    // PER_LINUX32: uname says i686 (`setarch`, builds of 32-bit packages).
    compare(0, Op::Eq, 0x8),
    // UNAME26, alone and with PER_LINUX32: programs that cannot read a version above 2.6.
    compare(0, Op::Eq, 0x2_0000),
    compare(0, Op::Eq, 0x2_0008),
    // Asks which it is, and changes nothing.
    compare(0, Op::Eq, 0xffff_ffff),
];

/// Threads and children, without a namespace of their own: a user namespace gives every capability over the
/// code behind mount, network and packet filter (CVE-2022-0185, CVE-2024-1086).
pub(super) const CLONE: &[Syscall] = &names(["clone"]);
pub(super) const NO_NAMESPACES: &[Comparison] =
    &[Comparison { index: 0, op: Op::MaskedEq, value: CLONE_NEW, value_two: 0 }];
/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. CLONE_NEWTIME is in the byte of the exit
/// signal here; only clone3 and unshare take it.
const CLONE_NEW: u64 =
    0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;

/// Its flags are behind a pointer. On ENOSYS, and on nothing else, glibc falls back to clone.
pub(super) const CLONE3: &[Syscall] = &names(["clone3"]);

#[rustfmt::skip]
pub(super) const SYS_ADMIN: &[Syscall] = &names([
    // Namespaces.
    "clone", "clone3", "setns", "unshare",
    // Mounts; open_tree_attr (Linux 6.15) is open_tree with mount_setattr.
    "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree",
    "open_tree_attr", "umount", "umount2",
    // The rest of what CAP_SYS_ADMIN has come to mean.
    "bpf", "fanotify_init", "lookup_dcookie", "lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr",
    "perf_event_open", "quotactl", "quotactl_fd", "setdomainname", "sethostname", "syslog",
]);

pub(super) const SYS_PTRACE: &[Syscall] =
    &names(["kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace"]);

/// Handles pass by the directories above a file, and by the mount: the escape called shocker (2014).
pub(super) const DAC_READ_SEARCH: &[Syscall] = &names(["open_by_handle_at"]);

/// Where memory lies is a side channel and a weight on the neighbours.
pub(super) const SYS_NICE: &[Syscall] =
    &names(["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]);

pub(super) const SYS_CHROOT: &[Syscall] = &names(["chroot"]);

/// There is one wall clock.
pub(super) const SYS_TIME: &[Syscall] = &names(["clock_settime", "clock_settime64", "settimeofday", "stime"]);

pub(super) const SYSLOG: &[Syscall] = &names(["syslog"]);

/// The verifier is the border then (CVE-2021-3490, CVE-2023-2163).
pub(super) const BPF: &[Syscall] = &names(["bpf"]);

pub(super) const PERFMON: &[Syscall] = &names(["perf_event_open"]);

pub(super) const SYS_PACCT: &[Syscall] = &names(["acct"]);

pub(super) const SYS_TTY_CONFIG: &[Syscall] = &names(["vhangup"]);

pub(super) const SYS_BOOT: &[Syscall] = &names(["reboot"]);

pub(super) const SYS_MODULE: &[Syscall] = &names(["delete_module", "finit_module", "init_module"]);

pub(super) const SYS_RAWIO: &[Syscall] = &names(["ioperm", "iopl"]);
