//! The words of a Go template: text, and between `{{` and `}}` operands, names and marks.

use super::TemplateError;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Text(String),
    /// `{{`.
    Left,
    /// `}}`.
    Right,
    /// `.Name`.
    Field(String),
    Dot,
    /// With its dollar sign.
    Variable(String),
    Identifier(String),
    Str(String),
    Int(i64),
    Float(f64),
    Pipe,
    LeftParen,
    RightParen,
    Assign,
    Declare,
    Comma,
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    pub kind: Kind,
    /// Byte offsets into the template.
    pub start: usize,
    pub end: usize,
    pub space_before: bool,
}

pub(super) fn lex(source: &str) -> Result<Vec<Token>, TemplateError> {
    Lexer { source, at: 0, tokens: Vec::new() }.run()
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn error(&self, at: usize, message: impl Into<String>) -> TemplateError {
        TemplateError::parse(self.source, at, message)
    }

    fn push(&mut self, kind: Kind, start: usize, space_before: bool) {
        self.tokens.push(Token { kind, start, end: self.at, space_before });
    }

    fn run(mut self) -> Result<Vec<Token>, TemplateError> {
        // Whether the text that comes is trimmed on its left, because ` -}}` came before it.
        let mut trim = false;
        loop {
            let start = self.at;
            let open = self.rest().find("{{");
            let mut text = &self.rest()[..open.unwrap_or(self.rest().len())];
            if std::mem::take(&mut trim) {
                text = text.trim_start_matches(is_space);
            }
            let Some(open) = open else {
                self.at = self.source.len();
                if !text.is_empty() {
                    self.push(Kind::Text(text.to_owned()), start, false);
                }
                return Ok(self.tokens);
            };
            let left = self.at + open;
            self.at = left + 2;
            if self.rest().strip_prefix('-').is_some_and(|rest| rest.starts_with(is_space)) {
                text = text.trim_end_matches(is_space);
                self.at += 1;
            }
            if !text.is_empty() {
                self.push(Kind::Text(text.to_owned()), start, false);
            }
            let body = self.rest().trim_start_matches(is_space);
            if body.starts_with("/*")
                && (self.rest().starts_with("/*") || self.source[..self.at].ends_with('-'))
            {
                trim = self.comment(left)?;
                continue;
            }
            self.push(Kind::Left, left, false);
            trim = self.action(left)?;
        }
    }

    /// `{{/* … */}}`; whether what follows is trimmed.
    fn comment(&mut self, left: usize) -> Result<bool, TemplateError> {
        let close = self.rest().find("*/").ok_or_else(|| self.error(left, "unclosed comment"))?;
        self.at += close + 2;
        if self.rest().starts_with("}}") {
            self.at += 2;
            return Ok(false);
        }
        let rest = self.rest().trim_start_matches(is_space);
        if rest.len() < self.rest().len() && rest.starts_with("-}}") {
            self.at = self.source.len() - rest.len() + 3;
            return Ok(true);
        }
        Err(self.error(left, "comment ends before closing delimiter"))
    }

    /// Until `}}`; whether what follows is trimmed.
    fn action(&mut self, left: usize) -> Result<bool, TemplateError> {
        let mut parens = 0usize;
        loop {
            let before = self.at;
            let trimmed = self.rest().trim_start_matches(is_space);
            self.at = self.source.len() - trimmed.len();
            let space = self.at > before;
            let start = self.at;
            let rest = self.rest();
            let trims = space && rest.starts_with("-}}");
            if trims || rest.starts_with("}}") {
                if parens > 0 {
                    return Err(self.error(start, "unclosed left paren"));
                }
                self.at += if trims { 3 } else { 2 };
                self.push(Kind::Right, start, space);
                return Ok(trims);
            }
            let Some(first) = rest.chars().next() else { return Err(self.error(left, "unclosed action")) };
            let kind = match first {
                '(' => {
                    parens += 1;
                    self.one(Kind::LeftParen)
                }
                ')' => {
                    parens =
                        parens.checked_sub(1).ok_or_else(|| self.error(start, "unexpected right paren"))?;
                    self.one(Kind::RightParen)
                }
                '|' => self.one(Kind::Pipe),
                ',' => self.one(Kind::Comma),
                '=' => self.one(Kind::Assign),
                ':' if rest.starts_with(":=") => {
                    self.at += 2;
                    Kind::Declare
                }
                ':' => return Err(self.error(start, "expected :=")),
                '"' => self.quoted()?,
                '`' => self.raw()?,
                '\'' => self.character()?,
                '$' => {
                    self.at += 1;
                    let name = self.word();
                    Kind::Variable(format!("${name}"))
                }
                '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                    self.at += 1;
                    match self.word() {
                        "" => Kind::Dot,
                        name => Kind::Field(name.to_owned()),
                    }
                }
                '.' | '+' | '-' | '0'..='9' => self.number()?,
                c if c.is_alphabetic() || c == '_' => Kind::Identifier(self.word().to_owned()),
                c => {
                    let message = format!("unrecognized character in action: U+{:04X} '{c}'", u32::from(c));
                    return Err(self.error(start, message));
                }
            };
            self.push(kind, start, space);
        }
    }

    fn one(&mut self, kind: Kind) -> Kind {
        self.at += 1;
        kind
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn raw(&mut self) -> Result<Kind, TemplateError> {
        let start = self.at;
        let body = &self.rest()[1..];
        let end = body.find('`').ok_or_else(|| self.error(start, "unterminated raw quoted string"))?;
        self.at += end + 2;
        Ok(Kind::Str(body[..end].to_owned()))
    }

    fn quoted(&mut self) -> Result<Kind, TemplateError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.rest().chars().next() {
                None | Some('\n') => return Err(self.error(start, "unterminated quoted string")),
                Some('"') => {
                    self.at += 1;
                    return Ok(Kind::Str(text));
                }
                Some(_) => {
                    let c = self.escaped(start, "unterminated quoted string")?;
                    text.push(c);
                }
            }
        }
    }

    fn character(&mut self) -> Result<Kind, TemplateError> {
        let start = self.at;
        self.at += 1;
        let c = self.escaped(start, "unterminated character constant")?;
        if !self.rest().starts_with('\'') {
            return Err(self.error(start, "unterminated character constant"));
        }
        self.at += 1;
        Ok(Kind::Int(i64::from(u32::from(c))))
    }

    /// One character, with Go's escapes.
    fn escaped(&mut self, start: usize, open: &'static str) -> Result<char, TemplateError> {
        let mut chars = self.rest().chars();
        let c = chars.next().ok_or_else(|| self.error(start, open))?;
        self.at += c.len_utf8();
        if c != '\\' {
            return Ok(c);
        }
        let c = chars.next().ok_or_else(|| self.error(start, open))?;
        self.at += c.len_utf8();
        let digits = match c {
            'a' => return Ok('\x07'),
            'b' => return Ok('\x08'),
            'f' => return Ok('\x0c'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'v' => return Ok('\x0b'),
            '\\' | '"' | '\'' => return Ok(c),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return Err(self.error(start, "invalid syntax")),
        };
        let code = self.rest().get(..digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        self.at += digits.min(self.rest().len());
        code.and_then(char::from_u32).ok_or_else(|| self.error(start, "invalid syntax"))
    }

    fn number(&mut self) -> Result<Kind, TemplateError> {
        let start = self.at;
        let rest = self.rest();
        let mut before = ' ';
        let end = rest
            .find(|c: char| {
                let sign = matches!(c, '+' | '-') && matches!(before, ' ' | 'e' | 'E');
                before = c;
                !(sign || c.is_alphanumeric() || c == '.' || c == '_')
            })
            .unwrap_or(rest.len());
        let text = &rest[..end];
        self.at += end;
        let bad = || self.error(start, format!("bad number syntax: {text:?}"));
        let plain = text.replace('_', "");
        let (sign, digits) = match plain.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", plain.strip_prefix('+').unwrap_or(&plain)),
        };
        let radix = |digits: &str, radix| i64::from_str_radix(&format!("{sign}{digits}"), radix).ok();
        let lower = digits.to_ascii_lowercase();
        let int = match lower.get(..2) {
            Some("0x") => radix(&lower[2..], 16),
            Some("0o") => radix(&lower[2..], 8),
            Some("0b") => radix(&lower[2..], 2),
            _ if lower.starts_with('0') && lower.len() > 1 && !lower.contains(['.', 'e']) => {
                radix(&lower[1..], 8)
            }
            _ => radix(&lower, 10),
        };
        if let Some(int) = int {
            return Ok(Kind::Int(int));
        }
        if !lower.bytes().all(|b| b.is_ascii_digit() || b".e+-".contains(&b)) {
            return Err(bad());
        }
        plain.parse().map(Kind::Float).map_err(|_| bad())
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}
