//! Webhooks that change objects.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    MAPS, WIDGETS_V1, create_map, define_widgets, map, mutate_by, validate_by, webhook,
    webhook_for, widget,
};
use crate::harness::Cluster;
use crate::hooks::{Answer, Hooks, allow, patch};

/// Appends the path of each webhook to `data.trace`.
fn trace(path: &str, review: &Value) -> Answer {
    let so_far = review["request"]["object"]["data"]["trace"].as_str().unwrap_or_default();
    let value = format!("{so_far}{path}");
    patch(review, &json!([{"op": "add", "path": "/data/trace", "value": value}]))
}

#[tokio::test]
async fn webhooks_change_objects_in_the_order_of_their_names() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(trace).await;
    mutate_by(
        &cluster,
        "z",
        json!([webhook(&hooks, "/z1", |_| {}), webhook(&hooks, "/z0", |_| {})]),
    )
    .await;
    mutate_by(&cluster, "a", json!([webhook(&hooks, "/a", |_| {})])).await;
    let made = cluster.ok(Method::POST, MAPS, Some(map("m"))).await;
    assert_eq!(made["data"]["trace"], "/a/z1/z0");
    let manager = &made["metadata"]["managedFields"][0]["fieldsV1"]["f:data"];
    assert!(manager.get("f:trace").is_none(), "what webhooks add belongs to no manager: {manager}");
    let first = &hooks.asked("/a")[0]["object"]["metadata"];
    assert!(first.get("uid").is_none() && first.get("creationTimestamp").is_none(), "{first}");
}

#[tokio::test]
async fn updates_by_webhooks_count_in_the_generation_and_in_later_webhooks() {
    let cluster = Cluster::start().await;
    define_widgets(&cluster).await;
    let hooks = Hooks::start(|path, review| match path {
        "/blue" => {
            patch(review, &json!([{"op": "replace", "path": "/spec/color", "value": "blue"}]))
        }
        _ => allow(review),
    })
    .await;
    cluster.ok(Method::POST, WIDGETS_V1, Some(widget("v1", "w"))).await;
    mutate_by(&cluster, "m", json!([webhook_for(&hooks, "/blue", "example.com", &["widgets"])]))
        .await;
    validate_by(&cluster, "v", json!([webhook_for(&hooks, "/see", "example.com", &["widgets"])]))
        .await;
    let path = format!("{WIDGETS_V1}/w");
    let made = cluster.merge(&path, json!({"metadata": {"labels": {"l": "1"}}})).await;
    assert_eq!(
        (&made["spec"]["color"], &made["metadata"]["generation"]),
        (&json!("blue"), &json!(2))
    );
    assert_eq!(hooks.asked("/see")[0]["object"]["spec"]["color"], "blue");
    assert_eq!(hooks.asked("/see")[0]["object"]["metadata"]["generation"], 2);
}

#[tokio::test]
async fn defaults_and_pruning_follow_the_webhooks() {
    let cluster = Cluster::start().await;
    define_widgets(&cluster).await;
    let hooks = Hooks::start(|path, review| match path {
        "/widget" => patch(
            review,
            &json!([
                {"op": "remove", "path": "/spec/size"},
                {"op": "add", "path": "/spec/unknown", "value": 1},
                {"op": "add", "path": "/status", "value": {"seen": true}},
            ]),
        ),
        "/pod" => patch(
            review,
            &json!([{"op": "add", "path": "/spec/initContainers", "value": [{"name": "i", "image": "busybox"}]}]),
        ),
        _ => allow(review),
    })
    .await;
    let widgets = webhook_for(&hooks, "/widget", "example.com", &["widgets"]);
    let pods = webhook_for(&hooks, "/pod", "", &["pods"]);
    mutate_by(&cluster, "m", json!([widgets, pods])).await;
    let made = cluster.ok(Method::POST, WIDGETS_V1, Some(widget("v1", "w"))).await;
    assert_eq!(made["spec"], json!({"color": "red", "size": 3}));
    assert!(made.get("status").is_none(), "the status of a new object is not a webhook's to set");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let pod = cluster.ok(Method::POST, "/api/v1/namespaces/default/pods", Some(pod)).await;
    let added = &pod["spec"]["initContainers"][0];
    assert_eq!(added["terminationMessagePolicy"], "File", "{added}");
}

#[tokio::test]
async fn what_webhooks_make_must_be_valid() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(|_, review| {
        patch(
            review,
            &json!([{"op": "add", "path": "/metadata/labels", "value": {"bad key": "x"}}]),
        )
    })
    .await;
    mutate_by(&cluster, "m", json!([webhook(&hooks, "/bad", |_| {})])).await;
    let (status, body) = create_map(&cluster, "a").await;
    assert_eq!((status.as_u16(), &body["reason"]), (422, &json!("Invalid")));
    assert!(!cluster.exists(&format!("{MAPS}/a")).await);
}

