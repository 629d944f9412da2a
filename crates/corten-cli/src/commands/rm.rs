//! `corten rm`: containers, gone.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::RemoveContainer;
use crate::report::{ENGINE_FAILED, Report};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    /// Remove the specified link
    #[arg(short, long)]
    link: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    volumes: bool,
    #[arg(value_name = "CONTAINER")]
    args: Vec<String>,
}

impl Subcommand for Args {
    const NAME: &'static str = "rm";
    const ABOUT: &'static str = "Remove one or more containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ALIASES: &'static [&'static str] = &["corten container rm", "corten container remove", "corten rm"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;

    fn execute(self, cx: &mut Context<'_>) -> Result<u8, Report> {
        if self.link {
            return Err(Report::user("--link is refused: there are no links").status(ENGINE_FAILED));
        }
        let options = RemoveContainer { force: self.force, volumes: self.volumes };
        let removed: Vec<_> = self.args;
        super::each(cx, &removed, |cx, name| {
            cx.engine()?.remove_container(name, options)?;
            writeln!(cx.stdout, "{name}")?;
            Ok(())
        })
    }
}
