//! Names of scopes and slices, and where their cgroups are.
//!
//! A slice's name is its path: `a-b.slice` is in `a.slice`, and its cgroup is `a.slice/a-b.slice`.
//! Source: systemd.unit(5), systemd.slice(5); src/basic/unit-name.c of systemd.

use crate::path::CgroupPath;

/// A name that systemd would not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no name of a {kind}: {why}")]
pub struct NameError {
    pub kind: &'static str,
    pub name: String,
    pub why: &'static str,
}

/// UNIT_NAME_MAX
const MAX_NAME: usize = 255;

/// A name that systemd takes for a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeName(String);

/// A name that systemd takes for a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceName(String);

impl ScopeName {
    /// `corten-ID.scope`
    pub fn new(name: &str) -> Result<ScopeName, NameError> {
        let refuse = |why| NameError { kind: "scope", name: name.to_owned(), why };
        let stem = name.strip_suffix(".scope").ok_or_else(|| refuse("it must end with .scope"))?;
        check(stem, name).map_err(refuse)?;
        Ok(ScopeName(name.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SliceName {
    /// A `--cgroup-parent` for systemd.
    pub fn new(name: &str) -> Result<SliceName, NameError> {
        let refuse = |why| NameError { kind: "slice", name: name.to_owned(), why };
        let stem = name.strip_suffix(".slice").ok_or_else(|| refuse("it must end with .slice"))?;
        check(stem, name).map_err(refuse)?;
        // The root slice is `-` alone; else each dash stands between two names.
        if stem != "-" && stem.split('-').any(str::is_empty) {
            return Err(refuse("a dash must stand between two names"));
        }
        Ok(SliceName(name.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `a.slice/a-b.slice`; empty for the root slice.
    fn path(&self) -> String {
        let stem = self.0.trim_end_matches(".slice");
        if stem == "-" {
            return String::new();
        }
        let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
        let names: Vec<String> = ends.map(|end| format!("{}.slice", &stem[..end])).collect();
        names.join("/")
    }
}

fn check(stem: &str, name: &str) -> Result<(), &'static str> {
    let valid = |c: char| c.is_ascii_alphanumeric() || ":-_.\\".contains(c);
    match stem {
        "" => Err("it is empty"),
        _ if name.len() > MAX_NAME => Err("it is longer than 255 bytes"),
        _ if !stem.chars().all(valid) => Err("only letters, digits and :-_.\\ are allowed"),
        _ => Ok(()),
    }
}

/// Where systemd puts the scope: below its own root, which for a user's is `user@UID.service`.
pub(crate) fn cgroup_of(
    slice: &SliceName,
    scope: &ScopeName,
    user: Option<u32>,
) -> Result<CgroupPath, crate::path::PathError> {
    let root =
        user.map_or_else(String::new, |uid| format!("user.slice/user-{uid}.slice/user@{uid}.service/"));
    CgroupPath::new(format!("{root}{}/{}", slice.path(), scope.as_str()).trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_paths() {
        let at = |slice: &str, user| {
            let scope = ScopeName::new("corten-1.scope").unwrap();
            String::from(cgroup_of(&SliceName::new(slice).unwrap(), &scope, user).unwrap())
        };
        assert_eq!(at("system.slice", None), "system.slice/corten-1.scope");
        assert_eq!(at("a-b-c.slice", None), "a.slice/a-b.slice/a-b-c.slice/corten-1.scope");
        assert_eq!(at("-.slice", None), "corten-1.scope");
        let user = "user.slice/user-1000.slice/user@1000.service/user.slice/corten-1.scope";
        assert_eq!(at("user.slice", Some(1000)), user);
    }

    #[test]
    fn what_is_refused() {
        for bad in
            ["", ".slice", "a", "a.scope", "a--b.slice", "-a.slice", "a-.slice", "--.slice", "a/b.slice"]
        {
            assert!(SliceName::new(bad).is_err(), "{bad}");
        }
        for bad in ["../x.slice", "a b.slice", "a\n.slice", "é.slice"] {
            assert!(SliceName::new(bad).is_err(), "{bad}");
        }
        assert!(SliceName::new(&format!("{}.slice", "x".repeat(250))).is_err());
        assert!(ScopeName::new("a.slice").is_err() && ScopeName::new("a/b.scope").is_err());
        assert_eq!(
            SliceName::new("/docker").unwrap_err().to_string(),
            r#""/docker" is no name of a slice: it must end with .slice"#
        );
    }
}
