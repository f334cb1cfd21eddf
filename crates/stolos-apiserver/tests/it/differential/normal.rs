//! Takes out of an answer what two servers cannot have in common: uids, times, revisions, tokens, random names.
//!
//! What a script captured keeps the name of its capture, so that "the same uid as before" stays visible. Times, uids and
//! the like that a script wrote itself stay as they are where they can be told apart: times far from the present, uids that
//! begin with eight zeros.

use std::sync::LazyLock;

use http::HeaderMap;
use jiff::{Span, Timestamp};
use regex::{Captures, Regex};
use serde_json::{Map, Value};

/// Headers that clients read, and whether their value can be compared.
const HEADERS: [(&str, bool); 10] = [
    ("allow", true),
    ("audit-id", false),
    ("cache-control", true),
    ("content-type", true),
    ("etag", false),
    ("location", true),
    ("retry-after", true),
    ("vary", true),
    ("warning", true),
    ("www-authenticate", true),
];

static TIME: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"));
static UID: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"));
static AGE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\d+[smhdy])+( ago)?$"));
/// Each pattern and what stands in its place.
static TEXTS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    vec![
        (pattern(r"eyJ[\w-]+\.[\w-]+\.[\w-]+"), "<jwt>"),
        (
            pattern(r"(?s)-----BEGIN CERTIFICATE-----.*-----END CERTIFICATE-----\n?"),
            "<certificate>",
        ),
        (pattern(r"resource version: \d+ \(\d+\)"), "resource version: <rv> (<rv>)"),
        (pattern(r"current: \d+"), "current: <rv>"),
        (
            pattern(r"ResourceVersion in (the precondition|record) \(\d+\)"),
            "ResourceVersion in $1 (<rv>)",
        ),
        (pattern(r"https://[\d.]+:\d+"), "https://<address>"),
        (pattern(r"\bkube-api-access-[a-z0-9]{5}\b"), "kube-api-access-<random>"),
        (pattern(r":3[0-2]\d{3}/"), ":<node-port>/"),
        (pattern(r"\b10\.0\.0\.\d+\b"), "<cluster-ip>"),
        (pattern(r"\bhash=[0-9A-F]+"), "hash=<hash>"),
        (pattern(r#"(resourceVersion\\?"?: ?\\?")[1-9]\d*"#), "$1<rv>"),
    ]
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns are constants")
}

/// What a script captured so far, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Normaliser {
    captures: Vec<(String, String)>,
}

impl Normaliser {
    /// Remembers a value under a name.
    pub(crate) fn capture(&mut self, name: &str, value: &str) {
        self.captures.push((name.to_owned(), value.to_owned()));
    }

