//! Every environment variable that corten looks at, in one place. Nothing below this crate reads any;
//! what the engine needs is handed on as a value.

use std::ffi::OsString;

/// The state directory, instead of /var/lib/corten (`$XDG_DATA_HOME/corten` for a user). `--root` wins.
pub const CORTEN_ROOT: &str = "CORTEN_ROOT";
/// What does not outlive a boot, instead of /run/corten (`run` below the state directory for a user). `--run-root` wins.
pub const CORTEN_RUN_ROOT: &str = "CORTEN_RUN_ROOT";
/// Set and not empty: no colours, see no-color.org.
pub const NO_COLOR: &str = "NO_COLOR";
/// `dumb`: no colours either.
pub const TERM: &str = "TERM";
/// The width of help texts where standard output is no terminal.
pub const COLUMNS: &str = "COLUMNS";
/// The parent of an ordinary user's state directory.
pub const XDG_DATA_HOME: &str = "XDG_DATA_HOME";
/// Where an ordinary user's own systemd listens, in `bus`.
pub const XDG_RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";
pub const HOME: &str = "HOME";
/// `cgroupfs` or `systemd`. `--cgroup-manager` wins.
pub const CORTEN_CGROUP_MANAGER: &str = "CORTEN_CGROUP_MANAGER";
/// Where systemd is asked for scopes, for root and for an ordinary user.
pub const DBUS_SYSTEM_BUS_ADDRESS: &str = "DBUS_SYSTEM_BUS_ADDRESS";
pub const DBUS_SESSION_BUS_ADDRESS: &str = "DBUS_SESSION_BUS_ADDRESS";
/// Where an ordinary user's newuidmap and newgidmap are looked for.
pub const PATH: &str = "PATH";
/// The default of `--platform`.
pub const DOCKER_DEFAULT_PLATFORM: &str = "DOCKER_DEFAULT_PLATFORM";

/// Their descriptions, for the manual page.
pub const DOCUMENTED: &[(&str, &str)] = &[
    (CORTEN_ROOT, "the state directory; --root wins"),
    (CORTEN_RUN_ROOT, "the directory of what does not outlive a boot; --run-root wins"),
    (NO_COLOR, "set and not empty: no colours"),
    (TERM, "dumb: no colours"),
    (COLUMNS, "the width of help texts where standard output is no terminal"),
    (XDG_DATA_HOME, "the parent of an ordinary user's state directory"),
    (HOME, "where XDG_DATA_HOME is unset, ~/.local/share"),
    (CORTEN_CGROUP_MANAGER, "cgroupfs or systemd; --cgroup-manager wins"),
    (DBUS_SYSTEM_BUS_ADDRESS, "where the system's systemd is asked for scopes"),
    (DBUS_SESSION_BUS_ADDRESS, "where an ordinary user's own systemd is; else $XDG_RUNTIME_DIR/bus"),
    (XDG_RUNTIME_DIR, "where an ordinary user's own systemd listens, in bus"),
    (PATH, "where an ordinary user's newuidmap and newgidmap are looked for"),
    (DOCKER_DEFAULT_PLATFORM, "the default of --platform"),
];

/// How a variable is looked up: the process's environment, or a table in a test.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// All of it, for a program that is executed with it.
pub(crate) fn all() -> Vec<String> {
    let entry = |(name, value): (OsString, OsString)| {
        Some(format!("{}={}", name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(entry).collect()
}

/// The process's own environment.
pub fn process(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
