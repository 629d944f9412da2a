//! `corten rmi`: images, gone.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::{ImageRemoval, RemoveImage};
use crate::flags::flags;
use crate::report::Report;
use crate::values;

flags! {
    pub(crate) struct Args {
        /// Force removal of the image
        force: bool = "force" 'f';
        /// Do not delete untagged parents
        no_prune: bool = "no-prune";
        /// Remove only the given platform variant (`os[/arch[/variant]]`, comma-separated list of platforms)
        platform: Vec<Vec<String>> = "platform" ["strings", values::commas];
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "rmi";
    const ABOUT: &'static str = "Remove one or more images";
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const ALIASES: &'static [&'static str] = &["corten image rm", "corten image remove", "corten rmi"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let options =
            RemoveImage { force: self.force, no_prune: self.no_prune, platforms: self.platform.concat() };
        super::each_to_remove(cx, &args, self.force, |cx, name| {
            for removal in cx.engine()?.remove_image(name, &options)? {
                match removal {
                    ImageRemoval::Untagged(reference) => writeln!(cx.stdout, "Untagged: {reference}")?,
                    ImageRemoval::Deleted(id) => writeln!(cx.stdout, "Deleted: {id}")?,
                }
            }
            Ok(())
        })
    }
}
