//! `corten import`: an image from a root filesystem.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::Import;
use crate::report::Report;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "list")]
    change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long, value_name = "string")]
    message: Option<String>,
    /// Set platform of the imported image
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    #[arg(value_name = "file|- [REPOSITORY[:TAG]]")]
    args: Vec<String>,
}

impl Subcommand for Args {
    const NAME: &'static str = "import";
    const ABOUT: &'static str = "Import the contents from a tarball to create a filesystem image";
    const USAGE: &'static str = "[OPTIONS] file|- [REPOSITORY[:TAG]]";
    const ALIASES: &'static [&'static str] = &["corten image import", "corten import"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=2;

    fn execute(self, cx: &mut Context<'_>) -> Result<u8, Report> {
        let mut args = self.args.into_iter();
        let file = args.next().filter(|file| file != "-");
        if let Some(url) = file.as_deref().filter(|f| f.starts_with("http://") || f.starts_with("https://")) {
            return Err(Report::user(format!("cannot import {url}: URLs are not supported yet"))
                .hint(format!("curl -fsSL {url} | corten import -")));
        }
        if file.is_none() && cx.stdin_is_terminal {
            return Err(
                Report::user("refusing to read a tar from a terminal").hint("corten import - < rootfs.tar")
            );
        }
        let request = Import {
            file: file.map(PathBuf::from),
            reference: args.next(),
            changes: self.change,
            message: self.message,
            platform: self.platform,
        };
        let id = cx.engine()?.import(request)?;
        writeln!(cx.stdout, "{id}")?;
        Ok(0)
    }
}
