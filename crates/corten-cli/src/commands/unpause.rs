//! `corten unpause`: what was frozen goes on.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::Control;
use crate::flags::flags;
use crate::report::Report;

flags! {
    pub(crate) struct Args {}
}

impl Subcommand for Args {
    const NAME: &'static str = "unpause";
    const ABOUT: &'static str = "Unpause all processes within one or more containers";
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ALIASES: &'static [&'static str] = &["corten container unpause", "corten unpause"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        super::each(cx, &args, |cx, name| {
            cx.engine()?.control(name, Control::Unpause)?;
            writeln!(cx.stdout, "{name}")?;
            Ok(())
        })
    }
}
