//! The rules that make a schema structural.

use serde_json::{Map, Value, json};

use super::Place;
use crate::schema::causes::{forbidden, invalid, not_supported, required};
use crate::schema::parse::field_path;
use crate::schema::{Schema, Type};
use crate::status::Cause;

/// Keywords of JSON schema that CustomResourceDefinitions may not use.
const UNSUPPORTED: &[&str] = &[
    "$ref",
    "$schema",
    "additionalItems",
    "definitions",
    "dependencies",
    "id",
    "patternProperties",
];

/// Keywords that describe a value's shape, which value checks may not do.
const SHAPE: &[&str] = &[
    "additionalProperties",
    "default",
    "description",
    "nullable",
    "title",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
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
    if fields.get("additionalProperties") == Some(&Value::Bool(false)) {
        causes.push(forbidden(
            &at("additionalProperties"),
            "additionalProperties cannot be set to false",
        ));
    }
    if place.checks_only {
        check_value_checks(fields, place, causes);
        return;
    }
    check_type(fields, place, causes);
    check_alternatives(fields, fields, path, causes);
    let is_object = fields.get("type").is_some_and(|kind| kind == "object");
    if is_set(fields, "x-kubernetes-embedded-resource") {
        if !is_object {
            causes.push(required(
                &at("type"),
                "must be object if x-kubernetes-embedded-resource is true",
            ));
        }
        if !fields.contains_key("properties")
            && !is_set(fields, "x-kubernetes-preserve-unknown-fields")
        {
            let why = "must not be empty if x-kubernetes-embedded-resource is true without \
                       x-kubernetes-preserve-unknown-fields";
            causes.push(required(&at("properties"), why));
        }
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
    check_enumerated(fields, "x-kubernetes-list-type", &["atomic", "set", "map"], path, causes);
    check_enumerated(fields, "x-kubernetes-map-type", &["atomic", "granular"], path, causes);
    if fields.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        let why = "must be true or undefined";
        causes.push(invalid(&at("x-kubernetes-preserve-unknown-fields"), &false.into(), why));
    }
}

fn check_type(fields: &Map<String, Value>, place: &Place, causes: &mut Vec<Cause>) {
    const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
    let field = field_path(&place.path, "type");
    let int_or_string = is_set(fields, "x-kubernetes-int-or-string");
    let preserved = is_set(fields, "x-kubernetes-preserve-unknown-fields");
    match fields.get("type").and_then(Value::as_str).unwrap_or_default() {
        "" if int_or_string => {}
        "" if preserved && place.of != "the root" => {}
        "" => {
            let preposition = if place.of == "the root" { "at" } else { "for" };
            causes.push(required(&field, &format!("must not be empty {preposition} {}", place.of)));
        }
        kind if int_or_string => {
            let why = "must be empty if x-kubernetes-int-or-string is true";
            causes.push(invalid(&field, &kind.into(), why));
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
    for keyword in SHAPE.iter().filter(|keyword| is_given(fields, keyword)) {
        let why = match fields.get(*keyword) {
            Some(Value::Bool(_)) => "must be false to be structural",
            Some(Value::Object(_) | Value::Array(_)) => "must be undefined to be structural",
            _ => "must be empty to be structural",
        };
        causes.push(forbidden(&field_path(&place.path, keyword), why));
    }
    let type_allowed = place.of == INT_OR_STRING;
    if fields.contains_key("type") && !type_allowed {
        causes.push(forbidden(&field_path(&place.path, "type"), "must be empty to be structural"));
    }
}

/// Marks the alternatives of an int-or-string, which alone may name types.
pub(super) const INT_OR_STRING: &str = "int-or-string";

/// Fields that value checks name must be declared outside of them.
fn check_alternatives(
    outer: &Map<String, Value>,
    fields: &Map<String, Value>,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    let lists = ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|keyword| {
        let list = fields.get(keyword).and_then(Value::as_array).into_iter().flatten().enumerate();
        list.map(move |(index, node)| (format!(".{keyword}[{index}]"), node))
    });
    let not = fields.get("not").map(|node| (".not".to_owned(), node));
    for (step, node) in lists.chain(not) {
        if let Some(inner) = node.as_object() {
            let path = format!("{path}{step}");
            check_declared(outer, inner, &path, causes);
            check_alternatives(outer, inner, &path, causes);
        }
    }
}

fn check_declared(
    outer: &Map<String, Value>,
    inner: &Map<String, Value>,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    let properties = inner.get("properties").and_then(Value::as_object).into_iter().flatten();
    for (name, node) in properties {
        let path = format!("{path}.properties[{name}]");
        let declared = outer.get("properties").and_then(|properties| properties.get(name));
        check_pair(declared.or_else(|| outer.get("additionalProperties")), node, &path, causes);
    }
    if let Some(node) = inner.get("items") {
        check_pair(outer.get("items"), node, &format!("{path}.items"), causes);
    }
}

fn check_pair(declared: Option<&Value>, node: &Value, path: &str, causes: &mut Vec<Cause>) {
    match (declared.and_then(Value::as_object), node.as_object()) {
        (None, _) => {
            causes.push(required(path, "must be declared outside of value checks to be structural"))
        }
        (Some(outer), Some(inner)) => {
            check_declared(outer, inner, path, causes);
            check_alternatives(outer, inner, path, causes);
        }
        (Some(_), None) => {}
    }
}

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
pub(super) fn check_set(schema: &Schema, path: &str, causes: &mut Vec<Cause>) {
    let Some(items) = &schema.items else { return };
    let items_path = format!("{path}.items");
    if items.nullable {
        causes.push(forbidden(
            &field_path(&items_path, "nullable"),
            "cannot be nullable when x-kubernetes-list-type is set",
        ));
    }
    match items.type_ {
        Type::Object if !items.atomic => {
            let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
            causes.push(invalid(
                &field_path(&items_path, "x-kubernetes-map-type"),
                &"granular".into(),
                why,
            ));
        }
        _ => {}
    }
}

/// Keys of a list-map must be scalars that every element has.
pub(super) fn check_map(schema: &Schema, keys: &[String], path: &str, causes: &mut Vec<Cause>) {
    let keys_path = field_path(path, "x-kubernetes-list-map-keys");
    if keys.is_empty() {
        causes.push(required(&keys_path, "must not be empty if x-kubernetes-list-type is map"));
    }
    let Some(items) = &schema.items else { return };
    if items.type_ != Type::Object {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        causes.push(invalid(&format!("{path}.items.type"), &type_text(items.type_).into(), why));
        return;
    }
    for (index, key) in keys.iter().enumerate() {
        let field = format!("{path}.items.properties[{key}]");
        let Some(node) = items.properties.get(key) else {
            let why = "entries must all be names of item properties";
            causes.push(invalid(&format!("{keys_path}[{index}]"), &key.as_str().into(), why));
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
    fields.get(keyword).is_some_and(|value| *value != Value::Bool(false) && *value != json!(""))
}
