//! The error at the edge: what failed, why, and what to do about it.
//!
//! ```text
//! error: cannot start container `web`
//!   cause: mount of proc at /proc: fsmount(…, MOUNT_ATTR_RDONLY) = EPERM
//!   hint: this host masks parts of /proc; add `--security-opt systempaths=unconfined`
//! ```

use std::error::Error;
use std::io::{self, Write};

/// Who can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whoever typed the command.
    User,
    /// This machine: its kernel, disk, permissions.
    Host,
    /// Another machine: a registry.
    Remote,
    /// Us.
    Bug,
}

/// Docker's exit codes for "the engine failed", "cannot be executed" and "not found".
pub const ENGINE_FAILED: u8 = 125;
pub const NOT_EXECUTABLE: u8 = 126;
pub const NOT_FOUND: u8 = 127;
const ENDED_BY_SIGPIPE: u8 = 128 + 13;

/// One failure, to be printed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub kind: Kind,
    pub message: String,
    pub causes: Vec<String>,
    pub hint: Option<String>,
    /// What follows the report without being part of it: "See 'corten run --help'."
    pub see: Option<String>,
    /// Where the command's own exit code for failures does not hold.
    pub status: Option<u8>,
    /// Nobody is there to be told: the status says it all.
    pub quiet: bool,
    /// What was named is not there: `--force` takes it for done.
    pub missing: bool,
}

impl Report {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            see: None,
            status: None,
            quiet: false,
            missing: false,
        }
    }

    pub fn user(message: impl Into<String>) -> Self {
        Self::new(Kind::User, message)
    }

    pub fn host(message: impl Into<String>) -> Self {
        Self::new(Kind::Host, message)
    }

    /// Whoever read our output has gone: as with other programs, which a signal ends then.
    pub fn closed_pipe() -> Self {
        Self { quiet: true, ..Self::host("nobody reads the output") }.status(ENDED_BY_SIGPIPE)
    }

    /// The error's text and the chain of its sources; a source that the text above it repeats is left out.
    pub fn from_error(kind: Kind, error: &dyn Error) -> Self {
        let mut report = Self::new(kind, error.to_string());
        let mut above = report.message.clone();
        let mut source = error.source();
        while let Some(error) = source {
            let text = error.to_string();
            if !above.ends_with(&text) {
                report.causes.push(text.clone());
            }
            above = text;
            source = error.source();
        }
        report
    }

    pub fn missing(mut self) -> Self {
        self.missing = true;
        self
    }

    pub fn cause(mut self, cause: impl ToString) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn see(mut self, path: &str) -> Self {
        self.see = Some(format!("See '{path} --help'."));
        self
    }

    pub fn status(mut self, status: u8) -> Self {
        self.status = Some(status);
        self
    }

    /// Prints it; control characters of names and paths do not reach the terminal.
    pub fn print(&self, out: &mut dyn Write, colour: bool) -> io::Result<()> {
        if self.quiet {
            return Ok(());
        }
        let paint = |code: &str, text: &str| {
            if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        writeln!(out, "{} {}", paint("1;31", "error:"), harmless(&self.message))?;
        for cause in &self.causes {
            writeln!(out, "  {} {}", paint("1", "cause:"), harmless(cause))?;
        }
        if let Some(hint) = &self.hint {
            writeln!(out, "  {} {}", paint("1;36", "hint:"), harmless(hint))?;
        }
        if self.kind == Kind::Bug {
            writeln!(
                out,
                "  {} this is a defect of corten itself; please report it",
                paint("1;36", "hint:")
            )?;
        }
        if let Some(see) = &self.see {
            writeln!(out, "{see}")?;
        }
        Ok(())
    }
}

impl From<io::Error> for Report {
    /// Only for our own output; anything else names its file first.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Report::closed_pipe();
        }
        Report::host("cannot write to standard output").cause(error)
    }
}

/// Escapes what a terminal would act upon; further lines are indented.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        match c {
            '\n' => out.push_str("\n    "),
            '\t' => out.push(c),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(report: &Report, colour: bool) -> String {
        let mut out = Vec::new();
        report.print(&mut out, colour).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn layout() {
        let report = Report::host("cannot start container `web`")
            .cause("mount of proc at /proc: fsmount(…) = EPERM")
            .hint("add `--security-opt systempaths=unconfined`")
            .see("corten run");
        assert_eq!(
            text(&report, false),
            "error: cannot start container `web`\n  cause: mount of proc at /proc: fsmount(…) = EPERM\n  hint: \
             add `--security-opt systempaths=unconfined`\nSee 'corten run --help'.\n"
        );
        assert!(text(&report, true).starts_with("\x1b[1;31merror:\x1b[0m cannot"));
        assert_eq!(text(&Report::user("a\x1b[31m\nb"), false), "error: a\\u{1b}[31m\n    b\n");
    }

    #[test]
    fn chain() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open /x")]
        struct Outer(#[source] io::Error);
        let report = Report::from_error(Kind::Host, &Outer(io::Error::from_raw_os_error(13)));
        assert_eq!(report.causes, ["Permission denied (os error 13)"]);
    }
}
