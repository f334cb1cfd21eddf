//! A simulated Cluster API: topologies flow to their parts in order, parts replace one machine at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::stream::{BoxStream, SelectAll, select_all};
use futures::{FutureExt, StreamExt};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::rig::{CONTROL_PLANE, CORE, Rig};

const HOLD: &str = "topology.cluster.x-k8s.io/hold-upgrade-sequence";
const DEFER: &str = "topology.cluster.x-k8s.io/defer-upgrade";

/// What a test sees and changes.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Rollouts stand still.
    pub(crate) stalled: bool,
    /// What happened, in order: `c-a v1.34.1` when the last machine of a part has a new version or template.
    pub(crate) finished: Vec<String>,
    /// What must not happen.
    pub(crate) wrong: Vec<String>,
    parts: BTreeMap<String, Rollout>,
}

/// Machines of a part.
#[derive(Clone, Debug)]
struct Rollout {
    /// Version, template and image of machines that are up to date.
    wanted: String,
    oldest: String,
    up_to_date: i64,
}

pub(crate) struct Controller {
    pub(crate) state: Arc<Mutex<State>>,
    /// The test has changed something.
    changed: Arc<Notify>,
    task: AbortHandle,
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Controller {
    pub(crate) fn spawn(rig: Rig) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let changed = Arc::new(Notify::new());
        let (shared, woken) = (state.clone(), changed.clone());
        let task = tokio::spawn(async move {
            let mut changes = changes(&rig);
            loop {
                round(&rig, &shared).await;
                tokio::select! {
                    _ = changes.next() => {}
                    () = woken.notified() => {}
                }
                // One round answers all that has changed.
                while changes.next().now_or_never().flatten().is_some() {}
            }
        });
        Self { state, changed, task: task.abort_handle() }
    }

    pub(crate) fn finished(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        assert!(state.wrong.is_empty(), "{:?}", state.wrong);
        state.finished.clone()
    }

    pub(crate) fn stall(&self, stalled: bool) {
        self.state.lock().unwrap().stalled = stalled;
        self.changed.notify_one();
    }
}

/// Returns a stream that says when something about a cluster has changed.
fn changes(rig: &Rig) -> SelectAll<BoxStream<'static, ()>> {
    let kinds = [
        (CORE, "Cluster"),
        (CORE, "ClusterClass"),
        (CORE, "MachineDeployment"),
        (CORE, "MachinePool"),
        (CONTROL_PLANE, "KubeadmControlPlane"),
    ];
    let watch = |(group, kind)| {
        watcher(rig.api(group, kind), watcher::Config::default())
            .default_backoff()
            .map(drop)
            .boxed()
    };
    select_all(kinds.map(watch))
}

async fn round(rig: &Rig, state: &Arc<Mutex<State>>) {
    let cluster = rig.get(CORE, "Cluster", "c").await;
    if cluster.data["spec"]["paused"] == json!(true) {
        return;
    }
    let control_plane = rig.get(CONTROL_PLANE, "KubeadmControlPlane", "c-cp").await;
    let list = ListParams::default();
    let deployments = rig.api(CORE, "MachineDeployment").list(&list).await.unwrap().items;
    let pools = rig.api(CORE, "MachinePool").list(&list).await.unwrap().items;
    if cluster.data["spec"]["topology"].is_object() {
        follow_topology(rig, &cluster, &control_plane, &deployments, &pools).await;
    }
    let highest = control_plane.data["status"]["version"].as_str().unwrap_or_default().to_owned();
    roll(rig, state, CONTROL_PLANE, "KubeadmControlPlane", &control_plane, 3).await;
    for (kind, objects) in [("MachineDeployment", &deployments), ("MachinePool", &pools)] {
        for object in objects {
            let version = object.data["spec"]["template"]["spec"]["version"].as_str().unwrap();
            if !highest.is_empty() && version > &*highest {
                let name = object.metadata.name.as_ref().unwrap();
                let wrong = format!("{name} at {version} before the control plane, at {highest}");
                state.lock().unwrap().wrong.push(wrong);
            }
            roll(rig, state, CORE, kind, object, 2).await;
        }
    }
}

