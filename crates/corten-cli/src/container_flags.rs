//! The flags that describe a container: `run` has them now, `create` will.
//!
//! Names, shorthands and values are those of docker 28. The order is the alphabet's.

use std::net::IpAddr;
use std::path::PathBuf;

use corten_engine::config::blkio::DeviceRate;
use corten_engine::config::{
    CapabilityArg, CgroupnsMode, Device, DeviceCgroupRule, ExposedPort, HostEntry, IdOrName, Init, IpcMode,
    Mount, NetworkAttachment, PidMode, PortMapping, PullPolicy, Restart, Stream, Ulimit, User, UsernsMode,
    UtsMode, cpus, duration, host_entry, label, name, size,
};

use crate::values::int;

type Pair = (String, String);
type Ports = Vec<PortMapping>;
type Exposed = Vec<ExposedPort>;

#[derive(clap::Args, Debug)]
pub(crate) struct ContainerFlags {
    /// Add a custom host-to-IP mapping (host:ip)
    #[arg(long, value_name = "list", value_parser = HostEntry::parse)]
    pub add_host: Vec<HostEntry>,
    /// Add an annotation to the container (passed through to the OCI runtime)
    #[arg(long, value_name = "map", value_parser = label::parse_pair)]
    pub annotation: Vec<Pair>,
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long, value_name = "list", value_parser = Stream::parse)]
    pub attach: Vec<Stream>,
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)
    #[arg(long, value_name = "uint16", value_parser = int::<u16>)]
    pub blkio_weight: Option<u16>,
    /// Block IO weight (relative device weight)
    #[arg(long, value_name = "list", value_parser = DeviceRate::parse_weight)]
    pub blkio_weight_device: Vec<DeviceRate>,
    /// Add Linux capabilities
    #[arg(long, value_name = "list", value_parser = CapabilityArg::parse)]
    pub cap_add: Vec<CapabilityArg>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "list", value_parser = CapabilityArg::parse)]
    pub cap_drop: Vec<CapabilityArg>,
    /// Optional parent cgroup for the container
    #[arg(long, value_name = "string")]
    pub cgroup_parent: Option<String>,
    /// Cgroup namespace to use (host|private)
    #[arg(long, value_name = "string", value_parser = CgroupnsMode::parse)]
    pub cgroupns: Option<CgroupnsMode>,
    /// Write the container ID to the file
    #[arg(long, value_name = "string")]
    pub cidfile: Option<PathBuf>,
    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "int", value_parser = int::<i64>)]
    pub cpu_period: Option<i64>,
    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "int", value_parser = int::<i64>)]
    pub cpu_quota: Option<i64>,
    /// Limit CPU real-time period in microseconds
    #[arg(long, value_name = "int", value_parser = int::<i64>)]
    pub cpu_rt_period: Option<i64>,
    /// Limit CPU real-time runtime in microseconds
    #[arg(long, value_name = "int", value_parser = int::<i64>)]
    pub cpu_rt_runtime: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short, long, value_name = "int", value_parser = int::<u64>)]
    pub cpu_shares: Option<u64>,
    /// Number of CPUs
    #[arg(long, value_name = "decimal", value_parser = cpus::parse_nano_cpus)]
    pub cpus: Option<i64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    pub cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    pub cpuset_mems: Option<String>,
    /// Add a host device to the container
    #[arg(long, value_name = "list", value_parser = Device::parse)]
    pub device: Vec<Device>,
    /// Add a rule to the cgroup allowed devices list
    #[arg(long, value_name = "list", value_parser = DeviceCgroupRule::parse)]
    pub device_cgroup_rule: Vec<DeviceCgroupRule>,
    /// Limit read rate (bytes per second) from a device
    #[arg(long, value_name = "list", value_parser = DeviceRate::parse_bps)]
    pub device_read_bps: Vec<DeviceRate>,
    /// Limit read rate (IO per second) from a device
    #[arg(long, value_name = "list", value_parser = DeviceRate::parse_iops)]
    pub device_read_iops: Vec<DeviceRate>,
    /// Limit write rate (bytes per second) to a device
    #[arg(long, value_name = "list", value_parser = DeviceRate::parse_bps)]
    pub device_write_bps: Vec<DeviceRate>,
    /// Limit write rate (IO per second) to a device
    #[arg(long, value_name = "list", value_parser = DeviceRate::parse_iops)]
    pub device_write_iops: Vec<DeviceRate>,
    /// Set custom DNS servers
    #[arg(long, value_name = "list", value_parser = host_entry::parse_ip)]
    pub dns: Vec<IpAddr>,
    /// Set DNS options
    #[arg(long, value_name = "list", alias = "dns-opt")]
    pub dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long, value_name = "list", value_parser = host_entry::parse_domain)]
    pub dns_search: Vec<String>,
    /// Container NIS domain name
    #[arg(long, value_name = "string")]
    pub domainname: Option<String>,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long, value_name = "string")]
    pub entrypoint: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "list")]
    pub env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "list")]
    pub env_file: Vec<PathBuf>,
    /// Expose a port or a range of ports
    #[arg(long, value_name = "list", value_parser = ExposedPort::parse)]
    pub expose: Vec<Exposed>,
    /// Add additional groups to join
    #[arg(long, value_name = "list", value_parser = IdOrName::parse)]
    pub group_add: Vec<IdOrName>,
    /// Command to run to check health
    #[arg(long, value_name = "string")]
    pub health_cmd: Option<String>,
    /// Time between running the check (ms|s|m|h) (default 0s)
    #[arg(long, value_name = "duration", value_parser = duration::parse_duration_ns)]
    pub health_interval: Option<i64>,
    /// Consecutive failures needed to report unhealthy
    #[arg(long, value_name = "int", value_parser = int::<u32>)]
    pub health_retries: Option<u32>,
    /// Time between running the check during the start period (ms|s|m|h) (default 0s)
    #[arg(long, value_name = "duration", value_parser = duration::parse_duration_ns)]
    pub health_start_interval: Option<i64>,
    /// Start period for the container to initialize before starting health-retries countdown (ms|s|m|h)
    /// (default 0s)
    #[arg(long, value_name = "duration", value_parser = duration::parse_duration_ns)]
    pub health_start_period: Option<i64>,
    /// Maximum time to allow one check to run (ms|s|m|h) (default 0s)
    #[arg(long, value_name = "duration", value_parser = duration::parse_duration_ns)]
    pub health_timeout: Option<i64>,
    /// Container host name
    #[arg(short = 'h', long, value_name = "string", value_parser = name::parse_hostname)]
    pub hostname: Option<String>,
    /// Run an init inside the container that forwards signals and reaps processes: true, false, or auto,
    /// unless the command is an init itself (default auto)
    #[arg(
        long,
        value_name = "mode",
        value_parser = Init::parse,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub init: Option<Init>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub interactive: bool,
    /// IPC mode to use (none|private|shareable|host|container:NAME)
    #[arg(long, value_name = "string", value_parser = IpcMode::parse)]
    pub ipc: Option<IpcMode>,
    /// Set meta data on a container
    #[arg(short, long, value_name = "list", value_parser = label::parse_label)]
    pub label: Vec<Pair>,
    /// Read in a line delimited file of labels
    #[arg(long, value_name = "list")]
    pub label_file: Vec<PathBuf>,
    /// Logging driver for the container
    #[arg(long, value_name = "string")]
    pub log_driver: Option<String>,
    /// Log driver options
    #[arg(long, value_name = "list", value_parser = label::parse_pair)]
    pub log_opt: Vec<Pair>,
    /// Memory limit
    #[arg(short, long, value_name = "bytes", value_parser = size::parse_bytes)]
    pub memory: Option<i64>,
    /// Memory soft limit
    #[arg(long, value_name = "bytes", value_parser = size::parse_bytes)]
    pub memory_reservation: Option<i64>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, value_name = "bytes", value_parser = size::parse_bytes_or_unlimited)]
    pub memory_swap: Option<i64>,
    /// Tune container memory swappiness (0 to 100) (default -1)
    #[arg(long, value_name = "int", value_parser = int::<i64>)]
    pub memory_swappiness: Option<i64>,
    /// Attach a filesystem mount to the container
    #[arg(long, value_name = "mount", value_parser = Mount::parse_mount)]
    pub mount: Vec<Mount>,
    /// Assign a name to the container
    #[arg(long, value_name = "string", value_parser = name::parse_container_name)]
    pub name: Option<String>,
    /// Connect a container to a network (none|host|container:NAME)
    #[arg(long, value_name = "network", alias = "net", value_parser = NetworkAttachment::parse)]
    pub network: Vec<NetworkAttachment>,
    /// Disable any container-specified HEALTHCHECK
    #[arg(long)]
    pub no_healthcheck: bool,
    /// Disable OOM Killer
    #[arg(long)]
    pub oom_kill_disable: bool,
    /// Tune host's OOM preferences (-1000 to 1000)
    #[arg(long, value_name = "int", value_parser = int::<i32>)]
    pub oom_score_adj: Option<i32>,
    /// PID namespace to use (host|container:NAME)
    #[arg(long, value_name = "string", value_parser = PidMode::parse)]
    pub pid: Option<PidMode>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "int", value_parser = int::<i64>)]
    pub pids_limit: Option<i64>,
    /// Set platform if the image is for several
    #[arg(long, value_name = "string")]
    pub platform: Option<String>,
    /// Give extended privileges to this container
    #[arg(long)]
    pub privileged: bool,
    /// Publish a container's port(s) to the host
    #[arg(short, long, value_name = "list", value_parser = PortMapping::parse)]
    pub publish: Vec<Ports>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// Pull image before running ("always", "missing", "never") (default "missing")
    #[arg(long, value_name = "string", value_parser = PullPolicy::parse)]
    pub pull: Option<PullPolicy>,
    /// Suppress the pull output
    #[arg(short, long)]
    pub quiet: bool,
    /// Mount the container's root filesystem as read only
    #[arg(long)]
    pub read_only: bool,
    /// Restart policy to apply when a container exits (default "no")
    #[arg(long, value_name = "string", value_parser = Restart::parse)]
    pub restart: Option<Restart>,
    /// Automatically remove the container and its associated anonymous volumes when it exits
    #[arg(long)]
    pub rm: bool,
    /// Security Options
    #[arg(long, value_name = "list")]
    pub security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "bytes", value_parser = size::parse_bytes)]
    pub shm_size: Option<i64>,
    /// Signal to stop the container
    #[arg(long, value_name = "string")]
    pub stop_signal: Option<String>,
    /// Timeout (in seconds) to stop a container
    #[arg(long, value_name = "int", value_parser = int::<i32>)]
    pub stop_timeout: Option<i32>,
    /// Storage driver options for the container
    #[arg(long, value_name = "list", value_parser = label::parse_pair)]
    pub storage_opt: Vec<Pair>,
    /// Sysctl options
    #[arg(long, value_name = "map", value_parser = label::parse_sysctl)]
    pub sysctl: Vec<Pair>,
    /// Mount a tmpfs directory
    #[arg(long, value_name = "list", value_parser = Mount::parse_tmpfs)]
    pub tmpfs: Vec<Mount>,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub tty: bool,
    /// Ulimit options
    #[arg(long, value_name = "ulimit", value_parser = Ulimit::parse)]
    pub ulimit: Vec<Ulimit>,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(short, long, value_name = "string", value_parser = User::parse)]
    pub user: Option<User>,
    /// User namespace to use (auto|host|container:NAME) (default auto)
    #[arg(long, value_name = "string", value_parser = UsernsMode::parse)]
    pub userns: Option<UsernsMode>,
    /// UTS namespace to use (host)
    #[arg(long, value_name = "string", value_parser = UtsMode::parse)]
    pub uts: Option<UtsMode>,
    /// Bind mount a volume
    #[arg(short, long, value_name = "list")]
    pub volume: Vec<String>,
    /// Optional volume driver for the container
    #[arg(long, value_name = "string")]
    pub volume_driver: Option<String>,
    /// Mount volumes from the specified container(s)
    #[arg(long, value_name = "list")]
    pub volumes_from: Vec<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "string")]
    pub workdir: Option<String>,
}
