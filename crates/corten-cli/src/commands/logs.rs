//! `corten logs`: what a container wrote.

use std::ops::RangeInclusive;
use std::os::fd::BorrowedFd;

use corten_engine::config::since::parse_time_ns;
use corten_engine::log::read::Show;

use crate::command::Subcommand;
use crate::context::Context;
use crate::flags::{self, flags};
use crate::report::Report;

flags! {
    pub(crate) struct Args {
        /// Show extra details provided to logs
        details: bool = "details";
        /// Follow log output
        follow: bool = "follow" 'f';
        /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
        since: Option<String> = "since" ["string", flags::text];
        /// Number of lines to show from the end of the logs (default "all")
        tail: Option<String> = "tail" 'n' ["string", flags::text];
        /// Show timestamps
        timestamps: bool = "timestamps" 't';
        /// Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
        until: Option<String> = "until" ["string", flags::text];
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "logs";
    const ABOUT: &'static str = "Fetch the logs of a container";
    const USAGE: &'static str = "[OPTIONS] CONTAINER";
    const ALIASES: &'static [&'static str] = &["corten container logs", "corten logs"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=1;
    const AFTER_HELP: &'static str = "Times without a zone are UTC.\n\nExamples:\n  corten logs -f --tail 10 web\n  \
                                      corten logs -t --since 10m web";

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let show = Show {
            follow: self.follow,
            since_ns: moment("since", self.since.as_deref(), cx.now_ns())?,
            until_ns: moment("until", self.until.as_deref(), cx.now_ns())?,
            tail: tail(self.tail.as_deref())?,
            timestamps: self.timestamps,
            details: self.details,
            merged: same_place(),
        };
        widen(rustix::stdio::stdout());
        let (engine, stdout, stderr) = cx.engine_and_streams()?;
        engine.logs(&args[0], &show, &mut |is_error, bytes| {
            let out: &mut dyn std::io::Write = if is_error { &mut *stderr } else { &mut *stdout };
            out.write_all(bytes)?;
            out.flush()
        })?;
        Ok(0)
    }
}

/// A time of `--since` or `--until`, in nanoseconds since 1970.
pub(super) fn moment(flag: &str, text: Option<&str>, now_ns: i128) -> Result<Option<i128>, Report> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    match parse_time_ns(text, now_ns) {
        Ok(ns) => Ok(Some(ns)),
        Err(error) => Err(Report::user(format!("invalid value for {flag:?}: {error}"))),
    }
}

fn tail(text: Option<&str>) -> Result<Option<u64>, Report> {
    match text {
        None | Some("" | "all") => Ok(None),
        Some(text) => match text.parse::<i64>() {
            // As Docker: less than none is all.
            Ok(number) => Ok(u64::try_from(number).ok()),
            Err(_) => {
                Err(Report::user(format!("invalid value for \"tail\": {text:?} is neither a number nor all")))
            }
        },
    }
}

/// Makes a pipe larger, so that whoever reads it and we wait for each other less often. What is no pipe, or may not
/// be larger, stays as it is.
fn widen(pipe: BorrowedFd<'_>) {
    const BYTES: usize = 512 << 10;
    if rustix::pipe::fcntl_getpipe_size(pipe).is_ok_and(|bytes| bytes < BYTES) {
        let _as_it_is = rustix::pipe::fcntl_setpipe_size(pipe, BYTES);
    }
}

/// Whether both streams go to one file, pipe or terminal.
fn same_place() -> bool {
    let of = |fd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).ok();
    of(rustix::stdio::stdout()) == of(rustix::stdio::stderr())
}
