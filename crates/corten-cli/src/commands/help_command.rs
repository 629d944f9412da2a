//! `corten help [COMMAND]`.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::report::Report;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[arg(value_name = "COMMAND")]
    args: Vec<String>,
}

impl Subcommand for Args {
    const NAME: &'static str = "help";
    const ABOUT: &'static str = "Help about the command";
    const USAGE: &'static str = "[COMMAND]";
    const ARGUMENTS: RangeInclusive<usize> = 0..=2;

    fn execute(self, cx: &mut Context<'_>) -> Result<u8, Report> {
        let text = super::help_of(&self.args, cx.columns)?;
        cx.stdout.write_all(text.as_bytes())?;
        Ok(0)
    }
}
