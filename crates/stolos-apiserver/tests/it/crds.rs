//! CustomResourceDefinitions: acceptance, publication, removal.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use stolos_apiserver::controllers::Controllers;
use stolos_apiserver::server::Options;

use crate::harness::Cluster;

pub(crate) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Returns a definition of namespaced widgets.
pub(crate) fn widgets() -> Value {
    definition("widgets", "Widget")
}

fn definition(plural: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"spec": {"type": "object", "properties": {"color": {"type": "string"}}}},
                }},
            }],
        },
    })
}

pub(crate) async fn until_established(cluster: &Cluster, name: &str) {
    let path = format!("{DEFINITIONS}/{name}");
    let is_established = async || {
        let crd = cluster.ok(Method::GET, &path, None).await;
        status_of(&crd, "Established").as_deref() == Some("True")
    };
    cluster.until(&format!("{name} is established"), is_established).await;
}

pub(crate) async fn create_widget(cluster: &Cluster, namespace: &str, metadata: Value) {
    let path = format!("/apis/example.com/v1/namespaces/{namespace}/widgets");
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": metadata});
    cluster.ok(Method::POST, &path, Some(widget)).await;
}

fn status_of(crd: &Value, type_: &str) -> Option<String> {
    let list = crd["status"]["conditions"].as_array()?;
    let condition = list.iter().find(|condition| condition["type"] == type_)?;
    condition["status"].as_str().map(str::to_owned)
}

async fn create(cluster: &Cluster, crd: Value) {
    let name = crd["metadata"]["name"].as_str().unwrap().to_owned();
    let created = cluster.ok(Method::POST, DEFINITIONS, Some(crd)).await;
    assert!(created["status"]["conditions"].is_array(), "`kubectl wait` fails on null: {created}");
    until_established(cluster, &name).await;
}

async fn is_served(cluster: &Cluster, plural: &str) -> bool {
    let (status, document) = cluster.send(Method::GET, "/apis/example.com/v1", None).await;
    let resources = document["resources"].as_array().cloned().unwrap_or_default();
    status == StatusCode::OK && resources.iter().any(|resource| resource["name"] == plural)
}

/// Pitfall: clients that see a definition established look at discovery at once.
#[tokio::test]
async fn an_established_definition_is_served_and_in_discovery() {
    let cluster = Cluster::start().await;
    create(&cluster, widgets()).await;
    assert!(is_served(&cluster, "widgets").await);
    create_widget(&cluster, "default", json!({"name": "w"})).await;
    let widget =
        cluster.ok(Method::GET, "/apis/example.com/v1/namespaces/default/widgets/w", None).await;
    assert_eq!(widget["metadata"]["generation"], 1);

    let crd = cluster.ok(Method::GET, &format!("{DEFINITIONS}/widgets.example.com"), None).await;
    let names = json!({"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"});
    assert_eq!(crd["spec"]["names"], names);
    assert_eq!(crd["status"]["acceptedNames"], names);
    assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));
    let types: Vec<&Value> =
        crd["status"]["conditions"].as_array().unwrap().iter().map(|c| &c["type"]).collect();
    assert_eq!(types, ["NamesAccepted", "Established"]);
}

