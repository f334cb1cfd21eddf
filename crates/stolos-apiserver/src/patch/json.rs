//! JSON patch, RFC 6902.

use json_patch::PatchOperation;
use serde::Deserialize;
use serde_json::Value;

use super::PatchError;

/// Operations that one patch may have, as in kube-apiserver.
pub const MAX_OPERATIONS: usize = 10_000;

/// Bytes that all `copy` operations of a patch may add: the size of the largest request. Without a bound a short patch
/// doubles the object with every operation.
const MAX_COPIED_BYTES: usize = 3 << 20;

/// Applies the operations in order. After an error the object is of no use: a `move` that found no place has lost its value.
///
/// # Errors
/// [`PatchError::Malformed`] when the patch is not a list of at most [`MAX_OPERATIONS`] operations,
/// [`PatchError::Unprocessable`] when a path is missing, a `test` fails or copies grow the object too much.
pub fn json(object: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let n_operations = patch.as_array().map_or(0, Vec::len);
    if n_operations > MAX_OPERATIONS {
        return Err(PatchError::Malformed(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {n_operations}"
        )));
    }
    let operations = Vec::<PatchOperation>::deserialize(&with_values(patch))
        .map_err(|error| PatchError::Malformed(format!("error decoding patch: {error}")))?;
    let mut copied = 0;
    for (i, operation) in operations.iter().enumerate() {
        copied += copied_bytes(object, operation);
        if copied > MAX_COPIED_BYTES {
            let why = format!("operation {i}: copies add more than {MAX_COPIED_BYTES} bytes");
            return Err(PatchError::Unprocessable(why));
        }
        apply(object, operation)
            .map_err(|error| PatchError::Unprocessable(format!("operation {i}: {error}")))?;
    }
    Ok(())
}

/// An operation without a value sets null, as in kube-apiserver.
fn with_values(patch: &Value) -> Value {
    let mut patch = patch.clone();
    for operation in patch.as_array_mut().into_iter().flatten() {
        let sets = matches!(operation["op"].as_str(), Some("add" | "replace"));
        if let Some(fields) = operation.as_object_mut().filter(|_| sets) {
            fields.entry("value").or_insert(Value::Null);
        }
    }
    patch
}

fn apply(object: &mut Value, operation: &PatchOperation) -> Result<(), String> {
    if let PatchOperation::Test(test) = operation {
        // Clients ask for an absent field with `"value": null`, which kube-apiserver accepts.
        let found = test.path.resolve(object).unwrap_or(&Value::Null);
        return if *found == test.value {
            Ok(())
        } else {
            Err(format!("testing path {} failed", test.path))
        };
    }
    json_patch::patch_unsafe(object, std::slice::from_ref(operation))
        .map_err(|error| format!("{} at {}", error.kind, error.path))
}

fn copied_bytes(object: &Value, operation: &PatchOperation) -> usize {
    match operation {
        PatchOperation::Copy(copy) => copy.from.resolve(object).map_or(0, size),
        _ => 0,
    }
}

/// Estimates the bytes of a value as JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| size(item) + 1).sum::<usize>(),
        Value::Object(fields) => {
            2 + fields.iter().map(|(key, value)| key.len() + 4 + size(value)).sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json as value;

    use super::*;

    fn patched(mut object: Value, patch: &Value) -> Result<Value, PatchError> {
        json(&mut object, patch).map(|()| object)
    }

    #[test]
    fn operations_apply_in_order() {
        let patch = value!([
            { "op": "test", "path": "/a", "value": 1 },
            { "op": "test", "path": "/missing", "value": null },
            { "op": "replace", "path": "/a", "value": 2 },
            { "op": "add", "path": "/list/-", "value": "z" },
            { "op": "add", "path": "/list/0", "value": "y" },
            { "op": "copy", "from": "/a", "path": "/b" },
            { "op": "move", "from": "/a", "path": "/c~1d" },
            { "op": "remove", "path": "/list/1" },
        ]);
        let object = patched(value!({ "a": 1, "list": ["x"] }), &patch);
        assert_eq!(object, Ok(value!({ "b": 2, "c/d": 2, "list": ["y", "z"] })));
    }

    #[test]
    fn what_does_not_fit_the_object_is_told_from_what_is_no_patch() {
        let malformed =
            |patch| matches!(patched(value!({ "a": 1 }), &patch), Err(PatchError::Malformed(_)));
        assert!(malformed(value!({ "op": "remove", "path": "/a" })));
        assert!(malformed(value!([{ "op": "frobnicate", "path": "/a" }])));
        assert!(malformed(value!([{ "op": "add", "path": "no-slash", "value": 1 }])));
        assert!(malformed(value!([{ "op": "remove" }])));
        let remove = value!({ "op": "test", "path": "/a", "value": 1 });
        assert!(malformed(Value::Array(vec![remove; MAX_OPERATIONS + 1])));

        let unfit = |patch| {
            matches!(patched(value!({ "a": 1 }), &patch), Err(PatchError::Unprocessable(_)))
        };
        assert!(unfit(value!([{ "op": "test", "path": "/a", "value": 2 }])));
        assert!(unfit(value!([{ "op": "remove", "path": "/b" }])));
        assert!(unfit(value!([{ "op": "replace", "path": "/b", "value": 1 }])));
        assert!(unfit(value!([{ "op": "add", "path": "/b/c", "value": 1 }])));
    }

    #[test]
    fn an_error_names_the_operation_that_failed() {
        for failing in [
            value!({ "op": "move", "from": "/b", "path": "/a/b" }),
            value!({ "op": "replace", "path": "/c", "value": 1 }),
        ] {
            let patch = value!([{ "op": "add", "path": "/d", "value": 2 }, failing]);
            let error = patched(value!({ "a": "b", "b": 1 }), &patch).unwrap_err();
            assert!(error.to_string().starts_with("operation 1: "), "{error}");
        }
    }

    #[test]
    fn copies_cannot_blow_up_the_object() {
        let double = value!({ "op": "copy", "from": "/list", "path": "/list/-" });
        let patch = Value::Array(vec![double; 64]);
        let refused = patched(value!({ "list": ["some text"] }), &patch);
        assert!(matches!(refused, Err(PatchError::Unprocessable(_))));
    }
}
