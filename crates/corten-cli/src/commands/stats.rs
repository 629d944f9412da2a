//! `corten stats`: what containers use, once or again each second.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::ContainerUsage;
use crate::flags::{self, flags};
use crate::format::{human, table};
use crate::report::Report;

flags! {
    pub(crate) struct Args {
        /// Show all containers (default shows just running)
        all: bool = "all" 'a';
        /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE' (Go's)
        format: Option<String> = "format" ["string", flags::text];
        /// Disable streaming stats and only pull the first result
        no_stream: bool = "no-stream";
        /// Do not truncate output
        no_trunc: bool = "no-trunc";
    }
}

const COLUMNS: table::Columns = table::Columns {
    headers: &[
        ("BlockIO", "BLOCK I/O"),
        ("CPUPerc", "CPU %"),
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("MemPerc", "MEM %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("Name", "NAME"),
        ("NetIO", "NET I/O"),
        ("PIDs", "PIDS"),
    ],
    go_type: "*container.statsContext",
};

const DEFAULT: &str =
    "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

/// How long CPU time is counted for one line, and how often there is a new one.
const PERIOD: Duration = Duration::from_secs(1);

/// When it was read, and the CPU time of each container, by id, until then.
struct Reading {
    at: Instant,
    cpu_ns: BTreeMap<String, u64>,
    rows: Vec<ContainerUsage>,
}

impl Subcommand for Args {
    const NAME: &'static str = "stats";
    const ABOUT: &'static str = "Display a live stream of container(s) resource usage statistics";
    const USAGE: &'static str = "[OPTIONS] [CONTAINER...]";
    const ALIASES: &'static [&'static str] = &["corten container stats", "corten stats"];
    const ARGUMENTS: RangeInclusive<usize> = 0..=usize::MAX;
    const AFTER_HELP: &'static str = "-- stands for what no cgroup counts.\n\nExamples:\n  corten stats --no-stream\n  \
                                      corten stats --format '{{.Name}} {{.CPUPerc}} {{.MemUsage}}' web";

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let format = self.format.as_deref().unwrap_or_default();
        let table = format.is_empty() || format == "table" || format.starts_with("table ");
        let mut before = self.read(&args, cx)?;
        loop {
            if !before.rows.iter().all(|one| one.usage.is_none()) || !self.no_stream {
                std::thread::sleep(PERIOD.saturating_sub(before.at.elapsed()));
            }
            let now = match self.read(&args, cx) {
                Ok(now) => now,
                // The last of those that were asked for is gone.
                Err(_) if !self.no_stream && !args.is_empty() => return Ok(0),
                Err(report) => return Err(report),
            };
            let rows: Vec<Value> = now.rows.iter().map(|one| self.row(one, &before, now.at)).collect();
            let text = table::render(format, DEFAULT, &COLUMNS, &rows)
                .map_err(|error| Report::user(error.to_string()))?;
            if self.no_stream {
                cx.stdout.write_all(text.as_bytes())?;
                return Ok(0);
            }
            if table {
                // From the top of the screen, the rest of each line and of the screen cleared.
                let lines: String = text.lines().map(|line| format!("{line}\x1b[K\n")).collect();
                write!(cx.stdout, "\x1b[H{lines}\x1b[J")?;
            } else {
                cx.stdout.write_all(text.as_bytes())?;
            }
            cx.stdout.flush()?;
            before = now;
        }
    }
}

impl Args {
    fn read(&self, names: &[String], cx: &mut Context<'_>) -> Result<Reading, Report> {
        let at = Instant::now();
        let rows = cx.engine()?.usage(names, self.all)?;
        let cpu = |one: &ContainerUsage| Some((one.id.clone(), one.usage.as_ref()?.cpu_ns?));
        Ok(Reading { at, cpu_ns: rows.iter().filter_map(cpu).collect(), rows })
    }

    fn row(&self, one: &ContainerUsage, before: &Reading, now: Instant) -> Value {
        let id = if self.no_trunc { &one.id } else { human::short_id(&one.id) };
        let usage = match &one.usage {
            Some(usage) => usage.clone(),
            // As Docker shows one that does not run.
            None => corten_engine::stats::Usage {
                cpu_ns: Some(0),
                memory_bytes: Some(0),
                memory_limit_bytes: Some(0),
                block_bytes: Some((0, 0)),
                pids: Some(0),
                ..Default::default()
            },
        };
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "--".to_owned());
        let elapsed_ns = now.duration_since(before.at).as_nanos().max(1) as f64;
        let percent =
            |part: f64, whole: f64| format!("{:.2}%", if whole > 0.0 { part * 100.0 / whole } else { 0.0 });
        let cpu = usage.cpu_ns.map(|cpu| {
            // One that was not there before has used what it has used since.
            let earlier = before.cpu_ns.get(&one.id).copied().unwrap_or(cpu);
            percent(cpu.saturating_sub(earlier) as f64, elapsed_ns)
        });
        let memory = usage.memory_bytes.zip(usage.memory_limit_bytes);
        let pair = |(one, other)| format!("{} / {}", human::size3(one), human::size3(other));
        json!({
            "BlockIO": or_none(usage.block_bytes.map(pair)),
            "CPUPerc": or_none(cpu),
            "Container": one.asked,
            "ID": id,
            "MemPerc": or_none(memory.map(|(used, limit)| percent(used as f64, limit as f64))),
            "MemUsage": match memory {
                Some((used, limit)) => format!("{} / {}", human::bytes_size(used), human::bytes_size(limit)),
                None => "-- / --".to_owned(),
            },
            "Name": one.name,
            "NetIO": pair(usage.network_bytes),
            "PIDs": or_none(usage.pids.map(|pids| pids.to_string())),
        })
    }
}
