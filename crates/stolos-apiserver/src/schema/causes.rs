//! Texts and reasons of field errors, worded as kube-apiserver words them because clients and tests match on them.

use serde_json::Value;

use crate::status::Cause;

fn cause(reason: &str, field: &str, message: String) -> Cause {
    Cause { reason: reason.to_owned(), message, field: field.to_owned() }
}

/// `Invalid value: "x": why`.
pub(crate) fn invalid(field: &str, value: &Value, why: &str) -> Cause {
    cause("FieldValueInvalid", field, with_value("Invalid value", value, why))
}

/// Like [`invalid`], for a value that is written in its own way.
pub(crate) fn invalid_as(field: &str, written: &str, why: &str) -> Cause {
    cause("FieldValueInvalid", field, format!("Invalid value: {written}: {why}"))
}

/// Like [`invalid`], for a value of the wrong type; `actual` is the name of its type.
pub(crate) fn wrong_type(field: &str, expected: &str, actual: &str) -> Cause {
    let why = format!("{field} in body must be of type {expected}: \"{actual}\"");
    cause("FieldValueTypeInvalid", field, with_value("Invalid value", &actual.into(), &why))
}

/// `Required value`, with a reason if there is one.
pub(crate) fn required(field: &str, why: &str) -> Cause {
    cause("FieldValueRequired", field, without_value("Required value", why))
}

/// `Forbidden: why`.
pub(crate) fn forbidden(field: &str, why: &str) -> Cause {
    cause("FieldValueForbidden", field, without_value("Forbidden", why))
}

/// `Unsupported value: "x": supported values: "a", "b"`.
pub(crate) fn not_supported<'a>(
    field: &str,
    value: &Value,
    supported: impl IntoIterator<Item = &'a Value>,
) -> Cause {
    let texts: Vec<String> = supported
        .into_iter()
        .map(|value| match value {
            Value::String(text) => format!("{text:?}"),
            other => format!("{:?}", other.to_string()),
        })
        .collect();
    let why = format!("supported values: {}", texts.join(", "));
    cause("FieldValueNotSupported", field, with_value("Unsupported value", value, &why))
}

/// `Not found: "x"`.
pub(crate) fn not_found(field: &str, value: &Value) -> Cause {
    cause("FieldValueNotFound", field, with_value("Not found", value, ""))
}

/// `Duplicate value: {"name":"a"}`.
pub(crate) fn duplicate(field: &str, value: &Value) -> Cause {
    cause("FieldValueDuplicate", field, with_value("Duplicate value", value, ""))
}

/// `Too long: may not be more than 5 bytes`.
pub(crate) fn too_long(field: &str, most: u64) -> Cause {
    let noun = if most == 1 { "byte" } else { "bytes" };
    let why = format!("may not be more than {most} {noun}");
    cause("FieldValueTooLong", field, without_value("Too long", &why))
}

/// `Too many: 5: must have at most 3 items`.
pub(crate) fn too_many(field: &str, actual: usize, most: u64) -> Cause {
    let noun = if most == 1 { "item" } else { "items" };
    let why = format!("must have at most {most} {noun}");
    cause("FieldValueTooMany", field, with_value("Too many", &actual.into(), &why))
}

fn without_value(what: &str, why: &str) -> String {
    if why.is_empty() { what.to_owned() } else { format!("{what}: {why}") }
}

fn with_value(what: &str, value: &Value, why: &str) -> String {
    let value = match value {
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    without_value(&format!("{what}: {value}"), why)
}

/// Names the type of a value as error texts do.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_those_of_kube_apiserver() {
        let two = [json!("a"), json!(2)];
        for (cause, want) in [
            (
                wrong_type("spec.replicas", "integer", "string"),
                r#"Invalid value: "string": spec.replicas in body must be of type integer: "string""#,
            ),
            (required("a", ""), "Required value"),
            (
                not_supported("a", &json!("x"), &two),
                r#"Unsupported value: "x": supported values: "a", "2""#,
            ),
            (too_many("a", 5, 3), "Too many: 5: must have at most 3 items"),
            (too_long("a", 7), "Too long: may not be more than 7 bytes"),
            (duplicate("a", &json!({"name": "a"})), r#"Duplicate value: {"name":"a"}"#),
            (invalid("a", &json!(null), "why"), "Invalid value: null: why"),
            (forbidden("a", "no"), "Forbidden: no"),
        ] {
            assert_eq!(cause.message, want);
        }
    }
}
