//! `corten internal …`: the engine's own processes and what `--explain` needs beyond the shell's tools.

use std::ffi::OsString;
use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::report::Report;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

impl Subcommand for Args {
    const NAME: &'static str = "internal";
    const ABOUT: &'static str = "What corten calls itself; not for people";
    const USAGE: &'static str = "WORD...";
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;

    fn execute(self, cx: &mut Context<'_>) -> Result<u8, Report> {
        cx.engine()?.internal(self.args)
    }
}
