//! The values that properties of a unit have.

use std::fmt;

/// A D-Bus value of one of the types that are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Bool(bool),
    U64(u64),
    Text(String),
    U32s(Vec<u32>),
    Bytes(Vec<u8>),
    Pairs(Vec<(String, String)>),
}

impl Value {
    pub(crate) fn signature(&self) -> &'static str {
        match self {
            Value::Bool(_) => "b",
            Value::U64(_) => "t",
            Value::Text(_) => "s",
            Value::U32s(_) => "au",
            Value::Bytes(_) => "ay",
            Value::Pairs(_) => "a(ss)",
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

/// As busctl(1) takes it: the type, then the words; an array's begin with their count.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' ", self.signature())?;
        let list = |f: &mut fmt::Formatter<'_>, words: Vec<String>| {
            write!(f, "{}", words.len())?;
            words.iter().try_for_each(|word| write!(f, " {word}"))
        };
        match self {
            Value::Bool(on) => write!(f, "{on}"),
            Value::U64(number) => write!(f, "{number}"),
            Value::Text(text) => f.write_str(&quote(text)),
            Value::U32s(numbers) => list(f, numbers.iter().map(u32::to_string).collect()),
            Value::Bytes(bytes) => list(f, bytes.iter().map(u8::to_string).collect()),
            Value::Pairs(pairs) => {
                list(f, pairs.iter().map(|(one, two)| format!("{} {}", quote(one), quote(two))).collect())
            }
        }
    }
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
