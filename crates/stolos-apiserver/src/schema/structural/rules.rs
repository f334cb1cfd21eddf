//! The rules that make a schema structural.

use serde_json::{Map, Value, json};

use super::Place;
use crate::schema::causes::{forbidden, invalid, invalid_as, not_supported, required};
use crate::schema::parse::field_path;
use crate::schema::{Schema, Type};
use crate::status::Cause;

/// Keywords of JSON schema that CustomResourceDefinitions may not use.
const UNSUPPORTED: &[&str] =
    &["$ref", "additionalItems", "definitions", "dependencies", "id", "patternProperties"];

/// Keywords that describe a value's shape, which value checks may not do, and what they would have to be there.
const SHAPE: &[(&str, &str)] = &[
    ("additionalProperties", "undefined"),
    ("default", "undefined"),
    ("description", "empty"),
    ("nullable", "false"),
    ("title", "empty"),
    ("x-kubernetes-embedded-resource", "false"),
    ("x-kubernetes-int-or-string", "false"),
    ("x-kubernetes-list-map-keys", "empty"),
    ("x-kubernetes-list-type", "undefined"),
    ("x-kubernetes-map-type", "undefined"),
    ("x-kubernetes-preserve-unknown-fields", "false"),
    ("x-kubernetes-validations", "empty"),
];

/// Checks one node without those below it.
pub(super) fn check(fields: &Map<String, Value>, place: &Place, causes: &mut Vec<Cause>) {
    let path = &place.path;
    let at = |keyword: &str| field_path(path, keyword);
    for keyword in UNSUPPORTED.iter().filter(|keyword| fields.contains_key(**keyword)) {
        causes.push(forbidden(&at(keyword), &format!("{keyword} is not supported")));
    }
    if is_set(fields, "uniqueItems") {
        let why =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        causes.push(forbidden(&at("uniqueItems"), why));
    }
    if fields.contains_key("properties") && is_given(fields, "additionalProperties") {
        let why = "additionalProperties and properties are mutual exclusive";
        causes.push(forbidden(&at("additionalProperties"), why));
    }
    if place.checks_only {
        check_value_checks(fields, place, causes);
        return;
    }
    check_type(fields, place, causes);
    let is_object = fields.get("type").is_some_and(|kind| kind == "object");
    if is_set(fields, "x-kubernetes-embedded-resource") {
        if !is_object {
            let kind = fields.get("type").cloned().unwrap_or_else(|| "".into());
            let why = "must be object if x-kubernetes-embedded-resource is true";
            causes.push(invalid(&at("type"), &kind, why));
        }
        if !fields.contains_key("properties")
            && !is_set(fields, "x-kubernetes-preserve-unknown-fields")
        {
            let why = "must not be empty if x-kubernetes-embedded-resource is true without \
                       x-kubernetes-preserve-unknown-fields";
            causes.push(required(&at("properties"), why));
        }
    }
    if place.of == super::ROOT_OF || is_set(fields, "x-kubernetes-embedded-resource") {
        check_object_fields(fields, path, causes);
    }
    if fields.contains_key("x-kubernetes-map-type") && !is_object {
        let kind = fields.get("type").cloned().unwrap_or_else(|| "".into());
        causes.push(invalid(
            &at("type"),
            &kind,
            "must be object if x-kubernetes-map-type is specified",
        ));
    }
    if fields.contains_key("x-kubernetes-list-type")
        && fields.get("type").is_none_or(|kind| kind != "array")
    {
        let kind = fields.get("type").cloned().unwrap_or_else(|| "".into());
        causes.push(invalid(
            &at("type"),
            &kind,
            "must be array if x-kubernetes-list-type is specified",
        ));
    }
    let kind = fields.get("x-kubernetes-list-type");
    if is_given(fields, "x-kubernetes-list-map-keys") && kind.is_none_or(|kind| kind != "map") {
        let field = at("x-kubernetes-list-type");
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        causes.push(match kind {
            None => required(&field, why),
            Some(kind) => invalid(&field, kind, why),
        });
    }
    check_enumerated(fields, "x-kubernetes-list-type", &["atomic", "set", "map"], path, causes);
    check_enumerated(fields, "x-kubernetes-map-type", &["atomic", "granular"], path, causes);
    if fields.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        let why = "must be true or undefined";
        causes.push(invalid(&at("x-kubernetes-preserve-unknown-fields"), &false.into(), why));
    }
}

/// The fields that every object has are of fixed types.
fn check_object_fields(fields: &Map<String, Value>, path: &str, causes: &mut Vec<Cause>) {
    for (name, wanted) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
        let kind = fields
            .get("properties")
            .and_then(|properties| properties.get(name))
            .and_then(|property| property.get("type"));
        if let Some(kind) = kind
            && kind != wanted
        {
            let field = format!("{path}.properties[{name}].type");
            causes.push(invalid(&field, kind, &format!("must be {wanted}")));
        }
    }
}

