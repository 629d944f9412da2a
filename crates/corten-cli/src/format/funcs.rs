//! The functions of text/template and of Docker's templates.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::exec::Val;
use super::printf::{self, sprint, sprintln};

/// A key that begins so is found by `.Name` and not shown by `json`: what a method is in Go.
pub(crate) const HIDDEN: &str = "\u{0}";

/// Marks the row of headers.
pub(super) const HEADER: &str = "\u{0}header";

pub(super) enum Error {
    Count(String),
    Call(String),
}

const KNOWN: &[&str] = &[
    "and", "call", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower", "lt", "ne",
    "not", "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate", "upper",
    "urlquery",
];

pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Not Go's.
pub(super) fn is_dockers(name: &str) -> bool {
    matches!(name, "json" | "split" | "join" | "title" | "lower" | "upper" | "pad" | "truncate")
}

pub(super) fn call(name: &str, args: &[Val]) -> Result<Value, Error> {
    match (name, args) {
        ("json", [value]) => Ok(to_json(value).into()),
        ("not", [value]) => Ok((!truth(value)).into()),
        ("len", [value]) => len(value),
        ("index", [value, keys @ ..]) => {
            let mut value = (**value).clone();
            for key in keys {
                value = index(&value, key)?;
            }
            Ok(value)
        }
        ("slice", [value, bounds @ ..]) if bounds.len() <= 3 => slice(value, bounds),
        ("print", _) => Ok(sprint(args).into()),
        ("println", _) => Ok(sprintln(args).into()),
        ("printf", [format, args @ ..]) => Ok(printf::sprintf(string(format)?, args).into()),
        ("html", _) => Ok(html(&sprint(args)).into()),
        ("js", _) => Ok(js(&sprint(args)).into()),
        ("urlquery", _) => Ok(urlquery(&sprint(args)).into()),
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            for other in others {
                if equal(first, other)? {
                    return Ok(true.into());
                }
            }
            Ok(false.into())
        }
        ("eq", [_]) => Err(Error::Call("missing argument for comparison".into())),
        ("ne", [a, b]) => Ok((!equal(a, b)?).into()),
        ("lt", [a, b]) => Ok((order(a, b)? == Ordering::Less).into()),
        ("le", [a, b]) => Ok((order(a, b)? != Ordering::Greater).into()),
        ("gt", [a, b]) => Ok((order(a, b)? == Ordering::Greater).into()),
        ("ge", [a, b]) => Ok((order(a, b)? != Ordering::Less).into()),
        ("split", [text, separator]) => {
            let (text, separator) = (string(text)?, string(separator)?);
            let parts: Vec<Value> = if separator.is_empty() {
                text.chars().map(|c| c.to_string().into()).collect()
            } else {
                text.split(separator).map(Value::from).collect()
            };
            Ok(parts.into())
        }
        ("join", [list, separator]) => match &**list {
            Value::Array(items) => {
                Ok(items.iter().map(show).collect::<Vec<_>>().join(string(separator)?).into())
            }
            Value::Null => Ok("".into()),
            other => Err(Error::Call(format!("expected []string; got {}", go_type(other)))),
        },
        ("title", [text]) => Ok(title(string(text)?).into()),
        ("lower", [text]) => Ok(string(text)?.to_lowercase().into()),
        ("upper", [text]) => Ok(string(text)?.to_uppercase().into()),
        ("pad", [text, before, after]) => {
            let text = string(text)?;
            if text.is_empty() {
                return Ok("".into());
            }
            let spaces = |n: &Val| int(n).map(|n| " ".repeat(n.clamp(0, 4096) as usize));
            Ok(format!("{}{text}{}", spaces(before)?, spaces(after)?).into())
        }
        ("truncate", [text, length]) => {
            let length = int(length)?.max(0) as usize;
            Ok(string(text)?.chars().take(length).collect::<String>().into())
        }
        ("call", _) => Err(Error::Call("call of nil".into())),
        _ => {
            let want = match name {
                "index" | "slice" | "eq" | "printf" => "at least 1".to_owned(),
                "pad" => "3".to_owned(),
                "ne" | "lt" | "le" | "gt" | "ge" | "split" | "join" | "truncate" => "2".to_owned(),
                _ => "1".to_owned(),
            };
            Err(Error::Count(format!("wrong number of args for {name}: want {want} got {}", args.len())))
        }
    }
}

