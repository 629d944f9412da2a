//! The Dockerfile instructions that change only the config, as `docker import -c` and `docker commit -c`
//! take them: CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD SHELL STOPSIGNAL USER VOLUME WORKDIR.
//! One instruction a change; no variables (Docker has none to expand here but those of ENV, and the build
//! room owns that grammar).

use corten_oci::Config;
use corten_oci::Healthcheck;
use corten_oci::image::config::Empty;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error(
        "change `{0}`: {1} cannot be used here; CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME and WORKDIR can"
    )]
    Instruction(String, String),
    #[error("change `{change}`: {reason}")]
    Arguments { change: String, reason: &'static str },
}

/// Applies one instruction.
pub fn apply(config: &mut Config, change: &str) -> Result<(), ChangeError> {
    let change = change.trim();
    let (instruction, rest) = change.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((change, ""));
    let rest = rest.trim();
    let wrong = |reason| ChangeError::Arguments { change: change.into(), reason };
    let needs = |rest: &str| if rest.is_empty() { Err(wrong("it needs an argument")) } else { Ok(()) };
    let instruction = instruction.to_ascii_uppercase();
    if !matches!(instruction.as_str(), "CMD" | "ENTRYPOINT") {
        needs(rest)?;
    }
    match instruction.as_str() {
        "CMD" => config.cmd = Some(command(rest, config)),
        "ENTRYPOINT" => config.entrypoint = Some(command(rest, config)),
        "SHELL" => {
            config.shell = Some(json_list(rest).ok_or_else(|| wrong("it takes a JSON list of strings"))?);
        }
        "ENV" => {
            for (name, value) in pairs(rest).map_err(wrong)? {
                let prefix = format!("{name}=");
                let entry = prefix.clone() + &value;
                match config.env.iter_mut().find(|known| known.starts_with(&prefix)) {
                    Some(known) => *known = entry,
                    None => config.env.push(entry),
                }
            }
        }
        "LABEL" => config.labels.extend(pairs(rest).map_err(wrong)?),
        "EXPOSE" => {
            for word in words(rest).map_err(wrong)? {
                for port in ports(&word).ok_or_else(|| wrong("a port is N, N-M, N/tcp, N/udp or N/sctp"))? {
                    config.exposed_ports.insert(port, Empty {});
                }
            }
        }
        "USER" => config.user = single(rest).map_err(wrong)?,
        "WORKDIR" => config.working_dir = join(&config.working_dir, &single(rest).map_err(wrong)?),
        "STOPSIGNAL" => config.stop_signal = Some(single(rest).map_err(wrong)?),
        "VOLUME" => {
            let volumes = match json_list(rest) {
                Some(list) => list,
                None => words(rest).map_err(wrong)?,
            };
            if volumes.iter().any(|volume| volume.trim().is_empty()) {
                return Err(wrong("a volume cannot be an empty string"));
            }
            config.volumes.extend(volumes.into_iter().map(|volume| (volume, Empty {})));
        }
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest).map_err(wrong)?),
        "ONBUILD" => {
            let trigger = rest.split_ascii_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            if matches!(trigger.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
                return Err(wrong("it cannot be a trigger"));
            }
            config.on_build.push(rest.into());
        }
        _ => return Err(ChangeError::Instruction(change.into(), instruction)),
    }
    Ok(())
}

/// A JSON list is the command itself; anything else is a line for the shell.
fn command(rest: &str, config: &Config) -> Vec<String> {
    if let Some(list) = json_list(rest) {
        return list;
    }
    if rest.is_empty() {
        return Vec::new();
    }
    let shell = config.shell.clone().unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()]);
    shell.into_iter().chain([rest.into()]).collect()
}

fn json_list(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok())?
}

/// `k=v k="v w" k='v'`, or the old `k all the rest`.
fn pairs(rest: &str) -> Result<Vec<(String, String)>, &'static str> {
    let words = raw_words(rest)?;
    if !words[0].contains('=') {
        let (name, value) = rest
            .split_once(|c: char| c.is_ascii_whitespace())
            .ok_or("it needs name=value, or a name and a value")?;
        return Ok(vec![(name.into(), value.trim().into())]);
    }
    let pair = |word: &String| {
        let (name, value) = word.split_once('=').ok_or("each word has to be name=value")?;
        let name = unquote(name)?;
        if name.is_empty() { Err("the name is empty") } else { Ok((name, unquote(value)?)) }
    };
    words.iter().map(pair).collect()
}

fn words(rest: &str) -> Result<Vec<String>, &'static str> {
    raw_words(rest)?.iter().map(|word| unquote(word)).collect()
}

fn single(rest: &str) -> Result<String, &'static str> {
    // A quoted argument may have blanks; an unquoted one is taken whole, as Docker does for WORKDIR.
    unquote(rest)
}

/// Split at blanks outside quotes; quotes and backslashes are kept.
fn raw_words(text: &str) -> Result<Vec<String>, &'static str> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_ascii_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None | Some('"'), '\\') => {
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    if !word.is_empty() {
        words.push(word);
    }
    if words.is_empty() { Err("it needs an argument") } else { Ok(words) }
}

