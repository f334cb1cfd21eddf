//! Tokens that live in Secrets, and cluster roles made of others.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use stolos_apiserver::controllers::Controllers;
use tower::ServiceExt;

use crate::harness::Cluster;

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

async fn start() -> Cluster {
    let root_ca = Some("the certificate".to_owned());
    Cluster::start_with(Controllers { root_ca, ..Controllers::default() }).await
}

/// Asks the server who the bearer of a token is.
async fn who(cluster: &Cluster, token: &str) -> Option<String> {
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let request = Request::post(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from_static(b"{}")))
        .unwrap();
    let response = cluster.server.service().oneshot(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    body["status"]["userInfo"]["username"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn a_token_secret_is_filled_and_goes_with_its_account() {
    let cluster = start().await;
    cluster.ok(Method::POST, ACCOUNTS, Some(json!({"metadata": {"name": "robot"}}))).await;
    let secret = json!({
        "metadata": {"name": "robot-token", "annotations": {"kubernetes.io/service-account.name": "robot"}},
        "type": "kubernetes.io/service-account-token",
    });
    cluster.ok(Method::POST, SECRETS, Some(secret)).await;
    let path = format!("{SECRETS}/robot-token");
    let is_filled =
        async || cluster.ok(Method::GET, &path, None).await["data"]["token"].is_string();
    cluster.until("the token is there", is_filled).await;
    let data = cluster.ok(Method::GET, &path, None).await["data"].clone();
    assert_eq!(data["ca.crt"], STANDARD.encode("the certificate"));
    let token =
        String::from_utf8(STANDARD.decode(data["token"].as_str().unwrap()).unwrap()).unwrap();
    let robot = "system:serviceaccount:default:robot";
    assert_eq!(who(&cluster, &token).await.as_deref(), Some(robot));

    cluster.ok(Method::DELETE, &format!("{ACCOUNTS}/robot"), None).await;
    assert_eq!(who(&cluster, &token).await, None);
    cluster.until("the Secret is gone", async || !cluster.exists(&path).await).await;
}

#[tokio::test]
async fn an_aggregated_role_follows_the_roles_it_is_made_of() {
    let cluster = start().await;
    let rule = json!({"verbs": ["get"], "apiGroups": ["example.com"], "resources": ["widgets"]});
    let part = json!({
        "metadata": {"name": "widgets", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [rule],
    });
    cluster.ok(Method::POST, ROLES, Some(part)).await;
    for role in ["view", "edit", "admin"] {
        let path = format!("{ROLES}/{role}");
        let has_rule = async || {
            let role = cluster.ok(Method::GET, &path, None).await;
            role["rules"].as_array().unwrap().contains(&rule)
        };
        cluster.until("the rule arrives", has_rule).await;
    }
    cluster.ok(Method::DELETE, &format!("{ROLES}/widgets"), None).await;
    let is_gone = async || {
        let role = cluster.ok(Method::GET, &format!("{ROLES}/admin"), None).await;
        !role["rules"].as_array().unwrap().contains(&rule)
    };
    cluster.until("the rule leaves", is_gone).await;
}

/// Asks the server who one is when one acts as somebody else.
async fn acting(cluster: &Cluster, token: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let mut request = Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from_static(b"{}"))).unwrap();
    let response = cluster.server.service().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn who_acts_as_another_needs_the_right_to_every_part_of_it() {
    let cluster = start().await;
    cluster.ok(Method::POST, ACCOUNTS, Some(json!({"metadata": {"name": "robot"}}))).await;
    let token = cluster.ok(Method::POST, &format!("{ACCOUNTS}/robot/token"), Some(json!({}))).await;
    let token = token["status"]["token"].as_str().unwrap();
    let rule = |group: &str, resource: &str, name: &str| json!({"verbs": ["impersonate"], "apiGroups": [group], "resources": [resource], "resourceNames": [name]});
    let authentication = "authentication.k8s.io";
    let rules = json!([
        rule("", "users", "alice"),
        rule("", "groups", "dev"),
        rule(authentication, "uids", "7"),
        rule(authentication, "userextras/scopes", "read"),
    ]);
    let role = json!({"metadata": {"name": "actor"}, "rules": rules});
    cluster.ok(Method::POST, ROLES, Some(role)).await;
    let binding = json!({
        "metadata": {"name": "actor"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "actor"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}],
    });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    cluster.ok(Method::POST, bindings, Some(binding)).await;

    let all = [
        ("Impersonate-User", "alice"),
        ("Impersonate-Group", "dev"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Extra-Scopes", "read"),
    ];
    let (status, answer) = acting(&cluster, token, &all).await;
    assert_eq!(status, 201, "{answer}");
    let alice = json!({"username": "alice", "uid": "7", "groups": ["dev", "system:authenticated"],
        "extra": {"scopes": ["read"]}});
    assert_eq!(answer["status"]["userInfo"], alice);
    for (at, other) in [(0, "bob"), (1, "ops"), (2, "8"), (3, "write")] {
        let mut headers = all;
        headers[at].1 = other;
        let (status, answer) = acting(&cluster, token, &headers).await;
        assert_eq!(status, 403, "{other}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains("cannot impersonate resource"));
    }
    let (status, _) = acting(&cluster, token, &all[1..]).await;
    assert_ne!(status, 201, "groups alone are nobody");
}
