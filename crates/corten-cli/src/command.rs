//! A command: its flags, its help, its function, and how a command line becomes a call.

use std::ffi::OsString;
use std::ops::RangeInclusive;

use crate::context::Context;
use crate::flags::{FlagSet, Meta, Parsed, Refused, Rules};
use crate::report::{ENGINE_FAILED, Report};

/// One file of `commands/`. The type holds the flags.
pub(crate) trait Subcommand: FlagSet {
    const NAME: &'static str;
    /// One line, as the list of commands shows it.
    const ABOUT: &'static str;
    /// What follows the command's path in "Usage:".
    const USAGE: &'static str;
    /// Every way to call it, if there are several.
    const ALIASES: &'static [&'static str] = &[];
    /// How many arguments it takes.
    const ARGUMENTS: RangeInclusive<usize> = 0..=0;
    /// Flags may come after arguments.
    const INTERSPERSED: bool = true;
    /// Flags that exist but cannot be used.
    const REFUSED: &'static [Refused] = &[];
    const NOT_YET: &'static [(&'static str, &'static str)] = &[];
    /// What goes wrong in it ends with this exit code.
    const FAILURE: u8 = 1;
    /// What `--help` says below the flags.
    const AFTER_HELP: &'static str = "";

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report>;
}

/// A [`Subcommand`] as data.
pub(crate) struct Entry {
    pub name: &'static str,
    pub about: &'static str,
    pub usage: &'static str,
    pub aliases: &'static [&'static str],
    pub after_help: &'static str,
    pub hidden: bool,
    pub rules: Rules,
    pub metas: fn() -> Vec<&'static Meta>,
    pub run: fn(&str, Vec<String>, &mut Context<'_>) -> Result<u8, Report>,
}

impl Entry {
    pub(crate) const fn of<S: Subcommand>() -> Self {
        Self::named::<S>(S::NAME)
    }

    /// Under another name: `image rm` is `rmi`.
    pub(crate) const fn named<S: Subcommand>(name: &'static str) -> Self {
        Self {
            name,
            about: S::ABOUT,
            usage: S::USAGE,
            aliases: S::ALIASES,
            after_help: S::AFTER_HELP,
            hidden: false,
            rules: rules::<S>(),
            metas: S::metas,
            run: run::<S>,
        }
    }

    pub(crate) const fn hide(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// Runs it; `path` is how it was called: `corten container ls`.
    pub(crate) fn call(&self, path: &str, args: &[OsString], cx: &mut Context<'_>) -> Result<u8, Report> {
        let mut words = Vec::with_capacity(args.len());
        for arg in args {
            let word = arg.to_str().ok_or_else(|| {
                Report::user(format!("an argument is not valid UTF-8: {}", arg.to_string_lossy()))
                    .status(ENGINE_FAILED)
            })?;
            words.push(word.to_owned());
        }
        (self.run)(path, words, cx)
    }

    /// Every flag, in the order of the alphabet, and whether it is refused.
    pub(crate) fn flags(&self) -> Vec<(&'static Meta, bool)> {
        let mut all: Vec<_> = (self.metas)();
        all.extend(self.rules.refused.iter().map(|flag| &flag.meta));
        all.sort_by_key(|meta| meta.long);
        all.into_iter().map(|meta| (meta, self.rules.reason(meta.long).is_some())).collect()
    }
}

const fn rules<S: Subcommand>() -> Rules {
    Rules { interspersed: S::INTERSPERSED, refused: S::REFUSED, not_yet: S::NOT_YET }
}

fn run<S: Subcommand>(path: &str, words: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
    let (flags, args) = match rules::<S>().parse::<S>(words).map_err(|report| report.see(path))? {
        Parsed::Flags(flags, args) => (flags, args),
        Parsed::Help => {
            let text = crate::help::command(path, &Entry::of::<S>(), cx.columns());
            cx.stdout.write_all(text.as_bytes())?;
            return Ok(0);
        }
    };
    if !S::ARGUMENTS.contains(&args.len()) {
        return Err(wrong_count(path, S::USAGE, &S::ARGUMENTS));
    }
    flags.execute(args, cx).map_err(|mut report| {
        // What a flag's value could not mean points to the help, as an unknown flag does.
        if report.status == Some(ENGINE_FAILED) && report.message.starts_with("invalid argument ") {
            report = report.see(path);
        }
        report.status.get_or_insert(S::FAILURE);
        report
    })
}

/// Docker's words for too few or too many arguments.
fn wrong_count(path: &str, usage: &str, wanted: &RangeInclusive<usize>) -> Report {
    let plural = |n: usize| if n == 1 { "argument" } else { "arguments" };
    let message = match (*wanted.start(), *wanted.end()) {
        (0, 0) => format!("'{path}' accepts no arguments"),
        (min, max) if min == max => format!("'{path}' requires {min} {}", plural(min)),
        (min, usize::MAX) => format!("'{path}' requires at least {min} {}", plural(min)),
        (0, max) => format!("'{path}' requires at most {max} {}", plural(max)),
        (min, max) => format!("'{path}' requires at least {min} and at most {max} arguments"),
    };
    Report::user(message).hint(format!("usage: {path} {usage}")).see(path).status(1)
}
