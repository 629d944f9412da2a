//! `corten help [COMMAND]`.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::flags::flags;
use crate::report::Report;

flags! {
    pub(crate) struct Args {

    }
}

impl Subcommand for Args {
    const NAME: &'static str = "help";
    const ABOUT: &'static str = "Help about the command";
    const USAGE: &'static str = "[COMMAND]";
    const ARGUMENTS: RangeInclusive<usize> = 0..=2;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let text = super::help_of(&args, cx.columns())?;
        cx.stdout.write_all(text.as_bytes())?;
        Ok(0)
    }
}
