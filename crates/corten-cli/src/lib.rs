//! The command line that people know from Docker: one file a command, flags in, engine call, text out.
//!
//! ```text
//! argv ── globals ── commands (tables) ── flags (of the one named) ── commands/<name>.rs
//!                                                                        │
//!        report ◄── error ──────────────────────────── engine_api ◄──────┘
//! ```
//!
//! Invariants: only this crate prints and reads the environment (all of it in [`mod@env`]); no command
//! knows another; nothing here touches the kernel beyond the terminal and the files that flags name.

mod argv;
mod command;
pub mod commands;
mod container_config;
mod container_flags;
pub mod context;
mod document;
mod document_health;
mod document_parts;
mod engine;
pub mod engine_api;
pub mod env;
mod failures;
mod filter;
mod flags;
pub mod format;
mod globals;
mod help;
mod info;
mod prune;
mod refused;
pub mod report;
mod steps;
mod summary;
mod values;

pub use engine::LocalEngine;

use std::ffi::OsString;

use context::Context;
use globals::Wanted;
use report::Report;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs one command line (without the program's name); the exit code. A failure is printed here, once.
pub fn run(args: &[OsString], cx: &mut Context<'_>) -> u8 {
    match dispatch(args, cx).and_then(|code| {
        cx.stdout.flush()?;
        Ok(code)
    }) {
        Ok(code) => code,
        Err(report) => {
            let _ = cx.stdout.flush();
            let set = |name: &str| (cx.env)(name).is_some_and(|value| !value.is_empty());
            let colour = !set(env::NO_COLOR)
                && (cx.env)(env::TERM).is_none_or(|term| term != "dumb")
                && rustix::termios::isatty(rustix::stdio::stderr());
            let _ = report.print(cx.stderr, colour);
            report.status.unwrap_or(1)
        }
    }
}

/// The face of `main`: the process's arguments, streams and environment.
pub fn main(args: &[OsString], open: context::OpenEngine<'_>) -> u8 {
    let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
    let mut stderr = std::io::stderr().lock();
    let mut cx = Context::new(&mut stdout, &mut stderr, &env::process, open);
    run(args, &mut cx)
}

fn dispatch(args: &[OsString], cx: &mut Context<'_>) -> Result<u8, Report> {
    let (options, wanted) = globals::parse(args, cx.env)?;
    cx.options = options;
    let at = match wanted {
        Wanted::Command(at) => at,
        Wanted::Help => {
            let text = help::root(cx.columns());
            cx.stdout.write_all(text.as_bytes())?;
            return Ok(0);
        }
        Wanted::Version => {
            writeln!(cx.stdout, "Corten version {VERSION}")?;
            return Ok(0);
        }
    };
    commands::call(&args[at..], cx)
}

/// The whole tree as clap has it, for manual pages and completions.
pub fn command_tree() -> clap::Command {
    commands::tree()
}
