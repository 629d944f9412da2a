//! `corten create`: a container from an image, not started.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::container_flags::ContainerFlags;
use crate::context::Context;
use crate::engine_api::RunOptions;
use crate::flags::{Refused, flags};
use crate::refused;
use crate::report::Report;
use crate::values::switch;

flags! {
    pub(crate) struct Args {
        ..container: ContainerFlags;
        /// Skip image verification (default true)
        disable_content_trust: Option<bool> = "disable-content-trust" (switch);
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "create";
    const ABOUT: &'static str = "Create a new container";
    const USAGE: &'static str = "[OPTIONS] IMAGE [COMMAND] [ARG...]";
    const ALIASES: &'static [&'static str] = &["corten container create", "corten create"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;
    /// What follows IMAGE is the container's command, flags and all.
    const INTERSPERSED: bool = false;
    const REFUSED: &'static [Refused] = refused::REFUSED;
    const NOT_YET: &'static [(&'static str, &'static str)] = refused::NOT_YET;
    const FAILURE: u8 = 1;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        if self.disable_content_trust == Some(false) {
            return Err(Report::user("--disable-content-trust=false is refused: there is no content trust"));
        }
        let flags = self.container;
        if let Some(file) = flags.cidfile.as_ref().filter(|file| file.exists()) {
            return Err(Report::user(format!(
                "container ID file found, make sure the other container isn't running or delete {}",
                file.display()
            )));
        }
        let options = RunOptions {
            pull: flags.pull.unwrap_or_default(),
            quiet: flags.quiet,
            cidfile: flags.cidfile.clone(),
            ..RunOptions::default()
        };
        let config = flags.into_config(args, cx)?;
        let id = cx.engine()?.create(config, options)?;
        writeln!(cx.stdout, "{id}")?;
        Ok(0)
    }
}
