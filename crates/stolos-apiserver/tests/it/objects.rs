//! Creating, reading, changing and deleting objects through a kube client.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{Method, Request};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use stolos_apiserver::auth::UserInfo;
use tower::ServiceExt;

use crate::harness::Cluster;

fn config_map(name: &str, data: &Value) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": data})).unwrap()
}

fn reason(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.reason,
        other => panic!("expected a Status, got {other}"),
    }
}

#[tokio::test]
async fn an_object_is_created_read_listed_changed_and_deleted() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let created =
        maps.create(&PostParams::default(), &config_map("a", &json!({"k": "1"}))).await.unwrap();
    assert!(created.metadata.uid.is_some() && created.metadata.creation_timestamp.is_some());
    assert_eq!(maps.get("a").await.unwrap(), created);

    let list = maps.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items, std::slice::from_ref(&created));
    assert!(list.metadata.resource_version.is_some());

    let mut changed = created.clone();
    changed.data = Some([("k".to_owned(), "2".to_owned())].into());
    let replaced = maps.replace("a", &PostParams::default(), &changed).await.unwrap();
    assert_ne!(replaced.metadata.resource_version, created.metadata.resource_version);
    let stale = maps.replace("a", &PostParams::default(), &changed).await.unwrap_err();
    assert_eq!(reason(stale), "Conflict");

    let merge = Patch::Merge(json!({"data": {"k": null, "l": "3"}}));
    let patched = maps.patch("a", &PatchParams::default(), &merge).await.unwrap();
    assert_eq!(patched.data, Some([("l".to_owned(), "3".to_owned())].into()));

    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(reason(maps.get("a").await.unwrap_err()), "NotFound");
}

#[tokio::test]
async fn a_second_creation_and_a_missing_namespace_are_refused() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    maps.create(&PostParams::default(), &config_map("a", &json!({}))).await.unwrap();
    let again = maps.create(&PostParams::default(), &config_map("a", &json!({}))).await;
    assert_eq!(reason(again.unwrap_err()), "AlreadyExists");
    let elsewhere: Api<ConfigMap> = Api::namespaced(cluster.client(), "nowhere");
    let missing = elsewhere.create(&PostParams::default(), &config_map("a", &json!({}))).await;
    assert_eq!(reason(missing.unwrap_err()), "NotFound");
}

#[tokio::test]
async fn generated_names_extend_their_base() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let mut map = ConfigMap::default();
    map.metadata.generate_name = Some("job-".to_owned());
    let created = maps.create(&PostParams::default(), &map).await.unwrap();
    let name = created.metadata.name.unwrap();
    assert!(name.starts_with("job-") && name.len() == 9, "{name}");
}

/// Pitfall: a new version for a write without a change keeps controllers busy for ever.
#[tokio::test]
async fn a_write_that_changes_nothing_keeps_the_resource_version() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let created =
        maps.create(&PostParams::default(), &config_map("a", &json!({"k": "1"}))).await.unwrap();
    let replaced = maps.replace("a", &PostParams::default(), &created).await.unwrap();
    assert_eq!(replaced.metadata.resource_version, created.metadata.resource_version);
    let merge = Patch::Merge(json!({"data": {"k": "1"}}));
    let patched = maps.patch("a", &PatchParams::default(), &merge).await.unwrap();
    assert_eq!(patched.metadata.resource_version, created.metadata.resource_version);
}

#[tokio::test]
async fn status_and_desired_state_are_written_apart() {
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
    deployments.create(&PostParams::default(), &deployment).await.unwrap();
    let params = PatchParams::default();
    let both = Patch::Merge(json!({"spec": {"replicas": 2}, "status": {"replicas": 9}}));
    let main = deployments.patch("web", &params, &both).await.unwrap();
    assert_eq!(main.metadata.generation, Some(2));
    assert_eq!(main.spec.unwrap().replicas, Some(2));
    assert_eq!(main.status.unwrap().replicas, None);

    let both = Patch::Merge(json!({"spec": {"replicas": 7}, "status": {"replicas": 2}}));
    let status = deployments.patch_status("web", &params, &both).await.unwrap();
    assert_eq!(status.metadata.generation, Some(2));
    assert_eq!(status.spec.unwrap().replicas, Some(2));
    assert_eq!(status.status.unwrap().replicas, Some(2));

    let scale = deployments.get_scale("web").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(2));
    assert_eq!(scale.status.unwrap().selector.as_deref(), Some("app=web"));
    let scaled = Patch::Merge(json!({"spec": {"replicas": 4}}));
    deployments.patch_scale("web", &params, &scaled).await.unwrap();
    let live = deployments.get("web").await.unwrap();
    assert_eq!((live.spec.unwrap().replicas, live.metadata.generation), (Some(4), Some(3)));
}

