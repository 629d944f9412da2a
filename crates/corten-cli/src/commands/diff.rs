//! `corten diff`: what a container changed in its files.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::flags::flags;
use crate::report::Report;

flags! {
    pub(crate) struct Args {}
}

impl Subcommand for Args {
    const NAME: &'static str = "diff";
    const ABOUT: &'static str = "Inspect changes to files or directories on a container's filesystem";
    const USAGE: &'static str = "CONTAINER";
    const ALIASES: &'static [&'static str] = &["corten container diff", "corten diff"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=1;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        for (kind, path) in cx.engine()?.diff(&args[0])? {
            cx.stdout.write_all(&[kind as u8, b' '])?;
            cx.stdout.write_all(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()))?;
            cx.stdout.write_all(b"\n")?;
        }
        Ok(0)
    }
}
