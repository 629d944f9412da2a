//! `--filter key=value` of lists: values of one key are alternatives, keys must all hold, labels all too.

use crate::report::Report;

/// All filters of one command line, by key.
#[derive(Debug, Default, Clone)]
pub(crate) struct Filters(Vec<(String, String)>);

impl Filters {
    /// Docker's words for a filter that is none, or is not known here.
    pub(crate) fn parse(texts: &[String], known: &[&str]) -> Result<Self, Report> {
        let mut filters = Vec::new();
        for text in texts.iter().filter(|text| !text.is_empty()) {
            let (key, value) = text.split_once('=').ok_or_else(|| {
                Report::user(format!(
                    "invalid argument {text:?} for \"-f, --filter\" flag: \
                    invalid filter '{text}'"
                ))
                .status(crate::report::ENGINE_FAILED)
            })?;
            let key = key.trim().to_ascii_lowercase();
            if !known.contains(&key.as_str()) {
                let known = known.join(", ");
                return Err(
                    Report::user(format!("invalid filter '{key}'")).hint(format!("there are {known}"))
                );
            }
            filters.push((key, value.trim().to_owned()));
        }
        Ok(Self(filters))
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(known, _)| known == key)
    }

    /// The last value of a key.
    pub(crate) fn last(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// True where the key was not given, or one of its values fits.
    pub(crate) fn any(&self, key: &str, fits: impl FnMut(&str) -> bool) -> bool {
        !self.has(key) || self.values(key).any(fits)
    }

    pub(crate) fn all(&self, key: &str, fits: impl FnMut(&str) -> bool) -> bool {
        self.values(key).all(fits)
    }

    pub(crate) fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// `label=NAME` or `label=NAME=VALUE`, and `label!` of what must not be.
    pub(crate) fn labels(&self, labels: &std::collections::BTreeMap<String, String>) -> bool {
        let has = |wanted: &str| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|known| known == value),
            None => labels.contains_key(wanted),
        };
        self.all("label", has) && self.all("label!", |unwanted| !has(unwanted))
    }
}

/// A time of `until=`: seconds since 1970, RFC 3339, or so long ago (`10m`, `1h30m`).
pub(crate) fn moment(text: &str, now_s: i64) -> Option<i64> {
    let seconds = || text.split('.').next().and_then(|seconds| seconds.parse().ok());
    let ago = || corten_engine::config::duration::parse_duration_ns(text).ok();
    seconds()
        .filter(|_| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
        .or_else(|| ago().map(|ns| now_s - ns / 1_000_000_000))
        .or_else(|| match text.len() {
            10 => corten_oci::time::unix_seconds(&format!("{text}T00:00:00Z")),
            _ => corten_oci::time::unix_seconds(text),
        })
}

/// Part of a name, with `^` and `$` for its ends: what is used of Docker's regular expressions.
pub(crate) fn name_fits(name: &str, pattern: &str) -> bool {
    let pattern = pattern.strip_prefix("^/").map_or_else(|| pattern.to_owned(), |rest| format!("^{rest}"));
    let (start, pattern) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest.to_owned()),
        None => (false, pattern),
    };
    let (end, pattern) = match pattern.strip_suffix('$') {
        Some(rest) => (true, rest.to_owned()),
        None => (false, pattern),
    };
    match (start, end) {
        (true, true) => name == pattern,
        (true, false) => name.starts_with(&pattern),
        (false, true) => name.ends_with(&pattern),
        (false, false) => name.contains(&pattern),
    }
}

/// path.Match, as `reference=` has it: `*` and `?` stop at a slash.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star stood, and what it has swallowed so far.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some('?') if text[t] != '/' => {
                p += 1;
                t += 1;
                continue;
            }
            Some(c) if *c == text[t] => {
                p += 1;
                t += 1;
                continue;
            }
            _ => {}
        }
        match star {
            Some((at, swallowed)) if text[swallowed] != '/' => {
                star = Some((at, swallowed + 1));
                p = at + 1;
                t = swallowed + 1;
            }
            _ => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, fits) in [
            ("busybox", "busybox", true),
            ("busy*", "busybox", true),
            ("*box", "busybox", true),
            ("b?sybox", "busybox", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("a*c*e", "abcde", true),
            ("a*c", "abcde", false),
            ("", "", true),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn moments() {
        for (text, wanted) in [
            ("1000", Some(1000)),
            ("1000.5", Some(1000)),
            ("10m", Some(9400)),
            ("1970-01-02", Some(86_400)),
            ("1970-01-01T00:01:00Z", Some(60)),
            ("soon", None),
        ] {
            assert_eq!(moment(text, 10_000), wanted, "{text}");
        }
    }

    #[test]
    fn filters() {
        let texts = ["label=a=1".to_owned(), "label=b".to_owned(), "name=x".to_owned(), "name=y".to_owned()];
        let filters = Filters::parse(&texts, &["label", "name"]).unwrap();
        assert!(filters.any("name", |name| name == "y") && filters.any("status", |_| false));
        let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
        assert!(filters.labels(&labels(&[("a", "1"), ("b", "")])));
        assert!(!filters.labels(&labels(&[("a", "2"), ("b", "")])));
        let texts = ["label!=c".to_owned(), "label!=a=2".to_owned()];
        let filters = Filters::parse(&texts, &["label!"]).unwrap();
        assert!(filters.labels(&labels(&[("a", "1")])) && filters.labels(&labels(&[])));
        assert!(!filters.labels(&labels(&[("a", "2")])) && !filters.labels(&labels(&[("c", "")])));
        assert!(Filters::parse(&["x".to_owned()], &["x"]).is_err());
        assert!(Filters::parse(&["x=1".to_owned()], &["y"]).is_err());
        assert!(name_fits("web-1", "^web") && name_fits("web", "^/web$") && !name_fits("web-1", "web$"));
    }
}
