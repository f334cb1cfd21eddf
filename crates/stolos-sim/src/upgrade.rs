//! Upgrades of a simulated cluster, asked for by ConfigMaps.
//!
//! A ConfigMap in `kube-system` with the label [`UPGRADE_LABEL`](crate::UPGRADE_LABEL) asks for one upgrade. Its `data`:
//!
//! | key | written by | meaning |
//! |---|---|---|
//! | `kubernetesVersion` | asker | wanted version without `v`; absent = leave |
//! | `nodeImage` | asker | wanted image of the nodes; absent = leave |
//! | `controlPlaneOnly` | asker | `true`: the nodes stay as they are |
//! | `rollback` | asker | `true`: what is ahead of the wanted version goes back to it, nodes before the control plane |
//! | `state` | simulation | `Running`, then `Done` or `Failed` |
//! | `message` | simulation | what is going on |
//! | `node`, `nodeStartedAt` | simulation | the node being upgraded, and since when |
//!
//! The ConfigMap `simulated-cluster` holds the script of what goes wrong; [`script`](crate::script) reads it.
//!
//! Upgrades run one after another in the order of their creation, and inside one the nodes do, by name. Everything is
//! kept in the cluster, so that a restart goes on where it stopped and upgrades no node twice.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use serde_json::{Value, json};

use crate::action::Action;
use crate::meta::{Key, annotation, is_deleting, label, time};
use crate::script::{Script, Verdict};
use crate::world::World;
use crate::{CLUSTER_CONFIG_MAP, NODE_IMAGE_LABEL, UPGRADE_LABEL, UPGRADES_ANNOTATION};

/// Annotation of a node with the name of the last upgrade that it went through.
const UPGRADED_BY: &str = "sim.stolos.dev/upgraded-by";

/// What an upgrade needs now, and when to look at it again.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) actions: Vec<Action>,
    pub(crate) wake_at: Option<Timestamp>,
}

/// Decides the next step of the cluster's upgrades.
pub(crate) fn decide(world: &World, node_time: Duration, now: Timestamp) -> Step {
    let facts = Key { namespace: "kube-system".to_owned(), name: CLUSTER_CONFIG_MAP.to_owned() };
    let Some(facts) = world.config_maps.get(&facts) else { return Step::default() };
    let script = Script::read(facts);
    if let Some(gone) = script.expired(now) {
        return Step::act(set(facts, &gone));
    }
    let mut step = go_on(world, facts, &script, node_time, now);
    step.wake_at = step.wake_at.into_iter().chain(script.next_end(now)).min();
    step
}

fn go_on(
    world: &World,
    facts: &Arc<ConfigMap>,
    script: &Script,
    node_time: Duration,
    now: Timestamp,
) -> Step {
    let Some(request) = current(world) else { return Step::default() };
    match script.verdict(attempt(world), now) {
        Verdict::GoOn => {}
        Verdict::Wait(until) => return Step { actions: Vec::new(), wake_at: Some(until) },
        Verdict::Fail(message) => {
            return Step::act(set(request, &json!({ "state": "Failed", "message": message })));
        }
    }
    let node_time = script.node_time(request, node_time);
    let control_plane = move_control_plane(request, facts);
    let node = outdated(world, request);
    // Nodes are never newer than their control plane.
    match (control_plane, node) {
        (Some(step), None) => step,
        (Some(step), Some(_)) if !is_rollback(request) => step,
        (_, Some(node)) => upgrade(request, node, node_time, now),
        (None, None) => Step::act(set(
            request,
            &json!({ "state": "Done", "message": "all nodes are up to date", "node": null, "nodeStartedAt": null }),
        )),
    }
}

fn move_control_plane(request: &Arc<ConfigMap>, facts: &Arc<ConfigMap>) -> Option<Step> {
    let version = value(request, "kubernetesVersion")?;
    let running = value(facts, "controlPlaneVersion").unwrap_or_default();
    if reached(running, version, request) {
        return None;
    }
    let message = format!("control plane to {version}");
    Some(Step {
        actions: vec![
            set(request, &json!({ "state": "Running", "message": message })),
            set(facts, &json!({ "controlPlaneVersion": version })),
        ],
        wake_at: None,
    })
}

fn is_rollback(request: &ConfigMap) -> bool {
    value(request, "rollback") == Some("true")
}

impl Step {
    fn act(action: Action) -> Self {
        Self { actions: vec![action], wake_at: None }
    }
}

fn value<'a>(map: &'a ConfigMap, key: &str) -> Option<&'a str> {
    map.data.as_ref()?.get(key).map(String::as_str)
}

