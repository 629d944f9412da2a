//! Values of flags as Go's strconv and pflag read them.

use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use crate::report::{ENGINE_FAILED, Report};

/// An integer in decimal, or with Go's `0x`, `0o`, `0b` where it is non-negative.
pub(crate) fn int<T: FromStr + TryFrom<u64>>(text: &str) -> Result<T, String> {
    let radix = |prefix: &str, radix| {
        let digits = text.strip_prefix(prefix).filter(|digits| !digits.starts_with('+'))?;
        u64::from_str_radix(digits, radix).ok().and_then(|n| T::try_from(n).ok())
    };
    text.parse()
        .ok()
        .or_else(|| radix("0x", 16))
        .or_else(|| radix("0o", 8))
        .or_else(|| radix("0b", 2))
        .ok_or_else(|| format!("parsing {text:?}: invalid syntax"))
}

/// Go's strconv.ParseBool.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    corten_engine::config::parse_bool(text)
        .ok_or_else(|| format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))
}

/// A list within one value: `linux/amd64,linux/arm64`.
pub(crate) fn commas(text: &str) -> Result<Vec<String>, String> {
    Ok(text.split(',').map(str::to_owned).collect())
}

/// pflag's words for a value that its flag does not take.
pub(crate) fn invalid(flag: &str, value: &str, error: impl Display) -> Report {
    Report::user(format!("invalid argument {value:?} for {flag:?} flag: {error}")).status(ENGINE_FAILED)
}

/// The text of a file that a flag names; at most `limit` bytes, from anything that can be read to an end.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String, Report> {
    use std::io::Read;
    let fail =
        |error: &dyn Display| Report::user(format!("open {}: {error}", path.display())).status(ENGINE_FAILED);
    let file = std::fs::File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => fail(&"no such file or directory"),
        _ => fail(&error),
    })?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| fail(&error))?;
    if bytes.len() as u64 > limit {
        return Err(fail(&format_args!("larger than {limit} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| fail(&"contains invalid utf8 bytes"))
}

/// A signal by name or number.
pub(crate) fn signal(text: &str) -> Result<i32, String> {
    corten_sys::signal::parse(text).ok_or_else(|| format!("Invalid signal: {text}"))
}
