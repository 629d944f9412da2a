//! JSON → [`Profile`]: OCI's `linux.seccomp` and Docker's seccomp.json, told apart by their fields.
//!
//! The document is walked by hand, so that every error names its field. Fields that neither form knows are
//! passed over, as Go's decoder does; `null` is as good as absent, since Go writes it for empty slices.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{Architectures, Comparison, Condition, Flags, Gate, Op, Profile, Rule};
use crate::action::Action;
use crate::arch::{ArchName, ArchSet};
use crate::capability;
use crate::error::Error;
use crate::table::Syscall;

/// What is parsed at most; moby's own is 18 KiB.
const LIMIT_BYTES: usize = 4 << 20;
const EPERM: u16 = 1;

impl Profile {
    /// Reads either form.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        if json.len() > LIMIT_BYTES {
            return Err(Error::TooLarge { size_bytes: json.len(), limit_bytes: LIMIT_BYTES });
        }
        let document: Value = serde_json::from_slice(json).map_err(Error::Json)?;
        profile(&Node::top(&document)?)
    }
}

fn profile(top: &Node) -> Result<Profile, Error> {
    let default_action = action(top, "defaultAction", "defaultErrnoRet")?;
    if default_action == Action::Notify {
        // The listener does not run before the container's first execve, which would wait for it (runc too).
        return Err(top.conflict("defaultAction", "cannot be SCMP_ACT_NOTIFY"));
    }
    let listener_path = top.text("listenerPath")?.map(str::to_owned);
    let listener_metadata = top.text("listenerMetadata")?.map(str::to_owned);
    if listener_metadata.is_some() && listener_path.is_none() {
        return Err(top.conflict("listenerMetadata", "needs `listenerPath`"));
    }
    Ok(Profile {
        default_action,
        architectures: architectures(top)?,
        flags: flags(top)?,
        listener_path,
        listener_metadata,
        rules: top.objects("syscalls")?.iter().map(rule).collect::<Result<Vec<_>, _>>()?.into(),
    })
}

fn architectures(top: &Node) -> Result<Architectures, Error> {
    let listed = arch_set(top, "architectures", ArchName::from_oci)?;
    let entries = top.objects("archMap")?;
    if entries.is_empty() {
        return Ok(Architectures::Listed(listed));
    }
    if !listed.is_empty() {
        return Err(top.conflict("archMap", "and `architectures` exclude each other"));
    }
    let entry = |node: &Node| {
        let name = node.text("architecture")?.ok_or_else(|| node.missing("architecture"))?;
        let arch = ArchName::from_oci(name)
            .ok_or_else(|| node.unknown("architecture".into(), "architecture", name))?;
        Ok((arch, arch_set(node, "subArchitectures", ArchName::from_oci)?.with(arch)))
    };
    Ok(Architectures::Mapped(entries.iter().map(entry).collect::<Result<Vec<_>, Error>>()?.into()))
}

fn flags(top: &Node) -> Result<Option<Flags>, Error> {
    if top.get("flags").is_none() {
        return Ok(None);
    }
    let mut flags = Flags::default();
    for (at, name) in top.texts("flags")?.into_iter().enumerate() {
        let flag = Flags::named(name).ok_or_else(|| top.unknown(format!("flags[{at}]"), "flag", name))?;
        flags = flags.with(flag);
    }
    Ok(Some(flags))
}

fn rule(node: &Node) -> Result<Rule, Error> {
    let (mut syscalls, mut unknown) = (Vec::new(), Vec::new());
    let names = match (node.text("name")?.filter(|name| !name.is_empty()), node.texts("names")?) {
        (Some(name), names) if names.is_empty() => vec![name],
        (None, names) if names.is_empty() => return Err(node.missing("names")),
        (None, names) => names,
        (Some(_), _) => return Err(node.conflict("name", "and `names` exclude each other")),
    };
    for name in names {
        match Syscall::named(name) {
            Some(syscall) => syscalls.push(syscall),
            None => unknown.push(name.to_owned()),
        }
    }
    Ok(Rule {
        syscalls: syscalls.into(),
        unknown,
        action: action(node, "action", "errnoRet")?,
        args: node.objects("args")?.iter().map(comparison).collect::<Result<Vec<_>, _>>()?.into(),
        when: Condition { includes: gate(node, "includes")?, excludes: gate(node, "excludes")? },
        comment: Cow::Owned(node.text("comment")?.unwrap_or_default().to_owned()),
    })
}

