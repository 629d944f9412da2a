//! `CgroupPath`: where a cgroup is, below the mount point of every hierarchy.
//!
//! A path from a user or a bundle must not name a cgroup outside of the mount: `..`, an empty or
//! absolute path, NUL and newline are refused (crun 1.29 fixed an escape by `run.oci` sub-cgroups with
//! `../`; a newline would forge a line of /proc/PID/cgroup).

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A validated relative path such as `corten/4f2a…`: at least one component, none of them `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CgroupPath(String);

/// Why a cgroup path was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cgroup path {path:?}: {why}")]
pub struct PathError {
    pub path: String,
    pub why: &'static str,
}

impl CgroupPath {
    /// Checks a relative path. Repeated and trailing slashes are dropped.
    pub fn new(path: &str) -> Result<CgroupPath, PathError> {
        if path.starts_with('/') {
            return Err(refuse(path, "must be relative to the cgroup mount"));
        }
        let mut clean = String::with_capacity(path.len());
        for component in path.split('/').filter(|c| !c.is_empty()) {
            if let Some(why) = fault(component) {
                return Err(refuse(path, why));
            }
            if !clean.is_empty() {
                clean.push('/');
            }
            clean.push_str(component);
        }
        match clean.as_str() {
            "" => Err(refuse(path, "is empty")),
            long if long.len() > 3000 => Err(refuse(path, "is longer than 3000 bytes")),
            _ => Ok(CgroupPath(clean)),
        }
    }

    /// Checks the `cgroupsPath` of a bundle or a `--cgroup-parent`. There an absolute path means one
    /// below the mount point (runtime-spec, config-linux.md, "Cgroups Path").
    pub fn from_oci(path: &str) -> Result<CgroupPath, PathError> {
        CgroupPath::new(path.trim_start_matches('/')).map_err(|e| PathError { path: path.to_owned(), ..e })
    }

    /// This path with one or more components more.
    pub fn join(&self, below: &str) -> Result<CgroupPath, PathError> {
        let below = CgroupPath::new(below)?;
        CgroupPath::new(&format!("{self}/{below}"))
    }

    pub fn parent(&self) -> Option<CgroupPath> {
        self.0.rsplit_once('/').map(|(parent, _)| CgroupPath(parent.to_owned()))
    }

    /// The last component.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `a`, `a/b`, `a/b/c`: every cgroup on the way, this one last.
    pub fn with_ancestors(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(i, _)| &self.0[..i]).chain(std::iter::once(self.as_str()))
    }

    /// Where it is in the hierarchy that is mounted at `mount`.
    pub fn below(&self, mount: &Path) -> PathBuf {
        mount.join(&self.0)
    }
}

fn refuse(path: &str, why: &'static str) -> PathError {
    PathError { path: path.to_owned(), why }
}

fn fault(component: &str) -> Option<&'static str> {
    match component {
        "." | ".." => Some("must not contain `.` or `..`"),
        c if c.contains('\0') => Some("must not contain NUL"),
        c if c.chars().any(char::is_control) => Some("must not contain newlines or other control characters"),
        c if c.len() > 255 => Some("has a component longer than 255 bytes"),
        _ => None,
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for CgroupPath {
    type Err = PathError;
    fn from_str(s: &str) -> Result<Self, PathError> {
        CgroupPath::new(s)
    }
}

impl TryFrom<String> for CgroupPath {
    type Error = PathError;
    fn try_from(s: String) -> Result<Self, PathError> {
        CgroupPath::new(&s)
    }
}

impl From<CgroupPath> for String {
    fn from(p: CgroupPath) -> String {
        p.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused() {
        for bad in [
            "",
            "/",
            "/corten/a",
            "..",
            "corten/..",
            "../corten",
            "a/../../b",
            "a/./b",
            "a\nb",
            "a\0b",
            "a\x1b[0m",
        ] {
            assert!(CgroupPath::new(bad).is_err(), "{bad:?}");
        }
        assert!(CgroupPath::new(&"x".repeat(256)).is_err());
        assert!(CgroupPath::from_oci("/../x").is_err());
        assert!(CgroupPath::from_oci("///").is_err());
        assert_eq!(
            CgroupPath::from_oci("/a/../b").unwrap_err().to_string(),
            r#"cgroup path "/a/../b": must not contain `.` or `..`"#
        );
    }

    #[test]
    fn what_is_taken() {
        let p = CgroupPath::new("corten//4f2a/").unwrap();
        assert_eq!(p.as_str(), "corten/4f2a");
        assert_eq!(p.name(), "4f2a");
        assert_eq!(p.parent().unwrap().as_str(), "corten");
        assert_eq!(p.parent().unwrap().parent(), None);
        assert_eq!(p.with_ancestors().collect::<Vec<_>>(), ["corten", "corten/4f2a"]);
        assert_eq!(p.below(Path::new("/sys/fs/cgroup")), Path::new("/sys/fs/cgroup/corten/4f2a"));
        assert_eq!(CgroupPath::from_oci("/docker/x..y").unwrap().as_str(), "docker/x..y");
        assert!(p.join("../x").is_err());
        assert!(p.join("/x").is_err());
    }
}