/// Returns the oldest request that is not finished.
fn current(world: &World) -> Option<&Arc<ConfigMap>> {
    world
        .config_maps
        .in_namespace("kube-system")
        .filter(|map| label(&map.metadata, UPGRADE_LABEL).is_some() && !is_deleting(&map.metadata))
        .filter(|map| !is_finished(map))
        .min_by_key(|map| {
            (map.metadata.creation_timestamp.as_ref().map(|at| at.0), map.metadata.name.clone())
        })
}

/// Returns which upgrade of the cluster the one is that goes on now, counted from 1.
fn attempt(world: &World) -> usize {
    let all = world.config_maps.in_namespace("kube-system");
    let requests = all.filter(|map| label(&map.metadata, UPGRADE_LABEL).is_some());
    1 + requests.filter(|map| is_finished(map)).count()
}

fn is_finished(request: &ConfigMap) -> bool {
    matches!(value(request, "state"), Some("Done" | "Failed"))
}

fn outdated<'a>(world: &'a World, request: &ConfigMap) -> Option<&'a Arc<Node>> {
    if value(request, "controlPlaneOnly") == Some("true") {
        return None;
    }
    world.nodes.iter().find(|node| !has(node, request))
}

fn has(node: &Node, request: &ConfigMap) -> bool {
    let running = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    let running = running.map_or("", |info| info.kubelet_version.as_str());
    value(request, "kubernetesVersion").is_none_or(|version| reached(running, version, request))
        && value(request, "nodeImage")
            .is_none_or(|image| label(&node.metadata, NODE_IMAGE_LABEL) == Some(image))
}

/// Whether a part that runs one version has nothing left to do for another: it is there, or ahead and not asked to go back.
fn reached(running: &str, wanted: &str, request: &ConfigMap) -> bool {
    let (running, wanted) = (numbers(running), numbers(wanted));
    running == wanted || (running > wanted && !is_rollback(request))
}

/// Returns the numbers of `v1.34.1+vendor`.
fn numbers(version: &str) -> Vec<u32> {
    let core = version.trim_start_matches('v').split(['+', '-']).next().unwrap_or_default();
    core.split('.').map_while(|number| number.parse().ok()).collect()
}

fn upgrade(request: &ConfigMap, node: &Arc<Node>, node_time: Duration, now: Timestamp) -> Step {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let begun = value(request, "nodeStartedAt").and_then(|text| text.parse::<Timestamp>().ok());
    let Some(begun) = begun.filter(|_| value(request, "node") == Some(name)) else {
        let note = json!({
            "state": "Running", "message": format!("upgrading node {name}"),
            "node": name, "nodeStartedAt": now.to_string(),
        });
        return Step::act(set(request, &note));
    };
    let due =
        begun.saturating_add(SignedDuration::try_from(node_time).unwrap_or(SignedDuration::MAX));
    match due {
        Ok(due) if due > now => Step { actions: Vec::new(), wake_at: Some(due) },
        _ => Step { actions: finish(request, node, now), wake_at: None },
    }
}

/// The count goes first, under the name of the request; the versions follow. A crash between the two repeats only the
/// second.
fn finish(request: &ConfigMap, node: &Arc<Node>, now: Timestamp) -> Vec<Action> {
    let by = request.metadata.name.as_deref().unwrap_or_default();
    if annotation(&node.metadata, UPGRADED_BY) != Some(by) {
        let count: u64 = annotation(&node.metadata, UPGRADES_ANNOTATION)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let mut metadata = json!({
            "annotations": { UPGRADED_BY: by, UPGRADES_ANNOTATION: (count + 1).to_string() },
        });
        if let Some(image) = value(request, "nodeImage") {
            metadata["labels"] = json!({ NODE_IMAGE_LABEL: image });
        }
        return vec![Action::Merge {
            target: Node::clone(node).into(),
            patch: json!({ "metadata": metadata }),
        }];
    }
    let mut info = json!({});
    if let Some(version) = value(request, "kubernetesVersion") {
        info["kubeletVersion"] = json!(format!("v{version}"));
    }
    if let Some(image) = value(request, "nodeImage") {
        info["osImage"] = json!(image);
    }
    let ready = json!([{
        "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "simulated kubelet is ready",
        "lastHeartbeatTime": time(now), "lastTransitionTime": time(now),
    }]);
    let status = json!({ "nodeInfo": info, "conditions": ready });
    vec![Action::MergeStatus { target: Node::clone(node).into(), status }]
}

fn set(map: &ConfigMap, data: &Value) -> Action {
    Action::Merge { target: map.clone().into(), patch: json!({ "data": data }) }
}