/// An action and the number that goes with it: EPERM if there is none, and only where it has a meaning.
fn action(node: &Node, field: &'static str, errno_field: &'static str) -> Result<Action, Error> {
    let name = node.text(field)?.ok_or_else(|| node.missing(field))?;
    let action = Action::named(name).ok_or_else(|| node.unknown(field.into(), "action", name))?;
    let data = node.number(errno_field)?;
    match action {
        Action::Errno(_) => match data.unwrap_or(EPERM.into()) {
            errno if errno <= Action::MAX_ERRNO.into() => Ok(Action::Errno(errno as u16)),
            _ => Err(node.wrong(errno_field, "an errno, 0 to 4095")),
        },
        Action::Trace(_) => u16::try_from(data.unwrap_or(EPERM.into()))
            .map(Action::Trace)
            .map_err(|_| node.wrong(errno_field, "a number of 16 bits")),
        // Docker has written its default errno next to other default actions; it says nothing there.
        _ if data.is_none_or(|data| data == 0) || errno_field == "defaultErrnoRet" => Ok(action),
        _ => Err(node.conflict(errno_field, "needs SCMP_ACT_ERRNO or SCMP_ACT_TRACE")),
    }
}

fn comparison(node: &Node) -> Result<Comparison, Error> {
    let index = node.number("index")?.ok_or_else(|| node.missing("index"))?;
    let name = node.text("op")?.ok_or_else(|| node.missing("op"))?;
    Ok(Comparison {
        index: u8::try_from(index)
            .ok()
            .filter(|index| *index < 6)
            .ok_or_else(|| node.wrong("index", "0 to 5"))?,
        op: Op::named(name).ok_or_else(|| node.unknown("op".into(), "operator", name))?,
        value: node.number("value")?.ok_or_else(|| node.missing("value"))?,
        value_two: node.number("valueTwo")?.unwrap_or(0),
    })
}

fn gate(rule: &Node, field: &'static str) -> Result<Gate, Error> {
    let Some(node) = rule.object(field)? else { return Ok(Gate::default()) };
    let mut caps = 0;
    for (at, name) in node.texts("caps")?.into_iter().enumerate() {
        caps |=
            capability::named(name).ok_or_else(|| node.unknown(format!("caps[{at}]"), "capability", name))?;
    }
    let version = |text: &str| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let min_kernel = match node.text("minKernel")?.filter(|text| !text.is_empty()) {
        Some(text) => Some(version(text).ok_or_else(|| node.wrong("minKernel", "a version as \"4.8\""))?),
        None => None,
    };
    Ok(Gate { caps, arches: arch_set(&node, "arches", ArchName::from_docker)?, min_kernel })
}

fn arch_set(node: &Node, field: &'static str, named: fn(&str) -> Option<ArchName>) -> Result<ArchSet, Error> {
    let mut set = ArchSet::EMPTY;
    for (at, name) in node.texts(field)?.into_iter().enumerate() {
        let arch = named(name).ok_or_else(|| node.unknown(format!("{field}[{at}]"), "architecture", name))?;
        set = set.with(arch);
    }
    Ok(set)
}

/// An object of the document and the path to it: empty, or ending in a dot.
struct Node<'a> {
    path: String,
    fields: &'a Map<String, Value>,
}

impl<'a> Node<'a> {
    fn top(document: &'a Value) -> Result<Self, Error> {
        match document {
            Value::Object(fields) => Ok(Self { path: String::new(), fields }),
            _ => Err(Error::Type { field: "(document)".into(), expected: "an object" }),
        }
    }

