//! Errors that read like a line of strace: the call, its arguments, the errno.

use std::fmt;

use rustix::io::Errno;

/// A system call that failed: what was called, with which arguments, and what the kernel answered.
#[derive(Debug, Clone)]
pub struct CallError {
    /// The call as strace would print it, without the result: `openat2(4, "etc/passwd", O_RDONLY)`.
    pub call: String,
    /// What the kernel answered.
    pub errno: Errno,
}

impl CallError {
    /// Names the call that failed. Allocates; not for the child's side of a clone.
    pub fn new(call: impl Into<String>, errno: Errno) -> Self {
        Self { call: call.into(), errno }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({})", self.call, errno_name(self.errno), self.errno)
    }
}

impl std::error::Error for CallError {}

/// Adds the call to an `errno`: `rename(a, b).call(|| format!("rename({a:?}, {b:?})"))?`.
pub trait Context<T> {
    /// Turns the `errno` into a [`CallError`] that names the call.
    fn call<S: Into<String>>(self, name: impl FnOnce() -> S) -> Result<T, CallError>;
}

impl<T> Context<T> for Result<T, Errno> {
    fn call<S: Into<String>>(self, name: impl FnOnce() -> S) -> Result<T, CallError> {
        self.map_err(|errno| CallError::new(name(), errno))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn call<S: Into<String>>(self, name: impl FnOnce() -> S) -> Result<T, CallError> {
        self.map_err(|error| CallError::new(name(), Errno::from_io_error(&error).unwrap_or(Errno::IO)))
    }
}

macro_rules! names {
    ($($name:ident),* $(,)?) => {
        /// The symbolic name of an errno (`"ENOENT"`), or `"E?"` for one that this table lacks.
        #[must_use]
        pub fn errno_name(errno: Errno) -> &'static str {
            match errno.raw_os_error() {
                $(libc::$name => stringify!($name),)*
                _ => "E?",
            }
        }
    };
}

names!(
    EPERM,
    ENOENT,
    ESRCH,
    EINTR,
    EIO,
    ENXIO,
    E2BIG,
    ENOEXEC,
    EBADF,
    ECHILD,
    EAGAIN,
    ENOMEM,
    EACCES,
    EFAULT,
    ENOTBLK,
    EBUSY,
    EEXIST,
    EXDEV,
    ENODEV,
    ENOTDIR,
    EISDIR,
    EINVAL,
    ENFILE,
    EMFILE,
    ENOTTY,
    ETXTBSY,
    EFBIG,
    ENOSPC,
    ESPIPE,
    EROFS,
    EMLINK,
    EPIPE,
    EDOM,
    ERANGE,
    EDEADLK,
    ENAMETOOLONG,
    ENOLCK,
    ENOSYS,
    ENOTEMPTY,
    ELOOP,
    ENODATA,
    EOVERFLOW,
    ENOTSOCK,
    EMSGSIZE,
    EOPNOTSUPP,
    EAFNOSUPPORT,
    EADDRINUSE,
    EADDRNOTAVAIL,
    ENETDOWN,
    ENETUNREACH,
    ECONNABORTED,
    ECONNRESET,
    ENOBUFS,
    ETIMEDOUT,
    ECONNREFUSED,
    EHOSTUNREACH,
    EALREADY,
    EINPROGRESS,
    ESTALE,
    EDQUOT,
    ECANCELED,
    EUSERS,
    EPROTO,
    EBADMSG,
    EKEYREJECTED,
    ENOKEY,
    EKEYEXPIRED,
    EKEYREVOKED,
    EUCLEAN,
    EISCONN,
    ENOTCONN,
    EBADE,
    EBADR,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_call_reads_like_strace() {
        let error = CallError::new("mkdir(\"/x\", 0700)", Errno::NOSPC);
        assert_eq!(error.to_string(), "mkdir(\"/x\", 0700) = ENOSPC (No space left on device (os error 28))");
    }
}
