//! The profile of a container that names none.
//!
//! An allow-list; what is not on it fails with EPERM. Docker's profile (moby/profiles, 2026) is the floor: a
//! program that runs under it runs under this one. Where this one is stricter:
//!
//! * socket(2) and socketpair(2): a list of families, and of netlink protocols (default/sockets.rs).
//! * socketcall(2), i386's way around that list, makes no sockets (the same file).
//!
//! Where it allows more: calls of Linux 6.17 and 6.18 that do what an allowed one does.
//!
//! It is a constant: nothing is parsed or looked up at start, and compiling it costs so little that no
//! compiled form is kept on disk.

mod always;
mod gated;
mod sockets;

use std::borrow::Cow;

use crate::action::Action;
use crate::arch::{Arch, ArchName, ArchSet};
use crate::capability;
use crate::profile::{Architectures, Comparison, Condition, Gate, Op, Profile, Rule};
use crate::table::Syscall;

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// The default profile.
pub static DEFAULT: Profile = Profile {
    default_action: Action::Errno(EPERM),
    // A rule that holds for 64-bit calls only is no rule: every x86-64 kernel of a distribution has the
    // 32-bit entry too.
    architectures: Architectures::Mapped(Cow::Borrowed(ARCH_MAP)),
    flags: None,
    listener_path: None,
    listener_metadata: None,
    rules: Cow::Borrowed(&RULES),
};

const ARCH_MAP: &[(ArchName, ArchSet)] = &[
    (Arch::X86_64.name(), ArchSet::of(&[Arch::X86_64, Arch::X86, Arch::X32])),
    (Arch::Aarch64.name(), ArchSet::of(&[Arch::Aarch64, Arch::Arm])),
];

static RULES: [Rule; 53] = [
    allow(always::FILES, "files and directories"),
    allow(always::ATTRIBUTES, "modes, owners, times, extended attributes"),
    allow(always::INPUT_AND_OUTPUT, "reading, writing and waiting for it"),
    allow(always::MEMORY, "the process's own memory"),
    allow(always::PROCESSES, "processes, threads and their waiting"),
    allow(always::SIGNALS, "signals"),
    allow(always::IDENTITY, "users, groups and capabilities, which the kernel checks"),
    allow(always::LIMITS, "limits, priorities and processors"),
    allow(always::TIME, "reading clocks, timers; setting needs CAP_SYS_TIME in the kernel"),
    allow(always::CONNECTIONS, "what is done with a socket that exists"),
    allow(always::IPC, "System V and POSIX queues, semaphores, shared memory: of the ipc namespace"),
    allow(always::SYSTEM, "reading what system this is"),
    allow(always::SANDBOXES, "giving up rights"),
    allow(always::UPROBES, "entered by the kernel's own trampolines"),
    rule(always::ARM, Action::Allow, &[], includes_arches(&[Arch::Aarch64, Arch::Arm]), "Arm's own"),
    rule(
        always::X86,
        Action::Allow,
        &[],
        includes_arches(&[Arch::X86_64, Arch::X86, Arch::X32]),
        "x86's segments: TLS of 32-bit threads, Wine",
    ),
    rule(
        gated::TRACING,
        Action::Allow,
        &[],
        gated::SINCE_4_8,
        "a tracer could change the call after the filter",
    ),
    rule(
        gated::PERSONALITY,
        Action::Allow,
        gated::PERSONALITIES,
        ALWAYS,
        "Linux, 32-bit uname, no randomisation",
    ),
    rule(gated::CLONE, Action::Allow, gated::NO_NAMESPACES, without("CAP_SYS_ADMIN"), "no new namespaces"),
    rule(gated::CLONE3, Action::Errno(ENOSYS), &[], without("CAP_SYS_ADMIN"), "flags behind a pointer"),
    with_cap("CAP_SYS_ADMIN", gated::SYS_ADMIN, "namespaces, mounts and the system"),
    with_cap("CAP_SYS_PTRACE", gated::SYS_PTRACE, "other processes"),
    with_cap("CAP_DAC_READ_SEARCH", gated::DAC_READ_SEARCH, "files by handle, past directories"),
    with_cap("CAP_SYS_NICE", gated::SYS_NICE, "memory placement"),
    with_cap("CAP_SYS_CHROOT", gated::SYS_CHROOT, "the root directory"),
    with_cap("CAP_SYS_TIME", gated::SYS_TIME, "setting clocks"),
    with_cap("CAP_SYSLOG", gated::SYSLOG, "the kernel's log"),
    with_cap("CAP_BPF", gated::BPF, "programs in the kernel"),
    with_cap("CAP_PERFMON", gated::PERFMON, "performance counters"),
    with_cap("CAP_SYS_PACCT", gated::SYS_PACCT, "process accounting"),
    with_cap("CAP_SYS_TTY_CONFIG", gated::SYS_TTY_CONFIG, "hanging up a terminal"),
    with_cap("CAP_SYS_BOOT", gated::SYS_BOOT, "reboot; in a pid namespace it ends the container"),
    with_cap("CAP_SYS_MODULE", gated::SYS_MODULE, "kernel modules"),
    with_cap("CAP_SYS_RAWIO", gated::SYS_RAWIO, "I/O ports"),
    rule(sockets::SOCKET, Action::Allow, sockets::FAMILIES, ALWAYS, "unix, inet, inet6"),
    rule(sockets::SOCKET, Action::Allow, sockets::PACKET, includes_cap("CAP_NET_RAW"), "packet"),
    rule(sockets::SOCKET, sockets::NO_FAMILY, sockets::OTHER_FAMILIES, ALWAYS, "every other family"),
    sockets::netlink(sockets::NETLINK_ROUTE, ALWAYS, "netlink: interfaces, addresses, routes"),
    sockets::netlink(sockets::NETLINK_USERSOCK, ALWAYS, "netlink: between processes"),
    sockets::netlink(sockets::NETLINK_SOCK_DIAG, ALWAYS, "netlink: ss"),
    sockets::netlink(sockets::NETLINK_SELINUX, ALWAYS, "netlink: policy changes, read by libselinux"),
    sockets::netlink(sockets::NETLINK_KOBJECT_UEVENT, ALWAYS, "netlink: libudev, libusb"),
    sockets::netlink(sockets::NETLINK_GENERIC, ALWAYS, "netlink: families that check for themselves"),
    sockets::netlink(sockets::NETLINK_XFRM, includes_cap("CAP_NET_ADMIN"), "netlink: IPsec"),
    sockets::netlink(
        sockets::NETLINK_NETFILTER,
        includes_cap("CAP_NET_ADMIN"),
        "netlink: nftables, conntrack",
    ),
    sockets::netlink(sockets::NETLINK_CONNECTOR, includes_cap("CAP_NET_ADMIN"), "netlink: process events"),
    rule(
        sockets::SOCKET,
        sockets::NO_AUDIT,
        sockets::NETLINK_AUDIT,
        sockets::WITHOUT_AUDIT,
        "as an absent auditd",
    ),
    rule(
        sockets::SOCKET,
        Action::Allow,
        sockets::NETLINK_AUDIT,
        includes_cap("CAP_AUDIT_WRITE"),
        "netlink: audit",
    ),
    rule(
        sockets::SOCKET,
        Action::Allow,
        sockets::NETLINK_AUDIT,
        includes_cap("CAP_AUDIT_CONTROL"),
        "the same",
    ),
    rule(sockets::SOCKETPAIR, Action::Allow, sockets::UNIX, ALWAYS, "unix"),
    rule(sockets::SOCKETPAIR, sockets::NO_PAIR, sockets::NOT_UNIX, ALWAYS, "no other family has pairs"),
    rule(sockets::SOCKETCALL, Action::Allow, sockets::USES_SOCKETS, ALWAYS, "i386: sockets that exist"),
    rule(sockets::SOCKETCALL, sockets::NO_CALL, sockets::MAKES_SOCKETS, ALWAYS, "i386: the family is unseen"),
];

