//! ReplicaSets: keep the wished number of pods.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::json;

use crate::action::Action;
use crate::kubelet::{is_active, is_ready};
use crate::meta::{controlled_by, is_deleting, suffix, uid};
use crate::world::{Object, World};

/// Decides what a ReplicaSet needs.
pub(crate) fn decide(world: &World, set: &ReplicaSet) -> Vec<Action> {
    let mut pods: Vec<&Pod> = world
        .pods
        .owned_by(uid(&set.metadata))
        .map(AsRef::as_ref)
        .filter(|pod| is_active(pod))
        .collect();
    let mut actions = Vec::new();
    let wished = wished(set);
    if !is_deleting(&set.metadata) {
        actions.extend(create_missing(world, set, pods.len(), wished));
        // Remove those that serve nobody first, then the youngest.
        pods.sort_by_key(|pod| {
            (
                is_ready(pod),
                pod.metadata.creation_timestamp.as_ref().map(|at| std::cmp::Reverse(at.0)),
            )
        });
        let surplus = pods.len().saturating_sub(wished);
        actions.extend(
            pods.iter().take(surplus).map(|pod| Action::Delete(Object::from((*pod).clone()))),
        );
    }
    actions.extend(report(set, &pods));
    actions
}

fn create_missing(world: &World, set: &ReplicaSet, existing: usize, wished: usize) -> Vec<Action> {
    let Some(template) = set.spec.as_ref().and_then(|spec| spec.template.as_ref()) else {
        return Vec::new();
    };
    let set_name = set.metadata.name.as_deref().unwrap_or_default();
    // Names are drawn from the set's uid in a fixed order, so that a repeated decision asks for the same pods.
    let names = (0..)
        .map(|n: u64| format!("{set_name}-{}", suffix(&format!("{}/{n}", uid(&set.metadata)))))
        .filter(|name| {
            let key = crate::meta::Key {
                namespace: set.metadata.namespace.clone().unwrap_or_default(),
                name: name.clone(),
            };
            world.pods.get(&key).is_none()
        });
    names
        .take(wished.saturating_sub(existing))
        .map(|name| Action::Create(pod(&name, &set.metadata, template, controlled_by(set)).into()))
        .collect()
}

/// Makes a pod from a template.
pub(crate) fn pod(
    name: &str,
    owner: &ObjectMeta,
    template: &PodTemplateSpec,
    reference: OwnerReference,
) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: owner.namespace.clone(),
            labels: meta.labels,
            annotations: meta.annotations,
            owner_references: Some(vec![reference]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

fn wished(set: &ReplicaSet) -> usize {
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    usize::try_from(replicas).unwrap_or(0)
}

fn report(set: &ReplicaSet, pods: &[&Pod]) -> Option<Action> {
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    let generation = set.metadata.generation.unwrap_or(0);
    let status = set.status.as_ref();
    let same = status.is_some_and(|status| {
        status.observed_generation == Some(generation)
            && usize::try_from(status.replicas).is_ok_and(|n| n == pods.len())
            && usize::try_from(status.ready_replicas.unwrap_or(0)).is_ok_and(|n| n == ready)
    });
    (!same).then(|| Action::MergeStatus {
        target: set.clone().into(),
        status: json!({
            "replicas": pods.len(),
            "fullyLabeledReplicas": pods.len(),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "observedGeneration": generation,
        }),
    })
}
