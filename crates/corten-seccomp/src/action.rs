//! What happens to a system call: the return value of a filter.
//!
//! linux/seccomp.h: the upper 16 bits are the action, the lower 16 its data. Compared as signed numbers, a
//! lower action is a stricter one; that is how the kernel chooses among stacked filters.

/// An action with its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// SIGSYS that cannot be caught, to every thread.
    KillProcess,
    /// The same to the calling thread only; the others run on. `SCMP_ACT_KILL` means this.
    KillThread,
    /// A SIGSYS that can be caught.
    Trap,
    /// Fails with this errno, at most [`Action::MAX_ERRNO`].
    Errno(u16),
    /// Asks the listener.
    Notify,
    /// Stops for a tracer, which reads the number by PTRACE_GETEVENTMSG; ENOSYS without one.
    Trace(u16),
    /// Allowed, and written to the audit log.
    Log,
    Allow,
}

const DATA: u32 = 0x0000_ffff;
const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0x0000_0000;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const USER_NOTIF: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

impl Action {
    /// include/linux/err.h `MAX_ERRNO`; the kernel lowers a greater one to it.
    pub const MAX_ERRNO: u16 = 4095;

    /// The filter's return value.
    pub const fn to_ret(self) -> u32 {
        match self {
            Self::KillProcess => KILL_PROCESS,
            Self::KillThread => KILL_THREAD,
            Self::Trap => TRAP,
            Self::Errno(errno) => ERRNO | errno as u32,
            Self::Notify => USER_NOTIF,
            Self::Trace(data) => TRACE | data as u32,
            Self::Log => LOG,
            Self::Allow => ALLOW,
        }
    }

    /// What the kernel does on a filter's return value; on one it does not know, it kills the process.
    pub const fn from_ret(ret: u32) -> Self {
        let data = (ret & DATA) as u16;
        match ret & !DATA {
            KILL_THREAD => Self::KillThread,
            TRAP => Self::Trap,
            ERRNO => Self::Errno(if data > Self::MAX_ERRNO { Self::MAX_ERRNO } else { data }),
            USER_NOTIF => Self::Notify,
            TRACE => Self::Trace(data),
            LOG => Self::Log,
            ALLOW => Self::Allow,
            _ => Self::KillProcess,
        }
    }

    /// The kernel's own order: the lower, the stricter. Actions that differ in data only are equal.
    pub const fn leniency(self) -> i32 {
        (self.to_ret() & !DATA) as i32
    }

    /// The name in OCI and Docker documents; the data is elsewhere in them.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KillProcess => "SCMP_ACT_KILL_PROCESS",
            Self::KillThread => "SCMP_ACT_KILL_THREAD",
            Self::Trap => "SCMP_ACT_TRAP",
            Self::Errno(_) => "SCMP_ACT_ERRNO",
            Self::Notify => "SCMP_ACT_NOTIFY",
            Self::Trace(_) => "SCMP_ACT_TRACE",
            Self::Log => "SCMP_ACT_LOG",
            Self::Allow => "SCMP_ACT_ALLOW",
        }
    }

    /// The action of that name, with data 0.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "SCMP_ACT_KILL_PROCESS" => Self::KillProcess,
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Self::KillThread,
            "SCMP_ACT_TRAP" => Self::Trap,
            "SCMP_ACT_ERRNO" => Self::Errno(0),
            "SCMP_ACT_NOTIFY" => Self::Notify,
            "SCMP_ACT_TRACE" => Self::Trace(0),
            "SCMP_ACT_LOG" => Self::Log,
            "SCMP_ACT_ALLOW" => Self::Allow,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Strictest first, as the table in seccomp(2) has them.
    const ORDER: [Action; 8] = [
        Action::KillProcess,
        Action::KillThread,
        Action::Trap,
        Action::Errno(0),
        Action::Notify,
        Action::Trace(0),
        Action::Log,
        Action::Allow,
    ];

    #[test]
    fn the_order_is_the_kernels() {
        assert!(ORDER.windows(2).all(|pair| pair[0].leniency() < pair[1].leniency()));
    }

    #[test]
    fn values_and_names_go_there_and_back() {
        for action in ORDER.into_iter().chain([Action::Errno(1), Action::Errno(4095), Action::Trace(0xffff)])
        {
            assert_eq!(Action::from_ret(action.to_ret()), action);
            assert_eq!(Action::named(action.name()).map(Action::leniency), Some(action.leniency()));
        }
        assert_eq!(Action::named("SCMP_ACT_KILL"), Some(Action::KillThread));
        assert_eq!(Action::from_ret(0x1234_0000), Action::KillProcess);
        assert_eq!(Action::from_ret(ERRNO | 0xffff), Action::Errno(4095));
    }
}
