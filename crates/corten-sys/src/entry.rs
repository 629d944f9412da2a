//! The process's entry, without the start code of Rust's library: that reads /proc/self/maps and sets up
//! a signal stack, 20 system calls that `corten` would make twice a container, once as its init.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Defines `main` for the C runtime: it runs the function given, which takes nothing and returns an exit
/// code. The crate needs `#![no_main]`. A panic is reported as ever and ends the process with 101.
#[macro_export]
macro_rules! entry {
    ($run:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn main() -> std::ffi::c_int {
            let run: fn() -> i32 = $run;
            // `exit` flushes what the standard library buffers.
            std::process::exit(std::panic::catch_unwind(run).unwrap_or(101))
        }
    };
}

/// Makes sure that the descriptors 0, 1 and 2 are open, so that no file gets one of these numbers and is
/// taken for a stream; and that a closed pipe is an error and no signal. Two system calls.
///
/// # Errors
/// What poll(2) or open(2) of /dev/null says.
pub fn secure_streams() -> Result<(), Errno> {
    crate::signal::ignore_pipe();
    // SAFETY: the numbers are only looked at; those that are closed are reported as such.
    let streams = unsafe { [0, 1, 2].map(|number| std::os::fd::BorrowedFd::borrow_raw(number)) };
    let mut fds = streams.each_ref().map(|fd| PollFd::new(fd, PollFlags::empty()));
    let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut fds, Some(&now)) {
        Ok(0) | Err(Errno::INTR) => return Ok(()),
        other => other?,
    };
    for fd in &fds {
        if fd.revents().contains(PollFlags::NVAL) {
            // The lowest number that is free is the one that is missing.
            let null = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty())?;
            std::mem::forget(null);
        }
    }
    Ok(())
}
