//! Client-side apply: a manifest merged into a live object, with the manifest as it was last applied to tell what the
//! manifest no longer has.
//!
//! Lists of Kubernetes' own kinds merge by their keys, as in a strategic merge patch; all other lists are values. Where a
//! key is not unique after all, the list counts as a value.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::placement::object::Gvk;

/// Groups that Kubernetes serves itself.
const GROUPS: &[&str] = &[
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// Kinds with a pod in them.
const WITH_PODS: &[&str] = &[
    "CronJob",
    "DaemonSet",
    "Deployment",
    "Job",
    "Pod",
    "PodTemplate",
    "ReplicaSet",
    "ReplicationController",
    "StatefulSet",
];

/// How the elements of a list are matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    /// Not at all: the list is one value.
    Value,
    /// By themselves.
    Set,
    /// By fields.
    Keyed(&'static [&'static str]),
}

/// Returns the live object with a manifest merged in. `last` is the manifest as it was applied last; what it has and the
/// manifest has not is removed, whatever else the live object has stays.
#[must_use]
pub(super) fn three_way(last: Option<&Value>, manifest: &Value, live: &Value) -> Value {
    let gvk = Gvk::of(manifest);
    let is_known = GROUPS.contains(&gvk.group.as_str());
    let merge = Merge { kind: if is_known { &gvk.kind } else { "" } };
    merge.value("", "", last, manifest, Some(live))
}

struct Merge<'a> {
    /// Kind of the object; empty when its lists do not merge.
    kind: &'a str,
}

impl Merge<'_> {
    fn value(
        &self,
        parent: &str,
        field: &str,
        last: Option<&Value>,
        new: &Value,
        live: Option<&Value>,
    ) -> Value {
        match (new, live) {
            (Value::Object(new), Some(Value::Object(live))) => {
                let last = last.and_then(Value::as_object);
                Value::Object(self.object(parent, field, last, new, live))
            }
            (Value::Array(new), Some(Value::Array(live))) => {
                let last = last.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                Value::Array(self.list(parent, field, last, new, live))
            }
            (new, _) => without_nulls(new),
        }
    }

    fn object(
        &self,
        parent: &str,
        field: &str,
        last: Option<&Map<String, Value>>,
        new: &Map<String, Value>,
        live: &Map<String, Value>,
    ) -> Map<String, Value> {
        let mut merged = live.clone();
        for key in last.into_iter().flat_map(Map::keys).filter(|key| !new.contains_key(*key)) {
            merged.remove(key);
        }
        for (key, new) in new {
            if new.is_null() {
                merged.remove(key);
                continue;
            }
            let last = last.and_then(|last| last.get(key));
            let value = self.value(field, key, last, new, live.get(key));
            merged.insert(key.clone(), value);
        }
        if self.is_union(parent, field) && merged != *live {
            merged.retain(|key, _| new.contains_key(key));
        }
        merged
    }

    /// Tells whether the fields of an object exclude each other, so that the server's defaults for one must not stay beside
    /// another.
    fn is_union(&self, parent: &str, field: &str) -> bool {
        let workload = ["Deployment", "DaemonSet", "StatefulSet"].contains(&self.kind);
        let strategy = ["strategy", "updateStrategy"].contains(&field) && parent == "spec";
        let volume = parent == ITEM && field == "volumes" && WITH_PODS.contains(&self.kind);
        (workload && strategy) || volume
    }

    fn list_kind(&self, parent: &str, field: &str) -> List {
        match (self.kind, field) {
            ("", _) => List::Value,
            (_, "finalizers") if parent == "metadata" => List::Set,
            ("Service", "ports") => List::Keyed(&["port", "protocol"]),
            (kind, field) if WITH_PODS.contains(&kind) => in_pod(parent, field),
            (kind, field) if by_name(kind).contains(&field) => List::Keyed(&["name"]),
            _ => List::Value,
        }
    }

    fn list(
        &self,
        parent: &str,
        field: &str,
        last: &[Value],
        new: &[Value],
        live: &[Value],
    ) -> Vec<Value> {
        let kind = self.list_kind(parent, field);
        let keys = |list: &[Value]| -> Option<Vec<String>> {
            let keys: Option<Vec<_>> = list.iter().map(|item| key(kind, item)).collect();
            keys.filter(|keys| keys.iter().collect::<BTreeSet<_>>().len() == keys.len())
        };
        let (Some(last_keys), Some(new_keys), Some(live_keys)) =
            (keys(last), keys(new), keys(live))
        else {
            return new.iter().map(without_nulls).collect();
        };
        let merged = |key: &String| -> Option<Value> {
            let find = |keys: &[String]| keys.iter().position(|known| known == key);
            let live = find(&live_keys).map(|at| &live[at]);
            let last = find(&last_keys).map(|at| &last[at]);
            match find(&new_keys) {
                Some(at) => Some(self.value(ITEM, field, last, &new[at], live)),
                None => live.cloned(),
            }
        };
        order(&last_keys, &new_keys, &live_keys).iter().filter_map(merged).collect()
    }
}

