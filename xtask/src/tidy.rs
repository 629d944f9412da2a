//! What no compiler checks: the order of the rooms, `unsafe` in one room only, and unfinished places.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The rooms from the bottom up (DESIGN): a crate uses only crates before it.
const ROOMS: [&str; 9] = [
    "corten-sys",
    "corten-oci",
    "corten-seccomp",
    "corten-cgroup",
    "corten-runtime",
    "corten-store",
    "corten-engine",
    "corten-cli",
    "corten",
];

pub fn check() -> Result<(), String> {
    let mut faults = order()?;
    for file in sources(Path::new("crates"))? {
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let name = file.display().to_string();
        if !name.starts_with("crates/corten-sys/") && text.contains("allow(unsafe_code)") {
            faults.push(format!("{name}: unsafe code is corten-sys's alone"));
        }
        for word in ["todo!(", "unimplemented!(", "FIXME", "#[ignore"] {
            if text.contains(word) {
                faults.push(format!("{name}: {word}"));
            }
        }
        let first = text.lines().next().unwrap_or_default();
        if name.contains("/src/")
            && !first.starts_with("//!")
            && !name.ends_with("_tests.rs")
            && !name.contains("tests")
        {
            faults.push(format!("{name}: does not open with what it is (//!)"));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(format!("tidy:\n  {}", faults.join("\n  "))) }
}

fn order() -> Result<Vec<String>, String> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let metadata: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
    let place = |name: &str| ROOMS.iter().position(|room| *room == name);
    let mut faults = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(own) = place(name) else {
            if name != "xtask" {
                faults.push(format!("{name}: is no room of the table in xtask/src/tidy.rs"));
            }
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let other = dependency["name"].as_str().unwrap_or_default();
            if place(other).is_some_and(|other| other >= own) && dependency["kind"].is_null() {
                faults.push(format!("{name} uses {other}, which is not below it"));
            }
        }
    }
    Ok(faults)
}

fn sources(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let entries = fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}