const ALWAYS: Condition = Condition { includes: NOTHING, excludes: NOTHING };
const NOTHING: Gate = Gate { caps: 0, arches: ArchSet::EMPTY, min_kernel: None };

const fn rule(
    syscalls: &'static [Syscall],
    action: Action,
    args: &'static [Comparison],
    when: Condition,
    comment: &'static str,
) -> Rule {
    Rule {
        syscalls: Cow::Borrowed(syscalls),
        unknown: Vec::new(),
        action,
        args: Cow::Borrowed(args),
        when,
        comment: Cow::Borrowed(comment),
    }
}

const fn allow(syscalls: &'static [Syscall], comment: &'static str) -> Rule {
    rule(syscalls, Action::Allow, &[], ALWAYS, comment)
}

const fn with_cap(cap: &str, syscalls: &'static [Syscall], comment: &'static str) -> Rule {
    rule(syscalls, Action::Allow, &[], includes_cap(cap), comment)
}

const fn includes_cap(cap: &str) -> Condition {
    Condition { includes: Gate { caps: capability::bit(cap), ..NOTHING }, excludes: NOTHING }
}

const fn without(cap: &str) -> Condition {
    Condition { includes: NOTHING, excludes: Gate { caps: capability::bit(cap), ..NOTHING } }
}

const fn includes_arches(arches: &[Arch]) -> Condition {
    Condition { includes: Gate { arches: ArchSet::of(arches), ..NOTHING }, excludes: NOTHING }
}

const fn compare(index: u8, op: Op, value: u64) -> Comparison {
    Comparison { index, op, value, value_two: 0 }
}

const fn names<const N: usize>(names: [&str; N]) -> [Syscall; N] {
    let mut syscalls = [Syscall::known("read"); N];
    let mut at = 0;
    while at < N {
        syscalls[at] = Syscall::known(names[at]);
        at += 1;
    }
    syscalls
}