fn is_settled(object: &DynamicObject) -> bool {
    let status = &object.data["status"];
    let up_to_date = [
        &status["upToDateReplicas"],
        &status["updatedReplicas"],
        &status["v1beta2"]["upToDateReplicas"],
    ];
    let up_to_date = up_to_date.iter().find_map(|number| number.as_i64());
    status["observedGeneration"].as_i64() == object.metadata.generation
        && up_to_date == object.data["spec"]["replicas"].as_i64()
}

/// Control plane, then MachineDeployments one by one, then MachinePools.
async fn follow_topology(
    rig: &Rig,
    cluster: &DynamicObject,
    control_plane: &DynamicObject,
    deployments: &[DynamicObject],
    pools: &[DynamicObject],
) {
    let topology = &cluster.data["spec"]["topology"];
    let image = &topology["variables"][0]["value"];
    let reason = propagate(rig, topology, control_plane, deployments, pools).await;
    for object in deployments.iter().filter(|_| image.is_string()) {
        let annotation = &object.data["spec"]["template"]["metadata"]["annotations"]["image"];
        if annotation != image {
            let template = json!({"metadata": {"annotations": {"image": image}}});
            let name = object.metadata.name.as_ref().unwrap();
            let patch = json!({"spec": {"template": template}});
            rig.patch(CORE, "MachineDeployment", name, patch).await;
        }
    }
    let condition = json!([{
        "type": "TopologyReconciled",
        "status": if reason.is_none() { "True" } else { "False" },
        "reason": reason.unwrap_or("ReconcileSucceeded"),
        "message": "",
        "observedGeneration": cluster.metadata.generation,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]);
    let status = if rig.is_new() {
        json!({"conditions": condition})
    } else {
        json!({"v1beta2": {"conditions": condition}})
    };
    set_status(rig, CORE, "Cluster", cluster, status).await;
}

async fn propagate(
    rig: &Rig,
    topology: &Value,
    control_plane: &DynamicObject,
    deployments: &[DynamicObject],
    pools: &[DynamicObject],
) -> Option<&'static str> {
    let version = &step(rig, topology, control_plane, deployments, pools).await;
    if control_plane.data["spec"]["version"] != *version {
        let patch = json!({"spec": {"version": version}});
        rig.patch(CONTROL_PLANE, "KubeadmControlPlane", "c-cp", patch).await;
        return Some("ControlPlaneUpgradePending");
    }
    if !is_settled(control_plane) {
        return Some("ClusterUpgrading");
    }
    for (kind, key, objects) in [
        ("MachineDeployment", "machineDeployments", deployments),
        ("MachinePool", "machinePools", pools),
    ] {
        for item in topology["workers"][key].as_array().into_iter().flatten() {
            let annotations = &item["metadata"]["annotations"];
            let name = format!("c-{}", item["name"].as_str().unwrap());
            let object = objects.iter().find(|object| object.metadata.name.as_ref() == Some(&name));
            let object = object.unwrap();
            let current = &object.data["spec"]["template"]["spec"]["version"];
            if kind == "MachineDeployment" && !annotations[HOLD].is_null() && current != version {
                return Some("MachineDeploymentsUpgradePending");
            }
            if !annotations[DEFER].is_null() && current != version {
                return Some("MachinePoolsUpgradeDeferred");
            }
            if current != version {
                let patch = json!({"spec": {"template": {"spec": {"version": version}}}});
                rig.patch(CORE, kind, &name, patch).await;
                return Some("MachineDeploymentsUpgradePending");
            }
            if !is_settled(object) {
                return Some("ClusterUpgrading");
            }
        }
    }
    (*version != topology["version"]).then_some("ControlPlaneUpgradePending")
}

/// Returns the version that everything goes to next: that of the topology, or the next one that its class lists on the way.
async fn step(
    rig: &Rig,
    topology: &Value,
    control_plane: &DynamicObject,
    deployments: &[DynamicObject],
    pools: &[DynamicObject],
) -> Value {
    let class = rig.get(CORE, "ClusterClass", "standard").await;
    let Some(listed) = class.data["spec"]["kubernetesVersions"].as_array() else {
        return topology["version"].clone();
    };
    let current = &control_plane.data["spec"]["version"];
    let together = deployments.iter().chain(pools).all(|worker| {
        is_settled(worker) && worker.data["spec"]["template"]["spec"]["version"] == *current
    });
    if current == &topology["version"] || !together || !is_settled(control_plane) {
        return current.clone();
    }
    let here = listed.iter().position(|version| version == current).unwrap();
    listed[here + 1].clone()
}

