//! `cargo xtask man [DIRECTORY]`: the manual pages, into target/man if no directory is given.
//!
//! Names, one-line descriptions and options come from the command line's own tables; what a table cannot
//! say is in `man/text.rs`. A command of a group that is another name of a command of the root
//! (`corten container run`) becomes a page that points there.

mod text;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use text::Text;

/// Writes every page; the number of them.
pub fn generate(directory: &Path) -> Result<usize, String> {
    let pages = pages().map_err(|error| error.to_string())?;
    let within = |error: io::Error| format!("{}: {error}", directory.display());
    fs::create_dir_all(directory).map_err(within)?;
    for (name, page) in &pages {
        fs::write(directory.join(format!("{name}.1")), page).map_err(within)?;
    }
    Ok(pages.len())
}

/// Names without the section, and what is in them.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let root = corten_cli::command_tree();
    let mut pages = vec![("corten".to_owned(), page(&root, "corten", None)?)];
    let top: Vec<&Command> = visible(&root).collect();
    for command in &top {
        let name = format!("corten-{}", command.get_name());
        pages.push((name.clone(), page(command, &name, Some("corten"))?));
        for sub in visible(command) {
            let below = format!("{name}-{}", sub.get_name());
            // The same sentence is the same command.
            let same = top.iter().find(|other| {
                other.get_about().map(ToString::to_string) == sub.get_about().map(ToString::to_string)
            });
            let bytes = match same {
                Some(other) => format!(".so man1/corten-{}.1\n", other.get_name()).into_bytes(),
                None => page(sub, &below, Some(&name))?,
            };
            pages.push((below, bytes));
        }
    }
    Ok(pages)
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set())
}

/// What follows the command's own words; `[OPTIONS]` is put before it where there are any.
fn arguments(command: &Command) -> String {
    let named = command.get_arguments().find(|arg| arg.get_id() == "args");
    named.and_then(|arg| arg.get_value_names()).map_or_else(String::new, |names| {
        // A second form stands in a line of its own.
        names.join(" ").replace("\n\t", " or ")
    })
}

fn has_options(command: &Command) -> bool {
    command.get_arguments().any(|arg| arg.get_long().is_some() && !arg.is_hide_set())
}

fn page(command: &Command, name: &str, parent: Option<&str>) -> io::Result<Vec<u8>> {
    let words = name.replace('-', " ");
    let text = text::of(name);
    let mut bytes = Vec::new();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let shown = command.clone().name(name.to_owned());
    let shown =
        if arguments(command).is_empty() { shown } else { shown.mut_arg("args", |arg| arg.hide(true)) };
    // No date, so that a page is the same whenever it was made.
    let version = corten_cli::VERSION;
    writeln!(bytes, ".TH {} 1 \"\" \"Corten {version}\" \"Corten Manual\"", name.to_uppercase())?;

    let mut roff = Roff::new();
    roff.control("SH", ["NAME"]).text([roman(format!("{name} - {}", lower_first(&about)))]);
    roff.control("SH", ["SYNOPSIS"]);
    let mut line = vec![bold(words.clone())];
    if has_options(command) {
        line.push(roman(" [OPTIONS]"));
    }
    let groups = visible(command).next().is_some();
    let after = if groups { "COMMAND [ARG...]".to_owned() } else { arguments(command) };
    if !after.is_empty() {
        line.push(roman(" "));
        line.push(italic(after));
    }
    roff.text(line);
    roff.control("SH", ["DESCRIPTION"]);
    let description: &[&str] = text.map_or(&[], |text| text.description);
    if description.is_empty() {
        roff.text([roman(format!("{about}."))]);
    }
    paragraphs(&mut roff, description);
    roff.to_writer(&mut bytes)?;

    if has_options(command) {
        Man::new(shown).render_options_section(&mut bytes)?;
    }
    let mut roff = Roff::new();
    if groups {
        roff.control("SH", ["COMMANDS"]);
        for sub in visible(command) {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            item(&mut roff, &format!("{name}-{}(1)", sub.get_name()), &format!("{about}."));
        }
    }
    rest(&mut roff, name, text, parent);
    roff.to_writer(&mut bytes)?;
    Ok(bytes)
}

