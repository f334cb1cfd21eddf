//! Validation of a value against a schema, with kube-apiserver's texts.
//!
//! An update may keep an invalid part that it does not change (validation ratcheting), as long as the part can be found
//! again in the old object: through fields, map keys and list-map keys.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::builtin::Presence;
use super::causes::{duplicate, invalid, invalid_as, required, type_name, wrong_type};
use super::constraints::{Constraints, broken_format};
use super::parse::{field_path, index_path};
use super::{ListType, Schema, SchemaRef, Type, cel};
use crate::status::Cause;

/// Checks a defaulted value; `old` is the state that an update replaces. Returns what does not hold.
#[must_use]
pub fn validate(schema: &Schema, value: &Value, old: Option<&Value>) -> Vec<Cause> {
    validate_noting(schema, value, old, &mut Vec::new())
}

/// As [`validate`]; notes what breaks a rule and may stay, because the update does not change it.
#[must_use]
pub fn validate_noting(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    kept: &mut Vec<Cause>,
) -> Vec<Cause> {
    let mut causes = validate_shape(schema, value, old);
    if !schema.has_rules {
        return causes;
    }
    // Rules assume values of the declared types and sizes.
    let blocking = ["Required", "TypeInvalid", "NotSupported", "TooLong", "TooMany"];
    let blocked = |cause: &Cause| {
        cause.reason.strip_prefix("FieldValue").is_some_and(|reason| blocking.contains(&reason))
    };
    if causes.iter().any(blocked) {
        let why = "some validation rules were not checked because the object was invalid; \
                   correct the existing errors to complete validation";
        causes.push(invalid_as("<nil>", "null", why));
    } else {
        cel::validate(schema, value, old, &mut causes, kept);
    }
    causes
}

/// Checks everything but rules.
pub(super) fn validate_shape(schema: &Schema, value: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    walk(schema, "", value, old, &mut causes);
    causes
}

pub(super) fn walk(
    schema: &Schema,
    path: &str,
    value: &Value,
    old: Option<&Value>,
    causes: &mut Vec<Cause>,
) {
    if old == Some(value) || (value.is_null() && schema.nullable) {
        return;
    }
    let expected = mismatch(schema.type_, value);
    if let Some(expected) = expected {
        causes.push(wrong_type(path, expected, type_name(value)));
    }
    if let Some(format) = schema.format.as_deref().and_then(|format| broken_format(format, value)) {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        causes.push(wrong_type(path, format, &text));
    }
    if let Some(constraints) = &schema.constraints {
        constraints.check(path, value, causes);
        combine(constraints, path, value, causes);
    }
    if expected.is_some() {
        return;
    }
    match value {
        Value::Object(fields) => walk_object(schema, path, fields, old, causes),
        Value::Array(items) => walk_list(schema, path, items, old, causes),
        _ => {}
    }
}

/// Returns the name of the expected type when the value is of another.
fn mismatch(expected: Type, value: &Value) -> Option<&'static str> {
    let (holds, name) = match expected {
        Type::Any => (true, ""),
        Type::Object => (value.is_object(), "object"),
        Type::Array => (value.is_array(), "array"),
        Type::String => (value.is_string(), "string"),
        Type::Integer => (is_whole(value), "integer"),
        Type::Number => (value.is_number(), "number"),
        Type::Boolean => (value.is_boolean(), "boolean"),
        Type::IntOrString => {
            (value.is_string() || value.is_i64() || value.is_u64(), "integer,string")
        }
    };
    (!holds).then_some(name)
}

