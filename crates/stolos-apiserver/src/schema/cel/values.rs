//! Values as rules see them: only what the schema declares, under names that the language can write.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ::cel::Value as Cel;
use ::cel::objects::{Key, Map};
use base64::Engine as _;
use serde_json::Value;

use crate::schema::{Schema, Type};

/// Converts a value. `only` names the fields of the top level that a rule reads; none means all.
pub(super) fn convert(schema: &Schema, value: &Value, only: Option<&BTreeSet<String>>) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(whole) if schema.type_ != Type::Number => Cel::Int(whole),
            _ => Cel::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => match schema.format.as_deref() {
            Some("byte") if schema.type_ == Type::String => bytes(text),
            _ => text.as_str().into(),
        },
        Value::Array(items) => {
            let convert_item = |item| match &schema.items {
                Some(element) => convert(element, item, None),
                None => convert(&Schema::default(), item, None),
            };
            Cel::List(Arc::new(items.iter().map(convert_item).collect()))
        }
        Value::Object(fields) => {
            let mut map: HashMap<Key, Cel> = HashMap::with_capacity(fields.len());
            let mut add = |name: String, schema: &Schema, child: &Value| {
                if only.is_none_or(|only| only.contains(&name)) {
                    map.insert(name.into(), convert(schema, child, None));
                }
            };
            for (name, child) in fields {
                if let Some(property) = schema.properties.get(name) {
                    if let Some(escaped) = visible(schema, name, property) {
                        add(escaped, property, child);
                    }
                } else if let Some(values) = &schema.additional_properties {
                    add(name.clone(), values, child);
                } else if schema.type_ == Type::Any {
                    add(name.clone(), &Schema::default(), child);
                }
            }
            Cel::Map(Map { map: Arc::new(map) })
        }
    }
}

fn bytes(text: &str) -> Cel {
    match base64::engine::general_purpose::STANDARD.decode(text) {
        Ok(bytes) => bytes.into(),
        Err(_) => text.into(),
    }
}

/// Returns the name under which rules see a field, if they do. Values of which nothing is known are hidden, and of
/// `metadata` all but the names is.
pub(super) fn visible(parent: &Schema, name: &str, property: &Schema) -> Option<String> {
    let in_metadata = parent.model.as_deref().is_some_and(|model| model.ends_with(".ObjectMeta"));
    let hidden =
        property.type_ == Type::Any || (in_metadata && name != "name" && name != "generateName");
    if hidden { None } else { escape(name) }
}

/// Escapes a field name so that it is an identifier; none if that is impossible.
fn escape(name: &str) -> Option<String> {
    const RESERVED: &[&str] = &[
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let escaped = name
        .replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__");
    let mut chars = escaped.chars();
    let starts = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    (starts && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')).then_some(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_in_kubernetes() {
        for (name, want) in [
            ("plain", Some("plain")),
            ("namespace", Some("__namespace__")),
            ("a-b", Some("a__dash__b")),
            ("a.b/c", Some("a__dot__b__slash__c")),
            ("a__b", Some("a__underscores__b")),
            ("1a", None),
            ("a b", None),
        ] {
            assert_eq!(escape(name).as_deref(), want, "{name}");
        }
    }
}
