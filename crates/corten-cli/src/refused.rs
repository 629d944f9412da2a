//! Flags of `docker run` whose feature is not there: they exist, and are refused by name. A line leaves
//! this file when its feature comes.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use crate::report::{ENGINE_FAILED, Report};

/// In [`crate::container_flags`] already, waiting for their feature.
const NOT_YET: &[(&str, &str)] = &[
    ("cpu_rt_period", "real-time scheduling of cgroups is not supported yet"),
    ("cpu_rt_runtime", "real-time scheduling of cgroups is not supported yet"),
    ("health_cmd", "health checks are not supported yet"),
    ("health_interval", "health checks are not supported yet"),
    ("health_retries", "health checks are not supported yet"),
    ("health_start_interval", "health checks are not supported yet"),
    ("health_start_period", "health checks are not supported yet"),
    ("health_timeout", "health checks are not supported yet"),
    ("publish", "ports cannot be published yet"),
    ("publish_all", "ports cannot be published yet"),
    ("storage_opt", "the storage driver has no options"),
    ("volume_driver", "volume plugins are not supported"),
    ("volumes_from", "taking over another container's volumes is not supported yet"),
];

struct Refused {
    long: &'static str,
    /// `None`: a switch.
    value: Option<&'static str>,
    help: &'static str,
    reason: &'static str,
}

const fn refused(
    long: &'static str,
    value: Option<&'static str>,
    help: &'static str,
    reason: &'static str,
) -> Refused {
    Refused { long, value, help, reason }
}

const WINDOWS: &str = "it is for Windows containers only";
const NETWORK: &str = "networks other than none, host and container:NAME are not supported yet";

/// Known only to be refused.
const REFUSED: &[Refused] = &[
    refused("cpu-count", Some("int"), "CPU count (Windows only)", WINDOWS),
    refused("cpu-percent", Some("int"), "CPU percent (Windows only)", WINDOWS),
    refused(
        "gpus",
        Some("gpu-request"),
        "GPU devices to add to the container ('all' to pass all GPUs)",
        "GPUs are not supported yet",
    ),
    refused("io-maxbandwidth", Some("bytes"), "Maximum IO bandwidth limit (Windows only)", WINDOWS),
    refused("io-maxiops", Some("uint"), "Maximum IOps limit (Windows only)", WINDOWS),
    refused("ip", Some("string"), "IPv4 address (e.g., 172.30.100.104)", NETWORK),
    refused("ip6", Some("string"), "IPv6 address (e.g., 2001:db8::33)", NETWORK),
    refused("isolation", Some("string"), "Container isolation technology (Windows only)", WINDOWS),
    refused(
        "kernel-memory",
        Some("bytes"),
        "Kernel memory limit",
        "the kernel has no such limit any more (Linux 5.4)",
    ),
    refused("link", Some("list"), "Add link to another container", NETWORK),
    refused("link-local-ip", Some("list"), "Container IPv4/IPv6 link-local addresses", NETWORK),
    refused("mac-address", Some("string"), "Container MAC address (e.g., 92:d0:c6:0a:29:33)", NETWORK),
    refused("network-alias", Some("list"), "Add network-scoped alias for the container", NETWORK),
    refused(
        "runtime",
        Some("string"),
        "Runtime to use for this container",
        "corten runs containers itself; other runtimes are not supported",
    ),
    refused(
        "use-api-socket",
        None,
        "Bind mount the API socket and required auth",
        "there is no API socket to hand in yet",
    ),
];

/// Adds them to a command that describes a container.
pub(crate) fn add(command: Command) -> Command {
    command.args(REFUSED.iter().map(|flag| {
        let arg = Arg::new(flag.long).long(flag.long).help(flag.help);
        match flag.value {
            Some(name) => arg.value_name(name).action(clap::ArgAction::Append),
            None => arg.action(clap::ArgAction::SetTrue),
        }
    }))
}

/// Why a flag of a command is refused.
pub(crate) fn reason(command: &Command, arg: &Arg) -> Option<&'static str> {
    // Only commands that describe a container have both.
    command.get_arguments().find(|other| other.get_long() == Some(REFUSED[0].long))?;
    let id = arg.get_id().as_str();
    let refused = REFUSED.iter().find(|flag| flag.long == id).map(|flag| flag.reason);
    refused.or_else(|| NOT_YET.iter().find(|(known, _)| *known == id).map(|(_, reason)| *reason))
}

/// The first such flag that was given; a switch that was turned off is none.
pub(crate) fn check(matches: &ArgMatches) -> Result<(), Report> {
    let given = |id: &str| {
        matches.value_source(id) == Some(ValueSource::CommandLine)
            && !matches!(matches.try_get_one::<bool>(id), Ok(Some(false)))
    };
    let not_yet = NOT_YET.iter().map(|(id, reason)| (*id, *reason));
    for (id, reason) in not_yet.chain(REFUSED.iter().map(|flag| (flag.long, flag.reason))) {
        if given(id) {
            let message = format!("--{} is refused: {reason}", id.replace('_', "-"));
            return Err(Report::user(message).status(ENGINE_FAILED));
        }
    }
    Ok(())
}
