//! `corten doctor`: what this machine has, what is there, and what should not be.

use crate::command::Subcommand;
use crate::context::Context;
use crate::flags::flags;
use crate::report::Report;

flags! {
    pub(crate) struct Args {
        /// Print only what no record owns, and fail if there is anything
        assert_clean: bool = "assert-clean";
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "doctor";
    const ABOUT: &'static str =
        "Examine this machine: its features, what is there and why, and what is left over";
    const USAGE: &'static str = "[OPTIONS]";
    const ALIASES: &'static [&'static str] = &["corten system doctor", "corten doctor"];
    const AFTER_HELP: &'static str = "It looks and changes nothing; the next command of any kind collects what is \
                                      left over.\n\nExit status: 0, or 1 if something does not work here, or (with \
                                      --assert-clean) something is left over.";

    fn execute(self, _args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let found = cx.engine()?.doctor()?;
        let left = !found.leftovers.is_empty();
        if self.assert_clean {
            for leftover in &found.leftovers {
                writeln!(cx.stdout, "{leftover}")?;
            }
            return Ok(u8::from(left));
        }
        let width = found.host.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
        for finding in &found.host {
            writeln!(cx.stdout, "{:4} {:width$}  {}", finding.mark, finding.what, finding.text)?;
        }
        for (title, list) in [("under way", &found.live), ("left over", &found.leftovers)] {
            writeln!(cx.stdout, "\n{title}: {}", if list.is_empty() { "nothing" } else { "" })?;
            for line in list {
                writeln!(cx.stdout, "  {line}")?;
            }
        }
        Ok(u8::from(left || found.host.iter().any(|finding| finding.mark == "LACK")))
    }
}
