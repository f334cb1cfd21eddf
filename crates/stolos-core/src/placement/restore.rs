//! Taking objects on the hub back to an earlier resource snapshot.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use stolos_api::placement::ResourceIdentifier;

use super::object;
use super::sanitise::sanitise;

/// What it takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Objects that are gone and come back.
    pub create: Vec<Value>,
    /// Objects that change, each with the merge patch that does it at its present resource version.
    pub patch: Vec<(ResourceIdentifier, Value)>,
    /// Objects that are as they were.
    pub unchanged: Vec<ResourceIdentifier>,
    /// Objects that came later. They stay: nothing says that they were not wanted.
    pub later: Vec<ResourceIdentifier>,
}

/// Decides how to take objects back. `current` returns an object as it is on the hub, `latest` are the objects that the
/// placement selects now.
pub fn plan<'a>(
    snapshot: &[&Value],
    current: impl Fn(&Value) -> Option<&'a Value>,
    latest: &[&Value],
) -> Plan {
    let mut plan = Plan::default();
    for wanted in snapshot {
        let Some(found) = current(wanted) else {
            plan.create.push((*wanted).clone());
            continue;
        };
        match merge_patch(&sanitise(found), wanted) {
            None => plan.unchanged.push(object::identifier(wanted)),
            Some(mut patch) => {
                let version = object::text(found, "/metadata/resourceVersion");
                patch["metadata"]["resourceVersion"] = json!(version);
                plan.patch.push((object::identifier(wanted), patch));
            }
        }
    }
    let known: BTreeSet<_> = snapshot.iter().map(|wanted| object::identifier(wanted)).collect();
    let identifiers = latest.iter().map(|found| object::identifier(found));
    plan.later = identifiers.filter(|found| !known.contains(found)).collect();
    plan
}

/// Returns the merge patch (RFC 7396) from one value to another; nothing if they are equal.
fn merge_patch(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let mut patch = Map::new();
    for (name, wanted) in to {
        let change = match from.get(name) {
            Some(found) => merge_patch(found, wanted),
            None => Some(wanted.clone()),
        };
        patch.extend(change.map(|change| (name.clone(), change)));
    }
    let gone = from.keys().filter(|name| !to.contains_key(*name));
    patch.extend(gone.map(|name| (name.clone(), Value::Null)));
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config_map(name: &str, data: Value) -> Value {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "app"}, "data": data,
        })
    }

    #[test]
    fn only_what_differs_is_written_at_the_version_that_was_seen() {
        let mut live = config_map("a", json!({"kept": "1", "changed": "new", "added": "1"}));
        live["metadata"]["resourceVersion"] = json!("7");
        live["metadata"]["uid"] = json!("u");
        let (same, fresh) = (config_map("b", json!({})), config_map("d", json!({})));
        let wanted = config_map("a", json!({"kept": "1", "changed": "old"}));
        let gone = config_map("c", json!({}));
        let hub = [live.clone(), same.clone()];
        let find =
            |wanted: &Value| hub.iter().find(|found| object::name(found) == object::name(wanted));
        let plan = plan(&[&wanted, &same, &gone], find, &[&live, &same, &fresh]);
        assert_eq!(plan.create, [gone]);
        assert_eq!(plan.patch.len(), 1);
        assert_eq!(
            plan.patch[0].1,
            json!({"metadata": {"resourceVersion": "7"}, "data": {"changed": "old", "added": null}})
        );
        assert_eq!(plan.unchanged.iter().map(|found| &found.name).collect::<Vec<_>>(), ["b"]);
        assert_eq!(plan.later.iter().map(|found| &found.name).collect::<Vec<_>>(), ["d"]);
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![any::<bool>().prop_map(Value::from), "[a-c]{0,2}".prop_map(Value::from)];
        leaf.prop_recursive(3, 16, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..3)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_merge_patch_leads_where_it_should(from in json_value(), to in json_value()) {
            let mut result = from.clone();
            match merge_patch(&from, &to) {
                None => prop_assert_eq!(&from, &to),
                Some(patch) => json_patch::merge(&mut result, &patch),
            }
            prop_assert_eq!(result, to);
        }
    }
}
