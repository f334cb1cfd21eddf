//! Admission by webhooks and policies, over real TLS.

mod calls;
mod configurations;
mod matching;
mod mutating;
mod policies;
mod validating;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::Cluster;
use crate::hooks::Hooks;

pub(super) const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
pub(super) const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Builds a webhook for config maps; `change` makes it special.
pub(super) fn webhook(hooks: &Hooks, path: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut webhook = json!({
        "name": format!("{}.example.com", path.trim_start_matches('/')),
        "clientConfig": hooks.client(path),
        "rules": [{
            "operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
        }],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    });
    change(&mut webhook);
    webhook
}

/// Builds a webhook for another resource.
pub(super) fn webhook_for(hooks: &Hooks, path: &str, group: &str, resources: &[&str]) -> Value {
    webhook(hooks, path, |webhook| {
        webhook["rules"][0]["apiGroups"] = json!([group]);
        webhook["rules"][0]["apiVersions"] = json!(["*"]);
        webhook["rules"][0]["resources"] = json!(resources);
    })
}

/// Stores webhooks that judge.
pub(super) async fn validate_by(cluster: &Cluster, name: &str, webhooks: Value) {
    configure(cluster, "validatingwebhookconfigurations", "Validating", name, webhooks).await;
}

/// Stores webhooks that change.
pub(super) async fn mutate_by(cluster: &Cluster, name: &str, webhooks: Value) {
    configure(cluster, "mutatingwebhookconfigurations", "Mutating", name, webhooks).await;
}

async fn configure(cluster: &Cluster, plural: &str, what: &str, name: &str, webhooks: Value) {
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{what}WebhookConfiguration"),
        "metadata": {"name": name}, "webhooks": webhooks,
    });
    cluster.ok(Method::POST, &format!("{GROUP}/{plural}"), Some(configuration)).await;
}

/// Builds a config map.
pub(super) fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

/// Creates a config map and returns the answer.
pub(super) async fn create_map(cluster: &Cluster, name: &str) -> (StatusCode, Value) {
    cluster.send(Method::POST, MAPS, Some(map(name))).await
}

/// Returns the texts of the warnings of an answer.
pub(super) async fn warnings_of(
    cluster: &Cluster,
    method: Method,
    path: &str,
    body: &Value,
) -> Vec<String> {
    let (_, headers, _) = cluster.exchange(method, path, body).await;
    let values = headers.get_all("warning").iter();
    values.map(|value| value.to_str().unwrap().to_owned()).collect()
}

/// Serves widgets in v1 and v2, stored in v1.
pub(super) async fn define_widgets(cluster: &Cluster) {
    let version = |name: &str, storage: bool| {
        json!({
            "name": name, "served": true, "storage": storage, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {
                    "color": {"type": "string"}, "size": {"type": "integer", "default": 3},
                }},
                "status": {"type": "object", "properties": {"seen": {"type": "boolean"}}},
            }}},
        })
    };
    cluster.define(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [version("v1", true), version("v2", false)],
        },
    })).await;
}

pub(super) const WIDGETS_V1: &str = "/apis/example.com/v1/namespaces/default/widgets";
pub(super) const WIDGETS_V2: &str = "/apis/example.com/v2/namespaces/default/widgets";

/// Builds a widget.
pub(super) fn widget(version: &str, name: &str) -> Value {
    json!({
        "apiVersion": format!("example.com/{version}"), "kind": "Widget", "metadata": {"name": name},
        "spec": {"color": "red"},
    })
}
