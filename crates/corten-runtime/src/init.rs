//! Corten's init: process 1 of a container, whose only child is the program.
//!
//! It reaps whatever becomes an orphan, passes signals on to the program, and when that ends writes how
//! into the exit record and ends itself, whereupon the kernel kills what is left. It is the `corten`
//! binary under another name, executed from a mount that nobody can write to, holds one capability
//! (CAP_KILL) and no memory of the host's.
//!
//! Arguments: the program's process id and the number of the descriptor of the exit record, as one
//! string: [`with_init`](crate::apply) fills it in after the clone, where nothing is allocated.

use std::ffi::CStr;
use std::fmt::Write;

use corten_sys::signal::{self, SignalSet};
use corten_sys::wait::{Exit, reap_any};
use rustix::io::Errno;

/// The number of the descriptor of the terminal's master that init keeps open, if there is a terminal: whoever
/// takes the container over finds it there.
pub const MASTER: i32 = 100;

/// The name under which the binary is init.
pub const NAME: &CStr = c"corten-init";

/// Runs as init; the exit code is that of the program.
#[must_use]
pub fn main(argument: &str) -> i32 {
    let mut numbers = argument.split(' ').map(str::parse::<i32>);
    let (Some(Ok(payload)), Some(Ok(record))) = (numbers.next(), numbers.next()) else {
        eprintln!("corten-init: is started by corten with two numbers, not with {argument:?}");
        return 125;
    };
    // All signals have been blocked since before the program was forked, so none was lost.
    let all = SignalSet::all();
    let mut end = None;
    loop {
        end = end.or(reap(payload));
        if let Some(end) = end {
            return report(record, end);
        }
        let signal = signal::wait(&all);
        if signal != signal::SIGCHLD {
            // If the program is gone already, it is about to be reaped.
            let _gone = signal::kill(payload, signal);
        }
    }
}

/// Reaps everything that has ended; how the program ended, if it did.
fn reap(payload: i32) -> Option<Exit> {
    loop {
        match reap_any() {
            Ok(Some(reaped)) if reaped.pid == payload => return Some(reaped.exit),
            Ok(Some(_)) => {}
            Ok(None) => return None,
            // No children at all: the program was reaped before we could see it, which cannot be.
            Err(Errno::CHILD) => return Some(Exit::Code(125)),
            Err(_) => return None,
        }
    }
}

/// The record is text: `exit 3` or `signal 9`.
fn report(record: i32, end: Exit) -> i32 {
    let mut text = String::new();
    let _infallible = match end {
        Exit::Code(code) => writeln!(text, "exit {code}"),
        Exit::Signal(signal) => writeln!(text, "signal {signal}"),
    };
    // If the disk is full the code still goes to whoever waits for us.
    let _told = corten_sys::fd::write_to(record, text.as_bytes());
    i32::from(end.shell_code())
}

/// Reads an exit record; `None` if it is not complete.
#[must_use]
pub fn parse_record(text: &str) -> Option<Exit> {
    let (kind, number) = text.strip_suffix('\n')?.split_once(' ')?;
    let number = number.parse().ok()?;
    match kind {
        "exit" => Some(Exit::Code(number)),
        "signal" => Some(Exit::Signal(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_whole_or_not_at_all() {
        assert_eq!(parse_record("exit 3\n"), Some(Exit::Code(3)));
        assert_eq!(parse_record("signal 9\n"), Some(Exit::Signal(9)));
        for torn in ["", "exit", "exit 1", "exit 256\n", "left 1\n"] {
            assert_eq!(parse_record(torn), None, "{torn:?}");
        }
    }
}
