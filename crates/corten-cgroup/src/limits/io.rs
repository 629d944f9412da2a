//! Sources: cgroup-v1/blkio-controller.rst, cgroup-v2.rst "IO Interface Files", block/bfq-cgroup.c.
//!
//! Weights need a scheduler that has them: BFQ has files of its own, on v2 iocost has `io.weight`.

use std::collections::BTreeMap;

use super::{Absent, Setting};
use crate::resources::{BlockIo, Resources, ThrottleDevice};

pub(super) fn v1(resources: &Resources) -> Vec<Setting> {
    let Some(b) = &resources.block_io else { return Vec::new() };
    let mut out = Vec::new();
    if let Some(weight) = b.weight.filter(|w| *w != 0) {
        let cfq = Setting::new("blkio.weight", weight);
        out.push(Setting::new("blkio.bfq.weight", weight).or(Absent::Use(Box::new(cfq))));
    }
    let weights: Vec<_> = b
        .weight_device
        .iter()
        .filter_map(|d| Some(format!("{}:{} {}", d.major, d.minor, d.weight?)))
        .collect();
    if !weights.is_empty() {
        let cfq = Setting::lines("blkio.weight_device", weights.clone());
        out.push(Setting::lines("blkio.bfq.weight_device", weights).or(Absent::Use(Box::new(cfq))));
    }
    let throttles = [
        ("blkio.throttle.read_bps_device", &b.read_bps),
        ("blkio.throttle.write_bps_device", &b.write_bps),
        ("blkio.throttle.read_iops_device", &b.read_iops),
        ("blkio.throttle.write_iops_device", &b.write_iops),
    ];
    for (file, devices) in throttles {
        if !devices.is_empty() {
            let line = |d: &ThrottleDevice| format!("{}:{} {}", d.major, d.minor, d.rate);
            out.push(Setting::lines(file, devices.iter().map(line).collect()));
        }
    }
    out
}

pub(super) fn v2(resources: &Resources) -> Vec<Setting> {
    let Some(b) = &resources.block_io else { return Vec::new() };
    let mut out = weights(b);
    let limits = io_max(b);
    if !limits.is_empty() {
        out.push(Setting::lines("io.max", limits));
    }
    out
}

fn weights(b: &BlockIo) -> Vec<Setting> {
    // 0 takes a device's own weight back.
    let own = |weight: u16, value: u64| if weight == 0 { "default".to_owned() } else { value.to_string() };
    let (mut bfq, mut cost) = (Vec::new(), Vec::new());
    if let Some(weight) = b.weight.filter(|w| *w != 0) {
        bfq.push(weight.to_string());
        cost.push(io_weight(weight).to_string());
    }
    for d in &b.weight_device {
        if let Some(weight) = d.weight {
            bfq.push(format!("{}:{} {}", d.major, d.minor, own(weight, weight.into())));
            cost.push(format!("{}:{} {}", d.major, d.minor, own(weight, io_weight(weight))));
        }
    }
    if bfq.is_empty() {
        return Vec::new();
    }
    let cost = Setting::lines("io.weight", cost);
    vec![Setting::lines("io.bfq.weight", bfq).or(Absent::Use(Box::new(cost)))]
}

/// 10 to 1000 as 1 to 10000, in a straight line, as runc, crun and systemd have it.
pub(crate) fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

/// One line a device: `8:0 rbps=1048576 wiops=max`.
fn io_max(b: &BlockIo) -> Vec<String> {
    let mut lines: BTreeMap<(u32, u32), String> = BTreeMap::new();
    let kinds =
        [("rbps", &b.read_bps), ("wbps", &b.write_bps), ("riops", &b.read_iops), ("wiops", &b.write_iops)];
    for (key, devices) in kinds {
        for d in devices {
            let line = lines.entry((d.major, d.minor)).or_insert_with(|| format!("{}:{}", d.major, d.minor));
            let rate = if d.rate == 0 { "max".to_owned() } else { d.rate.to_string() };
            line.push_str(&format!(" {key}={rate}"));
        }
    }
    lines.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::WeightDevice;

    #[test]
    fn both_worlds() {
        let rate = |minor, rate| ThrottleDevice { major: 8, minor, rate };
        let b = BlockIo {
            weight: Some(500),
            weight_device: vec![WeightDevice { major: 8, minor: 0, weight: Some(10), leaf_weight: None }],
            read_bps: vec![rate(0, 1_048_576), rate(16, 0)],
            write_iops: vec![rate(0, 100)],
            ..BlockIo::default()
        };
        let r = Resources { block_io: Some(b), ..Resources::default() };
        let show = |settings: Vec<Setting>| -> Vec<String> {
            settings.iter().flat_map(|s| s.values.iter().map(|v| format!("{} {v}", s.file))).collect()
        };
        assert_eq!(
            show(v1(&r)),
            [
                "blkio.bfq.weight 500",
                "blkio.bfq.weight_device 8:0 10",
                "blkio.throttle.read_bps_device 8:0 1048576",
                "blkio.throttle.read_bps_device 8:16 0",
                "blkio.throttle.write_iops_device 8:0 100",
            ]
        );
        assert_eq!(
            show(v2(&r)),
            [
                "io.bfq.weight 500",
                "io.bfq.weight 8:0 10",
                "io.max 8:0 rbps=1048576 wiops=100",
                "io.max 8:16 rbps=max"
            ]
        );
        assert_eq!((io_weight(10), io_weight(500), io_weight(1000)), (1, 4950, 10_000));
    }
}
