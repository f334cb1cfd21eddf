//! Webhooks that judge.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    MAPS, WIDGETS_V1, create_map, define_widgets, map, validate_by, webhook, webhook_for, widget,
};
use crate::harness::Cluster;
use crate::hooks::{Hooks, allow, deny, respond};

async fn denying(names: &'static [&'static str]) -> Hooks {
    Hooks::start(move |_, review| {
        let request = &review["request"];
        // A deletion has only an old object, and that of a collection not even a name.
        let object =
            if request["object"].is_null() { &request["oldObject"] } else { &request["object"] };
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        if names.contains(&name) { deny(review, "not this one") } else { allow(review) }
    })
    .await
}

#[tokio::test]
async fn a_denied_creation_stores_nothing_and_says_who_denied_it() {
    let cluster = Cluster::start().await;
    let hooks = denying(&["bad"]).await;
    validate_by(&cluster, "deny", json!([webhook(&hooks, "/deny", |_| {})])).await;
    let before = cluster.store.revision();
    let (status, body) = create_map(&cluster, "bad").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(
        body,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 403,
            "message": "admission webhook \"deny.example.com\" denied the request: not this one",
        })
    );
    assert_eq!(cluster.store.revision(), before);
    assert!(!cluster.exists(&format!("{MAPS}/bad")).await);
    assert_eq!(create_map(&cluster, "good").await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn updates_patches_and_deletions_are_judged_with_the_old_object() {
    let cluster = Cluster::start().await;
    create_map(&cluster, "held").await;
    let hooks = denying(&["held"]).await;
    validate_by(&cluster, "deny", json!([webhook(&hooks, "/deny", |_| {})])).await;
    let path = format!("{MAPS}/held");
    let mut changed = map("held");
    changed["data"]["k"] = json!("new");
    let patch = json!({"data": {"k": "new"}});
    let merge = "application/merge-patch+json";
    let apply = "application/apply-patch+yaml";
    let applied = format!("{path}?fieldManager=me&force=true");
    for (status, _) in [
        cluster.send(Method::PUT, &path, Some(changed.clone())).await,
        cluster.send_as(Method::PATCH, &path, merge, Some(patch)).await,
        cluster.send_as(Method::PATCH, &applied, apply, Some(changed)).await,
        cluster.send(Method::DELETE, &path, None).await,
        cluster.send(Method::DELETE, MAPS, None).await,
    ] {
        assert_eq!(status, StatusCode::FORBIDDEN);
    }
    assert_eq!(cluster.ok(Method::GET, &path, None).await["data"]["k"], "v");
    let asked = hooks.asked("/deny");
    for update in &asked[..3] {
        assert_eq!(update["operation"], "UPDATE");
        assert_eq!(
            (&update["object"]["data"]["k"], &update["oldObject"]["data"]["k"]),
            (&json!("new"), &json!("v"))
        );
        assert_eq!(update["options"]["kind"], "UpdateOptions");
    }
    for deletion in &asked[3..5] {
        assert_eq!(deletion["operation"], "DELETE");
        assert_eq!(deletion["object"], Value::Null);
        assert_eq!(deletion["oldObject"]["metadata"]["name"], "held");
        assert_eq!(deletion["options"]["kind"], "DeleteOptions");
    }
    assert_eq!(asked[3]["name"], "held");
    assert!(asked[4].get("name").is_none(), "a request for a collection names no object");
    assert_eq!(asked.len(), 5);
}

#[tokio::test]
async fn a_review_tells_everything_about_a_request() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::allowing().await;
    validate_by(&cluster, "see", json!([webhook(&hooks, "/see", |_| {})])).await;
    let path = format!("{MAPS}?fieldManager=me&fieldValidation=Strict");
    cluster.ok(Method::POST, &path, Some(map("a"))).await;
    let asked = hooks.asked("/see");
    let request = &asked[0];
    let kind = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    let resource = json!({"group": "", "version": "v1", "resource": "configmaps"});
    assert_eq!((&request["kind"], &request["requestKind"]), (&kind, &kind));
    assert_eq!((&request["resource"], &request["requestResource"]), (&resource, &resource));
    assert_eq!((&request["name"], &request["namespace"]), (&json!("a"), &json!("default")));
    assert_eq!((&request["dryRun"], &request["oldObject"]), (&json!(false), &Value::Null));
    assert_eq!(request["userInfo"]["username"], "tester");
    let options = json!({
        "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me", "fieldValidation": "Strict",
    });
    assert_eq!(request["options"], options);
    let object = &request["object"];
    assert_eq!((&object["kind"], &object["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
    assert!(object["metadata"]["uid"].is_string(), "a validating webhook sees the whole object");
}

#[tokio::test]
async fn custom_resources_and_their_definitions_are_judged() {
    let cluster = Cluster::start().await;
    define_widgets(&cluster).await;
    let hooks = denying(&["bad", "widgets.example.com"]).await;
    let definitions =
        webhook_for(&hooks, "/crd", "apiextensions.k8s.io", &["customresourcedefinitions"]);
    let widgets = webhook_for(&hooks, "/cr", "example.com", &["widgets", "widgets/status"]);
    validate_by(&cluster, "deny", json!([definitions, widgets])).await;
    let (status, body) = cluster.send(Method::POST, WIDGETS_V1, Some(widget("v1", "bad"))).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
    assert!(body["message"].as_str().unwrap().contains("cr.example.com"), "{body}");
    cluster.ok(Method::POST, WIDGETS_V1, Some(widget("v1", "good"))).await;
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com";
    let (status, _) = cluster.send(Method::DELETE, crd, None).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    cluster.merge(&format!("{WIDGETS_V1}/good/status"), json!({"status": {"seen": true}})).await;
    let asked = hooks.asked("/cr");
    let last = asked.last().unwrap();
    assert_eq!(last["subResource"], "status");
    assert_eq!(last["object"]["status"]["seen"], true);
}

#[tokio::test]
async fn configurations_are_exempt_from_what_they_configure() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(|_, review| deny(review, "everything")).await;
    let all = webhook_for(&hooks, "/all", "*", &["*"]);
    validate_by(&cluster, "all", json!([all])).await;
    super::mutate_by(&cluster, "all", json!([webhook_for(&hooks, "/all", "*", &["*"])])).await;
    assert_eq!(create_map(&cluster, "a").await.0, StatusCode::FORBIDDEN);
    for plural in ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"] {
        let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}");
        cluster.ok(Method::GET, &path, None).await;
        cluster.ok(Method::DELETE, &path, None).await;
    }
    assert_eq!(create_map(&cluster, "a").await.0, StatusCode::CREATED, "counts at once");
}

