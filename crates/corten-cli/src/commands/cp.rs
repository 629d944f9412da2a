//! `corten cp`: files into a container and out of it.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::{Copy, CopyDirection};
use crate::flags::flags;
use crate::format::human;
use crate::report::Report;
use crate::values;

flags! {
    pub(crate) struct Args {
        /// Archive mode (copy all uid/gid information)
        archive: bool = "archive" 'a';
        /// Always follow symbol link in SRC_PATH
        follow_link: bool = "follow-link" 'L';
        /// Suppress progress output during copy. Progress output is automatically suppressed if no terminal is
        /// attached
        quiet: Option<bool> = "quiet" 'q' (values::switch);
    }
}

/// How often the progress of a long copy is shown anew.
const INTERVAL: Duration = Duration::from_millis(200);

impl Subcommand for Args {
    const NAME: &'static str = "cp";
    const ABOUT: &'static str = "Copy files/folders between a container and the local filesystem";
    const USAGE: &'static str =
        "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tcorten cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH";
    const ALIASES: &'static [&'static str] = &["corten container cp", "corten cp"];
    const ARGUMENTS: RangeInclusive<usize> = 2..=2;
    const AFTER_HELP: &'static str = "Use '-' as the source to read a tar archive from stdin and extract it to a \
                                      directory\ndestination in a container. Use '-' as the destination to stream a \
                                      tar archive of a\ncontainer source to stdout.";

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        for (what, arg) in [("source", &args[0]), ("destination", &args[1])] {
            if arg.is_empty() {
                return Err(Report::user(format!("{what} can not be empty")));
            }
        }
        let (from, to) = (split(&args[0]), split(&args[1]));
        let (direction, name, inside, local) = match (from, to) {
            (Some((name, path)), None) => (CopyDirection::Out, name, path, &args[1]),
            (None, Some((name, path))) => (CopyDirection::In, name, path, &args[0]),
            (Some(_), Some(_)) => {
                return Err(Report::user("copying between containers is not supported"));
            }
            (None, None) => return Err(Report::user("must specify at least one container source")),
        };
        let stream = local == "-";
        let terminal = rustix::termios::isatty(rustix::stdio::stdout());
        let quiet = self.quiet.unwrap_or(!terminal) || stream;
        let copy = Copy {
            direction,
            container: name.to_owned(),
            path: PathBuf::from(inside),
            local: (!stream).then(|| PathBuf::from(local)),
            archive: self.archive,
            follow_link: self.follow_link,
        };
        let header = match direction {
            CopyDirection::Out => "Copying from container - ",
            CopyDirection::In => "Copying to container - ",
        };
        let live = !quiet && rustix::termios::isatty(rustix::stdio::stderr());
        let mut shown: Option<Instant> = None;
        let started = Instant::now();
        let mut progress = |bytes: u64| {
            let now = Instant::now();
            if live && now - shown.unwrap_or(started) >= INTERVAL {
                shown = Some(now);
                // A terminal that takes nothing does not keep the copy from going on.
                let line = format!("\r\x1b[K{header}{}", human::size(bytes));
                let _gone = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
            }
        };
        let copied = cx.engine()?.copy(&copy, &mut progress);
        if shown.is_some() {
            write!(cx.stderr, "\r\x1b[K")?;
        }
        let copied = copied?;
        if copied.devices_left > 0 {
            writeln!(
                cx.stderr,
                "corten: {} device nodes were left out; -a makes them, for root",
                copied.devices_left
            )?;
        }
        if !quiet {
            let to = match direction {
                CopyDirection::Out => local.clone(),
                CopyDirection::In => format!("{name}:{inside}"),
            };
            writeln!(cx.stderr, "Successfully copied {} to {to}", human::size(copied.bytes))?;
        }
        Ok(0)
    }
}

/// `CONTAINER:PATH`; what begins with a slash or a dot is a path of this machine.
fn split(arg: &str) -> Option<(&str, &str)> {
    if arg.starts_with('/') {
        return None;
    }
    let (name, path) = arg.split_once(':')?;
    (!name.starts_with('.')).then_some((name, path))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn what_names_a_container() {
        assert_eq!(split("web:/etc"), Some(("web", "/etc")));
        assert_eq!(split("web:a:b"), Some(("web", "a:b")));
        for local in ["/a:b", "./a:b", "../a:b", "a", "-"] {
            assert_eq!(split(local), None, "{local}");
        }
    }
}
