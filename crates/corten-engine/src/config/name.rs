//! Names of containers, hosts and domains.

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    Container(String),
    #[error("invalid hostname format: {0}")]
    Hostname(String),
}

/// Docker's `RestrictedNamePattern`; a leading slash is let pass, as its API does.
pub fn parse_container_name(text: &str) -> Result<String, NameError> {
    let name = text.strip_prefix('/').unwrap_or(text);
    let good = name.len() >= 2
        && name.len() <= 255
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if good { Ok(name.to_owned()) } else { Err(NameError::Container(text.to_owned())) }
}

/// What sethostname(2) takes: at most 64 bytes; nothing that could break a line of /etc/hosts.
pub fn parse_hostname(text: &str) -> Result<String, NameError> {
    let good = text.len() <= 64
        && !text.starts_with(['-', '.'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if good { Ok(text.to_owned()) } else { Err(NameError::Hostname(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, good) in
            [("web", true), ("/web", true), ("a", false), ("-a", false), ("a/b", false), ("", false)]
        {
            assert_eq!(parse_container_name(text).is_ok(), good, "{text:?}");
        }
        for (text, good) in [("web-1.local", true), ("a b", false), ("a\nb", false), ("-a", false)] {
            assert_eq!(parse_hostname(text).is_ok(), good, "{text:?}");
        }
        assert!(parse_hostname(&"a".repeat(65)).is_err());
    }
}
