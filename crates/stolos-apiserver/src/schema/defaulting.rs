//! Structural defaulting.

use serde_json::Value;

use super::Schema;

/// Fills absent fields from the schema's defaults. A null where null is no value of its own is replaced by the default,
/// or dropped when there is none.
pub fn default(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, child| {
                let known = schema.properties.get(name).or(schema.additional_properties.as_ref());
                !known.is_some_and(|known| {
                    child.is_null() && !known.nullable && known.default.is_none()
                })
            });
            for (name, property) in &schema.properties {
                let Some(default) = &property.default else { continue };
                match fields.get_mut(name) {
                    None => {
                        fields.insert(name.clone(), default.clone());
                    }
                    Some(child) if child.is_null() && !property.nullable => {
                        *child = default.clone()
                    }
                    Some(_) => {}
                }
            }
            for (name, child) in fields.iter_mut() {
                let Some(known) =
                    schema.properties.get(name).or(schema.additional_properties.as_ref())
                else {
                    continue;
                };
                replace_null(known, child);
                default(known, child);
            }
        }
        Value::Array(items) => {
            let Some(schema) = &schema.items else { return };
            for item in items {
                replace_null(schema, item);
                default(schema, item);
            }
        }
        _ => {}
    }
}

fn replace_null(schema: &Schema, value: &mut Value) {
    if let Some(default) = &schema.default
        && value.is_null()
        && !schema.nullable
    {
        *value = default.clone();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::structural;

    /// Pitfall: null means absence here, removal in a merge patch, and a value where a schema allows it.
    #[test]
    fn absent_fields_and_nulls_take_defaults() {
        let schema = structural::compile(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "default": {}, "properties": {
                "n": {"type": "integer", "default": 3},
                "s": {"type": "string", "nullable": true, "default": "x"},
                "t": {"type": "string"},
                "list": {"type": "array", "items": {"type": "object", "properties": {
                    "p": {"type": "string", "default": "TCP"}}}},
                "map": {"type": "object", "additionalProperties": {"type": "integer", "default": 7}},
            }},
        }}))
        .unwrap();
        for (value, want) in [
            (json!({}), json!({"spec": {"n": 3, "s": "x"}})),
            (
                json!({"spec": {"n": null, "s": null, "t": null}}),
                json!({"spec": {"n": 3, "s": null}}),
            ),
            (
                json!({"spec": {"list": [{}, {"p": "UDP"}], "map": {"a": null, "b": 1}}}),
                json!({"spec": {"n": 3, "s": "x", "list": [{"p": "TCP"}, {"p": "UDP"}],
                    "map": {"a": 7, "b": 1}}}),
            ),
            (json!({"spec": {"n": 0, "s": ""}}), json!({"spec": {"n": 0, "s": ""}})),
        ] {
            let mut got = value.clone();
            default(&schema, &mut got);
            assert_eq!(got, want, "{value}");
        }
    }
}
