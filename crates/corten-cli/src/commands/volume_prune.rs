//! `corten volume prune`: volumes that no container uses, gone.

use crate::command::Subcommand;
use crate::context::Context;
use crate::filter::Filters;
use crate::flags::{self, flags};
use crate::prune;
use crate::report::Report;

flags! {
    pub(crate) struct Args {
        /// Remove all unused volumes, not just anonymous ones
        all: bool = "all" 'a';
        /// Provide filter values (e.g. "label=<label>")
        filter: Vec<String> = "filter" ["filter", flags::text];
        /// Do not prompt for confirmation
        force: bool = "force" 'f';
    }
}

const FILTERS: &[&str] = &["all", "label", "label!"];

impl Subcommand for Args {
    const NAME: &'static str = "prune";
    const ABOUT: &'static str = "Remove unused local volumes";
    const USAGE: &'static str = "[OPTIONS]";

    fn execute(self, _args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let filters = Filters::parse(&self.filter, FILTERS)?;
        let said = match filters.last("all") {
            None => false,
            Some(text) => corten_engine::config::parse_bool(text)
                .ok_or_else(|| Report::user(format!("invalid filter 'all={text}'")))?,
        };
        let all = self.all || said;
        if !self.force {
            let which = if all { "all" } else { "anonymous" };
            let warning = format!("{which} local volumes not used by at least one container");
            prune::confirm(cx, &warning, "volume prune")?;
        }
        let pruned =
            cx.engine()?.prune_volumes(&|one| (all || one.anonymous) && filters.labels(&one.labels))?;
        prune::deleted(cx, "Volumes", &pruned.names, pruned.bytes)
    }
}
