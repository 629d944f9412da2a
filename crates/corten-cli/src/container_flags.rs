//! The flags that describe a container: `run` has them now, `create` will.
//!
//! Names, shorthands and values are those of docker 28. The order is the alphabet's.

use std::net::IpAddr;
use std::path::PathBuf;

use corten_engine::config::blkio::DeviceRate;
use corten_engine::config::{
    CapabilityArg, CgroupnsMode, Device, DeviceCgroupRule, ExposedPort, HostEntry, IdOrName, Init, IpcMode,
    Mount, NetworkAttachment, PidMode, PortMapping, PullPolicy, Restart, Stream, TimeOffset, Ulimit, User,
    UsernsMode, UtsMode, cpus, duration, host_entry, label, name, size,
};

use crate::flags::{self, flags};
use crate::values::int;

/// An empty name is as good as none, to Docker too.
fn container_name(text: &str) -> Result<String, name::NameError> {
    if text.is_empty() { Ok(String::new()) } else { name::parse_container_name(text) }
}

type Pair = (String, String);
type Ports = Vec<PortMapping>;
type Exposed = Vec<ExposedPort>;

flags! {
    pub(crate) struct ContainerFlags {
        /// Add a custom host-to-IP mapping (host:ip)
        add_host: Vec<HostEntry> = "add-host" ["list", HostEntry::parse];
        /// Add an annotation to the container (passed through to the OCI runtime)
        annotation: Vec<Pair> = "annotation" ["map", label::parse_pair];
        /// Attach to STDIN, STDOUT or STDERR
        attach: Vec<Stream> = "attach" 'a' ["list", Stream::parse];
        /// Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)
        blkio_weight: Option<u16> = "blkio-weight" ["uint16", int::<u16>];
        /// Block IO weight (relative device weight)
        blkio_weight_device: Vec<DeviceRate> = "blkio-weight-device" ["list", DeviceRate::parse_weight];
        /// Add Linux capabilities
        cap_add: Vec<CapabilityArg> = "cap-add" ["list", CapabilityArg::parse];
        /// Drop Linux capabilities
        cap_drop: Vec<CapabilityArg> = "cap-drop" ["list", CapabilityArg::parse];
        /// Optional parent cgroup for the container
        cgroup_parent: Option<String> = "cgroup-parent" ["string", flags::text];
        /// Cgroup namespace to use (host|private)
        cgroupns: Option<CgroupnsMode> = "cgroupns" ["string", CgroupnsMode::parse];
        /// Write the container ID to the file
        cidfile: Option<PathBuf> = "cidfile" ["string", flags::path];
        /// Limit CPU CFS (Completely Fair Scheduler) period
        cpu_period: Option<i64> = "cpu-period" ["int", int::<i64>];
        /// Limit CPU CFS (Completely Fair Scheduler) quota
        cpu_quota: Option<i64> = "cpu-quota" ["int", int::<i64>];
        /// Limit CPU real-time period in microseconds
        cpu_rt_period: Option<i64> = "cpu-rt-period" ["int", int::<i64>];
        /// Limit CPU real-time runtime in microseconds
        cpu_rt_runtime: Option<i64> = "cpu-rt-runtime" ["int", int::<i64>];
        /// CPU shares (relative weight)
        cpu_shares: Option<u64> = "cpu-shares" 'c' ["int", int::<u64>];
        /// Number of CPUs
        cpus: Option<i64> = "cpus" ["decimal", cpus::parse_nano_cpus];
        /// CPUs in which to allow execution (0-3, 0,1)
        cpuset_cpus: Option<String> = "cpuset-cpus" ["string", flags::text];
        /// MEMs in which to allow execution (0-3, 0,1)
        cpuset_mems: Option<String> = "cpuset-mems" ["string", flags::text];
        /// Add a host device to the container
        device: Vec<Device> = "device" ["list", Device::parse];
        /// Add a rule to the cgroup allowed devices list
        device_cgroup_rule: Vec<DeviceCgroupRule> = "device-cgroup-rule" ["list", DeviceCgroupRule::parse];
        /// Limit read rate (bytes per second) from a device
        device_read_bps: Vec<DeviceRate> = "device-read-bps" ["list", DeviceRate::parse_bps];
        /// Limit read rate (IO per second) from a device
        device_read_iops: Vec<DeviceRate> = "device-read-iops" ["list", DeviceRate::parse_iops];
        /// Limit write rate (bytes per second) to a device
        device_write_bps: Vec<DeviceRate> = "device-write-bps" ["list", DeviceRate::parse_bps];
        /// Limit write rate (IO per second) to a device
        device_write_iops: Vec<DeviceRate> = "device-write-iops" ["list", DeviceRate::parse_iops];
        /// Set custom DNS servers
        dns: Vec<IpAddr> = "dns" ["list", host_entry::parse_ip];
        /// Set DNS options
        dns_option: Vec<String> = "dns-option" ["list", flags::text];
        /// Set custom DNS search domains
        dns_search: Vec<String> = "dns-search" ["list", host_entry::parse_domain];
        /// Container NIS domain name
        domainname: Option<String> = "domainname" ["string", flags::text];
        /// Overwrite the default ENTRYPOINT of the image
        entrypoint: Option<String> = "entrypoint" ["string", flags::text];
        /// Set environment variables
        env: Vec<String> = "env" 'e' ["list", flags::text];
        /// Read in a file of environment variables
        env_file: Vec<PathBuf> = "env-file" ["list", flags::path];
        /// Expose a port or a range of ports
        expose: Vec<Exposed> = "expose" ["list", ExposedPort::parse];
        /// Add additional groups to join
        group_add: Vec<IdOrName> = "group-add" ["list", IdOrName::parse];
        /// Command to run to check health
        health_cmd: Option<String> = "health-cmd" ["string", flags::text];
        /// Time between running the check (ms|s|m|h) (default 0s)
        health_interval: Option<i64> = "health-interval" ["duration", duration::parse_duration_ns];
        /// Consecutive failures needed to report unhealthy
        health_retries: Option<u32> = "health-retries" ["int", int::<u32>];
        /// Time between running the check during the start period (ms|s|m|h) (default 0s)
        health_start_interval: Option<i64> = "health-start-interval" ["duration", duration::parse_duration_ns];
        /// Start period for the container to initialize before starting health-retries countdown (ms|s|m|h)
        /// (default 0s)
        health_start_period: Option<i64> = "health-start-period" ["duration", duration::parse_duration_ns];
        /// Maximum time to allow one check to run (ms|s|m|h) (default 0s)
        health_timeout: Option<i64> = "health-timeout" ["duration", duration::parse_duration_ns];
        /// Container host name
        hostname: Option<String> = "hostname" 'h' ["string", name::parse_hostname];
        /// Run an init inside the container that forwards signals and reaps processes: true, false, or auto,
        /// unless the command is an init itself (default auto)
        init: Option<Init> = "init" (Init::parse);
        /// Keep STDIN open even if not attached
        interactive: bool = "interactive" 'i';
        /// IPC mode to use (none|private|shareable|host|container:NAME)
        ipc: Option<IpcMode> = "ipc" ["string", IpcMode::parse];
        /// Set meta data on a container
        label: Vec<Pair> = "label" 'l' ["list", label::parse_label];
        /// Read in a line delimited file of labels
        label_file: Vec<PathBuf> = "label-file" ["list", flags::path];
        /// Logging driver for the container
        log_driver: Option<String> = "log-driver" ["string", flags::text];
        /// Log driver options
        log_opt: Vec<Pair> = "log-opt" ["list", label::parse_pair];
        /// Memory limit
        memory: Option<i64> = "memory" 'm' ["bytes", size::parse_bytes];
        /// Memory soft limit
        memory_reservation: Option<i64> = "memory-reservation" ["bytes", size::parse_bytes];
        /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
        memory_swap: Option<i64> = "memory-swap" ["bytes", size::parse_bytes_or_unlimited];
        /// Tune container memory swappiness (0 to 100) (default -1)
        memory_swappiness: Option<i64> = "memory-swappiness" ["int", int::<i64>];
        /// Attach a filesystem mount to the container
        mount: Vec<Mount> = "mount" ["mount", Mount::parse_mount];
        /// Assign a name to the container
        name: Option<String> = "name" ["string", container_name];
        /// Connect a container to a network (none|host|container:NAME)
        network: Vec<NetworkAttachment> = "network" ["network", NetworkAttachment::parse];
        /// Disable any container-specified HEALTHCHECK
        no_healthcheck: bool = "no-healthcheck";
        /// Disable OOM Killer
        oom_kill_disable: bool = "oom-kill-disable";
        /// Tune host's OOM preferences (-1000 to 1000)
        oom_score_adj: Option<i32> = "oom-score-adj" ["int", int::<i32>];
        /// PID namespace to use (host|container:NAME)
        pid: Option<PidMode> = "pid" ["string", PidMode::parse];
        /// Tune container pids limit (set -1 for unlimited)
        pids_limit: Option<i64> = "pids-limit" ["int", int::<i64>];
        /// Set platform if the image is for several
        platform: Option<String> = "platform" ["string", flags::text];
        /// Give extended privileges to this container
        privileged: bool = "privileged";
        /// Publish a container's port(s) to the host
        publish: Vec<Ports> = "publish" 'p' ["list", PortMapping::parse];
        /// Publish all exposed ports to random ports
        publish_all: bool = "publish-all" 'P';
        /// Pull image before running ("always", "missing", "never") (default "missing")
        pull: Option<PullPolicy> = "pull" ["string", PullPolicy::parse];
        /// Suppress the pull output
        quiet: bool = "quiet" 'q';
        /// Mount the container's root filesystem as read only
        read_only: bool = "read-only";
        /// Restart policy to apply when a container exits (default "no")
        restart: Option<Restart> = "restart" ["string", Restart::parse];
        /// Automatically remove the container and its associated anonymous volumes when it exits
        rm: bool = "rm";
        /// Security Options
        security_opt: Vec<String> = "security-opt" ["list", flags::text];
        /// Size of /dev/shm
        shm_size: Option<i64> = "shm-size" ["bytes", size::parse_bytes];
        /// Signal to stop the container
        stop_signal: Option<String> = "stop-signal" ["string", flags::text];
        /// Timeout (in seconds) to stop a container
        stop_timeout: Option<i32> = "stop-timeout" ["int", int::<i32>];
        /// Storage driver options for the container
        storage_opt: Vec<Pair> = "storage-opt" ["list", label::parse_pair];
        /// Sysctl options
        sysctl: Vec<Pair> = "sysctl" ["map", label::parse_sysctl];
        /// A time namespace with its clocks ahead by so many seconds (monotonic=SECONDS,boottime=SECONDS)
        time_offset: Option<TimeOffset> = "time-offset" ["map", TimeOffset::parse];
        /// Mount a tmpfs directory
        tmpfs: Vec<Mount> = "tmpfs" ["list", Mount::parse_tmpfs];
        /// Allocate a pseudo-TTY
        tty: bool = "tty" 't';
        /// Ulimit options
        ulimit: Vec<Ulimit> = "ulimit" ["ulimit", Ulimit::parse];
        /// Username or UID (format: <name|uid>[:<group|gid>])
        user: Option<User> = "user" 'u' ["string", User::parse];
        /// User namespace to use (auto|host|container:NAME) (default auto)
        userns: Option<UsernsMode> = "userns" ["string", UsernsMode::parse];
        /// UTS namespace to use (host)
        uts: Option<UtsMode> = "uts" ["string", UtsMode::parse];
        /// Bind mount a volume
        volume: Vec<String> = "volume" 'v' ["list", flags::text];
        /// Optional volume driver for the container
        volume_driver: Option<String> = "volume-driver" ["string", flags::text];
        /// Mount volumes from the specified container(s)
        volumes_from: Vec<String> = "volumes-from" ["list", flags::text];
        /// Working directory inside the container
        workdir: Option<String> = "workdir" 'w' ["string", flags::text];
    }
}
