//! What every cluster has: namespaces, priority classes, the service of its API.

use futures::future::try_join_all;
use serde_json::{Value, json};

use super::Api;
use crate::addresses::ServiceRange;
use crate::schema::builtin::flows;
use crate::status::ApiError;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Name, value and purpose of the classes that the system has to itself.
const PRIORITIES: [(&str, i64, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

/// Name under which upstream creates flow schemas and priority levels.
const FLOW_MANAGER: &str = "api-priority-and-fairness-config-producer-v1";

/// Port of the API behind its service, as kube-apiserver's by default.
const SECURE_PORT: u16 = 6443;

/// Creates what is missing.
pub(super) async fn create(api: &Api, services: ServiceRange) -> Result<(), ApiError> {
    // Whoever configures admission must not keep the server from starting.
    let api = api.without_admission();
    for name in NAMESPACES {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        api.ensure("/api/v1/namespaces", namespace).await?;
    }
    for (name, value, description) in PRIORITIES {
        let class = priority(name, value, description);
        api.ensure("/apis/scheduling.k8s.io/v1/priorityclasses", class).await?;
    }
    let flows =
        [("prioritylevelconfigurations", flows::levels()), ("flowschemas", flows::schemas())];
    for (plural, objects) in flows {
        let path = format!("/apis/{}/{plural}?fieldManager={FLOW_MANAGER}", flows::API_VERSION);
        // They are many, and each would wait for the disk.
        try_join_all(objects.into_iter().map(|object| api.ensure(&path, object))).await?;
    }
    create_service(&api, services).await
}

/// Creates the service of the API. Its namespace may be on its way out or its address be taken, and all else works.
async fn create_service(api: &Api, services: ServiceRange) -> Result<(), ApiError> {
    const SERVICES: &str = "/api/v1/namespaces/default/services";
    if api.exists(&format!("{SERVICES}/kubernetes")).await? {
        return Ok(());
    }
    if let Err(error) = api.ensure(SERVICES, service(services)).await {
        tracing::warn!(%error, "service `kubernetes` cannot be created");
    }
    Ok(())
}

fn priority(name: &str, value: i64, description: &str) -> Value {
    json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
        "value": value, "description": description,
    })
}

/// The API in the words of the cluster. Nothing routes to its address, so it has no endpoints.
fn service(services: ServiceRange) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": services.first().to_string(),
            "ports": [{"name": "https", "port": 443, "targetPort": SECURE_PORT}],
        },
    })
}