#[tokio::test]
async fn a_wrong_definition_is_refused() {
    let cluster = Cluster::start().await;
    let mut crd = widgets();
    crd["metadata"]["name"] = json!("gadgets.example.com");
    crd["spec"]["versions"][0]["storage"] = json!(false);
    let (status, body) = cluster.send(Method::POST, DEFINITIONS, Some(crd)).await;
    assert_eq!((status, &body["reason"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("Invalid")));
    let fields: Vec<&Value> =
        body["details"]["causes"].as_array().unwrap().iter().map(|c| &c["field"]).collect();
    assert_eq!(fields, ["metadata.name", "spec.versions", "status.storedVersions"]);
}

#[tokio::test]
async fn a_schema_that_is_not_structural_is_refused_where_it_is_wrong() {
    let cluster = Cluster::start().await;
    let mut crd = widgets();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["color"] =
        json!({});
    let (status, body) = cluster.send(Method::POST, DEFINITIONS, Some(crd)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    let field = body["details"]["causes"][0]["field"].as_str().unwrap();
    let want = "spec.validation.openAPIV3Schema.properties[spec].properties[color].type";
    assert_eq!(field, want);
}

#[tokio::test]
async fn versions_come_and_go() {
    let cluster = Cluster::start().await;
    create(&cluster, widgets()).await;
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let mut version = widgets()["spec"]["versions"][0].clone();
    version["name"] = json!("v2");
    version["storage"] = json!(false);
    let both = json!([widgets()["spec"]["versions"][0], version]);
    cluster.merge(&path, json!({"spec": {"versions": both}})).await;
    create_widget(&cluster, "default", json!({"name": "w"})).await;
    let in_v2 = "/apis/example.com/v2/namespaces/default/widgets/w";
    // The registry changes without a write to the store when nothing in the status changes, so wait for it itself.
    let mut changes = cluster.server.registry().subscribe();
    while cluster.server.registry().resource("example.com", "v2", "widgets").is_none() {
        changes.changed().await.unwrap();
    }
    let widget = cluster.ok(Method::GET, in_v2, None).await;
    assert_eq!(widget["apiVersion"], "example.com/v2");

    let mut moved = both.clone();
    moved[0]["storage"] = json!(false);
    moved[0]["served"] = json!(false);
    moved[1]["storage"] = json!(true);
    cluster.merge(&path, json!({"spec": {"versions": moved}})).await;
    let has_moved = async || {
        cluster.ok(Method::GET, &path, None).await["status"]["storedVersions"]
            == json!(["v1", "v2"])
    };
    cluster.until("both versions may be stored", has_moved).await;
    assert!(!cluster.exists("/apis/example.com/v1/namespaces/default/widgets/w").await);
    assert!(cluster.exists(in_v2).await);

    let only_v2 = json!({"spec": {"versions": [moved[1]]}});
    let (status, body) =
        cluster.send_as(Method::PATCH, &path, "application/merge-patch+json", Some(only_v2)).await;
    assert_eq!(
        status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "objects may still be stored in v1: {body}"
    );
}

#[tokio::test]
async fn of_two_rivals_for_a_name_the_first_is_served_until_it_goes() {
    let cluster = Cluster::start().await;
    create(&cluster, widgets()).await;
    let path = format!("{DEFINITIONS}/gadgets.example.com");
    cluster.ok(Method::POST, DEFINITIONS, Some(definition("gadgets", "Widget"))).await;
    let is_refused = async || {
        let crd = cluster.ok(Method::GET, &path, None).await;
        status_of(&crd, "NamesAccepted").as_deref() == Some("False")
    };
    cluster.until("the second is refused", is_refused).await;
    let crd = cluster.ok(Method::GET, &path, None).await;
    assert_eq!(status_of(&crd, "Established").as_deref(), Some("False"));
    assert!(is_served(&cluster, "widgets").await && !is_served(&cluster, "gadgets").await);

    cluster.ok(Method::DELETE, &format!("{DEFINITIONS}/widgets.example.com"), None).await;
    until_established(&cluster, "gadgets.example.com").await;
    assert!(is_served(&cluster, "gadgets").await);
}

#[tokio::test]
async fn deleting_a_definition_deletes_its_objects_and_no_others() {
    let cluster = Cluster::start().await;
    create(&cluster, widgets()).await;
    create(&cluster, definition("gadgets", "Gadget")).await;
    create_widget(&cluster, "default", json!({"name": "w"})).await;
    let gadgets = "/apis/example.com/v1/namespaces/default/gadgets";
    let gadget =
        json!({"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "w"}});
    cluster.ok(Method::POST, gadgets, Some(gadget)).await;

    cluster.ok(Method::DELETE, &format!("{DEFINITIONS}/widgets.example.com"), None).await;
    cluster.until_gone(&format!("{DEFINITIONS}/widgets.example.com")).await;
    assert!(!is_served(&cluster, "widgets").await, "discovery drops it before it is gone");
    assert!(cluster.exists(&format!("{gadgets}/w")).await);
    assert!(is_served(&cluster, "gadgets").await);

    create(&cluster, widgets()).await;
    assert!(!cluster.exists("/apis/example.com/v1/namespaces/default/widgets/w").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_goes_whatever_changes_of_its_objects() {
    let cluster = Cluster::start().await;
    create(&cluster, widgets()).await;
    let names: Vec<String> = (0..64).map(|n| format!("busy-{n}")).collect();
    for name in &names {
        create_widget(&cluster, "default", json!({ "name": name })).await;
    }
    let changes = names.iter().map(async |name| {
        let path = format!("/apis/example.com/v1/namespaces/default/widgets/{name}");
        for n in 0..20 {
            let patch = json!({"metadata": {"labels": {"n": n.to_string()}}});
            // It may be gone, or on its way.
            let content_type = "application/merge-patch+json";
            cluster.send_as(Method::PATCH, &path, content_type, Some(patch)).await;
        }
    });
    let definition = format!("{DEFINITIONS}/widgets.example.com");
    let deletion = cluster.ok(Method::DELETE, &definition, None);
    futures::join!(futures::future::join_all(changes), deletion);
    cluster.until_gone(&definition).await;
}

#[tokio::test]
async fn a_definition_waits_for_the_finalizers_of_its_objects() {
    let cluster = Cluster::start().await;
    create(&cluster, widgets()).await;
    create_widget(&cluster, "default", json!({"name": "held", "finalizers": ["example.com/wait"]}))
        .await;
    let path = format!("{DEFINITIONS}/widgets.example.com");
    cluster.ok(Method::DELETE, &path, None).await;
    let explains = async || {
        let crd = cluster.ok(Method::GET, &path, None).await;
        status_of(&crd, "Terminating").as_deref() == Some("True")
    };
    cluster.until("the definition says that it is terminating", explains).await;
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    let late =
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "late"}});
    let (status, body) = cluster.send(Method::POST, widgets, Some(late)).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{body}");
    assert!(cluster.exists(&format!("{widgets}/held")).await);

    cluster.merge(&format!("{widgets}/held"), json!({"metadata": {"finalizers": null}})).await;
    cluster.until_gone(&path).await;
}

#[tokio::test]
async fn watches_end_when_their_definition_goes() {
    let cluster = Cluster::start().await;
    create(&cluster, widgets()).await;
    create_widget(&cluster, "default", json!({"name": "w"})).await;
    let watching = cluster.watch("/apis/example.com/v1/widgets?watch=1&resourceVersion=0");
    let definition = format!("{DEFINITIONS}/widgets.example.com");
    let deleting = cluster.ok(Method::DELETE, &definition, None);
    let (events, _) = tokio::join!(watching, deleting);
    let types: Vec<&Value> = events.iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["ADDED", "DELETED"], "the last events arrive before the end");
}

#[tokio::test]
async fn definitions_are_served_again_after_a_restart() {
    let cluster = Cluster::start().await;
    create(&cluster, widgets()).await;
    create_widget(&cluster, "default", json!({"name": "w"})).await;
    let store = cluster.store.clone();
    cluster.server.stop();
    drop(cluster);
    let controllers = Controllers::api_server_only();
    let cluster = Cluster::start_on(store, Options { controllers, ..Options::default() }).await;
    assert!(is_served(&cluster, "widgets").await, "from the very first request on");
    assert!(cluster.exists("/apis/example.com/v1/namespaces/default/widgets/w").await);
}

#[tokio::test]
async fn an_update_may_keep_what_breaks_a_rule_and_is_warned() {
    let cluster = Cluster::start().await;
    create(&cluster, widgets()).await;
    let path = "/apis/example.com/v1/namespaces/default/widgets";
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"},
        "spec": {"color": "red"}});
    cluster.ok(Method::POST, path, Some(widget.clone())).await;

    let definition = format!("{DEFINITIONS}/widgets.example.com");
    let mut crd = cluster.ok(Method::GET, &definition, None).await;
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["color"] = json!(
        {"type": "string", "x-kubernetes-validations": [{"rule": "self == 'blue'", "message": "must be blue"}]});
    cluster.ok(Method::PUT, &definition, Some(crd)).await;
    let mut other = widget.clone();
    other["metadata"]["name"] = json!("other");
    let dry_run = format!("{path}?dryRun=All");
    let is_strict = async || {
        let (status, _) = cluster.send(Method::POST, &dry_run, Some(other.clone())).await;
        status == StatusCode::UNPROCESSABLE_ENTITY
    };
    // The controller publishes the rule without a further write that one could wait for.
    let mut rounds = 0;
    while !is_strict().await {
        rounds += 1;
        assert!(rounds < 100_000, "the rule never came into force");
        tokio::task::yield_now().await;
    }

    let patch = |patch: Value| {
        let request = http::Request::builder()
            .method(Method::PATCH)
            .uri(format!("{path}/w"))
            .header("content-type", "application/merge-patch+json");
        request.body(http_body_util::Full::new(bytes::Bytes::from(patch.to_string()))).unwrap()
    };
    let response = cluster.respond(patch(json!({"metadata": {"labels": {"a": "b"}}}))).await;
    assert_eq!(response.status(), StatusCode::OK);
    let warning = response.headers()[http::header::WARNING].to_str().unwrap();
    assert_eq!(warning, r#"299 - "spec.color: Invalid value: \"string\": must be blue""#);
    let response = cluster.respond(patch(json!({"spec": {"color": "green"}}))).await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
}
