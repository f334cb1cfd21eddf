//! What a member reports about itself: nodes, capacity, versions (placement-clusters 2.4).

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use stolos_api::cluster::names::property;
use stolos_api::cluster::{PropertyValue, ResourceUsage};
use stolos_api::quantity::Amount;

use crate::condition::time;

/// Resources that are summed over nodes.
const RESOURCES: [&str; 2] = ["cpu", "memory"];

/// Label of a node with its SKU.
const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";

/// Returns the properties of a cluster with these nodes and this version.
#[must_use]
pub fn properties(
    nodes: &[Node],
    version: Option<&str>,
    now: Timestamp,
) -> BTreeMap<String, PropertyValue> {
    let value = |value: String| PropertyValue { value, observation_time: time(now) };
    let mut properties =
        BTreeMap::from([(property::NODE_COUNT.to_owned(), value(nodes.len().to_string()))]);
    if let Some(version) = version {
        properties.insert(property::K8S_VERSION.to_owned(), value(version.to_owned()));
    }
    let skus = skus(nodes).into_iter();
    properties.extend(skus.map(|(sku, n)| (property::node_sku(sku), value(n.to_string()))));
    properties
}

/// Counts the nodes of each SKU. Nodes that do not name theirs count nowhere.
fn skus(nodes: &[Node]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for sku in nodes.iter().filter_map(sku_of) {
        *counts.entry(sku).or_default() += 1;
    }
    counts
}

/// Returns the SKU that a node names.
pub(super) fn sku_of(node: &Node) -> Option<&str> {
    node.metadata.labels.as_ref()?.get(INSTANCE_TYPE).map(String::as_str)
}

/// Returns how much of a resource a node has; what is no quantity counts as nothing.
pub(super) fn capacity_of(node: &Node, resource: &str) -> Amount {
    let capacity = node.status.as_ref().and_then(|status| status.capacity.as_ref()?.get(resource));
    capacity.and_then(|quantity| quantity.0.parse().ok()).unwrap_or_default()
}

/// Sums capacity and allocatable resources over nodes; available is what pods have not requested.
#[must_use]
pub fn usage(nodes: &[Node], pods: &[Pod], now: Timestamp) -> ResourceUsage {
    let sum = |read: fn(&Node) -> Option<&BTreeMap<String, Quantity>>| {
        totals(nodes.iter().filter_map(read))
    };
    let allocatable = sum(|node| node.status.as_ref()?.allocatable.as_ref());
    let requested = totals(pods.iter().filter(|pod| counts(pod)).flat_map(requests));
    let available = RESOURCES.map(|resource| {
        let left = allocatable.get(resource).copied().unwrap_or(0)
            - requested.get(resource).copied().unwrap_or(0);
        (resource.to_owned(), quantity(resource, left.max(0)))
    });
    let shown = |totals: &BTreeMap<&str, i128>| {
        totals
            .iter()
            .map(|(resource, nano)| ((*resource).to_owned(), quantity(resource, *nano)))
            .collect()
    };
    ResourceUsage {
        capacity: shown(&sum(|node| node.status.as_ref()?.capacity.as_ref())),
        allocatable: shown(&allocatable),
        available: available.into(),
        observation_time: Some(time(now)),
    }
}

/// Most namespaces that a member lists (placement-clusters 2.4).
const MAX_NAMESPACES: usize = 200;

/// Returns the namespaces of a cluster, each with the AppliedWork that owns it or nothing, and whether all fit in.
#[must_use]
pub fn namespaces(namespaces: &[Namespace]) -> (BTreeMap<String, String>, bool) {
    let live =
        namespaces.iter().filter(|namespace| namespace.metadata.deletion_timestamp.is_none());
    let listed: BTreeMap<String, String> = live
        .map(|namespace| (namespace.metadata.name.clone().unwrap_or_default(), owner_of(namespace)))
        .collect();
    let is_complete = listed.len() <= MAX_NAMESPACES;
    (listed.into_iter().take(MAX_NAMESPACES).collect(), is_complete)
}

fn owner_of(namespace: &Namespace) -> String {
    let owners = namespace.metadata.owner_references.iter().flatten();
    let applied = owners.filter(|owner| owner.kind == "AppliedWork").map(|owner| &owner.name);
    applied.min().cloned().unwrap_or_default()
}

fn counts(pod: &Pod) -> bool {
    let assigned = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    assigned && !matches!(phase, Some("Succeeded" | "Failed"))
}

fn requests(pod: &Pod) -> impl Iterator<Item = &BTreeMap<String, Quantity>> {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    containers.iter().filter_map(|container| container.resources.as_ref()?.requests.as_ref())
}

