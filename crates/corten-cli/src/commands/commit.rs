//! `corten commit`: an image from what a container changed.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::Commit;
use crate::flags::{self, flags};
use crate::report::Report;
use crate::values;

flags! {
    pub(crate) struct Args {
        /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
        author: Option<String> = "author" 'a' ["string", flags::text];
        /// Apply Dockerfile instruction to the created image
        change: Vec<String> = "change" 'c' ["list", flags::text];
        /// Commit message
        message: Option<String> = "message" 'm' ["string", flags::text];
        /// Pause container during commit (default true)
        pause: Option<bool> = "pause" 'p' (values::switch);
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "commit";
    const ABOUT: &'static str = "Create a new image from a container's changes";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]";
    const ALIASES: &'static [&'static str] = &["corten container commit", "corten commit"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=2;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let mut args = args.into_iter();
        let request = Commit {
            container: args.next().unwrap_or_default(),
            reference: args.next().filter(|name| !name.is_empty()),
            author: self.author,
            changes: self.change,
            message: self.message,
            pause: self.pause,
        };
        let id = cx.engine()?.commit(request)?;
        writeln!(cx.stdout, "{id}")?;
        Ok(0)
    }
}
