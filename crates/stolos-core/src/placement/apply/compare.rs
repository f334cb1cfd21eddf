//! How an object on the member differs from what the hub wants (placement-applier 6.9).

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use stolos_api::placement::PatchDetail;

use crate::placement::object::Gvk;

/// Most differences that are reported of one object.
const MAX_DETAILS: usize = 100;

/// Stands for a value of a Secret.
const REDACTED: &str = "(redacted for security reasons)";

/// Stands for an object that is not on the member at all.
const WHOLE_OBJECT: &str = "(the whole object)";

/// Metadata that differs between clusters by nature.
const METADATA: &[&str] = &[
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Labels and annotations with these in their key belong to Kubernetes or to the fleet.
const DOMAINS: &[&str] = &["k8s.io", "kubernetes.io", "kubernetes-fleet.io"];

/// Where templates of pods and jobs keep a creation time that means nothing.
const TEMPLATES: &[&str] = &[
    "/spec/template/metadata",
    "/spec/jobTemplate/metadata",
    "/spec/jobTemplate/spec/template/metadata",
];

/// Returns what is different on the member: the operations that would make the hub's object the member's.
#[must_use]
pub fn compare(hub: &Value, member: &Value) -> Vec<PatchDetail> {
    let mut details = Vec::new();
    of_values("", Some(&comparable(hub)), Some(&comparable(member)), &mut details);
    let gvk = Gvk::of(member);
    if gvk.is("", "Secret") {
        details.iter_mut().for_each(redact);
    }
    details.truncate(MAX_DETAILS);
    details
}

/// Returns the one difference of an object that is not on the member.
#[must_use]
pub fn missing() -> Vec<PatchDetail> {
    vec![PatchDetail {
        path: "/".to_owned(),
        value_in_member: String::new(),
        value_in_hub: WHOLE_OBJECT.to_owned(),
    }]
}

/// Returns an object without what differs between clusters by nature.
pub(super) fn comparable(object: &Value) -> Value {
    let mut object = object.clone();
    for pointer in TEMPLATES {
        if let Some(metadata) = object.pointer_mut(pointer).and_then(Value::as_object_mut) {
            metadata.remove("creationTimestamp");
        }
    }
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| !METADATA.contains(&field.as_str()));
        for field in ["labels", "annotations"] {
            retain_own(metadata, field);
        }
    }
    object
}

/// Keeps the labels or annotations that somebody else than Kubernetes or the fleet gave.
fn retain_own(metadata: &mut Map<String, Value>, field: &str) {
    let Some(values) = metadata.get_mut(field).and_then(Value::as_object_mut) else { return };
    values.retain(|key, _| !DOMAINS.iter().any(|domain| key.contains(domain)));
    if values.is_empty() {
        metadata.remove(field);
    }
}

fn of_values(
    path: &str,
    hub: Option<&Value>,
    member: Option<&Value>,
    details: &mut Vec<PatchDetail>,
) {
    match (hub, member) {
        (Some(Value::Object(hub)), Some(Value::Object(member))) => {
            let keys: BTreeSet<&String> = hub.keys().chain(member.keys()).collect();
            for key in keys {
                let path = format!("{path}/{}", escape(key));
                of_values(&path, hub.get(key), member.get(key), details);
            }
        }
        (Some(Value::Array(hub)), Some(Value::Array(member))) => {
            of_lists(path, hub, member, details);
        }
        (hub, member) if hub == member => {}
        (hub, member) => details.push(PatchDetail {
            path: path.to_owned(),
            value_in_member: member.map(print).unwrap_or_default(),
            value_in_hub: hub.map(print).unwrap_or_default(),
        }),
    }
}

