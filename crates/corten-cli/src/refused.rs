//! Flags of `docker run` whose feature is not there: they exist, and are refused by name. A line leaves
//! this file when its feature comes.

use crate::flags::{Meta, Refused};

/// In [`crate::container_flags`] already, waiting for their feature.
pub(crate) const NOT_YET: &[(&str, &str)] = &[
    ("cpu-rt-period", "real-time scheduling of cgroups is not supported yet"),
    ("cpu-rt-runtime", "real-time scheduling of cgroups is not supported yet"),
    ("publish", "ports cannot be published yet"),
    ("publish-all", "ports cannot be published yet"),
    ("storage-opt", "the storage driver has no options"),
];

const fn refused(
    long: &'static str,
    value: Option<&'static str>,
    help: &'static str,
    reason: &'static str,
) -> Refused {
    Refused { meta: Meta { long, short: None, value, help }, reason }
}

const WINDOWS: &str = "it is for Windows containers only";
const NETWORK: &str = "networks other than none, host and container:NAME are not supported yet";

/// Known only to be refused.
pub(crate) const REFUSED: &[Refused] = &[
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
