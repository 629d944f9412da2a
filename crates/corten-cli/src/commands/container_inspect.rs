//! `corten container inspect`: everything about containers.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::report::Report;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Format output using a custom template: 'json' or 'TEMPLATE' (Go's)
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
    #[arg(value_name = "CONTAINER")]
    args: Vec<String>,
}

impl Subcommand for Args {
    const NAME: &'static str = "inspect";
    const ABOUT: &'static str = "Display detailed information on one or more containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;

    fn execute(self, cx: &mut Context<'_>) -> Result<u8, Report> {
        let size = self.size;
        super::inspect::show(cx, &self.args, self.format.as_deref(), |cx, name| {
            cx.engine()?
                .inspect_container(name, size)?
                .ok_or_else(|| Report::user(format!("No such container: {name}")))
        })
    }
}
