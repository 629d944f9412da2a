//! `corten run`: a container from an image, started.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::container_flags::ContainerFlags;
use crate::context::Context;
use crate::engine_api::{RunOptions, RunOutcome};
use crate::flags::{self, Refused, flags};
use crate::refused;
use crate::report::{ENGINE_FAILED, Report};
use crate::values::switch;

flags! {
    pub(crate) struct Args {
        ..container: ContainerFlags;
        /// Run container in background and print container ID
        detach: bool = "detach" 'd';
        /// Override the key sequence for detaching a container
        detach_keys: Option<String> = "detach-keys" ["string", flags::text];
        /// Skip image verification (default true)
        disable_content_trust: Option<bool> = "disable-content-trust" (switch);
        /// Print what would be done as a shell script, with a comment a step, and start nothing
        explain: bool = "explain";
        /// Proxy received signals to the process (default true)
        sig_proxy: Option<bool> = "sig-proxy" (switch);
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "run";
    const ABOUT: &'static str = "Create and run a new container from an image";
    const USAGE: &'static str = "[OPTIONS] IMAGE [COMMAND] [ARG...]";
    const ALIASES: &'static [&'static str] = &["corten container run", "corten run"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;
    /// What follows IMAGE is the container's command, flags and all.
    const INTERSPERSED: bool = false;
    const REFUSED: &'static [Refused] = refused::REFUSED;
    const NOT_YET: &'static [(&'static str, &'static str)] = refused::NOT_YET;
    const FAILURE: u8 = ENGINE_FAILED;
    const AFTER_HELP: &'static str = "The image name `host` stands for this machine's own programs, read-only \
                                      under a layer\nthat is thrown away. -v takes nomap for a mount that keeps the \
                                      host's ids.\n\nExamples:\n  corten run --rm -it host sh\n  \
                                      echo hello | corten run --rm -i busybox cat\n  \
                                      corten run -d --name web -m 64m --cpus 0.5 busybox sleep 1000\n  \
                                      corten run --rm --read-only --tmpfs /tmp -v /srv/data:/data busybox ls \
                                      /data";

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let refuse = |text: &str| Report::user(text).status(ENGINE_FAILED);
        if self.disable_content_trust == Some(false) {
            return Err(refuse("--disable-content-trust=false is refused: there is no content trust"));
        }
        let flags = self.container;
        if self.detach && !flags.attach.is_empty() {
            return Err(refuse("conflicting options: cannot specify both --attach and --detach"));
        }
        if flags.interactive && flags.tty && !self.detach && !self.explain && !cx.stdin_is_terminal() {
            return Err(Report::user("the input device is not a TTY").status(1));
        }
        if let Some(file) = flags.cidfile.as_ref().filter(|file| file.exists()) {
            return Err(refuse(&format!(
                "container ID file found, make sure the other container isn't running or delete {}",
                file.display()
            )));
        }
        let options = RunOptions {
            detach: self.detach,
            explain: self.explain,
            pull: flags.pull.unwrap_or_default(),
            quiet: flags.quiet,
            cidfile: flags.cidfile.clone(),
            sig_proxy: self.sig_proxy.unwrap_or(true),
            detach_keys: self.detach_keys,
        };
        if !self.explain {
            // Before a file is read that can be read once only.
            let host_root = flags.has_host_root();
            if host_root || !rustix::process::geteuid().is_root() {
                cx.engine()?.seal(host_root)?;
            }
        }
        let config = flags.into_config(args, cx)?;
        match cx.engine()?.run(config, options)? {
            RunOutcome::Exited { code, oom_killed } => {
                if oom_killed {
                    writeln!(
                        cx.stderr,
                        "corten: the kernel killed a process of the container: its memory limit was reached"
                    )?;
                }
                Ok(code)
            }
            RunOutcome::Started(id) => {
                writeln!(cx.stdout, "{id}")?;
                Ok(0)
            }
            RunOutcome::Detached => Ok(0),
            RunOutcome::Explained(script) => {
                cx.stdout.write_all(script.as_bytes())?;
                Ok(0)
            }
        }
    }
}
