//! Names of entries: cleaned, and taken apart into the directory, the last component, and what that means.

use super::Refusal;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// AUFS' own files (`.wh..wh.plnk`, `.wh..wh.aufs`), in layers that it once made.
const AUFS: &[u8] = b".wh..wh.";

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// the layer's root directory
    Root,
    Member(Place),
    /// remove `Place` from the layers below
    Whiteout(Place),
    /// hide all that layers below have in this directory
    Opaque(Vec<u8>),
    /// AUFS' leavings
    Ignored,
}

/// A directory (`""` is the root) and a name in it, without slashes, `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) parent: Vec<u8>,
    pub(super) name: Vec<u8>,
}

impl Place {
    pub(super) fn path(&self) -> Vec<u8> {
        if self.parent.is_empty() {
            return self.name.clone();
        }
        [&self.parent[..], b"/", &self.name].concat()
    }
}

impl Name {
    pub(super) fn parse(path: &[u8]) -> Result<Name, Refusal> {
        let Some(place) = place(path)? else { return Ok(Name::Root) };
        let within = |prefix: &[u8]| place.parent.split(|c| *c == b'/').any(|part| part.starts_with(prefix));
        if within(AUFS) || (place.name.starts_with(AUFS) && place.name != OPAQUE) {
            return Ok(Name::Ignored);
        }
        if within(WHITEOUT) {
            return Err(Refusal::WhiteoutInPath);
        }
        if place.name == OPAQUE {
            return Ok(Name::Opaque(place.parent));
        }
        match place.name.strip_prefix(WHITEOUT) {
            Some(b"" | b"." | b"..") => Err(Refusal::WhiteoutName),
            Some(name) => Ok(Name::Whiteout(Place { name: name.to_vec(), parent: place.parent })),
            None => Ok(Name::Member(place)),
        }
    }
}

/// `None` is the root: `/`, `.`, `./`.
pub(super) fn place(path: &[u8]) -> Result<Option<Place>, Refusal> {
    if path.is_empty() {
        return Err(Refusal::EmptyName);
    }
    if path.len() > 4095 {
        return Err(Refusal::NameTooLong);
    }
    if path.contains(&0) {
        return Err(Refusal::Nul);
    }
    let mut parent: Vec<u8> = Vec::new();
    let mut last: Option<&[u8]> = None;
    for part in path.split(|c| *c == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(Refusal::DotDot),
            part if part.len() > 255 => return Err(Refusal::ComponentTooLong),
            _ => {}
        }
        if let Some(directory) = last.replace(part) {
            if !parent.is_empty() {
                parent.push(b'/');
            }
            parent.extend_from_slice(directory);
        }
    }
    Ok(last.map(|name| Place { parent, name: name.to_vec() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(parent: &str, name: &str) -> Result<Name, Refusal> {
        Ok(Name::Member(Place { parent: parent.into(), name: name.into() }))
    }

    #[test]
    fn names() {
        let parse = |path: &str| Name::parse(path.as_bytes());
        assert_eq!(parse("./a//b/./c/"), member("a/b", "c"));
        assert_eq!(parse("/abs"), member("", "abs"));
        assert_eq!(parse("a\\..\\b"), member("", "a\\..\\b"));
        assert_eq!(parse("./"), Ok(Name::Root));
        assert_eq!(parse(""), Err(Refusal::EmptyName));
        for path in ["..", "../x", "a/../../x", "a/.."] {
            assert_eq!(parse(path), Err(Refusal::DotDot), "{path}");
        }
        assert_eq!(parse(&"x".repeat(256)), Err(Refusal::ComponentTooLong));
        assert_eq!(parse(&"x/".repeat(2048)), Err(Refusal::NameTooLong));
        assert_eq!(parse("a\0b"), Err(Refusal::Nul));
    }

    #[test]
    fn whiteouts() {
        let parse = |path: &str| Name::parse(path.as_bytes());
        let gone = Place { parent: b"d".to_vec(), name: b"x".to_vec() };
        assert_eq!(parse("d/.wh.x"), Ok(Name::Whiteout(gone)));
        assert_eq!(parse("d/.wh..wh..opq"), Ok(Name::Opaque(b"d".to_vec())));
        assert_eq!(parse(".wh..wh.plnk/1"), Ok(Name::Ignored));
        for path in [".wh.", ".wh..", ".wh...", "d/.wh."] {
            assert_eq!(parse(path), Err(Refusal::WhiteoutName), "{path}");
        }
        assert_eq!(parse(".wh.../x"), Err(Refusal::WhiteoutInPath));
        assert_eq!(parse(".wh.d/x"), Err(Refusal::WhiteoutInPath));
    }
}
