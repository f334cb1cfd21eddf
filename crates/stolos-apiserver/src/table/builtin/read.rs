//! Reading objects: anything absent or of another type counts as empty.

use jiff::Timestamp;
use serde_json::Value;

use super::super::duration;

pub(super) const NONE: &str = "<none>";
pub(super) const UNSET: &str = "<unset>";

/// Returns the value at a dotted path, null when there is none.
pub(super) fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(object, |value, field| &value[field])
}

pub(super) fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    at(object, path).as_str().unwrap_or_default()
}

pub(super) fn int(object: &Value, path: &str) -> i64 {
    at(object, path).as_i64().unwrap_or_default()
}

pub(super) fn flag(object: &Value, path: &str) -> bool {
    at(object, path).as_bool().unwrap_or_default()
}

pub(super) fn list<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    at(object, path).as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn time(object: &Value, path: &str) -> Option<Timestamp> {
    duration::time(at(object, path))
}

/// Counts the fields of a map.
pub(super) fn size(object: &Value, path: &str) -> usize {
    at(object, path).as_object().map_or(0, serde_json::Map::len)
}

pub(super) fn name(object: &Value) -> Value {
    text(object, "metadata.name").into()
}

pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    duration::since(time(object, "metadata.creationTimestamp"), now).into()
}

pub(super) fn deleting(object: &Value) -> bool {
    !at(object, "metadata.deletionTimestamp").is_null()
}

/// Replaces an empty text.
pub(super) fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

/// Writes a scalar as plain text: quantities, and numbers that may also be strings.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Joins a text field of every element.
pub(super) fn join(elements: &[Value], field: &str) -> String {
    elements.iter().map(|element| text(element, field)).collect::<Vec<_>>().join(",")
}

/// Joins a list of texts.
pub(super) fn texts<'a>(object: &'a Value, path: &str) -> Vec<&'a str> {
    list(object, path).iter().filter_map(Value::as_str).collect()
}

/// Joins at most `max` parts and says how many more there are.
pub(super) fn at_most(max: usize, parts: &[String], separator: &str) -> String {
    match parts.len().checked_sub(max) {
        None | Some(0) => parts.join(separator),
        Some(more) => format!("{} + {more} more...", parts[..max].join(separator)),
    }
}

/// Finds the condition of a type.
pub(super) fn condition<'a>(object: &'a Value, path: &str, type_: &str) -> Option<&'a Value> {
    list(object, path).iter().find(|condition| text(condition, "type") == type_)
}

pub(super) fn condition_holds(object: &Value, path: &str, type_: &str) -> bool {
    condition(object, path, type_).is_some_and(|condition| text(condition, "status") == "True")
}

/// Returns names and images of the containers of a pod template.
pub(super) fn containers(object: &Value, path: &str) -> [Value; 2] {
    let containers = list(object, path);
    [join(containers, "name").into(), join(containers, "image").into()]
}
