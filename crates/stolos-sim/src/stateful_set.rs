//! StatefulSets: pods with ordinals, started and updated in order.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::action::Action;
use crate::kubelet::{is_active, is_ready};
use crate::meta::{Key, controlled_by, hash, is_deleting, label, uid};
use crate::replica_set::pod;
use crate::world::World;

const REVISION_LABEL: &str = "controller-revision-hash";
const ORDINAL_LABEL: &str = "apps.kubernetes.io/pod-index";
const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";

/// Decides what a StatefulSet needs.
pub(crate) fn decide(world: &World, set: &StatefulSet) -> Vec<Action> {
    let Some(spec) = &set.spec else { return Vec::new() };
    let replicas = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    let revision = revision(set);
    let mut actions = Vec::new();
    if !is_deleting(&set.metadata) {
        let parallel = spec.pod_management_policy.as_deref() == Some("Parallel");
        actions.extend(start(world, set, replicas, &revision, parallel));
        if actions.is_empty() {
            actions.extend(stop_surplus(world, set, replicas, parallel));
        }
        if actions.is_empty() {
            actions.extend(update(world, set, replicas, &revision));
        }
    }
    actions.extend(report(world, set, replicas, &revision));
    actions
}

fn revision(set: &StatefulSet) -> String {
    let template = set.spec.as_ref().map(|spec| &spec.template);
    let json = serde_json::to_value(template).expect("a pod template serialises");
    let name = set.metadata.name.as_deref().unwrap_or_default();
    format!("{name}-{:x}", hash(&json.to_string()) & 0xffff_ffff)
}

fn at<'a>(world: &'a World, set: &StatefulSet, ordinal: usize) -> Option<&'a Arc<Pod>> {
    let name = format!("{}-{ordinal}", set.metadata.name.as_deref().unwrap_or_default());
    let namespace = set.metadata.namespace.clone().unwrap_or_default();
    world.pods.get(&Key { namespace, name })
}

/// Creates missing pods; one after another unless the policy is `Parallel`.
fn start(
    world: &World,
    set: &StatefulSet,
    replicas: usize,
    revision: &str,
    parallel: bool,
) -> Vec<Action> {
    let mut actions = Vec::new();
    for ordinal in 0..replicas {
        match at(world, set, ordinal) {
            None => actions.push(create(set, ordinal, revision)),
            Some(pod) if is_ready(pod) && is_active(pod) => continue,
            Some(_) => {}
        }
        if !parallel {
            break;
        }
    }
    actions
}

fn create(set: &StatefulSet, ordinal: usize, revision: &str) -> Action {
    let spec = set.spec.as_ref().expect("the caller has read the spec");
    let name = format!("{}-{ordinal}", set.metadata.name.as_deref().unwrap_or_default());
    let mut pod = pod(&name, &set.metadata, &spec.template, controlled_by(set));
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(REVISION_LABEL.to_owned(), revision.to_owned());
    labels.insert(ORDINAL_LABEL.to_owned(), ordinal.to_string());
    labels.insert(NAME_LABEL.to_owned(), name.clone());
    if let Some(spec) = &mut pod.spec {
        spec.hostname = Some(name);
        spec.subdomain = set.spec.as_ref().and_then(|spec| spec.service_name.clone());
    }
    Action::Create(pod.into())
}

/// Removes pods beyond the wished number, the highest ordinal first.
fn stop_surplus(world: &World, set: &StatefulSet, replicas: usize, parallel: bool) -> Vec<Action> {
    let mut surplus: Vec<&Arc<Pod>> = world
        .pods
        .owned_by(uid(&set.metadata))
        .filter(|pod| ordinal(pod).is_none_or(|ordinal| ordinal >= replicas) && is_active(pod))
        .collect();
    surplus.sort_by_key(|pod| std::cmp::Reverse(ordinal(pod)));
    let at_once = if parallel { surplus.len() } else { 1 };
    surplus.into_iter().take(at_once).map(|pod| Action::Delete(Pod::clone(pod).into())).collect()
}

/// Replaces pods of an older revision, the highest ordinal first, one at a time, down to the partition.
fn update(world: &World, set: &StatefulSet, replicas: usize, revision: &str) -> Option<Action> {
    let strategy = set.spec.as_ref()?.update_strategy.as_ref();
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
        return None;
    }
    let partition =
        strategy.and_then(|s| s.rolling_update.as_ref()).and_then(|rolling| rolling.partition);
    let partition = usize::try_from(partition.unwrap_or(0)).unwrap_or(0);
    let outdated = (partition..replicas)
        .rev()
        .filter_map(|ordinal| at(world, set, ordinal))
        .find(|pod| label(&pod.metadata, REVISION_LABEL) != Some(revision))?;
    Some(Action::Delete(Pod::clone(outdated).into()))
}

fn ordinal(pod: &Pod) -> Option<usize> {
    pod.metadata.name.as_deref()?.rsplit_once('-')?.1.parse().ok()
}

fn report(world: &World, set: &StatefulSet, replicas: usize, revision: &str) -> Option<Action> {
    let pods: Vec<&Arc<Pod>> =
        world.pods.owned_by(uid(&set.metadata)).filter(|pod| is_active(pod)).collect();
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    let updated =
        pods.iter().filter(|pod| label(&pod.metadata, REVISION_LABEL) == Some(revision)).count();
    let before = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
    // The update revision becomes the current one when every pod has it.
    let done = updated == pods.len() && pods.len() == replicas;
    let current = if done { revision } else { before.unwrap_or(revision) };
    let of_current =
        pods.iter().filter(|pod| label(&pod.metadata, REVISION_LABEL) == Some(current)).count();
    let status = json!({
        "observedGeneration": set.metadata.generation.unwrap_or(0),
        "replicas": pods.len(),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "updatedReplicas": updated,
        "currentReplicas": of_current,
        "currentRevision": current,
        "updateRevision": revision,
        "collisionCount": 0,
    });
    let old = serde_json::to_value(&set.status).expect("a status serialises");
    let same = status.as_object()?.iter().all(|(field, value)| {
        &old[field] == value || (old[field].is_null() && *value == json!(0) && !old.is_null())
    });
    (!same).then(|| Action::MergeStatus { target: set.clone().into(), status })
}
