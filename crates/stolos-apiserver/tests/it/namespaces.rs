//! Namespaces: what every cluster and every namespace has, and how they go.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use stolos_apiserver::controllers::Controllers;

use crate::harness::Cluster;

const NAMESPACES: &str = "/api/v1/namespaces";

async fn start() -> Cluster {
    let root_ca = Some("the certificate".to_owned());
    Cluster::start_with(Controllers { root_ca, ..Controllers::default() }).await
}

async fn create_namespace(cluster: &Cluster, name: &str) {
    cluster.ok(Method::POST, NAMESPACES, Some(json!({"metadata": {"name": name}}))).await;
}

async fn create_config_map(cluster: &Cluster, namespace: &str, metadata: Value) {
    let path = format!("{NAMESPACES}/{namespace}/configmaps");
    cluster.ok(Method::POST, &path, Some(json!({ "metadata": metadata }))).await;
}

fn condition<'a>(namespace: &'a Value, type_: &str) -> Option<&'a Value> {
    namespace["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == type_)
}

#[tokio::test]
async fn every_cluster_has_its_namespaces() {
    let cluster = start().await;
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let namespace = cluster.ok(Method::GET, &format!("{NAMESPACES}/{name}"), None).await;
        assert_eq!(namespace["metadata"]["labels"]["kubernetes.io/metadata.name"], name);
        assert_eq!(namespace["status"]["phase"], "Active");
    }
}

#[tokio::test]
async fn every_namespace_has_a_service_account_and_the_root_certificate() {
    let cluster = start().await;
    create_namespace(&cluster, "a").await;
    let account = "/api/v1/namespaces/a/serviceaccounts/default";
    let map = "/api/v1/namespaces/a/configmaps/kube-root-ca.crt";
    let has_both = async || cluster.exists(account).await && cluster.exists(map).await;
    cluster.until("both are there", has_both).await;

    cluster.ok(Method::DELETE, account, None).await;
    cluster.ok(Method::DELETE, map, None).await;
    cluster.until("both are back", has_both).await;

    cluster.merge(map, json!({"data": {"ca.crt": "forged", "more": "x"}, "metadata": {"labels": {"mine": "1"}}})).await;
    let is_restored = async || {
        cluster.ok(Method::GET, map, None).await["data"] == json!({"ca.crt": "the certificate"})
    };
    cluster.until("the certificate is restored", is_restored).await;
    let map = cluster.ok(Method::GET, map, None).await;
    assert_eq!(map["metadata"]["labels"]["mine"], "1", "what others wrote stays");
}

#[tokio::test]
async fn the_name_label_is_restored() {
    let cluster = start().await;
    create_namespace(&cluster, "a").await;
    let path = format!("{NAMESPACES}/a");
    cluster
        .merge(
            &path,
            json!({"metadata": {"labels": {"kubernetes.io/metadata.name": null, "x": "y"}}}),
        )
        .await;
    let is_restored = async || {
        let labels = cluster.ok(Method::GET, &path, None).await["metadata"]["labels"].clone();
        labels == json!({"kubernetes.io/metadata.name": "a", "x": "y"})
    };
    cluster.until("the label is back", is_restored).await;
}

#[tokio::test]
async fn a_deleted_namespace_takes_its_content_and_nothing_else() {
    let cluster = start().await;
    for name in ["a", "b"] {
        create_namespace(&cluster, name).await;
        create_config_map(&cluster, name, json!({"name": "x"})).await;
    }
    let namespace = cluster.ok(Method::DELETE, &format!("{NAMESPACES}/a"), None).await;
    assert_eq!(namespace["status"]["phase"], "Terminating");
    cluster.until_gone(&format!("{NAMESPACES}/a")).await;
    let maps = cluster.ok(Method::GET, "/api/v1/configmaps", None).await;
    let namespaces =
        maps["items"].as_array().unwrap().iter().map(|map| &map["metadata"]["namespace"]);
    assert!(namespaces.clone().all(|namespace| namespace != "a"));
    assert!(cluster.exists("/api/v1/namespaces/b/configmaps/x").await);
    assert!(cluster.exists("/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin").await);
    assert!(cluster.exists(&format!("{NAMESPACES}/default")).await);

    create_namespace(&cluster, "a").await;
    assert!(!cluster.exists("/api/v1/namespaces/a/configmaps/x").await, "the new one is empty");
}

#[tokio::test]
async fn a_namespace_waits_for_the_finalizers_of_its_content() {
    let cluster = start().await;
    create_namespace(&cluster, "a").await;
    create_config_map(&cluster, "a", json!({"name": "held", "finalizers": ["example.com/wait"]}))
        .await;
    create_config_map(&cluster, "a", json!({"name": "free"})).await;
    let path = format!("{NAMESPACES}/a");
    cluster.ok(Method::DELETE, &path, None).await;
    let explains = async || {
        let namespace = cluster.ok(Method::GET, &path, None).await;
        condition(&namespace, "NamespaceFinalizersRemaining")
            .is_some_and(|condition| condition["status"] == "True")
    };
    cluster.until("the namespace says what it waits for", explains).await;
    let namespace = cluster.ok(Method::GET, &path, None).await;
    let message =
        condition(&namespace, "NamespaceFinalizersRemaining").unwrap()["message"].as_str().unwrap();
    assert!(message.contains("example.com/wait"), "{message}");
    assert!(!cluster.exists("/api/v1/namespaces/a/configmaps/free").await);

    let late = json!({"metadata": {"name": "late"}});
    let (status, body) =
        cluster.send(Method::POST, "/api/v1/namespaces/a/configmaps", Some(late)).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{body}");

    cluster
        .merge("/api/v1/namespaces/a/configmaps/held", json!({"metadata": {"finalizers": null}}))
        .await;
    cluster.until_gone(&path).await;
}

#[tokio::test]
async fn a_namespace_waits_for_finalizers_of_its_own() {
    let cluster = start().await;
    let namespace = json!({"metadata": {"name": "a", "finalizers": ["example.com/wait"]}});
    cluster.ok(Method::POST, NAMESPACES, Some(namespace)).await;
    create_config_map(&cluster, "a", json!({"name": "x"})).await;
    let path = format!("{NAMESPACES}/a");
    cluster.ok(Method::DELETE, &path, None).await;
    let is_empty = async || {
        let namespace = cluster.ok(Method::GET, &path, None).await;
        namespace["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty)
    };
    cluster.until("the content is gone", is_empty).await;
    assert!(!cluster.exists("/api/v1/namespaces/a/configmaps/x").await);
    cluster.merge(&path, json!({"metadata": {"finalizers": null}})).await;
    cluster.until_gone(&path).await;
}

#[tokio::test]
async fn custom_resources_go_with_their_namespace() {
    let cluster = start().await;
    cluster.ok(Method::POST, crate::crds::DEFINITIONS, Some(crate::crds::widgets())).await;
    crate::crds::until_established(&cluster, "widgets.example.com").await;
    for namespace in ["a", "b"] {
        create_namespace(&cluster, namespace).await;
        crate::crds::create_widget(&cluster, namespace, json!({"name": "w"})).await;
    }
    cluster.ok(Method::DELETE, &format!("{NAMESPACES}/a"), None).await;
    cluster.until_gone(&format!("{NAMESPACES}/a")).await;
    let widgets = cluster.ok(Method::GET, "/apis/example.com/v1/widgets", None).await;
    let namespaces: Vec<&Value> = widgets["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|widget| &widget["metadata"]["namespace"])
        .collect();
    assert_eq!(namespaces, ["b"]);
}