/// Replaces one machine of a part and writes its status.
async fn roll(
    rig: &Rig,
    state: &Arc<Mutex<State>>,
    group: &str,
    kind: &str,
    object: &DynamicObject,
    replicas: i64,
) {
    let name = object.metadata.name.clone().unwrap();
    let spec = &object.data["spec"];
    let version = [&spec["version"], &spec["template"]["spec"]["version"]];
    let version = version.iter().find_map(|version| version.as_str()).unwrap().to_owned();
    let template = [
        &spec["machineTemplate"]["infrastructureRef"],
        &spec["machineTemplate"]["spec"]["infrastructureRef"],
        &spec["template"]["spec"]["infrastructureRef"],
    ];
    let template = template.iter().find_map(|reference| reference["name"].as_str()).unwrap();
    let image = &spec["template"]["metadata"]["annotations"]["image"];
    let wanted = format!("{version} {template} {}", image.as_str().unwrap_or("-"));
    let on_delete = [&spec["strategy"]["type"], &spec["rollout"]["strategy"]["type"]];
    let on_delete = on_delete.contains(&&json!("OnDelete"));
    let rollout = {
        let mut state = state.lock().unwrap();
        let stalled = state.stalled;
        let rollout = state.parts.entry(name.clone()).or_insert_with(|| Rollout {
            wanted: wanted.clone(),
            oldest: version.clone(),
            up_to_date: replicas,
        });
        if rollout.wanted != wanted {
            rollout.wanted.clone_from(&wanted);
            rollout.up_to_date = 0;
        } else if rollout.up_to_date < replicas && !stalled && !on_delete {
            rollout.up_to_date += 1;
        }
        let rollout = rollout.clone();
        if rollout.up_to_date == replicas
            && !state.finished.iter().any(|done| *done == format!("{name} {wanted}"))
        {
            state.finished.push(format!("{name} {wanted}"));
            state.parts.get_mut(&name).unwrap().oldest.clone_from(&version);
        }
        if rollout.up_to_date == replicas {
            Rollout { oldest: version.clone(), ..rollout }
        } else {
            rollout
        }
    };
    let mut versions = vec![json!({"version": rollout.oldest})];
    if rollout.oldest != version && rollout.up_to_date > 0 {
        versions.push(json!({"version": version}));
    }
    let mut status = json!({
        "observedGeneration": object.metadata.generation, "replicas": replicas,
        "readyReplicas": replicas, "versions": versions,
    });
    if kind == "KubeadmControlPlane" {
        status["version"] = json!(rollout.oldest);
    }
    if rig.is_new() {
        status["upToDateReplicas"] = json!(rollout.up_to_date);
        status["availableReplicas"] = json!(replicas);
    } else if kind == "MachinePool" {
        status["v1beta2"] = json!({"upToDateReplicas": rollout.up_to_date});
        status["availableReplicas"] = json!(replicas);
    } else {
        status["updatedReplicas"] = json!(rollout.up_to_date);
    }
    if state.lock().unwrap().stalled && rollout.up_to_date < replicas {
        status["conditions"] = json!([{
            "type": "MachinesReady", "status": "False", "reason": "NodeDrainFailed",
            "message": "a PodDisruptionBudget allows nothing", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]);
    } else {
        status["conditions"] = json!(null);
    }
    set_status(rig, group, kind, object, status).await;
}

async fn set_status(rig: &Rig, group: &str, kind: &str, object: &DynamicObject, status: Value) {
    let patch = json!({
        "metadata": {"resourceVersion": object.metadata.resource_version}, "status": status,
    });
    let api = rig.api(group, kind);
    let name = object.metadata.name.as_deref().unwrap();
    match api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_conflict() => {}
        Err(error) => panic!("{kind} {name}: {error}"),
    }
}
