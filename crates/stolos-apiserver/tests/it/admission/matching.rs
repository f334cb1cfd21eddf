//! Which webhooks are asked, and in which version.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    MAPS, WIDGETS_V2, create_map, define_widgets, map, mutate_by, validate_by, webhook,
    webhook_for, widget,
};
use crate::harness::Cluster;
use crate::hooks::{Hooks, patch};

#[tokio::test]
async fn selectors_choose_namespaces_and_objects() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::allowing().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "blue", "labels": {"team": "blue"}}});
    cluster.ok(Method::POST, "/api/v1/namespaces", Some(namespace)).await;
    let webhooks = json!([
        webhook(&hooks, "/ns", |webhook| {
            webhook["namespaceSelector"] = json!({"matchLabels": {"team": "blue"}});
        }),
        webhook(&hooks, "/obj", |webhook| {
            webhook["objectSelector"] =
                json!({"matchExpressions": [{"key": "watched", "operator": "Exists"}]});
        }),
    ]);
    validate_by(&cluster, "v", webhooks).await;
    create_map(&cluster, "a").await;
    assert_eq!(hooks.paths(), [] as [&str; 0]);
    cluster.ok(Method::POST, "/api/v1/namespaces/blue/configmaps", Some(map("a"))).await;
    assert_eq!(hooks.paths(), ["/ns"]);
    let path = format!("{MAPS}/a");
    cluster.merge(&path, json!({"metadata": {"labels": {"watched": "yes"}}})).await;
    cluster.merge(&path, json!({"metadata": {"labels": {"watched": null}}})).await;
    cluster.merge(&path, json!({"data": {"k": "2"}})).await;
    assert_eq!(hooks.paths(), ["/ns", "/obj", "/obj"], "taking the label off is seen, too");
}

#[tokio::test]
async fn a_namespace_is_selected_by_its_own_labels() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::allowing().await;
    let mut selecting = webhook_for(&hooks, "/ns", "", &["namespaces"]);
    selecting["namespaceSelector"] = json!({"matchLabels": {"team": "blue"}});
    validate_by(&cluster, "v", json!([selecting])).await;
    let namespace = |name: &str, team: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": team}}});
    cluster.ok(Method::POST, "/api/v1/namespaces", Some(namespace("r", "red"))).await;
    cluster.ok(Method::POST, "/api/v1/namespaces", Some(namespace("b", "blue"))).await;
    let asked = hooks.asked("/ns");
    assert_eq!(asked.len(), 1);
    assert_eq!((&asked[0]["name"], &asked[0]["namespace"]), (&json!("b"), &json!("b")));
}

#[tokio::test]
async fn rules_cover_other_versions_unless_they_are_exact() {
    let cluster = Cluster::start().await;
    define_widgets(&cluster).await;
    let hooks = Hooks::start(|path, review| match path {
        "/change" => {
            patch(review, &json!([{"op": "replace", "path": "/spec/color", "value": "green"}]))
        }
        _ => crate::hooks::allow(review),
    })
    .await;
    let for_v1 = |path: &str, policy: &str| {
        let mut webhook = webhook_for(&hooks, path, "example.com", &["widgets"]);
        webhook["rules"][0]["apiVersions"] = json!(["v1"]);
        webhook["matchPolicy"] = json!(policy);
        webhook
    };
    mutate_by(&cluster, "m", json!([for_v1("/change", "Equivalent")])).await;
    let judges = json!([for_v1("/equivalent", "Equivalent"), for_v1("/exact", "Exact")]);
    validate_by(&cluster, "v", judges).await;
    let made = cluster.ok(Method::POST, WIDGETS_V2, Some(widget("v2", "w"))).await;
    assert_eq!(
        (&made["apiVersion"], &made["spec"]["color"]),
        (&json!("example.com/v2"), &json!("green"))
    );
    assert_eq!(hooks.paths(), ["/change", "/equivalent"]);
    let asked = &hooks.asked("/equivalent")[0];
    assert_eq!(asked["object"]["apiVersion"], "example.com/v1");
    assert_eq!(
        (&asked["kind"]["version"], &asked["requestKind"]["version"]),
        (&json!("v1"), &json!("v2"))
    );
    assert_eq!(
        (&asked["resource"]["version"], &asked["requestResource"]["version"]),
        (&json!("v1"), &json!("v2"))
    );
}

#[tokio::test]
async fn other_resources_and_operations_are_left_alone() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(|_, review| crate::hooks::deny(review, "no")).await;
    let only_update = |webhook: &mut Value| webhook["rules"][0]["operations"] = json!(["UPDATE"]);
    validate_by(&cluster, "v", json!([webhook(&hooks, "/u", only_update)])).await;
    assert_eq!(create_map(&cluster, "a").await.0, StatusCode::CREATED);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    cluster.ok(Method::POST, "/api/v1/namespaces/default/secrets", Some(secret)).await;
    assert_eq!(hooks.paths(), [] as [&str; 0]);
    cluster.ok(Method::GET, &format!("{MAPS}/a"), None).await;
    let (status, _) = cluster.send(Method::PUT, &format!("{MAPS}/a"), Some(map("a"))).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "an update that changes nothing is asked about, too");
}
