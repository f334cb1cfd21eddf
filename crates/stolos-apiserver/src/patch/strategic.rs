//! Strategic merge patch: merge patch that knows how lists of built-in kinds merge.
//!
//! Patch and schema are walked together. Directives are keys of the patch that begin with `$`.

use serde_json::{Map, Value};

use super::PatchError;
use crate::schema::{Schema, SchemaRef};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ELEMENT_ORDER: &str = "$setElementOrder/";
const DELETE_FROM_PRIMITIVE_LIST: &str = "$deleteFromPrimitiveList/";

/// Returns `current` with `patch` applied.
///
/// # Errors
/// [`PatchError::Malformed`] when the patch is no object or a directive is wrong, [`PatchError::Unprocessable`] when an
/// element has no merge key.
pub fn strategic(schema: &SchemaRef, current: &Value, patch: &Value) -> Result<Value, PatchError> {
    let Value::Object(patch) = patch else { return malformed("the patch must be an object") };
    let current = current.as_object().cloned().unwrap_or_default();
    merge_map(Some(schema), current, patch).map(Value::Object)
}

fn malformed<T>(why: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError::Malformed(why.into()))
}

type Fields = Map<String, Value>;

fn merge_map(
    schema: Option<&Schema>,
    mut current: Fields,
    patch: &Fields,
) -> Result<Fields, PatchError> {
    match patch.get(PATCH).map(Value::as_str) {
        None | Some(Some("merge")) => {}
        Some(Some("replace")) => return Ok(fresh_map(patch)),
        Some(Some("delete")) => return Ok(Fields::new()),
        Some(_) => return malformed(format!("unknown patch type {} in a map", patch[PATCH])),
    }
    if let Some(retained) = patch.get(RETAIN_KEYS) {
        retain_keys(&mut current, patch, retained)?;
    }
    let orders: Vec<Order<'_>> = orders(schema, &current, patch)?;
    for (key, listed) in patch {
        if let Some(field) = key.strip_prefix(DELETE_FROM_PRIMITIVE_LIST) {
            delete_from_primitive_list(&mut current, field, listed)?;
        }
    }
    for (key, change) in patch.iter().filter(|(key, _)| !is_directive(key)) {
        merge_field(field_schema(schema, key), &mut current, key, change)?;
    }
    for order in orders {
        order.arrange(&mut current);
    }
    Ok(current)
}

fn merge_field(
    schema: Option<&Schema>,
    current: &mut Fields,
    key: &str,
    change: &Value,
) -> Result<(), PatchError> {
    let merged = match (current.remove(key), change) {
        (_, Value::Null) => None,
        (Some(Value::Object(old)), Value::Object(change)) if !replaces(schema) => {
            Some(Value::Object(merge_map(schema, old, change)?))
        }
        (Some(Value::Array(old)), Value::Array(change)) if merges(schema) => {
            Some(Value::Array(merge_in_order(schema, old, change)?))
        }
        (_, change) => fresh(change),
    };
    if let Some(merged) = merged {
        current.insert(key.to_owned(), merged);
    }
    Ok(())
}

fn field_schema<'a>(schema: Option<&'a Schema>, key: &str) -> Option<&'a Schema> {
    let schema = schema?;
    schema.properties.get(key).or(schema.additional_properties.as_ref()).map(|field| &**field)
}

fn replaces(schema: Option<&Schema>) -> bool {
    schema.is_some_and(|schema| schema.patch.replace)
}

fn merges(schema: Option<&Schema>) -> bool {
    schema.is_some_and(|schema| schema.patch.merge)
}

fn merge_key(schema: Option<&Schema>) -> Option<&str> {
    schema.and_then(|schema| schema.patch.merge_key.as_deref())
}

fn is_directive(key: &str) -> bool {
    key == PATCH
        || key == RETAIN_KEYS
        || key.starts_with(SET_ELEMENT_ORDER)
        || key.starts_with(DELETE_FROM_PRIMITIVE_LIST)
}

/// Drops the fields that the directive does not list; the patch may only set those that it lists.
fn retain_keys(current: &mut Fields, patch: &Fields, retained: &Value) -> Result<(), PatchError> {
    let Some(retained) = retained.as_array() else {
        return malformed(format!("{RETAIN_KEYS} must be a list of field names"));
    };
    let listed = |key: &str| retained.iter().any(|name| name == key);
    let stray =
        patch.iter().find(|(key, value)| !is_directive(key) && !value.is_null() && !listed(key));
    if let Some((key, _)) = stray {
        return malformed(format!("{RETAIN_KEYS} does not list `{key}`, which the patch sets"));
    }
    current.retain(|key, _| listed(key));
    Ok(())
}

