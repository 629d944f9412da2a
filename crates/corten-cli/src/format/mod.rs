//! `--format`: Go's text/template over JSON values, with Docker's functions; and tables, sizes and times
//! as Docker writes them.
//!
//! The subset is all of the language except methods, channels and complex numbers. Depth, steps and output
//! are bounded, because a template may come from anywhere and the value from a container's labels.

use serde_json::Value;

mod exec;
mod funcs;
pub mod human;
mod lex;
mod parse;
mod printf;
pub mod table;

use funcs::HIDDEN;

/// `.Label "name"` of a row.
pub(crate) fn add_label_method<'a>(
    row: &mut serde_json::Value,
    labels: impl IntoIterator<Item = (&'a String, &'a String)>,
) {
    if let serde_json::Value::Object(map) = row {
        let labels = labels.into_iter().map(|(name, value)| (name.clone(), value.as_str().into()));
        map.insert(format!("{HIDDEN}Label"), labels.collect::<serde_json::Map<_, _>>().into());
    }
}

/// A template, parsed.
#[derive(Debug, Clone)]
pub struct Template {
    source: String,
    tree: parse::Tree,
}

/// What a field is that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// An error as of a map: `inspect`.
    Key,
    /// An error as of a Go struct of this name: the rows of a table.
    Field(&'static str),
}

/// Worded as Go words it; Docker puts "template parsing error" before either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("template parsing error: template: :{line}: {message}")]
    Parse { line: usize, message: String },
    #[error("template parsing error: template: :{line}:{column}: executing \"\" at <{at}>: {message}")]
    Exec { line: usize, column: usize, at: String, message: String },
}

impl TemplateError {
    fn parse(source: &str, at: usize, message: impl Into<String>) -> Self {
        Self::Parse { line: position(source, at).0, message: message.into() }
    }

    fn exec(source: &str, start: usize, end: usize, message: impl Into<String>) -> Self {
        let (line, column) = position(source, start);
        let text = &source[start..end];
        // As Go does, lest a long template fill the screen.
        let at = match text.char_indices().nth(20) {
            Some((cut, _)) => format!("{}...", &text[..cut]),
            None => text.to_owned(),
        };
        Self::Exec { line, column, at, message: message.into() }
    }
}

/// Line from 1, column in bytes from 0.
fn position(source: &str, at: usize) -> (usize, usize) {
    let before = &source[..at.min(source.len())];
    (before.matches('\n').count() + 1, before.len() - before.rfind('\n').map_or(0, |newline| newline + 1))
}

impl Template {
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        Ok(Self { source: source.to_owned(), tree: parse::parse(source)? })
    }

    /// The template over one value.
    pub fn execute(&self, data: &Value, missing: Missing) -> Result<String, TemplateError> {
        exec::execute(&self.source, &self.tree, data, missing)
    }
}

#[cfg(test)]
mod tests;
