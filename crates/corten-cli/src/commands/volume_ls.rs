//! `corten volume ls`: the volumes.

use serde_json::{Value, json};

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::VolumeSummary;
use crate::filter::{Filters, name_fits};
use crate::flags::{self, flags};
use crate::format::{add_label_method, table};
use crate::report::{ENGINE_FAILED, Report};

flags! {
    pub(crate) struct Args {
        /// Display only cluster volumes, and use cluster volume list formatting
        cluster: bool = "cluster";
        /// Provide filter values (e.g. "dangling=true")
        filter: Vec<String> = "filter" 'f' ["filter", flags::text];
        /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE' (Go's)
        format: Option<String> = "format" ["string", flags::text];
        /// Only display volume names
        quiet: bool = "quiet" 'q';
    }
}

const FILTERS: &[&str] = &["dangling", "driver", "label", "name"];

const COLUMNS: table::Columns = table::Columns {
    headers: &[
        ("Availability", "AVAILABILITY"),
        ("Driver", "DRIVER"),
        ("Group", "GROUP"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Name", "VOLUME NAME"),
        ("Scope", "SCOPE"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
    ],
    go_type: "*formatter.volumeContext",
};

impl Subcommand for Args {
    const NAME: &'static str = "ls";
    const ABOUT: &'static str = "List volumes";
    const USAGE: &'static str = "[OPTIONS]";
    const ALIASES: &'static [&'static str] = &["corten volume ls", "corten volume list"];

    fn execute(self, _args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        if self.cluster {
            return Err(Report::user("--cluster is refused: there is no cluster").status(ENGINE_FAILED));
        }
        let filters = Filters::parse(&self.filter, FILTERS)?;
        let dangling = match filters.last("dangling") {
            None => None,
            Some(text) => Some(
                corten_engine::config::parse_bool(text)
                    .ok_or_else(|| Report::user(format!("invalid filter 'dangling={text}'")))?,
            ),
        };
        let all = cx.engine()?.volumes()?;
        let shown = all.iter().filter(|one| {
            dangling.is_none_or(|dangling| dangling == (one.containers == 0))
                && filters.any("driver", |driver| driver == "local")
                && filters.any("name", |name| name_fits(&one.name, name))
                && filters.labels(&one.labels)
        });
        let format = self.format.as_deref().unwrap_or_default();
        if self.quiet && format.is_empty() {
            for one in shown {
                writeln!(cx.stdout, "{}", one.name)?;
            }
            return Ok(0);
        }
        let rows: Vec<Value> = shown.map(row).collect();
        let text = table::render(format, "{{.Driver}}\t{{.Name}}", &COLUMNS, &rows)
            .map_err(|error| Report::user(error.to_string()))?;
        cx.stdout.write_all(text.as_bytes())?;
        Ok(0)
    }
}

fn row(one: &VolumeSummary) -> Value {
    let labels: Vec<String> = one.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut row = json!({
        "Availability": "N/A",
        "Driver": "local",
        "Group": "N/A",
        "Labels": labels.join(","),
        "Links": "N/A",
        "Mountpoint": one.mountpoint,
        "Name": one.name,
        "Scope": "local",
        "Size": "N/A",
        "Status": "N/A",
    });
    add_label_method(&mut row, &one.labels);
    row
}
