//! Tables, metadata alone, YAML, versions of custom resources, warnings.

use bytes::Bytes;
use http::header::ACCEPT;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use stolos_apiserver::names::GroupVersion;
use stolos_apiserver::registry::Resource;

use crate::harness::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

async fn accepting(cluster: &Cluster, path: &str, accept: &str) -> (StatusCode, Value) {
    let request = Request::get(path).header(ACCEPT, accept).body(Full::new(Bytes::new())).unwrap();
    cluster.request(request).await
}

#[tokio::test]
async fn lists_objects_and_watches_become_tables() {
    let cluster = Cluster::start().await;
    let map = json!({"metadata": {"name": "a"}, "data": {"x": "1", "y": "2"}});
    cluster.send(Method::POST, MAPS, Some(map)).await;
    let (_, list) = accepting(&cluster, MAPS, TABLE).await;
    assert_eq!(list["kind"], "Table");
    assert_eq!(list["columnDefinitions"][0]["name"], "Name");
    assert_eq!(list["rows"][0]["cells"][0], "a");
    assert_eq!(list["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert!(list["metadata"]["resourceVersion"].is_string());

    let (_, one) = accepting(&cluster, &format!("{MAPS}/a?includeObject=Object"), TABLE).await;
    assert_eq!(one["rows"][0]["object"]["data"]["x"], "1");

    let (_, event) =
        accepting(&cluster, &format!("{MAPS}?watch=1&timeoutSeconds=1&resourceVersion=0"), TABLE)
            .await;
    assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("ADDED"), &json!("Table")));
}

#[tokio::test]
async fn metadata_alone_hides_the_content() {
    let cluster = Cluster::start().await;
    cluster
        .send(Method::POST, MAPS, Some(json!({"metadata": {"name": "a"}, "data": {"x": "1"}})))
        .await;
    let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let (_, list) = accepting(&cluster, MAPS, accept).await;
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["kind"], "PartialObjectMetadata");
    assert!(list["items"][0].get("data").is_none());
}

#[tokio::test]
async fn yaml_goes_in_and_out() {
    let cluster = Cluster::start().await;
    let text = "metadata:\n  name: a\ndata:\n  x: 'yes'\n";
    let request = Request::post(MAPS)
        .header("content-type", "application/yaml")
        .body(Full::new(text.into()))
        .unwrap();
    assert_eq!(cluster.request(request).await.0, StatusCode::CREATED);
    let (_, yaml) = accepting(&cluster, &format!("{MAPS}/a"), "application/yaml").await;
    let yaml = yaml.as_str().unwrap();
    assert!(yaml.contains("kind: ConfigMap") && yaml.contains("x: "), "{yaml}");
}

#[tokio::test]
async fn what_cannot_be_a_table_is_not_acceptable() {
    let cluster = Cluster::start().await;
    let only = "application/json;as=Table;v=v1;g=meta.k8s.io";
    assert_eq!(
        accepting(&cluster, "/api/v1/namespaces/default/pods/p/log", only).await.0,
        StatusCode::NOT_IMPLEMENTED
    );
    let request =
        Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews").header(ACCEPT, only);
    let (status, body) = cluster.request(request.body(Full::new("{}".into())).unwrap()).await;
    assert_eq!((status, &body["reason"]), (StatusCode::NOT_ACCEPTABLE, &json!("NotAcceptable")));
}

fn widgets(version: &str) -> Resource {
    let template = stolos_apiserver::registry::Registry::builtin()
        .resource("apps", "v1", "deployments")
        .unwrap();
    Resource {
        group_version: GroupVersion::new("example.com", version),
        storage_version: "v1".to_owned(),
        plural: "widgets".to_owned(),
        singular: "widget".to_owned(),
        kind: "Widget".to_owned(),
        list_kind: "WidgetList".to_owned(),
        custom: true,
        unconditional_update: false,
        scale: None,
        schema: stolos_apiserver::schema::SchemaRef::new(stolos_apiserver::schema::Schema {
            preserve_unknown: true,
            ..stolos_apiserver::schema::Schema::default()
        })
        .into(),
        storage: "widgets.example.com".into(),
        ..(*template).clone()
    }
}

/// Pitfall: lists and watches carry the version that was asked for, whatever is stored.
#[tokio::test]
async fn every_served_version_shows_the_same_objects() {
    let cluster = Cluster::start().await;
    cluster.server.registry().set_custom(vec![widgets("v1"), widgets("v1beta1")]).unwrap();
    let path = |version: &str| format!("/apis/example.com/{version}/namespaces/default/widgets");
    let widget = json!({"apiVersion": "example.com/v1beta1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {}});
    let (status, created) = cluster.send(Method::POST, &path("v1beta1"), Some(widget)).await;
    assert_eq!(
        (status, &created["apiVersion"]),
        (StatusCode::CREATED, &json!("example.com/v1beta1"))
    );
    for version in ["v1", "v1beta1"] {
        let (_, list) = cluster.send(Method::GET, &path(version), None).await;
        let want = json!(format!("example.com/{version}"));
        assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("WidgetList"), &want));
        assert_eq!(list["items"][0]["apiVersion"], want);
        let watch = format!("{}?watch=1&timeoutSeconds=1", path(version));
        let (_, event) = cluster.send(Method::GET, &watch, None).await;
        assert_eq!(event["object"]["apiVersion"], want);
    }
    let put = json!({"metadata": {"name": "w"}, "spec": {"x": 1}});
    let (status, error) = cluster.send(Method::PUT, &format!("{}/w", path("v1")), Some(put)).await;
    assert_eq!((status, &error["reason"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("Invalid")));
    let strategic = "application/strategic-merge-patch+json";
    let patch = cluster
        .send_as(Method::PATCH, &format!("{}/w", path("v1")), strategic, Some(json!({})))
        .await;
    assert_eq!(patch.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}
