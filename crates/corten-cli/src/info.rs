//! What `info` says of the machine and of the engine, under the names of Docker's `GET /info`.

use corten_cgroup::{Controller, Layout};
use corten_engine::Dirs;
use corten_engine::config::CgroupManager;
use corten_engine::container::Container;
use corten_engine::record::Status;
use serde_json::{Map, Value, json};

/// A file's text, without its end of line.
fn text(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
}

pub(crate) fn of_machine(layout: &Layout) -> Map<String, Value> {
    let uname = rustix::system::uname();
    let show = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let release = text("/etc/os-release").or_else(|| text("/usr/lib/os-release")).unwrap_or_default();
    let field = |name: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let memory = rustix::system::sysinfo();
    let has = |controller| layout.hierarchy(controller).is_some();
    let swap = match layout.limits_version() {
        corten_cgroup::Version::V2 => std::path::Path::new("/proc/swaps").exists(),
        corten_cgroup::Version::V1 => layout
            .hierarchy(Controller::Memory)
            .is_some_and(|found| found.mount.join("memory.memsw.limit_in_bytes").exists()),
    };
    let version = match layout.limits_version() {
        corten_cgroup::Version::V1 => "1",
        corten_cgroup::Version::V2 => "2",
    };
    let is_on = |path: &str| text(path).as_deref() == Some("1");
    let known = json!({
        "Name": show(uname.nodename()),
        "KernelVersion": show(uname.release()),
        "OperatingSystem": field("PRETTY_NAME"),
        "OSVersion": field("VERSION_ID"),
        "OSType": "linux",
        "Architecture": show(uname.machine()),
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": memory.totalram as u64 * u64::from(memory.mem_unit),
        "CgroupVersion": version,
        "CgroupLayout": format!("{:?}", layout.kind).to_lowercase(),
        "MemoryLimit": has(Controller::Memory),
        "SwapLimit": swap,
        "CpuCfsPeriod": has(Controller::Cpu),
        "CpuCfsQuota": has(Controller::Cpu),
        "CPUShares": has(Controller::Cpu),
        "CPUSet": has(Controller::Cpuset),
        "PidsLimit": has(Controller::Pids),
        "OomKillDisable": version == "1" && has(Controller::Memory),
        "IPv4Forwarding": is_on("/proc/sys/net/ipv4/ip_forward"),
        "Debug": false,
        "LoggingDriver": "json-file",
        "Plugins": {
            "Volume": ["local"],
            "Network": ["host", "none"],
            "Authorization": Value::Null,
            "Log": corten_engine::config::log::Driver::NAMES,
        },
        "Runtimes": {"corten": {"path": "corten"}},
        "DefaultRuntime": "corten",
        "Swarm": {"LocalNodeState": "inactive"},
        "LiveRestoreEnabled": true,
        "InitBinary": "corten",
        "Isolation": "",
        "ExperimentalBuild": false,
        "Labels": [],
        "Warnings": Value::Null,
    });
    map(known)
}

pub(crate) fn of_engine(
    dirs: &Dirs,
    manager: &CgroupManager,
    containers: &[Container],
    images: usize,
) -> Map<String, Value> {
    let paused = containers.iter().filter(|one| one.state.paused).count();
    let running = containers.iter().filter(|one| one.state.status == Status::Running).count() - paused;
    let ordinary = dirs.rootless.is_some();
    let known = json!({
        "Containers": containers.len(),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": containers.len() - running - paused,
        "Images": images,
        "Driver": "overlay",
        "CgroupDriver": manager.driver().to_string(),
        "Rootless": ordinary,
        "SecurityOptions": [
            "name=seccomp,profile=builtin",
            if ordinary { "name=rootless" } else { "name=userns" },
            "name=cgroupns",
        ],
        "DockerRootDir": dirs.root.display().to_string(),
        "CortenRootDir": dirs.root.display().to_string(),
        "ServerVersion": crate::VERSION,
    });
    map(known)
}

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
