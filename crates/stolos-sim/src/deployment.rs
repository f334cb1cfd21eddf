//! Deployments: one ReplicaSet per pod template, rolled from old to new within surge and unavailability.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use crate::action::Action;
use crate::meta::{annotation, controlled_by, hash, is_deleting, time, uid};
use crate::world::World;

const HASH_LABEL: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";

/// Decides what a Deployment needs.
pub(crate) fn decide(world: &World, deployment: &Deployment, now: Timestamp) -> Vec<Action> {
    let Some(spec) = &deployment.spec else { return Vec::new() };
    let sets: Vec<&Arc<ReplicaSet>> =
        world.replica_sets.owned_by(uid(&deployment.metadata)).collect();
    let hash = template_hash(&spec.template);
    let (new, old): (Vec<_>, Vec<_>) = sets
        .iter()
        .copied()
        .partition(|set| crate::meta::label(&set.metadata, HASH_LABEL) == Some(&hash));
    let new = new.first().copied();
    let mut actions = Vec::new();
    if !is_deleting(&deployment.metadata) && spec.paused != Some(true) {
        match new {
            None => actions.push(create(deployment, &spec.template, &hash, &sets)),
            Some(new) => {
                actions.extend(number(deployment, new, &old));
                actions.extend(roll(deployment, new, &old));
                actions.extend(forget(deployment, &old));
            }
        }
    }
    actions.extend(report(deployment, new, &sets, now));
    actions
}

/// Hashes a template by its canonical JSON; a restart must find the ReplicaSets it made.
fn template_hash(template: &PodTemplateSpec) -> String {
    let json = serde_json::to_value(template).expect("a pod template serialises");
    format!("{:x}", hash(&json.to_string()) & 0xffff_ffff)
}

fn create(
    deployment: &Deployment,
    template: &PodTemplateSpec,
    hash: &str,
    sets: &[&Arc<ReplicaSet>],
) -> Action {
    let mut template = template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.to_owned());
    let labels = labels.clone();
    let mut selector: LabelSelector =
        deployment.spec.as_ref().map(|spec| spec.selector.clone()).unwrap_or_default();
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.to_owned());
    let mut annotations = deployment.metadata.annotations.clone().unwrap_or_default();
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    annotations.insert(REVISION.to_owned(), next_revision(sets).to_string());
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let room = (wished(deployment) + surge(deployment)).saturating_sub(total(sets));
    let set = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![controlled_by(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(i32::try_from(wished(deployment).min(room)).unwrap_or(i32::MAX)),
            selector,
            template: Some(template),
            min_ready_seconds: None,
        }),
        status: None,
    };
    Action::Create(set.into())
}

fn next_revision(sets: &[&Arc<ReplicaSet>]) -> u64 {
    sets.iter().map(|set| revision(set)).max().unwrap_or(0) + 1
}

