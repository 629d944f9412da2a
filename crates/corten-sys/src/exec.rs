//! execve(2) and execveat(2) with argument vectors that were built before the clone.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::check;

/// A vector of C strings, as `argv` and `envp` are: built once, read by the kernel without a copy.
///
/// Slots can be reserved and filled after a clone, where nothing may be allocated.
#[derive(Debug)]
pub struct StringVector {
    strings: Vec<Vec<u8>>,
    pointers: Vec<*const libc::c_char>,
}

// SAFETY: the pointers point into `strings`, whose heap buffers never move while it lives: they are
// only written through `&mut self`, within the capacity that they were made with.
unsafe impl Send for StringVector {}
// SAFETY: there is no interior mutability.
unsafe impl Sync for StringVector {}

impl StringVector {
    /// Takes the strings over. Allocates.
    #[must_use]
    pub fn new(strings: Vec<CString>) -> Self {
        Self::from_buffers(strings.into_iter().map(CString::into_bytes_with_nul).collect())
    }

    fn from_buffers(strings: Vec<Vec<u8>>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr().cast()).collect();
        pointers.push(std::ptr::null());
        Self { strings, pointers }
    }

    /// Adds a last string that can be replaced by one of up to `capacity` bytes. Allocates.
    #[must_use]
    pub fn with_reserved(self, string: &CStr, capacity: usize) -> Self {
        let mut strings = self.strings;
        let mut buffer = Vec::with_capacity(capacity.max(string.count_bytes()) + 1);
        buffer.extend_from_slice(string.to_bytes_with_nul());
        strings.push(buffer);
        Self::from_buffers(strings)
    }

    /// Replaces the last string by the concatenation of `parts`, within its reserved capacity. Whether
    /// it fitted and had no NUL inside; if not, nothing was changed.
    pub fn replace_last(&mut self, parts: &[&[u8]]) -> bool {
        let Some(buffer) = self.strings.last_mut() else { return false };
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length + 1 > buffer.capacity() || parts.iter().any(|part| part.contains(&0)) {
            return false;
        }
        buffer.clear();
        for part in parts {
            buffer.extend_from_slice(part);
        }
        buffer.push(0);
        true
    }

    /// The strings, each with its terminating NUL.
    pub fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.strings.iter().filter_map(|string| CStr::from_bytes_with_nul(string).ok())
    }
}

impl Clone for StringVector {
    fn clone(&self) -> Self {
        Self::from_buffers(
            self.strings
                .iter()
                .map(|string| {
                    let mut copy = Vec::with_capacity(string.capacity());
                    copy.extend_from_slice(string);
                    copy
                })
                .collect(),
        )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_slot_is_filled_in_place() {
        let vector = StringVector::new(vec![c"PATH=/bin".to_owned()]).with_reserved(c"HOME=/", 16);
        let mut copy = vector.clone();
        assert!(copy.replace_last(&[b"HOME=", b"/root"]));
        assert!(!copy.replace_last(&[b"HOME=", b"/a/path/that/is/too/long"]));
        assert!(!copy.replace_last(&[b"HOME=\0"]));
        assert_eq!(copy.iter().collect::<Vec<_>>(), [c"PATH=/bin", c"HOME=/root"]);
        assert_eq!(vector.iter().last(), Some(c"HOME=/"));
    }
}
