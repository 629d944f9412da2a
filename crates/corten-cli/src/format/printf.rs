//! fmt.Sprintf, as far as JSON values have something to print.

use serde_json::Value;

use super::exec::Val;
use super::funcs::{go_type, show, to_json};

/// Widths beyond this are not for reading.
const MAX_WIDTH: usize = 4096;

#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

pub(super) fn sprintf(format: &str, args: &[Val]) -> String {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.peek() {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                '0' => spec.zero = true,
                _ => break,
            }
            chars.next();
        }
        let mut number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            if chars.peek() == Some(&'*') {
                chars.next();
                let value = args.get(next).and_then(|value| value.as_i64());
                next += 1;
                return value.and_then(|n| usize::try_from(n.unsigned_abs()).ok()).map(|n| n.min(MAX_WIDTH));
            }
            let mut n: Option<usize> = None;
            while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                n = Some((n.unwrap_or(0) * 10 + digit as usize).min(MAX_WIDTH));
                chars.next();
            }
            n
        };
        spec.width = number(&mut chars);
        if chars.peek() == Some(&'.') {
            chars.next();
            spec.precision = Some(number(&mut chars).unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => {
                match args.get(next) {
                    None => out.push_str(&format!("%!{verb}(MISSING)")),
                    Some(value) => out.push_str(&spec.pad(one(verb, value, &spec), value)),
                }
                next += 1;
            }
        }
    }
    if next < args.len() {
        let extra: Vec<String> = args[next..].iter().map(|v| format!("{}={}", go_type(v), show(v))).collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

impl Spec {
    fn pad(&self, text: String, value: &Value) -> String {
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        if missing == 0 {
            text
        } else if self.minus {
            text + &" ".repeat(missing)
        } else if self.zero && value.is_number() {
            let digits = text.trim_start_matches(['-', '+']);
            format!("{}{}{digits}", &text[..text.len() - digits.len()], "0".repeat(missing))
        } else {
            " ".repeat(missing) + &text
        }
    }

    fn signed(&self, text: String) -> String {
        match (text.starts_with('-'), self.plus, self.space) {
            (false, true, _) => format!("+{text}"),
            (false, false, true) => format!(" {text}"),
            _ => text,
        }
    }

    fn cut(&self, text: &str) -> String {
        text.chars().take(self.precision.unwrap_or(usize::MAX)).collect()
    }
}

fn one(verb: char, value: &Value, spec: &Spec) -> String {
    let wrong = || match value {
        Value::Null => format!("%!{verb}(<nil>)"),
        _ => format!("%!{verb}({}={})", go_type(value), show(value)),
    };
    match (verb, value) {
        ('v', Value::Null) => "<nil>".to_owned(),
        ('v', Value::String(_)) if spec.sharp => to_json(value),
        ('v', Value::String(text)) => spec.cut(text),
        ('v', Value::Number(n)) if !n.is_f64() => spec.signed(n.to_string()),
        ('v', _) => show(value),
        ('T', _) => go_type(value).to_owned(),
        ('s', Value::String(text)) => spec.cut(text),
        ('s', Value::Array(_) | Value::Object(_)) => show(value),
        ('q', Value::String(text)) => quote(&spec.cut(text)),
        ('q', Value::Array(items)) => {
            format!("[{}]", items.iter().map(|item| one('q', item, spec)).collect::<Vec<_>>().join(" "))
        }
        ('t', Value::Bool(value)) => value.to_string(),
        ('x', Value::String(text)) => text.bytes().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::String(text)) => text.bytes().map(|b| format!("{b:02X}")).collect(),
        (_, Value::Number(n)) if !n.is_f64() => {
            let (negative, size) = match n.as_i64() {
                Some(n) => (n < 0, n.unsigned_abs()),
                None => (false, n.as_u64().unwrap_or(0)),
            };
            let prefix = |text: &'static str| if spec.sharp { text } else { "" };
            let digits = match verb {
                'd' => size.to_string(),
                'x' => format!("{}{size:x}", prefix("0x")),
                'X' => format!("{}{size:X}", prefix("0X")),
                'o' => format!("{}{size:o}", prefix("0")),
                'b' => format!("{size:b}"),
                'c' => {
                    return u32::try_from(size)
                        .ok()
                        .and_then(char::from_u32)
                        .unwrap_or('\u{fffd}')
                        .to_string();
                }
                'U' => return format!("U+{size:04X}"),
                'q' => {
                    let c = u32::try_from(size).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
                    return format!("'{c}'");
                }
                _ => return wrong(),
            };
            spec.signed(format!("{}{digits}", if negative { "-" } else { "" }))
        }
        (_, Value::Number(n)) => {
            let float = n.as_f64().unwrap_or(0.0);
            let text = match verb {
                'f' | 'F' => format!("{float:.*}", spec.precision.unwrap_or(6)),
                'e' => exponent(float, spec.precision.unwrap_or(6)),
                'g' => float_g(float),
                _ => return wrong(),
            };
            spec.signed(text)
        }
        _ => wrong(),
    }
}

/// Two digits of exponent at least, with a sign.
fn exponent(float: f64, precision: usize) -> String {
    let text = format!("{float:.precision$e}");
    match text.split_once('e') {
        Some((digits, power)) => {
            let power: i32 = power.parse().unwrap_or(0);
            format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
        }
        None => text,
    }
}

/// The shortest digits; large and small with an exponent (%v of a float64).
pub(super) fn float_g(float: f64) -> String {
    if float == 0.0 {
        return "0".to_owned();
    }
    let text = format!("{float:e}");
    let power: i32 = text.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    if !(-4..21).contains(&power) {
        let digits = text.split_once('e').map_or(text.as_str(), |(digits, _)| digits);
        return format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs());
    }
    float.to_string()
}

/// strconv.Quote.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// fmt.Sprint: a space between two operands of which neither is a string.
pub(super) fn sprint(args: &[Val]) -> String {
    let mut out = String::new();
    for (nth, value) in args.iter().enumerate() {
        if nth > 0 && !value.is_string() && !args[nth - 1].is_string() {
            out.push(' ');
        }
        out.push_str(&nil(value));
    }
    out
}

pub(super) fn sprintln(args: &[Val]) -> String {
    args.iter().map(|value| nil(value)).collect::<Vec<_>>().join(" ") + "\n"
}

fn nil(value: &Value) -> String {
    if value.is_null() { "<nil>".to_owned() } else { show(value) }
}