#[tokio::test]
async fn a_denial_is_what_the_webhook_says_it_is() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(|_, review| {
        let status = match review["request"]["name"].as_str() {
            Some("reasoned") => json!({"reason": "TooManyRequests", "code": 429, "details": {"retryAfterSeconds": 7}}),
            Some("odd") => json!({"code": 200, "status": "Success"}),
            _ => Value::Null,
        };
        respond(review, json!({"allowed": false, "status": status}))
    })
    .await;
    validate_by(&cluster, "deny", json!([webhook(&hooks, "/deny", |_| {})])).await;
    let denied = "admission webhook \"deny.example.com\" denied the request";
    let (status, body) = create_map(&cluster, "reasoned").await;
    assert_eq!((status.as_u16(), &body["reason"]), (429, &json!("TooManyRequests")));
    assert_eq!(body["message"], format!("{denied}: TooManyRequests"));
    assert_eq!(body["details"]["retryAfterSeconds"], 7);
    for name in ["odd", "silent"] {
        let (status, body) = create_map(&cluster, name).await;
        assert_eq!((status.as_u16(), &body["status"]), (400, &json!("Failure")), "{name}");
        assert_eq!(body["message"], format!("{denied} without explanation"));
    }
}

#[tokio::test]
async fn warnings_reach_the_client() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(|_, review| {
        respond(review, json!({"allowed": true, "warnings": ["think twice"]}))
    })
    .await;
    validate_by(&cluster, "warn", json!([webhook(&hooks, "/warn", |_| {})])).await;
    let warnings = super::warnings_of(&cluster, Method::POST, MAPS, &map("a")).await;
    assert_eq!(warnings, ["299 - \"think twice\""]);
    let path = format!("{MAPS}/a");
    for path in [path.as_str(), MAPS] {
        let warnings = super::warnings_of(&cluster, Method::DELETE, path, &Value::Null).await;
        assert_eq!(warnings, ["299 - \"think twice\""], "{path}");
        cluster.ok(Method::POST, MAPS, Some(map("a"))).await;
    }
}

