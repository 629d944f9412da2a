//! A rule list as what v1's devices controller holds: a default and its exceptions.

use std::collections::BTreeMap;

use super::{Access, DeviceKind, DeviceRule, star};
use crate::error::Result;
use crate::validate::invalid;

type Key = (DeviceKind, Option<u32>, Option<u32>);

/// `allow` is the default; `exceptions` are of the other kind. A key's kind is never `All`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DevicePolicy {
    pub(crate) allow: bool,
    pub(crate) exceptions: BTreeMap<Key, Access>,
}

impl DevicePolicy {
    pub(crate) const DENY_ALL: DevicePolicy = DevicePolicy { allow: false, exceptions: BTreeMap::new() };

    /// Folds the list. A rule that v1 cannot hold is an error, never a looser rule.
    pub(crate) fn from_rules(rules: &[DeviceRule]) -> Result<DevicePolicy> {
        rules.iter().try_fold(DevicePolicy::DENY_ALL, DevicePolicy::then)
    }

    fn then(mut self, rule: &DeviceRule) -> Result<DevicePolicy> {
        if rule.is_everything() && rule.access == Access::ALL {
            return Ok(DevicePolicy { allow: rule.allow, exceptions: BTreeMap::new() });
        }
        let kinds: &[DeviceKind] = match rule.kind {
            DeviceKind::All => &[DeviceKind::Char, DeviceKind::Block],
            DeviceKind::Char => &[DeviceKind::Char],
            DeviceKind::Block => &[DeviceKind::Block],
        };
        for kind in kinds {
            let key = (*kind, rule.major, rule.minor);
            if rule.allow == self.allow {
                self.take_back(key, rule)?;
            } else {
                let access = self.exceptions.entry(key).or_insert(Access::NONE);
                *access = access.union(rule.access);
            }
        }
        Ok(self)
    }

    /// The default again for `key`: drop what exceptions say about it.
    fn take_back(&mut self, key: Key, rule: &DeviceRule) -> Result<()> {
        let wider = self.exceptions.iter().find(|(other, access)| {
            overlap(**other, key) && !covers(key, **other) && access.intersects(rule.access)
        });
        if let Some(((kind, major, minor), access)) = wider {
            let verb = if self.allow { "deny" } else { "allow" };
            let earlier = format!("{verb} {kind} {}:{} {access}", star(*major), star(*minor));
            return Err(invalid(
                "devices",
                rule,
                format!(
                    "cgroup v1 cannot take a part of `{earlier}` back; leave that one out or use cgroup2"
                ),
            ));
        }
        self.exceptions.retain(|other, access| {
            if covers(key, *other) {
                *access = access.without(rule.access);
            }
            *access != Access::NONE
        });
        Ok(())
    }

    /// Reads `devices.list`. Under "allow" the kernel does not show the exceptions (`None`).
    pub(crate) fn parse_list(text: &str) -> Option<DevicePolicy> {
        let mut policy = DevicePolicy::DENY_ALL;
        for line in text.lines() {
            let mut words = line.split(' ');
            let kind = match words.next()? {
                "c" => DeviceKind::Char,
                "b" => DeviceKind::Block,
                _ => return None,
            };
            let (major, minor) = words.next()?.split_once(':')?;
            let number = |text: &str| if text == "*" { Some(None) } else { text.parse().ok().map(Some) };
            policy.exceptions.insert((kind, number(major)?, number(minor)?), words.next()?.parse().ok()?);
        }
        Some(policy)
    }

    /// What the kernel makes of it (security/device_cgroup.c, match_exception).
    #[cfg(test)]
    pub(crate) fn allows(&self, kind: DeviceKind, major: u32, minor: u32, access: u8) -> bool {
        let device = (kind, Some(major), Some(minor));
        let mut matching = self.exceptions.iter().filter(|(key, _)| covers(**key, device));
        match self.allow {
            true => !matching.any(|(_, a)| a.bits() & access != 0),
            false => matching.any(|(_, a)| access & !a.bits() == 0),
        }
    }

    /// What to write to make `self` of `current`, by file. Between policies that both deny by default
    /// only differences are written: at no moment is more allowed or less than one of the two allows,
    /// and it works where there are cgroups below (`deny a` is EINVAL then). `None`: a fresh cgroup.
    pub(crate) fn v1_writes(&self, current: Option<&DevicePolicy>) -> Vec<(&'static str, Vec<String>)> {
        let (to, from) =
            if self.allow { ("devices.deny", "devices.allow") } else { ("devices.allow", "devices.deny") };
        match current.filter(|c| !c.allow && !self.allow) {
            Some(current) => vec![(from, current.less(self)), (to, self.less(current))],
            None => vec![(from, vec!["a".to_owned()]), (to, self.less(&DevicePolicy::DENY_ALL))],
        }
        .into_iter()
        .filter(|(_, lines)| !lines.is_empty())
        .collect()
    }

