//! `corten rm`: containers, gone.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::RemoveContainer;
use crate::flags::flags;
use crate::report::{ENGINE_FAILED, Report};

flags! {
    pub(crate) struct Args {
        /// Force the removal of a running container (uses SIGKILL)
        force: bool = "force" 'f';
        /// Remove the specified link
        link: bool = "link" 'l';
        /// Remove anonymous volumes associated with the container
        volumes: bool = "volumes" 'v';
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "rm";
    const ABOUT: &'static str = "Remove one or more containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ALIASES: &'static [&'static str] = &["corten container rm", "corten container remove", "corten rm"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        if self.link {
            return Err(Report::user("--link is refused: there are no links").status(ENGINE_FAILED));
        }
        let options = RemoveContainer { force: self.force, volumes: self.volumes };
        let removed: Vec<_> = args;
        super::each_to_remove(cx, &removed, self.force, |cx, name| {
            cx.engine()?.remove_container(name, options)?;
            writeln!(cx.stdout, "{name}")?;
            Ok(())
        })
    }
}
