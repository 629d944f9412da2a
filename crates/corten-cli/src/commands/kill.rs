//! `corten kill`: a signal for containers.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::Control;
use crate::flags::flags;
use crate::report::Report;
use crate::values::signal;

flags! {
    pub(crate) struct Args {
        /// Signal to send to the container (default KILL)
        signal: Option<i32> = "signal" 's' ["string", signal];
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "kill";
    const ABOUT: &'static str = "Kill one or more running containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ALIASES: &'static [&'static str] = &["corten container kill", "corten kill"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let signal = self.signal.unwrap_or(rustix::process::Signal::KILL.as_raw());
        super::each(cx, &args, |cx, name| {
            cx.engine()?.control(name, Control::Kill { signal })?;
            writeln!(cx.stdout, "{name}")?;
            Ok(())
        })
    }
}
