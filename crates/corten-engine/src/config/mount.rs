//! What is mounted into the container: `-v`, `--mount` and `--tmpfs`, one type for the three.
//!
//! The source of a bind is a path on the host as the edge gave it; the edge makes it absolute (`-v ./x:…`)
//! before it comes here. Whether it exists is for the engine to see.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::size;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute and clean path in the container.
    pub target: String,
    #[serde(default)]
    pub read_only: bool,
    #[serde(default)]
    pub flags: MountFlags,
    pub source: MountSource,
    /// The text of `-v`, which `inspect` shows under `HostConfig.Binds`; absent for `--mount` and `--tmpfs`.
    #[serde(default)]
    pub bind_spec: Option<String>,
}

/// Flags that were asked for by name; absent leaves the default of the kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountFlags {
    pub nosuid: Option<bool>,
    pub nodev: Option<bool>,
    pub noexec: Option<bool>,
    pub noatime: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    Bind(Bind),
    Volume(Volume),
    Tmpfs(Tmpfs),
    Image(ImageMount),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bind {
    pub source: String,
    pub propagation: Option<Propagation>,
    pub recursive: BindRecursive,
    /// Make a missing source directory: `-v` does, `--mount` does only when asked.
    pub create_source: bool,
    pub subpath: Option<String>,
    pub idmap: Idmap,
    pub relabel: Option<Relabel>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Absent: an anonymous volume, until the engine makes a name up.
    pub name: Option<String>,
    /// It goes with its last container, if that is asked for.
    pub anonymous: bool,
    /// Do not fill a new volume with what the image has there.
    pub no_copy: bool,
    pub subpath: Option<String>,
    pub driver: Option<String>,
    pub driver_opts: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub propagation: Option<Propagation>,
    pub idmap: Idmap,
    pub relabel: Option<Relabel>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tmpfs {
    pub size_bytes: Option<u64>,
    pub mode: Option<u32>,
    /// Owner inside the container.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub nr_inodes: Option<u64>,
    pub propagation: Option<Propagation>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageMount {
    pub reference: String,
    pub subpath: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Propagation {
    Private,
    Rprivate,
    Shared,
    Rshared,
    Slave,
    Rslave,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BindRecursive {
    /// Submounts too, read-only where the kernel can (5.12).
    #[default]
    Enabled,
    Disabled,
    /// Submounts stay writable under a read-only bind.
    Writable,
    /// Read-only throughout, or an error.
    ReadOnly,
}

/// Whether files on disk are owned by ids of the container (mapped) or of the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Idmap {
    #[default]
    Auto,
    On,
    Off,
}

/// SELinux: `z` shares the content between containers, `Z` makes it this one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relabel {
    Shared,
    Private,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    #[error("invalid volume specification: '{0}'")]
    Volume(String),
    #[error("invalid volume specification: '{spec}': invalid mount config for type \"bind\": {reason}")]
    VolumePath { spec: String, reason: &'static str },
    #[error("invalid mode: {0}")]
    Mode(String),
    #[error(
        "\"{0}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
         allowed. If you intended to pass a host directory, use absolute path"
    )]
    VolumeName(String),
    #[error("invalid mount path: '{0}' mount path must be absolute")]
    NotAbsolute(String),
    #[error("invalid mount target, must be an absolute path in the container: '{0}'")]
    Target(String),
    #[error("invalid specification: destination can't be '/'")]
    Root,
    #[error("value is empty")]
    Empty,
    #[error("invalid field '{0}' must be a key=value pair")]
    Field(String),
    #[error("unexpected key '{key}' in '{field}'")]
    Key { key: String, field: String },
    #[error("invalid value for {key}: {value}")]
    Value { key: String, value: String },
    #[error("type is required")]
    TypeRequired,
    #[error("target is required")]
    TargetRequired,
    #[error("source is required for a mount of type {0}")]
    SourceRequired(&'static str),
    #[error("cannot mix '{option}' with mount type '{kind}'")]
    Mixed { option: &'static str, kind: String },
    #[error("subpath {0:?} must be a relative path within the source")]
    Subpath(String),
    #[error("invalid tmpfs option {0:?}")]
    TmpfsOption(String),
}

impl Propagation {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "private" => Self::Private,
            "rprivate" => Self::Rprivate,
            "shared" => Self::Shared,
            "rshared" => Self::Rshared,
            "slave" => Self::Slave,
            "rslave" => Self::Rslave,
            _ => return None,
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Rprivate => "rprivate",
            Self::Shared => "shared",
            Self::Rshared => "rshared",
            Self::Slave => "slave",
            Self::Rslave => "rslave",
        }
    }
}

/// Absolute, without `.`, `..` and doubled slashes, as filepath.Clean leaves it.
fn clean_target(text: &str) -> Result<String, MountError> {
    if !text.starts_with('/') || text.contains('\0') {
        return Err(MountError::NotAbsolute(text.to_owned()));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Err(MountError::Root);
    }
    Ok(format!("/{}", parts.join("/")))
}

/// A path below the source: relative, never climbing.
fn clean_subpath(text: &str) -> Result<String, MountError> {
    if text.is_empty() || text.starts_with('/') || text.split('/').any(|part| part == "..") {
        return Err(MountError::Subpath(text.to_owned()));
    }
    Ok(text.to_owned())
}

/// Docker's `RestrictedNamePattern`.
pub fn is_volume_name(text: &str) -> bool {
    text.len() >= 2
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

impl Mount {
    /// `[SOURCE:]TARGET[:OPTIONS]` of `-v`. A source that starts with `/` is a path, any other a name.
    pub fn parse_volume(spec: &str) -> Result<Self, MountError> {
        let bad = || MountError::Volume(spec.to_owned());
        let parts: Vec<&str> = spec.split(':').collect();
        let (source, target, options) = match parts[..] {
            [target] => (None, target, ""),
            // `/data:ro` is the container's /data only if what follows is no path.
            [source, target] => (Some(source), target, ""),
            [source, target, options] => (Some(source), target, options),
            _ => return Err(bad()),
        };
        if target.is_empty() || source == Some("") {
            return Err(bad());
        }
        let target = match clean_target(target) {
            Err(MountError::Root) => {
                return Err(MountError::VolumePath {
                    spec: spec.to_owned(),
                    reason: "invalid specification: destination can't be '/'",
                });
            }
            other => other?,
        };
        let mut read_only = None;
        let mut flags = MountFlags::default();
        let mut bind = Bind { create_source: true, ..Bind::default() };
        let mut no_copy = false;
        for option in options.split(',').filter(|o| !o.is_empty()) {
            let mode = || MountError::Mode(options.to_owned());
            match option {
                "ro" | "readonly" if read_only.is_none() => read_only = Some(true),
                "rw" if read_only.is_none() => read_only = Some(false),
                "z" if bind.relabel.is_none() => bind.relabel = Some(Relabel::Shared),
                "Z" if bind.relabel.is_none() => bind.relabel = Some(Relabel::Private),
                "nocopy" => no_copy = true,
                "nomap" => bind.idmap = Idmap::Off,
                "idmap" => bind.idmap = Idmap::On,
                "nosuid" | "suid" => flags.nosuid = Some(option == "nosuid"),
                "nodev" | "dev" => flags.nodev = Some(option == "nodev"),
                "noexec" | "exec" => flags.noexec = Some(option == "noexec"),
                "noatime" => flags.noatime = Some(true),
                "bind" => bind.recursive = BindRecursive::Disabled,
                "rbind" => bind.recursive = BindRecursive::Enabled,
                // Accepted by Docker for its other platforms; no meaning here.
                "cached" | "delegated" | "consistent" => {}
                _ => match Propagation::parse(option) {
                    Some(propagation) if bind.propagation.is_none() => bind.propagation = Some(propagation),
                    _ => return Err(mode()),
                },
            }
        }
        let source = match source {
            Some(path) if path.starts_with('/') => {
                if no_copy {
                    return Err(MountError::Mode(options.to_owned()));
                }
                MountSource::Bind(Bind { source: path.to_owned(), ..bind })
            }
            other => {
                if let Some(name) = other
                    && !is_volume_name(name)
                {
                    return Err(MountError::VolumeName(name.to_owned()));
                }
                MountSource::Volume(Volume {
                    name: other.map(str::to_owned),
                    no_copy,
                    propagation: bind.propagation,
                    idmap: bind.idmap,
                    relabel: bind.relabel,
                    ..Volume::default()
                })
            }
        };
        Ok(Mount {
            target,
            read_only: read_only.unwrap_or(false),
            flags,
            source,
            bind_spec: Some(spec.to_owned()),
        })
    }

    /// `PATH[:OPTIONS]` of `--tmpfs`, with the options of mount(8).
    pub fn parse_tmpfs(spec: &str) -> Result<Self, MountError> {
        let (target, options) = spec.split_once(':').unwrap_or((spec, ""));
        let mut tmpfs = Tmpfs::default();
        let mut read_only = false;
        // Docker's defaults, which `exec`, `suid` and `dev` take back.
        let mut flags =
            MountFlags { nosuid: Some(true), nodev: Some(true), noexec: Some(true), noatime: None };
        for option in options.split(',').filter(|o| !o.is_empty()) {
            let bad = || MountError::TmpfsOption(option.to_owned());
            match option.split_once('=') {
                Some(("size", value)) => tmpfs.size_bytes = Some(tmpfs_size(value).ok_or_else(bad)?),
                Some(("mode", value)) => tmpfs.mode = Some(octal(value).ok_or_else(bad)?),
                Some(("uid", value)) => tmpfs.uid = Some(value.parse().map_err(|_| bad())?),
                Some(("gid", value)) => tmpfs.gid = Some(value.parse().map_err(|_| bad())?),
                Some(("nr_inodes", value)) => tmpfs.nr_inodes = Some(tmpfs_size(value).ok_or_else(bad)?),
                Some(_) => return Err(bad()),
                None => match option {
                    "ro" | "rw" => read_only = option == "ro",
                    "nosuid" | "suid" => flags.nosuid = Some(option == "nosuid"),
                    "nodev" | "dev" => flags.nodev = Some(option == "nodev"),
                    "noexec" | "exec" => flags.noexec = Some(option == "noexec"),
                    "noatime" | "atime" => flags.noatime = Some(option == "noatime"),
                    "relatime" | "strictatime" | "nodiratime" | "diratime" | "async" | "defaults" => {}
                    _ => tmpfs.propagation = Some(Propagation::parse(option).ok_or_else(bad)?),
                },
            }
        }
        Ok(Mount {
            target: clean_target(target)?,
            read_only,
            flags,
            source: MountSource::Tmpfs(tmpfs),
            bind_spec: None,
        })
    }

    /// `type=bind,source=…,target=…,…` of `--mount`.
    pub fn parse_mount(spec: &str) -> Result<Self, MountError> {
        Draft::parse(spec)?.finish()
    }
}

/// What a `--mount` said, before it is known whether that fits its type.
#[derive(Default)]
struct Draft {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    flags: MountFlags,
    bind: Bind,
    volume: Volume,
    tmpfs: Tmpfs,
    subpath: Option<String>,
    idmap: Idmap,
    /// The first option that belongs to only one type.
    bind_option: Option<&'static str>,
    volume_option: Option<&'static str>,
    tmpfs_option: Option<&'static str>,
    image_option: Option<&'static str>,
}

impl Draft {
    fn parse(spec: &str) -> Result<Self, MountError> {
        if spec.is_empty() {
            return Err(MountError::Empty);
        }
        let mut draft = Draft::default();
        for field in super::csv::fields(spec) {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
                None => (field.to_ascii_lowercase(), None),
            };
            draft.field(&field, &key, value)?;
        }
        Ok(draft)
    }

    fn field(&mut self, field: &str, key: &str, value: Option<&str>) -> Result<(), MountError> {
        let invalid = |value: &str| MountError::Value { key: key.to_owned(), value: value.to_owned() };
        // A bare key is `true` only for the switches.
        let switch = || match value {
            None => Ok(true),
            Some(text) => super::parse_bool(text).ok_or_else(|| invalid(text)),
        };
        let text = || value.ok_or_else(|| MountError::Field(field.to_owned()));
        match key {
            "readonly" | "ro" => self.read_only = switch()?,
            "rw" => self.read_only = !switch()?,
            "nosuid" => self.flags.nosuid = Some(switch()?),
            "nodev" => self.flags.nodev = Some(switch()?),
            "noexec" => self.flags.noexec = Some(switch()?),
            "noatime" => self.flags.noatime = Some(switch()?),
            "idmap" | "bind-idmap" => self.idmap = if switch()? { Idmap::On } else { Idmap::Off },
            "nomap" => self.idmap = if switch()? { Idmap::Off } else { Idmap::On },
            "bind-nonrecursive" => {
                self.bind_option = Some("bind-*");
                if switch()? {
                    self.bind.recursive = BindRecursive::Disabled;
                }
            }
            "bind-create-src" => {
                self.bind_option = Some("bind-*");
                self.bind.create_source = switch()?;
            }
            "volume-nocopy" => {
                self.volume_option = Some("volume-*");
                self.volume.no_copy = switch()?;
            }
            "type" => self.kind = Some(text()?.to_ascii_lowercase()),
            "source" | "src" => self.source = Some(text()?.to_owned()),
            "target" | "dst" | "destination" => self.target = Some(text()?.to_owned()),
            // Docker Desktop's; no meaning on Linux.
            "consistency" => {
                text()?;
            }
            "bind-propagation" => {
                self.bind_option = Some("bind-*");
                let text = text()?;
                self.bind.propagation =
                    Some(Propagation::parse(&text.to_ascii_lowercase()).ok_or_else(|| invalid(text))?);
            }
            "bind-recursive" => {
                self.bind_option = Some("bind-*");
                self.bind.recursive = match text()? {
                    "enabled" => BindRecursive::Enabled,
                    "disabled" => BindRecursive::Disabled,
                    "writable" => BindRecursive::Writable,
                    "readonly" => BindRecursive::ReadOnly,
                    other => return Err(invalid(other)),
                };
            }
            "subpath" | "bind-subpath" => self.subpath = Some(clean_subpath(text()?)?),
            "volume-subpath" => {
                self.volume_option = Some("volume-*");
                self.volume.subpath = Some(clean_subpath(text()?)?);
            }
            "image-subpath" => {
                self.image_option = Some("image-*");
                self.subpath = Some(clean_subpath(text()?)?);
            }
            "volume-driver" => {
                self.volume_option = Some("volume-*");
                self.volume.driver = Some(text()?.to_owned());
            }
            "volume-opt" | "volume-label" => {
                self.volume_option = Some("volume-*");
                let (name, value) = text()?.split_once('=').unwrap_or((text()?, ""));
                let map =
                    if key == "volume-opt" { &mut self.volume.driver_opts } else { &mut self.volume.labels };
                map.insert(name.to_owned(), value.to_owned());
            }
            "tmpfs-size" => {
                self.tmpfs_option = Some("tmpfs-*");
                let text = text()?;
                let bytes = size::parse_bytes(text).map_err(|_| invalid(text))?;
                self.tmpfs.size_bytes = Some(bytes.unsigned_abs());
            }
            "tmpfs-mode" => {
                self.tmpfs_option = Some("tmpfs-*");
                let text = text()?;
                self.tmpfs.mode = Some(octal(text).ok_or_else(|| invalid(text))?);
            }
            _ => return Err(MountError::Key { key: key.to_owned(), field: field.to_owned() }),
        }
        Ok(())
    }

    /// An option of a type that this mount is not.
    fn foreign(&self, kind: &str) -> Option<&'static str> {
        [
            ("bind", self.bind_option),
            ("volume", self.volume_option),
            ("tmpfs", self.tmpfs_option),
            ("image", self.image_option),
        ]
        .into_iter()
        .find_map(|(of, option)| option.filter(|_| of != kind))
    }

    fn finish(self) -> Result<Mount, MountError> {
        // Docker's default type.
        let kind = self.kind.clone().unwrap_or_else(|| "volume".to_owned());
        if kind.is_empty() {
            return Err(MountError::TypeRequired);
        }
        let target = self.target.as_deref().filter(|t| !t.is_empty()).ok_or(MountError::TargetRequired)?;
        let target = clean_target(target).map_err(|e| match e {
            MountError::NotAbsolute(path) => MountError::Target(path),
            other => other,
        })?;
        if let Some(option) = self.foreign(&kind) {
            return Err(MountError::Mixed { option, kind });
        }
        let source = self.source.filter(|s| !s.is_empty());
        let source = match kind.as_str() {
            "bind" => MountSource::Bind(Bind {
                source: source.ok_or(MountError::SourceRequired("bind"))?,
                subpath: self.subpath,
                idmap: self.idmap,
                ..self.bind
            }),
            "volume" => {
                if let Some(name) = &source
                    && !is_volume_name(name)
                {
                    return Err(MountError::VolumeName(name.clone()));
                }
                MountSource::Volume(Volume {
                    name: source,
                    subpath: self.volume.subpath.clone().or(self.subpath),
                    idmap: self.idmap,
                    ..self.volume
                })
            }
            "tmpfs" => {
                if source.is_some() {
                    return Err(MountError::Mixed { option: "source", kind });
                }
                MountSource::Tmpfs(self.tmpfs)
            }
            "image" => MountSource::Image(ImageMount {
                reference: source.ok_or(MountError::SourceRequired("image"))?,
                subpath: self.subpath,
            }),
            _ => return Err(MountError::Value { key: "type".to_owned(), value: kind }),
        };
        Ok(Mount { target, read_only: self.read_only, flags: self.flags, source, bind_spec: None })
    }
}

