//! Removal of fields that a schema does not know.

use serde_json::Value;

use super::parse::{field_path, index_path};
use super::{Schema, Type};

/// Removes unknown fields and returns their paths in document order, such as `spec.containers[0].foo`.
pub fn prune(schema: &Schema, value: &mut Value) -> Vec<String> {
    let mut removed = Vec::new();
    walk(schema, value, "", &mut removed);
    removed
}

fn walk(schema: &Schema, value: &mut Value, path: &str, removed: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if keeps_everything(schema) {
                return;
            }
            fields.retain(|name, child| {
                let known = schema.properties.get(name).or(schema.additional_properties.as_ref());
                match known {
                    Some(known) if has_structure(child) => {
                        walk(known, child, &field_path(path, name), removed);
                        true
                    }
                    Some(_) => true,
                    None if schema.preserve_unknown => true,
                    None => {
                        removed.push(field_path(path, name));
                        false
                    }
                }
            });
        }
        Value::Array(items) => {
            let Some(schema) = &schema.items else { return };
            for (index, item) in
                items.iter_mut().enumerate().filter(|(_, item)| has_structure(item))
            {
                walk(schema, item, &index_path(path, index), removed);
            }
        }
        _ => {}
    }
}

fn has_structure(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

/// Nothing is known of the value, so nothing in it is unknown. Values of the wrong type are for validation.
fn keeps_everything(schema: &Schema) -> bool {
    match schema.type_ {
        Type::Any => schema.properties.is_empty() && schema.additional_properties.is_none(),
        Type::Object => false,
        Type::Array
        | Type::String
        | Type::Integer
        | Type::Number
        | Type::Boolean
        | Type::IntOrString => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::{builtin, structural};

    #[test]
    fn unknown_fields_of_built_in_kinds_are_removed_and_named() {
        let deployment = builtin::kind("apps", "v1", "Deployment").unwrap();
        let mut value = json!({
            "kind": "Deployment", "nope": 1,
            "metadata": {"name": "x", "labels": {"any": "thing"}, "bad": 1},
            "spec": {"template": {"metadata": {"also": 1}, "spec": {"containers": [
                {"name": "a", "resources": {"limits": {"cpu": "1"}}, "foo": {"b": 1}},
            ]}}},
        });
        let removed = prune(&deployment, &mut value);
        assert_eq!(
            removed,
            [
                "metadata.bad",
                "nope",
                "spec.template.metadata.also",
                "spec.template.spec.containers[0].foo"
            ]
        );
        assert_eq!(
            value["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"],
            "1"
        );
        assert!(prune(&deployment, &mut value).is_empty());
    }

    #[test]
    fn preserved_parts_keep_unknown_fields_but_prune_what_they_declare() {
        let schema = structural::compile(&json!({"type": "object", "properties": {
            "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                "strict": {"type": "object", "properties": {"a": {"type": "string"}}},
            }},
            "embedded": {"type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {
                "a": {"type": "integer"}}}},
        }}))
        .unwrap();
        let mut value = json!({
            "raw": {"x": 1, "strict": {"a": "1", "b": 2}},
            "embedded": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "x", "bad": 1}, "spec": {"y": 1}},
            "map": {"k": {"a": 1, "b": 2}},
        });
        let removed = prune(&schema, &mut value);
        assert_eq!(removed, ["embedded.metadata.bad", "map.k.b", "raw.strict.b"]);
        assert_eq!(value["raw"]["x"], 1);
        assert_eq!(value["embedded"]["spec"]["y"], 1);
    }
}
