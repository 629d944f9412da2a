//! The tests on the second host: pure cgroup v2, Linux 6.1, as `tests/uml/boot.sh` boots it.
//!
//! ```text
//! here:   build the test programs ─► ask each for its tests ─► DIR/units.json ─► boot guests
//! guests: take the next unit (mkdir DIR/N.taken, exclusive) ─► run it ─► DIR/N.json     (guest.rs)
//! here:   a unit without N.json has failed: its guest died
//! ```
//!
//! A unit is one test of `tests/`, in a process of its own as with nextest, or all unit tests of a crate
//! together. User-mode Linux has one processor, so there is a guest for each of this machine's, two at
//! most; they share nothing but the units.

pub mod guest;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The crates that meet the kernel; the others make no call that could differ there.
const CRATES: [&str; 6] =
    ["corten", "corten-store", "corten-cgroup", "corten-runtime", "corten-engine", "corten-sys"];

/// Tests, by the beginnings of their names, that are not run there, and why.
const NOT_THERE: [(&str, &str); 6] = [
    (
        "corten::logs a_full_disk_costs_lines",
        "the store is on a tmpfs, which cannot be idmapped before Linux 6.3",
    ),
    ("corten::logs the_journal_gets_lines", "the test mounts over /run, where the guest has its disk"),
    ("corten::explain ", "a script of a hundred processes takes half a minute there, and there are twenty"),
    ("corten::commit what_no_image_can_have_is_refused", "the image `host` is a part of it"),
    ("corten::host_image ", "/usr is on user-mode Linux's hostfs, which cannot be idmapped"),
    (
        "corten::terminal the_terminal_is_put_back_however_it_ends",
        "of a few runs there one loses the signal; whose fault that is, is not known yet",
    ),
];

const GUESTS: usize = 2;
const BOOT: &str = "tests/uml/boot.sh";

/// What a guest gets: memory, disk, and the time after which it is taken for dead.
const GUEST: [&str; 6] = ["--mem", "1200M", "--disk", "2G", "--timeout", "2400"];

/// Tests in one process.
struct Unit {
    /// As nextest has it: `corten::run the_test`.
    name: String,
    program: PathBuf,
    /// The crate's, where cargo runs its tests too.
    directory: PathBuf,
    /// `None`: all that the program has.
    test: Option<String>,
}

impl Unit {
    fn not_there(&self) -> Option<&'static str> {
        NOT_THERE.iter().find(|(name, _)| self.name.starts_with(name)).map(|(_, why)| *why)
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "program": self.program,
            "directory": self.directory,
            "test": self.test,
        })
    }
}

/// Why this machine cannot boot the second host, if it cannot.
pub fn lacking() -> Option<&'static str> {
    if !crate::has("sh", &["-c", "command -v linux.uml && command -v modprobe"]) {
        return Some("linux.uml or modprobe is missing (apt-get install user-mode-linux kmod)");
    }
    if !crate::has("sh", &["-c", "test $(id -u) = 0"]) {
        return Some("it needs root");
    }
    None
}

/// Runs the tests whose names contain `filter`.
pub fn test(filter: Option<&str>) -> Result<(), String> {
    if let Some(reason) = lacking() {
        return Err(format!("the second host cannot be booted here: {reason}"));
    }
    let wanted = units()?.into_iter().filter(|unit| filter.is_none_or(|part| unit.name.contains(part)));
    let (left_out, units): (Vec<Unit>, Vec<Unit>) = wanted.partition(|unit| unit.not_there().is_some());
    if units.is_empty() {
        return Err(format!("no test's name contains {:?}", filter.unwrap_or_default()));
    }
    let dir = Scratch::new()?;
    let list = Value::Array(units.iter().map(Unit::to_json).collect());
    let file = dir.0.join("units.json");
    fs::write(&file, list.to_string()).map_err(|error| format!("{}: {error}", file.display()))?;
    let begin = Instant::now();
    let ends = boot(&dir.0, GUESTS.min(units.len()))?;
    let not_there = |unit: &Unit| Some((unit.name.clone(), unit.not_there()?.to_owned()));
    let skipped = left_out.iter().filter_map(not_there).collect();
    report(&units, skipped, &dir.0, &ends, begin.elapsed())
}

