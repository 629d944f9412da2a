//! `corten image prune`: images that nothing names or uses, gone.

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::{ImageRemoval, RemoveImage};
use crate::filter::{Filters, moment};
use crate::flags::{self, flags};
use crate::format::human;
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
        let wrong = |key: &str, text: &str| Report::user(format!("invalid filter '{key}={text}'"));
        let until = match filters.last("until") {
            None => None,
            Some(text) => Some(moment(text, cx.now_s).ok_or_else(|| wrong("until", text))?),
        };
        let dangling = match filters.last("dangling") {
            None => !self.all,
            Some(text) => corten_engine::config::parse_bool(text).ok_or_else(|| wrong("dangling", text))?,
        };
        if !self.force {
            let what = if dangling {
                "all dangling images"
            } else {
                "all images without at least one container associated to them"
            };
            let warning =
                format!("WARNING! This will remove {what}.\nAre you sure you want to continue? [y/N] ");
            cx.stdout.write_all(warning.as_bytes())?;
            cx.stdout.flush()?;
            let mut answer = String::new();
            std::io::stdin().read_line(&mut answer)?;
            if !answer.trim().eq_ignore_ascii_case("y") {
                return Err(Report::user("image prune has been cancelled"));
            }
        }
        let mut chosen: Vec<(String, String, u64)> = Vec::new();
        for one in cx.engine()?.images()? {
            let fits = one.containers == Some(0)
                && (!dangling || one.tag.is_none())
                && until.is_none_or(|until| one.created_s < until)
                && filters.labels(&one.labels)
                && filters.all("label!", |unwanted| match unwanted.split_once('=') {
                    Some((name, value)) => one.labels.get(name).is_none_or(|known| known != value),
                    None => !one.labels.contains_key(unwanted),
                });
            if fits {
                let name = match (&one.repository, &one.tag) {
                    (Some(repository), Some(tag)) => format!("{repository}:{tag}"),
                    _ => one.id.clone(),
                };
                chosen.push((name, one.id, one.size_bytes));
            }
        }
        let (mut lines, mut bytes) = (Vec::new(), 0);
        for (name, id, size) in chosen {
            for removal in cx.engine()?.remove_image(&name, &RemoveImage::default())? {
                lines.push(match removal {
                    ImageRemoval::Untagged(name) => format!("untagged: {name}"),
                    ImageRemoval::Deleted(digest) => {
                        bytes += if digest == id { size } else { 0 };
                        format!("deleted: {digest}")
                    }
                });
            }
        }
        if !lines.is_empty() {
            writeln!(cx.stdout, "Deleted Images:")?;
            for line in &lines {
                writeln!(cx.stdout, "{line}")?;
            }
            writeln!(cx.stdout)?;
        }
        writeln!(cx.stdout, "Total reclaimed space: {}", human::size(bytes))?;
        Ok(0)
    }
}
