//! `corten inspect`: everything about containers and images, as JSON.

use std::ops::RangeInclusive;

use serde_json::Value;

use crate::command::Subcommand;
use crate::context::Context;
use crate::flags::{self, flags};
use crate::format::{Missing, Template};
use crate::report::Report;

flags! {
    pub(crate) struct Args {
        /// Format output using a custom template: 'json' or 'TEMPLATE' (Go's)
        format: Option<String> = "format" 'f' ["string", flags::text];
        /// Display total file sizes if the type is container
        size: bool = "size" 's';
        /// Only inspect objects of the given type (container|image|volume)
        kind: Option<String> = "type" ["string", flags::text];
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "inspect";
    const ABOUT: &'static str = "Return low-level information on Corten objects";
    const USAGE: &'static str = "[OPTIONS] NAME|ID [NAME|ID...]";
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let (size, kind) = (self.size, self.kind.as_deref().unwrap_or_default());
        let missing = |name: &str| match kind {
            "" => Report::user(format!("No such object: {name}")),
            kind => Report::user(format!("No such {kind}: {name}")),
        };
        if !matches!(kind, "" | "container" | "image" | "volume") {
            return Err(Report::user(format!("{kind:?} is not a valid value for --type"))
                .hint("there are container, image and volume"));
        }
        show(cx, &args, self.format.as_deref(), |cx, name| {
            let engine = cx.engine()?;
            let mut found = None;
            if matches!(kind, "" | "container") {
                found = engine.inspect_container(name, size)?;
            }
            if found.is_none() && matches!(kind, "" | "image") {
                found = engine.inspect_image(name, None)?;
            }
            if found.is_none() && matches!(kind, "" | "volume") {
                found = engine.inspect_volume(name)?;
            }
            found.ok_or_else(|| missing(name))
        })
    }
}

/// Inspects one after the other. What was found is shown, then the first failure.
pub(super) fn show(
    cx: &mut Context<'_>,
    names: &[String],
    format: Option<&str>,
    mut inspect: impl FnMut(&mut Context<'_>, &str) -> Result<Value, Report>,
) -> Result<u8, Report> {
    let failed = |error: crate::format::TemplateError| Report::user(error.to_string());
    let template = match format.unwrap_or_default() {
        "" => None,
        "json" => Some(Template::parse("{{json .}}").map_err(failed)?),
        text => Some(Template::parse(text).map_err(failed)?),
    };
    let mut found = Vec::new();
    let mut failure: Option<Report> = None;
    for name in names {
        match inspect(cx, name) {
            Ok(value) => found.push(value),
            Err(report) => match &mut failure {
                None => failure = Some(report),
                Some(first) => first.message = format!("{}\n{}", first.message, report.message),
            },
        }
    }
    match template {
        None => writeln!(cx.stdout, "{}", indented(&found.into()))?,
        Some(template) => {
            for value in &found {
                let text = template.execute(value, Missing::Key).map_err(failed)?;
                writeln!(cx.stdout, "{text}")?;
            }
        }
    }
    failure.map_or(Ok(0), Err)
}

/// JSON with four spaces, as Docker indents it.
pub(super) fn indented(value: &Value) -> String {
    use serde::Serialize;
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    match value.serialize(&mut serializer) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        Err(_) => value.to_string(),
    }
}
