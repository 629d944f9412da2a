//! `corten port`: which ports of a container are published where.

use std::ops::RangeInclusive;

use serde_json::Value;

use crate::command::Subcommand;
use crate::context::Context;
use crate::flags::flags;
use crate::report::Report;

flags! {
    pub(crate) struct Args {}
}

impl Subcommand for Args {
    const NAME: &'static str = "port";
    const ABOUT: &'static str = "List port mappings or a specific mapping for the container";
    const USAGE: &'static str = "CONTAINER [PRIVATE_PORT[/PROTO]]";
    const ALIASES: &'static [&'static str] = &["corten container port", "corten port"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=2;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let missing = || Report::user(format!("No such container: {}", args[0]));
        let document = cx.engine()?.inspect_container(&args[0], false)?.ok_or_else(missing)?;
        let ports = document["NetworkSettings"]["Ports"].as_object().cloned().unwrap_or_default();
        let bindings = |value: &Value| -> Vec<String> {
            let text = |binding: &Value, key: &str| binding[key].as_str().unwrap_or_default().to_owned();
            let address = |ip: String| if ip.contains(':') { format!("[{ip}]") } else { ip };
            value
                .as_array()
                .into_iter()
                .flatten()
                .map(|binding| format!("{}:{}", address(text(binding, "HostIp")), text(binding, "HostPort")))
                .collect()
        };
        let Some(wanted) = args.get(1) else {
            let mut all: Vec<(u16, String)> = Vec::new();
            for (port, value) in &ports {
                let number = port.split('/').next().and_then(|number| number.parse().ok()).unwrap_or(0);
                all.extend(bindings(value).into_iter().map(|to| (number, format!("{port} -> {to}"))));
            }
            all.sort();
            for (_, line) in all {
                writeln!(cx.stdout, "{line}")?;
            }
            return Ok(0);
        };
        let (number, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
        if number.parse::<u16>().is_err() {
            return Err(Report::user(format!("Error: invalid port ({number}): invalid syntax")));
        }
        let key = format!("{number}/{protocol}");
        let found = ports.get(&key).map(bindings).unwrap_or_default();
        if found.is_empty() {
            return Err(Report::user(format!("no public port '{key}' published for {}", args[0])));
        }
        for line in found {
            writeln!(cx.stdout, "{line}")?;
        }
        Ok(0)
    }
}
