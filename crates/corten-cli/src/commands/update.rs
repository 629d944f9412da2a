//! `corten update`: other limits for containers, another restart policy.

use std::ops::RangeInclusive;

use corten_engine::config::blkio::{self, Blkio};
use corten_engine::config::{Resources, Restart, cpus, size};

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::Update;
use crate::flags::{self, Meta, Refused, flags};
use crate::report::Report;
use crate::values::int;

flags! {
    pub(crate) struct Args {
        /// Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)
        blkio_weight: Option<u16> = "blkio-weight" ["uint16", int::<u16>];
        /// Limit CPU CFS (Completely Fair Scheduler) period
        cpu_period: Option<i64> = "cpu-period" ["int", int::<i64>];
        /// Limit CPU CFS (Completely Fair Scheduler) quota
        cpu_quota: Option<i64> = "cpu-quota" ["int", int::<i64>];
        /// Limit the CPU real-time period in microseconds
        cpu_rt_period: Option<i64> = "cpu-rt-period" ["int", int::<i64>];
        /// Limit the CPU real-time runtime in microseconds
        cpu_rt_runtime: Option<i64> = "cpu-rt-runtime" ["int", int::<i64>];
        /// CPU shares (relative weight)
        cpu_shares: Option<u64> = "cpu-shares" 'c' ["int", int::<u64>];
        /// Number of CPUs
        cpus: Option<i64> = "cpus" ["decimal", cpus::parse_nano_cpus];
        /// CPUs in which to allow execution (0-3, 0,1)
        cpuset_cpus: Option<String> = "cpuset-cpus" ["string", flags::text];
        /// MEMs in which to allow execution (0-3, 0,1)
        cpuset_mems: Option<String> = "cpuset-mems" ["string", flags::text];
        /// Memory limit
        memory: Option<i64> = "memory" 'm' ["bytes", size::parse_bytes];
        /// Memory soft limit
        memory_reservation: Option<i64> = "memory-reservation" ["bytes", size::parse_bytes];
        /// Swap limit equal to memory plus swap: -1 to enable unlimited swap
        memory_swap: Option<i64> = "memory-swap" ["bytes", size::parse_bytes_or_unlimited];
        /// Tune container pids limit (set -1 for unlimited)
        pids_limit: Option<i64> = "pids-limit" ["int", int::<i64>];
        /// Restart policy to apply when a container exits
        restart: Option<Restart> = "restart" ["string", Restart::parse];
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "update";
    const ABOUT: &'static str = "Update configuration of one or more containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ALIASES: &'static [&'static str] = &["corten container update", "corten update"];
    const ARGUMENTS: RangeInclusive<usize> = 1..=usize::MAX;
    const REFUSED: &'static [Refused] = &[Refused {
        meta: Meta {
            long: "kernel-memory",
            short: None,
            value: Some("bytes"),
            help: " Kernel memory limit (deprecated)",
        },
        reason: "the kernel has none since 5.4",
    }];

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let weight = match self.blkio_weight {
            Some(weight) => blkio::checked_weight(weight).map_err(|error| Report::user(error.to_string()))?,
            None => None,
        };
        let number = |value: Option<i64>| value.filter(|value| *value != 0);
        let list = |value: Option<String>| value.filter(|value| !value.is_empty());
        let resources = Resources {
            memory_bytes: number(self.memory),
            memory_reservation_bytes: number(self.memory_reservation),
            memory_swap_bytes: number(self.memory_swap),
            nano_cpus: number(self.cpus),
            cpu_shares: self.cpu_shares.filter(|shares| *shares != 0),
            cpu_period_us: number(self.cpu_period),
            cpu_quota_us: number(self.cpu_quota),
            cpu_rt_period_us: number(self.cpu_rt_period),
            cpu_rt_runtime_us: number(self.cpu_rt_runtime),
            cpuset_cpus: list(self.cpuset_cpus),
            cpuset_mems: list(self.cpuset_mems),
            pids_limit: number(self.pids_limit),
            blkio: Blkio { weight, ..Blkio::default() },
            ..Resources::default()
        };
        let update = Update { resources, restart: self.restart };
        if update == Update::default() {
            return Err(Report::user("you must provide one or more flags when using this command"));
        }
        super::each(cx, &args, |cx, name| {
            cx.engine()?.update_container(name, &update)?;
            writeln!(cx.stdout, "{name}")?;
            Ok(())
        })
    }
}
