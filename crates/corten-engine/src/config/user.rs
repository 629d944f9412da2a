//! `--user` and `--group-add`: who the process is inside the container.
//!
//! One grammar for flags, image configs and the API. A run of digits is a number and is never looked up
//! as a name (CVE-2016-3697); a number that is no valid id is an error, not a truncation
//! (CVE-2024-40635); nothing is trimmed.

use serde::{Deserialize, Serialize};

/// `user[:group]`. An absent user (`:group`) is the image's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub user: Option<IdOrName>,
    pub group: Option<IdOrName>,
}

/// An id in the container, or a name for its /etc/passwd or /etc/group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdOrName {
    Id(u32),
    Name(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// 4294967295 is `(uid_t)-1`, which setresuid(2) takes for "leave it".
    #[error("uids and gids must be in range 0-4294967294: {0:?}")]
    OutOfRange(String),
    #[error("invalid user or group name {0:?}")]
    Name(String),
    #[error("invalid user {0:?}: expected user[:group]")]
    Grammar(String),
}

impl User {
    /// An empty text is no user at all.
    pub fn parse(text: &str) -> Result<Self, UserError> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        if group.contains(':') || text == ":" {
            return Err(UserError::Grammar(text.to_owned()));
        }
        let part = |part: &str| if part.is_empty() { Ok(None) } else { IdOrName::parse(part).map(Some) };
        Ok(User { user: part(user)?, group: part(group)? })
    }
}

impl IdOrName {
    pub fn parse(text: &str) -> Result<Self, UserError> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return match text.parse() {
                Ok(u32::MAX) | Err(_) => Err(UserError::OutOfRange(text.to_owned())),
                Ok(id) => Ok(Self::Id(id)),
            };
        }
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == ':' || c == ',';
        if text.is_empty() || text.len() > 255 || text.starts_with(['-', '+', '~']) || text.contains(odd) {
            return Err(UserError::Name(text.to_owned()));
        }
        Ok(Self::Name(text.to_owned()))
    }
}

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}")?;
        }
        match &self.group {
            Some(group) => write!(f, ":{group}"),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for IdOrName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        let id = |n| Some(IdOrName::Id(n));
        let name = |n: &str| Some(IdOrName::Name(n.to_owned()));
        for (text, want) in [
            ("", Some((None, None))),
            ("0", Some((id(0), None))),
            ("1", Some((id(1), None))),
            ("01", Some((id(1), None))),
            ("1:1", Some((id(1), id(1)))),
            ("1000:", Some((id(1000), None))),
            (":5", Some((None, id(5)))),
            ("2147483648", Some((id(1 << 31), None))),
            ("4294967294", Some((id(u32::MAX - 1), None))),
            ("4294967295", None),
            ("4294967296", None),
            ("18446744073709551616", None),
            ("1:4294967296", None),
            ("-1", None),
            ("+1", None),
            ("1000 ", None),
            (" 1000", None),
            ("1000\n", None),
            ("0x1", Some((name("0x1"), None))),
            ("www-data:www-data", Some((name("www-data"), name("www-data")))),
            ("a:b:c", None),
            (":", None),
            ("a b", None),
        ] {
            let got = User::parse(text).ok().map(|u| (u.user, u.group));
            assert_eq!(got, want, "{text:?}");
        }
        assert_eq!(User::parse("1:adm").unwrap().to_string(), "1:adm");
    }
}
