//! `corten volume rm`: volumes, gone with what is in them.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::flags::flags;
use crate::report::Report;

flags! {
    pub(crate) struct Args {
        /// Force the removal of one or more volumes
        force: bool = "force" 'f';
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "rm";
    const ABOUT: &'static str = "Remove one or more volumes";
    const USAGE: &'static str = "[OPTIONS] VOLUME [VOLUME...]";
    const ALIASES: &'static [&'static str] = &["corten volume rm", "corten volume remove"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        super::each(cx, &args, |cx, name| {
            cx.engine()?.remove_volume(name, self.force)?;
            writeln!(cx.stdout, "{name}")?;
            Ok(())
        })
    }
}