/// A number is whole however it is written.
fn is_whole(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

/// Checks `allOf`, `anyOf`, `oneOf` and `not`. Where none of the alternatives holds, what is wrong with the first is said.
fn combine(constraints: &Constraints, path: &str, value: &Value, causes: &mut Vec<Cause>) {
    let check = |schema: &SchemaRef| {
        let mut causes = Vec::new();
        walk(schema, path, value, None, &mut causes);
        causes
    };
    let fail = |why: &str| invalid("<nil>", &"".into(), &format!("\"{path}\" must {why}"));
    if !constraints.any_of.is_empty() && !constraints.any_of.iter().any(|s| check(s).is_empty()) {
        causes.push(fail("validate at least one schema (anyOf)"));
        causes.extend(check(&constraints.any_of[0]));
    }
    if !constraints.one_of.is_empty() {
        match constraints.one_of.iter().filter(|s| check(s).is_empty()).count() {
            1 => {}
            0 => {
                let why = "validate one and only one schema (oneOf). Found none valid";
                causes.push(fail(why));
                causes.extend(check(&constraints.one_of[0]));
            }
            n => {
                let why = format!(
                    "validate one and only one schema (oneOf). Found {n} valid alternatives"
                );
                causes.push(fail(&why));
            }
        }
    }
    let broken: Vec<Vec<Cause>> =
        constraints.all_of.iter().map(check).filter(|causes| !causes.is_empty()).collect();
    if !broken.is_empty() {
        let none = if broken.len() == constraints.all_of.len() { ". None validated" } else { "" };
        causes.extend(broken.into_iter().flatten());
        causes.push(fail(&format!("validate all the schemas (allOf){none}")));
    }
    if constraints.not.as_ref().is_some_and(|schema| check(schema).is_empty()) {
        causes.push(fail("not validate the schema (not)"));
    }
}

fn walk_object(
    schema: &Schema,
    path: &str,
    fields: &Map<String, Value>,
    old: Option<&Value>,
    causes: &mut Vec<Cause>,
) {
    for name in schema.required.iter().filter(|name| is_missing(schema, fields, name)) {
        causes.push(required(&field_path(path, name), ""));
    }
    if schema.embedded_resource {
        check_embedded(path, fields, causes);
    }
    for (name, child) in fields {
        if is_unset(schema, name, child) {
            continue;
        }
        if let Some(known) = schema.properties.get(name).or(schema.additional_properties.as_ref()) {
            let old = old.and_then(|old| old.get(name));
            walk(known, &field_path(path, name), child, old, causes);
        }
    }
}

/// Nobody has set a field of a built-in kind that holds the null or the empty text that always stands there.
pub(super) fn is_unset(schema: &Schema, name: &str, value: &Value) -> bool {
    match schema.presence.get(name) {
        Some(Presence::Null) => value.is_null(),
        Some(Presence::Text) => value == "",
        Some(Presence::Structure | Presence::Zero | Presence::False | Presence::Dropped) | None => {
            false
        }
    }
}

/// A field of a built-in kind that cannot be absent is missing when it holds nothing.
fn is_missing(schema: &Schema, fields: &Map<String, Value>, name: &str) -> bool {
    let Some(value) = fields.get(name) else { return true };
    // Lists that nobody has set are the business of the rules of a kind.
    is_unset(schema, name, value) && !value.is_null()
}

fn check_embedded(path: &str, fields: &Map<String, Value>, causes: &mut Vec<Cause>) {
    for name in ["apiVersion", "kind"] {
        let text = fields.get(name).and_then(Value::as_str).unwrap_or_default();
        if text.is_empty() {
            causes.push(required(&field_path(path, name), ""));
        } else if name == "apiVersion" && text.matches('/').count() > 1 {
            let why = format!("unexpected GroupVersion string: {text}");
            causes.push(invalid(&field_path(path, name), &text.into(), &why));
        }
    }
}

fn walk_list(
    schema: &Schema,
    path: &str,
    items: &[Value],
    old: Option<&Value>,
    causes: &mut Vec<Cause>,
) {
    check_unique(&schema.list_type, path, items, causes);
    let Some(element) = &schema.items else { return };
    let old = old.and_then(Value::as_array);
    for (index, item) in items.iter().enumerate() {
        let old = old.and_then(|old| counterpart(&schema.list_type, item, old));
        walk(element, &index_path(path, index), item, old, causes);
    }
}

/// Finds the element of the old list that an element of a list-map replaces.
pub(super) fn counterpart<'a>(
    list_type: &ListType,
    item: &Value,
    old: &'a [Value],
) -> Option<&'a Value> {
    let ListType::Map(keys) = list_type else { return None };
    let key = item_key(keys, item)?;
    old.iter().find(|candidate| item_key(keys, candidate).as_ref() == Some(&key))
}

/// Returns the keys of a list-map element with defaults filled in.
fn item_key(keys: &[(String, Option<Value>)], item: &Value) -> Option<Value> {
    let item = item.as_object()?;
    let mut key = Map::new();
    for (name, default) in keys {
        if let Some(value) = item.get(name).or(default.as_ref()) {
            key.insert(name.clone(), value.clone());
        }
    }
    Some(Value::Object(key))
}

