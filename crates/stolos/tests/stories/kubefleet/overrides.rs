//! Overrides and envelopes as KubeFleet leaves them.

use serde_json::{Value, json};

use super::put;
use crate::kubectl::Kubectl;

/// The hash of a list of overrides that is empty.
const NONE: &str = "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b";

/// An envelope among the objects of a placement.
pub(crate) struct Envelope<'a> {
    pub(crate) kind: &'a str,
    /// Empty for a ClusterResourceEnvelope.
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// The first 16 digits of the SHA-256 of `<kind>/<namespace>/<name>`.
    pub(crate) digest: &'a str,
}

impl Envelope<'_> {
    pub(super) fn is(&self, object: &Value) -> bool {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        object["kind"] == self.kind
            && object["metadata"]["name"] == self.name
            && namespace == self.namespace
    }

    pub(super) fn labels(&self) -> Value {
        let mut labels = json!({
            "kubernetes-fleet.io/envelope-work": self.kind,
            "kubernetes-fleet.io/envelope-name": self.name,
        });
        if !self.namespace.is_empty() {
            labels["kubernetes-fleet.io/envelope-namespace"] = json!(self.namespace);
        }
        labels
    }

    /// Returns what is in it.
    pub(super) fn opened(&self, objects: &[Value]) -> Vec<Value> {
        let envelope = objects.iter().find(|object| self.is(object)).expect("it is selected");
        envelope["data"].as_object().expect("it holds something").values().cloned().collect()
    }
}

/// The overrides that are in force for a placement.
pub(crate) struct Overrides<'a> {
    /// Snapshots of ClusterResourceOverrides.
    pub(crate) cluster: &'a [&'a str],
    /// SHA-256 of their names as JSON.
    pub(crate) cluster_hash: &'a str,
    /// Snapshots of ResourceOverrides, each with its namespace.
    pub(crate) own: &'a [(&'a str, &'a str)],
    /// SHA-256 of these as JSON.
    pub(crate) own_hash: &'a str,
    /// Changes an object as they do for a member.
    pub(crate) vary: fn(&str, &mut Value),
}

impl Overrides<'_> {
    pub(crate) const NONE: Self =
        Self { cluster: &[], cluster_hash: NONE, own: &[], own_hash: NONE, vary: |_, _| {} };

    pub(super) fn reason(&self) -> &'static str {
        let is_any = !self.cluster.is_empty() || !self.own.is_empty();
        if is_any { "OverriddenSucceeded" } else { "NoOverrideSpecified" }
    }

    pub(super) fn note_on_binding(&self, spec: &mut Value) {
        if !self.cluster.is_empty() {
            spec["clusterResourceOverrideSnapshots"] = json!(self.cluster);
        }
        if !self.own.is_empty() {
            let own = self
                .own
                .iter()
                .map(|(namespace, name)| json!({ "name": name, "namespace": namespace }));
            spec["resourceOverrideSnapshots"] = own.collect();
        }
    }
}

/// Creates an override and its first snapshot; without a namespace, a ClusterResourceOverride.
pub(crate) fn put_override(hub: &Kubectl, namespace: Option<&str>, name: &str, spec: &Value) {
    let kind = if namespace.is_some() { "ResourceOverride" } else { "ClusterResourceOverride" };
    let object = |kind: &str, name: &str, more: Value, spec: Value| {
        let mut object = json!({
            "apiVersion": "placement.kubernetes-fleet.io/v1beta1", "kind": kind, "metadata": more, "spec": spec,
        });
        object["metadata"]["name"] = json!(name);
        if let Some(namespace) = namespace {
            object["metadata"]["namespace"] = json!(namespace);
        }
        object
    };
    let finalizers = json!({ "finalizers": ["kubernetes-fleet.io/override-cleanup"] });
    let parent = put(hub, object(kind, name, finalizers, spec.clone()));
    let metadata = json!({
        "labels": {
            "kubernetes-fleet.io/parent-resource-override": name,
            "kubernetes-fleet.io/is-latest-snapshot": "true",
            "kubernetes-fleet.io/override-index": "0",
        },
        "ownerReferences": [super::owner(&parent)],
    });
    // The bytes of a hash.
    let copy = json!({ "overrideSpec": parent["spec"], "overrideHash": "MGYxZTJkM2M0YjVhNjk3ODg3OTZhNWI0" });
    put(hub, object(&format!("{kind}Snapshot"), &format!("{name}-0"), metadata, copy));
}
