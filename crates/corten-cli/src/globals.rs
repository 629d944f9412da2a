//! What stands before the command: `corten --root /x run …`.

use std::ffi::OsString;
use std::path::PathBuf;

use corten_cgroup::Driver;

use crate::engine_api::EngineOptions;
use crate::env::{self, Lookup};
use crate::flags::{self, FlagSet as _, Meta, flags};
use crate::report::{ENGINE_FAILED, Report};

flags! {
    pub(crate) struct Globals {
        /// Who makes cgroups: "cgroupfs" or "systemd" (default "cgroupfs"; "systemd" for a user where
        /// systemd is the init)
        cgroup_manager: Option<String> = "cgroup-manager" ["string", flags::text];
        /// Enable debug mode
        debug: bool = "debug" 'D';
        /// Directory of what outlives a boot (default "/var/lib/corten", for a user
        /// "$XDG_DATA_HOME/corten")
        root: Option<PathBuf> = "root" ["string", flags::path];
        /// Directory of what does not outlive a boot (default "/run/corten", for a user
        /// "run" below the other)
        run_root: Option<PathBuf> = "run-root" ["string", flags::path];
        /// Print version information and quit
        version: bool = "version" 'v';
    }
}

/// What the words before the command ask for.
pub(crate) enum Wanted {
    /// The command starts at this word.
    Command(usize),
    Help,
    Version,
}

/// Docker's, for which there is nothing to do here.
const REFUSED: &[(&str, &str)] = &[
    ("--config", "there is no client configuration"),
    ("--context", "there are no contexts"),
    ("-c", "there are no contexts"),
    ("--host", "there is no daemon to talk to"),
    ("-H", "there is no daemon to talk to"),
    ("--log-level", "there is no daemon log"),
    ("-l", "there is no daemon log"),
    ("--tls", "there is no daemon to talk to"),
    ("--tlscacert", "there is no daemon to talk to"),
    ("--tlscert", "there is no daemon to talk to"),
    ("--tlskey", "there is no daemon to talk to"),
    ("--tlsverify", "there is no daemon to talk to"),
];

/// For the help text and the completions.
pub(crate) fn flags() -> Vec<(&'static Meta, bool)> {
    Globals::metas().into_iter().map(|meta| (meta, false)).collect()
}

/// Read by hand: five flags are not worth a parser on every start.
pub(crate) fn parse(args: &[OsString], env: Lookup<'_>) -> Result<(EngineOptions, Wanted), Report> {
    let directory = |name| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut options = EngineOptions {
        root: directory(env::CORTEN_ROOT),
        run_root: directory(env::CORTEN_RUN_ROOT),
        // A relative one means nothing (XDG Base Directory Specification).
        data_home: directory(env::XDG_DATA_HOME)
            .filter(|path| path.is_absolute())
            .or_else(|| directory(env::HOME).map(|home| home.join(".local/share"))),
        search: env(env::PATH).map_or_else(Vec::new, |path| std::env::split_paths(&path).collect()),
        debug: false,
        cgroup_manager: None,
        system_bus: address(env, env::DBUS_SYSTEM_BUS_ADDRESS),
        user_bus: address(env, env::DBUS_SESSION_BUS_ADDRESS).or_else(|| {
            let dir = directory(env::XDG_RUNTIME_DIR)?;
            Some(format!("unix:path={}/bus", dir.to_str()?))
        }),
    };
    if let Some(name) = env(env::CORTEN_CGROUP_MANAGER).filter(|name| !name.is_empty()) {
        options.cgroup_manager = Some(driver(&name.to_string_lossy(), env::CORTEN_CGROUP_MANAGER)?);
    }
    let mut at = 0;
    while let Some(word) = args.get(at) {
        at += 1;
        let text = word.to_string_lossy();
        if !text.starts_with('-') {
            return Ok((options, Wanted::Command(at - 1)));
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (&*text, None),
        };
        match name {
            "--help" | "-h" => return Ok((options, Wanted::Help)),
            "--version" | "-v" => return Ok((options, Wanted::Version)),
            "--debug" | "-D" => options.debug = value.is_none_or(|v| crate::values::switch(v) == Ok(true)),
            "--root" | "--run-root" | "--cgroup-manager" => {
                let value = match value {
                    Some(value) => OsString::from(value),
                    None => {
                        let value = args.get(at).cloned();
                        at += 1;
                        value.ok_or_else(|| refuse(format!("flag needs an argument: {name}")))?
                    }
                };
                match name {
                    "--root" => options.root = Some(value.into()),
                    "--run-root" => options.run_root = Some(value.into()),
                    _ => options.cgroup_manager = Some(driver(&value.to_string_lossy(), name)?),
                }
            }
            _ => {
                let known = REFUSED.iter().find(|(flag, _)| *flag == name);
                return Err(match known {
                    Some((flag, reason)) => refuse(format!("{flag} is refused: {reason}")),
                    None if name.starts_with("--") => refuse(format!("unknown flag: {name}")),
                    None => refuse(format!("unknown shorthand flag: {:?} in {name}", &name[1..])),
                });
            }
        }
    }
    Ok((options, Wanted::Help))
}

fn driver(name: &str, given_by: &str) -> Result<Driver, Report> {
    match name {
        "cgroupfs" => Ok(Driver::Cgroupfs),
        "systemd" => Ok(Driver::Systemd),
        _ => Err(refuse(format!("{given_by}: {name:?} makes no cgroups; use cgroupfs or systemd"))),
    }
}

/// Of a bus; one that is not text is none.
fn address(env: Lookup<'_>, name: &str) -> Option<String> {
    env(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty())
}

fn refuse(message: String) -> Report {
    Report::user(message).see("corten").status(ENGINE_FAILED)
}
