//! `corten info`: this machine and what corten found on it.

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
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "info";
    const ABOUT: &'static str = "Display system-wide information";
    const USAGE: &'static str = "[OPTIONS]";
    const ALIASES: &'static [&'static str] = &["corten system info", "corten info"];

    fn execute(self, _args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let info = cx.engine()?.info()?;
        let text = match self.format.as_deref().unwrap_or_default() {
            "" => plain(&info),
            format => {
                let source = if format == "json" { "{{json .}}" } else { format };
                let text = Template::parse(source).and_then(|t| t.execute(&info, Missing::Key));
                text.map_err(|error| Report::user(error.to_string()))? + "\n"
            }
        };
        cx.stdout.write_all(text.as_bytes())?;
        Ok(0)
    }
}

/// `Kernel Version: 6.18`, nested values indented.
fn plain(info: &Value) -> String {
    fn add(out: &mut String, name: &str, value: &Value, depth: usize) {
        let indent = " ".repeat(depth);
        match value {
            Value::Object(map) => {
                out.push_str(&format!("{indent}{}:\n", words(name)));
                for (name, value) in map {
                    add(out, name, value, depth + 1);
                }
            }
            Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
                let items: Vec<String> = items.iter().map(scalar).collect();
                out.push_str(&format!("{indent}{}: {}\n", words(name), items.join(" ")));
            }
            Value::Array(items) => {
                out.push_str(&format!("{indent}{}:\n", words(name)));
                for item in items {
                    out.push_str(&format!("{indent} {item}\n"));
                }
            }
            Value::Null => {}
            value => out.push_str(&format!("{indent}{}: {}\n", words(name), scalar(value))),
        }
    }
    let mut out = String::new();
    if let Value::Object(map) = info {
        for (name, value) in map {
            add(&mut out, name, value, 0);
        }
    }
    out
}

fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `KernelVersion` → `Kernel Version`.
fn words(name: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    for c in name.chars() {
        if c.is_uppercase() && before.is_lowercase() {
            out.push(' ');
        }
        out.push(c);
        before = c;
    }
    out
}
