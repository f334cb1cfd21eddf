//! What the user of the tour writes.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::api::rbac::v1::ClusterRole;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stolos_api::cluster::fleet::object_name;
use stolos_api::network::names::annotation;
use stolos_api::network::{MultiClusterService, ServiceExport};
use stolos_api::placement::ClusterResourcePlacement;
use stolos_api::update::UpdateRun;

/// Name of the namespace and of its placement.
pub(super) const SHOP: &str = "shop";
pub(super) const SETTINGS: &str = "settings";
pub(super) const WEB: &str = "web";
pub(super) const WEB_REPLICAS: i32 = 2;
/// Port of the Service that clients connect to.
pub(super) const WEB_PORT: u16 = 8000;
pub(super) const READER: &str = "shop-reader";

/// Namespace of objects on members that the fleet has nothing to do with.
pub(super) const ELSEWHERE: &str = "default";

pub(super) const FLEET: &str = "local";
pub(super) const FLEET_NAMESPACE: &str = "default";
pub(super) const RUN: &str = "tour";
pub(super) const CANARY: &str = "canary";

/// The version that the update run brings; the members start with an older one.
pub(super) const VERSION: &str = "1.35.0";

fn from<K: DeserializeOwned>(manifest: Value) -> K {
    serde_json::from_value(manifest).expect("the manifests of the tour are well-formed")
}

pub(super) fn namespace() -> Namespace {
    from(json!({ "metadata": { "name": SHOP } }))
}

pub(super) fn settings(greeting: &str) -> ConfigMap {
    from(
        json!({ "metadata": { "name": SETTINGS, "namespace": SHOP }, "data": { "greeting": greeting } }),
    )
}

/// An object of somebody else: of the same name, in another namespace.
pub(super) fn strangers_settings() -> ConfigMap {
    from(
        json!({ "metadata": { "name": SETTINGS, "namespace": ELSEWHERE }, "data": { "owner": "somebody else" } }),
    )
}

pub(super) fn web() -> Deployment {
    from(json!({
        "metadata": { "name": WEB, "namespace": SHOP },
        "spec": {
            "replicas": WEB_REPLICAS,
            "selector": { "matchLabels": { "app": WEB } },
            "template": {
                "metadata": { "labels": { "app": WEB } },
                "spec": { "containers": [{
                    "name": WEB, "image": "example.com/shop/web:1", "ports": [{ "containerPort": 8080 }],
                }] },
            },
        },
    }))
}

pub(super) fn reader() -> ClusterRole {
    from(json!({
        "metadata": { "name": READER },
        "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"] }],
    }))
}

/// Places the namespace with everything in it on so many members.
pub(super) fn shop_placement(n_members: u32) -> ClusterResourcePlacement {
    from(json!({
        "metadata": { "name": SHOP },
        "spec": {
            "resourceSelectors": [{ "group": "", "version": "v1", "kind": "Namespace", "name": SHOP }],
            "policy": { "placementType": "PickN", "numberOfClusters": n_members },
        },
    }))
}

/// Places the ClusterRole on all members.
pub(super) fn reader_placement() -> ClusterResourcePlacement {
    from(json!({
        "metadata": { "name": READER },
        "spec": {
            "resourceSelectors": [{
                "group": "rbac.authorization.k8s.io", "version": "v1", "kind": "ClusterRole", "name": READER,
            }],
            "policy": { "placementType": "PickAll" },
        },
    }))
}

/// The pods of the Deployment, by one address of the cluster.
pub(super) fn web_service() -> Service {
    from(json!({
        "metadata": { "name": WEB, "namespace": SHOP },
        "spec": { "selector": { "app": WEB }, "ports": [{ "port": WEB_PORT, "targetPort": 8080 }] },
    }))
}

/// Exports the Service to the fleet.
pub(super) fn export() -> ServiceExport {
    from(json!({ "metadata": { "name": WEB, "namespace": SHOP } }))
}

/// Says which share of the connections a cluster gets.
pub(super) fn weight(weight: u32) -> Value {
    json!({ "metadata": { "annotations": { annotation::WEIGHT: weight.to_string() } } })
}

/// Gives the service of the fleet an address.
pub(super) fn import() -> MultiClusterService {
    from(json!({
        "metadata": { "name": WEB, "namespace": SHOP },
        "spec": { "serviceImport": { "name": WEB } },
    }))
}

/// Updates the canary first, then the others side by side.
pub(super) fn update_run() -> UpdateRun {
    from(json!({
        "metadata": { "name": object_name(FLEET, RUN), "namespace": FLEET_NAMESPACE },
        "spec": {
            "fleetName": FLEET,
            "state": "Run",
            "managedClusterUpdate": { "upgrade": { "type": "Full", "kubernetesVersion": VERSION } },
            "strategy": { "stages": [
                { "name": "canary", "groups": [{ "name": CANARY }] },
                { "name": "rest", "groups": [{ "name": "europe" }, { "name": "world" }] },
            ]},
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manifest_is_well_formed() {
        namespace();
        settings("hello");
        strangers_settings();
        web();
        reader();
        shop_placement(3);
        reader_placement();
        update_run();
        web_service();
        export();
        import();
    }
}
