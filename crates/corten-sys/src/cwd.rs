//! getcwd(2) into a buffer of the caller's.

use rustix::io::Errno;

use crate::check;

/// The kernel's own answer, without the C library's interpretation: a directory that is not below this
/// process's root begins with `(unreachable)`.
///
/// # Errors
/// `ERANGE` for a buffer that is too small, `ENOENT` for a directory that was removed.
pub fn getcwd(buffer: &mut [u8]) -> Result<&[u8], Errno> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes.
    let length = check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })?;
    Ok(&buffer[..length as usize])
}
