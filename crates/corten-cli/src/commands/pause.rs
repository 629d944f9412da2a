//! `corten pause`: everything in a container frozen.

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
    const NAME: &'static str = "pause";
    const ABOUT: &'static str = "Pause all processes within one or more containers";
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ALIASES: &'static [&'static str] = &["corten container pause", "corten pause"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        super::each(cx, &args, |cx, name| {
            cx.engine()?.control(name, Control::Pause)?;
            writeln!(cx.stdout, "{name}")?;
            Ok(())
        })
    }
}
