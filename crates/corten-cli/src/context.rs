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
    /// Of the terminal, or of `COLUMNS`, or 80.
    pub columns: usize,
    pub stdin_is_terminal: bool,
    pub stdout_is_terminal: bool,
    /// Seconds since 1970: "5 minutes ago" is counted from here.
    pub now_s: i64,
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
        Self {
            stdout,
            stderr,
            env,
            columns: 80,
            stdin_is_terminal: false,
            stdout_is_terminal: false,
            now_s: 0,
            options: EngineOptions::default(),
            open,
            engine: None,
        }
    }

    /// With what the process's own terminal and clock say.
    pub fn of_process(mut self) -> Self {
        let columns = self.variable(crate::env::COLUMNS).and_then(|text| text.parse().ok());
        self.stdin_is_terminal = rustix::termios::isatty(rustix::stdio::stdin());
        self.stdout_is_terminal = rustix::termios::isatty(rustix::stdio::stdout());
        let terminal = || rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok();
        self.columns = match columns {
            Some(columns) => columns,
            None if self.stdout_is_terminal => {
                terminal().map_or(80, |size| usize::from(size.ws_col)).clamp(40, 400)
            }
            None => 80,
        };
        self.now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64);
        self
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