    fn get(&self, field: &str) -> Option<&'a Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    fn text(&self, field: &str) -> Result<Option<&'a str>, Error> {
        self.get(field).map(|value| value.as_str().ok_or_else(|| self.wrong(field, "a string"))).transpose()
    }

    fn number(&self, field: &str) -> Result<Option<u64>, Error> {
        let number = |value: &Value| value.as_u64().ok_or_else(|| self.wrong(field, "a number of 64 bits"));
        self.get(field).map(number).transpose()
    }

    fn array(&self, field: &str) -> Result<&'a [Value], Error> {
        match self.get(field) {
            None => Ok(&[]),
            Some(Value::Array(values)) => Ok(values),
            Some(_) => Err(self.wrong(field, "an array")),
        }
    }

    fn texts(&self, field: &str) -> Result<Vec<&'a str>, Error> {
        let text = |(at, value): (usize, &'a Value)| {
            value.as_str().ok_or_else(|| self.wrong(&format!("{field}[{at}]"), "a string"))
        };
        self.array(field)?.iter().enumerate().map(text).collect()
    }

    fn object(&self, field: &str) -> Result<Option<Self>, Error> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self { path: format!("{}{field}.", self.path), fields })),
            Some(_) => Err(self.wrong(field, "an object")),
        }
    }

    fn objects(&self, field: &str) -> Result<Vec<Self>, Error> {
        let object = |(at, value): (usize, &'a Value)| match value {
            Value::Object(fields) => Ok(Self { path: format!("{}{field}[{at}].", self.path), fields }),
            _ => Err(self.wrong(&format!("{field}[{at}]"), "an object")),
        };
        self.array(field)?.iter().enumerate().map(object).collect()
    }

    fn missing(&self, field: &str) -> Error {
        Error::Missing { field: format!("{}{field}", self.path) }
    }

    fn wrong(&self, field: &str, expected: &'static str) -> Error {
        Error::Type { field: format!("{}{field}", self.path), expected }
    }

    fn conflict(&self, field: &str, conflict: &'static str) -> Error {
        Error::Conflict { field: format!("{}{field}", self.path), conflict }
    }

    fn unknown(&self, field: String, kind: &'static str, name: &str) -> Error {
        Error::UnknownName { field: format!("{}{field}", self.path), kind, name: name.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;

    fn error(json: &str) -> String {
        Profile::from_json(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn reads_the_oci_form() {
        let profile = Profile::from_json(
            br#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_S390X"],
                "flags": ["SECCOMP_FILTER_FLAG_LOG"], "listenerPath": "/run/agent", "listenerMetadata": "x",
                "syscalls": [
                    {"names": ["read", "made_up"], "action": "SCMP_ACT_ALLOW", "args": null},
                    {"names": ["clone"], "action": "SCMP_ACT_TRACE", "errnoRet": 7, "args": [
                        {"index": 5, "value": 18446744073709551615, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}]}
                ]}"#,
        )
        .unwrap();
        assert_eq!(profile.default_action, Action::Errno(38));
        assert_eq!(profile.architectures.of_kernel(Arch::X86_64).collect::<Vec<_>>(), [Arch::X86_64]);
        assert_eq!(profile.flags, Some(Flags::LOG));
        assert_eq!(profile.listener_path.as_deref(), Some("/run/agent"));
        assert_eq!(profile.rules[0].syscalls[..], [Syscall::known("read")]);
        assert_eq!(profile.rules[0].unknown, ["made_up"]);
        let arg = Comparison { index: 5, op: Op::MaskedEq, value: u64::MAX, value_two: 2 };
        assert_eq!((profile.rules[1].action, &profile.rules[1].args[..]), (Action::Trace(7), &[arg][..]));
    }

    #[test]
    fn reads_dockers_form() {
        let profile = Profile::from_json(
            br#"{"defaultAction": "SCMP_ACT_ERRNO",
                "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X32"]}],
                "syscalls": [
                    {"name": "read", "action": "SCMP_ACT_ALLOW", "comment": "old form"},
                    {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW",
                     "includes": {"minKernel": "4.8", "arches": ["amd64", "386"]},
                     "excludes": {"caps": ["CAP_SYS_PTRACE"]}}
                ]}"#,
        )
        .unwrap();
        assert_eq!(profile.default_action, Action::Errno(1));
        assert_eq!(
            profile.architectures.of_kernel(Arch::X86_64).collect::<Vec<_>>(),
            [Arch::X86_64, Arch::X32]
        );
        assert_eq!(profile.rules[0].comment, "old form");
        let when = profile.rules[1].when;
        assert_eq!(when.includes.min_kernel, Some((4, 8)));
        assert_eq!(when.includes.arches, ArchSet::of(&[Arch::X86_64, Arch::X86]));
        assert_eq!(when.excludes.caps, capability::bit("CAP_SYS_PTRACE"));
    }

    #[test]
    fn errors_name_the_field() {
        let rule = |rest: &str| {
            error(&format!(
                r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": ["read"], {rest}}}]}}"#
            ))
        };
        for (got, wanted) in [
            (error("[]"), "`(document)` must be an object"),
            (error("{}"), "`defaultAction` is missing"),
            (error(r#"{"defaultAction": "ALLOW"}"#), "`defaultAction`: unknown action `ALLOW`"),
            (error(r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#), "`defaultAction` cannot be SCMP_ACT_NOTIFY"),
            (
                error(r#"{"defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_X86", "vax"]}"#),
                "`architectures[1]`: unknown architecture `vax`",
            ),
            (error(r#"{"defaultAction": "SCMP_ACT_LOG", "flags": ["X"]}"#), "`flags[0]`: unknown flag `X`"),
            (
                error(r#"{"defaultAction": "SCMP_ACT_LOG", "listenerMetadata": "x"}"#),
                "`listenerMetadata` needs `listenerPath`",
            ),
            (rule(r#""action": 3"#), "`syscalls[0].action` must be a string"),
            (
                rule(r#""action": "SCMP_ACT_ERRNO", "errnoRet": 4096"#),
                "`syscalls[0].errnoRet` must be an errno",
            ),
            (rule(r#""action": "SCMP_ACT_KILL", "errnoRet": 1"#), "`syscalls[0].errnoRet` needs"),
            (
                rule(r#""action": "SCMP_ACT_LOG", "args": [{"index": 6, "op": "SCMP_CMP_EQ", "value": 1}]"#),
                "`syscalls[0].args[0].index` must be 0 to 5",
            ),
            (
                rule(r#""action": "SCMP_ACT_LOG", "args": [{"index": 0, "op": "EQ", "value": 1}]"#),
                "`syscalls[0].args[0].op`: unknown operator `EQ`",
            ),
            (
                rule(r#""action": "SCMP_ACT_LOG", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": -1}]"#),
                "`syscalls[0].args[0].value` must be a number",
            ),
            (
                rule(r#""action": "SCMP_ACT_LOG", "includes": {"caps": ["SYS_ADMIN"]}"#),
                "`syscalls[0].includes.caps[0]`: unknown capability `SYS_ADMIN`",
            ),
            (
                rule(r#""action": "SCMP_ACT_LOG", "excludes": {"minKernel": "4"}"#),
                "`syscalls[0].excludes.minKernel` must be a version",
            ),
            (rule(r#""action": "SCMP_ACT_LOG", "name": "write""#), "`syscalls[0].name` and `names`"),
        ] {
            assert!(got.contains(wanted), "{got}\n  wanted {wanted}");
        }
        assert!(matches!(Profile::from_json(b"{"), Err(Error::Json(_))));
        assert!(matches!(Profile::from_json(&vec![b' '; LIMIT_BYTES + 1]), Err(Error::TooLarge { .. })));
    }
}
