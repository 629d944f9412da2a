//! `algorithm:encoded`, as in image-spec, descriptor.md, "Digests".
//!
//! A digest becomes a path (`blobs/<algorithm>/<encoded>`), so the grammar is also what keeps it from
//! leaving its directory: neither half can hold `/`, nor begin with `.` (CVE-2024-3727).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

/// A digest that matches the grammar. For the algorithms we compute, the encoded half has exactly the
/// right length in lower-case hex; a digest of another algorithm can be carried but never verified.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    text: Box<str>,
    colon: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    #[error("digest `{0}` has no `algorithm:` in front")]
    NoAlgorithm(String),
    #[error("digest `{0}`: the algorithm must match [a-z0-9]+([+._-][a-z0-9]+)*")]
    Algorithm(String),
    #[error("digest `{0}`: the encoded part must match [a-zA-Z0-9=_-]+")]
    Encoded(String),
    #[error("digest `{0}`: {1} takes exactly {2} lower-case hexadecimal digits")]
    Hex(String, Algorithm, usize),
    #[error("digest `{0}`: the algorithm is not one we can verify (sha256, sha512)")]
    Unsupported(String),
}

impl Digest {
    /// The SHA-256 of some bytes at hand.
    pub fn sha256(bytes: impl AsRef<[u8]>) -> Digest {
        Digester::new(Algorithm::Sha256).chain(bytes.as_ref()).finish()
    }

    /// A SHA-256 known only by its 64 hexadecimal digits.
    pub fn from_sha256_hex(hex: &str) -> Result<Digest, DigestError> {
        format!("sha256:{hex}").parse()
    }

    /// `sha256`, or whatever stands before the colon.
    pub fn algorithm_name(&self) -> &str {
        &self.text[..usize::from(self.colon)]
    }

    /// The algorithm, if it is one that we can verify.
    pub fn algorithm(&self) -> Result<Algorithm, DigestError> {
        Algorithm::from_name(self.algorithm_name()).ok_or_else(|| DigestError::Unsupported(self.to_string()))
    }

    /// What stands after the colon; for sha256 64 lower-case hexadecimal digits.
    pub fn hex(&self) -> &str {
        &self.text[usize::from(self.colon) + 1..]
    }

    /// The first twelve digits, as people see them.
    pub fn short(&self) -> &str {
        let hex = self.hex();
        &hex[..hex.len().min(12)]
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether these bytes have this digest.
    pub fn verifies(&self, bytes: &[u8]) -> Result<bool, DigestError> {
        Ok(Digester::new(self.algorithm()?).chain(bytes).finish() == *self)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let Some((algorithm, encoded)) = text.split_once(':') else {
            return Err(DigestError::NoAlgorithm(text.into()));
        };
        let alnum = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let component = |c: &[u8]| !c.is_empty() && c.iter().copied().all(alnum);
        let separator = |c: &u8| matches!(c, b'+' | b'.' | b'_' | b'-');
        if algorithm.len() > 64 || !algorithm.as_bytes().split(separator).all(component) {
            return Err(DigestError::Algorithm(text.into()));
        }
        let encodes = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'=' | b'_' | b'-');
        if encoded.is_empty() || encoded.len() > 256 || !encoded.bytes().all(encodes) {
            return Err(DigestError::Encoded(text.into()));
        }
        if let Some(known) = Algorithm::from_name(algorithm)
            && (encoded.len() != known.hex_len() || !is_lower_hex(encoded))
        {
            return Err(DigestError::Hex(text.into(), known, known.hex_len()));
        }
        Ok(Digest { text: text.into(), colon: algorithm.len() as u8 })
    }
}

pub(crate) fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

impl TryFrom<String> for Digest {
    type Error = DigestError;
    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.text.into()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Algorithm {
    fn from_name(name: &str) -> Option<Algorithm> {
        match name {
            "sha256" => Some(Algorithm::Sha256),
            "sha512" => Some(Algorithm::Sha512),
            _ => None,
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        })
    }
}

/// A digest in the making, for bytes that pass by.
#[derive(Clone)]
pub struct Digester(State);

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Digester {
    pub fn new(algorithm: Algorithm) -> Digester {
        Digester(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    pub fn chain(mut self, bytes: &[u8]) -> Digester {
        self.update(bytes);
        self
    }

    pub fn finish(self) -> Digest {
        let (name, hex) = match self.0 {
            State::Sha256(state) => ("sha256", hex(&state.finalize())),
            State::Sha512(state) => ("sha512", hex(&state.finalize())),
        };
        Digest { text: format!("{name}:{hex}").into(), colon: name.len() as u8 }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibble = |n: u8| char::from(DIGITS[usize::from(n)]);
    bytes.iter().flat_map(|b| [nibble(b >> 4), nibble(b & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn computes_and_takes_apart() {
        let digest = Digest::sha256(b"");
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!((digest.algorithm_name(), digest.short()), ("sha256", "e3b0c44298fc"));
        assert!(digest.verifies(b"").unwrap() && !digest.verifies(b"x").unwrap());
        assert_eq!(Digester::new(Algorithm::Sha512).finish().hex().len(), 128);
    }

    #[test]
    fn what_is_not_a_digest() {
        let upper = EMPTY.to_uppercase().replace("SHA256", "sha256");
        let long = format!("{EMPTY}0");
        for bad in [
            "",
            "sha256",
            ":ab",
            "sha256:",
            "sha256:../../etc",
            "sha512:abcd",
            "a..b:c",
            ".a:b",
            &upper,
            &long,
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        let other: Digest = "md5:d41d8cd98f00b204e9800998ecf8427e".parse().unwrap();
        assert!(matches!(other.algorithm(), Err(DigestError::Unsupported(_))));
    }
}
