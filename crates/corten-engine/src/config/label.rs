//! `-l`, `--label-file`, `--annotation`, `--sysctl`, `--storage-opt`, `--log-opt`: names with a value.

use super::env::{EnvError, key_values};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    #[error("invalid label format: {0:?}")]
    Label(String),
    #[error("{0} must be a key=value pair")]
    Pair(String),
    #[error("sysctl '{0}' is not allowed")]
    Sysctl(String),
}

/// A label; without `=` its value is empty.
pub fn parse_label(text: &str) -> Result<(String, String), LabelError> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if name.trim().is_empty() || text.contains('\0') {
        return Err(LabelError::Label(text.to_owned()));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// The content of a `--label-file`.
pub fn parse_label_file(file: &str, content: &str) -> Result<Vec<(String, String)>, EnvError> {
    let pairs = key_values(file, content)?;
    Ok(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.unwrap_or("").to_owned())).collect())
}

/// A pair that needs its `=`.
pub fn parse_pair(text: &str) -> Result<(String, String), LabelError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(LabelError::Pair(text.to_owned())),
    }
}

/// Only what belongs to a namespace, as Docker allows it.
pub fn parse_sysctl(text: &str) -> Result<(String, String), LabelError> {
    const NAMES: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let (name, value) = parse_pair(text)?;
    // sysctl(8) takes slashes too; a path must not leave /proc/sys.
    let dotted = name.replace('/', ".");
    let plain = dotted.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-:@".contains(&b));
    let listed =
        NAMES.contains(&dotted.as_str()) || dotted.starts_with("net.") || dotted.starts_with("fs.mqueue.");
    if !listed || !plain || dotted.contains("..") || dotted.ends_with('.') {
        return Err(LabelError::Sysctl(text.to_owned()));
    }
    Ok((dotted, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        assert_eq!(parse_label("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(parse_label("com.example.x"), Ok(("com.example.x".into(), String::new())));
        assert!(parse_label("=x").is_err() && parse_label("").is_err());
        let got = parse_label_file("f", "# c\na=1\nb\n").unwrap();
        assert_eq!(got, [("a".into(), "1".into()), ("b".into(), String::new())]);
        assert_eq!(parse_pair("a").unwrap_err().to_string(), "a must be a key=value pair");
    }

    #[test]
    fn sysctls() {
        assert_eq!(parse_sysctl("net.ipv4.ip_forward=1"), Ok(("net.ipv4.ip_forward".into(), "1".into())));
        assert_eq!(parse_sysctl("net/core/somaxconn=9"), Ok(("net.core.somaxconn".into(), "9".into())));
        assert!(parse_sysctl("kernel.sem=1 2 3 4").is_ok());
        for text in
            ["kernel.core_pattern=x", "vm.swappiness=1", "net.=1", "net/../kernel/core_pattern=x", "x"]
        {
            assert!(parse_sysctl(text).is_err(), "{text:?}");
        }
    }
}
