//! What is refused before anything is made, by the name of its flag.

use crate::config::mount as wanted;
use crate::config::{Config, IpcMode, NetworkMode, PidMode, UsernsMode};
use crate::error::EngineError;

/// Refuses what is not there yet, by the name of its flag.
pub(crate) fn check(config: &Config) -> Result<(), EngineError> {
    let refuse = |what: &str, why: &str| Err(EngineError::refused(what, why));
    config.resources.check()?;
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
            NetworkMode::Container(_) => {
                return refuse("--network container:…", "joining another container is not there yet");
            }
            NetworkMode::Named(name) => {
                return refuse(&format!("--network {name}"), "there are no user-defined networks yet");
            }
        }
    }
    if !config.ports.is_empty() || config.publish_all {
        return refuse("--publish", "ports can be published when bridge networks exist; use --network host");
    }
    if matches!(config.pid, Some(PidMode::Container(_))) {
        return refuse("--pid container:…", "joining another container is not there yet");
    }
    if matches!(config.ipc, Some(IpcMode::Container(_))) {
        return refuse("--ipc container:…", "joining another container is not there yet");
    }
    if matches!(config.userns, Some(UsernsMode::Container(_))) {
        return refuse("--userns container:…", "joining another container is not there yet");
    }
    if config.restart.as_ref().is_some_and(|restart| *restart != crate::config::Restart::No) {
        return refuse("--restart", "restart policies are not there yet");
    }
    if !config.volumes_from.is_empty() {
        return refuse("--volumes-from", "volumes of other containers are not there yet");
    }
    if !config.storage_opts.is_empty() {
        return refuse("--storage-opt", "this store has no options");
    }
    for mount in &config.mounts {
        match &mount.source {
            wanted::MountSource::Volume(_) => {
                return refuse("a volume", "volumes are not there yet; bind a directory with -v /PATH:/PATH");
            }
            wanted::MountSource::Image(_) => return refuse("--mount type=image", "it is not there yet"),
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
