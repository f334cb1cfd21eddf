//! Removal of fields that a schema does not know.

use serde_json::Value;

use super::parse::{MAX_PROBLEMS, push_field, push_index};
use super::{Schema, Type};

/// Removes unknown fields and returns the paths of the first [`MAX_PROBLEMS`] of them in the order of their names, such as
/// `spec.containers[0].foo`.
pub fn prune(schema: &Schema, value: &mut Value) -> Vec<String> {
    let mut pruner = Pruner::default();
    pruner.walk(schema, value);
    pruner.removed
}

#[derive(Default)]
struct Pruner {
    /// Where we are; begins with `.` or `[`.
    path: String,
    removed: Vec<String>,
}

impl Pruner {
    fn walk(&mut self, schema: &Schema, value: &mut Value) {
        match value {
            Value::Object(_) if schema.keeps_everything() => {}
            Value::Object(fields) => fields.retain(|name, child| {
                let length = self.path.len();
                push_field(&mut self.path, name);
                let known = self.visit_field(schema, name, child);
                self.path.truncate(length);
                known
            }),
            Value::Array(items) => {
                let Some(schema) = &schema.items else { return };
                for (index, item) in
                    items.iter_mut().enumerate().filter(|(_, item)| has_structure(item))
                {
                    let length = self.path.len();
                    push_index(&mut self.path, index);
                    self.walk(schema, item);
                    self.path.truncate(length);
                }
            }
            _ => {}
        }
    }

    /// Tells whether a field stays.
    fn visit_field(&mut self, schema: &Schema, name: &str, child: &mut Value) -> bool {
        match schema.properties.get(name).or(schema.additional_properties.as_ref()) {
            Some(known) => {
                if has_structure(child) {
                    self.walk(known, child);
                }
                true
            }
            None if schema.preserve_unknown => true,
            None => {
                if self.removed.len() < MAX_PROBLEMS {
                    self.removed.push(self.path.strip_prefix('.').unwrap_or(&self.path).to_owned());
                }
                false
            }
        }
    }
}

fn has_structure(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

impl Schema {
    /// Nothing is known of the value, so nothing in it is unknown. Values of the wrong type are for validation.
    pub(crate) fn keeps_everything(&self) -> bool {
        match self.type_ {
            Type::Any => self.properties.is_empty() && self.additional_properties.is_none(),
            Type::Object => false,
            Type::Array
            | Type::String
            | Type::Integer
            | Type::Number
            | Type::Boolean
            | Type::IntOrString => true,
        }
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