/// tmpfs(5): bytes with k, m or g; a percentage depends on the host and is not taken.
fn tmpfs_size(text: &str) -> Option<u64> {
    size::parse_bytes(text).ok().map(i64::unsigned_abs)
}

fn octal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777 && !text.starts_with('+'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(m: &Mount) -> &Bind {
        match &m.source {
            MountSource::Bind(bind) => bind,
            other => panic!("{other:?}"),
        }
    }

    fn volume(m: &Mount) -> &Volume {
        match &m.source {
            MountSource::Volume(volume) => volume,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn short_form() {
        let m = Mount::parse_volume("/src:/dst").unwrap();
        assert_eq!((m.target.as_str(), m.read_only, bind(&m).source.as_str()), ("/dst", false, "/src"));
        assert!(bind(&m).create_source);
        let m = Mount::parse_volume("/src:/dst/../x//y:ro,rslave,Z,nomap,nosuid").unwrap();
        assert_eq!((m.target.as_str(), m.read_only, m.flags.nosuid), ("/x/y", true, Some(true)));
        assert_eq!(bind(&m).propagation, Some(Propagation::Rslave));
        assert_eq!((bind(&m).relabel, bind(&m).idmap), (Some(Relabel::Private), Idmap::Off));
        let m = Mount::parse_volume("data:/dst:nocopy,z").unwrap();
        assert_eq!((volume(&m).name.as_deref(), volume(&m).no_copy), (Some("data"), true));
        let m = Mount::parse_volume("/anonymous").unwrap();
        assert_eq!((volume(&m).name.as_deref(), m.target.as_str()), (None, "/anonymous"));
    }

    #[test]
    fn short_form_refused() {
        for (spec, message) in [
            ("", "invalid volume specification: ''"),
            (":", "invalid volume specification: ':'"),
            ("/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"),
            ("/a:", "invalid volume specification: '/a:'"),
            (":/b", "invalid volume specification: ':/b'"),
            ("/a:/b:wat", "invalid mode: wat"),
            ("/a:/b:ro,rw", "invalid mode: ro,rw"),
            ("/a:/b:shared,slave", "invalid mode: shared,slave"),
            ("/a:/b:nocopy", "invalid mode: nocopy"),
            ("/a:b", "invalid mount path: 'b' mount path must be absolute"),
            ("b", "invalid mount path: 'b' mount path must be absolute"),
        ] {
            assert_eq!(Mount::parse_volume(spec).unwrap_err().to_string(), message, "{spec:?}");
        }
        for spec in ["/a:/", "/a:/x/..", "../a:/b", "a/b:/c", "x:/c", "-x:/c"] {
            assert!(Mount::parse_volume(spec).is_err(), "{spec:?}");
        }
    }

    #[test]
    fn long_form() {
        let m = Mount::parse_mount("type=bind,src=/a,dst=/b,ro,bind-propagation=rshared,noexec").unwrap();
        assert_eq!((m.read_only, m.flags.noexec, m.bind_spec.as_deref()), (true, Some(true), None));
        assert_eq!(bind(&m).propagation, Some(Propagation::Rshared));
        assert!(!bind(&m).create_source);
        let m = Mount::parse_mount("type=bind,source=/a,target=/b,bind-create-src,bind-recursive=disabled");
        let m = m.unwrap();
        assert!(bind(&m).create_source);
        assert_eq!(bind(&m).recursive, BindRecursive::Disabled);
        let m = Mount::parse_mount("src=v1,dst=/b,volume-nocopy=true,volume-opt=type=nfs,volume-subpath=x/y");
        let m = m.unwrap();
        assert_eq!((volume(&m).name.as_deref(), volume(&m).no_copy), (Some("v1"), true));
        assert_eq!(volume(&m).driver_opts["type"], "nfs");
        assert_eq!(volume(&m).subpath.as_deref(), Some("x/y"));
        let m = Mount::parse_mount("type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1770").unwrap();
        let want = Tmpfs { size_bytes: Some(64 << 20), mode: Some(0o1770), ..Tmpfs::default() };
        assert_eq!(m.source, MountSource::Tmpfs(want));
        let m = Mount::parse_mount("type=image,source=busybox,target=/i,image-subpath=bin").unwrap();
        let want = ImageMount { reference: "busybox".into(), subpath: Some("bin".into()) };
        assert_eq!(m.source, MountSource::Image(want));
        let m = Mount::parse_mount(r#"type=bind,"src=/a,b",dst=/b,readonly=false,nomap"#).unwrap();
        assert_eq!((bind(&m).source.as_str(), m.read_only, bind(&m).idmap), ("/a,b", false, Idmap::Off));
    }

    #[test]
    fn long_form_refused() {
        for (spec, message) in [
            ("", "value is empty"),
            ("type=bind,src=/a", "target is required"),
            ("type=bind,dst=/a", "source is required for a mount of type bind"),
            (
                "type=bind,src=/a,dst=b",
                "invalid mount target, must be an absolute path in the container: 'b'",
            ),
            ("type=bind,src=/a,dst=/b,foo=bar", "unexpected key 'foo' in 'foo=bar'"),
            ("type=bind,src=/a,dst", "invalid field 'dst' must be a key=value pair"),
            ("type=bind,src=/a,dst=/b,ro=maybe", "invalid value for ro: maybe"),
            ("type=bind,src=/a,dst=/b,volume-nocopy", "cannot mix 'volume-*' with mount type 'bind'"),
            ("type=tmpfs,dst=/b,bind-propagation=shared", "cannot mix 'bind-*' with mount type 'tmpfs'"),
            ("type=npipe,src=/a,dst=/b", "invalid value for type: npipe"),
            ("type=tmpfs,dst=/b,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
            (
                "type=volume,src=a,dst=/b,subpath=../x",
                "subpath \"../x\" must be a relative path within the source",
            ),
        ] {
            assert_eq!(Mount::parse_mount(spec).unwrap_err().to_string(), message, "{spec:?}");
        }
    }

    #[test]
    fn tmpfs_form() {
        let m = Mount::parse_tmpfs("/run").unwrap();
        assert_eq!(m.source, MountSource::Tmpfs(Tmpfs::default()));
        assert_eq!((m.flags.noexec, m.flags.nosuid, m.flags.nodev), (Some(true), Some(true), Some(true)));
        let m = Mount::parse_tmpfs("/run:rw,exec,size=65536k,mode=755,uid=3,nr_inodes=1k").unwrap();
        assert_eq!(m.flags.noexec, Some(false));
        let want = Tmpfs {
            size_bytes: Some(64 << 20),
            mode: Some(0o755),
            uid: Some(3),
            nr_inodes: Some(1024),
            ..Tmpfs::default()
        };
        assert_eq!(m.source, MountSource::Tmpfs(want));
        for spec in ["run", "/", "/run:wat", "/run:size=1x", "/run:mode=9", "/run:uid=-1", ""] {
            assert!(Mount::parse_tmpfs(spec).is_err(), "{spec:?}");
        }
    }
}
