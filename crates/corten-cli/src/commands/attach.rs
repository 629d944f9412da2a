//! `corten attach`: the streams of a container that runs.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::{Attach, Control, Controlled};
use crate::flags::{self, flags};
use crate::report::Report;
use crate::values::switch;

flags! {
    pub(crate) struct Args {
        /// Override the key sequence for detaching a container
        detach_keys: Option<String> = "detach-keys" ["string", flags::text];
        /// Do not attach STDIN
        no_stdin: bool = "no-stdin";
        /// Proxy all received signals to the process (default true)
        sig_proxy: Option<bool> = "sig-proxy" (switch);
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "attach";
    const ABOUT: &'static str =
        "Attach local standard input, output, and error streams to a running container";
    const USAGE: &'static str = "[OPTIONS] CONTAINER";
    const ALIASES: &'static [&'static str] = &["corten container attach", "corten attach"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=1;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let attach = Attach {
            input: !self.no_stdin,
            sig_proxy: self.sig_proxy.unwrap_or(true),
            detach_keys: self.detach_keys,
        };
        match cx.engine()?.control(&args[0], Control::Attach(attach))? {
            Controlled::Exited { code, .. } => Ok(code as u8),
            Controlled::Done => Ok(0),
        }
    }
}