/// Sums in billionths; what is no quantity counts as nothing.
fn totals<'a>(
    lists: impl Iterator<Item = &'a BTreeMap<String, Quantity>>,
) -> BTreeMap<&'static str, i128> {
    let mut totals: BTreeMap<&'static str, i128> = RESOURCES.map(|resource| (resource, 0)).into();
    for list in lists {
        for (resource, total) in &mut totals {
            let amount = list.get(*resource).and_then(|quantity| quantity.0.parse::<Amount>().ok());
            *total += amount.map_or(0, Amount::nano);
        }
    }
    totals
}

/// Writes CPU in cores or thousandths of one, memory in Ki where it divides.
fn quantity(resource: &str, nano: i128) -> Quantity {
    const NANO: i128 = 1_000_000_000;
    let whole = nano / NANO;
    Quantity(match resource {
        "memory" if whole % 1024 == 0 && whole > 0 => format!("{}Ki", whole / 1024),
        _ if nano % NANO == 0 => whole.to_string(),
        _ => format!("{}m", nano / 1_000_000),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_pods_request_is_not_available() {
        let node: Node = serde_json::from_value(json!({
            "metadata": { "name": "n" },
            "status": { "capacity": { "cpu": "4", "memory": "8Gi" }, "allocatable": { "cpu": "3900m", "memory": "8Gi" } },
        }))
        .expect("a node");
        let pod = |phase: &str, node: Option<&str>| -> Pod {
            serde_json::from_value(json!({
                "spec": {
                    "nodeName": node,
                    "containers": [{ "name": "c", "resources": { "requests": { "cpu": "500m", "memory": "1Gi" } } }],
                },
                "status": { "phase": phase },
            }))
            .expect("a pod")
        };
        let pods = [pod("Running", Some("n")), pod("Succeeded", Some("n")), pod("Pending", None)];
        let usage = usage(&[node.clone(), node], &pods, Timestamp::UNIX_EPOCH);
        let show =
            |list: &BTreeMap<String, Quantity>| format!("{} {}", list["cpu"].0, list["memory"].0);
        assert_eq!(show(&usage.capacity), "8 16777216Ki");
        assert_eq!(show(&usage.allocatable), "7800m 16777216Ki");
        assert_eq!(show(&usage.available), "7300m 15728640Ki");
    }

    #[test]
    fn every_pod_counts() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "200", "memory": "1Gi"}},
        }))
        .unwrap();
        let pod: Pod = serde_json::from_value(json!({
            "spec": {"nodeName": "n", "containers": [
                {"name": "c", "resources": {"requests": {"cpu": "1"}}},
            ]},
        }))
        .unwrap();
        let usage = usage(&[node], &vec![pod; 150], Timestamp::UNIX_EPOCH);
        assert_eq!(usage.available["cpu"].0, "50");
    }

    #[test]
    fn nodes_are_counted_by_sku() {
        let node = |sku: Option<&str>| -> Node {
            let labels = sku.map(|sku| json!({"node.kubernetes.io/instance-type": sku}));
            serde_json::from_value(json!({"metadata": {"labels": labels}})).unwrap()
        };
        let nodes =
            [Some("Standard_D2s_v5"), Some("Standard_B2"), None, Some("Standard_B2")].map(node);
        let counted = properties(&nodes, None, Timestamp::UNIX_EPOCH);
        let counted: Vec<_> =
            counted.iter().map(|(name, fact)| (name.as_str(), fact.value.as_str())).collect();
        assert_eq!(
            counted,
            [
                ("kubernetes-fleet.io/node-count", "4"),
                ("kubernetes.azure.com/vm-sizes/Standard_B2/count", "2"),
                ("kubernetes.azure.com/vm-sizes/Standard_D2s_v5/count", "1"),
            ]
        );
    }

    #[test]
    fn namespaces_are_listed_with_their_owners_up_to_a_limit() {
        let namespace = |name: String, owner: Option<&str>| -> Namespace {
            let owners: Vec<_> = owner
                .into_iter()
                .map(|name| json!({"apiVersion": "v1", "kind": "AppliedWork", "name": name, "uid": "u"}))
                .collect();
            serde_json::from_value(json!({"metadata": {"name": name, "ownerReferences": owners}}))
                .expect("a namespace")
        };
        let (few, complete) = namespaces(&[
            namespace("app".into(), Some("crp-work")),
            namespace("default".into(), None),
        ]);
        assert!(complete);
        assert_eq!(
            few,
            [("app".into(), "crp-work".into()), ("default".into(), String::new())].into()
        );
        let many: Vec<_> = (0..201).map(|i| namespace(format!("n{i:03}"), None)).collect();
        let (listed, complete) = namespaces(&many);
        assert_eq!((listed.len(), complete), (200, false));
    }
}
