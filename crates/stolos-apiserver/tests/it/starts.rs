//! What must not keep a cluster from starting again.

use http::Method;
use serde_json::json;
use stolos_apiserver::server::Options;
use stolos_apiserver::store::Store;

use crate::harness::Cluster;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

#[tokio::test]
async fn a_cluster_starts_though_the_address_of_its_api_is_taken() {
    let store = Store::memory().cluster("test").unwrap();
    let cluster = Cluster::start_on(store.clone(), Options::default()).await;
    let service = cluster.ok(Method::GET, &format!("{SERVICES}/kubernetes"), None).await;
    cluster.ok(Method::DELETE, &format!("{SERVICES}/kubernetes"), None).await;
    let thief = json!({
        "metadata": {"name": "thief"},
        "spec": {"clusterIP": service["spec"]["clusterIP"], "ports": [{"port": 443}]},
    });
    cluster.ok(Method::POST, SERVICES, Some(thief)).await;
    cluster.server.stop();

    let cluster = Cluster::start_on(store, Options::default()).await;
    assert!(cluster.exists(&format!("{SERVICES}/thief")).await);
    assert!(!cluster.exists(&format!("{SERVICES}/kubernetes")).await);
}

#[tokio::test]
async fn a_cluster_starts_though_a_policy_refuses_everything() {
    let store = Store::memory().cluster("test").unwrap();
    let cluster = Cluster::start_on(store.clone(), Options::default()).await;
    let everything =
        json!({"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"]});
    let policy = json!({
        "metadata": {"name": "no"},
        "spec": {
            "matchConstraints": {"resourceRules": [everything]},
            "validations": [{"expression": "false"}],
        },
    });
    let binding = json!({
        "metadata": {"name": "no"}, "spec": {"policyName": "no", "validationActions": ["Deny"]},
    });
    cluster
        .ok(Method::POST, &format!("{ADMISSION}/validatingadmissionpolicies"), Some(policy))
        .await;
    let bindings = format!("{ADMISSION}/validatingadmissionpolicybindings");
    cluster.ok(Method::POST, &bindings, Some(binding)).await;
    let is_refused = async || {
        let map = json!({"metadata": {"generateName": "a-"}});
        !cluster
            .send(Method::POST, "/api/v1/namespaces/default/configmaps", Some(map))
            .await
            .0
            .is_success()
    };
    cluster.until("the policy is in force", is_refused).await;
    cluster.server.stop();

    let cluster = Cluster::start_on(store, Options::default()).await;
    assert!(cluster.exists(&format!("{SERVICES}/kubernetes")).await);
}