/// The sections after the options.
fn rest(roff: &mut Roff, name: &str, text: Option<&Text>, parent: Option<&str>) {
    roff.control("SH", ["EXIT STATUS"]);
    let own: &[(&str, &str)] = text.map_or(&[], |text| text.exit_status);
    for (code, meaning) in if own.is_empty() { text::EXIT_STATUS } else { own } {
        item(roff, code, meaning);
    }
    if parent.is_none() {
        roff.control("SH", ["ENVIRONMENT"]);
        for (variable, meaning) in corten_cli::env::DOCUMENTED {
            item(roff, variable, &format!("{}.", upper_first(meaning)));
        }
    }
    if let Some(text) = text.filter(|text| !text.files.is_empty()) {
        roff.control("SH", ["FILES"]);
        for (path, meaning) in text.files {
            item(roff, path, meaning);
        }
    }
    if let Some(text) = text.filter(|text| !text.examples.is_empty()) {
        roff.control("SH", ["EXAMPLES"]);
        for (at, (what, line)) in text.examples.iter().enumerate() {
            if at > 0 {
                roff.control("PP", []);
            }
            roff.text([roman(*what)]);
            roff.control("PP", []).control("RS", ["4"]).control("nf", []);
            roff.text([roman(*line)]);
            roff.control("fi", []).control("RE", []);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    let also: Vec<&str> = text.map_or(&[][..], |text| text.see_also).to_vec();
    let pages = parent.into_iter().chain(also.into_iter().filter(|other| *other != name));
    let mut line: Vec<Inline> = Vec::new();
    for page in pages {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.push(bold(page));
        line.push(roman("(1)"));
    }
    if line.is_empty() {
        line.push(roman("The files README.md and SECURITY.md of the project."));
    }
    roff.text(line);
}

fn paragraphs(roff: &mut Roff, paragraphs: &[&str]) {
    for (at, paragraph) in paragraphs.iter().enumerate() {
        if at > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(*paragraph)]);
    }
}

fn item(roff: &mut Roff, term: &str, meaning: &str) {
    roff.control("TP", []).text([bold(term)]).text([roman(meaning)]);
}

fn lower_first(text: &str) -> String {
    text.chars().take(1).flat_map(char::to_lowercase).chain(text.chars().skip(1)).collect()
}

fn upper_first(text: &str) -> String {
    text.chars().take(1).flat_map(char::to_uppercase).chain(text.chars().skip(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command as Program;

    fn has(program: &str) -> bool {
        Program::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success()
    }

    #[test]
    fn each_command_has_a_page_with_each_of_its_flags() {
        let pages: std::collections::HashMap<_, _> = pages().unwrap().into_iter().collect();
        let root = corten_cli::command_tree();
        let mut count = 0;
        for command in visible(&root) {
            let page = String::from_utf8(pages[&format!("corten-{}", command.get_name())].clone()).unwrap();
            for arg in command.get_arguments() {
                let Some(long) = arg.get_long() else { continue };
                let spelling = format!("\\-\\-{}\\fR", long.replace('-', "\\-"));
                assert_eq!(page.contains(&spelling), !arg.is_hide_set(), "{} --{long}", command.get_name());
                count += 1;
            }
        }
        assert!(count > 100);
        for (name, _) in text::ALL {
            assert!(pages.contains_key(*name), "{name} has a text and no page");
        }
        for (_, text) in text::ALL {
            assert!(text.see_also.iter().all(|other| pages.contains_key(*other)), "{:?}", text.see_also);
        }
    }

    #[test]
    fn the_pages_have_no_faults() {
        let dir = tempfile::tempdir().unwrap();
        let man1 = dir.path().join("man1");
        let count = generate(&man1).unwrap();
        let files: Vec<_> = fs::read_dir(&man1).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), count);
        let mut checked = false;
        if has("mandoc") {
            // The title's date is left out on purpose; `.so` is what man(7) has for one page of two names.
            let output =
                Program::new("mandoc").args(["-Tlint", "-Wwarning"]).args(&files).current_dir(&dir).output();
            let found = String::from_utf8(output.unwrap().stdout).unwrap();
            let faults: Vec<_> = found
                .lines()
                .filter(|line| !line.contains("missing date") && !line.contains(".so is fragile"))
                .collect();
            assert!(faults.is_empty(), "{}", faults.join("\n"));
            checked = true;
        }
        if has("groff") && has("man") {
            for file in &files {
                let output = Program::new("man")
                    .args(["--warnings=w", "-Tutf8", "-l"])
                    .arg(file)
                    .current_dir(&dir)
                    .env("MANPATH", dir.path())
                    .env("LC_ALL", "C.UTF-8")
                    .output()
                    .unwrap();
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(output.status.success() && said.is_empty(), "{}: {said}", file.display());
            }
            checked = true;
        }
        if !checked {
            eprintln!("skipped: needs mandoc or man-db with groff (cargo xtask deps)");
        }
    }
}
