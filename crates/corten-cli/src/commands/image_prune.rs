//! `corten image prune`: images that nothing names or uses, gone.

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::ImageRemoval;
use crate::filter::Filters;
use crate::flags::{self, flags};
use crate::prune;
use crate::report::Report;

flags! {
    pub(crate) struct Args {
        /// Remove all unused images, not just dangling ones
        all: bool = "all" 'a';
        /// Provide filter values (e.g. "until=<timestamp>")
        filter: Vec<String> = "filter" ["filter", flags::text];
        /// Do not prompt for confirmation
        force: bool = "force" 'f';
    }
}

const FILTERS: &[&str] = &["dangling", "label", "label!", "until"];

impl Subcommand for Args {
    const NAME: &'static str = "prune";
    const ABOUT: &'static str = "Remove unused images";
    const USAGE: &'static str = "[OPTIONS]";

    fn execute(self, _args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let filters = Filters::parse(&self.filter, FILTERS)?;
        let until = prune::until(&filters, cx.now_s)?;
        let dangling = match filters.last("dangling") {
            None => !self.all,
            Some(text) => corten_engine::config::parse_bool(text)
                .ok_or_else(|| Report::user(format!("invalid filter 'dangling={text}'")))?,
        };
        if !self.force {
            let warning = if dangling {
                "all dangling images"
            } else {
                "all images without at least one container associated to them"
            };
            prune::confirm(cx, warning, "image prune")?;
        }
        let (removed, bytes) = cx.engine()?.prune_images(&|one| {
            one.containers == Some(0)
                && (!dangling || one.tag.is_none())
                && until.is_none_or(|until| one.created_s < until)
                && filters.labels(&one.labels)
        })?;
        let line = |removal| match removal {
            ImageRemoval::Untagged(name) => format!("untagged: {name}"),
            ImageRemoval::Deleted(digest) => format!("deleted: {digest}"),
        };
        let lines: Vec<String> = removed.into_iter().map(line).collect();
        prune::deleted(cx, "Images", &lines, bytes)
    }
}
