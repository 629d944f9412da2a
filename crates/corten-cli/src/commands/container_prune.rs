//! `corten container prune`: containers that do not run, gone.

use crate::command::Subcommand;
use crate::context::Context;
use crate::filter::Filters;
use crate::flags::{self, flags};
use crate::prune;
use crate::report::Report;

flags! {
    pub(crate) struct Args {
        /// Provide filter values (e.g. "until=<timestamp>")
        filter: Vec<String> = "filter" ["filter", flags::text];
        /// Do not prompt for confirmation
        force: bool = "force" 'f';
    }
}

const FILTERS: &[&str] = &["label", "label!", "until"];

impl Subcommand for Args {
    const NAME: &'static str = "prune";
    const ABOUT: &'static str = "Remove all stopped containers";
    const USAGE: &'static str = "[OPTIONS]";

    fn execute(self, _args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let filters = Filters::parse(&self.filter, FILTERS)?;
        let until = prune::until(&filters, cx.now_s)?;
        if !self.force {
            prune::confirm(cx, "all stopped containers", "container prune")?;
        }
        let pruned = cx.engine()?.prune_containers(&|one| {
            until.is_none_or(|until| one.created_s < until) && filters.labels(&one.labels)
        })?;
        prune::deleted(cx, "Containers", &pruned.names, pruned.bytes)
    }
}
