//! `corten top`: the processes of a container.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::flags::flags;
use crate::report::Report;

flags! {
    pub(crate) struct Args {}
}

impl Subcommand for Args {
    const NAME: &'static str = "top";
    const ABOUT: &'static str = "Display the running processes of a container";
    const USAGE: &'static str = "CONTAINER [ps OPTIONS]";
    const ALIASES: &'static [&'static str] = &["corten container top", "corten top"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;
    /// What follows CONTAINER is for ps.
    const INTERSPERSED: bool = false;
    const AFTER_HELP: &'static str =
        "Without options the columns are those of `ps -ef`; with options the host's ps is run.";

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let Some((name, options)) = args.split_first() else { return Ok(0) };
        let top = cx.engine()?.top(name, options)?;
        let rows: Vec<&Vec<String>> = std::iter::once(&top.titles).chain(&top.processes).collect();
        // As Docker's: at least 20 wide, 3 apart, nothing behind the last.
        let width = |nth: usize| {
            let widths = rows.iter().filter_map(|row| row.get(nth)).map(|cell| cell.chars().count() + 3);
            widths.max().unwrap_or(0).max(20)
        };
        let widths: Vec<usize> = (0..top.titles.len()).map(width).collect();
        for row in &rows {
            let mut line = String::new();
            for (nth, cell) in row.iter().enumerate() {
                let harmless: String = cell.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
                match widths.get(nth) {
                    Some(width) if nth + 1 < row.len() => line.push_str(&format!("{harmless:<width$}")),
                    _ => line.push_str(&harmless),
                }
            }
            writeln!(cx.stdout, "{line}")?;
        }
        Ok(0)
    }
}
