//! Sources: cgroup-v1/hugetlb.rst, cgroup-v2.rst "HugeTLB Interface Files".
//!
//! The reservation (Linux 5.7) is limited with the usage: else a mapping beyond the limit succeeds and
//! its owner dies of SIGBUS at first touch.

use super::{Absent, Setting};
use crate::resources::Resources;

pub(super) fn v1(resources: &Resources) -> Vec<Setting> {
    files(resources, "limit_in_bytes")
}

pub(super) fn v2(resources: &Resources) -> Vec<Setting> {
    files(resources, "max")
}

fn files(resources: &Resources, suffix: &str) -> Vec<Setting> {
    let both = resources.hugepage_limits.iter().map(|h| {
        let file = |kind: &str| format!("hugetlb.{}.{kind}{suffix}", h.page_size);
        [Setting::new(file(""), h.limit), Setting::new(file("rsvd."), h.limit).or(Absent::Skip)]
    });
    both.flatten().collect()
}
