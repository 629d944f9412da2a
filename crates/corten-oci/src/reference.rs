//! What people call an image: `[host[:port]/]path[:tag][@digest]`.
//!
//! The grammar is that of distribution/reference, with Docker's defaults: no host means `docker.io`, and
//! there one path component means `library/…`. `Display` is the full form, which never means two things;
//! [`Reference::familiar`] is what is shown to people.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::is_lower_hex;
use crate::{Digest, DigestError};

pub const DEFAULT_DOMAIN: &str = "docker.io";
pub const DEFAULT_TAG: &str = "latest";
const OFFICIAL: &str = "library/";

/// The image name that stands for the host's own root file system. It is never in the store; whoever takes
/// an image name asks this first. `./host`-like forms do not exist, so an image of Docker Hub by that name
/// is still reached as `library/host`.
pub fn is_host(name: &str) -> bool {
    name == "host"
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// The part of a reference that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("image name is empty")]
    Empty,
    #[error("image name `{name}`: host `{host}` must be a DNS name or address, with an optional :port")]
    Host { name: String, host: String },
    #[error("image name `{name}`: repository name must be lowercase (`{part}`)")]
    Uppercase { name: String, part: String },
    #[error(
        "image name `{name}`: path component `{part}` must be lower-case letters and digits, \
         separated by one of `.`, `_`, `__` or dashes"
    )]
    Path { name: String, part: String },
    #[error("image name `{name}`: repository name must not be more than 255 characters")]
    TooLong { name: String },
    #[error("image name `{name}`: tag `{tag}` must match [A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}")]
    Tag { name: String, tag: String },
    #[error("image name `{name}`: {source}")]
    Digest { name: String, source: DigestError },
    #[error("image name `{0}`: 64 hexadecimal digits are an image id and cannot be a name")]
    LooksLikeId(String),
}

impl Reference {
    /// `docker.io`, `localhost:5000`
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// `library/busybox`: the name of the repository at its host
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `docker.io/library/busybox`
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    pub fn same_repository(&self, other: &Reference) -> bool {
        self.domain == other.domain && self.path == other.path
    }

    /// With `:latest` if neither tag nor digest was given.
    pub fn with_default_tag(mut self) -> Reference {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.into());
        }
        self
    }

    /// The same repository under another tag, without digest.
    pub fn with_tag(&self, tag: &str) -> Result<Reference, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Tag { name: self.familiar(), tag: tag.into() });
        }
        Ok(Reference { tag: Some(tag.into()), digest: None, ..self.clone() })
    }

    /// The same repository pinned to a digest, without tag.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// `busybox`, `user/app`, `quay.io/a/b`: the repository as people write it
    pub fn familiar_repository(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.repository();
        }
        match self.path.strip_prefix(OFFICIAL) {
            // `library/a/b` keeps its prefix: without it, it would be read as `docker.io/a/b`.
            Some(short) if !short.contains('/') => short.into(),
            _ => self.path.clone(),
        }
    }

    /// The whole name as people write it: `busybox:latest`
    pub fn familiar(&self) -> String {
        self.familiar_repository() + &self.suffix()
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
        tag + &digest
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(name: &str) -> Result<Self, ReferenceError> {
        if name.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if name.len() == 64 && is_lower_hex(name) {
            return Err(ReferenceError::LooksLikeId(name.into()));
        }
        let (rest, digest) = match name.split_once('@') {
            Some((rest, digest)) => {
                let parsed = digest.parse::<Digest>().and_then(|d| d.algorithm().map(|_| d));
                let invalid = |source| ReferenceError::Digest { name: name.into(), source };
                (rest, Some(parsed.map_err(invalid)?))
            }
            None => (name, None),
        };
        let (domain, rest) = split_domain(rest);
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if let Some(host) = domain.filter(|host| !is_domain(host)) {
            return Err(ReferenceError::Host { name: name.into(), host: host.into() });
        }
        check_path(name, path)?;
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag { name: name.into(), tag: tag.into() });
        }
        let domain = match domain {
            None | Some("index.docker.io") => DEFAULT_DOMAIN,
            Some(domain) => domain,
        };
        let official = domain == DEFAULT_DOMAIN && !path.contains('/');
        let path = if official { format!("{OFFICIAL}{path}") } else { path.into() };
        Ok(Reference { domain: domain.into(), path, tag: tag.map(Into::into), digest })
    }
}

