//! `corten image inspect`: everything about images.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::flags::{self, flags};
use crate::report::Report;

flags! {
    pub(crate) struct Args {
        /// Format output using a custom template: 'json' or 'TEMPLATE' (Go's)
        format: Option<String> = "format" 'f' ["string", flags::text];
        /// Inspect a specific platform of the multi-platform image
        platform: Option<String> = "platform" ["string", flags::text];
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "inspect";
    const ABOUT: &'static str = "Display detailed information on one or more images";
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let platform = self.platform;
        super::inspect::show(cx, &args, self.format.as_deref(), |cx, name| {
            cx.engine()?
                .inspect_image(name, platform.as_deref())?
                .ok_or_else(|| Report::user(format!("No such image: {name}")))
        })
    }
}