fn check_type(fields: &Map<String, Value>, place: &Place, causes: &mut Vec<Cause>) {
    const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
    let field = field_path(&place.path, "type");
    let is_open = is_set(fields, "x-kubernetes-int-or-string")
        || (is_set(fields, "x-kubernetes-preserve-unknown-fields") && place.of != super::ROOT_OF);
    match fields.get("type").and_then(Value::as_str).unwrap_or_default() {
        "" if is_open => {}
        "" => {
            let preposition = if place.of == super::ROOT_OF { "at" } else { "for" };
            causes.push(required(&field, &format!("must not be empty {preposition} {}", place.of)));
        }
        "array" if fields.get("items").is_some_and(Value::is_array) => {
            let why = "items must be a schema object and not an array";
            causes.push(forbidden(&field_path(&place.path, "items"), why));
        }
        "array" if !fields.get("items").is_some_and(Value::is_object) => {
            causes.push(required(&field_path(&place.path, "items"), "must be specified"));
        }
        kind if !TYPES.contains(&kind) => {
            let supported: Vec<Value> = TYPES.iter().map(|kind| json!(kind)).collect();
            causes.push(not_supported(&field, &kind.into(), &supported));
        }
        _ => {}
    }
}

/// Below `allOf` and its siblings nothing may shape the value.
fn check_value_checks(fields: &Map<String, Value>, place: &Place, causes: &mut Vec<Cause>) {
    for (keyword, wanted) in SHAPE.iter().filter(|(keyword, _)| is_given(fields, keyword)) {
        let why = format!("must be {wanted} to be structural");
        causes.push(forbidden(&field_path(&place.path, keyword), &why));
    }
    let field = field_path(&place.path, "type");
    if fields.contains_key("type") && place.of != INT_OR_STRING {
        causes.push(forbidden(&field, "must be empty to be structural"));
    }
    if is_given(fields, "x-kubernetes-list-type") && !fields.contains_key("type") {
        let why = "must be array if x-kubernetes-list-type is specified";
        causes.push(required(&field, why));
    }
}

/// Marks the alternatives of an int-or-string, which alone may name types.
pub(super) const INT_OR_STRING: &str = "int-or-string";

fn check_enumerated(
    fields: &Map<String, Value>,
    keyword: &str,
    allowed: &[&str],
    path: &str,
    causes: &mut Vec<Cause>,
) {
    let Some(value) = fields.get(keyword) else { return };
    if !allowed.iter().any(|allowed| value == allowed) {
        let supported: Vec<Value> = allowed.iter().map(|text| json!(text)).collect();
        causes.push(not_supported(&field_path(path, keyword), value, &supported));
    }
}

/// Elements of a set must be comparable as a whole.
pub(super) fn check_set(schema: &Schema, source: &Value, path: &str, causes: &mut Vec<Cause>) {
    check_items_not_null(schema, "set", path, causes);
    let Some(items) = &schema.items else { return };
    if items.type_ == Type::Object && !items.atomic {
        let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let field = format!("{path}.items.x-kubernetes-map-type");
        causes.push(match &source["items"]["x-kubernetes-map-type"] {
            Value::Null => invalid_as(&field, "null", why),
            given => invalid(&field, given, why),
        });
    }
}

fn check_items_not_null(schema: &Schema, kind: &str, path: &str, causes: &mut Vec<Cause>) {
    if schema.items.as_ref().is_some_and(|items| items.nullable) {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        causes.push(forbidden(&format!("{path}.items.nullable"), &why));
    }
}

/// Keys of a list-map must be scalars that every element has.
pub(super) fn check_map(schema: &Schema, keys: &[String], path: &str, causes: &mut Vec<Cause>) {
    let keys_path = field_path(path, "x-kubernetes-list-map-keys");
    if keys.is_empty() {
        causes.push(required(&keys_path, "must not be empty if x-kubernetes-list-type is map"));
    }
    check_items_not_null(schema, "map", path, causes);
    let Some(items) = &schema.items else { return };
    if items.type_ != Type::Object {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        causes.push(invalid(&format!("{path}.items.type"), &type_text(items.type_).into(), why));
        return;
    }
    for (index, key) in keys.iter().enumerate() {
        let field = format!("{path}.items.properties[{key}]");
        if keys[..index].contains(key) {
            causes.push(invalid(&keys_path, &json!(keys), "must not contain duplicate entries"));
            continue;
        }
        let Some(node) = items.properties.get(key) else {
            let why = "entries must all be names of item properties";
            causes.push(invalid(&keys_path, &json!(keys), why));
            continue;
        };
        if matches!(node.type_, Type::Object | Type::Array | Type::Any) {
            let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            causes.push(invalid(&field_path(&field, "type"), &type_text(node.type_).into(), why));
        }
        if node.default.is_none() && !items.required.contains(key) {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be \
                       a required property";
            causes.push(required(&field_path(&field, "default"), why));
        }
        if node.nullable {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            causes.push(forbidden(&field_path(&field, "nullable"), why));
        }
    }
}

fn type_text(kind: Type) -> &'static str {
    match kind {
        Type::Object => "object",
        Type::Array => "array",
        Type::String => "string",
        Type::Integer => "integer",
        Type::Number => "number",
        Type::Boolean => "boolean",
        Type::IntOrString | Type::Any => "",
    }
}

fn is_set(fields: &Map<String, Value>, keyword: &str) -> bool {
    fields.get(keyword) == Some(&Value::Bool(true))
}

/// The keyword is there and says something.
fn is_given(fields: &Map<String, Value>, keyword: &str) -> bool {
    fields.get(keyword).is_some_and(|value| {
        *value != Value::Bool(false) && *value != json!("") && *value != json!([])
    })
}