/// Builds the test programs and asks them what they have.
fn units() -> Result<Vec<Unit>, String> {
    let line = ["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"];
    eprintln!("+ cargo {}", line.join(" "));
    let output = Command::new("cargo")
        .args(line)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo test: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo test --no-run: {}", output.status));
    }
    let mut units = Vec::new();
    for message in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value =
            serde_json::from_str(message).map_err(|error| format!("cargo: {error}: {message}"))?;
        let (Some(program), Some(true)) =
            (message["executable"].as_str(), message["profile"]["test"].as_bool())
        else {
            continue;
        };
        let directory = Path::new(message["manifest_path"].as_str().unwrap_or_default()).parent();
        let directory = directory.ok_or_else(|| format!("cargo: no manifest_path: {message}"))?;
        let package = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(place) = CRATES.iter().position(|name| *name == package) else { continue };
        let single = message["target"]["kind"][0] == "test";
        let target = message["target"]["name"].as_str().unwrap_or_default();
        let name = if single { format!("{package}::{target}") } else { package };
        for test in tests_of(Path::new(program))?.into_iter().take(if single { usize::MAX } else { 1 }) {
            let unit = Unit {
                name: if single { format!("{name} {test}") } else { format!("{name} (unit tests)") },
                program: program.into(),
                directory: directory.to_owned(),
                test: single.then_some(test),
            };
            units.push((place, unit));
        }
    }
    // The slow ones first, so that no guest is left with them at the end.
    units.sort_by_key(|(place, _)| *place);
    Ok(units.into_iter().map(|(_, unit)| unit).collect())
}

fn tests_of(program: &Path) -> Result<Vec<String>, String> {
    let output = Command::new(program)
        .args(["--list", "--format", "terse"])
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let list = String::from_utf8_lossy(&output.stdout);
    Ok(list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// Boots the guests and waits for their ends; what each said of its own is on the terminal by then.
fn boot(dir: &Path, count: usize) -> Result<Vec<String>, String> {
    let own = std::env::current_exe().map_err(|error| format!("current_exe: {error}"))?;
    let mut guests = Vec::new();
    for number in 0..count {
        let mut command = Command::new(BOOT);
        command.args(GUEST).arg("--").arg(&own).arg("uml-guest").arg(dir);
        guests.push((number, command.spawn().map_err(|error| format!("{BOOT}: {error}"))?));
    }
    let mut ends = Vec::new();
    for (number, mut guest) in guests {
        let status = guest.wait().map_err(|error| format!("{BOOT}: {error}"))?;
        if !status.success() {
            ends.push(format!("guest {number}: {status}"));
        }
    }
    Ok(ends)
}

/// The sums; an error if anything failed or has no result. `skipped` has those that were not run.
fn report(
    units: &[Unit],
    mut skipped: BTreeMap<String, String>,
    dir: &Path,
    ends: &[String],
    took: Duration,
) -> Result<(), String> {
    let mut faults = ends.to_vec();
    let mut passed = 0;
    for (number, unit) in units.iter().enumerate() {
        let file = dir.join(format!("{number}.json"));
        let Some(result) = fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok())
        else {
            let taken = dir.join(format!("{number}.taken")).exists();
            let why = if taken { "its guest died while it ran" } else { "no guest came to it" };
            faults.push(format!("{}: {why}", unit.name));
            continue;
        };
        if let Some(fault) = result["fault"].as_str() {
            faults.push(format!("{}: {fault}", unit.name));
            continue;
        }
        let skips = result["skipped"].as_object().into_iter().flatten();
        let before = skipped.len();
        skipped.extend(skips.map(|(test, reason)| {
            let name = unit.name.split(' ').next().unwrap_or_default();
            (format!("{name} {test}"), reason.as_str().unwrap_or_default().to_owned())
        }));
        let tests = result["tests"].as_u64().unwrap_or(0) as usize;
        passed += tests.saturating_sub(skipped.len() - before);
    }
    eprintln!("--------");
    for (name, reason) in &skipped {
        eprintln!("skipped there: {name}: {reason}");
    }
    eprintln!(
        "second host (Linux 6.1, cgroup v2) [{:8.3}s]: {passed} passed, {} failed, {} skipped",
        took.as_secs_f64(),
        faults.len(),
        skipped.len()
    );
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!("on the second host:\n  {}", faults.join("\n  ")))
}

/// A directory that both sides see, and that goes with the run.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        let dir = std::env::temp_dir().join(format!("corten-uml-{}", std::process::id()));
        fs::create_dir(&dir).map_err(|error| format!("mkdir {}: {error}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is in /tmp and named after us.
        let _left = fs::remove_dir_all(&self.0);
    }
}
