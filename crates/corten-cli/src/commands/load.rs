//! `corten load`: images from an archive.

use std::path::PathBuf;

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::{Load, Loaded};
use crate::flags::{self, flags};
use crate::report::Report;
use crate::values;

flags! {
    pub(crate) struct Args {
        /// Read from tar archive file or directory, instead of STDIN
        input: Option<PathBuf> = "input" 'i' ["string", flags::path];
        /// Load only the given platform variant (e.g., "linux/amd64")
        platform: Vec<Vec<String>> = "platform" ["string", values::commas];
        /// Suppress the load output
        quiet: bool = "quiet" 'q';
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "load";
    const ABOUT: &'static str = "Load an image from a tar archive or STDIN";
    const USAGE: &'static str = "[OPTIONS]";
    const ALIASES: &'static [&'static str] = &["corten image load", "corten load"];
    const AFTER_HELP: &'static str = "An archive or directory in Docker's form or as an OCI layout.\n\nExamples:\n  \
                                      corten load -i image.tar\n  corten load < image.tar.gz";

    fn execute(self, _args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let input = self.input.filter(|path| path.as_os_str() != "-");
        if input.is_none() && cx.stdin_is_terminal() {
            return Err(Report::user("requested load from stdin, but stdin is empty"));
        }
        let request = Load { input, platforms: self.platform.concat(), quiet: self.quiet };
        for loaded in cx.engine()?.load(request)? {
            match loaded {
                Loaded::Tagged(reference) => writeln!(cx.stdout, "Loaded image: {reference}")?,
                Loaded::Untagged(id) => writeln!(cx.stdout, "Loaded image ID: {id}")?,
            }
        }
        Ok(0)
    }
}
