//! execve(2) and execveat(2) with argument vectors that were built before the clone.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::check;

/// A vector of C strings, as `argv` and `envp` are: built once, read by the kernel without a copy.
#[derive(Debug)]
pub struct StringVector {
    strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

// SAFETY: the pointers point into `strings`, whose heap buffers never move or change while it lives.
unsafe impl Send for StringVector {}
// SAFETY: there is no interior mutability.
unsafe impl Sync for StringVector {}

impl StringVector {
    /// Takes the strings over. Allocates.
    #[must_use]
    pub fn new(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Self { strings, pointers }
    }

    /// The strings.
    #[must_use]
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

impl Clone for StringVector {
    fn clone(&self) -> Self {
        Self::new(self.strings.clone())
    }
}

/// execve(2): replaces this process by the program at `path`. Returns only on failure.
pub fn execve(path: &CStr, argv: &StringVector, envp: &StringVector) -> Errno {
    // SAFETY: both vectors are NULL-terminated arrays of valid C strings that outlive the call.
    let ret = unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    check(i64::from(ret)).err().unwrap_or(Errno::IO)
}

/// execveat(2) with `AT_EMPTY_PATH`: replaces this process by the program open at `fd` (`O_PATH` does).
/// Returns only on failure.
pub fn execveat(fd: BorrowedFd<'_>, argv: &StringVector, envp: &StringVector) -> Errno {
    // SAFETY: as in `execve`; the path is the empty C string.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    check(ret).err().unwrap_or(Errno::IO)
}