    /// Puts captured values into a part of a request.
    pub(crate) fn fill(&self, text: &str) -> String {
        let mut captures: Vec<_> = self.captures.iter().rev().collect();
        // Longest names first, so that `$rv2` is not `$rv` and a 2.
        captures.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        captures
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value))
    }

    /// Returns the headers that are compared.
    pub(crate) fn headers(&self, headers: &HeaderMap) -> Vec<(String, String)> {
        let mut kept = Vec::new();
        for (name, comparable) in HEADERS {
            for value in headers.get_all(name) {
                let text = String::from_utf8_lossy(value.as_bytes());
                let text = if comparable { self.text(&text) } else { "<present>".to_owned() };
                kept.push((name.to_owned(), text));
            }
        }
        kept
    }

    /// Normalises a body.
    pub(crate) fn value(&self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => Value::Object(self.object(fields)),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::String(text) => self.text(text).into(),
            other => other.clone(),
        }
    }

    fn object(&self, fields: &Map<String, Value>) -> Map<String, Value> {
        let mut normal: Map<String, Value> =
            fields.iter().map(|(key, value)| (self.text(key), self.field(key, value))).collect();
        if let (Some(Value::String(base)), Some(Value::String(name))) =
            (fields.get("generateName"), fields.get("name"))
            && name.strip_prefix(base.as_str()).is_some_and(|suffix| suffix.len() == 5)
        {
            normal.insert("name".into(), format!("{base}<random>").into());
        }
        normal
    }

    fn field(&self, key: &str, value: &Value) -> Value {
        match (key, value) {
            ("resourceVersion", Value::String(text)) => self.revision(text).into(),
            ("continue", Value::String(text)) if !text.is_empty() => "<continue>".into(),
            ("nodePort" | "healthCheckNodePort", Value::Number(port))
                if port.as_u64() >= Some(30_000) =>
            {
                "<node-port>".into()
            }
            ("cells", Value::Array(cells)) => cells.iter().map(|cell| self.cell(cell)).collect(),
            ("managedFields", Value::Array(entries)) => {
                let mut entries: Vec<Value> =
                    entries.iter().map(|entry| self.value(entry)).collect();
                // Their order depends on times, which we take out.
                entries.sort_by_key(|entry| {
                    ["operation", "manager", "apiVersion", "subresource"]
                        .map(|key| entry[key].as_str().unwrap_or_default().to_owned())
                });
                entries.into()
            }
            _ => self.value(value),
        }
    }

    /// Revisions are only compared with each other.
    fn revision(&self, text: &str) -> String {
        if let Some((name, _)) = self.captures.iter().find(|(_, value)| value == text) {
            return format!("${name}");
        }
        let is_one = text != "0" && text.parse::<u64>().is_ok();
        if is_one { "<rv>".to_owned() } else { text.to_owned() }
    }

    /// Ages in tables depend on how fast the test runs.
    fn cell(&self, cell: &Value) -> Value {
        match cell {
            Value::String(text) if AGE.is_match(text) => "<age>".into(),
            other => self.value(other),
        }
    }

    fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.captures {
            // Revisions are short numbers that would match anywhere.
            if value.len() >= 5 && value.parse::<u64>().is_err() {
                text = text.replace(value.as_str(), &format!("${name}"));
            }
        }
        for (pattern, instead) in TEXTS.iter() {
            text = pattern.replace_all(&text, *instead).into_owned();
        }
        text = UID.replace_all(&text, |found: &Captures| uid(&found[0])).into_owned();
        TIME.replace_all(&text, |found: &Captures| time(&found[0])).into_owned()
    }
}

fn uid(text: &str) -> String {
    if text.starts_with("00000000-") { text.to_owned() } else { "<uid>".to_owned() }
}

fn time(text: &str) -> String {
    let now = Timestamp::now();
    let near = Span::new().hours(48);
    let (Ok(from), Ok(to)) = (now.checked_sub(near), now.checked_add(near)) else {
        return text.to_owned();
    };
    match text.parse::<Timestamp>() {
        Ok(time) if from <= time && time <= to => {
            if text.contains('.') { "<micro time>" } else { "<time>" }.to_owned()
        }
        _ => text.to_owned(),
    }
}

#[test]
fn captured_values_keep_their_names_and_the_rest_is_taken_out() {
    let uid = "0a1b2c3d-0000-4000-8000-000000000001";
    let mut normal = Normaliser::default();
    normal.capture("first", uid);
    normal.capture("rv", "77");
    normal.capture("rv2", "78");
    assert_eq!(normal.fill("$rv2,$rv,$first"), format!("78,77,{uid}"));
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let body = serde_json::json!({
        "metadata": { "uid": uid, "resourceVersion": "78", "generateName": "a-", "name": "a-bcdfg", "creationTimestamp": now },
        "other": { "resourceVersion": "79", "when": "2020-01-01T00:00:00Z", "count": 77 },
        "message": format!("{uid} and 1a1b2c3d-0000-4000-8000-000000000001, too old resource version: 5 (77)"),
    });
    assert_eq!(
        normal.value(&body),
        serde_json::json!({
            "metadata": {
                "uid": "$first", "resourceVersion": "$rv2", "generateName": "a-", "name": "a-<random>",
                "creationTimestamp": "<time>",
            },
            "other": { "resourceVersion": "<rv>", "when": "2020-01-01T00:00:00Z", "count": 77 },
            "message": "$first and <uid>, too old resource version: <rv> (<rv>)",
        })
    );
}
