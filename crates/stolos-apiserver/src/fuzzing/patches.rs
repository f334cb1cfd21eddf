//! Patches: applying the difference of two objects to the first gives the second, and a failure names the operation.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::input::{Input, documents};
use crate::patch::{self, PatchError};
use crate::schema::{Schema, SchemaRef, builtin};

/// Paths of generated operations; some lead nowhere, some past the end of a list.
const PATHS: [&str; 14] = [
    "", "/", "/a", "/b", "/a/a", "/a/b", "/a/0", "/a/-", "/b/1", "/a~1b", "/m~0n", "/0", "/c/c",
    "x",
];

/// JSON patch never panics, names the operation that failed, and undoes the difference of any two values.
pub(super) fn json_patch(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (before, after) = (input.value(), input.value());
    let difference = json!(json_patch::diff(&before, &after));
    let mut patched = before.clone();
    patch::json(&mut patched, &difference).expect("a difference applies");
    assert_eq!(patched, after, "{difference}");

    let mut operations = Vec::new();
    while !input.is_empty() && operations.len() < 16 {
        operations.push(operation(&mut input));
    }
    names_the_failure(&before, &Value::Array(operations));
    let [object, raw] = documents::<2>(bytes);
    names_the_failure(&object, &raw);
}

fn operation(input: &mut Input<'_>) -> Value {
    let (path, from) = (input.pick(&PATHS), input.pick(&PATHS));
    match input.below(6) {
        0 => json!({ "op": "add", "path": path, "value": input.value() }),
        1 => json!({ "op": "remove", "path": path }),
        2 => json!({ "op": "replace", "path": path, "value": input.value() }),
        3 => json!({ "op": "move", "path": path, "from": from }),
        4 => json!({ "op": "copy", "path": path, "from": from }),
        _ => json!({ "op": "test", "path": path, "value": input.value() }),
    }
}

fn names_the_failure(before: &Value, patch: &Value) {
    let mut patched = before.clone();
    let Err(PatchError::Unprocessable(why)) = patch::json(&mut patched, patch) else { return };
    let failed: usize = why
        .strip_prefix("operation ")
        .and_then(|rest| rest.split(':').next()?.parse().ok())
        .unwrap_or_else(|| panic!("`{why}` names the operation"));
    let operations = patch.as_array().expect("it has operations");
    let upto = |n: usize| patch::json(&mut before.clone(), &Value::Array(operations[..n].to_vec()));
    assert_eq!(upto(failed), Ok(()), "those before applied");
    assert_eq!(upto(failed + 1), Err(PatchError::Unprocessable(why)));
}

static POD: LazyLock<SchemaRef> =
    LazyLock::new(|| builtin::kind("", "v1", "Pod").expect("pods are built in"));

/// Merge patch and strategic merge patch never panic; the difference of two objects, written as kubectl writes it, turns
/// the first into the second.
pub(super) fn merge_patch(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (before, after) = (pod(&mut input), pod(&mut input));
    let mut merged = before.clone();
    let difference = merge_difference(&before, &after);
    patch::merge(&mut merged, &difference);
    assert_eq!(merged, after, "{difference}");

    let difference = strategic_difference(&POD, &before, &after);
    let merged = patch::strategic(&POD, &before, &difference);
    assert_eq!(merged.as_ref(), Ok(&after), "{before} {difference}");

    let [object, raw] = documents::<2>(bytes);
    patch::merge(&mut object.clone(), &raw);
    let _ = patch::strategic(&POD, &object, &raw);
    let mut generated = [input.value(), input.value()];
    let _ = patch::strategic(&POD, &generated[0], &generated[1]);
    let [first, second] = &mut generated;
    patch::merge(first, second);
}

/// Makes a pod with every sort of list: merged by a key, merged by value, with kept keys, and replaced.
fn pod(input: &mut Input<'_>) -> Value {
    let mut pod = json!({ "metadata": { "name": "p" }, "spec": {} });
    if input.flag() {
        pod["metadata"]["finalizers"] = names(input);
    }
    if input.flag() {
        pod["metadata"]["labels"] = labels(input);
    }
    if input.flag() {
        pod["spec"]["containers"] = keyed(input, "name", |input, container| {
            if input.flag() {
                container.insert("image".to_owned(), json!(input.pick(&["i", "j"])));
            }
            if input.flag() {
                container.insert("args".to_owned(), names(input));
            }
            if input.flag() {
                let env = keyed(input, "name", |input, variable| {
                    variable.insert("value".to_owned(), json!(input.pick(&["1", "2"])));
                });
                container.insert("env".to_owned(), env);
            }
        });
    }
    if input.flag() {
        pod["spec"]["volumes"] = keyed(input, "name", |input, volume| {
            match input.below(3) {
                0 => volume.insert("emptyDir".to_owned(), json!({})),
                1 => volume
                    .insert("hostPath".to_owned(), json!({ "path": input.pick(&["/", "/x"]) })),
                _ => None,
            };
        });
    }
    if input.flag() {
        pod["spec"]["nodeSelector"] = labels(input);
    }
    if input.flag() {
        pod["spec"]["tolerations"] = json!([{ "key": input.pick(&["a", "b"]) }]);
    }
    pod
}

