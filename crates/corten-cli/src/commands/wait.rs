//! `corten wait`: until containers end, and their exit codes.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::{Control, Controlled};
use crate::flags::flags;
use crate::report::Report;

flags! {
    pub(crate) struct Args {}
}

impl Subcommand for Args {
    const NAME: &'static str = "wait";
    const ABOUT: &'static str = "Block until one or more containers stop, then print their exit codes";
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ALIASES: &'static [&'static str] = &["corten container wait", "corten wait"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        super::each(cx, &args, |cx, name| {
            if let Controlled::Exited { code, .. } = cx.engine()?.control(name, Control::Wait)? {
                writeln!(cx.stdout, "{code}")?;
                cx.stdout.flush()?;
            }
            Ok(())
        })
    }
}