#[tokio::test]
async fn webhooks_may_name_what_is_to_be_generated_and_are_asked_once() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(|path, review| match path {
        "/name" => {
            patch(review, &json!([{"op": "add", "path": "/metadata/name", "value": "chosen"}]))
        }
        _ => allow(review),
    })
    .await;
    let generated =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "g-"}});
    mutate_by(&cluster, "a", json!([webhook(&hooks, "/see", |_| {})])).await;
    validate_by(&cluster, "v", json!([webhook(&hooks, "/judge", |_| {})])).await;
    let made = cluster.ok(Method::POST, MAPS, Some(generated.clone())).await;
    let first = &hooks.asked("/see")[0];
    assert!(first.get("name").is_none() && first["object"]["metadata"].get("name").is_none());
    assert_eq!(hooks.asked("/judge")[0]["name"], made["metadata"]["name"]);
    mutate_by(&cluster, "m", json!([webhook(&hooks, "/name", |_| {})])).await;
    let made = cluster.ok(Method::POST, MAPS, Some(generated)).await;
    assert_eq!(made["metadata"]["name"], "chosen");
}

#[tokio::test]
async fn a_webhook_is_asked_again_only_if_later_ones_changed_the_object_and_it_wants_to() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(|path, review| match path {
        "/a" | "/c" => allow(review),
        _ => trace(path, review),
    })
    .await;
    let if_needed = |webhook: &mut Value| webhook["reinvocationPolicy"] = json!("IfNeeded");
    let webhooks = json!([
        webhook(&hooks, "/a", if_needed),
        webhook(&hooks, "/never", |_| {}),
        webhook(&hooks, "/b", if_needed),
        webhook(&hooks, "/c", if_needed),
    ]);
    mutate_by(&cluster, "m", webhooks).await;
    create_map(&cluster, "x").await;
    // `a` saw neither change, `b` and `c` saw all; one more round, and no more.
    assert_eq!(hooks.paths(), ["/a", "/never", "/b", "/c", "/a"]);
}

#[tokio::test]
async fn a_patch_that_does_not_fit_refuses_the_write_even_if_failures_are_ignored() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(|_, review| {
        patch(review, &json!([{"op": "replace", "path": "/missing/field", "value": 1}]))
    })
    .await;
    let ignore = |webhook: &mut Value| webhook["failurePolicy"] = json!("Ignore");
    mutate_by(&cluster, "m", json!([webhook(&hooks, "/odd", ignore)])).await;
    let (status, body) = create_map(&cluster, "a").await;
    assert_eq!((status.as_u16(), &body["reason"]), (500, &json!("InternalError")));
}

#[tokio::test]
async fn deletions_can_be_refused_and_not_changed() {
    let cluster = Cluster::start().await;
    create_map(&cluster, "a").await;
    let hooks = Hooks::start(trace).await;
    mutate_by(&cluster, "m", json!([webhook(&hooks, "/t", |_| {})])).await;
    let (status, body) = cluster.send(Method::DELETE, &format!("{MAPS}/a"), None).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let text = body["message"].as_str().unwrap();
    assert!(
        text.ends_with("attempted to modify the object, which is not supported for this operation"),
        "{text}"
    );
    assert!(cluster.exists(&format!("{MAPS}/a")).await);
}

#[tokio::test]
async fn scaling_can_be_changed() {
    let cluster = Cluster::start().await;
    let labels = json!({"app": "a"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]},
        }},
    });
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    cluster.ok(Method::POST, deployments, Some(deployment)).await;
    let hooks = Hooks::start(|_, review| {
        patch(review, &json!([{"op": "replace", "path": "/spec/replicas", "value": 2}]))
    })
    .await;
    mutate_by(&cluster, "m", json!([webhook_for(&hooks, "/two", "apps", &["deployments/scale"])]))
        .await;
    let scale =
        cluster.merge(&format!("{deployments}/d/scale"), json!({"spec": {"replicas": 9}})).await;
    assert_eq!(scale["spec"]["replicas"], 2);
    let stored = cluster.ok(Method::GET, &format!("{deployments}/d"), None).await;
    assert_eq!(
        (&stored["spec"]["replicas"], &stored["metadata"]["generation"]),
        (&json!(2), &json!(2))
    );
}

#[tokio::test]
async fn managed_fields_that_nobody_can_read_are_put_back_with_a_warning() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(|_, review| {
        let broken = json!([{"manager": "x", "operation": "Odd", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {}}]);
        patch(review, &json!([{"op": "replace", "path": "/metadata/managedFields", "value": broken}]))
    })
    .await;
    mutate_by(&cluster, "m", json!([webhook(&hooks, "/mf", |_| {})])).await;
    let warnings = super::warnings_of(&cluster, Method::POST, MAPS, &map("a")).await;
    assert!(warnings[0].contains("operation must be `Apply` or `Update`"), "{warnings:?}");
    let made = cluster.ok(Method::GET, &format!("{MAPS}/a"), None).await;
    assert_eq!(made["metadata"]["managedFields"][0]["operation"], "Update");
}

#[tokio::test]
async fn a_value_that_a_built_in_kind_cannot_hold_is_the_webhooks_fault() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(|_, review| {
        patch(review, &json!([{"op": "add", "path": "/data", "value": 5}]))
    })
    .await;
    mutate_by(&cluster, "m", json!([webhook(&hooks, "/typed", |_| {})])).await;
    let (status, body) = create_map(&cluster, "a").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        body["message"],
        "Internal error occurred: json: cannot unmarshal number into Go struct field ConfigMap.data of type \
         map[string]string"
    );
    assert!(!cluster.exists(&format!("{MAPS}/a")).await);
}
