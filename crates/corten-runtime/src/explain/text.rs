//! Text for a shell: everything that comes from a user is quoted, nothing ends a comment or a document early.

use std::path::{Path, PathBuf};

fn is_plain(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+:=,@%".contains(c))
}

/// Quotes what a shell would not take as it stands.
#[must_use]
pub fn quote(text: &str) -> String {
    match text {
        "" => "''".to_owned(),
        _ if is_plain(text) => text.to_owned(),
        _ => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// Lines of a script.
#[derive(Debug, Default)]
pub(super) struct Text {
    lines: String,
    /// The container's id, which comments do not spell out.
    id: String,
}

impl Text {
    pub(super) fn of(id: &str) -> Self {
        Self { lines: String::new(), id: id.to_owned() }
    }

    /// A heading, set off from what is above it.
    pub(super) fn section(&mut self, title: &str) {
        self.lines += &format!("\n# -- {}\n", harmless(title));
    }

    /// A comment of one line: a sentence, or an item of a list if it starts with a blank.
    pub(super) fn comment(&mut self, text: &str) {
        let mut text = harmless(text);
        if let Some(first) = text.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let text = if self.id.is_empty() { text } else { text.replace(&self.id, "$id") };
        self.lines += &format!("# {text}\n");
    }

    /// One or more lines of shell.
    pub(super) fn line(&mut self, line: impl AsRef<str>) {
        self.lines += line.as_ref();
        self.lines.push('\n');
    }

    /// `head` with `body` as its input. The word that ends the body is one that no line of it is.
    pub(super) fn document(&mut self, head: &str, word: &str, body: &Text) {
        let mut end = word.to_owned();
        while body.lines.lines().any(|line| line == end) {
            end.push('_');
        }
        self.lines += &format!("{head} <<'{end}'\n{}{end}\n", body.lines);
    }

    pub(super) fn into_string(self) -> String {
        self.lines
    }
}

/// On one line, and visible.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A command whose words are broken over lines where it is long.
pub(super) fn command(words: &[String]) -> String {
    let (mut out, mut width) = (String::new(), 0);
    for word in words {
        if width > 0 && width + word.len() > 108 {
            out += " \\\n    ";
            width = 4;
        } else if width > 0 {
            out.push(' ');
            width += 1;
        }
        out += word;
        width += word.len();
    }
    out
}

/// Paths by the names that the script has for their beginnings, and for the container's id in them.
pub(super) struct Names<'a> {
    pub(super) known: &'a [(&'static str, PathBuf)],
    pub(super) id: &'a str,
}

impl Names<'_> {
    /// `"$run/hosts"` for /run/corten/ID/hosts.
    pub(super) fn path(&self, path: &Path) -> String {
        let best = self.known.iter().filter(|(_, known)| path.starts_with(known));
        let Some((name, known)) = best.max_by_key(|(_, known)| known.as_os_str().len()) else {
            return self.plain(&path.to_string_lossy());
        };
        let rest = path.strip_prefix(known).unwrap_or(Path::new("")).to_string_lossy();
        match &*rest {
            "" => format!("\"${name}\""),
            rest if is_plain(rest) => format!("\"${name}/{rest}\""),
            rest => format!("\"${name}\"/{}", quote(rest)),
        }
    }

    /// A path without such a beginning.
    fn plain(&self, path: &str) -> String {
        match !self.id.is_empty() && is_plain(path) && path.contains(self.id) {
            true => format!("\"{}\"", path.replace(self.id, "$id")),
            false => quote(path),
        }
    }

    /// Lines of shell from elsewhere: the id by its variable, save where it stands in single quotes.
    pub(super) fn lines(&self, lines: &str) -> String {
        let line = |line: &str| match line.split_once(self.id) {
            Some((before, _)) if !self.id.is_empty() && before.matches('\'').count() % 2 == 0 => {
                line.replace(self.id, "$id")
            }
            _ => line.to_owned(),
        };
        lines.lines().map(line).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_wrote_stays_one_word() {
        assert_eq!(quote("a=b"), "a=b");
        assert_eq!(quote("it's $HOME; `id`\n#"), "'it'\\''s $HOME; `id`\n#'");
        assert_eq!(quote(""), "''");
        let known = [("run", PathBuf::from("/run/corten/x0"))];
        let names = Names { known: &known, id: "x0" };
        for (path, want) in [
            ("/run/corten/x0/hosts", "\"$run/hosts\""),
            ("/run/corten/x0/a b", "\"$run\"/'a b'"),
            ("/run/corten/xy", "/run/corten/xy"),
            ("/sys/fs/cgroup/x0", "\"/sys/fs/cgroup/$id\""),
            ("/a b/x0", "'/a b/x0'"),
        ] {
            assert_eq!(names.path(Path::new(path)), want);
        }
    }

    #[test]
    fn no_line_ends_a_comment_or_a_document_early() {
        let mut body = Text::default();
        body.comment("bind of /a\nrm -rf /");
        body.line("printf %s 'x\nEND\nrm -rf /'");
        let mut text = Text::default();
        text.document("cat", "END", &body);
        let text = text.into_string();
        assert!(text.starts_with("cat <<'END_'\n# Bind of /a\u{fffd}rm -rf /\n"), "{text}");
        assert!(text.ends_with("\nEND_\n"), "{text}");
    }
}
