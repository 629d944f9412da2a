//! `corten image prune`: images that nothing names or uses, gone.

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::{ImageRemoval, RemoveImage};
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
        let mut chosen: Vec<(String, String, u64)> = Vec::new();
        for one in cx.engine()?.images()? {
            let fits = one.containers == Some(0)
                && (!dangling || one.tag.is_none())
                && until.is_none_or(|until| one.created_s < until)
                && filters.labels(&one.labels);
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
        prune::deleted(cx, "Images", &lines, bytes)
    }
}