fn revision(set: &ReplicaSet) -> u64 {
    annotation(&set.metadata, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Gives a ReplicaSet that serves again (a rollback) the next revision, and shows the revision on the Deployment.
fn number(deployment: &Deployment, new: &Arc<ReplicaSet>, old: &[&Arc<ReplicaSet>]) -> Vec<Action> {
    let newest_old = old.iter().map(|set| revision(set)).max().unwrap_or(0);
    let wanted = revision(new).max(newest_old + 1);
    let patch = json!({ "metadata": { "annotations": { REVISION: wanted.to_string() } } });
    let mut actions = Vec::new();
    if revision(new) != wanted {
        actions.push(Action::Merge { target: ReplicaSet::clone(new).into(), patch: patch.clone() });
    }
    if annotation(&deployment.metadata, REVISION) != Some(&wanted.to_string()) {
        actions.push(Action::Merge { target: deployment.clone().into(), patch });
    }
    actions
}

/// Moves replicas from the old sets to the new one.
fn roll(deployment: &Deployment, new: &Arc<ReplicaSet>, old: &[&Arc<ReplicaSet>]) -> Vec<Action> {
    let wished = wished(deployment);
    let recreate = strategy(deployment) == "Recreate";
    let old_total = total(old);
    let mut actions = Vec::new();

    let ceiling =
        if recreate && old_pods(old) > 0 { replicas(new) } else { wished + surge(deployment) };
    let room = ceiling.saturating_sub(if recreate { 0 } else { old_total });
    let target = wished.min(room.max(replicas(new))).min(wished);
    if target != replicas(new) {
        actions.push(scale(new, target));
    }

    // What may go: everything above the floor that must stay available; unhealthy old pods always may.
    let floor = if recreate { 0 } else { wished.saturating_sub(unavailable(deployment)) };
    let mut spare = (available(new) + old.iter().map(|set| available(set)).sum::<usize>())
        .saturating_sub(floor);
    for set in old.iter().filter(|set| replicas(set) > 0) {
        let unhealthy = replicas(set).saturating_sub(available(set));
        let healthy = (replicas(set) - unhealthy).min(spare);
        spare -= healthy;
        if unhealthy + healthy > 0 {
            actions.push(scale(set, replicas(set) - unhealthy - healthy));
        }
    }
    actions
}

/// Drops the oldest emptied ReplicaSets beyond `revisionHistoryLimit`.
fn forget(deployment: &Deployment, old: &[&Arc<ReplicaSet>]) -> Vec<Action> {
    let limit = deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit).unwrap_or(10);
    let mut empty: Vec<_> = old
        .iter()
        .filter(|set| replicas(set) == 0 && pods(set) == 0 && !is_deleting(&set.metadata))
        .collect();
    empty.sort_by_key(|set| revision(set));
    let surplus = empty.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    empty.iter().take(surplus).map(|set| Action::Delete(ReplicaSet::clone(set).into())).collect()
}

fn scale(set: &Arc<ReplicaSet>, replicas: usize) -> Action {
    Action::Merge {
        target: ReplicaSet::clone(set).into(),
        patch: json!({ "spec": { "replicas": replicas } }),
    }
}

fn report(
    deployment: &Deployment,
    new: Option<&Arc<ReplicaSet>>,
    sets: &[&Arc<ReplicaSet>],
    now: Timestamp,
) -> Option<Action> {
    let wished = wished(deployment);
    let (updated, ready) =
        (new.map_or(0, |set| pods(set)), sets.iter().map(|set| ready(set)).sum::<usize>());
    let existing: usize = sets.iter().map(|set| pods(set)).sum();
    let enough = ready >= wished.saturating_sub(unavailable(deployment));
    let complete = updated == wished && existing == wished && ready == wished && new.is_some();
    let conditions = [
        condition(
            "Available",
            enough,
            if enough {
                ("MinimumReplicasAvailable", "Deployment has minimum availability.")
            } else {
                ("MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
            },
        ),
        progressing(deployment, complete),
    ];
    let mut status = json!({
        "observedGeneration": deployment.metadata.generation.unwrap_or(0),
        "replicas": existing,
        "updatedReplicas": updated,
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": wished.max(existing) - ready.min(wished.max(existing)),
    });
    let before = serde_json::to_value(&deployment.status).expect("a status serialises");
    let conditions: Vec<Value> =
        conditions.into_iter().map(|c| stamped(c, &before["conditions"], now)).collect();
    status["conditions"] = json!(conditions);
    let same = status.as_object().expect("built above").iter().all(|(field, value)| {
        let old = &before[field];
        old == value || (old.is_null() && *value == json!(0))
    });
    (!same).then(|| Action::MergeStatus { target: deployment.clone().into(), status })
}

fn progressing(deployment: &Deployment, complete: bool) -> Value {
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let (reason, message) = if complete {
        ("NewReplicaSetAvailable", format!("Deployment \"{name}\" has successfully progressed."))
    } else {
        ("ReplicaSetUpdated", format!("Deployment \"{name}\" is progressing."))
    };
    condition("Progressing", true, (reason, &message))
}

fn condition(kind: &str, holds: bool, (reason, message): (&str, &str)) -> Value {
    json!({ "type": kind, "status": if holds { "True" } else { "False" }, "reason": reason, "message": message })
}

/// Adds the times to a condition; those of an unchanged condition stay.
fn stamped(mut condition: Value, before: &Value, now: Timestamp) -> Value {
    let old = before.as_array().into_iter().flatten().find(|old| old["type"] == condition["type"]);
    let now = json!(time(now));
    let since = old.filter(|old| old["status"] == condition["status"]);
    let unchanged = since.filter(|old| old["reason"] == condition["reason"]);
    condition["lastTransitionTime"] =
        since.map_or(now.clone(), |old| old["lastTransitionTime"].clone());
    condition["lastUpdateTime"] = unchanged.map_or(now, |old| old["lastUpdateTime"].clone());
    condition
}

fn strategy(deployment: &Deployment) -> &str {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()).unwrap_or("RollingUpdate")
}

fn wished(deployment: &Deployment) -> usize {
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    usize::try_from(replicas).unwrap_or(0)
}

/// Surge rounds up, unavailability rounds down, and not both are zero (Deployment documentation).
fn surge(deployment: &Deployment) -> usize {
    let value = rolling(deployment, |rolling| rolling.max_surge.clone());
    resolve(value.as_ref(), wished(deployment), true)
}

fn unavailable(deployment: &Deployment) -> usize {
    let value = rolling(deployment, |rolling| rolling.max_unavailable.clone());
    let resolved = resolve(value.as_ref(), wished(deployment), false);
    if resolved == 0 && surge(deployment) == 0 { 1 } else { resolved }
}

fn rolling<T>(
    deployment: &Deployment,
    read: impl Fn(&k8s_openapi::api::apps::v1::RollingUpdateDeployment) -> Option<T>,
) -> Option<T> {
    deployment.spec.as_ref()?.strategy.as_ref()?.rolling_update.as_ref().and_then(read)
}

/// Resolves a number or a percentage of `of`; absent means 25 %.
fn resolve(value: Option<&IntOrString>, of: usize, up: bool) -> usize {
    let percent = match value {
        Some(IntOrString::Int(number)) => return usize::try_from(*number).unwrap_or(0),
        Some(IntOrString::String(text)) => text.trim_end_matches('%').parse().unwrap_or(25),
        None => 25,
    };
    let product: usize = of * percent;
    if up { product.div_ceil(100) } else { product / 100 }
}

fn total(sets: &[&Arc<ReplicaSet>]) -> usize {
    sets.iter().map(|set| replicas(set)).sum()
}

fn old_pods(sets: &[&Arc<ReplicaSet>]) -> usize {
    sets.iter().map(|set| pods(set)).sum()
}

fn replicas(set: &ReplicaSet) -> usize {
    usize::try_from(set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)).unwrap_or(0)
}

fn pods(set: &ReplicaSet) -> usize {
    count(set.status.as_ref().map(|status| status.replicas))
}

fn ready(set: &ReplicaSet) -> usize {
    count(set.status.as_ref().and_then(|status| status.ready_replicas))
}

fn available(set: &ReplicaSet) -> usize {
    count(set.status.as_ref().and_then(|status| status.available_replicas))
}

fn count(number: Option<i32>) -> usize {
    usize::try_from(number.unwrap_or(0)).unwrap_or(0)
}
