//! What would reach further than it says: names that are lines, mounts over the kernel's own files.

use crate::config::Config;
use crate::error::EngineError;

/// Files of /proc that may be covered: they tell, and nothing that is written to them guards anything.
const COVERABLE: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

pub(super) fn check(config: &Config) -> Result<(), EngineError> {
    // Both become part of lines of /etc/hosts (as CVE-2022-4318 did of /etc/passwd).
    for (flag, name) in [("--hostname", &config.hostname), ("--domainname", &config.domainname)] {
        if name.as_deref().is_some_and(|name| name.contains(|c: char| c.is_control() || c.is_whitespace())) {
            return Err(EngineError::refused(flag, "a name has no blanks and no control characters"));
        }
    }
    // Labels and settings are written to procfs: with something over it they would go elsewhere
    // (CVE-2019-16884, CVE-2025-52881).
    for mount in &config.mounts {
        let target = mount.target.as_str();
        if (target == "/proc" || target.starts_with("/proc/")) && !COVERABLE.contains(&target) {
            return Err(EngineError::refused(
                format!("a mount at {target}"),
                "what is below /proc cannot be covered, but for files such as /proc/cpuinfo and /proc/uptime",
            ));
        }
    }
    Ok(())
}