/// Go's "empty": false, 0, nil, and what has length 0.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// As `{{.}}` prints it (fmt's %v).
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(n) => match n.as_f64() {
            Some(float) if n.is_f64() => printf::float_g(float),
            _ => n.to_string(),
        },
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(show_nested).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().filter(|(key, _)| !key.starts_with(HIDDEN)).collect();
            pairs.sort_by_key(|(key, _)| *key);
            let pairs: Vec<String> =
                pairs.into_iter().map(|(key, value)| format!("{key}:{}", show_nested(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

fn show_nested(value: &Value) -> String {
    if value.is_null() { "<nil>".to_owned() } else { show(value) }
}

pub(super) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Whether it is what Go has as map[string]string.
pub(super) fn is_plain_map(map: &Map<String, Value>) -> bool {
    map.values().all(Value::is_string)
}

/// Compact, keys in order, without what is hidden.
pub(crate) fn to_json(value: &Value) -> String {
    fn strip(value: &Value) -> Value {
        match value {
            Value::Object(map) => Value::Object(
                map.iter()
                    .filter(|(key, _)| !key.starts_with(HIDDEN))
                    .map(|(key, value)| (key.clone(), strip(value)))
                    .collect(),
            ),
            Value::Array(items) => items.iter().map(strip).collect(),
            other => other.clone(),
        }
    }
    strip(value).to_string()
}

fn string(value: &Val) -> Result<&str, Error> {
    match &**value {
        Value::String(text) => Ok(text),
        Value::Null => Ok(""),
        other => Err(Error::Call(format!("expected string; got {}", go_type(other)))),
    }
}

fn int(value: &Value) -> Result<i64, Error> {
    value.as_i64().ok_or_else(|| Error::Call(format!("expected integer; got {}", go_type(value))))
}

fn len(value: &Value) -> Result<Value, Error> {
    match value {
        Value::String(text) => Ok(text.len().into()),
        Value::Array(items) => Ok(items.len().into()),
        Value::Object(map) => Ok(map.keys().filter(|key| !key.starts_with(HIDDEN)).count().into()),
        Value::Null => Ok(0.into()),
        other => Err(Error::Call(format!("len of type {}", go_type(other)))),
    }
}

fn index(value: &Value, key: &Value) -> Result<Value, Error> {
    let position = |length: usize| {
        let at = key
            .as_i64()
            .ok_or_else(|| Error::Call(format!("cannot index slice/array with type {}", go_type(key))))?;
        usize::try_from(at)
            .ok()
            .filter(|at| *at < length)
            .ok_or_else(|| Error::Call(format!("index out of range: {at}")))
    };
    match value {
        Value::Array(items) => Ok(items[position(items.len())?].clone()),
        Value::String(text) => Ok(text.as_bytes()[position(text.len())?].into()),
        Value::Object(map) => {
            let name = key
                .as_str()
                .ok_or_else(|| Error::Call(format!("value has type {}; should be string", go_type(key))))?;
            let missing = || if is_plain_map(map) { "".into() } else { Value::Null };
            Ok(map.get(name).cloned().unwrap_or_else(missing))
        }
        // A map that was never made, such as the labels of an image without labels.
        Value::Null if key.is_string() => Ok("".into()),
        Value::Null => Err(Error::Call("index of untyped nil".into())),
        other => Err(Error::Call(format!("can't index item of type {}", go_type(other)))),
    }
}

fn slice(value: &Value, bounds: &[Val]) -> Result<Value, Error> {
    let length = match value {
        Value::Array(items) => items.len(),
        Value::String(_) if bounds.len() == 3 => {
            return Err(Error::Call("cannot 3-index slice a string".into()));
        }
        Value::String(text) => text.len(),
        Value::Null => return Err(Error::Call("slice of untyped nil".into())),
        other => return Err(Error::Call(format!("can't slice item of type {}", go_type(other)))),
    };
    let mut ends = [0, length];
    for (slot, bound) in ends.iter_mut().zip(bounds) {
        let at = int(bound)?;
        *slot = usize::try_from(at)
            .ok()
            .filter(|at| *at <= length)
            .ok_or_else(|| Error::Call(format!("index out of range: {at}")))?;
    }
    let [from, to] = ends;
    if from > to {
        return Err(Error::Call(format!("invalid slice index: {from} > {to}")));
    }
    Ok(match value {
        Value::Array(items) => items[from..to].to_vec().into(),
        // Go slices bytes; half a character is shown as one that is none.
        Value::String(text) => String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned().into(),
        _ => Value::Null,
    })
}

fn equal(a: &Value, b: &Value) -> Result<bool, Error> {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => Ok(order(a, b)? == Ordering::Equal),
        (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) => Ok(a == b),
        (Value::Null, _) | (_, Value::Null) => Ok(a == b),
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => {
            Err(Error::Call("non-comparable type for comparison".into()))
        }
        _ => Err(Error::Call("incompatible types for comparison".into())),
    }
}

fn order(a: &Value, b: &Value) -> Result<Ordering, Error> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Ok(a.cmp(&b)),
            _ => {
                let (a, b) = (a.as_f64().unwrap_or(0.0), b.as_f64().unwrap_or(0.0));
                Ok(a.partial_cmp(&b).unwrap_or(Ordering::Equal))
            }
        },
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        (Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_), _) => {
            Err(Error::Call("invalid type for comparison".into()))
        }
        _ => Err(Error::Call("incompatible types for comparison".into())),
    }
}

/// strings.Title: every word begins large, the rest stays.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.push(c)
        } else {
            out.extend(c.to_uppercase())
        }
        inside = c.is_alphanumeric() || c == '_' || c == '\'';
    }
    out
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

fn urlquery(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