fn delete_from_primitive_list(
    current: &mut Fields,
    field: &str,
    listed: &Value,
) -> Result<(), PatchError> {
    let Some(listed) = listed.as_array() else {
        return malformed(format!("{DELETE_FROM_PRIMITIVE_LIST}{field} must be a list"));
    };
    if let Some(Value::Array(items)) = current.get_mut(field) {
        items.retain(|item| !listed.contains(item));
    }
    Ok(())
}

/// Merges a list and orders it. Unless `$setElementOrder` says otherwise the patch itself is the wished order, which puts
/// new elements before those that it does not name.
fn merge_in_order(
    schema: Option<&Schema>,
    current: Vec<Value>,
    patch: &[Value],
) -> Result<Vec<Value>, PatchError> {
    let merge_key = merge_key(schema);
    let before: Vec<Value> = current.iter().map(|item| identity(item, merge_key).clone()).collect();
    let wished: Vec<&Value> = patch
        .iter()
        .filter(|item| item.get(PATCH).is_none())
        .map(|item| identity(item, merge_key))
        .collect();
    let merged = merge_list(schema, current, patch)?;
    Ok(arranged(merged, merge_key, &wished, &before))
}

fn merge_list(
    schema: Option<&Schema>,
    mut current: Vec<Value>,
    patch: &[Value],
) -> Result<Vec<Value>, PatchError> {
    let Some(merge_key) = merge_key(schema) else {
        for item in patch {
            if !current.contains(item) {
                current.push(item.clone());
            }
        }
        return Ok(current);
    };
    if patch.iter().any(|item| item.get(PATCH).is_some_and(|kind| kind == "replace")) {
        return Ok(patch.iter().filter_map(fresh_item).collect());
    }
    let item_schema = schema.and_then(|schema| schema.items.as_deref());
    for item in patch {
        let key = key_of(item, merge_key)?;
        let change = item.as_object().expect("a value with a merge key is an object");
        let same = |item: &Value| item.get(merge_key) == Some(key);
        match change.get(PATCH).map(Value::as_str) {
            Some(Some("delete")) => current.retain(|item| !same(item)),
            None | Some(Some("merge")) => match current.iter_mut().find(|item| same(item)) {
                Some(found) => {
                    let old = found.as_object_mut().map(std::mem::take).unwrap_or_default();
                    *found = Value::Object(merge_map(item_schema, old, change)?);
                }
                None => current.extend(fresh_item(item)),
            },
            Some(_) => return malformed(format!("unknown patch type {} in a list", change[PATCH])),
        }
    }
    Ok(current)
}

fn key_of<'a>(item: &'a Value, merge_key: &str) -> Result<&'a Value, PatchError> {
    item.get(merge_key).ok_or_else(|| {
        PatchError::Unprocessable(format!(
            "map: {item} does not contain declared merge key: {merge_key}"
        ))
    })
}

/// Returns a value of the patch that has no counterpart: without directives, deletions and nulls.
fn fresh(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(fields) if fields.get(PATCH).is_some_and(|kind| kind == "delete") => None,
        Value::Object(fields) => Some(Value::Object(fresh_map(fields))),
        Value::Array(items) => Some(Value::Array(items.iter().filter_map(fresh_item).collect())),
        scalar => Some(scalar.clone()),
    }
}

fn fresh_map(fields: &Fields) -> Fields {
    let plain = fields.iter().filter(|(key, _)| !is_directive(key));
    plain.filter_map(|(key, value)| Some((key.clone(), fresh(value)?))).collect()
}

/// Returns a list element without directives; one that only carries a directive is no element.
fn fresh_item(item: &Value) -> Option<Value> {
    let only_directive =
        item.as_object().is_some_and(|fields| fields.len() == 1 && fields.contains_key(PATCH));
    if only_directive { None } else { fresh(item) }
}

/// The wished order of one list, with the order it had before the patch.
struct Order<'a> {
    field: &'a str,
    merge_key: Option<&'a str>,
    wished: Vec<&'a Value>,
    before: Vec<Value>,
}

fn orders<'a>(
    schema: Option<&'a Schema>,
    current: &Fields,
    patch: &'a Fields,
) -> Result<Vec<Order<'a>>, PatchError> {
    let mut orders = Vec::new();
    for (key, listed) in patch {
        let Some(field) = key.strip_prefix(SET_ELEMENT_ORDER) else { continue };
        let Some(listed) = listed.as_array() else {
            return malformed(format!("{key} must be a list"));
        };
        let merge_key = merge_key(field_schema(schema, field));
        let wished = listed.iter().map(|item| identity(item, merge_key)).collect::<Vec<_>>();
        let changes = patch.get(field).and_then(Value::as_array).into_iter().flatten();
        let mut set = changes.filter(|item| item.get(PATCH).is_none());
        if let Some(stray) = set.find(|item| !wished.contains(&identity(item, merge_key))) {
            return malformed(format!("{key} does not list {stray}, which the patch sets"));
        }
        let before = current.get(field).and_then(Value::as_array).into_iter().flatten();
        let before = before.map(|item| identity(item, merge_key).clone()).collect();
        orders.push(Order { field, merge_key, wished, before });
    }
    Ok(orders)
}

