//! `--cgroup-manager`: who makes the cgroups.

use corten_cgroup::Systemd;
use serde::{Deserialize, Serialize};

/// podman's word for what Docker calls a cgroup driver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupManager {
    /// Corten itself, by directories.
    #[default]
    Cgroupfs,
    /// systemd, as scopes.
    Systemd(Systemd),
}

impl CgroupManager {
    /// Docker's name of the driver.
    pub fn driver(&self) -> corten_cgroup::Driver {
        match self {
            Self::Cgroupfs => corten_cgroup::Driver::Cgroupfs,
            Self::Systemd(_) => corten_cgroup::Driver::Systemd,
        }
    }

    /// For a start that does not say: root may make directories, and needs to ask nobody. To an ordinary
    /// user systemd alone delegates, by a scope, where it is the init.
    pub fn by_default(root: bool, systemd_booted: bool, own: Systemd) -> Self {
        if root || !systemd_booted { Self::Cgroupfs } else { Self::Systemd(own) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ordinary_user_on_a_systemd_machine_asks() {
        let own = Systemd { bus: "unix:path=/run/user/5/bus".into(), user: Some(5) };
        let by_default = |root, booted| CgroupManager::by_default(root, booted, own.clone());
        assert_eq!(by_default(true, true), CgroupManager::Cgroupfs);
        assert_eq!(by_default(false, false), CgroupManager::Cgroupfs);
        assert_eq!(by_default(false, true), CgroupManager::Systemd(own.clone()));
    }
}