/// Returns how lists merge in a kind with pods.
fn in_pod(parent: &str, field: &str) -> List {
    let in_container = ["containers", "initContainers", "ephemeralContainers"].contains(&parent);
    match field {
        "ports" if in_container => List::Keyed(&["containerPort", "protocol"]),
        "volumeMounts" if in_container => List::Keyed(&["mountPath"]),
        "volumeDevices" if in_container => List::Keyed(&["devicePath"]),
        "hostAliases" => List::Keyed(&["ip"]),
        "topologySpreadConstraints" => List::Keyed(&["topologyKey", "whenUnsatisfiable"]),
        "env" if in_container => List::Keyed(&["name"]),
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "imagePullSecrets"
        | "resourceClaims"
        | "schedulingGates"
            if parent == "spec" =>
        {
            List::Keyed(&["name"])
        }
        _ => List::Value,
    }
}

/// Returns the lists of a kind without pods that merge by name.
fn by_name(kind: &str) -> &'static [&'static str] {
    match kind {
        "ServiceAccount" => &["secrets", "imagePullSecrets"],
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => {
            &["webhooks", "matchConditions"]
        }
        "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy" => {
            &["matchConditions", "variables"]
        }
        _ => &[],
    }
}

/// Stands for the parent of a field where an element of the list in that field is meant.
const ITEM: &str = "[]";

/// Returns the keys of a merged list: those of the manifest in its order, and those that only the live list has where they
/// are.
fn order(last: &[String], new: &[String], live: &[String]) -> Vec<String> {
    let kept: Vec<&String> =
        live.iter().filter(|key| new.contains(key) || !last.contains(key)).collect();
    let mut common = new.iter().filter(|key| kept.contains(key));
    // The places of common elements are taken in the manifest's order; the others do not move.
    let mut ordered: Vec<String> = Vec::new();
    for &key in &kept {
        let next = if new.contains(key) { common.next().unwrap_or(key) } else { key };
        ordered.push(next.clone());
    }
    for (at, key) in new.iter().enumerate() {
        if ordered.contains(key) {
            continue;
        }
        let before = at.checked_sub(1).and_then(|before| new.get(before));
        let place = before.and_then(|before| ordered.iter().position(|known| known == before));
        ordered.insert(place.map_or(0, |place| place + 1), key.clone());
    }
    ordered
}

fn key(kind: List, item: &Value) -> Option<String> {
    match kind {
        List::Value => None,
        List::Set => item.as_str().map(str::to_owned),
        List::Keyed(fields) => {
            let mut key = Vec::new();
            for field in fields {
                match (*field, item.get(field)) {
                    (_, Some(value)) => key.push(value.to_string()),
                    // The server's default.
                    ("protocol", None) => key.push("\"TCP\"".to_owned()),
                    (_, None) => return None,
                }
            }
            Some(key.join(" "))
        }
    }
}

