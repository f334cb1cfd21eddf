use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::schema::structural;

fn rendered(group: &str, version: &str) -> Value {
    let group_version = GroupVersion::new(group, version);
    render(&group_version, &resources_of(&Registry::builtin(), &group_version))
}

fn with_widgets(extra: &str) -> Registry {
    let registry = Registry::builtin();
    let schema = structural::compile(&json!({"type": "object", "description": extra, "properties": {
        "spec": {"type": "object", "properties": {
            "template": {"type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true},
            "items": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        }}}}))
    .unwrap();
    let parent = registry.resource("apps", "v1", "deployments").unwrap();
    let widgets = Resource {
        group_version: GroupVersion::new("fleet.example.com", "v1"),
        plural: "widgets".into(),
        kind: "Widget".into(),
        list_kind: "WidgetList".into(),
        custom: true,
        schema: schema.into(),
        storage: "widgets.fleet.example.com".into(),
        ..Resource::clone(&parent)
    };
    registry.set_custom(vec![widgets]).unwrap();
    registry
}

/// Pitfall: without merge keys or the parameter for field validation kubectl silently works in another way.
#[test]
fn kubectl_finds_what_it_looks_for_in_apps_v1() {
    let document = rendered("apps", "v1");
    let patch =
        &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    let parameters = patch["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|parameter| parameter["name"] == "fieldValidation"));
    let schemas = &document["components"]["schemas"];
    assert_eq!(
        schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"],
        json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
    );
    let spec = &schemas["io.k8s.api.apps.v1.DeploymentSpec"]["properties"];
    assert_eq!(spec["strategy"]["x-kubernetes-patch-strategy"], "retainKeys");
    assert_eq!(
        spec["strategy"]["allOf"],
        json!([{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentStrategy"}])
    );
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-list-type"], "map");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(
        schemas["io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"]["x-kubernetes-map-type"],
        "atomic"
    );
    assert!(schemas["io.k8s.api.apps.v1.DeploymentList"].is_object());
}

#[test]
fn every_reference_leads_somewhere() {
    let registry = with_widgets("");
    let groups: BTreeSet<GroupVersion> =
        registry.all().iter().map(|resource| resource.group_version.clone()).collect();
    for group_version in groups {
        let document = render(&group_version, &resources_of(&registry, &group_version));
        let schemas = &document["components"]["schemas"];
        let mut references = BTreeSet::new();
        gather(&document, &mut references);
        for name in references {
            assert!(schemas[&name].is_object(), "{group_version} refers to {name}");
        }
    }
}

fn gather(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
                references.insert(target.trim_start_matches("#/components/schemas/").to_owned());
            }
            fields.values().for_each(|child| gather(child, references));
        }
        Value::Array(items) => items.iter().for_each(|child| gather(child, references)),
        _ => {}
    }
}

#[test]
fn custom_resources_are_shown_with_what_every_object_has() {
    let group_version = GroupVersion::new("fleet.example.com", "v1");
    let registry = with_widgets("");
    let document = render(&group_version, &resources_of(&registry, &group_version));
    let widget = &document["components"]["schemas"]["com.example.fleet.v1.Widget"];
    assert_eq!(widget["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
    let metadata =
        json!([{"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}]);
    assert_eq!(widget["properties"]["metadata"]["allOf"], metadata);
    let template = &widget["properties"]["spec"]["properties"]["template"];
    assert_eq!(template["properties"]["metadata"]["allOf"], metadata);
    assert!(document["components"]["schemas"]["com.example.fleet.v1.WidgetList"].is_object());
    let patch = &document["paths"]["/apis/fleet.example.com/v1/namespaces/{namespace}/widgets/{name}"]
        ["patch"];
    assert!(
        patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_none()
    );
}

/// Pitfall: documents are made when they are asked for; making them for each new definition takes seconds.
#[test]
fn the_index_leads_to_documents_that_may_be_kept() {
    let registry = with_widgets("first");
    let get = |registry: &Registry, uri: &str| {
        respond(registry, "/clusters/a", &uri.parse().unwrap(), &HeaderMap::new())
    };
    let index: Value =
        serde_json::from_slice(get(&registry, "/openapi/v3").unwrap().body()).unwrap();
    let address =
        index["paths"]["apis/fleet.example.com/v1"]["serverRelativeURL"].as_str().unwrap();
    let local = address.strip_prefix("/clusters/a").unwrap();
    let found = get(&registry, local).unwrap();
    assert_eq!(found.status(), StatusCode::OK);
    assert!(found.headers()[CACHE_CONTROL].to_str().unwrap().contains("immutable"));
    assert!(index["paths"]["api/v1"].is_object() && index["paths"]["apis/apps/v1"].is_object());

    // Another schema has another address; the old one leads there.
    let changed = with_widgets("second");
    let moved = get(&changed, local).unwrap();
    assert_eq!(moved.status(), StatusCode::MOVED_PERMANENTLY);
    assert_ne!(moved.headers()[LOCATION], address);

    let mut headers = HeaderMap::new();
    headers.insert(IF_NONE_MATCH, found.headers()[ETAG].clone());
    let unchanged = respond(&registry, "", &local.parse().unwrap(), &headers).unwrap();
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);

    assert!(get(&registry, "/openapi/v3/apis/nope/v1").is_none());
}

fn version_2(registry: &Registry, accept: &str) -> Response<Bytes> {
    let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::try_from(accept).unwrap())]);
    respond(registry, "", &"/openapi/v2".parse().unwrap(), &headers).unwrap()
}

/// Pitfall: Go clients take version 2 in protobuf only, and name that form in a way of their own.
#[test]
fn version_2_comes_as_json_or_as_protobuf() {
    let registry = with_widgets("");
    for accept in ["", "*/*", "application/json", "text/html, application/json;q=0.9"] {
        let response = version_2(&registry, accept);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json", "{accept}");
        let document: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(document["swagger"], "2.0");
    }
    for accept in [
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf, */*",
    ] {
        let response = version_2(&registry, accept);
        assert_eq!(response.headers()[CONTENT_TYPE], VERSION_2_PROTOBUF);
        assert!(response.body().starts_with(b"\x0a\x032.0"), "{accept}");
    }
    assert_eq!(version_2(&registry, "text/html").status(), StatusCode::NOT_ACCEPTABLE);
}

#[test]
fn version_2_is_kept_until_a_resource_changes() {
    let registry = with_widgets("first");
    let first = version_2(&registry, "application/json");
    let mut headers = HeaderMap::new();
    headers.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
    let uri: Uri = "/openapi/v2".parse().unwrap();
    let again = respond(&registry, "", &uri, &headers).unwrap();
    assert_eq!((again.status(), again.body().len()), (StatusCode::NOT_MODIFIED, 0));
    let changed = respond(&with_widgets("second"), "", &uri, &headers).unwrap();
    assert_eq!(changed.status(), StatusCode::OK);
}

#[test]
fn version_2_describes_kinds_with_merge_keys_and_topology() {
    let registry = with_widgets("");
    let document = render_version_2(&registry.all());
    let definitions = &document["definitions"];
    let mut references = BTreeSet::new();
    gather(&document, &mut references);
    for name in &references {
        let name = name.trim_start_matches("#/definitions/");
        assert!(definitions[name].is_object(), "{name}");
    }
    let containers = &definitions["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    let strategy = &definitions["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["strategy"];
    assert_eq!(strategy["$ref"], "#/definitions/io.k8s.api.apps.v1.DeploymentStrategy");
    assert_eq!(strategy["x-kubernetes-patch-strategy"], "retainKeys");
    let port = &definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"];
    assert_eq!((&port["type"], &port["format"]), (&json!("string"), &json!("int-or-string")));
    let widget = &definitions["com.example.fleet.v1.Widget"];
    assert_eq!(widget["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
    let template = &widget["properties"]["spec"]["properties"]["template"];
    assert!(template.get("properties").is_none(), "clients would refuse other fields: {template}");
    let patch =
        &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let parameters = patch["parameters"].as_array().unwrap();
    assert_eq!(parameters[0]["in"], "body");
    assert!(parameters.iter().any(|parameter| parameter["name"] == "fieldValidation"));
    assert!(patch["consumes"].as_array().unwrap().contains(&json!("application/apply-patch+yaml")));
}

#[test]
fn kinds_of_subresources_are_named_too() {
    let document = rendered("apps", "v1");
    let scale = &document["components"]["schemas"]["io.k8s.api.autoscaling.v1.Scale"];
    let want = json!([{"group": "autoscaling", "version": "v1", "kind": "Scale"}]);
    assert_eq!(scale["x-kubernetes-group-version-kind"], want);
}
