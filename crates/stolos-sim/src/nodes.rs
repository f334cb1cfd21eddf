//! The nodes of a simulated cluster, and the ConfigMap with its facts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ConfigMap, Node, NodeAddress, NodeCondition, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};

use crate::meta::time;
use crate::{CLUSTER_CONFIG_MAP, Cluster, NODE_IMAGE_LABEL, UPGRADES_ANNOTATION};

/// Creates what is missing of the nodes and the facts; what exists is left as it is.
pub(crate) async fn ensure(
    client: &Client,
    cluster: &Cluster,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let facts = Api::namespaced(client.clone(), "kube-system")
        .create(&PostParams::default(), &facts(cluster))
        .await;
    ignore_existing(facts)?;
    let api: Api<Node> = Api::all(client.clone());
    for index in 0..cluster.nodes {
        let node = node(cluster, index, now);
        let Some(created) = ignore_existing(api.create(&PostParams::default(), &node).await)?
        else {
            continue;
        };
        // The API server drops the status of a created node, and a real one taints it until a controller sees it ready.
        let name = created.metadata.name.clone().unwrap_or_default();
        let ready = Node { status: node.status, ..created };
        let ready = api.replace_status(&name, &PostParams::default(), &ready).await?;
        if ready.spec.as_ref().is_some_and(|spec| spec.taints.is_some()) {
            let untainted = Patch::Merge(serde_json::json!({ "spec": { "taints": null } }));
            api.patch(&name, &PatchParams::default(), &untainted).await?;
        }
    }
    Ok(())
}

fn ignore_existing<T>(result: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(None),
        Err(error) => Err(error),
    }
}

fn facts(cluster: &Cluster) -> ConfigMap {
    let mut data = BTreeMap::from([
        ("controlPlaneVersion".to_owned(), cluster.kubernetes_version.clone()),
        ("region".to_owned(), cluster.region.clone()),
    ]);
    for (name, offered) in
        [("kubernetesVersions", &cluster.kubernetes_versions), ("nodeImages", &cluster.node_images)]
    {
        if !offered.is_empty() {
            data.insert(name.to_owned(), offered.join(","));
        }
    }
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(CLUSTER_CONFIG_MAP.to_owned()),
            namespace: Some("kube-system".to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(data),
        ..ConfigMap::default()
    }
}

fn node(cluster: &Cluster, index: u32, now: Timestamp) -> Node {
    let name = format!("{}-node-{}", cluster.name, index + 1);
    let labels = [
        ("kubernetes.io/hostname", name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
        ("node-role.kubernetes.io/agent", ""),
        ("kubernetes.azure.com/agentpool", "nodepool1"),
        ("topology.kubernetes.io/region", cluster.region.as_str()),
        (NODE_IMAGE_LABEL, cluster.node_image.as_str()),
    ];
    let quantities: BTreeMap<String, Quantity> = [
        ("cpu", cluster.cpu.to_string()),
        ("memory", format!("{}Gi", cluster.memory_gib)),
        ("pods", "250".to_owned()),
    ]
    .into_iter()
    .map(|(name, amount)| (name.to_owned(), Quantity(amount)))
    .collect();
    Node {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(labels.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()),
            annotations: Some([(UPGRADES_ANNOTATION.to_owned(), "0".to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: None,
        status: Some(NodeStatus {
            addresses: Some(vec![
                NodeAddress {
                    address: format!("10.240.{}.{}", index / 250, index % 250 + 4),
                    type_: "InternalIP".to_owned(),
                },
                NodeAddress { address: name, type_: "Hostname".to_owned() },
            ]),
            allocatable: Some(quantities.clone()),
            capacity: Some(quantities),
            conditions: Some(vec![NodeCondition {
                type_: "Ready".to_owned(),
                status: "True".to_owned(),
                reason: Some("KubeletReady".to_owned()),
                message: Some("simulated kubelet is ready".to_owned()),
                last_heartbeat_time: Some(time(now)),
                last_transition_time: Some(time(now)),
            }]),
            node_info: Some(NodeSystemInfo {
                architecture: "amd64".to_owned(),
                container_runtime_version: "simulated://1".to_owned(),
                kernel_version: "simulated".to_owned(),
                kubelet_version: format!("v{}", cluster.kubernetes_version),
                operating_system: "linux".to_owned(),
                os_image: cluster.node_image.clone(),
                ..NodeSystemInfo::default()
            }),
            ..NodeStatus::default()
        }),
    }
}
