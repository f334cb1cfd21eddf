//! Reads JSON and YAML as kube-apiserver does: repeated keys are noticed, numbers keep their kind.

use std::fmt::Write as _;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::options::DuplicateKeyPolicy;

/// Parses JSON. Returns the value and the paths of repeated fields, such as `spec.replicas`; the last one wins.
///
/// # Errors
/// Fails with a text for people when the bytes are not exactly one JSON value.
pub fn json(bytes: &[u8]) -> Result<(Value, Vec<String>), String> {
    let node: Node = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok(node.finish())
}

/// Parses YAML (one document), with the same result as [`json`]. JSON is YAML too.
///
/// # Errors
/// Fails with a text for people when the bytes are not exactly one YAML document.
pub fn yaml(bytes: &[u8]) -> Result<(Value, Vec<String>), String> {
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::PassThrough };
    let node: Node =
        serde_saphyr::from_slice_with_options(bytes, options).map_err(|error| error.to_string())?;
    Ok(node.finish())
}

/// A value with the paths of repeated fields below it. A path begins with `.` or `[`.
struct Node {
    value: Value,
    duplicates: Vec<String>,
}

impl Node {
    fn leaf(value: Value) -> Self {
        Self { value, duplicates: Vec::new() }
    }

    fn finish(self) -> (Value, Vec<String>) {
        let strip = |path: String| path.strip_prefix('.').map_or(path.clone(), str::to_owned);
        (self.value, self.duplicates.into_iter().map(strip).collect())
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::leaf(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::leaf(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::leaf(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::leaf(number(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::leaf(Value::String(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::leaf(Value::String(value)))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::leaf(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::leaf(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        let mut duplicates = Vec::new();
        while let Some(item) = seq.next_element::<Node>()? {
            duplicates
                .extend(item.duplicates.iter().map(|path| format!("[{}]{path}", items.len())));
            items.push(item.value);
        }
        Ok(Node { value: Value::Array(items), duplicates })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut fields = Map::new();
        let mut duplicates = Vec::new();
        while let Some(key) = access.next_key::<String>()? {
            let field: Node = access.next_value()?;
            duplicates.extend(field.duplicates.iter().map(|path| format!(".{key}{path}")));
            if fields.contains_key(&key) {
                duplicates.push(format!(".{key}"));
            }
            fields.insert(key, field.value);
        }
        Ok(Node { value: Value::Object(fields), duplicates })
    }
}

/// Keeps whole numbers whole: `1.0` is written back as `1`, as Go does.
fn number(value: f64) -> Value {
    /// Largest magnitude below which every whole `f64` is an exact `i64`.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        return Value::from(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// Appends a field to a path: `spec` + `replicas` → `spec.replicas`.
pub(crate) fn field_path(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// Appends a list index to a path: `spec.ports` + 0 → `spec.ports[0]`.
pub(crate) fn index_path(path: &str, index: usize) -> String {
    let mut text = path.to_owned();
    let _ = write!(text, "[{index}]");
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn repeated_fields_are_reported_with_their_path_and_the_last_one_wins() {
        let text = br#"{"spec":{"a":1,"a":2,"list":[{"b":1},{"b":1,"b":3}]},"spec2":1}"#;
        let (value, duplicates) = json(text).unwrap();
        assert_eq!(value, json!({"spec":{"a":2,"list":[{"b":1},{"b":3}]},"spec2":1}));
        assert_eq!(duplicates, ["spec.a", "spec.list[1].b"]);
    }

    #[test]
    fn numbers_keep_their_kind() {
        for (text, want) in [
            ("1.0", "1"),
            ("1e3", "1000"),
            ("1.5", "1.5"),
            ("-0.0", "0"),
            ("9223372036854775807", "9223372036854775807"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            let (value, _) = json(text.as_bytes()).unwrap();
            assert_eq!(value.to_string(), want, "{text}");
        }
    }

    #[test]
    fn trailing_text_is_an_error() {
        assert!(json(b"{} x").is_err());
        assert!(json(b"").is_err());
        assert!(yaml(b"a: 1\n---\nb: 2\n").is_err());
    }

    #[test]
    fn yaml_reads_like_json() {
        let text = b"metadata:\n  name: x\n  labels: {a: \"1\", a: \"2\"}\nspec:\n  n: 1\n  f: 1.0\n  s: '1'\n  z: null\n  on: yes\n";
        let (value, duplicates) = yaml(text).unwrap();
        assert_eq!(value["metadata"], json!({"name": "x", "labels": {"a": "2"}}));
        assert_eq!(value["spec"]["n"], json!(1));
        assert_eq!(value["spec"]["f"], json!(1));
        assert_eq!(value["spec"]["s"], json!("1"));
        assert_eq!(value["spec"]["z"], json!(null));
        assert_eq!(duplicates, ["metadata.labels.a"]);
    }
}
