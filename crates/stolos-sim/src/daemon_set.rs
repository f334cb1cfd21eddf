//! DaemonSets: one pod on every node that takes it.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;

use crate::action::Action;
use crate::kubelet::{accepts, is_active, is_ready};
use crate::meta::{controlled_by, hash, is_deleting, label, suffix, uid};
use crate::replica_set::pod;
use crate::world::World;

const REVISION_LABEL: &str = "controller-revision-hash";

/// Decides what a DaemonSet needs.
pub(crate) fn decide(world: &World, set: &DaemonSet) -> Vec<Action> {
    let Some(spec) = &set.spec else { return Vec::new() };
    let json = serde_json::to_value(&spec.template).expect("a pod template serialises");
    let revision = format!("{:x}", hash(&json.to_string()) & 0xffff_ffff);
    let pods: Vec<&Arc<Pod>> =
        world.pods.owned_by(uid(&set.metadata)).filter(|pod| is_active(pod)).collect();
    let template = pod("template", &set.metadata, &spec.template, controlled_by(set));
    let nodes: Vec<&str> = world
        .nodes
        .iter()
        .filter(|node| accepts(node, &template))
        .filter_map(|node: &Arc<Node>| node.metadata.name.as_deref())
        .collect();
    let mut actions = Vec::new();
    if !is_deleting(&set.metadata) {
        for node in nodes.iter().filter(|node| !pods.iter().any(|pod| node_of(pod) == Some(**node)))
        {
            actions.push(create(world, set, node, &revision));
        }
        for pod in pods.iter().filter(|pod| node_of(pod).is_none_or(|node| !nodes.contains(&node)))
        {
            actions.push(Action::Delete(Pod::clone(pod).into()));
        }
        if actions.is_empty() {
            actions.extend(update(set, &pods, &revision));
        }
    }
    actions.extend(report(set, &pods, nodes.len(), &revision));
    actions
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn create(world: &World, set: &DaemonSet, node: &str, revision: &str) -> Action {
    let spec = set.spec.as_ref().expect("the caller has read the spec");
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let namespace = set.metadata.namespace.clone().unwrap_or_default();
    // A pod on its way out still holds its name; the next one in the row is free.
    let name = (0..)
        .map(|n: u64| {
            format!("{name}-{}", suffix(&format!("{}/{node}/{revision}/{n}", uid(&set.metadata))))
        })
        .find(|name| {
            let key = crate::meta::Key { namespace: namespace.clone(), name: name.clone() };
            world.pods.get(&key).is_none()
        })
        .expect("an endless row of names has a free one");
    let mut pod = pod(&name, &set.metadata, &spec.template, controlled_by(set));
    pod.metadata
        .labels
        .get_or_insert_default()
        .insert(REVISION_LABEL.to_owned(), revision.to_owned());
    if let Some(spec) = &mut pod.spec {
        spec.node_name = Some(node.to_owned());
    }
    Action::Create(pod.into())
}

/// Replaces one outdated pod at a time, when all others are ready.
fn update(set: &DaemonSet, pods: &[&Arc<Pod>], revision: &str) -> Option<Action> {
    let strategy =
        set.spec.as_ref()?.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
    if strategy == Some("OnDelete") {
        return None;
    }
    let outdated = pods.iter().filter(|pod| label(&pod.metadata, REVISION_LABEL) != Some(revision));
    let mut outdated: Vec<_> = outdated.collect();
    outdated.sort_by_key(|pod| is_ready(pod));
    let first = outdated.first()?;
    let others_ready = pods.iter().all(|pod| is_ready(pod) || Arc::ptr_eq(pod, first));
    others_ready.then(|| Action::Delete(Pod::clone(first).into()))
}

fn report(set: &DaemonSet, pods: &[&Arc<Pod>], desired: usize, revision: &str) -> Option<Action> {
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    let updated =
        pods.iter().filter(|pod| label(&pod.metadata, REVISION_LABEL) == Some(revision)).count();
    let status = json!({
        "observedGeneration": set.metadata.generation.unwrap_or(0),
        "desiredNumberScheduled": desired,
        "currentNumberScheduled": pods.len().min(desired),
        "numberMisscheduled": 0,
        "numberReady": ready,
        "numberAvailable": ready,
        "numberUnavailable": desired - ready.min(desired),
        "updatedNumberScheduled": updated,
    });
    let old = serde_json::to_value(&set.status).expect("a status serialises");
    let same = status.as_object()?.iter().all(|(field, value)| {
        &old[field] == value || (old[field].is_null() && *value == json!(0) && !old.is_null())
    });
    (!same).then(|| Action::MergeStatus { target: set.clone().into(), status })
}