fn names(input: &mut Input<'_>) -> Value {
    let mut names = ["a", "b", "c"].to_vec();
    names.rotate_left(input.below(3));
    names.truncate(input.below(4));
    json!(names)
}

fn labels(input: &mut Input<'_>) -> Value {
    let mut labels = Map::new();
    for key in ["a", "b"] {
        if input.flag() {
            labels.insert(key.to_owned(), json!(input.pick(&["1", "2"])));
        }
    }
    labels.into()
}

/// Makes a list of objects with unique keys.
fn keyed(
    input: &mut Input<'_>,
    key: &str,
    fill: impl Fn(&mut Input<'_>, &mut Map<String, Value>),
) -> Value {
    let names = names(input);
    let item = |name: &Value| {
        let mut item = Map::from_iter([(key.to_owned(), name.clone())]);
        fill(input, &mut item);
        Value::Object(item)
    };
    names.as_array().expect("a list").iter().map(item).collect()
}

/// The merge patch from one object to another; neither holds nulls.
fn merge_difference(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return after.clone();
    };
    let mut patch = Map::new();
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in after {
        match before.get(key) {
            Some(old) if old == value => {}
            Some(old) => {
                patch.insert(key.clone(), merge_difference(old, value));
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    patch.into()
}

/// The strategic merge patch from one object to another, in the manner of kubectl.
fn strategic_difference(schema: &Schema, before: &Value, after: &Value) -> Value {
    let empty = Map::new();
    let before = before.as_object().unwrap_or(&empty);
    let after = after.as_object().unwrap_or(&empty);
    let mut patch = Map::new();
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, new) in after {
        let Some(old) = before.get(key).filter(|old| *old != new) else {
            if !before.contains_key(key) {
                patch.insert(key.clone(), new.clone());
            }
            continue;
        };
        let field = schema.properties.get(key).or(schema.additional_properties.as_ref());
        match (field, old, new) {
            (Some(field), Value::Array(old), Value::Array(new)) if field.patch.merge => {
                list_difference(field, key, old, new, &mut patch);
            }
            (Some(field), Value::Object(_), Value::Object(_)) => {
                patch.insert(key.clone(), strategic_difference(field, old, new));
            }
            _ => {
                patch.insert(key.clone(), new.clone());
            }
        }
    }
    patch.into()
}

fn list_difference(
    field: &Schema,
    name: &str,
    old: &[Value],
    new: &[Value],
    patch: &mut Map<String, Value>,
) {
    let Some(key) = field.patch.merge_key.as_deref() else {
        let gone: Vec<&Value> = old.iter().filter(|item| !new.contains(item)).collect();
        let added: Vec<&Value> = new.iter().filter(|item| !old.contains(item)).collect();
        if !gone.is_empty() {
            patch.insert(format!("$deleteFromPrimitiveList/{name}"), json!(gone));
        }
        patch.insert(format!("$setElementOrder/{name}"), json!(new));
        if !added.is_empty() {
            patch.insert(name.to_owned(), json!(added));
        }
        return;
    };
    let find = |list: &[Value], item: &Value| list.iter().find(|i| i[key] == item[key]).cloned();
    let mut items: Vec<Value> = Vec::new();
    for item in new {
        let mut change = match find(old, item) {
            Some(old) if old == *item => continue,
            Some(old) => strategic_difference(field.items.as_ref().expect("a list"), &old, item),
            None => item.clone(),
        };
        change[key] = item[key].clone();
        if field.patch.retain_keys {
            let kept: Vec<&String> = item.as_object().expect("an object").keys().collect();
            change["$retainKeys"] = json!(kept);
        }
        items.push(change);
    }
    for item in old.iter().filter(|item| find(new, item).is_none()) {
        items.push(json!({ "$patch": "delete", key: item[key] }));
    }
    let order: Vec<Value> = new.iter().map(|item| json!({ key: item[key] })).collect();
    patch.insert(format!("$setElementOrder/{name}"), json!(order));
    if !items.is_empty() {
        patch.insert(name.to_owned(), json!(items));
    }
}
