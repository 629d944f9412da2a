//! pax extended headers: `length key=value\n`, the length in decimal and counting itself (pax(1)).

use super::number::{decimal, time};
use super::sparse::{Segment, SparseSpec};
use super::{Reason, Time};

/// What an extended header says of the member behind it. All else (atime, comment, uname …) is not used.
#[derive(Debug, Default)]
pub(crate) struct Extended {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<Time>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: SparseSpec,
}

const XATTR: &[u8] = b"SCHILY.xattr.";

impl Extended {
    pub(crate) fn parse(data: &[u8]) -> Result<Extended, Reason> {
        let mut extended = Extended::default();
        records(data, |key, value| extended.record(key, value))?;
        Ok(extended)
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reason> {
        let name = |value: &[u8]| match value {
            b"" => Ok(None),
            value if value.contains(&0) => Err(Reason::NulInName),
            value => Ok(Some(value.to_vec())),
        };
        // An empty value takes back what a global header said, and those we do not heed.
        let number = |what| if value.is_empty() { Ok(None) } else { decimal(value, what).map(Some) };
        match key {
            b"path" => self.path = name(value)?,
            b"linkpath" => self.link = name(value)?,
            b"size" => self.size = number("size")?,
            b"uid" => self.uid = number("uid")?,
            b"gid" => self.gid = number("gid")?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(time(value)?),
            b"GNU.sparse.major" => self.sparse.major = number("GNU.sparse.major")?,
            b"GNU.sparse.minor" => self.sparse.minor = number("GNU.sparse.minor")?,
            b"GNU.sparse.name" => self.sparse.name = name(value)?,
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.sparse.real_size = number("GNU.sparse.size")?,
            b"GNU.sparse.numblocks" => self.sparse.count = number("GNU.sparse.numblocks")?,
            b"GNU.sparse.map" => self.sparse.map = Some(Segment::list(value)?),
            b"GNU.sparse.offset" => {
                let offset = decimal(value, "GNU.sparse.offset")?;
                self.sparse.map.get_or_insert_default().push(Segment { offset, length: 0 });
            }
            b"GNU.sparse.numbytes" => {
                let length = decimal(value, "GNU.sparse.numbytes")?;
                let last = self.sparse.map.as_mut().and_then(|map| map.last_mut());
                last.ok_or(Reason::Sparse("a length without offset"))?.length = length;
            }
            key => {
                if let Some(attribute) = key.strip_prefix(XATTR) {
                    self.xattr(attribute, value)?;
                }
            }
        }
        Ok(())
    }

    fn xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), Reason> {
        if name.is_empty() || name.contains(&0) {
            return Err(Reason::Pax("an extended attribute without a name, or with NUL in it"));
        }
        self.xattrs.retain(|(known, _)| known != name);
        self.xattrs.push((name.to_vec(), value.to_vec()));
        Ok(())
    }
}

/// A global header may comment, but not change what any member is.
pub(crate) fn check_global(data: &[u8]) -> Result<(), Reason> {
    const FORBIDDEN: [&[u8]; 5] = [b"path", b"linkpath", b"size", b"uid", b"gid"];
    records(data, |key, _| {
        if FORBIDDEN.contains(&key) || key.starts_with(b"GNU.sparse.") || key.starts_with(XATTR) {
            return Err(Reason::GlobalOverride(String::from_utf8_lossy(key).into_owned()));
        }
        Ok(())
    })
}

fn records(mut data: &[u8], mut found: impl FnMut(&[u8], &[u8]) -> Result<(), Reason>) -> Result<(), Reason> {
    while !data.is_empty() {
        let space = data.iter().take(10).position(|c| *c == b' ').ok_or(Reason::Pax("no length"))?;
        let length = decimal(&data[..space], "length")? as usize;
        if length <= space + 1 || length > data.len() {
            return Err(Reason::Pax("the length leads outside"));
        }
        let (record, rest) = data.split_at(length);
        let body = record[space + 1..].strip_suffix(b"\n").ok_or(Reason::Pax("no newline at its end"))?;
        let equals = body.iter().position(|c| *c == b'=').ok_or(Reason::Pax("no `=`"))?;
        let (key, value) = (&body[..equals], &body[equals + 1..]);
        if key.is_empty() || key.contains(&0) {
            return Err(Reason::Pax("the key is empty or has NUL in it"));
        }
        found(key, value)?;
        data = rest;
    }
    Ok(())
}

/// One record; the length counts its own digits.
pub(crate) fn put_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} ").as_bytes());
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_are_strict() {
        for bad in ["5 a=", "99 a=b\n", "6 a=b", "5 ab\n", "0 a=b\n", "x a=b\n", "6 =ab\n", "6 a=b\n\n"] {
            assert!(Extended::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let extended = Extended::parse(b"13 size=0010\n23 SCHILY.xattr.u.a==b\n").unwrap();
        assert_eq!(extended.size, Some(10));
        assert_eq!(extended.xattrs, [(b"u.a".to_vec(), b"=b".to_vec())]);
        assert!(matches!(check_global(b"12 path=a/b\n"), Err(Reason::GlobalOverride(_))));
        assert!(check_global(b"13 comment=ab\n").is_err(), "a length off by one");
        assert!(check_global(b"14 comment=ab\n").is_ok());
    }

    proptest! {
        #[test]
        fn round_trip(value in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            put_record(&mut out, b"SCHILY.xattr.user.k", &value);
            prop_assert_eq!(&Extended::parse(&out).unwrap().xattrs[0].1, &value);
        }

        #[test]
        fn nothing_panics(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Extended::parse(&data), check_global(&data));
        }
    }
}
