//! One line of comma-separated fields as Go's encoding/csv reads it: `"` quotes, `""` is a quote.

/// Splits; a quote that is never closed runs to the end.
pub(super) fn fields(text: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            _ => field.push(c),
        }
    }
    fields.push(field);
    fields
}

#[cfg(test)]
mod tests {
    #[test]
    fn go_csv() {
        assert_eq!(super::fields("a=b,c"), ["a=b", "c"]);
        assert_eq!(
            super::fields(r#"type=bind,"source=/a,b",target=/c"#),
            ["type=bind", "source=/a,b", "target=/c"]
        );
        assert_eq!(super::fields(r#""a""b",c"#), [r#"a"b"#, "c"]);
        assert_eq!(super::fields(""), [""]);
    }
}
