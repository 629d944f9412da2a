//! Help texts, laid out as Docker's.

use std::fmt::Write;

use clap::{Arg, Command};

use crate::command::Entry;
use crate::{commands, refused};

/// `corten COMMAND --help`.
pub(crate) fn command(path: &str, entry: &Entry, columns: usize) -> String {
    let mut out = format!("Usage:  {path} {}\n\n{}\n", entry.usage, entry.about);
    if entry.aliases.len() > 1 {
        let _ = write!(out, "\nAliases:\n  {}\n", entry.aliases.join(", "));
    }
    out.push_str(&options(&(entry.build)(), columns));
    if !entry.after_help.is_empty() {
        let _ = write!(out, "\n{}\n", entry.after_help);
    }
    out
}

/// `corten container --help`.
pub(crate) fn group(group: &commands::Group) -> String {
    let mut out = format!("Usage:  corten {} COMMAND\n\n{}\n\nCommands:\n", group.name, group.about);
    for entry in group.entries.iter().filter(|entry| !entry.hidden) {
        let _ = writeln!(out, "  {:<11} {}", entry.name, entry.about);
    }
    let _ = write!(out, "\nRun 'corten {} COMMAND --help' for more information on a command.\n", group.name);
    out
}

/// `corten --help`.
pub(crate) fn root(columns: usize) -> String {
    let mut out = String::from("Usage:  corten [OPTIONS] COMMAND\n\nA container engine for Linux\n");
    let mut section = |title: &str, lines: &mut dyn Iterator<Item = (&str, &str)>| {
        let _ = write!(out, "\n{title}:\n");
        for (name, about) in lines {
            let _ = writeln!(out, "  {name:<11} {about}");
        }
    };
    let common = |name: &str| commands::COMMON.contains(&name);
    let shown = || commands::ROOT.iter().filter(|entry| !entry.hidden).map(|e| (e.name, e.about));
    let named = |name: &&str| shown().find(|(known, _)| known == name);
    section("Common Commands", &mut commands::COMMON.iter().filter_map(named));
    section("Management Commands", &mut commands::GROUPS.iter().map(|group| (group.name, group.about)));
    section("Commands", &mut shown().filter(|(name, _)| !common(name)));
    out.push_str(&options(&crate::globals::command(), columns).replacen("Options:", "Global Options:", 1));
    out.push_str("\nRun 'corten COMMAND --help' for more information on a command.\n");
    out
}

/// The "Options:" block, in the order of the alphabet.
fn options(command: &Command, columns: usize) -> String {
    let mut flags: Vec<&Arg> =
        command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set()).collect();
    flags.sort_by_key(|arg| arg.get_long());
    if flags.is_empty() {
        return String::new();
    }
    let left: Vec<String> = flags.iter().map(|arg| spelling(arg)).collect();
    let width = left.iter().map(String::len).max().unwrap_or(0) + 3;
    let mut out = String::from("\nOptions:\n");
    for (arg, left) in flags.iter().zip(&left) {
        let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        if refused::reason(command, arg).is_some() {
            help.push_str(" (not supported)");
        }
        let mut lines = wrap(&help, columns.saturating_sub(width).max(20)).into_iter();
        let _ = writeln!(out, "{left:<width$}{}", lines.next().unwrap_or_default());
        for line in lines {
            let _ = writeln!(out, "{:<width$}{line}", "");
        }
    }
    out
}

/// `  -m, --memory bytes`.
fn spelling(arg: &Arg) -> String {
    let mut out = match arg.get_short() {
        Some(short) => format!("  -{short}, "),
        None => "      ".to_owned(),
    };
    let _ = write!(out, "--{}", arg.get_long().unwrap_or_default());
    // A value that may be left out is a switch to the reader.
    let takes_value =
        arg.get_action().takes_values() && arg.get_num_args().is_none_or(|n| n.min_values() > 0);
    if let Some(name) = arg.get_value_names().and_then(|names| names.first()).filter(|_| takes_value) {
        let _ = write!(out, " {name}");
    }
    out
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
