//! Server-side apply and the field ownership of other writes.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::Cluster;

fn config_map(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

async fn apply(
    maps: &Api<ConfigMap>,
    manager: &str,
    data: Value,
) -> Result<ConfigMap, kube::Error> {
    maps.patch("a", &PatchParams::apply(manager), &Patch::Apply(config_map(&data))).await
}

fn managers(map: &ConfigMap) -> Vec<(String, String)> {
    let entries = map.metadata.managed_fields.iter().flatten();
    entries
        .map(|entry| (entry.manager.clone().unwrap(), entry.operation.clone().unwrap()))
        .collect()
}

#[tokio::test]
async fn apply_creates_changes_and_prunes_what_it_applied() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let created = apply(&maps, "one", json!({"x": "1", "y": "1"})).await.unwrap();
    assert_eq!(managers(&created), [("one".to_owned(), "Apply".to_owned())]);
    let changed = apply(&maps, "one", json!({"x": "2"})).await.unwrap();
    assert_eq!(changed.data, Some([("x".to_owned(), "2".to_owned())].into()));
    let again = apply(&maps, "one", json!({"x": "2"})).await.unwrap();
    assert_eq!(again.metadata.resource_version, changed.metadata.resource_version);
}

#[tokio::test]
async fn two_managers_of_one_field_conflict_until_one_forces() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    apply(&maps, "one", json!({"x": "1"})).await.unwrap();
    match apply(&maps, "two", json!({"x": "2"})).await.unwrap_err() {
        kube::Error::Api(status) => {
            assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
            let cause = &status.details.as_ref().unwrap().causes[0];
            assert_eq!(
                (cause.reason.as_str(), cause.field.as_str()),
                ("FieldManagerConflict", ".data.x")
            );
            assert!(
                status.message.contains("conflict with \"one\": .data.x"),
                "{}",
                status.message
            );
        }
        other => panic!("expected a Status, got {other}"),
    }
    let forced = PatchParams::apply("two").force();
    let map =
        maps.patch("a", &forced, &Patch::Apply(config_map(&json!({"x": "2"})))).await.unwrap();
    assert_eq!(map.data.unwrap()["x"], "2");
}

#[tokio::test]
async fn other_writes_are_recorded_by_program_and_subresource() {
    let cluster = Cluster::start().await;
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    }))
    .unwrap();
    let params = PostParams { field_manager: Some("creator".into()), ..PostParams::default() };
    deployments.create(&params, &deployment).await.unwrap();
    let params = PatchParams { field_manager: Some("kubelet".into()), ..PatchParams::default() };
    let status = Patch::Merge(json!({"status": {"replicas": 1}}));
    let live = deployments.patch_status("web", &params, &status).await.unwrap();
    let entries = live.metadata.managed_fields.unwrap();
    let entry = entries.iter().find(|entry| entry.manager.as_deref() == Some("kubelet")).unwrap();
    assert_eq!(entry.subresource.as_deref(), Some("status"));
    assert_eq!(entry.fields_v1.as_ref().unwrap().0, json!({"f:status": {"f:replicas": {}}}));
    let creator = entries.iter().find(|entry| entry.manager.as_deref() == Some("creator")).unwrap();
    assert_eq!(creator.fields_v1.as_ref().unwrap().0["f:spec"]["f:replicas"], json!({}));
}