/// Pitfall: webhooks judge who acts, not who is behind it.
#[tokio::test]
async fn the_impersonated_user_is_shown() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::allowing().await;
    validate_by(&cluster, "see", json!([webhook(&hooks, "/see", |_| {})])).await;
    cluster
        .server
        .auth()
        .authenticator()
        .add_static_token("secret", stolos_apiserver::auth::UserInfo::internal("boss"));
    let request = http::Request::post(MAPS)
        .header("authorization", "Bearer secret")
        .header("impersonate-user", "worker")
        .header("impersonate-group", "system:masters")
        .header("impersonate-extra-team", "blue")
        .body(http_body_util::Full::new(map("a").to_string().into()))
        .unwrap();
    let response = tower::ServiceExt::oneshot(cluster.server.service(), request).await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let user = hooks.asked("/see")[0]["userInfo"].clone();
    assert_eq!(user["username"], "worker");
    assert!(user["groups"].as_array().unwrap().contains(&json!("system:masters")));
    assert_eq!(user["extra"], json!({"team": ["blue"]}));
}

#[tokio::test]
async fn subresources_show_the_bodies_that_they_take() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::allowing().await;
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    cluster.ok(Method::POST, "/api/v1/namespaces/default/serviceaccounts", Some(account)).await;
    let labels = json!({"app": "a"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]},
        }},
    });
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    cluster.ok(Method::POST, deployments, Some(deployment)).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    cluster.ok(Method::POST, "/api/v1/namespaces/default/pods", Some(pod)).await;
    let webhooks = json!([
        webhook_for(&hooks, "/scale", "apps", &["*/scale"]),
        webhook_for(&hooks, "/token", "", &["serviceaccounts/token"]),
        webhook_for(&hooks, "/pods", "", &["pods/*"]),
        webhook_for(&hooks, "/plain", "", &["pods"]),
    ]);
    validate_by(&cluster, "see", webhooks).await;
    cluster.merge(&format!("{deployments}/d/scale"), json!({"spec": {"replicas": 4}})).await;
    let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}});
    cluster
        .ok(Method::POST, "/api/v1/namespaces/default/serviceaccounts/robot/token", Some(token))
        .await;
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    cluster.ok(Method::POST, "/api/v1/namespaces/default/pods/p/eviction", Some(eviction)).await;

    let scale = &hooks.asked("/scale")[0];
    assert_eq!(scale["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    assert_eq!(
        (&scale["object"]["spec"]["replicas"], &scale["oldObject"]["spec"]["replicas"]),
        (&json!(4), &json!(1))
    );
    let token = &hooks.asked("/token")[0];
    assert_eq!(token["kind"]["kind"], "TokenRequest");
    assert_eq!((&token["name"], &token["operation"]), (&json!("robot"), &json!("CREATE")));
    let evictions = hooks.asked("/pods");
    assert_eq!(evictions.len(), 1);
    assert_eq!(
        evictions[0]["kind"],
        json!({"group": "policy", "version": "v1", "kind": "Eviction"})
    );
    assert_eq!(
        hooks.asked("/plain"),
        Vec::<Value>::new(),
        "an eviction is not a deletion to admission"
    );
}
