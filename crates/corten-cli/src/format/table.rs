//! `--format` of a list: nothing or `table`, `table TEMPLATE`, `json`, or a template a row.

use serde_json::{Map, Value};

use super::funcs::{HEADER, HIDDEN, to_json};
use super::{Missing, Template, TemplateError};

/// What a list can show: a column a field.
pub struct Columns {
    /// Field and header, `("Names", "NAMES")`.
    pub headers: &'static [(&'static str, &'static str)],
    /// For "can't evaluate field".
    pub go_type: &'static str,
}

/// The list as text; `format` is as the user gave it, `default` a template for `table`.
pub fn render(
    format: &str,
    default: &str,
    columns: &Columns,
    rows: &[Value],
) -> Result<String, TemplateError> {
    let format = format.trim_start();
    let (source, table) = match format {
        "" | "table" => (default.to_owned(), true),
        "json" => {
            return Ok(rows.iter().map(|row| to_json(row) + "\n").collect());
        }
        // In a table `\t` and `\n` may be written so, for the shell's sake; and elsewhere too.
        _ => match format.strip_prefix("table ") {
            Some(rest) => (unescape(rest.trim_start()), true),
            None => (unescape(format), false),
        },
    };
    let template = Template::parse(&source)?;
    let missing = Missing::Field(columns.go_type);
    let mut lines = Vec::with_capacity(rows.len() + 1);
    if table {
        lines.push(template.execute(&headers(columns), missing)?);
    }
    for row in rows {
        lines.push(template.execute(row, missing)?);
    }
    if table {
        return Ok(align(&lines));
    }
    Ok(lines.iter().map(|line| format!("{line}\n")).collect())
}

/// The row that stands above the others; `.Label "x"` is headed by x.
fn headers(columns: &Columns) -> Value {
    let mut map = Map::new();
    for (field, header) in columns.headers {
        map.insert((*field).to_owned(), (*header).into());
    }
    // Keeps a header row from passing for a map of strings, in which no field is missing.
    map.insert(HEADER.to_owned(), true.into());
    map.insert(format!("{HIDDEN}Label"), Map::new().into());
    Value::Object(map)
}

fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// text/tabwriter as Docker sets it: cells end with a tab, columns are 3 spaces apart, at least 10 wide
/// where the table has them.
fn align(lines: &[String]) -> String {
    let rows: Vec<Vec<&str>> =
        lines.iter().flat_map(|line| line.split('\n')).map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        // The last cell ends the line and belongs to no column.
        for (nth, cell) in row[..row.len() - 1].iter().enumerate() {
            let width = (cell.chars().count() + 3).max(10);
            match widths.get_mut(nth) {
                Some(known) => *known = (*known).max(width),
                None => widths.push(width),
            }
        }
    }
    let mut out = String::new();
    for row in &rows {
        for (nth, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if nth + 1 < row.len() {
                let width = widths.get(nth).copied().unwrap_or(0);
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: Columns = Columns {
        headers: &[("ID", "CONTAINER ID"), ("Names", "NAMES")],
        go_type: "*formatter.ContainerContext",
    };

    fn rows() -> Vec<Value> {
        vec![
            json!({"ID": "0123456789ab", "Names": "web"}),
            json!({"ID": "ba9876543210", "Names": "a-long-name"}),
        ]
    }

    #[test]
    fn forms() {
        let default = "{{.ID}}\t{{.Names}}";
        let show = |format: &str| render(format, default, &COLUMNS, &rows()).unwrap();
        let table = "CONTAINER ID   NAMES\n0123456789ab   web\nba9876543210   a-long-name\n";
        assert_eq!(show(""), table);
        assert_eq!(show("table"), table);
        assert_eq!(show("table {{.Names}}\\t{{.ID}}").lines().next(), Some("NAMES         CONTAINER ID"));
        assert_eq!(show("{{.Names}}"), "web\na-long-name\n");
        assert_eq!(show("json").lines().next(), Some(r#"{"ID":"0123456789ab","Names":"web"}"#));
        let error = render("{{.Nope}}", default, &COLUMNS, &rows()).unwrap_err().to_string();
        let ends = "executing \"\" at <.Nope>: can't evaluate field Nope in type *formatter.ContainerContext";
        assert!(error.ends_with(ends), "{error}");
    }
}
