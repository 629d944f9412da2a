//! `corten exec`: a command in a container that runs.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use corten_engine::config::User;
use corten_engine::exec::ExecConfig;

use crate::command::Subcommand;
use crate::container_config::environment;
use crate::context::Context;
use crate::engine_api::RunOutcome;
use crate::flags::{self, flags};
use crate::report::Report;

flags! {
    pub(crate) struct Args {
        /// Detached mode: run command in the background
        detach: bool = "detach" 'd';
        /// Override the key sequence for detaching a container
        detach_keys: Option<String> = "detach-keys" ["string", flags::text];
        /// Set environment variables
        env: Vec<String> = "env" 'e' ["list", flags::text];
        /// Read in a file of environment variables
        env_file: Vec<PathBuf> = "env-file" ["list", flags::path];
        /// Keep STDIN open even if not attached
        interactive: bool = "interactive" 'i';
        /// Give extended privileges to the command
        privileged: bool = "privileged";
        /// Allocate a pseudo-TTY
        tty: bool = "tty" 't';
        /// Username or UID (format: "<name|uid>[:<group|gid>]")
        user: Option<User> = "user" 'u' ["string", User::parse];
        /// Working directory inside the container
        workdir: Option<String> = "workdir" 'w' ["string", flags::text];
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "exec";
    const ABOUT: &'static str = "Execute a command in a running container";
    const USAGE: &'static str = "[OPTIONS] CONTAINER COMMAND [ARG...]";
    const ALIASES: &'static [&'static str] = &["corten container exec", "corten exec"];
    const ARGUMENTS: RangeInclusive<usize> = 2..=usize::MAX;
    /// What follows CONTAINER is the command, flags and all.
    const INTERSPERSED: bool = false;
    const AFTER_HELP: &'static str = "The command has the container's environment, user, working directory, limits and \
                                      filters\nwhere the flags say nothing else, and ends with the container.\n\n\
                                      Examples:\n  corten exec -it web sh\n  corten exec -u 1000 -w /srv -e LANG=C web \
                                      ls\n  corten exec -i web sh -c 'cat > /tmp/in' < file\n  corten exec -d web \
                                      touch /tmp/done";

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        if self.interactive && self.tty && !self.detach && !cx.stdin_is_terminal() {
            return Err(Report::user("the input device is not a TTY"));
        }
        if let Some(dir) = self.workdir.as_deref().filter(|dir| !dir.is_empty() && !dir.starts_with('/')) {
            let why = format!("the working directory '{dir}' is invalid, it needs to be an absolute path");
            return Err(Report::user(why));
        }
        let detach_keys = self.detach_keys.as_deref().unwrap_or_default();
        let detach_keys = detach_keys
            .parse()
            .map_err(|error: String| Report::user(error).hint("as in ctrl-p,ctrl-q or a,DEL"))?;
        let mut words = args.into_iter();
        let container = words.next().unwrap_or_default();
        let config = ExecConfig {
            command: words.collect(),
            env: environment(&self.env_file, &self.env, cx)?,
            user: self.user.filter(|user| *user != Default::default()),
            workdir: self.workdir.filter(|dir| !dir.is_empty()),
            tty: self.tty,
            interactive: self.interactive,
            privileged: self.privileged,
            detach: self.detach,
            detach_keys,
        };
        match cx.engine()?.exec(&container, config)? {
            RunOutcome::Exited { code, .. } => Ok(code),
            _ => Ok(0),
        }
    }
}