fn check_unique(list_type: &ListType, path: &str, items: &[Value], causes: &mut Vec<Cause>) {
    let keys: Vec<Option<Value>> = match list_type {
        ListType::Atomic => return,
        ListType::Set => items.iter().cloned().map(Some).collect(),
        ListType::Map(keys) => items.iter().map(|item| item_key(keys, item)).collect(),
    };
    let mut seen = BTreeSet::new();
    for (index, key) in keys.iter().enumerate() {
        let Some(key) = key else { continue };
        // Keys are sorted, so equal values have equal texts.
        if !seen.insert(key.to_string()) {
            causes.push(duplicate(&index_path(path, index), key));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::schema::{default, prune, structural};

    fn texts(causes: &[Cause]) -> Vec<String> {
        causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    fn property(schema: &Value) -> SchemaRef {
        structural::compile(&json!({"type": "object", "properties": {"f": schema}})).unwrap()
    }

    #[test]
    fn each_keyword_has_the_text_of_kube_apiserver() {
        let path = format!("{}/src/schema/testdata/keywords.json", env!("CARGO_MANIFEST_DIR"));
        let cases: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for case in cases.as_array().unwrap() {
            let got = validate(&property(&case["schema"]), &json!({"f": case["value"]}), None);
            let wants = case["wants"].as_array().unwrap().iter();
            let mut wants: Vec<String> = wants
                .map(|want| format!("{}: {}", want[0].as_str().unwrap(), want[1].as_str().unwrap()))
                .collect();
            let mut got = texts(&got);
            wants.sort();
            got.sort();
            assert_eq!(got, wants, "{case}");
        }
    }

    #[test]
    fn values_that_hold_have_no_causes() {
        for (schema, value) in [
            (json!({"type": "string", "nullable": true}), json!(null)),
            (json!({"x-kubernetes-int-or-string": true}), json!("50%")),
            (
                json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
                json!(5),
            ),
            (json!({"type": "number"}), json!(5)),
            (json!({"x-kubernetes-preserve-unknown-fields": true}), json!([{"a": null}])),
        ] {
            assert_eq!(validate(&property(&schema), &json!({"f": value}), None), []);
        }
    }

    #[test]
    fn an_unchanged_invalid_part_may_stay() {
        let schema = structural::compile(&json!({"type": "object", "properties": {
            "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
                "items": {"type": "object", "required": ["n"], "properties": {
                    "n": {"type": "string"}, "v": {"type": "integer", "maximum": 3}, "w": {"type": "integer"}}}},
            "x": {"type": "integer"},
        }}))
        .unwrap();
        let old = json!({"list": [{"n": "a", "v": 9}], "x": 1});
        let touched = json!({"list": [{"n": "b", "v": 1}, {"n": "a", "v": 9, "w": 1}], "x": 2});
        assert_eq!(validate(&schema, &touched, Some(&old)), []);
        let worse = json!({"list": [{"n": "a", "v": 8}], "x": 1});
        assert_eq!(validate(&schema, &worse, Some(&old)).len(), 1);
        assert_eq!(validate(&schema, &touched, None).len(), 1);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-c]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("spec|metadata|[a-e]", inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn pruning_and_defaulting_settle_and_validation_takes_anything(value in any_json(), old in any_json()) {
            let schema = structural::compile(&json!({"type": "object", "properties": {
                "spec": {"type": "object", "default": {"a": 1}, "properties": {
                    "a": {"type": "integer", "default": 2, "minimum": 0},
                    "b": {"type": "array", "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["a"], "items": {"type": "object", "properties": {
                            "a": {"type": "string", "default": "x"}, "b": {"type": "number"}}}},
                    "c": {"type": "object", "additionalProperties": {"type": "string", "nullable": true}},
                    "d": {"x-kubernetes-int-or-string": true},
                    "e": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                }, "x-kubernetes-validations": [
                    {"rule": "!has(self.a) || self.a < 100"}, {"rule": "self == oldSelf"},
                ]},
            }})).unwrap();
            let mut once = value;
            prune(&schema, &mut once);
            let mut again = once.clone();
            prop_assert!(prune(&schema, &mut again).is_empty());
            prop_assert_eq!(&again, &once);
            default(&schema, &mut once);
            let mut again = once.clone();
            default(&schema, &mut again);
            prop_assert_eq!(&again, &once);
            let _ = validate(&schema, &once, None);
            let _ = validate(&schema, &once, Some(&old));
        }
    }
}
