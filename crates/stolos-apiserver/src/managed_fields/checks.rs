//! Laws of ownership that property tests and fuzzing check.

use serde_json::Value;

use super::claim::written;
use super::set::FieldSet;
use super::view::View;
use super::{ResetFields, managed_fields_of};
use crate::schema::SchemaRef;

/// Returns the paths that somebody owns though the object has no such field; there must be none.
pub(crate) fn absent_claims(schema: &SchemaRef, object: &Value) -> Vec<String> {
    let reset = ResetFields::none();
    let there = written(View::Object(schema, &reset), object);
    let entries = managed_fields_of(object).and_then(Value::as_array).into_iter().flatten();
    let absent = entries.filter_map(|entry| FieldSet::from_json(entry["fieldsV1"].clone()));
    let absent = absent.flat_map(|mut fields| {
        fields.subtract(&there);
        fields.paths()
    });
    absent.collect()
}
