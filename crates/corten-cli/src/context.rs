//! What a command is run with: its streams, the environment, and the engine, opened when first needed.

use std::io::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::engine_api::{Engine, EngineOptions};
use crate::env::Lookup;
use crate::report::Report;

/// Opens the engine.
pub type OpenEngine<'a> = &'a dyn Fn(&EngineOptions) -> Result<Box<dyn Engine>, Report>;

pub struct Context<'a> {
    pub stdout: &'a mut dyn Write,
    pub stderr: &'a mut dyn Write,
    pub env: Lookup<'a>,
    /// Instead of the terminal's width.
    pub fixed_columns: Option<usize>,
    /// Instead of asking.
    pub fixed_stdin_is_terminal: Option<bool>,
    /// Seconds since 1970: "5 minutes ago" is counted from here.
    pub now_s: i64,
    /// And what has passed of that second.
    pub now_fraction_ns: u32,
    pub options: EngineOptions,
    open: OpenEngine<'a>,
    engine: Option<Box<dyn Engine>>,
}

impl<'a> Context<'a> {
    pub fn new(
        stdout: &'a mut dyn Write,
        stderr: &'a mut dyn Write,
        env: Lookup<'a>,
        open: OpenEngine<'a>,
    ) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            stdout,
            stderr,
            env,
            fixed_columns: None,
            fixed_stdin_is_terminal: None,
            now_s: now.as_secs() as i64,
            now_fraction_ns: now.subsec_nanos(),
            options: EngineOptions::default(),
            open,
            engine: None,
        }
    }

    /// Of the terminal, or of `COLUMNS`, or 80. Asked only by those who print help.
    pub fn columns(&self) -> usize {
        let said = self.variable(crate::env::COLUMNS).and_then(|text| text.parse().ok());
        let terminal = || rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok();
        let columns = self.fixed_columns.or(said).or_else(|| terminal().map(|size| usize::from(size.ws_col)));
        columns.filter(|columns| *columns > 0).unwrap_or(80).clamp(40, 400)
    }

    /// Nanoseconds since 1970.
    pub fn now_ns(&self) -> i128 {
        i128::from(self.now_s) * 1_000_000_000 + i128::from(self.now_fraction_ns)
    }

    pub fn stdin_is_terminal(&self) -> bool {
        self.fixed_stdin_is_terminal.unwrap_or_else(|| rustix::termios::isatty(rustix::stdio::stdin()))
    }

    pub fn engine(&mut self) -> Result<&mut dyn Engine, Report> {
        if self.engine.is_none() {
            self.engine = Some((self.open)(&self.options)?);
        }
        match self.engine.as_deref_mut() {
            Some(engine) => Ok(engine),
            None => unreachable!("opened above"),
        }
    }

    /// The engine, and the streams that it writes to meanwhile.
    pub fn engine_and_streams(
        &mut self,
    ) -> Result<(&mut dyn Engine, &mut dyn Write, &mut dyn Write), Report> {
        if self.engine.is_none() {
            self.engine = Some((self.open)(&self.options)?);
        }
        match self.engine.as_deref_mut() {
            Some(engine) => Ok((engine, &mut *self.stdout, &mut *self.stderr)),
            None => unreachable!("opened above"),
        }
    }

    /// A variable of the environment, if it is text.
    pub fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).and_then(|value| value.into_string().ok())
    }

    /// The directory that relative paths start from.
    pub fn directory(&self) -> Result<PathBuf, Report> {
        std::env::current_dir()
            .map_err(|error| Report::host("cannot tell the current directory").cause(error))
    }
}
