//! `update`: other limits, another restart policy. A container that runs gets the limits at once.

use corten_cgroup::Layout;

use crate::config::resources::ResourcesError;
use crate::config::{Resources, Restart};
use crate::container;
use crate::dirs::Dirs;
use crate::edit::Edit;
use crate::error::EngineError;
use crate::record::Record;

/// What changes; what is not said stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// Limits.
    pub resources: Resources,
    /// What happens when it ends.
    pub restart: Option<Restart>,
}

/// Updates a container.
///
/// # Errors
/// Numbers that do not go together; what the kernel says, after which the record is as before.
pub fn update(dirs: &Dirs, name: &str, update: &Update) -> Result<(), EngineError> {
    let container = container::find(dirs, name)?;
    let (edit, mut record) = Edit::begin(dirs, &container.record.id)?;
    let refuse = |why: String| {
        let message = format!("Cannot update container {}: {why}", record.id);
        EngineError::Failed { message, code: 1 }
    };
    let restarts = !matches!(update.restart, None | Some(Restart::No));
    if restarts && record.config.auto_remove {
        return Err(refuse(
            "Restart policy cannot be updated because AutoRemove is enabled for the container".to_owned(),
        ));
    }
    let (whole, change) = merge(&record.config.resources, &update.resources).map_err(refuse)?;
    whole.check().map_err(|error| refuse(error.to_string()))?;
    crate::resolve::machine::check(&update.resources).map_err(|error| match error {
        EngineError::Resources(error) => refuse(error.to_string()),
        other => other,
    })?;
    if change != Resources::default() && container.state.is_alive() {
        apply(&record, &change)?;
    }
    record.config.resources = whole;
    if let Some(restart) = update.restart {
        record.config.restart = Some(restart);
    }
    edit.write(&record)?;
    crate::events::tell(dirs, &record, "update", &[]);
    Ok(())
}

fn apply(record: &Record, change: &Resources) -> Result<(), EngineError> {
    let mut cgroup = container::needed_cgroup(record, "a new limit")?;
    Ok(cgroup.set(&Layout::detect()?, &crate::resolve::limits(change)?)?)
}

/// What it has afterwards, and what is to be set.
fn merge(known: &Resources, new: &Resources) -> Result<(Resources, Resources), String> {
    let (mut whole, mut change) = (known.clone(), new.clone());
    if new.nano_cpus.is_some() && known.cpu_quota_us.is_some() && new.cpu_quota_us.is_none() {
        return Err(
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set".into()
        );
    }
    if new.nano_cpus.is_some() && known.cpu_period_us.is_some() && new.cpu_period_us.is_none() {
        return Err(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set".into()
        );
    }
    if known.nano_cpus.is_some() && new.nano_cpus.is_none() {
        let said = [("Quota", new.cpu_quota_us), ("Period", new.cpu_period_us)];
        if let Some((name, _)) = said.iter().find(|(_, value)| value.is_some()) {
            return Err(ResourcesError::CpuConflict(name).to_string());
        }
    }
    // As much swap as memory is what it has if nothing was said.
    let swap = known.memory_swap_bytes.or_else(|| known.memory_bytes.map(|bytes| bytes.saturating_mul(2)));
    if let (Some(memory), None, Some(swap)) = (new.memory_bytes, new.memory_swap_bytes, swap) {
        if swap > 0 && memory > swap {
            return Err("Memory limit should be smaller than already set memoryswap limit, \
                        update the memoryswap at the same time"
                .into());
        }
        change.memory_swap_bytes = Some(swap);
    }
    if let (None, Some(_)) = (new.memory_bytes, new.memory_swap_bytes) {
        change.memory_bytes = known.memory_bytes;
    }
    macro_rules! take {
        ($($field:ident)*) => { $(if change.$field.is_some() { whole.$field.clone_from(&change.$field); })* };
    }
    take!(memory_bytes memory_reservation_bytes memory_swap_bytes nano_cpus cpu_shares cpu_period_us
          cpu_quota_us cpu_rt_period_us cpu_rt_runtime_us cpuset_cpus cpuset_mems pids_limit);
    if change.blkio.weight.is_some() {
        whole.blkio.weight = change.blkio.weight;
    }
    Ok((whole, change))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays() {
        let known = Resources { memory_bytes: Some(64 << 20), cpu_shares: Some(5), ..Resources::default() };
        let new = Resources { memory_bytes: Some(100 << 20), ..Resources::default() };
        let (whole, change) = merge(&known, &new).unwrap();
        assert_eq!((whole.memory_bytes, whole.memory_swap_bytes), (Some(100 << 20), Some(128 << 20)));
        assert_eq!((whole.cpu_shares, change.cpu_shares), (Some(5), None));
        let more = Resources { memory_bytes: Some(1 << 30), ..Resources::default() };
        assert!(merge(&known, &more).unwrap_err().contains("already set memoryswap limit"));
        let cpus = Resources { nano_cpus: Some(1), ..Resources::default() };
        let quota = Resources { cpu_quota_us: Some(1000), ..Resources::default() };
        assert!(merge(&cpus, &quota).unwrap_err().contains("CPU Quota cannot be updated as NanoCPUs"));
        assert!(merge(&quota, &cpus).unwrap_err().contains("Nano CPUs cannot be updated as CPU Quota"));
    }
}
