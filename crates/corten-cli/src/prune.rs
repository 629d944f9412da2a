//! What the `prune` commands have in common: the question before, the list after.

use std::io::BufRead;

use crate::context::Context;
use crate::filter::{Filters, moment};
use crate::format::human;
use crate::report::Report;

/// Asks, and goes on after a `y` only. `warning` ends "This will remove …", `what` is the command's name.
pub(crate) fn confirm(cx: &mut Context<'_>, warning: &str, what: &str) -> Result<(), Report> {
    writeln!(cx.stdout, "WARNING! This will remove {warning}.")?;
    write!(cx.stdout, "Are you sure you want to continue? [y/N] ")?;
    cx.stdout.flush()?;
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Report::host("cannot read the answer from standard input").cause(error))?;
    if answer.trim().eq_ignore_ascii_case("y") {
        return Ok(());
    }
    Err(Report::user(format!("{what} has been cancelled")))
}

/// The filter `until`: what was made before, in seconds since 1970.
pub(crate) fn until(filters: &Filters, now_s: i64) -> Result<Option<i64>, Report> {
    let Some(text) = filters.last("until") else { return Ok(None) };
    match moment(text, now_s) {
        None => Err(Report::user(format!("invalid filter 'until={text}'"))),
        some => Ok(some),
    }
}

/// `Deleted Volumes:` and so on, a line each, and what that gave back.
pub(crate) fn deleted(
    cx: &mut Context<'_>,
    kind: &str,
    lines: &[String],
    freed_bytes: u64,
) -> Result<u8, Report> {
    if !lines.is_empty() {
        writeln!(cx.stdout, "Deleted {kind}:")?;
        for line in lines {
            writeln!(cx.stdout, "{line}")?;
        }
        writeln!(cx.stdout)?;
    }
    writeln!(cx.stdout, "Total reclaimed space: {}", human::size(freed_bytes))?;
    Ok(0)
}