/// Compares lists place by place. What the hub has more is removed at the end of the member's list, what the member has more
/// is appended (`-`).
fn of_lists(path: &str, hub: &[Value], member: &[Value], details: &mut Vec<PatchDetail>) {
    let n_common = hub.len().min(member.len());
    for value in &hub[n_common..] {
        of_values(&format!("{path}/{n_common}"), Some(value), None, details);
    }
    for (index, (hub, member)) in hub.iter().zip(member).enumerate() {
        of_values(&format!("{path}/{index}"), Some(hub), Some(member), details);
    }
    for value in &member[n_common..] {
        of_values(&format!("{path}/-"), None, Some(value), details);
    }
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Prints a value as Go's `%v` does, which is what KubeFleet's users see.
fn print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(print).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| *key);
            let fields: Vec<_> =
                fields.into_iter().map(|(key, value)| format!("{key}:{}", print(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
    }
}

fn redact(detail: &mut PatchDetail) {
    if !["/data", "/stringData"].iter().any(|field| is_under(&detail.path, field)) {
        return;
    }
    for value in [&mut detail.value_in_hub, &mut detail.value_in_member] {
        if !value.is_empty() {
            REDACTED.clone_into(value);
        }
    }
}

fn is_under(path: &str, field: &str) -> bool {
    path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn compared(hub: Value, member: Value) -> Vec<(String, String, String)> {
        let details = compare(&hub, &member);
        details.into_iter().map(|d| (d.path, d.value_in_hub, d.value_in_member)).collect()
    }

    fn detail(path: &str, hub: &str, member: &str) -> (String, String, String) {
        (path.to_owned(), hub.to_owned(), member.to_owned())
    }

    #[test]
    fn each_side_shows_what_it_has() {
        let hub = json!({"data": {"changed": "a", "only-hub": "b", "a/b~c": "1"}});
        let member = json!({"data": {"changed": "z", "only-member": "c", "a/b~c": "2"}});
        assert_eq!(
            compared(hub, member),
            [
                detail("/data/a~1b~0c", "1", "2"),
                detail("/data/changed", "a", "z"),
                detail("/data/only-hub", "b", ""),
                detail("/data/only-member", "", "c"),
            ]
        );
    }

    #[test]
    fn lists_are_compared_place_by_place() {
        let list = |items: Value| json!({"spec": {"list": items}});
        assert_eq!(
            compared(list(json!([1, 2, 3])), list(json!([1, 5]))),
            [detail("/spec/list/2", "3", ""), detail("/spec/list/1", "2", "5")]
        );
        assert_eq!(
            compared(list(json!([1])), list(json!([1, {"b": true, "a": [null, "x"]}]))),
            [detail("/spec/list/-", "", "map[a:[<nil> x] b:true]")]
        );
    }

    #[test]
    fn what_differs_between_clusters_by_nature_is_no_difference() {
        let hub = json!({
            "metadata": {"name": "a", "annotations": {"kubernetes-fleet.io/spec-hash": "1"}},
            "spec": {"template": {"metadata": {"creationTimestamp": null}}},
        });
        let member = json!({
            "metadata": {
                "name": "b", "uid": "u", "resourceVersion": "7", "finalizers": ["x"],
                "labels": {"app.kubernetes.io/name": "a"}, "ownerReferences": [{}],
            },
            "spec": {"template": {"metadata": {}}},
            "status": {"ready": true},
        });
        assert_eq!(compared(hub.clone(), member.clone()), []);
        let mut labelled = member;
        labelled["metadata"]["labels"]["team"] = json!("a");
        assert_eq!(compared(hub, labelled), [detail("/metadata/labels", "", "map[team:a]")]);
    }

    #[test]
    fn secrets_show_where_they_differ_and_never_what_they_hold() {
        let secret = |data: Value, type_: &str| json!({"apiVersion": "v1", "kind": "Secret", "type": type_, "data": data});
        assert_eq!(
            compared(secret(json!({"k": "a", "l": "b"}), "x"), secret(json!({"k": "z"}), "y")),
            [
                detail("/data/k", REDACTED, REDACTED),
                detail("/data/l", REDACTED, ""),
                detail("/type", "x", "y"),
            ]
        );
    }

    #[test]
    fn a_long_list_of_differences_ends_somewhere() {
        let member: Map<String, Value> = (0..150).map(|n| (n.to_string(), json!(n))).collect();
        assert_eq!(compare(&json!({"data": {}}), &json!({"data": member})).len(), MAX_DETAILS);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..9i64).prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn equal_objects_do_not_differ_and_others_do(one in value(), other in value()) {
            let (one, other) = (json!({"spec": one}), json!({"spec": other}));
            prop_assert!(compare(&one, &one).is_empty());
            prop_assert_eq!(compare(&one, &other).is_empty(), one == other);
        }
    }
}
