//! `corten stop`: containers ended: asked first, then killed.

use std::ops::RangeInclusive;

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::Control;
use crate::flags::flags;
use crate::report::Report;
use crate::values::{int, signal};

flags! {
    pub(crate) struct Args {
        /// Signal to send to the container
        signal: Option<i32> = "signal" 's' ["string", signal];
        /// Seconds to wait before killing the container
        timeout: Option<i32> = "timeout" 't' ["int", seconds];
        /// Seconds to wait before killing the container (the older name of --timeout)
        time: Option<i32> = "time" ["int", seconds];
    }
}

/// A negative number is for ever.
fn seconds(text: &str) -> Result<i32, String> {
    match text.strip_prefix('-') {
        Some(rest) => int::<u32>(rest).map(|_| -1),
        None => int::<i32>(text),
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "stop";
    const ABOUT: &'static str = "Stop one or more running containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ALIASES: &'static [&'static str] = &["corten container stop", "corten stop"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let (signal, timeout_s) = (self.signal, self.timeout.or(self.time));
        super::each(cx, &args, |cx, name| {
            cx.engine()?.control(name, Control::Stop { signal, timeout_s })?;
            writeln!(cx.stdout, "{name}")?;
            Ok(())
        })
    }
}
