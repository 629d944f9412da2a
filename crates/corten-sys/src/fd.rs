//! close_range(2), fcntl(2) and descriptors by number.

use std::cell::RefCell;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use crate::check;

/// Closes every descriptor from `first` on but these, which are at most sixteen. Does not allocate.
///
/// Nothing of the process may use any of the others afterwards, nor drop an owner of one: it ends by exec or
/// by [`crate::wait::exit`].
///
/// # Errors
/// What close_range(2) says; `EMFILE` for more than sixteen.
pub fn close_all_but(mut first: u32, keep: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut room = [0; 16];
    let numbers = room.get_mut(..keep.len()).ok_or(Errno::MFILE)?;
    for (number, fd) in numbers.iter_mut().zip(keep) {
        *number = fd.as_raw_fd() as u32;
    }
    numbers.sort_unstable();
    let from = first;
    let ends = numbers.iter().filter(|number| **number >= from).map(|number| Some(*number));
    for end in ends.chain([None]) {
        let last = end.map_or(libc::c_uint::MAX, |end| end - 1);
        if first <= last {
            // SAFETY: by contract of the caller nobody uses or closes these numbers any more.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
        }
        first = end.map_or(0, |end| end + 1);
    }
    Ok(())
}

/// Puts `fd` at the number `target`, open across exec. If it is there already, only the flag is cleared.
///
/// # Errors
/// What dup2(2) or fcntl(2) says.
pub fn place(fd: BorrowedFd<'_>, target: RawFd) -> Result<(), Errno> {
    if fd.as_raw_fd() == target {
        return rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty());
    }
    // SAFETY: dup2 replaces whatever `target` was. Callers use it only for 0, 1, 2 and numbers of a
    // process that is about to exec, so no `OwnedFd` of that number is used afterwards.
    check(i64::from(unsafe { libc::dup2(fd.as_raw_fd(), target) })).map(drop)
}

/// In a forked child: closes the copy of a descriptor that only the parent is to have.
pub fn close_copy(fd: BorrowedFd<'_>) {
    // SAFETY: the child ends by exec or _exit and drops no owner that it shares a stack frame with, so
    // this number is closed once here, and what owns it in the parent is not touched.
    unsafe { libc::close(fd.as_raw_fd()) };
}

/// The standard descriptors 0, 1, 2 of this process.
#[must_use]
pub fn standard(number: RawFd) -> BorrowedFd<'static> {
    assert!((0..3).contains(&number), "standard descriptors are 0, 1 and 2");
    // SAFETY: Rust's runtime opens 0 to 2 if they were closed, and nothing in Corten closes them.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Takes over a descriptor that this process inherited (`LISTEN_FDS`, `--preserve-fds`, init's own).
///
/// # Errors
/// `EBADF` if the number is not open.
pub fn inherited(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_GETFD reads a flag of a number that may be unused, which is then an error.
    check(i64::from(unsafe { libc::fcntl(number, libc::F_GETFD) }))?;
    // SAFETY: it is open, and by contract of the caller nothing else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Writes to a descriptor that this process was told by number and takes over no further.
///
/// # Errors
/// What write(2) says; `EBADF` if the number is not open.
pub fn write_to(number: RawFd, bytes: &[u8]) -> Result<(), Errno> {
    // SAFETY: the kernel reads `bytes` and nothing else; a number that is not open is an error.
    let written = unsafe { libc::write(number, bytes.as_ptr().cast(), bytes.len()) };
    check(written as libc::c_long).map(drop)
}

/// Whether the number is open.
#[must_use]
pub fn is_open(number: RawFd) -> bool {
    // SAFETY: F_GETFD only reads.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// Descriptors that are closed together, each run of consecutive numbers in one close_range(2).
#[derive(Debug, Default)]
pub struct Pool(RefCell<Vec<RawFd>>);

impl Pool {
    /// Takes over a descriptor that is not used any more. Allocates.
    pub fn give(&self, fd: OwnedFd) {
        self.0.borrow_mut().push(fd.into_raw_fd());
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let numbers = self.0.get_mut();
        numbers.sort_unstable();
        for run in numbers.chunk_by(|a, b| a + 1 == *b) {
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                // SAFETY: every number of the run is owned by this pool alone. As with close(2), there is
                // nothing to do about an error.
                unsafe { libc::syscall(libc::SYS_close_range, *first, *last, 0) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_closes_what_it_was_given_and_nothing_else() {
        let open = || rustix::fs::open(c"/", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
        let files: Vec<OwnedFd> = (0..5).map(|_| open()).collect();
        let numbers: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
        let pool = Pool::default();
        let mut kept = Vec::new();
        for (index, file) in files.into_iter().enumerate() {
            if index == 2 { kept.push(file) } else { pool.give(file) }
        }
        drop(pool);
        let open: Vec<bool> = numbers.iter().map(|number| is_open(*number)).collect();
        assert_eq!(open, [false, false, true, false, false]);
    }
}
