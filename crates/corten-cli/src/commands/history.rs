//! `corten history`: how an image came about.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::ImageStep;
use crate::flags::{self, flags};
use crate::format::{human, table};
use crate::report::Report;
use crate::values;

flags! {
    pub(crate) struct Args {
        /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE' (Go's)
        format: Option<String> = "format" ["string", flags::text];
        /// Print sizes and dates in human readable format (default true)
        human: Option<bool> = "human" 'H' (values::switch);
        /// Don't truncate output
        no_trunc: bool = "no-trunc";
        /// Show history for the given platform. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")
        platform: Option<String> = "platform" ["string", flags::text];
        /// Only show image IDs
        quiet: bool = "quiet" 'q';
    }
}

const COLUMNS: table::Columns = table::Columns {
    headers: &[
        ("Comment", "COMMENT"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("CreatedSince", "CREATED"),
        ("ID", "IMAGE"),
        ("Size", "SIZE"),
    ],
    go_type: "*formatter.historyContext",
};

impl Subcommand for Args {
    const NAME: &'static str = "history";
    const ABOUT: &'static str = "Show the history of an image";
    const USAGE: &'static str = "[OPTIONS] IMAGE";
    const ALIASES: &'static [&'static str] = &["corten image history", "corten history"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=1;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let steps = cx.engine()?.image_history(&args[0], self.platform.as_deref())?;
        let (truncate, human) = (!self.no_trunc, self.human.unwrap_or(true));
        let format = self.format.as_deref().unwrap_or_default();
        let rows: Vec<Value> = steps.iter().map(|step| row(step, truncate, human, cx.now_s)).collect();
        if self.quiet && format.is_empty() {
            for id in rows.iter().filter_map(|row| row["ID"].as_str()) {
                writeln!(cx.stdout, "{id}")?;
            }
            return Ok(0);
        }
        let since = if human { "CreatedSince" } else { "CreatedAt" };
        let default =
            format!("{{{{.ID}}}}\t{{{{.{since}}}}}\t{{{{.CreatedBy}}}}\t{{{{.Size}}}}\t{{{{.Comment}}}}");
        let text = table::render(format, &default, &COLUMNS, &rows)
            .map_err(|error| Report::user(error.to_string()))?;
        cx.stdout.write_all(text.as_bytes())?;
        Ok(0)
    }
}

fn row(step: &ImageStep, truncate: bool, human: bool, now_s: i64) -> Value {
    let cut = |text: &str, width| if truncate { human::ellipsis(text, width) } else { text.to_owned() };
    let id = match &step.id {
        Some(id) if truncate => human::short_id(id),
        Some(id) => id,
        None => "<missing>",
    };
    json!({
        "Comment": cut(&step.comment, 45),
        "CreatedAt": step.created_s.map_or_else(|| "N/A".to_owned(), human::timestamp),
        "CreatedBy": cut(&step.created_by.replace('\t', " "), 45),
        "CreatedSince": step.created_s.map_or_else(|| "N/A".to_owned(), |at| human::ago(at, now_s)),
        "ID": id,
        "Size": if human { human::size3(step.size_bytes) } else { step.size_bytes.to_string() },
    })
}
