//! `corten import`: an image from a root filesystem.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::Import;
use crate::flags::{self, flags};
use crate::report::Report;

flags! {
    pub(crate) struct Args {
        /// Apply Dockerfile instruction to the created image
        change: Vec<String> = "change" 'c' ["list", flags::text];
        /// Set commit message for imported image
        message: Option<String> = "message" 'm' ["string", flags::text];
        /// Set platform of the imported image
        platform: Option<String> = "platform" ["string", flags::text];
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "import";
    const ABOUT: &'static str = "Import the contents from a tarball to create a filesystem image";
    const USAGE: &'static str = "[OPTIONS] file|- [REPOSITORY[:TAG]]";
    const ALIASES: &'static [&'static str] = &["corten image import", "corten import"];
    const AFTER_HELP: &'static str = "Examples:\n  tar -C rootfs -c . | corten import - busybox\n  \
                                      corten import --change 'CMD [\"sh\"]' rootfs.tar.gz busybox:1";
    const ARGUMENTS: RangeInclusive<usize> = 1..=2;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let mut args = args.into_iter();
        let file = args.next().filter(|file| file != "-");
        if let Some(url) = file.as_deref().filter(|f| f.starts_with("http://") || f.starts_with("https://")) {
            return Err(Report::user(format!("cannot import {url}: URLs are not supported yet"))
                .hint(format!("curl -fsSL {url} | corten import -")));
        }
        if file.is_none() && cx.stdin_is_terminal() {
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
