//! Schema fragments for types we do not own, and the rewriting that makes a generated schema
//! structural in the sense of Kubernetes.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

/// What `kubectl` and the API server accept as a resource quantity.
const QUANTITY_PATTERN: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// Returns the structural schema of a type, with everything inlined.
pub(crate) fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    make_structural(&mut schema);
    schema
}

/// Rewrites a generated schema in place so that an API server takes it as structural: no
/// `nullable` (an absent field is absent, never null), plain enums instead of one branch per
/// documented variant, and the one permitted form of int-or-string.
pub(crate) fn make_structural(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("nullable");
    object.remove("title");
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    unwrap_optional(object);
    merge_enum_branches(object);
    if let Some(values) = object.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|value| !value.is_null());
    }
    if object.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        object.insert("anyOf".into(), json!([{"type": "integer"}, {"type": "string"}]));
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(make_structural);
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(keyword) {
            make_structural(inner);
        }
    }
}

/// Replaces `anyOf: [T, null]` by `T`.
fn unwrap_optional(object: &mut Map<String, Value>) {
    let is_null = |branch: &Value| branch.get("enum") == Some(&json!([null]));
    let Some(branches) = object.get("anyOf").and_then(Value::as_array) else { return };
    let [Value::Object(inner), null] = branches.as_slice() else { return };
    if !is_null(null) {
        return;
    }
    let inner = inner.clone();
    object.remove("anyOf");
    for (keyword, value) in inner {
        object.entry(keyword).or_insert(value);
    }
}

/// Replaces one branch per enum variant, which is how documented variants are generated, by a
/// plain `enum`.
fn merge_enum_branches(object: &mut Map<String, Value>) {
    let Some(branches) = object.get("oneOf").and_then(Value::as_array) else { return };
    let values: Option<Vec<&Vec<Value>>> =
        branches.iter().map(|branch| branch.get("enum").and_then(Value::as_array)).collect();
    let Some(values) = values else { return };
    let values: Vec<Value> = values.into_iter().flatten().cloned().collect();
    object.remove("oneOf");
    object.insert("enum".into(), Value::Array(values));
    object.insert("type".into(), "string".into());
}

/// A string without further rules, for enums whose CRD does not list the values.
pub(crate) fn plain_string(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string"})
}

/// Bytes in base64.
pub(crate) fn bytes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "byte"})
}

/// Drops the integer format, for fields that the published CRDs declare without one.
pub(crate) fn without_format(schema: &mut Schema) {
    schema.remove("format");
}

/// One condition.
pub(crate) fn condition(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "One aspect of the observed state.",
        "type": "object",
        "required": ["lastTransitionTime", "message", "reason", "status", "type"],
        "properties": {
            "lastTransitionTime": {
                "description": "When the status last changed.",
                "type": "string", "format": "date-time",
            },
            "message": {
                "description": "Explanation for people; may be empty.",
                "type": "string", "maxLength": 32768,
            },
            "observedGeneration": {
                "description": "Generation of the object that this condition describes.",
                "type": "integer", "format": "int64", "minimum": 0,
            },
            "reason": {
                "description": "Explanation for programs, in CamelCase.",
                "type": "string", "minLength": 1, "maxLength": 1024,
                "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            },
            "status": {
                "description": "Whether the condition holds.",
                "type": "string", "enum": ["True", "False", "Unknown"],
            },
            "type": {
                "description": "Name of the condition.",
                "type": "string", "maxLength": 316,
                "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
            },
        },
    })
}

/// Conditions that server-side apply merges by type.
pub(crate) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let mut list = condition_list(generator);
    list.insert("x-kubernetes-list-type".into(), "map".into());
    list.insert("x-kubernetes-list-map-keys".into(), json!(["type"]));
    list
}

/// Conditions as a list that is written as a whole.
pub(crate) fn condition_list(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": condition(generator)})
}

/// A label selector.
pub(crate) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchExpressions": {
                "description": "Requirements on labels; all must hold.",
                "type": "array",
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "description": "One requirement on a label.",
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {"description": "Label key.", "type": "string"},
                        "operator": {
                            "description": "One of In, NotIn, Exists and DoesNotExist.",
                            "type": "string",
                        },
                        "values": {
                            "description": "Values for In and NotIn; empty for the other two.",
                            "type": "array",
                            "x-kubernetes-list-type": "atomic",
                            "items": {"type": "string"},
                        },
                    },
                },
            },
            "matchLabels": {
                "description": "Labels that must be present with exactly these values.",
                "type": "object",
                "additionalProperties": {"type": "string"},
            },
        },
    })
}

/// A user, group or service account.
pub(crate) fn subject(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "required": ["kind", "name"],
        "properties": {
            "apiGroup": {
                "description": "API group of the subject; empty for a service account.",
                "type": "string",
            },
            "kind": {
                "description": "One of User, Group and ServiceAccount.",
                "type": "string",
            },
            "name": {"description": "Name of the subject.", "type": "string"},
            "namespace": {
                "description": "Namespace of the subject; only for a service account.",
                "type": "string",
            },
        },
    })
}

/// Amounts by resource name.
pub(crate) fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": {
            "pattern": QUANTITY_PATTERN,
            "x-kubernetes-int-or-string": true,
        },
    })
}

/// A number of clusters, absolute or in percent of the target number.
pub(crate) fn count_or_percentage(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "pattern": "^((100|[0-9]{1,2})%|[0-9]+)$",
        "x-kubernetes-int-or-string": true,
    })
}

/// A complete Kubernetes object of any kind.
pub(crate) fn embedded_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-embedded-resource": true,
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// Complete Kubernetes objects of any kind.
pub(crate) fn embedded_objects(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": embedded_object(generator)})
}

/// Any JSON value.
pub(crate) fn any_value(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

/// Any JSON object.
pub(crate) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
