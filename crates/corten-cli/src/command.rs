//! A command: its flags, its help, its function, and how a command line becomes a call.
//!
//! Only the command that was named is built; the tables in [`crate::commands`] hold functions, not
//! `clap::Command`s. Parsing follows pflag, Docker's flag library: flags end at the first argument where
//! the command says so, a later flag replaces an earlier one, switches take `=false`.

use std::ffi::OsString;
use std::ops::RangeInclusive;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::context::Context;
use crate::report::{ENGINE_FAILED, Report};
use crate::values;

/// One file of `commands/`.
pub(crate) trait Subcommand: clap::Args {
    const NAME: &'static str;
    /// One line, as the list of commands shows it.
    const ABOUT: &'static str;
    /// What follows the command's path in "Usage:".
    const USAGE: &'static str;
    /// Every way to call it, if there are several.
    const ALIASES: &'static [&'static str] = &[];
    /// How many arguments it takes.
    const ARGUMENTS: RangeInclusive<usize> = 0..=0;
    /// What goes wrong in it ends with this exit code.
    const FAILURE: u8 = 1;
    /// What `--help` says below the flags.
    const AFTER_HELP: &'static str = "";

    /// Flags that the Args do not have.
    fn extend(command: Command) -> Command {
        command
    }

    /// Flags that exist but cannot be used.
    fn refuse(_matches: &ArgMatches) -> Result<(), Report> {
        Ok(())
    }

    fn execute(self, cx: &mut Context<'_>) -> Result<u8, Report>;
}

/// A [`Subcommand`] as data.
pub(crate) struct Entry {
    pub name: &'static str,
    pub about: &'static str,
    pub usage: &'static str,
    pub aliases: &'static [&'static str],
    pub after_help: &'static str,
    pub hidden: bool,
    pub build: fn() -> Command,
    pub run: fn(&str, &[OsString], &mut Context<'_>) -> Result<u8, Report>,
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
            build: build::<S>,
            run: run::<S>,
        }
    }

    pub(crate) const fn hide(mut self) -> Self {
        self.hidden = true;
        self
    }
}

/// The command with pflag's habits.
fn build<S: Subcommand>() -> Command {
    let command = Command::new(S::NAME)
        .about(S::ABOUT)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .no_binary_name(true)
        .args_override_self(true);
    let command = S::extend(S::augment_args(command));
    let mut has_h = false;
    let command = command.mut_args(|arg| {
        has_h |= arg.get_short() == Some('h');
        pflag(arg)
    });
    let help = Arg::new("help").long("help").action(ArgAction::Help).help("Print usage").hide(true);
    command.arg(if has_h { help } else { help.short('h') })
}

/// Switches take `=false`; values may look like flags.
fn pflag(arg: Arg) -> Arg {
    match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .hide_default_value(true)
            .value_parser(ValueParser::from(values::switch as fn(&str) -> Result<bool, String>)),
        ArgAction::Set | ArgAction::Append if !arg.is_positional() => arg.allow_hyphen_values(true),
        _ => arg,
    }
}

/// `path` is how the command was called: `corten container ls`.
fn run<S: Subcommand>(path: &str, args: &[OsString], cx: &mut Context<'_>) -> Result<u8, Report> {
    let mut matches = match build::<S>().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            let text = crate::help::command(path, &Entry::of::<S>(), cx.columns);
            cx.stdout.write_all(text.as_bytes())?;
            return Ok(0);
        }
        Err(error) => return Err(usage_error(&build::<S>(), path, args, &error)),
    };
    let count = matches.try_get_raw("args").ok().flatten().map_or(0, |values| values.count());
    if !S::ARGUMENTS.contains(&count) {
        return Err(wrong_count(path, S::USAGE, &S::ARGUMENTS));
    }
    S::refuse(&matches).map_err(|report| report.see(path))?;
    let parsed = match S::from_arg_matches_mut(&mut matches) {
        Ok(parsed) => parsed,
        Err(error) => return Err(usage_error(&build::<S>(), path, args, &error)),
    };
    parsed.execute(cx).map_err(|mut report| {
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

/// clap's error in pflag's words.
fn usage_error(command: &Command, path: &str, args: &[OsString], error: &clap::Error) -> Report {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let given = text(ContextKind::InvalidArg).unwrap_or_default();
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    let report = match error.kind() {
        ErrorKind::UnknownArgument if given.starts_with("--") => {
            let name = given.split_once('=').map_or(given.as_str(), |(name, _)| name);
            let report = Report::user(format!("unknown flag: {name}"));
            match text(ContextKind::SuggestedArg) {
                Some(flag) => report.hint(format!("did you mean {flag}?")),
                None => report,
            }
        }
        ErrorKind::UnknownArgument if given.starts_with('-') && given.len() > 1 => {
            let letter = given.chars().nth(1).unwrap_or('-');
            Report::user(format!("unknown shorthand flag: {letter:?} in {given}"))
        }
        ErrorKind::UnknownArgument => {
            let usage = command.clone().render_usage().to_string();
            return wrong_count(path, usage.trim_start_matches("Usage: "), &(0..=0));
        }
        ErrorKind::InvalidValue if value.is_empty() => {
            let last = args.last().map(|word| word.to_string_lossy()).unwrap_or_default();
            match last.chars().last().filter(|_| !last.starts_with("--")) {
                Some(letter) if last.len() > 1 => {
                    Report::user(format!("flag needs an argument: {letter:?} in {last}"))
                }
                _ => Report::user(format!("flag needs an argument: {}", flag_word(&given))),
            }
        }
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let source = std::error::Error::source(error).map_or_else(String::new, ToString::to_string);
            values::invalid(&flag_names(command, &given), &value, source)
        }
        ErrorKind::NoEquals => Report::user(format!("flag needs an argument: {}", flag_word(&given))),
        ErrorKind::InvalidUtf8 => Report::user("an argument is not valid UTF-8"),
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            Report::user(first.trim_start_matches("error: "))
        }
    };
    report.see(path).status(ENGINE_FAILED)
}

/// `--memory` of clap's `--memory <bytes>`.
fn flag_word(given: &str) -> &str {
    given.split([' ', '=', '[']).next().unwrap_or(given)
}

/// `-m, --memory`, as pflag names a flag that has both.
fn flag_names(command: &Command, given: &str) -> String {
    let word = flag_word(given);
    let found = command.get_arguments().find(|arg| {
        word.strip_prefix("--").is_some_and(|long| arg.get_long() == Some(long))
            || word.strip_prefix('-').is_some_and(|short| {
                arg.get_short().is_some_and(|letter| short.starts_with(letter) && short.len() == 1)
            })
    });
    match found.map(|arg| (arg.get_short(), arg.get_long())) {
        Some((Some(short), Some(long))) => format!("-{short}, --{long}"),
        Some((None, Some(long))) => format!("--{long}"),
        _ => word.to_owned(),
    }
}
