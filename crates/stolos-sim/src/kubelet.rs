//! Scheduler and kubelets: pods get a node, run, become ready, finish, and go away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Resource;
use serde_json::{Value, json};

use crate::FAIL_ANNOTATION;
use crate::action::Action;
use crate::meta::{annotation, hash, is_deleting, key, time};
use crate::world::World;

/// What a pod needs now, and when to look at it again.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) actions: Vec<Action>,
    pub(crate) wake_at: Option<Timestamp>,
}

impl Step {
    fn act(action: Action) -> Self {
        Self { actions: vec![action], wake_at: None }
    }

    fn wait(until: Timestamp) -> Self {
        Self { actions: Vec::new(), wake_at: Some(until) }
    }
}

/// Decides the next step of a pod's life.
pub(crate) fn decide(world: &World, pod: &Pod, delay: Duration, now: Timestamp) -> Step {
    let Some(spec) = &pod.spec else { return Step::default() };
    if is_deleting(&pod.metadata) {
        return Step::act(Action::Release(pod.clone().into()));
    }
    let Some(node) = &spec.node_name else {
        return match pick_node(world, pod) {
            Some(node) => Step::act(Action::Bind { pod: key(&pod.metadata), node }),
            None => unschedulable(pod, now),
        };
    };
    let delay = SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX);
    match phase(pod) {
        "Running" if is_elsewhere(world, pod) => Step::act(status(pod, addresses(world, pod))),
        "Running" if finishes(world, pod) => after(started(pod), delay, now, || finish(pod, now)),
        "Running" | "Succeeded" | "Failed" => Step::default(),
        _ => match failure(world, pod) {
            Some(reason) if waiting_reason(pod) == Some(reason.as_str()) => Step::default(),
            Some(reason) => Step::act(status(pod, waiting(world, pod, node, &reason, now))),
            None => {
                after(scheduled(pod), delay, now, || status(pod, running(world, pod, node, now)))
            }
        },
    }
}

/// Tells whether a pod counts for its owner: not on its way out and not finished.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_deleting(&pod.metadata) && !matches!(phase(pod), "Succeeded" | "Failed")
}

/// Tells whether a pod has the condition `Ready`.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions =
        pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

fn after(
    since: Option<Timestamp>,
    delay: SignedDuration,
    now: Timestamp,
    act: impl FnOnce() -> Action,
) -> Step {
    match since.and_then(|since| since.checked_add(delay).ok()) {
        Some(due) if due > now => Step::wait(due),
        _ => Step::act(act()),
    }
}

fn condition_time(pod: &Pod, kind: &str) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    let found = conditions
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == "True")?;
    found.last_transition_time.as_ref().map(|at| at.0)
}

fn scheduled(pod: &Pod) -> Option<Timestamp> {
    condition_time(pod, "PodScheduled")
        .or_else(|| pod.metadata.creation_timestamp.as_ref().map(|at| at.0))
}

fn started(pod: &Pod) -> Option<Timestamp> {
    condition_time(pod, "Ready")
}

/// Returns the name of the node with the most free pods slots that fits, first by name on a tie.
fn pick_node(world: &World, pod: &Pod) -> Option<String> {
    let mut load: BTreeMap<&str, (usize, i64, i64)> = BTreeMap::new();
    for other in world.pods.iter().filter(|other| is_active(other)) {
        let placed = other.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let node = placed.or_else(|| world.assumed.get(&key(&other.metadata)).map(String::as_str));
        let Some(node) = node else { continue };
        let entry = load.entry(node).or_default();
        let (cpu, memory) = requests(other);
        *entry = (entry.0 + 1, entry.1 + cpu, entry.2 + memory);
    }
    let (cpu, memory) = requests(pod);
    let fits = |node: &Node| {
        let (_, used_cpu, used_memory) = load.get(name(node)).copied().unwrap_or_default();
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        used_cpu + cpu <= quantity(allocatable, "cpu", MILLI)
            && used_memory + memory <= quantity(allocatable, "memory", UNIT)
    };
    let mut nodes: Vec<&Node> = world
        .nodes
        .iter()
        .map(AsRef::as_ref)
        .filter(|node| accepts(node, pod) && fits(node))
        .collect();
    nodes.sort_by_key(|node| {
        (load.get(name(node)).map_or(0, |entry| entry.0), name(node).to_owned())
    });
    nodes.first().map(|node| name(node).to_owned())
}

