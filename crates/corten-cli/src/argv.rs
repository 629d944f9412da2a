//! Command lines of this program, as it hands them to itself or to a script.

use std::ffi::OsString;

use corten_engine::exec::ExecConfig;
use corten_engine::{Dirs, explain};

use crate::engine_api::RunOptions;
use crate::report::Report;

/// The command line that asks for the same exec again. Not the one that was typed: a file of variables may have
/// been a pipe, which is empty now.
pub(crate) fn exec_again(dirs: &Dirs, name: &str, config: &ExecConfig) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec![std::env::args_os().next().unwrap_or_else(|| "corten".into())];
    args.extend(["--root".into(), dirs.root.clone().into()]);
    args.extend(["--run-root".into(), dirs.run.clone().into()]);
    args.push("exec".into());
    for (flag, is_set) in [
        ("--detach", config.detach),
        ("--interactive", config.interactive),
        ("--privileged", config.privileged),
        ("--tty", config.tty),
    ] {
        args.extend(is_set.then(|| flag.into()));
    }
    args.push(format!("--detach-keys={}", config.detach_keys).into());
    args.extend(config.user.iter().map(|user| format!("--user={user}").into()));
    args.extend(config.workdir.iter().map(|dir| format!("--workdir={dir}").into()));
    args.extend(config.env.iter().map(|variable| format!("--env={variable}").into()));
    args.extend(["--".into(), name.into()]);
    args.extend(config.command.iter().map(OsString::from));
    args
}

/// What the script of `--explain` says of the command and of this program.
pub(crate) fn explain_options(options: &RunOptions) -> Result<explain::ExplainOptions, Report> {
    let program = std::env::current_exe()
        .map_err(|error| Report::host("cannot find the path of this program").cause(error))?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    Ok(explain::ExplainOptions { words, program, detach: options.detach })
}
