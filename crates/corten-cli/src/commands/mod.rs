//! The tables of commands. One file a command; a command that has two names stands in both tables.

use std::ffi::OsString;

use crate::command::Entry;
use crate::context::Context;
use crate::help;
use crate::report::Report;

mod completion;
mod help_command;
mod image_inspect;
mod images;
mod import;
mod info;
mod inspect;
mod internal;
mod load;
mod ps;
mod rm;
mod rmi;
mod run;
mod version;

mod container_inspect;

/// `corten container …`.
pub(crate) struct Group {
    pub name: &'static str,
    pub about: &'static str,
    pub entries: &'static [Entry],
}

pub(crate) const ROOT: &[Entry] = &[
    Entry::of::<completion::Args>(),
    Entry::of::<help_command::Args>(),
    Entry::of::<images::Args>(),
    Entry::of::<import::Args>(),
    Entry::of::<info::Args>(),
    Entry::of::<inspect::Args>(),
    Entry::of::<internal::Args>().hide(),
    Entry::of::<load::Args>(),
    Entry::of::<ps::Args>(),
    Entry::of::<rm::Args>(),
    Entry::of::<rmi::Args>(),
    Entry::of::<run::Args>(),
    Entry::of::<version::Args>(),
];

pub(crate) const GROUPS: &[Group] = &[
    Group {
        name: "container",
        about: "Manage containers",
        entries: &[
            Entry::of::<container_inspect::Args>(),
            Entry::named::<ps::Args>("list").hide(),
            Entry::named::<ps::Args>("ls"),
            Entry::named::<ps::Args>("ps").hide(),
            Entry::named::<rm::Args>("remove").hide(),
            Entry::of::<rm::Args>(),
            Entry::of::<run::Args>(),
        ],
    },
    Group {
        name: "image",
        about: "Manage images",
        entries: &[
            Entry::of::<import::Args>(),
            Entry::of::<image_inspect::Args>(),
            Entry::named::<images::Args>("list").hide(),
            Entry::of::<load::Args>(),
            Entry::named::<images::Args>("ls"),
            Entry::named::<rmi::Args>("remove").hide(),
            Entry::named::<rmi::Args>("rm"),
        ],
    },
    Group { name: "system", about: "Manage Corten", entries: &[Entry::of::<info::Args>()] },
];

/// Shown first in `corten --help`.
pub(crate) const COMMON: &[&str] = &["run", "ps", "images", "info", "version"];

/// Runs the command that the first words name.
pub(crate) fn call(args: &[OsString], cx: &mut Context<'_>) -> Result<u8, Report> {
    let name = args[0].to_string_lossy();
    if let Some(entry) = ROOT.iter().find(|entry| entry.name == name) {
        return (entry.run)(&format!("corten {name}"), &args[1..], cx);
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
            Some(entry) => (entry.run)(&format!("corten {name} {sub}"), &args[2..], cx),
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

/// Docker's words, with the nearest name that there is.
fn unknown<'a>(path: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Report {
    let report = if path == "corten" && name.starts_with('-') {
        Report::user(format!("unknown flag: {name}"))
    } else if path == "corten" {
        Report::user(format!("corten: '{name}' is not a corten command."))
    } else {
        Report::user(format!("corten: unknown command: {path} {name}"))
    };
    let nearest = known.map(|other| (distance(name, other), other)).min();
    let report = match nearest {
        Some((distance, other)) if distance <= 2 && distance < name.len() => {
            report.hint(format!("did you mean `{path} {other}`?"))
        }
        _ => report,
    };
    report.see(path).status(1)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let here = row[j + 1];
            row[j + 1] = (before + usize::from(x != *y)).min(here + 1).min(row[j] + 1);
            before = here;
        }
    }
    row[b.len()]
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
pub(crate) fn tree() -> clap::Command {
    let leaf = |entry: &Entry| {
        // Not clap's own help, which would follow other rules than ours.
        (entry.build)().name(entry.name).hide(entry.hidden).no_binary_name(false)
    };
    let mut root = crate::globals::command()
        .about("A container engine for Linux")
        .disable_help_subcommand(true)
        .subcommands(ROOT.iter().map(leaf));
    for group in GROUPS {
        let command = clap::Command::new(group.name)
            .about(group.about)
            .disable_help_flag(true)
            .disable_help_subcommand(true)
            .subcommands(group.entries.iter().map(leaf));
        root = root.subcommand(command);
    }
    root
}