fn name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

/// Tells whether a node takes a pod at all: node selector, cordon and taints.
pub(crate) fn accepts(node: &Node, pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let selector = spec.and_then(|spec| spec.node_selector.as_ref());
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let selected =
        selector.into_iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let tolerations = spec.and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let repels = |taint: &&Taint| {
        taint.effect != "PreferNoSchedule"
            && !tolerations.iter().any(|toleration| tolerates(toleration, taint))
    };
    selected && !cordoned && !taints.iter().any(|taint| repels(&taint))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration
        .effect
        .as_deref()
        .is_none_or(|effect| effect.is_empty() || effect == taint.effect);
    let key = toleration.key.as_deref().unwrap_or_default();
    let value = match toleration.operator.as_deref() {
        Some("Exists") => return effect && (key.is_empty() || key == taint.key),
        _ => toleration.value.as_deref().unwrap_or_default(),
    };
    effect && key == taint.key && value == taint.value.as_deref().unwrap_or_default()
}

const MILLI: i64 = 1000;
const UNIT: i64 = 1;

/// Returns what a pod requests: milli-CPU and bytes.
fn requests(pod: &Pod) -> (i64, i64) {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let sum = |resource: &str, scale| {
        let of = |container: &k8s_openapi::api::core::v1::Container| {
            quantity(
                container.resources.as_ref().and_then(|r| r.requests.as_ref()),
                resource,
                scale,
            )
        };
        containers.iter().map(of).sum()
    };
    (sum("cpu", MILLI), sum("memory", UNIT))
}

/// Reads a quantity in thousandths (`scale` 1000) or in whole units.
fn quantity(list: Option<&BTreeMap<String, Quantity>>, resource: &str, scale: i64) -> i64 {
    let Some(Quantity(text)) = list.and_then(|list| list.get(resource)) else { return 0 };
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().unwrap_or(0.0);
    let factor: f64 = match unit {
        "m" => 0.001,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => 1.0,
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "a node has less than 2^53 bytes"
    )]
    let units = (number * factor * scale as f64).round() as i64;
    units
}

/// Tells whether the pod belongs to a Job and so runs to completion.
fn finishes(world: &World, pod: &Pod) -> bool {
    let owner = crate::meta::controller_uid(&pod.metadata).unwrap_or_default();
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let by_job = owners.iter().any(|reference| reference.kind == "Job" && reference.uid == owner);
    by_job && failure(world, pod).is_none()
}

/// Returns why the pod is to fail: its own annotation, or that of the workload that owns it.
fn failure(world: &World, pod: &Pod) -> Option<String> {
    let own = annotation(&pod.metadata, FAIL_ANNOTATION);
    own.or_else(|| owner_annotation(world, pod)).map(str::to_owned)
}

fn owner_annotation<'a>(world: &'a World, pod: &Pod) -> Option<&'a str> {
    let reference = pod
        .metadata
        .owner_references
        .as_deref()?
        .iter()
        .find(|owner| owner.controller == Some(true))?;
    let owner = crate::meta::Key {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: reference.name.clone(),
    };
    let meta = match reference.kind.as_str() {
        "ReplicaSet" => world.replica_sets.get(&owner).map(|set| set.meta()),
        "StatefulSet" => world.stateful_sets.get(&owner).map(|set| set.meta()),
        "DaemonSet" => world.daemon_sets.get(&owner).map(|set| set.meta()),
        "Job" => world.jobs.get(&owner).map(|job| job.meta()),
        _ => None,
    }?;
    annotation(meta, FAIL_ANNOTATION)
}

