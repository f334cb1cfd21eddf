//! What pods and namespaces have beyond plain objects: binding, graceful deletion, eviction, finalizing.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::Cluster;

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn pod(cluster: &Cluster, name: &str) -> Value {
    let pod = json!({
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 30},
    });
    let (status, pod) = cluster.send(Method::POST, PODS, Some(pod)).await;
    assert_eq!(status, StatusCode::CREATED, "{pod}");
    pod
}

async fn bind(cluster: &Cluster, name: &str) -> StatusCode {
    let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n1"}});
    cluster.send(Method::POST, &format!("{PODS}/{name}/binding"), Some(binding)).await.0
}

#[tokio::test]
async fn a_bound_pod_is_deleted_gracefully_and_at_once_when_forced() {
    let cluster = Cluster::start().await;
    assert_eq!(pod(&cluster, "p").await["status"]["phase"], "Pending");
    assert_eq!(bind(&cluster, "p").await, StatusCode::CREATED);
    assert_eq!(bind(&cluster, "p").await, StatusCode::CONFLICT);
    let path = format!("{PODS}/p");
    let (status, pending) = cluster.send(Method::DELETE, &path, None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(pending["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(cluster.send(Method::GET, &path, None).await.0, StatusCode::OK);
    let force = json!({"gracePeriodSeconds": 0});
    let (_, last) = cluster.send(Method::DELETE, &path, Some(force)).await;
    assert_eq!(last["kind"], "Pod");
    assert_eq!(cluster.send(Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_pod_that_never_started_goes_at_once() {
    let cluster = Cluster::start().await;
    pod(&cluster, "p").await;
    cluster.send(Method::DELETE, &format!("{PODS}/p"), None).await;
    assert_eq!(
        cluster.send(Method::GET, &format!("{PODS}/p"), None).await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn evictions_spend_the_disruption_budget() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        pod(&cluster, name).await;
        bind(&cluster, name).await;
        let running = json!({"status": {"phase": "Running"}});
        let status = format!("{PODS}/{name}/status");
        cluster
            .send_as(Method::PATCH, &status, "application/merge-patch+json", Some(running))
            .await;
    }
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({
        "metadata": {"name": "web"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    });
    cluster.send(Method::POST, budgets, Some(budget)).await;
    let allowed = json!({"status": {
        "disruptionsAllowed": 1, "observedGeneration": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2,
    }});
    let status = format!("{budgets}/web/status");
    cluster.send_as(Method::PATCH, &status, "application/merge-patch+json", Some(allowed)).await;

    let eviction = |name: &str| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    let evict = async |name: &str| {
        cluster.send(Method::POST, &format!("{PODS}/{name}/eviction"), Some(eviction(name))).await
    };
    assert_eq!(evict("a").await.0, StatusCode::CREATED);
    let (code, refused) = evict("b").await;
    assert_eq!(code, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused["details"]["causes"][0]["reason"], "DisruptionBudget");
    let (_, budget) = cluster.send(Method::GET, &format!("{budgets}/web"), None).await;
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert!(budget["status"]["disruptedPods"]["a"].is_string());
}

#[tokio::test]
async fn a_namespace_is_gone_once_it_is_finalized() {
    let cluster = Cluster::bare().await;
    let path = "/api/v1/namespaces/team";
    let (_, namespace) = cluster
        .send(Method::POST, "/api/v1/namespaces", Some(json!({"metadata": {"name": "team"}})))
        .await;
    assert_eq!(namespace["status"]["phase"], "Active");
    let (status, terminating) = cluster.send(Method::DELETE, path, None).await;
    assert_eq!((status, &terminating["status"]["phase"]), (StatusCode::OK, &json!("Terminating")));

    let map = json!({"metadata": {"name": "late"}});
    let (status, refused) =
        cluster.send(Method::POST, &format!("{path}/configmaps"), Some(map)).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(refused["details"]["causes"][0]["reason"], "NamespaceTerminating");

    let mut finalized = terminating.clone();
    finalized["spec"]["finalizers"] = json!([]);
    assert_eq!(
        cluster.send(Method::PUT, &format!("{path}/finalize"), Some(finalized)).await.0,
        StatusCode::OK
    );
    assert_eq!(cluster.send(Method::GET, path, None).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_token_lets_its_service_account_in() {
    let cluster = Cluster::start().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    cluster.send(Method::POST, accounts, Some(json!({"metadata": {"name": "robot"}}))).await;
    let request = json!({"spec": {"expirationSeconds": 3600}});
    let (status, token) =
        cluster.send(Method::POST, &format!("{accounts}/robot/token"), Some(request)).await;
    assert_eq!(status, StatusCode::CREATED);
    let token = token["status"]["token"].as_str().unwrap();
    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let (status, review) = cluster.with_token(token, Method::POST, whoami, json!({})).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(review["status"]["userInfo"]["username"], "system:serviceaccount:default:robot");
    let (status, _) = cluster.with_token("wrong", Method::POST, whoami, json!({})).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}
