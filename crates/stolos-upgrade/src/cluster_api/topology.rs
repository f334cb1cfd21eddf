//! Clusters with a topology: one write to the `Cluster` says everything, and Cluster API follows in its own order.

use serde_json::{Map, Value, json};
use stolos_api::update::{MemberTarget, UpgradeType};
use stolos_core::update::version::Version;

use super::objects::{DEFER, HOLD, version_at};

/// Value of annotations that this provider set, and may take away.
const OURS: &str = "stolos";

/// Kinds of workers in a topology, and the annotation that keeps one of each back.
const WORKERS: [(&str, &str); 2] = [("machineDeployments", HOLD), ("machinePools", DEFER)];

/// Returns the change of `spec.topology` that an upgrade needs; `None` when there is nothing to change.
///
/// Lists are sent whole, as merge patches replace them; the write must carry the resourceVersion that it was made for.
pub(super) fn change(
    topology: &Value,
    upgrade_type: UpgradeType,
    wanted: Option<Version>,
) -> Option<Value> {
    let mut patch = Map::new();
    let current = version_at(topology, "/version");
    if let Some(wanted) = wanted.filter(|wanted| current.is_none_or(|now| now < *wanted)) {
        patch.insert("version".into(), json!(format!("v{wanted}")));
    }
    let workers = match upgrade_type {
        UpgradeType::ControlPlaneOnly => held(topology),
        UpgradeType::Full => released(topology),
        UpgradeType::NodeImageOnly => Map::new(),
    };
    if !workers.is_empty() {
        patch.insert("workers".into(), Value::Object(workers));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Returns why a topology cannot be brought to a version: all its parts go to one, and that never goes back.
pub(super) fn refusal(topology: &Value, wanted: Version) -> Option<String> {
    let current = version_at(topology, "/version")?;
    (wanted < current).then(|| {
        format!(
            "the topology is at {current}: its workers follow to that version, they cannot stop at {wanted}"
        )
    })
}

pub(super) fn wanted_version(target: &MemberTarget) -> Result<Option<Version>, String> {
    let version = target.kubernetes_version.as_deref().map(str::parse::<Version>);
    version.transpose().map_err(|error| error.to_string())
}

/// Keeps workers at their version: the first MachineDeployment, which holds those after it too, and each MachinePool.
fn held(topology: &Value) -> Map<String, Value> {
    change_workers(topology, |kind, index, annotations| {
        let name = if kind == "machineDeployments" && index > 0 { return } else { kept_by(kind) };
        annotations.entry(name).or_insert_with(|| OURS.into());
    })
}

/// Takes away what [`held`] set. Annotations of others stay.
fn released(topology: &Value) -> Map<String, Value> {
    change_workers(topology, |kind, _, annotations| {
        if annotations.get(kept_by(kind)) == Some(&Value::from(OURS)) {
            annotations.remove(kept_by(kind));
        }
    })
}

fn kept_by(kind: &str) -> &'static str {
    WORKERS.iter().find(|(name, _)| *name == kind).map_or(HOLD, |(_, annotation)| annotation)
}

fn change_workers(
    topology: &Value,
    change: impl Fn(&str, usize, &mut Map<String, Value>),
) -> Map<String, Value> {
    let mut changed = Map::new();
    for (kind, _) in WORKERS {
        let Some(before) = topology.pointer(&format!("/workers/{kind}")) else { continue };
        let mut list = before.clone();
        for (index, item) in list.as_array_mut().into_iter().flatten().enumerate() {
            let read = item.pointer("/metadata/annotations").and_then(Value::as_object);
            let mut annotations = read.cloned().unwrap_or_default();
            change(kind, index, &mut annotations);
            if read.map_or(!annotations.is_empty(), |before| *before != annotations) {
                item["metadata"]["annotations"] = Value::Object(annotations);
            }
        }
        if list != *before {
            changed.insert(kind.to_owned(), list);
        }
    }
    changed
}

/// Returns what keeps a worker of the topology at its version on purpose.
pub(super) fn kept_back<'a>(topology: &'a Value, kind: &str, name: &str) -> Option<&'a str> {
    let list = topology.pointer(&format!("/workers/{kind}")).and_then(Value::as_array)?;
    let has = |item: &Value, annotation: &str| {
        item.pointer("/metadata/annotations").is_some_and(|all| all.get(annotation).is_some())
    };
    for item in list {
        let is_it = item.get("name") == Some(&Value::from(name));
        if kind == "machineDeployments" && has(item, HOLD) {
            return Some(HOLD);
        }
        if is_it {
            return has(item, DEFER).then_some(DEFER);
        }
    }
    None
}

/// Returns the value of a variable of the topology.
pub(super) fn variable<'a>(topology: &'a Value, name: &str) -> Option<&'a Value> {
    let variables = topology.get("variables").and_then(Value::as_array)?;
    let variable = variables.iter().find(|variable| variable.get("name") == Some(&name.into()))?;
    variable.get("value")
}

/// Returns the change of `spec.topology` that sets a variable.
pub(super) fn with_variable(topology: &Value, name: &str, value: &Value) -> Value {
    let variables = topology.get("variables").and_then(Value::as_array);
    let mut variables = variables.cloned().unwrap_or_default();
    match variables.iter_mut().find(|variable| variable.get("name") == Some(&name.into())) {
        Some(variable) => variable["value"] = value.clone(),
        None => variables.push(json!({ "name": name, "value": value })),
    }
    json!({ "variables": variables })
}
