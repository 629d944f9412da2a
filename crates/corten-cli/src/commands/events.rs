//! `corten events`: what happens, as it happens.

use serde_json::{Map, Value};

use super::logs::moment;
use crate::command::Subcommand;
use crate::context::Context;
use crate::filter::Filters;
use crate::flags::{self, flags};
use crate::format::{Missing, Template};
use crate::report::Report;

flags! {
    pub(crate) struct Args {
        /// Filter output based on conditions provided
        filter: Vec<String> = "filter" 'f' ["filter", flags::text];
        /// Format output using a custom template: 'json' or 'TEMPLATE' (Go's)
        format: Option<String> = "format" ["string", flags::text];
        /// Show all events created since timestamp
        since: Option<String> = "since" ["string", flags::text];
        /// Stream events until this timestamp
        until: Option<String> = "until" ["string", flags::text];
    }
}

const FILTERS: &[&str] = &["action", "container", "event", "image", "label", "scope", "type", "volume"];

impl Subcommand for Args {
    const NAME: &'static str = "events";
    const ABOUT: &'static str = "Get real time events from the engine";
    const USAGE: &'static str = "[OPTIONS]";
    const ALIASES: &'static [&'static str] = &["corten system events", "corten events"];
    const AFTER_HELP: &'static str = "Times without a zone are UTC. The journal keeps the last 512 KiB to 1 MiB, until the \
                                      machine is started anew.\n\nExamples:\n  corten events -f type=container -f event=die\n  \
                                      corten events --since 1h --until 0s --format '{{.Action}} {{.Actor.ID}}'";

    fn execute(self, _args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let filters = Filters::parse(&self.filter, FILTERS)?;
        let since = moment("since", self.since.as_deref(), cx.now_ns())?;
        let until = moment("until", self.until.as_deref(), cx.now_ns())?;
        let format = self.format.as_deref().unwrap_or_default().trim();
        let failed = |error: crate::format::TemplateError| Report::user(error.to_string());
        let template = match format {
            "" | "json" => None,
            _ => Some(Template::parse(&format.replace("\\t", "\t").replace("\\n", "\n")).map_err(failed)?),
        };
        let (engine, stdout, _) = cx.engine_and_streams()?;
        engine.events(since, until, &mut |event| {
            if fits(event, &filters) {
                let line = match (&template, format) {
                    (Some(template), _) => {
                        template.execute(event, Missing::Field("events.Message")).map_err(failed)?
                    }
                    (None, "json") => event.to_string(),
                    (None, _) => line(event),
                };
                writeln!(stdout, "{line}")?;
                stdout.flush()?;
            }
            Ok(true)
        })?;
        Ok(0)
    }
}

fn text<'a>(event: &'a Value, path: &str) -> &'a str {
    event.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn attributes(event: &Value) -> Option<&Map<String, Value>> {
    event.pointer("/Actor/Attributes").and_then(Value::as_object)
}

fn fits(event: &Value, filters: &Filters) -> bool {
    let (kind, id) = (text(event, "/Type"), text(event, "/Actor/ID"));
    let attribute =
        |name: &str| attributes(event).and_then(|all| all.get(name)?.as_str()).unwrap_or_default();
    // By its name, or the beginning of its id.
    let is = |wanted: &str, wanted_kind: &str| {
        kind == wanted_kind && !wanted.is_empty() && (id.starts_with(wanted) || attribute("name") == wanted)
    };
    let action = text(event, "/Action");
    // `exec_create: sh` is found by `exec_create`.
    let verb = action.split(':').next().unwrap_or_default();
    let is_action = |wanted: &str| wanted == action || wanted == verb;
    filters.any("type", |wanted| wanted == kind)
        && filters.any("event", is_action)
        && filters.any("action", is_action)
        && filters.any("scope", |wanted| wanted == "local")
        && filters.any("container", |wanted| is(wanted.trim_start_matches('/'), "container"))
        && filters.any("volume", |wanted| is(wanted, "volume") || attribute("volume") == wanted)
        && filters.any("image", |wanted| {
            let bare = |name: &str| name.strip_suffix(":latest").unwrap_or(name).to_owned();
            let name = if kind == "image" { attribute("name") } else { attribute("image") };
            let digits = id.strip_prefix("sha256:").unwrap_or(id);
            bare(name) == bare(wanted)
                || name.split(':').next() == Some(wanted)
                || (kind == "image" && digits.starts_with(wanted.strip_prefix("sha256:").unwrap_or(wanted)))
        })
        && filters.all("label", |wanted| {
            let (name, value) = wanted.split_once('=').map_or((wanted, None), |(n, v)| (n, Some(v)));
            let found = attributes(event).and_then(|all| all.get(name)?.as_str());
            found.is_some_and(|found| value.is_none_or(|value| value == found))
        })
}

/// `2024-02-29T12:34:56.000000001Z container start ID (image=busybox, name=web)`
fn line(event: &Value) -> String {
    let ns = event["timeNano"].as_u64().unwrap_or(0);
    let second = std::time::UNIX_EPOCH + std::time::Duration::from_secs(ns / 1_000_000_000);
    let second = corten_oci::time::rfc3339(second);
    let time = format!("{}.{:09}Z", second.trim_end_matches('Z'), ns % 1_000_000_000);
    let pairs: Vec<String> = attributes(event)
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    let about =
        format!("{time} {} {} {}", text(event, "/Type"), text(event, "/Action"), text(event, "/Actor/ID"));
    // A label may hold what a terminal would act upon.
    let shown = if pairs.is_empty() { about } else { format!("{about} ({})", pairs.join(", ")) };
    shown.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
