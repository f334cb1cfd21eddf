//! What a server answered, as the recordings keep it: text that people can read and compare.

use std::fmt::Write;

use serde_json::Value;

/// One normalised answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exchange {
    pub(crate) title: String,
    pub(crate) status: u16,
    /// Headers that clients read, sorted.
    pub(crate) headers: Vec<(String, String)>,
    /// JSON as it is, text as a string, the events of a watch as an array, nothing as null.
    pub(crate) body: Value,
}

/// Objects and arrays that fit stay on one line.
const LINE_WIDTH: usize = 110;

/// Writes a transcript.
pub(crate) fn render(exchanges: &[Exchange]) -> String {
    let mut text = String::new();
    for Exchange { title, status, headers, body } in exchanges {
        let _ = writeln!(text, "=== {title}\n{status}");
        for (name, value) in headers {
            let _ = writeln!(text, "{name}: {value}");
        }
        text.push('\n');
        if !body.is_null() {
            render_json(&mut text, body, 0);
            text.push_str("\n\n");
        }
    }
    text
}

fn render_json(text: &mut String, value: &Value, indent: usize) {
    let line = value.to_string();
    let composite = matches!(value, Value::Object(_) | Value::Array(_));
    if !composite || line.len() + indent <= LINE_WIDTH {
        text.push_str(&line);
        return;
    }
    let pad = " ".repeat(indent + 2);
    let end = " ".repeat(indent);
    match value {
        Value::Object(fields) => {
            text.push_str("{\n");
            for (index, (key, field)) in fields.iter().enumerate() {
                let _ = write!(text, "{pad}{}: ", Value::from(key.as_str()));
                render_json(text, field, indent + 2);
                text.push_str(if index + 1 < fields.len() { ",\n" } else { "\n" });
            }
            let _ = write!(text, "{end}}}");
        }
        Value::Array(items) => {
            text.push_str("[\n");
            for (index, item) in items.iter().enumerate() {
                text.push_str(&pad);
                render_json(text, item, indent + 2);
                text.push_str(if index + 1 < items.len() { ",\n" } else { "\n" });
            }
            let _ = write!(text, "{end}]");
        }
        _ => {}
    }
}

/// Reads a transcript.
pub(crate) fn parse(text: &str) -> Result<Vec<Exchange>, String> {
    let text = text.strip_prefix("=== ").unwrap_or(text);
    text.split("\n=== ").filter(|block| !block.trim().is_empty()).map(exchange).collect()
}

fn exchange(block: &str) -> Result<Exchange, String> {
    let (head, body) = block.split_once("\n\n").unwrap_or((block, ""));
    let mut lines = head.lines();
    let title = lines.next().unwrap_or_default().to_owned();
    let status = lines.next().and_then(|line| line.parse().ok());
    let status = status.ok_or_else(|| format!("`{title}` has no status code"))?;
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let body = match body.trim() {
        "" => Value::Null,
        body => serde_json::from_str(body).map_err(|error| format!("`{title}`: {error}"))?,
    };
    Ok(Exchange { title, status, headers, body })
}

#[test]
fn transcripts_are_read_as_they_were_written() {
    let exchange = |title: &str, body: Value| Exchange {
        title: title.to_owned(),
        status: 200,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body,
    };
    let long = vec!["x".repeat(80), "y".repeat(80)];
    let exchanges = [
        exchange("a", serde_json::json!({ "a": long, "b": {} })),
        exchange("b", Value::Null),
        exchange("c", Value::from("text\n\n=== not a step")),
    ];
    assert_eq!(parse(&render(&exchanges)).unwrap(), exchanges);
}