/// What stands before the first slash is a host only if it cannot be part of a path: it has a dot, a colon
/// or an upper-case letter, or it is `localhost`.
fn split_domain(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|c| c.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

fn is_domain(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(v6) => {
            let Some((address, port)) = v6.split_once(']') else { return false };
            let address_ok =
                !address.is_empty() && address.bytes().all(|c| c.is_ascii_hexdigit() || c == b':');
            return address_ok && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
    };
    name.len() <= 253 && name.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

fn check_path(name: &str, path: &str) -> Result<(), ReferenceError> {
    if path.len() > 255 {
        return Err(ReferenceError::TooLong { name: name.into() });
    }
    for part in path.split('/') {
        if part.bytes().any(|c| c.is_ascii_uppercase()) {
            return Err(ReferenceError::Uppercase { name: name.into(), part: part.into() });
        }
        if !is_path_component(part.as_bytes()) {
            return Err(ReferenceError::Path { name: name.into(), part: part.into() });
        }
    }
    Ok(())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(part: &[u8]) -> bool {
    let alnum = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ends = |c: Option<&u8>| c.is_some_and(alnum);
    ends(part.first())
        && ends(part.last())
        && part.split(alnum).all(|separator| {
            matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|c| *c == b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    (1..=128).contains(&tag.len())
        && word(tag.as_bytes()[0])
        && tag.bytes().all(|c| word(c) || matches!(c, b'.' | b'-'))
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;
    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, self.suffix())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn full_and_familiar_forms() {
        let pinned = format!("busybox@sha256:{HEX}");
        let pinned_full = format!("docker.io/library/busybox@sha256:{HEX}");
        for (text, full, familiar) in [
            ("busybox", "docker.io/library/busybox", "busybox"),
            ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
            ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
            ("index.docker.io/a/b", "docker.io/a/b", "a/b"),
            ("user/app:v1", "docker.io/user/app:v1", "user/app:v1"),
            ("localhost/app", "localhost/app", "localhost/app"),
            ("localhost:5000/app:5000", "localhost:5000/app:5000", "localhost:5000/app:5000"),
            ("quay.io/a/b-c__d/e", "quay.io/a/b-c__d/e", "quay.io/a/b-c__d/e"),
            ("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a"),
            ("library/a/b", "docker.io/library/a/b", "library/a/b"),
            ("Host/a", "Host/a", "Host/a"),
            (&pinned, &pinned_full, &pinned),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(full.parse::<Reference>().unwrap(), reference);
            assert_eq!(familiar.parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn the_error_names_the_part() {
        use ReferenceError as E;
        let error = |text: &str| text.parse::<Reference>().unwrap_err();
        assert!(matches!(error(""), E::Empty));
        assert!(matches!(error(HEX), E::LooksLikeId(_)));
        assert!(matches!(error("a/Bc"), E::Uppercase { part, .. } if part == "Bc"));
        assert!(matches!(error("busybox:"), E::Tag { tag, .. } if tag.is_empty()));
        assert!(matches!(error("busybox:-x"), E::Tag { .. }));
        assert!(matches!(error("a:99999/b"), E::Host { host, .. } if host == "a:99999"));
        assert!(matches!(error("-a.b/c"), E::Host { .. }));
        assert!(matches!(error("a//b"), E::Path { part, .. } if part.is_empty()));
        assert!(matches!(error("a/../b"), E::Path { part, .. } if part == ".."));
        assert!(matches!(error("a___b"), E::Path { .. }));
        assert!(matches!(error("a@sha256:00"), E::Digest { .. }));
        assert!(matches!(error("a@md5:d41d8cd98f00b204e9800998ecf8427e"), E::Digest { .. }));
        assert!(matches!(error(&"a".repeat(256)), E::TooLong { .. }));
    }

    #[test]
    fn host_is_reserved() {
        assert!(is_host("host") && !is_host("library/host") && !is_host("host:latest"));
    }

    proptest! {
        #[test]
        fn never_panics_and_round_trips(text in "\\PC{0,80}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
                prop_assert_eq!(&reference.familiar().parse::<Reference>().unwrap(), &reference);
            }
        }

        #[test]
        fn valid_ones_round_trip(
            text in "([a-z0-9]{1,8}\\.[a-z]{2,3}(:[1-9][0-9]{0,3})?/)?[a-z0-9]{1,9}((_|__|-{1,3})[a-z0-9]{1,5}){0,2}(/[a-z0-9]{1,9}(\\.[a-z0-9]{1,3})?){0,2}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,20})?"
        ) {
            let reference = text.parse::<Reference>().unwrap();
            prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
            prop_assert_eq!(&reference.familiar().parse::<Reference>().unwrap(), &reference);
        }
    }
}
