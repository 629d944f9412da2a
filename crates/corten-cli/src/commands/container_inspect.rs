//! `corten container inspect`: everything about containers.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::flags::{self, flags};
use crate::report::Report;

flags! {
    pub(crate) struct Args {
        /// Format output using a custom template: 'json' or 'TEMPLATE' (Go's)
        format: Option<String> = "format" 'f' ["string", flags::text];
        /// Display total file sizes
        size: bool = "size" 's';
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "inspect";
    const ABOUT: &'static str = "Display detailed information on one or more containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let size = self.size;
        super::inspect::show(cx, &args, self.format.as_deref(), |cx, name| {
            cx.engine()?
                .inspect_container(name, size)?
                .ok_or_else(|| Report::user(format!("No such container: {name}")))
        })
    }
}
