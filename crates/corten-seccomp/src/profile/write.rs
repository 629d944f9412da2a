//! [`Profile`] → Docker's JSON, of which OCI's is the part without conditions.

use serde::Serialize;

use super::{Architectures, Comparison, Gate, Profile, Rule};
use crate::action::Action;
use crate::arch::{ArchName, ArchSet};
use crate::capability;

impl Profile {
    /// As moby writes its own: tabs, fields that say nothing left out. Reading it gives this profile again.
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        let mut writer = serde_json::Serializer::with_formatter(
            &mut out,
            serde_json::ser::PrettyFormatter::with_indent(b"\t"),
        );
        document(self).serialize(&mut writer).expect("strings and numbers always serialize");
        String::from_utf8(out).expect("serde_json writes UTF-8")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    default_action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_errno_ret: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    architectures: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    arch_map: Vec<ArchEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_metadata: Option<&'a str>,
    syscalls: Vec<Entry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArchEntry {
    architecture: &'static str,
    sub_architectures: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    names: Vec<&'a str>,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<ArgEntry>,
    #[serde(skip_serializing_if = "str::is_empty")]
    comment: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    includes: Option<GateEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    excludes: Option<GateEntry>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArgEntry {
    index: u8,
    value: u64,
    #[serde(skip_serializing_if = "is_zero")]
    value_two: u64,
    op: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GateEntry {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    caps: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    arches: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_kernel: Option<String>,
}

fn document(profile: &Profile) -> Document<'_> {
    let (architectures, arch_map) = match &profile.architectures {
        Architectures::Listed(set) => (set.iter().map(ArchName::oci).collect(), Vec::new()),
        Architectures::Mapped(map) => (Vec::new(), map.iter().map(arch_entry).collect()),
    };
    Document {
        default_action: profile.default_action.name(),
        default_errno_ret: data(profile.default_action),
        architectures,
        arch_map,
        flags: profile.flags.map(|flags| flags.names().collect()),
        listener_path: profile.listener_path.as_deref(),
        listener_metadata: profile.listener_metadata.as_deref(),
        syscalls: profile.rules.iter().map(entry).collect(),
    }
}

fn arch_entry((arch, set): &(ArchName, ArchSet)) -> ArchEntry {
    let subs = set.iter().filter(|sub| sub != arch).map(ArchName::oci);
    ArchEntry { architecture: arch.oci(), sub_architectures: subs.collect() }
}

fn entry(rule: &Rule) -> Entry<'_> {
    let known = rule.syscalls.iter().map(|syscall| syscall.name());
    Entry {
        names: known.chain(rule.unknown.iter().map(String::as_str)).collect(),
        action: rule.action.name(),
        errno_ret: data(rule.action),
        args: rule.args.iter().map(arg_entry).collect(),
        comment: &rule.comment,
        includes: gate_entry(&rule.when.includes),
        excludes: gate_entry(&rule.when.excludes),
    }
}

fn arg_entry(arg: &Comparison) -> ArgEntry {
    ArgEntry { index: arg.index, value: arg.value, value_two: arg.value_two, op: arg.op.name() }
}

fn gate_entry(gate: &Gate) -> Option<GateEntry> {
    (*gate != Gate::default()).then(|| GateEntry {
        caps: capability::names(gate.caps).collect(),
        arches: gate.arches.iter().map(ArchName::docker).collect(),
        min_kernel: gate.min_kernel.map(|(major, minor)| format!("{major}.{minor}")),
    })
}

fn data(action: Action) -> Option<u16> {
    match action {
        Action::Errno(data) | Action::Trace(data) => Some(data),
        _ => None,
    }
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_the_same() {
        let json = br#"{"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 9, "flags": [],
            "archMap": [{"architecture": "SCMP_ARCH_S390X", "subArchitectures": ["SCMP_ARCH_S390"]}],
            "listenerPath": "/a", "listenerMetadata": "b",
            "syscalls": [{"names": ["read", "made_up"], "action": "SCMP_ACT_ERRNO", "comment": "why",
                "args": [{"index": 1, "value": 7, "valueTwo": 8, "op": "SCMP_CMP_LE"}],
                "includes": {"caps": ["CAP_BPF"], "arches": ["s390x"], "minKernel": "5.10"},
                "excludes": {"caps": ["CAP_CHOWN"]}}]}"#;
        let profile = Profile::from_json(json).unwrap();
        assert_eq!(Profile::from_json(profile.to_json().as_bytes()).unwrap(), profile);
        assert_eq!(Profile::from_json(crate::DEFAULT.to_json().as_bytes()).unwrap(), crate::DEFAULT);
    }
}
