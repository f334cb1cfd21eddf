//! Manifests made ready for a member.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use stolos_api::placement::names::annotation;

/// Metadata that belongs to the cluster an object lives in.
const CLUSTER_METADATA: &[&str] = &[
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Annotations that some applier keeps for itself.
const APPLIER_ANNOTATIONS: &[&str] = &[
    annotation::LAST_APPLIED_CONFIGURATION,
    annotation::SPEC_HASH,
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
];

/// Returns a manifest without what belongs to another cluster or another applier.
fn clean(manifest: &Value) -> Value {
    let mut clean = manifest.clone();
    let Some(object) = clean.as_object_mut() else { return clean };
    object.remove("status");
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| !CLUSTER_METADATA.contains(&field.as_str()));
        let emptied = metadata.get_mut("annotations").and_then(Value::as_object_mut).is_some_and(
            |annotations| {
                annotations.retain(|name, _| !APPLIER_ANNOTATIONS.contains(&name.as_str()));
                annotations.is_empty()
            },
        );
        if emptied {
            metadata.remove("annotations");
        }
    }
    clean
}

/// Returns the hash that tells whether a manifest has changed: SHA-256 of its canonical JSON.
#[must_use]
pub fn spec_hash(manifest: &Value) -> String {
    hex::encode(Sha256::digest(clean(manifest).to_string()))
}

/// Returns a manifest as it is sent to the member: cleaned, with its hash and the AppliedWork as an owner.
#[must_use]
pub fn prepare(manifest: &Value, owner: &OwnerReference) -> Value {
    let mut ready = clean(manifest);
    let hash = hex::encode(Sha256::digest(ready.to_string()));
    if !ready["metadata"].is_object() {
        ready["metadata"] = Value::Object(Map::new());
    }
    ready["metadata"]["ownerReferences"] = json!([owner]);
    if !ready["metadata"]["annotations"].is_object() {
        ready["metadata"]["annotations"] = Value::Object(Map::new());
    }
    ready["metadata"]["annotations"][annotation::SPEC_HASH] = json!(hash);
    ready
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_looks_at_what_the_user_wrote_only() {
        let plain =
            json!({ "kind": "ConfigMap", "metadata": { "name": "a" }, "data": { "k": "v" } });
        let mut lived = plain.clone();
        lived["metadata"]["uid"] = json!("1");
        lived["metadata"]["annotations"] = json!({ annotation::SPEC_HASH: "old" });
        lived["status"] = json!({});
        assert_eq!(spec_hash(&plain), spec_hash(&lived));
        let mut changed = plain.clone();
        changed["data"]["k"] = json!("w");
        assert_ne!(spec_hash(&plain), spec_hash(&changed));
    }
}
