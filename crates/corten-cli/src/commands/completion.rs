//! `corten completion SHELL`: a completion script on standard output.

use std::ops::RangeInclusive;

use clap_complete::Shell;

use crate::command::Subcommand;
use crate::context::Context;
use crate::flags::flags;
use crate::report::Report;

flags! {
    pub(crate) struct Args {

    }
}

impl Subcommand for Args {
    const NAME: &'static str = "completion";
    const ABOUT: &'static str = "Generate the autocompletion script for bash, zsh or fish";
    const USAGE: &'static str = "bash|zsh|fish";
    const ARGUMENTS: RangeInclusive<usize> = 1..=1;
    const AFTER_HELP: &'static str = "For this shell:  source <(corten completion bash)";

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let shell = match args[0].as_str() {
            "bash" => Shell::Bash,
            "zsh" => Shell::Zsh,
            "fish" => Shell::Fish,
            other => {
                return Err(Report::user(format!("no completions for {other:?}"))
                    .hint("there are bash, zsh and fish"));
            }
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut super::tree(), "corten", &mut script);
        cx.stdout.write_all(&script)?;
        Ok(0)
    }
}
