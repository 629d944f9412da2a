//! `-e` and `--env-file`. The host's environment is handed in; nothing here reads it.

use serde::{Deserialize, Serialize};

/// `NAME=value`; without a value the variable is taken out of what the image sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    pub name: String,
    pub value: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    #[error("invalid environment variable: {0}")]
    Invalid(String),
    #[error("env file {file}: no variable name on line '{line}'")]
    NoName { file: String, line: String },
    #[error("env file {file}: variable '{name}' contains whitespaces")]
    Whitespace { file: String, name: String },
    #[error("env file {file}: line {line} contains a NUL byte")]
    Nul { file: String, line: usize },
}

impl EnvVar {
    /// `-e`: `K=V`, or `K` for the host's value, or to unset it where the host has none.
    pub fn parse(text: &str, host: &dyn Fn(&str) -> Option<String>) -> Result<Self, EnvError> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, host(text)),
        };
        if name.is_empty() || text.contains('\0') {
            return Err(EnvError::Invalid(text.to_owned()));
        }
        Ok(Self { name: name.to_owned(), value })
    }

    /// The content of an `--env-file`: no quotes, no expansion, `#` only at the start of a line; a name
    /// alone takes the host's value and is left out where the host has none.
    pub fn parse_file(
        file: &str,
        content: &str,
        host: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<Self>, EnvError> {
        let mut vars = Vec::new();
        for (name, value) in key_values(file, content)? {
            if let Some(value) = value.map(str::to_owned).or_else(|| host(name)) {
                vars.push(Self { name: name.to_owned(), value: Some(value) });
            }
        }
        Ok(vars)
    }
}

impl std::fmt::Display for EnvVar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// The lines of an env file or label file.
pub(super) fn key_values<'a>(
    file: &str,
    content: &'a str,
) -> Result<Vec<(&'a str, Option<&'a str>)>, EnvError> {
    let mut pairs = Vec::new();
    let content = content.strip_prefix('\u{feff}').unwrap_or(content);
    for (number, line) in content.lines().enumerate() {
        if line.contains('\0') {
            return Err(EnvError::Nul { file: file.to_owned(), line: number + 1 });
        }
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line.trim_end(), None),
        };
        if name.is_empty() {
            return Err(EnvError::NoName { file: file.to_owned(), line: line.to_owned() });
        }
        if name.contains(char::is_whitespace) {
            return Err(EnvError::Whitespace { file: file.to_owned(), name: name.to_owned() });
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_owned())
    }

    #[test]
    fn flags() {
        for (text, want) in [
            ("A=b", Some("A=b")),
            ("A=", Some("A=")),
            ("A=b=c", Some("A=b=c")),
            ("A=a b", Some("A=a b")),
            ("HOME", Some("HOME=/root")),
            ("NOT_THERE", Some("NOT_THERE")),
            ("=b", None),
            ("", None),
        ] {
            let got = EnvVar::parse(text, &host).ok().map(|var| var.to_string());
            assert_eq!(got.as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn files() {
        let content = "\u{feff}# comment\n\nA=b \n  B=\"quoted\" # not a comment\r\nHOME\nNOT_THERE\nC=\n";
        let vars = EnvVar::parse_file("f", content, &host).unwrap();
        let vars: Vec<String> = vars.iter().map(ToString::to_string).collect();
        assert_eq!(vars, ["A=b ", "B=\"quoted\" # not a comment", "HOME=/root", "C="]);
        for (content, message) in [
            ("=x", "env file f: no variable name on line '=x'"),
            ("A B=x", "env file f: variable 'A B' contains whitespaces"),
            ("A =x", "env file f: variable 'A ' contains whitespaces"),
            ("A=\0", "env file f: line 1 contains a NUL byte"),
        ] {
            assert_eq!(EnvVar::parse_file("f", content, &host).unwrap_err().to_string(), message);
        }
    }
}
