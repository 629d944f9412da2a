//! `cargo xtask`: the project's chores.
//!
//! | command | what it does |
//! |---|---|
//! | `ci` | everything below but `man` and `bench`: what `.ci/run` runs |
//! | `deps` | installs what the tests need, by apt |
//! | `fmt`, `clippy`, `tidy`, `deny`, `doc` | one check each |
//! | `test` | all tests, by nextest where it is installed |
//! | `man [DIRECTORY]` | writes the manual pages, into target/man if none is given |
//! | `test --host uml [PART]` | those that meet the kernel, or whose names contain PART, on the second host |
//! | `bench` | benchmarks of `bench/` |

mod man;
mod tidy;
mod uml;

use std::process::{Command, ExitCode};

/// Debian packages that the tests use; a test whose package is missing says so and is skipped.
const PACKAGES: [&str; 20] = [
    "attr",
    "busybox-static",
    "dbus-daemon",
    "e2fsprogs",
    "fish",
    "gcc",
    "iproute2",
    "kmod",
    "libc6-dev",
    "libcap2-bin",
    "libseccomp-dev",
    "man-db",
    "mandoc",
    "skopeo",
    "strace",
    "systemd",
    "uidmap",
    "umoci",
    "user-mode-linux",
    "zsh",
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.first().map(String::as_str) {
        Some("ci") => ci(),
        Some("deps") => deps(),
        Some("fmt") => fmt(),
        Some("clippy") => clippy(),
        Some("tidy") => tidy::check(),
        Some("deny") => deny(),
        Some("test") => test(&args[1..]),
        // What `test --host uml` runs in its guests.
        Some("uml-guest") => {
            uml::guest::run(args.get(1).map(AsRef::as_ref).unwrap_or(std::path::Path::new("")))
        }
        Some("doc") => doc(),
        Some("man") => man(args.get(1)),
        Some("bench") => ["start.sh", "many.sh", "unpack.sh"]
            .iter()
            .try_for_each(|script| run("bash", &[&format!("bench/{script}")])),
        _ => Err("usage: cargo xtask ci|deps|fmt|clippy|tidy|deny|test|doc|man|bench".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ci() -> Result<(), String> {
    deps()?;
    fmt()?;
    clippy()?;
    tidy::check()?;
    deny()?;
    doc()?;
    // Every system call of a start, and no sample: what CI says of a commit is the same each time.
    run_tests(&[("CORTEN_TEST_ALL", "1")])?;
    match uml::lacking() {
        None => uml::test(None),
        Some(reason) => {
            eprintln!("skipped: the second host: {reason}");
            Ok(())
        }
    }
}

/// Runs a program with the terminal's streams; an error names its command line.
fn run(program: &str, args: &[&str]) -> Result<(), String> {
    run_with(program, args, &[])
}

fn run_with(program: &str, args: &[&str], env: &[(&str, &str)]) -> Result<(), String> {
    let line = format!("{program} {}", args.join(" "));
    eprintln!("+ {line}");
    let status = Command::new(program)
        .args(args)
        .envs(env.iter().copied())
        .status()
        .map_err(|error| format!("{line}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{line}: {status}")) }
}

fn has(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

fn deps() -> Result<(), String> {
    let missing: Vec<&str> = PACKAGES.into_iter().filter(|package| !has("dpkg", &["-s", package])).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !has("apt-get", &["--version"]) || !has("sh", &["-c", "test $(id -u) = 0"]) {
        eprintln!("not installed, and cannot be here: {}; their tests will be skipped", missing.join(" "));
        return Ok(());
    }
    run("apt-get", &["-q", "update"])?;
    let mut args = vec!["-qy", "install", "--no-install-recommends"];
    args.extend(missing);
    run_with("apt-get", &args, &[("DEBIAN_FRONTEND", "noninteractive")])
}

fn fmt() -> Result<(), String> {
    run("cargo", &["fmt", "--all", "--check"])
}

fn clippy() -> Result<(), String> {
    run("cargo", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

fn deny() -> Result<(), String> {
    if !has("cargo", &["deny", "--version"]) {
        eprintln!("cargo-deny is not installed (cargo install cargo-deny --locked): skipped");
        return Ok(());
    }
    run("cargo", &["deny", "check", "bans", "licenses", "sources"])
}

fn doc() -> Result<(), String> {
    run_with("cargo", &["doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])
}

fn man(directory: Option<&String>) -> Result<(), String> {
    let directory = directory.map_or("target/man/man1", String::as_str);
    let count = man::generate(std::path::Path::new(directory))?;
    eprintln!("{count} pages in {directory}");
    Ok(())
}

fn test(args: &[String]) -> Result<(), String> {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run_tests(&[]),
        ["--host", "uml"] => uml::test(None),
        ["--host", "uml", part] => uml::test(Some(part)),
        _ => Err("usage: cargo xtask test [--host uml [PART]]".to_owned()),
    }
}

fn run_tests(env: &[(&str, &str)]) -> Result<(), String> {
    if has("cargo", &["nextest", "--version"]) {
        run_with("cargo", &["nextest", "run", "--workspace", "--no-fail-fast"], env)
    } else {
        run_with("cargo", &["test", "--workspace", "--no-fail-fast"], env)
    }
}
