//! `corten run`: a container from an image, started.

use std::ops::RangeInclusive;

use clap::{ArgMatches, Command};

use crate::command::Subcommand;
use crate::container_flags::ContainerFlags;
use crate::context::Context;
use crate::engine_api::{RunOptions, RunOutcome};
use crate::refused;
use crate::report::{ENGINE_FAILED, Report};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    container: ContainerFlags,
    /// Run container in background and print container ID
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string")]
    detach_keys: Option<String>,
    /// Skip image verification (default true)
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = crate::values::switch
    )]
    disable_content_trust: Option<bool>,
    /// Print what would be done as a shell script, with a comment a step, and start nothing
    #[arg(long)]
    explain: bool,
    /// Proxy received signals to the process (default true)
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = crate::values::switch
    )]
    sig_proxy: Option<bool>,
    /// What follows IMAGE is the container's command, flags and all.
    #[arg(value_name = "IMAGE [COMMAND] [ARG...]", trailing_var_arg = true)]
    args: Vec<String>,
}

impl Subcommand for Args {
    const NAME: &'static str = "run";
    const ABOUT: &'static str = "Create and run a new container from an image";
    const USAGE: &'static str = "[OPTIONS] IMAGE [COMMAND] [ARG...]";
    const ALIASES: &'static [&'static str] = &["corten container run", "corten run"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;
    const FAILURE: u8 = ENGINE_FAILED;
    const AFTER_HELP: &'static str = "The image name `host` stands for this machine's own programs, read-only \
                                      under a layer\nthat is thrown away. -v takes nomap for a mount that keeps the \
                                      host's ids.";

    fn extend(command: Command) -> Command {
        refused::add(command)
    }

    fn refuse(matches: &ArgMatches) -> Result<(), Report> {
        refused::check(matches)
    }

    fn execute(self, cx: &mut Context<'_>) -> Result<u8, Report> {
        let refuse = |text: &str| Report::user(text).status(ENGINE_FAILED);
        if self.disable_content_trust == Some(false) {
            return Err(refuse("--disable-content-trust=false is refused: there is no content trust"));
        }
        let flags = self.container;
        if self.detach && !flags.attach.is_empty() {
            return Err(refuse("conflicting options: cannot specify both --attach and --detach"));
        }
        if flags.interactive && flags.tty && !self.detach && !self.explain && !cx.stdin_is_terminal {
            return Err(refuse("the input device is not a TTY"));
        }
        if let Some(file) = flags.cidfile.as_ref().filter(|file| file.exists()) {
            return Err(refuse(&format!(
                "container ID file found, make sure the other container isn't running or delete {}",
                file.display()
            )));
        }
        let options = RunOptions {
            detach: self.detach,
            explain: self.explain,
            pull: flags.pull.unwrap_or_default(),
            quiet: flags.quiet,
            cidfile: flags.cidfile.clone(),
            sig_proxy: self.sig_proxy.unwrap_or(true),
            detach_keys: self.detach_keys,
        };
        let config = flags.into_config(self.args, cx)?;
        match cx.engine()?.run(config, options)? {
            RunOutcome::Exited(code) => Ok(code),
            RunOutcome::Started(id) => {
                writeln!(cx.stdout, "{id}")?;
                Ok(0)
            }
            RunOutcome::Explained(script) => {
                cx.stdout.write_all(script.as_bytes())?;
                Ok(0)
            }
        }
    }
}
