//! What authors of custom resources write: schemas, rules, printer columns.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::input::{documents, text};
use crate::schema::{self, structural};
use crate::table::custom_columns;
use crate::table::jsonpath::JsonPath;

/// A schema with a field of every type.
fn schema_with(rule: &str, message: Option<&str>) -> Value {
    let mut rule = json!({ "rule": rule });
    if let Some(message) = message {
        rule["messageExpression"] = message.into();
    }
    json!({
        "type": "object",
        "x-kubernetes-validations": [rule],
        "properties": {
            "s": { "type": "string", "maxLength": 10 },
            "i": { "type": "integer" },
            "n": { "type": "number" },
            "b": { "type": "boolean" },
            "q": { "x-kubernetes-int-or-string": true },
            "l": { "type": "array", "maxItems": 5, "items": { "type": "string", "maxLength": 5 } },
            "o": {
                "type": "array", "maxItems": 3, "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"],
                "items": { "type": "object", "required": ["k"],
                    "properties": { "k": { "type": "string" }, "v": { "type": "integer" } } },
            },
            "m": { "type": "object", "maxProperties": 3, "additionalProperties": { "type": "integer" } },
            "d": { "type": "string", "format": "date-time" },
        },
    })
}

static OBJECTS: LazyLock<[Value; 3]> = LazyLock::new(|| {
    [
        json!({}),
        json!({
            "s": "text", "i": 7, "n": 1.5, "b": true, "q": "5%", "l": ["a", "b"],
            "o": [{ "k": "x", "v": 1 }, { "k": "y" }], "m": { "a": 1, "b": -1 },
            "d": "2026-01-01T00:00:00Z",
        }),
        json!({ "s": "", "i": i64::MIN, "n": -0.0, "q": 0, "l": [], "o": [], "m": {} }),
    ]
});

/// A rule is refused, or runs on any value without a panic and in bounded time. Bytes: the rule, and behind a line break
/// the expression of the message.
pub(super) fn cel(bytes: &[u8]) {
    let source = text(bytes);
    let (rule, message) = match source.split_once('\n') {
        Some((rule, message)) => (rule, Some(message)),
        None => (&*source, None),
    };
    let Ok(schema) = structural::compile(&schema_with(rule, message)) else { return };
    for object in &*OBJECTS {
        let once = schema::validate(&schema, object, None);
        assert_eq!(once, schema::validate(&schema, object, None), "a rule has no memory");
        for old in &*OBJECTS {
            let _ = schema::validate(&schema, object, Some(old));
        }
    }
}

/// A schema is refused with causes, or serves for pruning, defaulting and validating anything; doing so twice changes
/// nothing. Bytes: the schema, then an object and its older state, as JSON.
pub(super) fn schema(bytes: &[u8]) {
    let [source, mut object, old] = documents::<3>(bytes);
    let schema = match structural::compile(&source) {
        Ok(schema) => schema,
        Err(causes) => {
            assert!(!causes.is_empty(), "a refusal says why");
            return;
        }
    };
    schema::prune(&schema, &mut object);
    assert_eq!(schema::prune(&schema, &mut object), [""; 0], "pruned");
    schema::default(&schema, &mut object);
    let mut again = object.clone();
    schema::default(&schema, &mut again);
    assert_eq!(again, object, "defaulting twice");
    let _ = schema::validate(&schema, &object, None);
    let _ = schema::validate(&schema, &object, Some(&old));
}

/// A path is refused, or finds something in any value without a panic. Bytes: the path, and behind a line break a value.
pub(super) fn jsonpath(bytes: &[u8]) {
    let source = text(bytes);
    let (path, rest) = source.split_once('\n').unwrap_or((&source, ""));
    let columns = custom_columns(&json!([{ "name": "c", "type": "string", "jsonPath": path }]));
    let Ok(parsed) = JsonPath::parse(path) else {
        assert!(columns.is_err(), "columns take the paths that can be read");
        return;
    };
    assert!(columns.is_ok());
    let [value] = documents::<1>(rest.as_bytes());
    for value in OBJECTS.iter().chain([&value]) {
        assert_eq!(parsed.first(value), parsed.first(value));
    }
}
