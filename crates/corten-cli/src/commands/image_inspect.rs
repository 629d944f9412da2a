//! `corten image inspect`: everything about images.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::report::Report;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Format output using a custom template: 'json' or 'TEMPLATE' (Go's)
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
    /// Inspect a specific platform of the multi-platform image
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    #[arg(value_name = "IMAGE")]
    args: Vec<String>,
}

impl Subcommand for Args {
    const NAME: &'static str = "inspect";
    const ABOUT: &'static str = "Display detailed information on one or more images";
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;

    fn execute(self, cx: &mut Context<'_>) -> Result<u8, Report> {
        let platform = self.platform;
        super::inspect::show(cx, &self.args, self.format.as_deref(), |cx, name| {
            cx.engine()?
                .inspect_image(name, platform.as_deref())?
                .ok_or_else(|| Report::user(format!("No such image: {name}")))
        })
    }
}
