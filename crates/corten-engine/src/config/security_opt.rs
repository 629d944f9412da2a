//! `--security-opt`: seccomp, AppArmor, SELinux, no-new-privileges, masked paths.

use serde::{Deserialize, Serialize};

/// All `--security-opt` of one container together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecurityOpts {
    pub seccomp: Option<Seccomp>,
    /// Profile name, or `unconfined`.
    pub apparmor: Option<String>,
    /// SELinux: `user:U`, `role:R`, `type:T`, `level:L`, `disable`, `filetype:T`, `nested`.
    pub labels: Vec<String>,
    pub no_new_privileges: Option<bool>,
    /// Nothing masked, nothing read-only below /proc and /sys.
    pub systempaths_unconfined: bool,
    pub writable_cgroups: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seccomp {
    Builtin,
    Unconfined,
    /// A path on the edge's machine; the edge reads it and hands on `Json`.
    File(String),
    Json(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecurityOptError {
    #[error("invalid --security-opt: {0:?}")]
    Unknown(String),
    #[error("invalid --security-opt {name}: {value:?} is neither true nor false")]
    Bool { name: &'static str, value: String },
    #[error("invalid --security-opt systempaths: {0:?}; only \"unconfined\" is allowed")]
    SystemPaths(String),
    #[error("invalid --security-opt label: {0:?}")]
    Label(String),
}

impl SecurityOpts {
    /// Takes one option in; a later one of the same name replaces an earlier one, labels add up.
    pub fn add(&mut self, text: &str) -> Result<(), SecurityOptError> {
        // `seccomp:x` is the old spelling. A bare word is a switch.
        let (name, value) = match text.split_once(['=', ':']) {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let switch = |name| match value {
            None => Ok(true),
            Some(value) => super::parse_bool(value)
                .ok_or_else(|| SecurityOptError::Bool { name, value: value.to_owned() }),
        };
        match (name, value) {
            ("no-new-privileges", _) => self.no_new_privileges = Some(switch("no-new-privileges")?),
            ("writable-cgroups", _) => self.writable_cgroups = Some(switch("writable-cgroups")?),
            ("seccomp", Some(value)) if !value.is_empty() => {
                self.seccomp = Some(match value {
                    "unconfined" => Seccomp::Unconfined,
                    "builtin" => Seccomp::Builtin,
                    json if json.trim_start().starts_with('{') => Seccomp::Json(json.to_owned()),
                    path => Seccomp::File(path.to_owned()),
                });
            }
            ("apparmor", Some(value)) if !value.is_empty() => self.apparmor = Some(value.to_owned()),
            ("systempaths", Some("unconfined")) => self.systempaths_unconfined = true,
            ("systempaths", Some(value)) => return Err(SecurityOptError::SystemPaths(value.to_owned())),
            ("label", Some(value)) => {
                let (key, rest) = value.split_once(':').unwrap_or((value, ""));
                match (key, rest) {
                    ("disable" | "nested", "") => {}
                    ("user" | "role" | "type" | "level" | "filetype", rest) if !rest.is_empty() => {}
                    _ => return Err(SecurityOptError::Label(value.to_owned())),
                }
                self.labels.push(value.to_owned());
            }
            _ => return Err(SecurityOptError::Unknown(text.to_owned())),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opts(texts: &[&str]) -> Result<SecurityOpts, SecurityOptError> {
        let mut opts = SecurityOpts::default();
        for text in texts {
            opts.add(text)?;
        }
        Ok(opts)
    }

    #[test]
    fn options() {
        let got = opts(&["no-new-privileges", "seccomp=unconfined", "label=disable", "label=type:svirt_t"]);
        let got = got.unwrap();
        assert_eq!(got.no_new_privileges, Some(true));
        assert_eq!(got.seccomp, Some(Seccomp::Unconfined));
        assert_eq!(got.labels, ["disable", "type:svirt_t"]);
        assert_eq!(opts(&["no-new-privileges:false"]).unwrap().no_new_privileges, Some(false));
        assert_eq!(opts(&["no-new-privileges=true"]).unwrap().no_new_privileges, Some(true));
        assert_eq!(opts(&["seccomp=/a/b.json"]).unwrap().seccomp, Some(Seccomp::File("/a/b.json".into())));
        assert!(matches!(opts(&["seccomp={}"]).unwrap().seccomp, Some(Seccomp::Json(_))));
        assert_eq!(opts(&["apparmor=unconfined"]).unwrap().apparmor.as_deref(), Some("unconfined"));
        assert!(opts(&["systempaths=unconfined"]).unwrap().systempaths_unconfined);
        assert_eq!(opts(&["writable-cgroups=true"]).unwrap().writable_cgroups, Some(true));
        let bad = [
            "",
            "seccomp",
            "seccomp=",
            "wat=1",
            "no-new-privileges=maybe",
            "systempaths=x",
            "label=x",
            "label=disable:1",
            "apparmor",
        ];
        for text in bad {
            assert!(opts(&[text]).is_err(), "{text:?}");
        }
    }
}