fn waiting_reason(pod: &Pod) -> Option<&str> {
    let container = pod.status.as_ref()?.container_statuses.as_deref()?.first()?;
    container.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

fn unschedulable(pod: &Pod, now: Timestamp) -> Step {
    let conditions =
        pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    if conditions
        .iter()
        .any(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
    {
        return Step::default();
    }
    let mut unscheduled = condition("PodScheduled", false, now);
    unscheduled["reason"] = json!("Unschedulable");
    unscheduled["message"] = json!("no simulated node fits the pod");
    Step::act(status(pod, json!({ "phase": "Pending", "conditions": [unscheduled] })))
}

fn status(pod: &Pod, status: Value) -> Action {
    Action::MergeStatus { target: pod.clone().into(), status }
}

fn condition(kind: &str, holds: bool, now: Timestamp) -> Value {
    json!({ "type": kind, "status": if holds { "True" } else { "False" }, "lastTransitionTime": time(now) })
}

fn running(world: &World, pod: &Pod, node: &str, now: Timestamp) -> Value {
    let mut status = base(world, pod, node, "Running", true, now);
    status["containerStatuses"] =
        containers(pod, true, &json!({ "running": { "startedAt": time(now) } }));
    status
}

fn waiting(world: &World, pod: &Pod, node: &str, reason: &str, now: Timestamp) -> Value {
    let mut status = base(world, pod, node, "Pending", false, now);
    let state = json!({ "waiting": { "reason": reason, "message": format!("simulated failure: {reason}") } });
    status["containerStatuses"] = containers(pod, false, &state);
    status
}

fn finish(pod: &Pod, now: Timestamp) -> Action {
    let ended =
        json!({ "terminated": { "exitCode": 0, "reason": "Completed", "finishedAt": time(now) } });
    let mut ready = condition("Ready", false, now);
    ready["reason"] = json!("PodCompleted");
    let conditions =
        json!([condition("PodScheduled", true, now), condition("Initialized", true, now), ready]);
    let containers = containers(pod, false, &ended);
    status(
        pod,
        json!({ "phase": "Succeeded", "conditions": conditions, "containerStatuses": containers }),
    )
}

fn base(world: &World, pod: &Pod, node: &str, phase: &str, ready: bool, now: Timestamp) -> Value {
    let scheduled = scheduled(pod).unwrap_or(now);
    let mut status = addresses(world, pod);
    status["phase"] = json!(phase);
    status["hostIP"] = json!(node_ip(world, node));
    status["startTime"] = json!(time(now));
    status["conditions"] = json!([
        condition("PodScheduled", true, scheduled),
        condition("Initialized", true, now),
        condition("ContainersReady", ready, now),
        condition("Ready", ready, now),
    ]);
    status
}

fn addresses(world: &World, pod: &Pod) -> Value {
    let ip = pod_ip(world, pod);
    json!({ "podIP": ip, "podIPs": [{ "ip": ip }] })
}

fn containers(pod: &Pod, ready: bool, state: &Value) -> Value {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let statuses = containers.iter().map(|container| {
        let image = container.image.as_deref().unwrap_or_default();
        json!({
            "name": container.name,
            "image": image,
            "imageID": "",
            "ready": ready,
            "started": ready,
            "restartCount": 0,
            "state": state,
        })
    });
    statuses.collect()
}

fn node_ip(world: &World, name: &str) -> String {
    let key = crate::meta::Key { namespace: String::new(), name: name.to_owned() };
    let node = world.nodes.get(&key).and_then(|node| node.status.as_ref());
    let addresses = node.and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    addresses
        .iter()
        .find(|address| address.type_ == "InternalIP")
        .map(|a| a.address.clone())
        .unwrap_or_default()
}

fn held_ip(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.pod_ip.as_deref().filter(|ip| !ip.is_empty())
}

/// Tells whether a pod has an address that is not of the cluster's network, as after a restart with another one.
fn is_elsewhere(world: &World, pod: &Pod) -> bool {
    held_ip(pod).is_some_and(|ip| !is_of_network(world, ip))
}

fn is_of_network(world: &World, ip: &str) -> bool {
    ip.parse().is_ok_and(|ip| world.pod_network.contains(ip))
}

/// Returns the pod's address, or draws one from the cluster's network that no living pod has.
fn pod_ip(world: &World, pod: &Pod) -> String {
    if let Some(ip) = held_ip(pod).filter(|ip| is_of_network(world, ip)) {
        return ip.to_owned();
    }
    let others = world.pods.iter().filter(|other| is_active(other));
    let taken: BTreeSet<&str> = others.filter_map(|other| held_ip(other)).collect();
    let network = world.pod_network;
    let first = hash(crate::meta::uid(&pod.metadata)) % network.size();
    let nth = |n| network.nth(first + n).to_string();
    // With more pods than addresses, some share one.
    (0..network.size()).map(nth).find(|ip| !taken.contains(ip.as_str())).unwrap_or_else(|| nth(0))
}