#[tokio::test]
async fn finalizers_hold_an_object_until_they_are_gone() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let mut map = config_map("a", &json!({}));
    map.metadata.finalizers = Some(vec!["example.com/hold".to_owned()]);
    maps.create(&PostParams::default(), &map).await.unwrap();
    let pending = maps.delete("a", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert!(pending.metadata.deletion_timestamp.is_some());
    let again = maps.delete("a", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(again.metadata.resource_version, pending.metadata.resource_version);

    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("a", &PatchParams::default(), &release).await.unwrap();
    assert_eq!(reason(maps.get("a").await.unwrap_err()), "NotFound");
}

#[tokio::test]
async fn preconditions_and_dry_runs_change_nothing() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    maps.create(&dry, &config_map("a", &json!({}))).await.unwrap();
    assert_eq!(reason(maps.get("a").await.unwrap_err()), "NotFound");

    maps.create(&PostParams::default(), &config_map("a", &json!({}))).await.unwrap();
    let other = kube::api::Preconditions { uid: Some("other".into()), resource_version: None };
    let params = DeleteParams { preconditions: Some(other), ..DeleteParams::default() };
    assert_eq!(reason(maps.delete("a", &params).await.unwrap_err()), "Conflict");
    maps.delete("a", &DeleteParams::default().dry_run()).await.unwrap();
    maps.get("a").await.unwrap();
}

#[tokio::test]
async fn namespaces_terminate_and_refuse_new_content() {
    let cluster = Cluster::start().await;
    let namespaces: Api<Namespace> = Api::all(cluster.client());
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "team"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let system = namespaces.delete("default", &DeleteParams::default()).await;
    assert_eq!(reason(system.unwrap_err()), "Forbidden");
}

#[tokio::test]
async fn pages_are_consistent_and_count_what_remains() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    for name in ["a", "b", "c", "d", "e"] {
        maps.create(&PostParams::default(), &config_map(name, &json!({}))).await.unwrap();
    }
    let first = maps.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(3));
    maps.delete("c", &DeleteParams::default()).await.unwrap();
    let token = first.metadata.continue_.clone().unwrap();
    let second = maps.list(&ListParams::default().limit(2).continue_token(&token)).await.unwrap();
    let names: Vec<_> = second.items.iter().map(|map| map.metadata.name.clone().unwrap()).collect();
    assert_eq!(names, ["c", "d"]);
    assert_eq!(second.metadata.resource_version, first.metadata.resource_version);
    let token = second.metadata.continue_.clone().unwrap();
    let last = maps.list(&ListParams::default().limit(2).continue_token(&token)).await.unwrap();
    assert_eq!(last.items.len(), 1);
    assert_eq!(last.metadata.continue_, None);
}

#[tokio::test]
async fn selectors_choose_and_unknown_fields_are_refused() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    for (name, tier) in [("a", "front"), ("b", "back")] {
        let mut map = config_map(name, &json!({}));
        map.metadata.labels = Some([("tier".to_owned(), tier.to_owned())].into());
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
    let by_label = maps.list(&ListParams::default().labels("tier in (back)")).await.unwrap();
    assert_eq!(by_label.items.len(), 1);
    let by_name = maps.list(&ListParams::default().fields("metadata.name=a")).await.unwrap();
    assert_eq!(by_name.items[0].metadata.name.as_deref(), Some("a"));
    let unknown = maps.list(&ListParams::default().fields("data.k=1")).await.unwrap_err();
    assert_eq!(reason(unknown), "BadRequest");
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    for name in ["a", "b"] {
        let mut map = config_map(name, &json!({}));
        map.metadata.labels = Some([("which".to_owned(), name.to_owned())].into());
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
    maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("which=a"))
        .await
        .unwrap();
    let left = maps.list(&ListParams::default()).await.unwrap();
    assert_eq!(left.items[0].metadata.name.as_deref(), Some("b"));
}

#[tokio::test]
async fn events_have_two_views() {
    let cluster = Cluster::start().await;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("events.k8s.io", "v1", "Event"));
    let events: Api<DynamicObject> = Api::default_namespaced_with(cluster.client(), &kind);
    let event = serde_json::from_value(json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
        "regarding": {"kind": "Pod", "name": "p"}, "note": "hello", "reason": "R", "action": "A", "type": "Normal",
        "eventTime": "2026-01-02T03:04:05.000000Z", "reportingController": "c", "reportingInstance": "i",
    }))
    .unwrap();
    events.create(&PostParams::default(), &event).await.unwrap();
    let (_, core) = cluster.send(Method::GET, "/api/v1/namespaces/default/events/e", None).await;
    assert_eq!(core["apiVersion"], "v1");
    assert_eq!((&core["message"], &core["involvedObject"]["name"]), (&json!("hello"), &json!("p")));
    let listed = events.list(&ListParams::default().fields("regarding.name=p")).await.unwrap();
    assert_eq!(listed.items[0].data["note"], "hello");
}

