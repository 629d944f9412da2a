//! Containers as the user knows them: names, their resolution to what the runtime carries out, the
//! monitor that outlives its starter, and the records that say what is there.
//!
//! ```text
//! /var/lib/corten/               the store (corten-store), and
//!   places/1/                    the layer of empty places below every image
//!   containers/<id>/             upper/ work/ log.json, config.json (the record), state.json (its last end),
//!                                started (a link: see `started.rs`)
//!   names/<name> -> <id>
//!   volumes/<name>/              see `volume.rs`
//! /run/corten/
//!   ids/<n> -> <id>              leases of blocks of user ids
//!   events                       see `events.rs`
//!   <id>/                        locked while something is under way: state.json, exit, stdout, stderr; sock,
//!                                where clients come; stopped, paused: what its user wants; config.json of `--rm`
//! ```
//!
//! An ordinary user has both below one directory, `$XDG_DATA_HOME/corten`, the second as `run/`: sessions
//! come and go with their XDG_RUNTIME_DIR, and have to agree on where containers are.
//!
//! The directories are the truth; any number of `corten` processes share them. Nothing here prints,
//! parses flags or reads the environment.

#![forbid(unsafe_code)]

mod boot;
mod client;
pub mod collect;
pub mod config;
pub mod container;
mod detach_keys;
pub mod dirs;
pub mod doctor;
mod edit;
pub mod error;
pub mod events;
pub mod exec;
pub mod explain;
pub mod files;
pub mod health;
mod hold;
mod host_image;
mod joins;
mod lease;
pub mod log;
mod monitor;
mod names;
mod places;
mod prepare;
pub mod record;
pub mod rename;
mod resolve;
pub mod rootless;
pub mod run;
mod session;
mod settle;
pub mod start;
mod started;
pub mod stats;
mod stdio;
pub mod top;
pub mod update;
pub mod volume;

pub use detach_keys::DetachKeys;
pub use dirs::Dirs;
pub use error::EngineError;
pub use rootless::Rootless;

/// What a process of the engine does that was sealed: executed again from a file that nobody can write to. `words`
/// are those of `corten internal`.
///
/// # Errors
/// They are no such step.
pub fn internal(dirs: &Dirs, words: &[std::ffi::OsString]) -> Result<i32, EngineError> {
    let done = match monitor::main(dirs, words)? {
        None => exec::probe::main(dirs, words)?,
        some => some,
    };
    done.ok_or_else(|| EngineError::refused("this internal step", "it is not one of the engine's"))
}
