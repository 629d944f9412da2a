//! The tables of commands. One file a command; a command that has two names stands in both tables.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

use crate::command::Entry;
use crate::context::Context;
use crate::flags::{Meta, nearest};
use crate::help;
use crate::report::Report;

mod attach;
mod commit;
mod completion;
mod container_prune;
mod cp;
mod create;
mod diff;
mod doctor;
mod events;
mod exec;
mod export;
mod help_command;
mod history;
mod image_inspect;
mod image_prune;
mod images;
mod import;
mod info;
mod inspect;
mod internal;
mod kill;
mod load;
mod logs;
mod pause;
mod port;
mod ps;
mod rename;
mod restart;
mod rm;
mod rmi;
mod run;
mod start;
mod stats;
mod stop;
mod tag;
mod top;
mod unpause;
mod update;
mod version;
mod volume_create;
mod volume_inspect;
mod volume_ls;
mod volume_prune;
mod volume_rm;
mod wait;

mod container_inspect;

/// `corten container …`.
pub(crate) struct Group {
    pub name: &'static str,
    pub about: &'static str,
    pub entries: &'static [Entry],
}

pub(crate) const ROOT: &[Entry] = &[
    Entry::of::<attach::Args>(),
    Entry::of::<commit::Args>(),
    Entry::of::<completion::Args>(),
    Entry::of::<cp::Args>(),
    Entry::of::<create::Args>(),
    Entry::of::<diff::Args>(),
    Entry::of::<doctor::Args>(),
    Entry::of::<exec::Args>(),
    Entry::of::<export::Args>(),
    Entry::of::<events::Args>(),
    Entry::of::<help_command::Args>(),
    Entry::of::<history::Args>(),
    Entry::of::<images::Args>(),
    Entry::of::<import::Args>(),
    Entry::of::<info::Args>(),
    Entry::of::<inspect::Args>(),
    internal::ENTRY,
    Entry::of::<kill::Args>(),
    Entry::of::<load::Args>(),
    Entry::of::<pause::Args>(),
    Entry::of::<port::Args>(),
    Entry::of::<logs::Args>(),
    Entry::of::<ps::Args>(),
    Entry::of::<rename::Args>(),
    Entry::of::<restart::Args>(),
    Entry::of::<rm::Args>(),
    Entry::of::<rmi::Args>(),
    Entry::of::<run::Args>(),
    Entry::of::<start::Args>(),
    Entry::of::<stop::Args>(),
    Entry::of::<tag::Args>(),
    Entry::of::<unpause::Args>(),
    Entry::of::<update::Args>(),
    Entry::of::<stats::Args>(),
    Entry::of::<top::Args>(),
    Entry::of::<version::Args>(),
    Entry::of::<wait::Args>(),
];

