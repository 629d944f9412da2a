//! `corten images`: the images.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::ImageSummary;
use crate::filter::{Filters, glob};
use crate::flags::{self, flags};
use crate::format::{human, table};
use crate::report::{ENGINE_FAILED, Report};

flags! {
    pub(crate) struct Args {
        /// Show all images (default hides intermediate images)
        all: bool = "all" 'a';
        /// Show digests
        digests: bool = "digests";
        /// Filter output based on conditions provided
        filter: Vec<String> = "filter" 'f' ["filter", flags::text];
        /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE' (Go's)
        format: Option<String> = "format" ["string", flags::text];
        /// Don't truncate output
        no_trunc: bool = "no-trunc";
        /// Only show image IDs
        quiet: bool = "quiet" 'q';
        /// List multi-platform images as a tree (EXPERIMENTAL)
        tree: bool = "tree";
    }
}

const FILTERS: &[&str] = &["before", "dangling", "label", "reference", "since"];

const COLUMNS: table::Columns = table::Columns {
    headers: &[
        ("Containers", "CONTAINERS"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedSince", "CREATED"),
        ("Digest", "DIGEST"),
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("SharedSize", "SHARED SIZE"),
        ("Size", "SIZE"),
        ("Tag", "TAG"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("VirtualSize", "SIZE"),
    ],
    go_type: "*formatter.imageContext",
};

impl Subcommand for Args {
    const NAME: &'static str = "images";
    const ABOUT: &'static str = "List images";
    const USAGE: &'static str = "[OPTIONS] [REPOSITORY[:TAG]]";
    const ALIASES: &'static [&'static str] = &["corten image ls", "corten image list", "corten images"];
    const ARGUMENTS: RangeInclusive<usize> = 0..=1;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        if self.tree {
            return Err(Report::user("--tree is refused: it is not supported yet").status(ENGINE_FAILED));
        }
        let filters = Filters::parse(&self.filter, FILTERS)?;
        let all = cx.engine()?.images()?;
        let shown = select(&all, &filters, args.first().map(String::as_str))?;
        let format = self.format.as_deref().unwrap_or_default();
        if self.quiet && format.is_empty() {
            let mut before = "";
            for one in shown {
                // An image with several tags is one image here.
                if one.id != before {
                    let id = if self.no_trunc { &one.id } else { human::short_id(&one.id) };
                    writeln!(cx.stdout, "{id}")?;
                }
                before = &one.id;
            }
            return Ok(0);
        }
        let default = if self.digests {
            "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
        } else {
            "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
        };
        let rows: Vec<Value> = shown.iter().map(|one| row(one, !self.no_trunc, cx.now_s)).collect();
        let text =
            table::render(format, default, &COLUMNS, &rows).map_err(|e| Report::user(e.to_string()))?;
        cx.stdout.write_all(text.as_bytes())?;
        Ok(0)
    }
}

fn select<'a>(
    all: &'a [ImageSummary],
    filters: &Filters,
    named: Option<&str>,
) -> Result<Vec<&'a ImageSummary>, Report> {
    let created = |key: &str| match filters.last(key) {
        None => Ok(None),
        Some(name) => match all.iter().find(|one| is_named(one, name)) {
            Some(one) => Ok(Some(one.created_s)),
            None => Err(Report::user(format!("No such image: {name}"))),
        },
    };
    let (before, since) = (created("before")?, created("since")?);
    let dangling = match filters.last("dangling") {
        None => None,
        Some(text) => Some(
            corten_engine::config::parse_bool(text)
                .ok_or_else(|| Report::user(format!("invalid filter 'dangling={text}'")))?,
        ),
    };
    let fits = |one: &ImageSummary| {
        named.is_none_or(|name| is_reference(one, name))
            && before.is_none_or(|at| one.created_s < at)
            && since.is_none_or(|at| one.created_s > at)
            && dangling.is_none_or(|dangling| dangling == one.tag.is_none())
            && filters.any("reference", |pattern| is_reference(one, pattern))
            && filters.labels(&one.labels)
    };
    Ok(all.iter().filter(|one| fits(one)).collect())
}

/// `busybox`, `busybox:1`, `busy*`: a repository, or with its tag.
fn is_reference(one: &ImageSummary, pattern: &str) -> bool {
    let Some(repository) = &one.repository else { return false };
    let tagged = format!("{repository}:{}", one.tag.as_deref().unwrap_or_default());
    glob(pattern, repository) || glob(pattern, &tagged)
}

fn is_named(one: &ImageSummary, name: &str) -> bool {
    let id = one.id.strip_prefix("sha256:").unwrap_or(&one.id);
    is_reference(one, name)
        || (name.len() >= 4 && id.starts_with(name.strip_prefix("sha256:").unwrap_or(name)))
}

fn row(one: &ImageSummary, truncate: bool, now_s: i64) -> Value {
    let none = || "<none>".to_owned();
    let size = human::size3(one.size_bytes);
    json!({
        "Containers": one.containers.map_or_else(|| "N/A".to_owned(), |n| n.to_string()),
        "CreatedAt": human::timestamp(one.created_s),
        "CreatedSince": human::ago(one.created_s, now_s),
        "Digest": one.digest.clone().unwrap_or_else(none),
        "ID": if truncate { human::short_id(&one.id) } else { &one.id },
        "Repository": one.repository.clone().unwrap_or_else(none),
        "SharedSize": "N/A",
        "Size": size,
        "Tag": one.tag.clone().unwrap_or_else(none),
        "UniqueSize": "N/A",
        "VirtualSize": size,
    })
}
