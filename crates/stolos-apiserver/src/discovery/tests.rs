use serde_json::{Value, json};

use super::*;
use crate::names::GroupVersion;
use crate::registry::Resource;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                          application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,\
                          application/json";

fn headers(accept: &str) -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::try_from(accept).unwrap())])
}

fn get(registry: &Registry, path: &str, accept: &str) -> Option<(Response<Bytes>, Value)> {
    let response = respond(registry, path, &headers(accept)).unwrap()?;
    let json = serde_json::from_slice(response.body()).unwrap();
    Some((response, json))
}

fn with_widgets() -> Registry {
    let registry = Registry::builtin();
    let like = registry.resource("apps", "v1", "deployments").unwrap();
    let widget = |group: &str, version: &str| Resource {
        group_version: GroupVersion::new(group, version),
        plural: "widgets".to_owned(),
        singular: "widget".to_owned(),
        kind: "Widget".to_owned(),
        custom: true,
        storage: format!("widgets.{group}").into(),
        ..(*like).clone()
    };
    let versions = ["v1alpha1", "v1", "v2beta1", "v2"].map(|v| widget("example.com", v));
    registry.set_custom(versions.into()).unwrap();
    registry.set_custom(vec![widget("aaa.example.com", "v1")]).unwrap();
    registry
}

#[test]
fn the_roots_speak_the_legacy_form_to_who_asks_for_plain_json() {
    let registry = Registry::builtin();
    for accept in ["", "*/*", "application/json", "application/vnd.kubernetes.protobuf, */*"] {
        let (response, json) = get(&registry, "/api", accept).unwrap();
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json", "{accept}");
        assert_eq!((&json["kind"], &json["versions"]), (&json!("APIVersions"), &json!(["v1"])));
    }
    let (_, json) = get(&registry, "/apis/", "").unwrap();
    assert_eq!(json["kind"], "APIGroupList");
    let version = json!({"groupVersion": "apps/v1", "version": "v1"});
    let apps = json!({"name": "apps", "preferredVersion": version, "versions": [version]});
    assert!(json["groups"].as_array().unwrap().contains(&apps));
}