    /// The exceptions of `self` that `other` does not have, as v1 writes them.
    fn less(&self, other: &DevicePolicy) -> Vec<String> {
        let mut lines = Vec::new();
        for (key, access) in &self.exceptions {
            let access = access.without(other.exceptions.get(key).copied().unwrap_or(Access::NONE));
            if access != Access::NONE {
                lines.push(format!("{} {}:{} {access}", key.0, star(key.1), star(key.2)));
            }
        }
        lines
    }
}

/// Whether every device of `narrow` is one of `wide`.
fn covers(wide: Key, narrow: Key) -> bool {
    wide.0 == narrow.0 && (wide.1.is_none() || wide.1 == narrow.1) && (wide.2.is_none() || wide.2 == narrow.2)
}

/// Whether some device is one of both.
fn overlap(one: Key, other: Key) -> bool {
    let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
    one.0 == other.0 && meet(one.1, other.1) && meet(one.2, other.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> DeviceRule {
        let words: Vec<_> = text.split(' ').collect();
        let (major, minor) = words[2].split_once(':').unwrap();
        DeviceRule {
            allow: words[0] == "allow",
            kind: match words[1] {
                "a" => DeviceKind::All,
                "b" => DeviceKind::Block,
                _ => DeviceKind::Char,
            },
            major: major.parse().ok(),
            minor: minor.parse().ok(),
            access: words[3].parse().unwrap(),
        }
    }

    fn policy(rules: &[&str]) -> Result<DevicePolicy> {
        DevicePolicy::from_rules(&rules.iter().map(|r| rule(r)).collect::<Vec<_>>())
    }

    fn written(rules: &[&str]) -> Vec<String> {
        let files = policy(rules).unwrap().v1_writes(None);
        files.iter().flat_map(|(file, lines)| lines.iter().map(move |l| format!("{file} {l}"))).collect()
    }

    #[test]
    fn lists_become_a_default_and_exceptions() {
        let docker = ["deny a *:* rwm", "allow c *:* m", "allow c 1:3 rwm", "allow c 136:* rwm"];
        let expected = [
            "devices.deny a",
            "devices.allow c *:* m",
            "devices.allow c 1:3 rwm",
            "devices.allow c 136:* rwm",
        ];
        assert_eq!(written(&docker), expected);
        assert_eq!(written(&["allow a *:* rwm"]), ["devices.allow a"]);
        assert_eq!(
            written(&["allow a *:* rwm", "deny b 8:0 w"]),
            ["devices.allow a", "devices.deny b 8:0 w"]
        );
        // What no rule names is denied.
        assert_eq!(written(&["allow c 1:3 r"]), ["devices.deny a", "devices.allow c 1:3 r"]);
        // A wider rule takes narrower ones back, bit by bit.
        assert_eq!(
            written(&["allow c 1:3 rwm", "allow c 1:5 m", "deny c 1:* wm"]),
            ["devices.deny a", "devices.allow c 1:3 r"]
        );
        assert_eq!(
            written(&["allow a *:* m"]),
            ["devices.deny a", "devices.allow c *:* m", "devices.allow b *:* m"]
        );
    }

    #[test]
    fn what_v1_cannot_hold_is_refused() {
        let message = policy(&["allow c *:* rwm", "deny c 1:3 w"]).unwrap_err().to_string();
        assert!(
            message
                .starts_with("devices: deny c 1:3 w: cgroup v1 cannot take a part of `allow c *:* rwm` back")
        );
        assert!(policy(&["allow c *:* m", "deny c 1:3 w"]).is_ok());
        // Neither covers the other, and both are 5:1.
        assert!(policy(&["allow c *:1 rwm", "deny c 5:* w"]).is_err());
    }

    #[test]
    fn updates_write_differences() {
        let current = DevicePolicy::parse_list("c *:* m\nc 1:3 rwm\nc 5:1 rw\n").unwrap();
        let wanted =
            policy(&["allow c *:* m", "allow c 1:3 rw", "allow c 10:229 rwm", "allow c 5:1 rw"]).unwrap();
        let writes = wanted.v1_writes(Some(&current));
        assert_eq!(
            writes,
            [
                ("devices.deny", vec!["c 1:3 m".to_owned()]),
                ("devices.allow", vec!["c 10:229 rwm".to_owned()])
            ]
        );
        assert!(wanted.v1_writes(Some(&wanted)).is_empty());
        assert_eq!(DevicePolicy::parse_list("a *:* rwm\n"), None);
    }
}