pub(crate) const GROUPS: &[Group] = &[
    Group {
        name: "container",
        about: "Manage containers",
        entries: &[
            Entry::of::<commit::Args>(),
            Entry::of::<cp::Args>(),
            Entry::of::<diff::Args>(),
            Entry::of::<exec::Args>(),
            Entry::of::<export::Args>(),
            Entry::of::<container_inspect::Args>(),
            Entry::named::<ps::Args>("list").hide(),
            Entry::of::<logs::Args>(),
            Entry::named::<ps::Args>("ls"),
            Entry::of::<port::Args>(),
            Entry::of::<container_prune::Args>(),
            Entry::named::<ps::Args>("ps").hide(),
            Entry::named::<rm::Args>("remove").hide(),
            Entry::of::<rename::Args>(),
            Entry::of::<rm::Args>(),
            Entry::of::<run::Args>(),
            Entry::of::<attach::Args>(),
            Entry::of::<create::Args>(),
            Entry::of::<kill::Args>(),
            Entry::of::<pause::Args>(),
            Entry::of::<restart::Args>(),
            Entry::of::<start::Args>(),
            Entry::of::<stop::Args>(),
            Entry::of::<unpause::Args>(),
            Entry::of::<update::Args>(),
            Entry::of::<wait::Args>(),
            Entry::of::<stats::Args>(),
            Entry::of::<top::Args>(),
        ],
    },
    Group {
        name: "image",
        about: "Manage images",
        entries: &[
            Entry::of::<history::Args>(),
            Entry::of::<import::Args>(),
            Entry::of::<image_inspect::Args>(),
            Entry::named::<images::Args>("list").hide(),
            Entry::of::<load::Args>(),
            Entry::named::<images::Args>("ls"),
            Entry::of::<image_prune::Args>(),
            Entry::named::<rmi::Args>("remove").hide(),
            Entry::named::<rmi::Args>("rm"),
            Entry::of::<tag::Args>(),
        ],
    },
    Group {
        name: "system",
        about: "Manage Corten",
        entries: &[Entry::of::<doctor::Args>(), Entry::of::<events::Args>(), Entry::of::<info::Args>()],
    },
    Group {
        name: "volume",
        about: "Manage volumes",
        entries: &[
            Entry::of::<volume_create::Args>(),
            Entry::of::<volume_inspect::Args>(),
            Entry::named::<volume_ls::Args>("list").hide(),
            Entry::of::<volume_ls::Args>(),
            Entry::of::<volume_prune::Args>(),
            Entry::named::<volume_rm::Args>("remove").hide(),
            Entry::of::<volume_rm::Args>(),
        ],
    },
];

/// Shown first in `corten --help`.
pub(crate) const COMMON: &[&str] = &["run", "exec", "ps", "images", "info", "version"];

/// Runs the command that the first words name.
pub(crate) fn call(args: &[OsString], cx: &mut Context<'_>) -> Result<u8, Report> {
    let name = args[0].to_string_lossy();
    if let Some(entry) = ROOT.iter().find(|entry| entry.name == name) {
        return entry.call(&format!("corten {name}"), &args[1..], cx);
    }
    let Some(group) = GROUPS.iter().find(|group| group.name == name) else {
        let known = ROOT.iter().filter(|entry| !entry.hidden).map(|entry| entry.name);
        return Err(unknown("corten", &name, known.chain(GROUPS.iter().map(|group| group.name))));
    };
    let sub = args.get(1).map(|word| word.to_string_lossy());
    match sub.as_deref() {
        None | Some("--help" | "-h") => {
            cx.stdout.write_all(help::group(group).as_bytes())?;
            Ok(0)
        }
        Some(sub) => match group.entries.iter().find(|entry| entry.name == sub) {
            Some(entry) => entry.call(&format!("corten {name} {sub}"), &args[2..], cx),
            None => {
                let known = group.entries.iter().filter(|entry| !entry.hidden).map(|entry| entry.name);
                Err(unknown(&format!("corten {name}"), sub, known))
            }
        },
    }
}

/// The help of what `names` name.
pub(crate) fn help_of(names: &[String], columns: usize) -> Result<String, Report> {
    let Some((name, rest)) = names.split_first() else { return Ok(help::root(columns)) };
    if let Some(entry) = ROOT.iter().find(|entry| entry.name == name) {
        return Ok(help::command(&format!("corten {name}"), entry, columns));
    }
    match (GROUPS.iter().find(|group| group.name == name), rest.first()) {
        (Some(group), None) => Ok(help::group(group)),
        (Some(group), Some(sub)) => match group.entries.iter().find(|entry| entry.name == sub) {
            Some(entry) => Ok(help::command(&format!("corten {name} {sub}"), entry, columns)),
            None => Err(unknown(&format!("corten {name}"), sub, std::iter::empty())),
        },
        (None, _) => Err(unknown("corten", name, ROOT.iter().map(|entry| entry.name))),
    }
}

