//! Canonical JSON: sorted keys, no white space.
//!
//! The order comes from here and not from `serde_json`, whose maps keep insertion order as soon as any crate of the
//! build switches on its `preserve_order` feature.

use bytes::Bytes;
use serde_json::{Map, Value, json};

/// A serialised object whose `metadata.resourceVersion` is still open, because only the commit knows it.
#[derive(Debug)]
pub(super) struct Draft {
    bytes: Vec<u8>,
    hole: usize,
}

impl Draft {
    /// Serialises an object; a `metadata.resourceVersion` in it is ignored.
    pub(super) fn new(mut object: Value) -> Self {
        open_metadata(&mut object);
        let mut bytes = Vec::with_capacity(1024);
        let mut hole = 0;
        write_map(&mut bytes, object.as_object().expect("made an object"), |bytes, key, value| {
            match value {
                Value::Object(metadata) if key == "metadata" => {
                    write_map(bytes, metadata, |bytes, key, value| {
                        write(bytes, value);
                        if key == "resourceVersion" {
                            hole = bytes.len() - 1;
                        }
                    });
                }
                other => write(bytes, other),
            }
        });
        Self { bytes, hole }
    }

    /// Returns the size in bytes before the revision is filled in.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Fills the revision in.
    pub(super) fn seal(&self, revision: u64) -> Bytes {
        let revision = revision.to_string();
        let mut bytes = Vec::with_capacity(self.bytes.len() + revision.len());
        bytes.extend_from_slice(&self.bytes[..self.hole]);
        bytes.extend_from_slice(revision.as_bytes());
        bytes.extend_from_slice(&self.bytes[self.hole..]);
        bytes.into()
    }
}

/// Makes sure that there is an empty `metadata.resourceVersion` to fill.
fn open_metadata(object: &mut Value) {
    if !object.is_object() {
        *object = json!({});
    }
    let metadata = &mut object["metadata"];
    if !metadata.is_object() {
        *metadata = json!({});
    }
    metadata["resourceVersion"] = json!("");
}

/// Appends a value with sorted keys.
pub(super) fn write(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Object(map) => write_map(bytes, map, |bytes, _, value| write(bytes, value)),
        Value::Array(items) => {
            bytes.push(b'[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    bytes.push(b',');
                }
                write(bytes, item);
            }
            bytes.push(b']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            write_scalar(bytes, value);
        }
    }
}

fn write_map(
    bytes: &mut Vec<u8>,
    map: &Map<String, Value>,
    mut member: impl FnMut(&mut Vec<u8>, &str, &Value),
) {
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    if !entries.is_sorted_by_key(|(key, _)| *key) {
        entries.sort_unstable_by_key(|(key, _)| *key);
    }
    bytes.push(b'{');
    for (n, (key, value)) in entries.into_iter().enumerate() {
        if n > 0 {
            bytes.push(b',');
        }
        write_scalar(bytes, key);
        bytes.push(b':');
        member(bytes, key, value);
    }
    bytes.push(b'}');
}

fn write_scalar(bytes: &mut Vec<u8>, value: &impl serde::Serialize) {
    serde_json::to_writer(bytes, value).expect("scalars serialise, and memory takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(object: Value, revision: u64) -> String {
        String::from_utf8(Draft::new(object).seal(revision).to_vec()).unwrap()
    }

    #[test]
    fn revision_lands_in_the_metadata_and_nowhere_else() {
        let object = json!({
            "spec": {"metadata": {"resourceVersion": ""}}, "resourceVersion": "",
            "metadata": {"uid": "u", "name": "n", "annotations": {"resourceVersion": ""}, "resourceVersion": "4"},
        });
        assert_eq!(
            sealed(object, 17),
            r#"{"metadata":{"annotations":{"resourceVersion":""},"name":"n","resourceVersion":"17","uid":"u"},"resourceVersion":"","spec":{"metadata":{"resourceVersion":""}}}"#
        );
    }

    /// Pitfall: whether bytes are equal must not hang on a feature that some dependency switches on in the JSON
    /// library.
    #[test]
    fn keys_are_sorted_whatever_order_they_came_in() {
        let one: Value =
            serde_json::from_str(r#"{"b":{"z":1,"a":[{"y":1,"x":2}]},"a":"\u0001\"é"}"#).unwrap();
        let mut bytes = Vec::new();
        write(&mut bytes, &one);
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            r#"{"a":"\u0001\"é","b":{"a":[{"x":2,"y":1}],"z":1}}"#
        );
    }

    #[test]
    fn objects_without_metadata_get_one() {
        assert_eq!(sealed(json!({"a": 1}), 3), r#"{"a":1,"metadata":{"resourceVersion":"3"}}"#);
        assert_eq!(sealed(json!(null), 3), r#"{"metadata":{"resourceVersion":"3"}}"#);
    }
}
