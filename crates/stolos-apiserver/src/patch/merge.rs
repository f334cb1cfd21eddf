//! JSON merge patch, RFC 7386.

use serde_json::{Map, Value};

/// Merges `patch` into `object`: maps merge, null deletes, everything else replaces.
pub fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let fields = object.as_object_mut().expect("anything else was replaced by an object");
    for (key, change) in changes {
        match change {
            Value::Null => {
                fields.remove(key);
            }
            Value::Object(_) => merge(fields.entry(key.as_str()).or_insert(Value::Null), change),
            _ => {
                fields.insert(key.clone(), change.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn maps_merge_null_deletes_and_the_rest_replaces() {
        for (object, patch, want) in [
            (
                json!({"a": {"b": 1, "c": 2}}),
                json!({"a": {"b": null, "d": 3}}),
                json!({"a": {"c": 2, "d": 3}}),
            ),
            (json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]})),
            (json!({"a": "x"}), json!({"a": {"b": {"c": null}}}), json!({"a": {"b": {}}})),
            (json!({"a": 1}), json!({"b": null}), json!({"a": 1})),
        ] {
            let mut merged = object.clone();
            merge(&mut merged, &patch);
            assert_eq!(merged, want, "{object} + {patch}");
        }
    }

    /// Makes the patch that turns `from` into `to`; neither may contain nulls, which merge patch cannot express.
    fn diff(from: &Value, to: &Value) -> Value {
        let (Value::Object(old), Value::Object(new)) = (from, to) else { return to.clone() };
        let removed =
            old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
        let changed =
            new.iter().filter(|(key, value)| old.get(*key) != Some(value)).map(|(key, value)| {
                let change = old.get(key).map_or_else(|| value.clone(), |old| diff(old, value));
                (key.clone(), change)
            });
        removed.chain(changed).collect()
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), (0..4u8).prop_map(Value::from)];
        let tree = leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        });
        proptest::collection::btree_map("[a-d]", tree, 0..4)
            .prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_difference_leads_to_its_goal(from in values(), to in values()) {
            let mut object = from.clone();
            merge(&mut object, &diff(&from, &to));
            prop_assert_eq!(object, to);
        }
    }
}
