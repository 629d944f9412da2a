//! What every container may do, whatever its arguments: calls that act on what the process already has, or
//! that the kernel checks by itself.

use super::names;
use crate::table::Syscall;

/// Paths reach what the mount namespace shows. Devices made by mknod are closed by the device controller.
#[rustfmt::skip]
pub(super) const FILES: &[Syscall] = &names([
    "access", "chdir", "close", "close_range", "creat", "dup", "dup2", "dup3", "faccessat", "faccessat2",
    "fchdir", "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64", "getcwd", "getdents", "getdents64",
    "link", "linkat", "listmount", "lstat", "lstat64", "mkdir", "mkdirat", "mknod", "mknodat",
    "name_to_handle_at", "newfstatat", "open", "openat", "openat2", "readlink", "readlinkat", "rename",
    "renameat", "renameat2", "rmdir", "stat", "stat64", "statfs", "statfs64", "statmount", "statx",
    "symlink", "symlinkat", "umask", "unlink", "unlinkat",
]);

/// file_getattr and file_setattr (Linux 6.17) are ioctl's FS_IOC_FSGETXATTR and FSSETXATTR by path.
#[rustfmt::skip]
pub(super) const ATTRIBUTES: &[Syscall] = &names([
    "chmod", "chown", "chown32", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchown32", "fchownat",
    "fgetxattr", "file_getattr", "file_setattr", "flistxattr", "fremovexattr", "fsetxattr", "futimesat",
    "getxattr", "getxattrat", "lchown", "lchown32", "lgetxattr", "listxattr", "listxattrat", "llistxattr",
    "lremovexattr", "lsetxattr", "removexattr", "removexattrat", "setxattr", "setxattrat", "utime",
    "utimensat", "utimensat_time64", "utimes",
]);

/// io_uring is not here: it makes calls that no filter sees, and has been the way into the kernel more often
/// than any other part of it (CVE-2022-29582, CVE-2023-2598; moby took it out in 2023). fanotify_mark needs
/// a descriptor of fanotify_init, which is gated.
#[rustfmt::skip]
pub(super) const INPUT_AND_OUTPUT: &[Syscall] = &names([
    "_llseek", "_newselect", "cachestat", "copy_file_range", "epoll_create", "epoll_create1", "epoll_ctl",
    "epoll_ctl_old", "epoll_pwait", "epoll_pwait2", "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2",
    "fadvise64", "fadvise64_64", "fallocate", "fanotify_mark", "fcntl", "fcntl64", "fdatasync", "flock",
    "fsync", "ftruncate", "ftruncate64", "inotify_add_watch", "inotify_init", "inotify_init1",
    "inotify_rm_watch", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_pgetevents_time64",
    "io_setup", "io_submit", "ioctl", "lseek", "pipe", "pipe2", "poll", "ppoll", "ppoll_time64", "pread64",
    "preadv", "preadv2", "pselect6", "pselect6_time64", "pwrite64", "pwritev", "pwritev2", "read",
    "readahead", "readv", "select", "sendfile", "sendfile64", "splice", "sync", "sync_file_range", "syncfs",
    "tee", "truncate", "truncate64", "vmsplice", "write", "writev",
]);

/// userfaultfd is not here: a fault that user space answers at its leisure turns races in the kernel into
/// certainties.
#[rustfmt::skip]
pub(super) const MEMORY: &[Syscall] = &names([
    "brk", "madvise", "map_shadow_stack", "membarrier", "memfd_create", "memfd_secret", "mincore", "mlock",
    "mlock2", "mlockall", "mmap", "mmap2", "mprotect", "mremap", "mseal", "msync", "munlock", "munlockall",
    "munmap", "pkey_alloc", "pkey_free", "pkey_mprotect", "remap_file_pages",
]);