/// Returns a new value; in it, null means nothing.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let set = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(set.map(|(key, value)| (key.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn deployment(spec: Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec})
    }

    fn pod(containers: Value) -> Value {
        deployment(json!({"template": {"spec": {"containers": containers}}}))
    }

    fn merged(last: &Value, new: &Value, live: &Value) -> Value {
        three_way(Some(last), new, live)
    }

    #[test]
    fn what_the_manifest_lost_goes_and_what_others_added_stays() {
        let object = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data});
        let last = object(json!({"lost": "1", "kept": "1"}));
        let new = object(json!({"kept": "2", "fresh": "3"}));
        let live = object(json!({"lost": "1", "kept": "1", "others": "x"}));
        assert_eq!(
            merged(&last, &new, &live),
            object(json!({"kept": "2", "fresh": "3", "others": "x"}))
        );
        assert_eq!(
            three_way(None, &new, &live),
            object(json!({"lost": "1", "kept": "2", "fresh": "3", "others": "x"})),
            "without a record of the last manifest nothing is known to be lost"
        );
    }

    #[test]
    fn containers_merge_by_name_and_keep_their_places() {
        let last = pod(json!([{"name": "old"}, {"name": "web", "image": "a"}]));
        let new = pod(json!([{"name": "web", "image": "b"}, {"name": "log"}]));
        let live = pod(json!([
            {"name": "injected", "image": "i"},
            {"name": "old"},
            {"name": "web", "image": "a", "imagePullPolicy": "Always"},
        ]));
        assert_eq!(
            merged(&last, &new, &live),
            pod(json!([
                {"name": "injected", "image": "i"},
                {"name": "web", "image": "b", "imagePullPolicy": "Always"},
                {"name": "log"},
            ]))
        );
    }

    #[test]
    fn ports_of_two_protocols_are_two_ports() {
        let service =
            |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": ports}});
        let new = service(
            json!([{"port": 53, "name": "tcp"}, {"port": 53, "protocol": "UDP", "name": "udp"}]),
        );
        let live = service(json!([
            {"port": 53, "protocol": "TCP", "name": "tcp", "nodePort": 30000},
            {"port": 53, "protocol": "UDP", "name": "udp", "nodePort": 30001},
        ]));
        assert_eq!(merged(&new, &new, &live), live);
    }

    #[test]
    fn a_list_without_unique_keys_is_one_value() {
        let env = |items: Value| pod(json!([{"name": "web", "env": items}]));
        let new = env(json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]));
        let live = env(json!([{"name": "A", "value": "3"}, {"name": "B"}]));
        assert_eq!(merged(&new, &new, &live), new);
    }

    #[test]
    fn lists_of_custom_kinds_are_values() {
        let custom = |list: Value| json!({"apiVersion": "example.com/v1", "kind": "Pod", "spec": {"containers": list}});
        let new = custom(json!([{"name": "a"}]));
        let live = custom(json!([{"name": "a", "defaulted": true}, {"name": "b"}]));
        assert_eq!(merged(&new, &new, &live), new);
    }

    #[test]
    fn fields_that_exclude_each_other_do_not_pile_up() {
        let volume =
            |source: Value| deployment(json!({"template": {"spec": {"volumes": [source]}}}));
        let new = volume(json!({"name": "v", "configMap": {"name": "c"}}));
        let live = volume(json!({"name": "v", "emptyDir": {}}));
        assert_eq!(three_way(None, &new, &live), new);

        let new = deployment(json!({"strategy": {"type": "Recreate"}}));
        let live = deployment(json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {}}}));
        assert_eq!(three_way(None, &new, &live), new);
        let new = deployment(json!({"strategy": {"type": "RollingUpdate"}}));
        assert_eq!(three_way(None, &new, &live), live, "defaults of the server stay");
    }

    #[test]
    fn null_takes_a_field_away() {
        let new = deployment(json!({"replicas": null, "paused": {"a": null, "b": 1}}));
        let live = deployment(json!({"replicas": 3}));
        assert_eq!(three_way(None, &new, &live), deployment(json!({"paused": {"b": 1}})));
    }

    fn containers() -> impl Strategy<Value = Value> {
        let images = prop::collection::btree_map("[a-d]", 0..3i64, 0..4).prop_shuffled();
        images.prop_map(|images| {
            let items = images.into_iter().map(|(name, n)| json!({"name": name, "image": n}));
            pod(Value::Array(items.collect()))
        })
    }

    trait Shuffled {
        fn prop_shuffled(self) -> BoxedStrategy<Vec<(String, i64)>>;
    }

    impl<S: Strategy<Value = std::collections::BTreeMap<String, i64>> + 'static> Shuffled for S {
        fn prop_shuffled(self) -> BoxedStrategy<Vec<(String, i64)>> {
            self.prop_map(|map| map.into_iter().collect::<Vec<_>>()).prop_shuffle().boxed()
        }
    }

    proptest! {
        #[test]
        fn merging_twice_changes_nothing(last in containers(), new in containers(), live in containers()) {
            let once = three_way(Some(&last), &new, &live);
            prop_assert_eq!(&three_way(Some(&new), &new, &once), &once);
            let list = |object: &Value| object["spec"]["template"]["spec"]["containers"].as_array().unwrap().clone();
            for container in list(&new) {
                prop_assert!(list(&once).contains(&container));
            }
        }
    }
}