#[tokio::test]
async fn unknown_paths_methods_and_types_have_their_codes() {
    let cluster = Cluster::start().await;
    let code = async |method, path: &str| cluster.send(method, path, None).await.0.as_u16();
    assert_eq!(code(Method::GET, "/nothing").await, 404);
    assert_eq!(code(Method::GET, "/api/v1/unicorns").await, 404);
    assert_eq!(code(Method::GET, "/apis/none.example.com/v1/things").await, 404);
    assert_eq!(code(Method::POST, "/api/v1/configmaps").await, 405);
    assert_eq!(code(Method::PUT, "/api/v1/namespaces/default/configmaps").await, 405);
    assert_eq!(code(Method::GET, "/api/v1/namespaces/default/pods/p/log").await, 501);
    assert_eq!(code(Method::GET, "/healthz").await, 200);
    let (status, body) = cluster.send(Method::GET, "/readyz?verbose", None).await;
    assert_eq!(
        (status.as_u16(), body),
        (200, json!("[+]ping ok\n[+]store ok\nreadyz check passed\n"))
    );
    let path = "/api/v1/namespaces/default/configmaps";
    let (status, _) =
        cluster.send_as(Method::POST, path, "application/cbor", Some(json!({}))).await;
    assert_eq!(status.as_u16(), 415);
    let (status, version) = cluster.send(Method::GET, "/version", None).await;
    assert_eq!((status.as_u16(), &version["minor"]), (200, &json!("34")));
    let huge = json!({"metadata": {"name": "a"}, "data": {"k": "x".repeat(3 * 1024 * 1024)}});
    let (status, body) = cluster.send(Method::POST, path, Some(huge)).await;
    assert_eq!((status.as_u16(), &body["reason"]), (413, &json!("RequestEntityTooLarge")));
}

#[tokio::test]
async fn only_known_users_with_rights_get_an_answer() {
    let cluster = Cluster::start().await;
    let anonymous = cluster.server.service();
    let request = |path: &str| Request::get(path).body(Full::new(Bytes::new())).unwrap();
    let code = async |path: &str| {
        anonymous.clone().oneshot(request(path)).await.unwrap().status().as_u16()
    };
    assert_eq!(code("/healthz").await, 200);
    assert_eq!(code("/api/v1/namespaces/default/configmaps").await, 403);

    let nobody = UserInfo::authenticated("nobody", &[]);
    let maps: Api<ConfigMap> =
        Api::default_namespaced(kube::Client::new(cluster.server.as_user(nobody), "default"));
    match maps.get("a").await.unwrap_err() {
        kube::Error::Api(status) => assert_eq!(
            status.message,
            "configmaps \"a\" is forbidden: User \"nobody\" cannot get resource \"configmaps\" in API group \"\" in \
             the namespace \"default\""
        ),
        other => panic!("expected a Status, got {other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_at_once_are_sent_away_and_slow_bodies_time_out() {
    let cluster = Cluster::start().await;
    let service = cluster.server.as_user(UserInfo::internal("tester"));
    let never = || StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let slow = (0..1000).map(|_| {
        let request = Request::post("/api/v1/namespaces/default/configmaps").body(never()).unwrap();
        tokio::spawn(service.clone().oneshot(request))
    });
    let slow: Vec<_> = slow.collect();
    let refused = async {
        loop {
            let (status, body) = cluster.send(Method::GET, "/api/v1/namespaces", None).await;
            if status.as_u16() == 429 {
                return body;
            }
            tokio::task::yield_now().await;
        }
    };
    let body = tokio::time::timeout(Duration::from_secs(10), refused).await.unwrap();
    assert_eq!(body["reason"], "TooManyRequests");
    assert_eq!(body["details"]["retryAfterSeconds"], 1);
    assert_eq!(cluster.send(Method::GET, "/livez", None).await.0.as_u16(), 200);
    for request in slow {
        assert_eq!(request.await.unwrap().unwrap().status().as_u16(), 504);
    }
    assert_eq!(cluster.send(Method::GET, "/api/v1/namespaces", None).await.0.as_u16(), 200);
}

#[tokio::test]
async fn metrics_tell_which_deprecated_apis_were_asked_for() {
    let cluster = Cluster::start().await;
    let metrics = async || {
        let request = Request::get("/metrics").body(Full::<Bytes>::default()).unwrap();
        let answer = cluster.server.as_user(UserInfo::internal("tester")).oneshot(request).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    };
    let series = "apiserver_requested_deprecated_apis{group=\"g.io\",removed_release=\"\",resource=\"widgets\",subresource=\"\",version=\"v1\"} 1";
    assert!(metrics().await.contains("# TYPE apiserver_requested_deprecated_apis gauge\n"));
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.g.io"},
        "spec": {
            "group": "g.io", "scope": "Cluster", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "deprecated": true, "schema": schema}],
        },
    });
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let (status, body) = cluster.send(Method::POST, crds, Some(crd)).await;
    assert_eq!(status.as_u16(), 201, "{body}");
    assert!(!metrics().await.contains(series), "nobody has asked");
    while cluster.send(Method::GET, "/apis/g.io/v1/widgets", None).await.0.as_u16() == 404 {
        tokio::task::yield_now().await;
    }
    cluster.send(Method::GET, "/apis/g.io/v1/widgets/a/x%22%7D", None).await;
    let told = metrics().await;
    assert!(told.contains(series), "{told}");
    assert!(!told.contains("x\"}"), "{told}");
}
