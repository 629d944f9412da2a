//! `corten export`: a container's root file system as tar.

use std::fs::File;
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::command::Subcommand;
use crate::context::Context;
use crate::flags::{self, flags};
use crate::report::Report;

flags! {
    pub(crate) struct Args {
        /// Write to a file, instead of STDOUT
        output: Option<PathBuf> = "output" 'o' ["string", flags::path];
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "export";
    const ABOUT: &'static str = "Export a container's filesystem as a tar archive";
    const USAGE: &'static str = "[OPTIONS] CONTAINER";
    const ALIASES: &'static [&'static str] = &["corten container export", "corten export"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=1;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let Some(path) = self.output.filter(|path| !path.as_os_str().is_empty()) else {
            if rustix::termios::isatty(rustix::stdio::stdout()) {
                return Err(Report::user(
                    "cowardly refusing to save to a terminal. Use the -o flag or redirect",
                ));
            }
            let out = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)
                .map_err(|errno| Report::host("cannot write to standard output").cause(errno))?;
            cx.engine()?.export(&args[0], out)?;
            return Ok(0);
        };
        // Written beside and renamed: no half of an archive is taken for one.
        let failed = |what: &str, error: std::io::Error| {
            Report::user(format!("failed to export container: {what} {}", path.display())).cause(error)
        };
        if path.exists() && !path.is_file() {
            let file = File::options().write(true).open(&path).map_err(|error| failed("open", error))?;
            cx.engine()?.export(&args[0], file.into())?;
            return Ok(0);
        }
        let beside = beside(&path);
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)
            .map_err(|error| failed("create", error))?;
        let copy = file.as_fd().try_clone_to_owned().map_err(|error| failed("open", error))?;
        let done = cx
            .engine()?
            .export(&args[0], copy)
            .and_then(|()| std::fs::rename(&beside, &path).map_err(|error| failed("rename", error)));
        if done.is_err() {
            // The failure itself is what is reported.
            let _left = std::fs::remove_file(&beside);
        }
        done.map(|()| 0)
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".tmp-");
    name.push(path.file_name().unwrap_or_default());
    name.push(std::process::id().to_string());
    path.with_file_name(name)
}