/// Returns what tells an element from others: the value of its merge key, or the element.
fn identity<'a>(item: &'a Value, merge_key: Option<&str>) -> &'a Value {
    merge_key.and_then(|key| item.get(key)).unwrap_or(item)
}

impl Order<'_> {
    fn arrange(&self, current: &mut Fields) {
        let Some(Value::Array(items)) = current.get_mut(self.field) else { return };
        *items = arranged(std::mem::take(items), self.merge_key, &self.wished, &self.before);
    }
}

/// Orders the elements of the wished order by it. Others keep their order and stand before the next such element that
/// they stood before.
fn arranged(
    items: Vec<Value>,
    merge_key: Option<&str>,
    wished: &[&Value],
    before: &[Value],
) -> Vec<Value> {
    let place = |item: &Value| wished.iter().position(|wish| *wish == identity(item, merge_key));
    let stood = |item: &Value| before.iter().position(|old| old == identity(item, merge_key));
    let (mut listed, others): (Vec<_>, Vec<_>) =
        items.into_iter().partition(|item| place(item).is_some());
    listed.sort_by_key(place);
    let mut listed = listed.into_iter().peekable();
    let mut arranged = Vec::new();
    for other in others {
        while let Some(next) = listed.peek() {
            if matches!((stood(&other), stood(next)), (Some(other), Some(next)) if other < next) {
                break;
            }
            arranged.extend(listed.next());
        }
        arranged.push(other);
    }
    arranged.extend(listed);
    arranged
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::{PatchStrategy, Type};

    fn list(merge_key: Option<&str>, items: Schema) -> Schema {
        let patch = PatchStrategy {
            merge: true,
            merge_key: merge_key.map(str::to_owned),
            ..PatchStrategy::default()
        };
        Schema {
            type_: Type::Array,
            items: Some(SchemaRef::new(items)),
            patch,
            ..Schema::default()
        }
    }

    fn object<const N: usize>(fields: [(&str, Schema); N]) -> Schema {
        let properties = fields
            .into_iter()
            .map(|(key, schema)| (key.to_owned(), SchemaRef::new(schema)))
            .collect();
        Schema { type_: Type::Object, properties, ..Schema::default() }
    }

    /// A pod-like kind: `containers` by name with `ports` by containerPort, `finalizers` as a union, `args` atomic.
    fn pod() -> SchemaRef {
        let ports = list(Some("containerPort"), object([]));
        let containers = list(Some("name"), object([("ports", ports)]));
        SchemaRef::new(object([
            ("containers", containers),
            ("finalizers", list(None, Schema::default())),
            ("strategy", object([])),
        ]))
    }

    fn patched(current: &Value, patch: &Value) -> Result<Value, PatchError> {
        strategic(&pod(), current, patch)
    }

    #[test]
    fn lists_merge_by_key_as_unions_or_not_at_all() {
        for (name, current, patch, want) in [
            (
                "by key, nested",
                json!({"containers": [{"name": "a", "image": "1", "ports": [{"containerPort": 80}]}, {"name": "b"}]}),
                json!({"containers": [
                    {"name": "c", "image": null},
                    {"name": "a", "ports": [{"containerPort": 80, "name": "web"}, {"containerPort": 81}]},
                ]}),
                json!({"containers": [
                    {"name": "c"},
                    {"name": "a", "image": "1", "ports": [{"containerPort": 80, "name": "web"}, {"containerPort": 81}]},
                    {"name": "b"},
                ]}),
            ),
            (
                "union",
                json!({"finalizers": ["a", "b"]}),
                json!({"finalizers": ["b", "c"]}),
                json!({"finalizers": ["a", "b", "c"]}),
            ),
            (
                "new elements stand before those that the patch does not name",
                json!({"containers": [{"name": "a"}], "finalizers": ["a"]}),
                json!({"containers": [{"name": "b"}], "finalizers": ["b"]}),
                json!({"containers": [{"name": "b"}, {"name": "a"}], "finalizers": ["b", "a"]}),
            ),
            ("atomic", json!({"args": ["a", "b"]}), json!({"args": ["c"]}), json!({"args": ["c"]})),
            (
                "maps merge and null deletes",
                json!({"strategy": {"type": "x", "max": 1}, "other": 1}),
                json!({"strategy": {"max": null, "min": 2}, "other": null}),
                json!({"strategy": {"type": "x", "min": 2}}),
            ),
        ] {
            assert_eq!(patched(&current, &patch), Ok(want), "{name}");
        }
    }

    #[test]
    fn directives_replace_delete_and_retain() {
        let current = json!({
            "containers": [{"name": "a"}, {"name": "b"}],
            "finalizers": ["x", "y"],
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"max": 1}},
        });
        for (name, patch, field, want) in [
            (
                "delete an element",
                json!({"containers": [{"name": "a", "$patch": "delete"}]}),
                "containers",
                json!([{"name": "b"}]),
            ),
            (
                "replace a list",
                json!({"containers": [{"$patch": "replace"}, {"name": "z"}]}),
                "containers",
                json!([{"name": "z"}]),
            ),
            (
                "empty a list",
                json!({"containers": [{"$patch": "replace"}]}),
                "containers",
                json!([]),
            ),
            (
                "replace a map",
                json!({"strategy": {"$patch": "replace", "a": 1}}),
                "strategy",
                json!({"a": 1}),
            ),
            ("empty a map", json!({"strategy": {"$patch": "delete"}}), "strategy", json!({})),
            (
                "merge is the default",
                json!({"strategy": {"$patch": "merge", "type": "a"}}),
                "strategy",
                json!({"type": "a", "rollingUpdate": {"max": 1}}),
            ),
            (
                "retain keys",
                json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
                "strategy",
                json!({"type": "Recreate"}),
            ),
            (
                "delete from a union",
                json!({"$deleteFromPrimitiveList/finalizers": ["x"], "finalizers": ["z"]}),
                "finalizers",
                json!(["z", "y"]),
            ),
        ] {
            let object = patched(&current, &patch).expect(name);
            assert_eq!(object[field], want, "{name}");
            assert!(!object.to_string().contains('$'), "{name}: {object}");
        }
    }

    #[test]
    fn directives_vanish_where_there_is_nothing_to_merge_with() {
        let patch = json!({
            "containers": [{"name": "a", "$setElementOrder/ports": []}, {"name": "b", "$patch": "delete"}],
            "strategy": {"$retainKeys": ["type"], "type": "Recreate", "old": null},
            "$setElementOrder/containers": [{"name": "a"}],
        });
        let want = json!({"containers": [{"name": "a"}], "strategy": {"type": "Recreate"}});
        assert_eq!(patched(&json!({}), &patch), Ok(want));
    }

    #[test]
    fn element_order_is_as_wished_and_others_keep_their_place() {
        let names = |object: &Value| -> String {
            let items = object["containers"].as_array().expect("a list");
            items.iter().map(|item| item["name"].as_str().expect("a name")).collect()
        };
        let listed = |text: &str| -> Value {
            text.chars().map(|c| json!({"name": c.to_string()})).collect()
        };
        for (current, order, changes, want) in [
            ("abc", "cba", "", "cba"),
            ("abcd", "db", "", "acdb"),
            ("ab", "bxa", "x", "bxa"),
            ("sab", "ba", "", "sba"),
            ("abs", "ba", "", "bas"),
        ] {
            let patch = json!({"$setElementOrder/containers": listed(order), "containers": listed(changes)});
            let object = patched(&json!({"containers": listed(current)}), &patch).expect("valid");
            assert_eq!(names(&object), want, "{current} ordered as {order}");
        }
        let patch = json!({"$setElementOrder/finalizers": ["b", "a"]});
        let object = patched(&json!({"finalizers": ["a", "b"]}), &patch);
        assert_eq!(object, Ok(json!({"finalizers": ["b", "a"]})));
    }

    #[test]
    fn senseless_patches_are_refused() {
        let current = json!({"containers": [{"name": "a"}], "finalizers": ["x"], "strategy": {}});
        for patch in [
            json!([]),
            json!({"strategy": {"$patch": "explode"}}),
            json!({"containers": [{"name": "a", "$patch": "explode"}]}),
            json!({"strategy": {"$retainKeys": "type"}}),
            json!({"strategy": {"$retainKeys": ["a"], "b": 1}}),
            json!({"$setElementOrder/containers": {}}),
            json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]}),
            json!({"$deleteFromPrimitiveList/finalizers": "x"}),
        ] {
            assert!(matches!(patched(&current, &patch), Err(PatchError::Malformed(_))), "{patch}");
        }
        let keyless = patched(&current, &json!({"containers": [{"image": "x"}]}));
        let text = r#"map: {"image":"x"} does not contain declared merge key: name"#;
        assert_eq!(keyless, Err(PatchError::Unprocessable(text.to_owned())));
    }
}