#[test]
fn the_roots_speak_the_aggregated_form_and_repeat_its_parameters() {
    let registry = Registry::builtin();
    let (response, json) = get(&registry, "/api", AGGREGATED).unwrap();
    let wanted = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    assert_eq!(response.headers()[CONTENT_TYPE], wanted);
    assert_eq!(json["apiVersion"], "apidiscovery.k8s.io/v2");
    assert_eq!(json["items"].as_array().unwrap().len(), 1);
    let pods = json["items"][0]["versions"][0]["resources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["resource"] == "pods");
    insta::assert_json_snapshot!(pods, @r#"
    {
      "categories": [
        "all"
      ],
      "resource": "pods",
      "responseKind": {
        "group": "",
        "kind": "Pod",
        "version": ""
      },
      "scope": "Namespaced",
      "shortNames": [
        "po"
      ],
      "singularResource": "pod",
      "subresources": [
        {
          "responseKind": {
            "group": "",
            "kind": "Binding",
            "version": ""
          },
          "subresource": "binding",
          "verbs": [
            "create"
          ]
        },
        {
          "responseKind": {
            "group": "",
            "kind": "Pod",
            "version": ""
          },
          "subresource": "ephemeralcontainers",
          "verbs": [
            "get",
            "patch",
            "update"
          ]
        },
        {
          "responseKind": {
            "group": "policy",
            "kind": "Eviction",
            "version": "v1"
          },
          "subresource": "eviction",
          "verbs": [
            "create"
          ]
        },
        {
          "responseKind": {
            "group": "",
            "kind": "Pod",
            "version": ""
          },
          "subresource": "status",
          "verbs": [
            "get",
            "patch",
            "update"
          ]
        }
      ],
      "verbs": [
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch"
      ]
    }
    "#);

    let old = "application/json;as=APIGroupDiscoveryList;v=v2beta1;g=apidiscovery.k8s.io";
    let (response, json) = get(&registry, "/apis", old).unwrap();
    assert!(response.headers()[CONTENT_TYPE].to_str().unwrap().contains("v=v2beta1"));
    assert_eq!(json["apiVersion"], "apidiscovery.k8s.io/v2beta1");
}

#[test]
fn a_version_lists_resources_with_their_subresources() {
    let (_, json) = get(&Registry::builtin(), "/apis/apps/v1", "").unwrap();
    assert_eq!(
        (&json["kind"], &json["groupVersion"]),
        (&json!("APIResourceList"), &json!("apps/v1"))
    );
    let rows = json["resources"].as_array().unwrap();
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    assert_eq!(row("deployments")["singularName"], "deployment");
    assert_eq!(row("deployments")["shortNames"], json!(["deploy"]));
    let scale = row("deployments/scale");
    assert_eq!(
        (&scale["kind"], &scale["group"], &scale["version"]),
        (&json!("Scale"), &json!("autoscaling"), &json!("v1"))
    );
    assert_eq!(row("deployments/status")["kind"], "Deployment");
}

#[test]
fn the_stored_form_has_the_known_hash() {
    for (path, name, hash) in [
        ("/api/v1", "configmaps", "qFsyl6wFWjQ="),
        ("/api/v1", "pods", "xPOwRZ+Yhw8="),
        ("/apis/autoscaling/v1", "horizontalpodautoscalers", "qwQve8ut294="),
        ("/apis/autoscaling/v2", "horizontalpodautoscalers", "qwQve8ut294="),
    ] {
        let (_, json) = get(&Registry::builtin(), path, "").unwrap();
        let rows = json["resources"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        assert_eq!(row["storageVersionHash"], hash, "{path}/{name}");
    }
    let (_, json) = get(&Registry::builtin(), "/apis/authorization.k8s.io/v1", "").unwrap();
    assert!(json["resources"][0].get("storageVersionHash").is_none());
}

#[test]
fn the_preferred_version_is_the_newest_stable_one() {
    let registry = with_widgets();
    let (_, json) = get(&registry, "/apis/example.com", "").unwrap();
    assert_eq!(json["kind"], "APIGroup");
    assert_eq!(json["preferredVersion"]["version"], "v2");
    let versions: Vec<_> =
        json["versions"].as_array().unwrap().iter().map(|v| &v["version"]).collect();
    assert_eq!(versions, ["v2", "v1", "v2beta1", "v1alpha1"]);
}

#[test]
fn built_in_groups_come_before_custom_ones() {
    let (_, json) = get(&with_widgets(), "/apis", AGGREGATED).unwrap();
    let items = json["items"].as_array().unwrap();
    let names: Vec<_> =
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names[names.len() - 2..], ["aaa.example.com", "example.com"]);
    // Built-in groups have an order of their own.
    assert_eq!(names[..3], ["apiregistration.k8s.io", "apps", "events.k8s.io"]);
}

#[test]
fn who_has_the_document_is_told_so_until_a_resource_appears() {
    let registry = Registry::builtin();
    let (first, _) = get(&registry, "/apis", AGGREGATED).unwrap();
    let mut headers = headers(AGGREGATED);
    headers.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
    let again = respond(&registry, "/apis", &headers).unwrap().unwrap();
    assert_eq!((again.status(), again.body().len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!(again.headers()[ETAG], first.headers()[ETAG]);

    let changed = respond(&with_widgets(), "/apis", &headers).unwrap().unwrap();
    assert_eq!(changed.status(), StatusCode::OK);
}

#[test]
fn other_paths_and_other_media_types_are_refused() {
    let registry = Registry::builtin();
    for path in [
        "/apis/none.example.com",
        "/apis/apps/v2",
        "/api/v2",
        "/api/v1/pods",
        "/apis//v1",
        "/version",
    ] {
        assert!(respond(&registry, path, &HeaderMap::new()).unwrap().is_none(), "{path}");
    }
    let table = headers("application/json;as=Table;g=meta.k8s.io;v=v1");
    assert_eq!(respond(&registry, "/api/v1", &table).unwrap_err().code, StatusCode::NOT_ACCEPTABLE);
    assert!(respond(&registry, "/api/v1", &headers(AGGREGATED)).unwrap().is_some());
}

/// A client whose every request is answered by discovery.
fn client(registry: &Registry) -> kube::Client {
    let registry = registry.clone();
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let answer = respond(&registry, request.uri().path(), request.headers());
        let response = answer.unwrap().expect("the client asks for what discovery told it");
        std::future::ready(Ok::<_, std::convert::Infallible>(
            response.map(http_body_util::Full::new),
        ))
    });
    kube::Client::new(service, "default")
}

#[tokio::test]
async fn kube_discovers_every_resource_in_both_forms() {
    use kube::discovery::{Discovery, Scope};
    let registry = with_widgets();
    let legacy = Discovery::new(client(&registry)).run().await.unwrap();
    let aggregated = Discovery::new(client(&registry)).run_aggregated().await.unwrap();
    for discovery in [legacy, aggregated] {
        for row in registry.all() {
            let group = discovery.get(&row.group_version.group).expect("every group is found");
            let found = group.versioned_resources(&row.group_version.version);
            let (resource, capabilities) = found
                .into_iter()
                .find(|(found, _)| found.plural == row.plural)
                .expect("every resource is found");
            assert_eq!(resource.kind, row.kind);
            assert_eq!(capabilities.scope == Scope::Namespaced, row.namespaced, "{}", row.plural);
            assert_eq!(capabilities.operations, row.verbs);
        }
    }
}
