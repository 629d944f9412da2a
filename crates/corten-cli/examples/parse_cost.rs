//! What it costs to understand `run --rm --network none busybox true`: the first time, as a process pays
//! it, and on average. `cargo run --release -p corten-cli --example parse_cost`

use std::cell::Cell;
use std::ffi::OsString;
use std::time::Instant;

use corten_cli::context::Context;
use corten_cli::engine_api::{Engine, EngineOptions};
use corten_cli::report::Report;

fn main() {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let args = match args.is_empty() {
        true => ["run", "--rm", "--network", "none", "busybox", "true"].map(OsString::from).to_vec(),
        false => args,
    };
    // Parsing ends where the engine would be opened.
    let reached = Cell::new(false);
    let open = |_: &EngineOptions| -> Result<Box<dyn Engine>, Report> {
        reached.set(true);
        Err(Report::user("parsed"))
    };
    let once = || {
        let (mut stdout, mut stderr) = (std::io::sink(), std::io::sink());
        let mut cx = Context::new(&mut stdout, &mut stderr, &|_| None, &open);
        let start = Instant::now();
        corten_cli::run(&args, &mut cx);
        start.elapsed()
    };
    let before = faults();
    let first = once();
    println!("first: {first:?}, {} page faults", faults() - before);
    assert!(reached.get(), "not a command line that reaches the engine");
    const ROUNDS: u32 = 2_000;
    let mut times: Vec<_> = (0..ROUNDS).map(|_| once()).collect();
    times.sort();
    println!("median of {ROUNDS}: {:?}", times[times.len() / 2]);
}

/// Minor faults so far: field 10 of /proc/self/stat.
fn faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().nth(7).and_then(|text| text.parse().ok()).unwrap_or(0)
}
