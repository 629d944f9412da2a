//! `corten tag`: one more name for an image.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::flags::flags;
use crate::report::Report;

flags! {
    pub(crate) struct Args {}
}

impl Subcommand for Args {
    const NAME: &'static str = "tag";
    const ABOUT: &'static str = "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE";
    const USAGE: &'static str = "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]";
    const ALIASES: &'static [&'static str] = &["corten image tag", "corten tag"];
    const ARGUMENTS: RangeInclusive<usize> = 2..=2;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        cx.engine()?.tag_image(&args[0], &args[1])?;
        Ok(0)
    }
}
