//! The fixed order of selected objects in snapshots and status.
//!
//! It makes snapshots of equal selections equal. It is not the order in which members apply.

use std::sync::Arc;

use serde_json::Value;

use super::object::{self, Gvk};

/// Kinds that come first, whatever their group.
const KINDS: &[&str] = &[
    "PriorityClass",
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

/// Sorts objects by kind, group and version, namespace and name.
pub fn sort(objects: &mut [Arc<Value>]) {
    objects.sort_by_cached_key(|object| key(object));
}

fn key(object: &Value) -> (usize, String, String) {
    let gvk = Gvk::of(object);
    let place = format!("{}/{}", object::namespace(object), object::name(object));
    match KINDS.iter().position(|kind| *kind == gvk.kind) {
        Some(rank) => (rank, format!("{}/{}", gvk.group, gvk.version), place),
        None => (KINDS.len(), gvk.to_string(), place),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object(api_version: &str, kind: &str, namespace: &str, name: &str) -> Arc<Value> {
        let metadata = json!({"namespace": namespace, "name": name});
        Arc::new(json!({"apiVersion": api_version, "kind": kind, "metadata": metadata}))
    }

    fn in_order() -> Vec<Arc<Value>> {
        vec![
            object("v1", "Namespace", "", "a"),
            object("v1", "Namespace", "", "b"),
            object("v1", "Secret", "b", "a"),
            object("v1", "ConfigMap", "a", "b"),
            object("v1", "ConfigMap", "b", "a"),
            object("apps/v1", "Deployment", "a", "a"),
            object("other.io/v1", "Deployment", "a", "a"),
            object("a.io/v1", "Zebra", "", "z"),
            object("b.io/v1", "Ant", "", "a"),
        ]
    }

    proptest! {
        #[test]
        fn the_order_of_inputs_does_not_matter(mut objects in Just(in_order()).prop_shuffle()) {
            sort(&mut objects);
            prop_assert_eq!(objects, in_order());
        }
    }
}