/// Docker's commands that are not there, and what there is instead.
const MISSING: &[(&[&str], &str)] = &[
    (
        &["pull", "push", "search", "login", "logout", "manifest"],
        "there is no registry client yet: images come by `corten import` and `corten load`",
    ),
    (
        &["build", "buildx", "builder", "bake"],
        "nothing is built yet: `corten commit` makes an image of a container",
    ),
    (
        &["save"],
        "nothing writes image archives yet: the store, `CortenRootDir` of `corten info`, is an OCI image layout",
    ),
    (&["network"], "there are no networks yet but none, host and container:NAME"),
    (&["compose", "checkpoint", "context", "plugin", "swarm", "service", "stack", "node", "secret"], ""),
];

/// Docker's words, with the nearest name that there is.
fn unknown<'a>(path: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Report {
    if matches!(path, "corten" | "corten image")
        && let Some((_, instead)) = MISSING.iter().find(|(names, _)| names.contains(&name))
    {
        let report = Report::user(format!("{path} {name} is not there")).see(path).status(1);
        return if instead.is_empty() { report } else { report.hint(*instead) };
    }
    let report = if path == "corten" && name.starts_with('-') {
        Report::user(format!("unknown flag: {name}"))
    } else if path == "corten" {
        Report::user(format!("corten: '{name}' is not a corten command."))
    } else {
        Report::user(format!("corten: unknown command: {path} {name}"))
    };
    let report = match nearest(name, known) {
        Some(other) => report.hint(format!("did you mean `{path} {other}`?")),
        None => report,
    };
    report.see(path).status(1)
}

/// As [`each`]; with `force`, what is not there is said and no failure, as in Docker.
fn each_to_remove(
    cx: &mut Context<'_>,
    names: &[String],
    force: bool,
    mut act: impl FnMut(&mut Context<'_>, &str) -> Result<(), Report>,
) -> Result<u8, Report> {
    each(cx, names, |cx, name| match act(cx, name) {
        Err(report) if force && report.missing => {
            cx.stdout.flush()?;
            Ok(report.print(cx.stderr, false)?)
        }
        done => done,
    })
}

/// Does one after the other; a failure is reported and does not keep the others from their turn.
fn each(
    cx: &mut Context<'_>,
    names: &[String],
    mut act: impl FnMut(&mut Context<'_>, &str) -> Result<(), Report>,
) -> Result<u8, Report> {
    let mut failure: Option<Report> = None;
    for name in names {
        if let Err(report) = act(cx, name)
            && let Some(earlier) = failure.replace(report)
        {
            cx.stdout.flush()?;
            earlier.print(cx.stderr, false)?;
        }
    }
    failure.map_or(Ok(0), Err)
}

/// Everything at once.
pub(crate) fn tree() -> Command {
    let leaf = |entry: &Entry| {
        let arguments = entry.usage.trim_start_matches("[OPTIONS]").trim();
        let command = with_flags(Command::new(entry.name), &entry.flags())
            .about(entry.about)
            .after_help(entry.after_help)
            .hide(entry.hidden);
        match arguments {
            "" => command,
            name => command.arg(Arg::new("args").value_name(name).num_args(0..).trailing_var_arg(true)),
        }
    };
    let root = Command::new("corten").about("A container engine for Linux");
    let mut root = with_flags(root, &crate::globals::flags()).subcommands(ROOT.iter().map(leaf));
    for group in GROUPS {
        let command = bare(Command::new(group.name)).about(group.about);
        root = root.subcommand(command.subcommands(group.entries.iter().map(leaf)));
    }
    root
}

/// Our flags as clap has them, for completions and manual pages; they are not parsed so.
fn with_flags(command: Command, flags: &[(&'static Meta, bool)]) -> Command {
    bare(command).args(flags.iter().map(|(meta, refused)| {
        let arg = Arg::new(meta.long).long(meta.long).help(meta.help.trim_start()).hide(*refused);
        let arg = meta.short.into_iter().fold(arg, Arg::short);
        match meta.value {
            Some(name) => arg.value_name(name).action(ArgAction::Append),
            None => arg.action(ArgAction::SetTrue),
        }
    }))
}

/// Without clap's own help and version, which would follow other rules than ours.
fn bare(command: Command) -> Command {
    command.disable_help_flag(true).disable_help_subcommand(true).disable_version_flag(true)
}