fn unquote(text: &str) -> Result<String, &'static str> {
    let (mut out, mut quote) = (String::new(), None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, '\\') => out.extend(chars.next()),
            (Some('"'), '\\') => match chars.next() {
                Some(c @ ('"' | '\\' | '$')) => out.push(c),
                other => {
                    out.push('\\');
                    out.extend(other);
                }
            },
            _ => out.push(c),
        }
    }
    if quote.is_some() { Err("a quote is not closed") } else { Ok(out) }
}

/// `80`, `8000-8010/udp` → the keys of ExposedPorts.
fn ports(word: &str) -> Option<Vec<String>> {
    let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return None;
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let port = |text: &str| text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse::<u16>().ok())?;
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then(|| (first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// A relative WORKDIR goes on from the one before.
fn join(base: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.into() } else { format!("{base}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn healthcheck(rest: &str) -> Result<Healthcheck, &'static str> {
    let mut check = Healthcheck::default();
    let mut rest = rest;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((option, ""));
        let (name, value) = option.split_once('=').ok_or("an option is --name=value")?;
        let time = || duration(value).ok_or("a duration is like 30s, 1m30s or 500ms, and at least 1ms");
        match name {
            "interval" => check.interval = time()?,
            "timeout" => check.timeout = time()?,
            "start-period" => check.start_period = time()?,
            "start-interval" => check.start_interval = time()?,
            "retries" => {
                let retries = value.parse().ok().filter(|n| *n >= 0);
                check.retries = retries.ok_or("--retries is a number")?;
            }
            _ => {
                return Err(
                    "its options are --interval, --timeout, --start-period, --start-interval and --retries",
                );
            }
        }
        rest = after.trim_start();
    }
    let (kind, command) = rest.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((rest, ""));
    check.test = match (kind.to_ascii_uppercase().as_str(), command.trim()) {
        ("NONE", "") => vec!["NONE".into()],
        ("CMD", command) if !command.is_empty() => match json_list(command) {
            Some(list) => ["CMD".into()].into_iter().chain(list).collect(),
            None => vec!["CMD-SHELL".into(), command.into()],
        },
        _ => return Err("it takes NONE, or CMD and a command"),
    };
    Ok(check)
}

/// Go's time.ParseDuration, in nanoseconds; 0 or at least a millisecond.
fn duration(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let (mut total, mut rest) = (0f64, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let units =
            [("ns", 1e0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];
        let after = &rest[digits..];
        let (unit, factor) = units
            .into_iter()
            .filter(|(unit, _)| after.starts_with(unit))
            .max_by_key(|(unit, _)| unit.len())?;
        total += number * factor;
        rest = &after[unit.len()..];
    }
    (!text.is_empty() && (total == 0.0 || (1e6..9e18).contains(&total))).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> Config {
        let mut config = Config::default();
        for change in changes {
            apply(&mut config, change).unwrap();
        }
        config
    }

    #[test]
    fn instructions() {
        let config = changed(&[
            r#"CMD ["sh", "-l"]"#,
            "entrypoint exec top -b",
            "ENV A=1 B=\"two words\" C='x y' D=a\\ b",
            "ENV A=2",
            "ENV OLD the rest = all",
            "LABEL a.b=c \"d e\"=f",
            "EXPOSE 80 8000-8001/udp",
            "VOLUME [\"/data\"]",
            "VOLUME /a /b",
            "WORKDIR /srv",
            "WORKDIR app",
            "USER 1000:1000",
            "STOPSIGNAL SIGQUIT",
            "HEALTHCHECK --interval=1m30s --retries=3 CMD curl -f http://localhost",
            "ONBUILD RUN make",
        ]);
        assert_eq!(config.cmd.unwrap(), ["sh", "-l"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "exec top -b"]);
        assert_eq!(config.env, ["A=2", "B=two words", "C=x y", "D=a b", "OLD=the rest = all"]);
        assert_eq!(config.labels["d e"], "f");
        assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["80/tcp", "8000/udp", "8001/udp"]);
        assert_eq!(config.volumes.keys().collect::<Vec<_>>(), ["/a", "/b", "/data"]);
        assert_eq!((config.working_dir.as_str(), config.user.as_str()), ("/srv/app", "1000:1000"));
        let check = config.healthcheck.unwrap();
        assert_eq!((check.interval, check.retries), (90_000_000_000, 3));
        assert_eq!(check.test, ["CMD-SHELL", "curl -f http://localhost"]);
        assert_eq!(config.on_build, ["RUN make"]);
    }

    #[test]
    fn mistakes() {
        let mut config = Config::default();
        for bad in [
            "RUN ls",
            "FROM x",
            "COPY a b",
            "ENV",
            "ENV A",
            "ENV A=\"x",
            "ENV =x",
            "EXPOSE 80/icmp",
            "EXPOSE x",
            "EXPOSE 9-8",
            "HEALTHCHECK",
            "HEALTHCHECK CMD",
            "HEALTHCHECK --interval=1 CMD x",
            "ONBUILD FROM x",
            "VOLUME [\"\"]",
            "USER",
            "",
        ] {
            assert!(apply(&mut config, bad).is_err(), "{bad}");
        }
        assert_eq!(config, Config::default());
    }

    #[test]
    fn durations() {
        for (text, nanos) in [
            ("0", Some(0)),
            ("1h", Some(3_600_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("1ns", None),
            ("5", None),
            ("", None),
            ("-1s", None),
        ] {
            assert_eq!(duration(text), nanos, "{text}");
        }
    }
}
