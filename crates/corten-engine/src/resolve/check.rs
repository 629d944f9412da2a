//! What is refused before anything is made, by the name of its flag.

use crate::config::mount as wanted;
use crate::config::{Config, Init, NetworkMode, PidMode};
use crate::error::EngineError;

/// Refuses what is not there yet, by the name of its flag.
pub(crate) fn check(config: &Config) -> Result<(), EngineError> {
    let refuse = |what: &str, why: &str| Err(EngineError::refused(what, why));
    config.resources.check()?;
    super::machine::check(&config.resources)?;
    super::hostile::check(config)?;
    for network in &config.networks {
        match &network.mode {
            NetworkMode::Default | NetworkMode::None | NetworkMode::Host => {}
            NetworkMode::Bridge => {
                return refuse(
                    "--network bridge",
                    "there are no bridge networks yet; use --network none or host",
                );
            }
            NetworkMode::Container(_) => joined_network(config)?,
            NetworkMode::Named(name) => {
                return refuse(&format!("--network {name}"), "there are no user-defined networks yet");
            }
        }
    }
    if config.networks.len() > 1 {
        return refuse(
            "more than one --network",
            "there are no networks yet that a container could be in at once",
        );
    }
    if !config.ports.is_empty() || config.publish_all {
        return refuse("--publish", "ports can be published when bridge networks exist; use --network host");
    }
    if config.auto_remove && config.restart.is_some_and(|restart| restart != crate::config::Restart::No) {
        return Err(EngineError::Conflict("cannot specify both --restart and --rm"));
    }
    if config.log.parsed()?.driver == crate::config::log::Driver::Journald {
        crate::log::check_journal()?;
    }
    if config.time_offset.is_some() && !std::path::Path::new("/proc/self/ns/time").exists() {
        return refuse("--time-offset", "this kernel has no time namespaces (Linux 5.6, CONFIG_TIME_NS)");
    }
    check_stop_signal(config)?;
    let own_pids = !matches!(config.pid, Some(PidMode::Host | PidMode::Container(_)));
    if config.resources.pids_limit == Some(1) && config.init == Some(Init::On) && own_pids {
        return Err(EngineError::Conflict(
            "--pids-limit 1 and --init: init is a process of the container too",
        ));
    }
    if let Some(driver) = config.volume_driver.as_ref().filter(|driver| !is_local(driver)) {
        return refuse(
            &format!("--volume-driver {driver}"),
            "there are no volume plugins; local is the only driver",
        );
    }
    if !config.storage_opts.is_empty() {
        return refuse("--storage-opt", "this store has no options");
    }
    for mount in &config.mounts {
        match &mount.source {
            wanted::MountSource::Volume(volume) => check_volume(volume)?,
            wanted::MountSource::Bind(bind) if bind.relabel.is_some() => {
                return refuse("a relabelled bind (z, Z)", "this kernel enforces no SELinux policy");
            }
            _ => {}
        }
    }
    if config.security_opts.apparmor.as_ref().is_some_and(|profile| profile != "unconfined")
        && !std::path::Path::new("/sys/kernel/security/apparmor").exists()
    {
        return refuse("--security-opt apparmor", "this kernel runs without AppArmor");
    }
    if config.security_opts.labels.iter().any(|label| label != "disable")
        && !std::path::Path::new("/sys/fs/selinux/enforce").exists()
    {
        return refuse("--security-opt label", "this kernel runs without SELinux");
    }
    Ok(())
}

/// What belongs to the other container's network cannot be said again, in Docker's words.
fn joined_network(config: &Config) -> Result<(), EngineError> {
    let dns = !config.dns.is_empty() || !config.dns_search.is_empty() || !config.dns_options.is_empty();
    for (set, conflict) in [
        (config.networks.len() > 1, "cannot attach both user-defined and non-user-defined network-modes"),
        (config.hostname.is_some() || config.domainname.is_some(), "hostname and the network mode"),
        (dns, "dns and the network mode"),
        (!config.add_hosts.is_empty(), "custom host-to-IP mapping and the network mode"),
        (
            !config.ports.is_empty() || config.publish_all,
            "port publishing and the container type network mode",
        ),
        (!config.exposed_ports.is_empty(), "port exposing and the container type network mode"),
    ] {
        if set {
            return Err(EngineError::Conflict(conflict));
        }
    }
    Ok(())
}

fn is_local(driver: &str) -> bool {
    matches!(driver, "" | "local")
}

fn check_volume(volume: &wanted::Volume) -> Result<(), EngineError> {
    let refuse = |what: String, why: &str| Err(EngineError::refused(what, why));
    if let Some(driver) = volume.driver.as_ref().filter(|driver| !is_local(driver)) {
        return refuse(
            format!("volume-driver={driver}"),
            "there are no volume plugins; local is the only driver",
        );
    }
    if let Some(name) = volume.driver_opts.keys().next() {
        return refuse(format!("volume-opt={name}"), "a volume is a directory here and has no options");
    }
    if volume.relabel.is_some() {
        return refuse("a relabelled volume (z, Z)".to_owned(), "this kernel enforces no SELinux policy");
    }
    Ok(())
}

/// A signal that there is, the user's or the image's.
pub(crate) fn check_stop_signal(config: &Config) -> Result<(), EngineError> {
    match &config.stop_signal {
        Some(name) if corten_sys::signal::parse(name).is_none() => {
            Err(EngineError::refused(format!("--stop-signal {name}"), "invalid signal"))
        }
        _ => Ok(()),
    }
}
