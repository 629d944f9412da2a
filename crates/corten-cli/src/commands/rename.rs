//! `corten rename`: another name for a container.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::flags::flags;
use crate::report::Report;

flags! {
    pub(crate) struct Args {}
}

impl Subcommand for Args {
    const NAME: &'static str = "rename";
    const ABOUT: &'static str = "Rename a container";
    const USAGE: &'static str = "CONTAINER NEW_NAME";
    const ALIASES: &'static [&'static str] = &["corten container rename", "corten rename"];
    const ARGUMENTS: RangeInclusive<usize> = 2..=2;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        cx.engine()?.rename_container(args[0].trim(), args[1].trim())?;
        Ok(0)
    }
}
