//! What the member agent does with a Work: which manifests may be written over what is there, what counts as available,
//! and what may be removed (placement-applier in the specification).

use std::collections::BTreeSet;

use serde_json::Value;
use stolos_api::placement::WorkResourceIdentifier;

mod availability;
mod compare;
mod managed;
mod manifest;
mod merge;
mod ownership;
pub mod report;
mod withdraw;

pub use availability::{Availability, of as availability};
pub use compare::{compare, missing};
pub use manifest::{Step, carries_hash, comparable, content_hash, spec_hash, write};
pub use ownership::{
    Action, Refusal, decide, disowned, is_applied_work, is_owned_by, may_write, not_taken_over,
    owners, taken_over, unblocked,
};
pub use withdraw::{Evidence, Verdict, withdraw};

/// A manifest of a Work that is understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Its place in the Work, and what it names on the member.
    pub identifier: WorkResourceIdentifier,
    /// The manifest as it is to be written.
    pub object: Value,
}

/// Why a manifest cannot be applied at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Condition reason, such as `DecodingErred`.
    pub reason: &'static str,
    /// What is wrong.
    pub message: String,
}

/// Resource and scope of a kind on the member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Plural.
    pub resource: String,
    /// Objects live in namespaces.
    pub namespaced: bool,
}

/// Reads the manifests of a Work. `map` knows the kinds of the member.
pub fn read(
    manifests: &[Value],
    map: impl Fn(&str, &str, &str) -> Option<Mapping>,
) -> Vec<(WorkResourceIdentifier, Result<Manifest, Malformed>)> {
    let mut seen = BTreeSet::new();
    let read_one = |(ordinal, value): (usize, &Value)| {
        let identifier = identify(ordinal, value, &map);
        let checked = check(&identifier, value, &mut seen);
        let manifest =
            checked.map(|()| Manifest { identifier: identifier.clone(), object: value.clone() });
        (identifier, manifest)
    };
    manifests.iter().enumerate().map(read_one).collect()
}

fn identify(
    ordinal: usize,
    value: &Value,
    map: &impl Fn(&str, &str, &str) -> Option<Mapping>,
) -> WorkResourceIdentifier {
    let text = |pointer: &str| {
        value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let api_version = text("/apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let kind = text("/kind");
    let mapping = map(group, version, &kind);
    let namespaced = mapping.as_ref().is_none_or(|mapping| mapping.namespaced);
    WorkResourceIdentifier {
        ordinal: i64::try_from(ordinal).unwrap_or(i64::MAX),
        group: group.to_owned(),
        version: version.to_owned(),
        kind,
        resource: mapping.map(|mapping| mapping.resource).unwrap_or_default(),
        namespace: if namespaced { text("/metadata/namespace") } else { String::new() },
        name: text("/metadata/name"),
    }
}

type Seen = BTreeSet<(String, String, String, String)>;

fn check(
    identifier: &WorkResourceIdentifier,
    value: &Value,
    seen: &mut Seen,
) -> Result<(), Malformed> {
    use stolos_api::placement::names::work_reason;
    let malformed = |reason, message: String| Err(Malformed { reason, message });
    if !value.is_object() || identifier.kind.is_empty() {
        return malformed(
            work_reason::DECODING_ERRED,
            "the manifest is not a Kubernetes object".to_owned(),
        );
    }
    if identifier.resource.is_empty() {
        let message = format!(
            "the member cluster does not serve kind `{}` in `{}`",
            identifier.kind,
            value["apiVersion"].as_str().unwrap_or_default()
        );
        return malformed(work_reason::DECODING_ERRED, message);
    }
    if identifier.name.is_empty() {
        let message = "the manifest has no name; `generateName` is not supported".to_owned();
        return malformed(work_reason::FOUND_GENERATE_NAME, message);
    }
    let id = identifier.clone();
    if !seen.insert((id.group, id.kind, id.namespace, id.name)) {
        return malformed(
            work_reason::DUPLICATED,
            "the Work holds this object twice; the first counts".to_owned(),
        );
    }
    Ok(())
}

/// Returns the wave in which a resource is applied: what others need goes first. Only kinds of Kubernetes itself are
/// known; everything else is last.
#[must_use]
pub fn wave(identifier: &WorkResourceIdentifier) -> usize {
    const WAVES: &[&[&str]] = &[
        &["namespaces", "priorityclasses"],
        &[
            "networkpolicies",
            "resourcequotas",
            "limitranges",
            "podsecuritypolicies",
            "poddisruptionbudgets",
            "serviceaccounts",
            "secrets",
            "configmaps",
            "storageclasses",
            "persistentvolumes",
            "persistentvolumeclaims",
            "customresourcedefinitions",
            "ingressclasses",
        ],
        &["clusterroles", "roles"],
        &["clusterrolebindings", "rolebindings"],
        &[
            "services",
            "daemonsets",
            "pods",
            "replicationcontrollers",
            "replicasets",
            "deployments",
            "horizontalpodautoscalers",
            "statefulsets",
            "jobs",
            "cronjobs",
            "ingresses",
        ],
        &["apiservices", "validatingwebhookconfigurations", "mutatingwebhookconfigurations"],
    ];
    let group = identifier.group.as_str();
    let of_kubernetes = group.is_empty()
        || group.ends_with(".k8s.io")
        || matches!(group, "apps" | "autoscaling" | "batch" | "policy");
    let found = WAVES.iter().position(|wave| wave.contains(&identifier.resource.as_str()));
    found.filter(|_| of_kubernetes).unwrap_or(WAVES.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(_: &str, _: &str, kind: &str) -> Option<Mapping> {
        let mapping =
            |resource: &str, namespaced| Mapping { resource: resource.to_owned(), namespaced };
        match kind {
            "ConfigMap" => Some(mapping("configmaps", true)),
            "Namespace" => Some(mapping("namespaces", false)),
            _ => None,
        }
    }

    fn config_map(name: &str) -> Value {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": "web" } })
    }

    #[test]
    fn what_is_wrong_with_a_manifest_is_said_and_the_others_are_read() {
        let manifests = [
            config_map("a"),
            json!({ "apiVersion": "example.com/v1", "kind": "Odd", "metadata": { "name": "x" } }),
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "generateName": "x-" } }),
            config_map("a"),
        ];
        let reasons: Vec<_> = read(&manifests, map)
            .into_iter()
            .map(|(_, result)| result.err().map(|e| e.reason))
            .collect();
        assert_eq!(
            reasons,
            [None, Some("DecodingErred"), Some("FoundGenerateName"), Some("Duplicated")]
        );
    }

    #[test]
    fn namespaces_go_before_what_lives_in_them() {
        let read = read(
            &[
                config_map("a"),
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "web" } }),
            ],
            map,
        );
        assert!(wave(&read[1].0) < wave(&read[0].0));
    }
}
