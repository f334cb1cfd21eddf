//! What a simulated cluster's objects say about it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use stolos_core::update::cluster::{Cluster, Hold, Offer, Operation, Pool, Power, Restorable};
use stolos_core::update::image::NodeImage;
use stolos_core::update::version::Version;

use super::UPGRADE_PREFIX;

const POOL_LABEL: &str = "kubernetes.azure.com/agentpool";
const NODE_IMAGE_LABEL: &str = "kubernetes.azure.com/node-image-version";

/// Nodes without a pool label form a pool of this name.
const UNNAMED_POOL: &str = "nodes";

/// Reads an upgrade and its id from the ConfigMap that asks for it.
pub(super) fn operation(request: &ConfigMap) -> Option<(String, Operation)> {
    let id = request.metadata.name.as_deref()?.strip_prefix(UPGRADE_PREFIX)?;
    let value = |key: &str| request.data.as_ref().and_then(|data| data.get(key)).cloned();
    let message = value("message");
    let operation = match value("state").as_deref() {
        Some("Done") => Operation::Done(message),
        Some("Failed") => Operation::Failed {
            code: "SimulatedFailure".into(),
            message: message.unwrap_or_else(|| "the simulation gave no reason".into()),
        },
        _ => Operation::Running(message),
    };
    Some((id.to_owned(), operation))
}

/// Reads the state of a cluster, or says why that is not possible.
pub(super) fn inspect(
    facts: &BTreeMap<String, String>,
    nodes: &[&Node],
    operations: &BTreeMap<String, Operation>,
) -> Result<Cluster, String> {
    if let Some(until) = facts.get("apiErrorsUntil") {
        return Err(format!("the cluster does not answer until {until}, as its script says"));
    }
    let mut pools: BTreeMap<&str, Pool> = BTreeMap::new();
    for node in nodes {
        let name = label(node, POOL_LABEL).unwrap_or(UNNAMED_POOL);
        let version = kubelet_version(node)?;
        let image = label(node, NODE_IMAGE_LABEL).and_then(|text| text.parse().ok());
        let pool = pools.entry(name).or_insert_with(|| Pool {
            name: name.to_owned(),
            version,
            image: image.clone(),
            from_snapshot: false,
        });
        pool.version = pool.version.min(version);
        pool.image = oldest(pool.image.take(), image);
    }
    let control_plane = match facts.get("controlPlaneVersion") {
        Some(version) => version.parse().map_err(|error| format!("control plane: {error}"))?,
        None => pools.values().map(|pool| pool.version).max().ok_or(
            "the cluster has neither nodes nor facts that would tell its version".to_owned(),
        )?,
    };
    let busy = operations.iter().find(|(_, operation)| matches!(operation, Operation::Running(_)));
    let own = busy.map(|(id, _)| format!("upgrade {id} of the cluster is under way"));
    let scripted = facts.get("busyUntil");
    let scripted = scripted.map(|until| format!("busy until {until}, as its script says"));
    let unavailable: Vec<&str> = items(facts.get("unavailable")).collect();
    let node_region = || nodes.iter().find_map(|node| label(node, "topology.kubernetes.io/region"));
    let stopped = facts.get("power").is_some_and(|power| power == "stopped");
    Ok(Cluster {
        region: facts.get("region").map(String::as_str).or_else(node_region).map(str::to_owned),
        pools: pools.into_values().collect(),
        power: if stopped { Power::Stopped } else { Power::Running },
        hold: own.or(scripted).map(Hold::busy),
        versions: offer(facts.get("kubernetesVersions"), &unavailable)?,
        images: offer(facts.get("nodeImages"), &unavailable)?,
        restorable: Restorable {
            versions: facts.get("versionRollback").is_some_and(|can| can == "true"),
            images: Offer::Anything,
        },
        ..Cluster::running(control_plane)
    })
}

fn label<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn kubelet_version(node: &Node) -> Result<Version, String> {
    let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let version = info.map(|info| info.kubelet_version.as_str()).unwrap_or_default();
    version.parse().map_err(|error| format!("node `{name}` reports no version: {error}"))
}

fn oldest(one: Option<NodeImage>, other: Option<NodeImage>) -> Option<NodeImage> {
    match (one, other) {
        (Some(one), Some(other)) if other.cmp_version(&one).is_lt() => Some(other),
        (Some(one), _) => Some(one),
        (None, other) => other,
    }
}

fn items(list: Option<&String>) -> impl Iterator<Item = &str> {
    let items = list.map_or("", String::as_str).split(',').map(str::trim);
    items.filter(|item| !item.is_empty())
}

fn offer<T: FromStr>(list: Option<&String>, unavailable: &[&str]) -> Result<Offer<T>, String>
where
    T::Err: Display,
{
    if list.is_none() {
        return Ok(Offer::Anything);
    }
    let offered = items(list).filter(|item| !unavailable.contains(item));
    let offered = offered.map(|item| item.parse().map_err(|error: T::Err| error.to_string()));
    offered.collect::<Result<_, _>>().map(Offer::These)
}
