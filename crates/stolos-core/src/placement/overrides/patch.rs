//! JSON patches with a good word when they do not fit.

use json_patch::jsonptr::{Pointer, PointerBuf};
use json_patch::{AddOperation, PatchOperation, RemoveOperation, ReplaceOperation};
use serde_json::Value;
use stolos_api::placement::{JsonPatchOperator, JsonPatchOverride};

/// Changes an object.
///
/// # Errors
/// What is wrong with the operation, for this object.
pub(super) fn apply(object: &mut Value, change: &JsonPatchOverride) -> Result<(), String> {
    let JsonPatchOverride { op, path, value } = change;
    let pointer = PointerBuf::parse(path.as_str())
        .map_err(|_| format!("path `{path}` is not a JSON pointer such as `/spec/replicas`"))?;
    let value = || value.clone().unwrap_or(Value::Null);
    let operation = match op {
        JsonPatchOperator::Add => {
            PatchOperation::Add(AddOperation { path: pointer.clone(), value: value() })
        }
        JsonPatchOperator::Remove => {
            PatchOperation::Remove(RemoveOperation { path: pointer.clone() })
        }
        JsonPatchOperator::Replace => {
            PatchOperation::Replace(ReplaceOperation { path: pointer.clone(), value: value() })
        }
    };
    let verb = match op {
        JsonPatchOperator::Add => "add",
        JsonPatchOperator::Remove => "remove",
        JsonPatchOperator::Replace => "replace",
    };
    json_patch::patch(object, &[operation])
        .map_err(|_| format!("cannot {verb} `{path}`: {}", explain(object, &pointer, *op)))
}

/// Returns why an operation does not fit: the first step of its path that leads nowhere.
fn explain(object: &Value, path: &Pointer, op: JsonPatchOperator) -> String {
    let mut here = object;
    let mut walked = PointerBuf::new();
    let tokens: Vec<_> = path.tokens().collect();
    for (i, token) in tokens.iter().enumerate() {
        let is_last = i + 1 == tokens.len();
        let (next, misfit) = match here {
            Value::Object(fields) => (fields.get(token.decoded().as_ref()), None),
            Value::Array(items) => {
                let index: Option<usize> = token.decoded().parse().ok();
                let next = index.and_then(|index| items.get(index));
                let hint = "a position in it is a number, or `-` to add at the end";
                (next, Some(format!("`{walked}` is a list of {} items; {hint}", items.len())))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                return format!("`{walked}` is neither an object nor a list");
            }
        };
        walked.push_back(token.clone());
        match (next, misfit) {
            (Some(next), _) => here = next,
            (None, Some(misfit)) => return misfit,
            (None, None) if is_last || op != JsonPatchOperator::Add => {
                return format!("`{walked}` does not exist");
            }
            (None, None) => {
                return format!("`{walked}` does not exist; add it with an operation before");
            }
        }
    }
    "it is the whole object".to_owned()
}
