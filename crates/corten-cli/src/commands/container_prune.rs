//! `corten container prune`: containers that do not run, gone.

use crate::command::Subcommand;
use crate::context::Context;
use crate::filter::{Filters, moment};
use crate::flags::{self, flags};
use crate::format::human;
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
        let until = match filters.last("until") {
            None => None,
            Some(text) => Some(
                moment(text, cx.now_s)
                    .ok_or_else(|| Report::user(format!("invalid filter 'until={text}'")))?,
            ),
        };
        if !self.force {
            let warning = "WARNING! This will remove all stopped containers.\n\
                           Are you sure you want to continue? [y/N] ";
            cx.stdout.write_all(warning.as_bytes())?;
            cx.stdout.flush()?;
            let mut answer = String::new();
            std::io::stdin().read_line(&mut answer)?;
            if !answer.trim().eq_ignore_ascii_case("y") {
                return Err(Report::user("container prune has been cancelled"));
            }
        }
        let pruned = cx.engine()?.prune_containers(&|one| {
            until.is_none_or(|until| one.created_s < until)
                && filters.labels(&one.labels)
                && filters.all("label!", |unwanted| match unwanted.split_once('=') {
                    Some((name, value)) => one.labels.get(name).is_none_or(|known| known != value),
                    None => !one.labels.contains_key(unwanted),
                })
        })?;
        if !pruned.names.is_empty() {
            writeln!(cx.stdout, "Deleted Containers:")?;
            for name in &pruned.names {
                writeln!(cx.stdout, "{name}")?;
            }
            writeln!(cx.stdout)?;
        }
        writeln!(cx.stdout, "Total reclaimed space: {}", human::size(pruned.bytes))?;
        Ok(0)
    }
}
