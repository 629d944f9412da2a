//! Source: cgroup-v1/rdma.rst; the file is the same on v2.

use super::Setting;
use crate::resources::Resources;

pub(super) fn both(resources: &Resources) -> Vec<Setting> {
    let line = |(device, limit): (&String, &crate::resources::Rdma)| {
        let mut line = device.clone();
        for (key, value) in [("hca_handle", limit.hca_handles), ("hca_object", limit.hca_objects)] {
            if let Some(value) = value {
                line.push_str(&format!(" {key}={value}"));
            }
        }
        line
    };
    let lines: Vec<_> = resources.rdma.iter().map(line).collect();
    if lines.is_empty() { Vec::new() } else { vec![Setting::lines("rdma.max", lines)] }
}
