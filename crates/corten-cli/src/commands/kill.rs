//! `corten kill`: a signal for containers.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::Control;
use crate::flags::{self, flags};
use crate::report::Report;
use crate::values::signal;

flags! {
    pub(crate) struct Args {
        /// Signal to send to the container (default KILL)
        signal: Option<String> = "signal" 's' ["string", flags::text];
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "kill";
    const ABOUT: &'static str = "Kill one or more running containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ALIASES: &'static [&'static str] = &["corten container kill", "corten kill"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let signal = match self.signal.as_deref().unwrap_or_default() {
            "" => rustix::process::Signal::KILL.as_raw(),
            // Docker's daemon refuses it, and so the code is not that of a wrong flag.
            text => signal(text).map_err(|error| Report::user(error).status(1))?,
        };
        super::each(cx, &args, |cx, name| {
            cx.engine()?.control(name, Control::Kill { signal })?;
            writeln!(cx.stdout, "{name}")?;
            Ok(())
        })
    }
}
