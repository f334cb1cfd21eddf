//! Reading and writing `metadata` of JSON objects.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde_json::{Map, Value, json};

/// Finalizer of the garbage collector: dependents go first.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of the garbage collector: dependents lose their owner reference and stay.
pub(crate) const ORPHAN: &str = "orphan";

/// Returns a string field of the metadata; absent reads as empty.
#[must_use]
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// Returns the metadata for changes, creating it where it is missing or not an object.
pub(crate) fn of(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    let metadata = &mut object["metadata"];
    if !metadata.is_object() {
        *metadata = json!({});
    }
    metadata.as_object_mut().expect("made an object above")
}

/// Returns the finalizers in order.
#[must_use]
pub(crate) fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Replaces the finalizers; none removes the field.
pub(crate) fn set_finalizers(object: &mut Value, finalizers: &[&str]) {
    let metadata = of(object);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), json!(finalizers));
    }
}

/// Tells whether deletion has begun.
#[must_use]
pub(crate) fn is_deleting(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// Copies a metadata field from one object to another, or removes it where the source has none.
pub(crate) fn copy(from: &Value, to: &mut Value, field: &str) {
    match from["metadata"].get(field).filter(|value| !value.is_null()) {
        Some(value) => of(to).insert(field.to_owned(), value.clone()),
        None => of(to).remove(field),
    };
}

/// Writes a moment as `metav1.Time` does: UTC, whole seconds.
#[must_use]
pub(crate) fn seconds(at: Timestamp) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(0));
    PRINTER.timestamp_to_string(&at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_whole_seconds() {
        let at: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
        assert_eq!(seconds(at), "2026-01-02T03:04:05Z");
    }

    #[test]
    fn missing_metadata_is_created_on_demand() {
        let mut object = json!({});
        set_finalizers(&mut object, &["a"]);
        assert_eq!(finalizers(&object), ["a"]);
        set_finalizers(&mut object, &[]);
        assert_eq!(object, json!({"metadata": {}}));
    }
}
