//! Kernel settings: which namespace one belongs to, and its path.

/// Which namespace a setting belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SysctlNamespace {
    /// `net.*`
    Network,
    /// `kernel.msg*`, `kernel.sem`, `kernel.shm*`, `fs.mqueue.*`
    Ipc,
    /// `kernel.domainname`, `kernel.hostname`
    Uts,
}

/// The namespace of a setting, if it has one; any other setting is the host's.
#[must_use]
pub fn sysctl_namespace(name: &str) -> Option<SysctlNamespace> {
    let dotted = name.replace('/', ".");
    if dotted.contains("..") || dotted.starts_with('.') || name.contains('\0') {
        return None;
    }
    match dotted.as_str() {
        "kernel.msgmax"
        | "kernel.msgmnb"
        | "kernel.msgmni"
        | "kernel.sem"
        | "kernel.shmall"
        | "kernel.shmmax"
        | "kernel.shmmni"
        | "kernel.shm_rmid_forced" => Some(SysctlNamespace::Ipc),
        "kernel.domainname" | "kernel.hostname" => Some(SysctlNamespace::Uts),
        _ if dotted.starts_with("net.") => Some(SysctlNamespace::Network),
        _ if dotted.starts_with("fs.mqueue.") => Some(SysctlNamespace::Ipc),
        _ => None,
    }
}

/// The path below /proc/sys: the first separator decides which of `.` and `/` separates (sysctl(8)).
pub(super) fn sysctl_path(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'.' => name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaced_settings_are_the_containers() {
        assert_eq!(sysctl_namespace("net.ipv4.ip_forward"), Some(SysctlNamespace::Network));
        assert_eq!(sysctl_namespace("net/ipv4/conf/eth0.1/forwarding"), Some(SysctlNamespace::Network));
        assert_eq!(sysctl_namespace("fs.mqueue.msg_max"), Some(SysctlNamespace::Ipc));
        assert_eq!(sysctl_namespace("kernel.hostname"), Some(SysctlNamespace::Uts));
        for host in
            ["kernel.core_pattern", "vm.swappiness", "net/../kernel/core_pattern", "kernel.shm_rmid_forced+x"]
        {
            assert_eq!(sysctl_namespace(host), None, "{host}");
        }
        assert_eq!(sysctl_path("net.ipv4.conf.eth0/1.forwarding"), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(sysctl_path("net/ipv4/conf/eth0.1/forwarding"), "net/ipv4/conf/eth0.1/forwarding");
    }
}
