//! Brings what clients may write in several ways into the one form that the server keeps.

use serde_json::Value;

use super::presence::is_dropped;
use crate::schema::quantity::Quantity;
use crate::schema::{Schema, Type};

/// Drops nulls and those zeros that mean the same as absence, and writes quantities in canonical form.
pub(super) fn normalise(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if schema.preserve_unknown {
                return;
            }
            for (name, child) in fields.iter_mut() {
                if let Some(known) =
                    schema.properties.get(name).or(schema.additional_properties.as_ref())
                {
                    normalise(known, child);
                }
            }
            let is_text_map =
                schema.additional_properties.as_ref().is_some_and(|v| v.type_ == Type::String);
            for child in fields.values_mut().filter(|child| is_text_map && child.is_null()) {
                *child = "".into();
            }
            fields.retain(|name, child| !is_dropped(schema, name, child));
        }
        Value::Array(items) => {
            let Some(schema) = &schema.items else { return };
            for item in items {
                normalise(schema, item);
            }
        }
        Value::Number(_) | Value::String(_) if is_quantity(schema) => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if let Some(quantity) = Quantity::parse(&text) {
                *value = quantity.to_string().into();
            }
        }
        _ => {}
    }
}

fn is_quantity(schema: &Schema) -> bool {
    schema.format.as_deref() == Some("quantity")
}
