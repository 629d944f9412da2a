//! Help texts, laid out as Docker's.

use std::fmt::Write;

use crate::command::Entry;
use crate::commands;
use crate::flags::Meta;

/// `corten COMMAND --help`.
pub(crate) fn command(path: &str, entry: &Entry, columns: usize) -> String {
    let mut out = format!("Usage:  {path} {}\n\n{}\n", entry.usage, entry.about);
    if entry.aliases.len() > 1 {
        let _ = write!(out, "\nAliases:\n  {}\n", entry.aliases.join(", "));
    }
    out.push_str(&options("Options", &entry.flags(), columns));
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
    out.push_str(&options("Global Options", &crate::globals::flags(), columns));
    out.push_str("\nRun 'corten COMMAND --help' for more information on a command.\n");
    out
}

/// The "Options:" block; the second of a pair says that the flag is refused.
fn options(title: &str, flags: &[(&Meta, bool)], columns: usize) -> String {
    if flags.is_empty() {
        return String::new();
    }
    let left: Vec<String> = flags.iter().map(|(meta, _)| spelling(meta)).collect();
    let width = left.iter().map(String::len).max().unwrap_or(0) + 3;
    let mut out = format!("\n{title}:\n");
    for ((meta, refused), left) in flags.iter().zip(&left) {
        let help = format!("{}{}", meta.help, if *refused { " (not supported)" } else { "" });
        let mut lines = wrap(&help, columns.saturating_sub(width).max(20)).into_iter();
        let _ = writeln!(out, "{left:<width$}{}", lines.next().unwrap_or_default());
        for line in lines {
            let _ = writeln!(out, "{:<width$}{line}", "");
        }
    }
    out
}

/// `  -m, --memory bytes`.
fn spelling(meta: &Meta) -> String {
    let short = meta.short.map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
    let value = meta.value.map_or_else(String::new, |value| format!(" {value}"));
    format!("  {short}--{}{value}", meta.long)
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
