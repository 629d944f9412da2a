//! `corten start`: containers that were made or have ended run.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::{Attach, Control, Controlled};
use crate::flags::{self, flags};
use crate::report::Report;

flags! {
    pub(crate) struct Args {
        /// Attach STDOUT/STDERR and forward signals
        attach: bool = "attach" 'a';
        /// Restore from this checkpoint
        checkpoint: Option<String> = "checkpoint" ["string", flags::text];
        /// Use a custom checkpoint storage directory
        checkpoint_dir: Option<String> = "checkpoint-dir" ["string", flags::text];
        /// Override the key sequence for detaching a container
        detach_keys: Option<String> = "detach-keys" ["string", flags::text];
        /// Attach container's STDIN
        interactive: bool = "interactive" 'i';
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "start";
    const ABOUT: &'static str = "Start one or more stopped containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ALIASES: &'static [&'static str] = &["corten container start", "corten start"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        if self.checkpoint.is_some() || self.checkpoint_dir.is_some() {
            return Err(Report::user("--checkpoint is refused: checkpoints are not supported"));
        }
        if !(self.attach || self.interactive) {
            return super::each(cx, &args, |cx, name| {
                cx.engine()?.control(name, Control::Start(None))?;
                writeln!(cx.stdout, "{name}")?;
                Ok(())
            });
        }
        let [name] = args.as_slice() else {
            return Err(Report::user("you cannot start and attach multiple containers at once"));
        };
        let attach = Attach { input: self.interactive, sig_proxy: true, detach_keys: self.detach_keys };
        match cx.engine()?.control(name, Control::Start(Some(attach)))? {
            Controlled::Exited { code, .. } => Ok(code as u8),
            Controlled::Done => Ok(0),
        }
    }
}
