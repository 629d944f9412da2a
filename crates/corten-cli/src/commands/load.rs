//! `corten load`: images from an archive.

use std::path::PathBuf;

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::{Load, Loaded};
use crate::report::Report;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Read from tar archive file or directory, instead of STDIN
    #[arg(short, long, value_name = "string")]
    input: Option<PathBuf>,
    /// Load only the given platform variant (e.g., "linux/amd64")
    #[arg(long, value_name = "string", value_delimiter = ',')]
    platform: Vec<String>,
    /// Suppress the load output
    #[arg(short, long)]
    quiet: bool,
}

impl Subcommand for Args {
    const NAME: &'static str = "load";
    const ABOUT: &'static str = "Load an image from a tar archive or STDIN";
    const USAGE: &'static str = "[OPTIONS]";
    const ALIASES: &'static [&'static str] = &["corten image load", "corten load"];

    fn execute(self, cx: &mut Context<'_>) -> Result<u8, Report> {
        let input = self.input.filter(|path| path.as_os_str() != "-");
        if input.is_none() && cx.stdin_is_terminal {
            return Err(Report::user("requested load from stdin, but stdin is empty"));
        }
        let request = Load { input, platforms: self.platform, quiet: self.quiet };
        for loaded in cx.engine()?.load(request)? {
            match loaded {
                Loaded::Tagged(reference) => writeln!(cx.stdout, "Loaded image: {reference}")?,
                Loaded::Untagged(id) => writeln!(cx.stdout, "Loaded image ID: {id}")?,
            }
        }
        Ok(0)
    }
}
