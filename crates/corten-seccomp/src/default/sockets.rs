//! Which sockets come to exist.
//!
//! Docker denies AF_ALG and AF_VSOCK and allows every other family that Linux has. Each of them is code that
//! an unprivileged process loads and runs by asking: AF_RXRPC and AF_ALG in 2026 (CVE-2026-43284,
//! CVE-2026-31431), TIPC, RDS, CAN, X.25, SMC and KCM before. Containers use four families. A program that
//! tries another is told what a kernel without it says, and knows how to go on.
//!
//! The kernel takes the family as an int; these are compares of 64 bits. A caller that leaves something in
//! the upper half gets EAFNOSUPPORT, never a family that is not listed.

use super::{ENOSYS, NOTHING, compare, names, rule};
use crate::action::Action;
use crate::capability;
use crate::profile::{Comparison, Condition, Gate, Op, Rule};
use crate::table::Syscall;

const EINVAL: u16 = 22;
const EOPNOTSUPP: u16 = 95;
const EAFNOSUPPORT: u16 = 97;

// linux/socket.h.
const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const AF_NETLINK: u64 = 16;
const AF_PACKET: u64 = 17;

pub(super) const SOCKET: &[Syscall] = &names(["socket"]);

pub(super) const UNIX: &[Comparison] = &[compare(0, Op::Eq, AF_UNIX)];
pub(super) const FAMILIES: &[Comparison] =
    &[compare(0, Op::Eq, AF_UNIX), compare(0, Op::Eq, AF_INET), compare(0, Op::Eq, AF_INET6)];

/// Without CAP_NET_RAW it gets the default EPERM, as the kernel answers.
pub(super) const PACKET: &[Comparison] = &[compare(0, Op::Eq, AF_PACKET)];

/// What is between and above those listed. Written out, because comparisons of one argument in one rule are
/// alternatives.
pub(super) const OTHER_FAMILIES: &[Comparison] = &[
    compare(0, Op::Eq, 0),
    compare(0, Op::Eq, 3),
    compare(0, Op::Eq, 4),
    compare(0, Op::Eq, 5),
    compare(0, Op::Eq, 6),
    compare(0, Op::Eq, 7),
    compare(0, Op::Eq, 8),
    compare(0, Op::Eq, 9),
    compare(0, Op::Eq, 11),
    compare(0, Op::Eq, 12),
    compare(0, Op::Eq, 13),
    compare(0, Op::Eq, 14),
    compare(0, Op::Eq, 15),
    compare(0, Op::Gt, AF_PACKET),
];
pub(super) const NO_FAMILY: Action = Action::Errno(EAFNOSUPPORT);

// linux/netlink.h. A protocol that is not listed gets the default EPERM: NETLINK_CRYPTO is AF_ALG's
// configuration, RDMA and iSCSI are of the host.
pub(super) const NETLINK_ROUTE: &[Comparison] = &of_netlink(0);
pub(super) const NETLINK_USERSOCK: &[Comparison] = &of_netlink(2);
pub(super) const NETLINK_SOCK_DIAG: &[Comparison] = &of_netlink(4);
pub(super) const NETLINK_XFRM: &[Comparison] = &of_netlink(6);
pub(super) const NETLINK_SELINUX: &[Comparison] = &of_netlink(7);
pub(super) const NETLINK_AUDIT: &[Comparison] = &of_netlink(9);
pub(super) const NETLINK_CONNECTOR: &[Comparison] = &of_netlink(11);
pub(super) const NETLINK_NETFILTER: &[Comparison] = &of_netlink(12);
pub(super) const NETLINK_KOBJECT_UEVENT: &[Comparison] = &of_netlink(15);
pub(super) const NETLINK_GENERIC: &[Comparison] = &of_netlink(16);

const fn of_netlink(protocol: u64) -> [Comparison; 2] {
    [compare(0, Op::Eq, AF_NETLINK), compare(2, Op::Eq, protocol)]
}

pub(super) const fn netlink(args: &'static [Comparison], when: Condition, comment: &'static str) -> Rule {
    rule(SOCKET, Action::Allow, args, when, comment)
}

/// PAM, sudo and sshd go on without auditing on EINVAL, but fail on EPERM (Podman's profile does the same).
pub(super) const NO_AUDIT: Action = Action::Errno(EINVAL);
pub(super) const WITHOUT_AUDIT: Condition = Condition {
    includes: NOTHING,
    excludes: Gate {
        caps: capability::bit("CAP_AUDIT_WRITE") | capability::bit("CAP_AUDIT_CONTROL"),
        ..NOTHING
    },
};

/// It creates two sockets of the family before it asks whether the family has pairs, so an unfiltered
/// socketpair is an unfiltered socket as far as loading and initialising goes.
pub(super) const SOCKETPAIR: &[Syscall] = &names(["socketpair"]);
pub(super) const NOT_UNIX: &[Comparison] = &[compare(0, Op::Lt, AF_UNIX), compare(0, Op::Gt, AF_UNIX)];
pub(super) const NO_PAIR: Action = Action::Errno(EOPNOTSUPP);

/// i386's socketcall(2): one call for everything about sockets, its arguments behind a pointer that no
/// filter follows. Its first argument, which of the calls is meant, is in a register: sockets are made by 1
/// (SYS_SOCKET) and 8 (SYS_SOCKETPAIR), and these do not exist here; the others, for a socket that exists,
/// do. Otherwise any program could use AF_ALG by `int 0x80`, whatever the rules for socket say.
///
/// The price: Linux has had socket(2) itself on i386 since 4.3, and musl tries it first, but a glibc built
/// for older kernels knows socketcall only. moby tried in 29.4.2, and went back for that reason in 29.4.3.
/// Such a program needs a profile that allows socketcall, and with it every family.
pub(super) const SOCKETCALL: &[Syscall] = &names(["socketcall"]);
pub(super) const MAKES_SOCKETS: &[Comparison] = &[compare(0, Op::Eq, 1), compare(0, Op::Eq, 8)];
pub(super) const USES_SOCKETS: &[Comparison] = &[
    compare(0, Op::Eq, 2),
    compare(0, Op::Eq, 3),
    compare(0, Op::Eq, 4),
    compare(0, Op::Eq, 5),
    compare(0, Op::Eq, 6),
    compare(0, Op::Eq, 7),
    compare(0, Op::Gt, 8),
];
pub(super) const NO_CALL: Action = Action::Errno(ENOSYS);
