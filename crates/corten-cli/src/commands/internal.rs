//! `corten internal …`: the steps that `--explain` needs beyond the shell's tools, and the engine's own processes.

use crate::command::Entry;
use crate::context::Context;
use crate::flags::Rules;
use crate::report::Report;

/// Not a [`crate::command::Subcommand`]: its words are not flags, `--help` included.
pub(crate) const ENTRY: Entry = Entry {
    name: "internal",
    about: "What corten calls itself; not for people",
    usage: "WORD...",
    aliases: &[],
    after_help: "",
    hidden: true,
    rules: Rules { interspersed: false, refused: &[], not_yet: &[] },
    metas: Vec::new,
    run,
};

/// A step needs no engine: it may run as a user of the container, who could not open one.
fn run(_path: &str, words: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
    if let Some(done) = crate::steps::run(&words, cx) {
        return done;
    }
    cx.engine()?.internal(words.into_iter().map(Into::into).collect())
}