/// clone, clone3, unshare and setns are in gated.rs: namespaces give capabilities over parts of the kernel.
#[rustfmt::skip]
pub(super) const PROCESSES: &[Syscall] = &names([
    "execve", "execveat", "exit", "exit_group", "fork", "futex", "futex_requeue", "futex_time64",
    "futex_wait", "futex_waitv", "futex_wake", "get_robust_list", "get_thread_area", "getpgid", "getpgrp",
    "getpid", "getppid", "getsid", "gettid", "pidfd_open", "prctl", "process_mrelease", "restart_syscall",
    "rseq", "set_robust_list", "set_thread_area", "set_tid_address", "setpgid", "setsid", "vfork", "wait4",
    "waitid", "waitpid",
]);

#[rustfmt::skip]
pub(super) const SIGNALS: &[Syscall] = &names([
    "alarm", "getitimer", "kill", "pause", "pidfd_send_signal", "rt_sigaction", "rt_sigpending",
    "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait",
    "rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "setitimer", "sigaltstack", "signalfd", "signalfd4",
    "sigprocmask", "sigreturn", "tgkill", "tkill",
]);

/// keyctl, add_key and request_key are not here: keyrings are of the user, not of a namespace, and
/// reference counts in them have been overrun (CVE-2016-0728).
#[rustfmt::skip]
pub(super) const IDENTITY: &[Syscall] = &names([
    "capget", "capset", "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups",
    "getgroups32", "getresgid", "getresgid32", "getresuid", "getresuid32", "getuid", "getuid32", "setfsgid",
    "setfsgid32", "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups", "setgroups32", "setregid",
    "setregid32", "setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid", "setreuid32",
    "setuid", "setuid32",
]);

#[rustfmt::skip]
pub(super) const LIMITS: &[Syscall] = &names([
    "getcpu", "getpriority", "getrlimit", "getrusage", "ioprio_get", "ioprio_set", "prlimit64",
    "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getattr",
    "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_rr_get_interval_time64",
    "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield",
    "setpriority", "setrlimit", "ugetrlimit",
]);

/// adjtimex and clock_adjtime also only read; the kernel asks for CAP_SYS_TIME when they would set.
#[rustfmt::skip]
pub(super) const TIME: &[Syscall] = &names([
    "adjtimex", "clock_adjtime", "clock_adjtime64", "clock_getres", "clock_getres_time64", "clock_gettime",
    "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "gettimeofday", "nanosleep", "time",
    "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_gettime64", "timer_settime",
    "timer_settime64", "timerfd_create", "timerfd_gettime", "timerfd_gettime64", "timerfd_settime",
    "timerfd_settime64", "times",
]);

/// Which sockets come to exist is decided in sockets.rs.
#[rustfmt::skip]
pub(super) const CONNECTIONS: &[Syscall] = &names([
    "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recv",
    "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg", "send", "sendmmsg", "sendmsg", "sendto",
    "setsockopt", "shutdown",
]);

/// `ipc` is i386's one door to all of System V; nothing behind it is closed elsewhere.
#[rustfmt::skip]
pub(super) const IPC: &[Syscall] = &names([
    "ipc", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedreceive_time64",
    "mq_timedsend", "mq_timedsend_time64", "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd", "semctl",
    "semget", "semop", "semtimedop", "semtimedop_time64", "shmat", "shmctl", "shmdt", "shmget",
]);

#[rustfmt::skip]
pub(super) const SYSTEM: &[Syscall] = &names(["getrandom", "riscv_hwprobe", "sysinfo", "uname"]);

/// A filter or a ruleset can only take rights from the process and what it starts.
#[rustfmt::skip]
pub(super) const SANDBOXES: &[Syscall] =
    &names(["landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "seccomp"]);

/// A process that is probed enters the kernel through these from code that it did not write; a filter that
/// denied them killed it (Linux 6.14 and 6.18 no longer ask). Called by anyone else they fail.
#[rustfmt::skip]
pub(super) const UPROBES: &[Syscall] = &names(["uprobe", "uretprobe"]);

#[rustfmt::skip]
pub(super) const ARM: &[Syscall] =
    &names(["arm_fadvise64_64", "breakpoint", "cacheflush", "set_tls", "sync_file_range2"]);

#[rustfmt::skip]
pub(super) const X86: &[Syscall] = &names(["arch_prctl", "modify_ldt"]);
