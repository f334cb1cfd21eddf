//! Custom resources in several versions, with and without a conversion webhook.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::Cluster;
use crate::hooks::{Answer, Hooks};

const V1: &str = "/apis/example.com/v1/namespaces/default/hosts";
const V2: &str = "/apis/example.com/v2/namespaces/default/hosts";

/// v1 has `spec.hostPort` and `spec.note`, v2 has `spec.host` and `spec.port`. Stored is v1.
fn definition(conversion: Value) -> Value {
    let version = |name: &str, storage: bool, properties: Value| {
        json!({
            "name": name, "served": true, "storage": storage,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": properties},
            }}},
        })
    };
    let text = json!({"type": "string"});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "hosts.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "conversion": conversion,
            "names": {"plural": "hosts", "singular": "host", "kind": "Host", "listKind": "HostList"},
            "versions": [
                version("v1", true, json!({"hostPort": text, "note": text})),
                version("v2", false, json!({"host": text, "port": text, "hostPort": text})),
            ],
        },
    })
}

fn by_webhook(hooks: &Hooks) -> Value {
    json!({"strategy": "Webhook", "webhook": {
        "clientConfig": hooks.client("/convert"), "conversionReviewVersions": ["v1"],
    }})
}

fn convert(object: &Value, to: &str) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = json!(to);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if to.ends_with("v2") {
        let both = text(&object["spec"]["hostPort"]);
        let (host, port) = both.split_once(':').unwrap_or((&both, ""));
        object["spec"] = json!({"host": host, "port": port});
    } else {
        let (host, port) = (text(&object["spec"]["host"]), text(&object["spec"]["port"]));
        object["spec"] = json!({"hostPort": format!("{host}:{port}")});
    }
    object["metadata"]["annotations"] = json!({"converted": "yes"});
    object["metadata"]["generation"] = json!(77);
    object
}

fn answer(review: &Value, result: Value, objects: Vec<Value>) -> Answer {
    Answer::Json(json!({
        "apiVersion": review["apiVersion"], "kind": review["kind"],
        "response": {"uid": review["request"]["uid"], "result": result, "convertedObjects": objects},
    }))
}

async fn converting() -> Hooks {
    Hooks::start(|_, review| {
        let to = review["request"]["desiredAPIVersion"].as_str().unwrap();
        let objects = review["request"]["objects"].as_array().unwrap();
        let converted = objects.iter().map(|object| convert(object, to)).collect();
        answer(review, json!({"status": "Success"}), converted)
    })
    .await
}

fn host(version: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Host", "metadata": {"name": name}, "spec": spec})
}

/// Pitfall: without a webhook, versions still have to name themselves.
#[tokio::test]
async fn without_a_webhook_every_read_is_in_the_version_asked_for() {
    let cluster = Cluster::start().await;
    cluster.define(definition(json!({"strategy": "None"}))).await;
    let spec = json!({"hostPort": "a:1"});
    let made = cluster.ok(Method::POST, V2, Some(host("v2", "a", spec.clone()))).await;
    assert_eq!(made["apiVersion"], "example.com/v2");
    check_versions(&cluster, V2, "example.com/v2").await;
    check_versions(&cluster, V1, "example.com/v1").await;
    // What was stored before the storage version changed is still served right.
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/hosts.example.com";
    let mut changed = cluster.ok(Method::GET, crd, None).await;
    changed["spec"]["versions"][0]["storage"] = json!(false);
    changed["spec"]["versions"][1]["storage"] = json!(true);
    cluster.ok(Method::PUT, crd, Some(changed)).await;
    let stored =
        async || cluster.ok(Method::GET, crd, None).await["status"]["storedVersions"].clone();
    cluster.until("both versions are stored", async || stored().await == json!(["v1", "v2"])).await;
    check_versions(&cluster, V2, "example.com/v2").await;
    check_versions(&cluster, V1, "example.com/v1").await;
}

async fn check_versions(cluster: &Cluster, path: &str, version: &str) {
    let one = cluster.ok(Method::GET, &format!("{path}/a"), None).await;
    assert_eq!((&one["apiVersion"], &one["spec"]["hostPort"]), (&json!(version), &json!("a:1")));
    let list = cluster.ok(Method::GET, path, None).await;
    assert_eq!(
        (&list["apiVersion"], &list["items"][0]["apiVersion"]),
        (&json!(version), &json!(version))
    );
    let events = cluster.watch(&format!("{path}?watch=1&timeoutSeconds=1")).await;
    assert_eq!(events[0]["object"]["apiVersion"], version);
}

/// Each version has the fields of its own schema, whatever is stored; what the stored version lacks is not kept.
#[tokio::test]
async fn without_a_webhook_a_version_shows_and_keeps_only_its_own_fields() {
    let cluster = Cluster::start().await;
    cluster.define(definition(json!({"strategy": "None"}))).await;
    let before = cluster.ok(Method::GET, V2, None).await["metadata"]["resourceVersion"].clone();
    let before = before.as_str().expect("a resource version");
    let both = json!({"hostPort": "a:1", "note": "n"});
    cluster.ok(Method::POST, V1, Some(host("v1", "a", both.clone()))).await;
    let spec = async |path: &str| cluster.ok(Method::GET, path, None).await["spec"].clone();
    let bare = json!({"hostPort": "a:1"});
    assert_eq!(spec(&format!("{V1}/a")).await, both);
    assert_eq!(spec(&format!("{V2}/a")).await, bare);
    assert_eq!(cluster.ok(Method::GET, V2, None).await["items"][0]["spec"], bare);
    for from in [String::new(), format!("&resourceVersion={before}")] {
        let path = format!("{V2}?watch=1&timeoutSeconds=1{from}");
        let events = cluster.watch(&path).await;
        assert_eq!(events[0]["object"]["spec"], bare, "{path}");
    }
    assert_eq!(spec(&format!("{V1}/a")).await, both, "reading changes nothing");

    // Who writes the whole object in a version without the field drops it.
    let seen = cluster.ok(Method::GET, &format!("{V2}/a"), None).await;
    cluster.ok(Method::PUT, &format!("{V2}/a"), Some(seen)).await;
    assert_eq!(spec(&format!("{V1}/a")).await, bare);

    let only_new = json!({"hostPort": "a:1", "host": "a"});
    cluster.ok(Method::POST, V2, Some(host("v2", "b", only_new))).await;
    assert_eq!(spec(&format!("{V2}/b")).await, bare);
}

#[tokio::test]
async fn a_webhook_converts_reads_lists_watches_and_writes() {
    let cluster = Cluster::start().await;
    let hooks = converting().await;
    cluster.define(definition(by_webhook(&hooks))).await;
    let spec = json!({"host": "a", "port": "1"});
    let made = cluster.ok(Method::POST, V2, Some(host("v2", "a", spec.clone()))).await;
    assert_eq!((&made["apiVersion"], &made["spec"]), (&json!("example.com/v2"), &spec));
    let stored = cluster.ok(Method::GET, &format!("{V1}/a"), None).await;
    assert_eq!(stored["spec"], json!({"hostPort": "a:1"}));
    assert_eq!(
        stored["metadata"]["generation"], 1,
        "of metadata only labels and annotations are taken"
    );
    assert_eq!(stored["metadata"]["annotations"]["converted"], "yes");
    cluster.ok(Method::POST, V1, Some(host("v1", "b", json!({"hostPort": "b:2"})))).await;
    let before = hooks.paths().len();
    let list = cluster.ok(Method::GET, V2, None).await;
    assert_eq!(list["items"][1]["spec"], json!({"host": "b", "port": "2"}));
    assert_eq!(hooks.paths().len(), before + 1, "one call for a whole list");
    let changed = cluster.merge(&format!("{V2}/b"), json!({"spec": {"port": "3"}})).await;
    assert_eq!(changed["spec"], json!({"host": "b", "port": "3"}));
    let stored = cluster.ok(Method::GET, &format!("{V1}/b"), None).await;
    assert_eq!(stored["spec"]["hostPort"], "b:3");
    let events = cluster.watch(&format!("{V2}?watch=1&timeoutSeconds=1")).await;
    assert_eq!(events[0]["object"]["spec"], json!({"host": "a", "port": "1"}));
    let calls = hooks.paths().len();
    cluster.ok(Method::GET, V1, None).await;
    assert_eq!(hooks.paths().len(), calls, "nothing to convert, nobody to ask");
    let deleted = cluster.ok(Method::DELETE, &format!("{V2}/b"), None).await;
    assert_eq!(deleted["status"], "Success");
}

#[tokio::test]
async fn a_conversion_that_fails_fails_the_request() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(|_, review| {
        answer(review, json!({"status": "Failure", "message": "cannot do that"}), Vec::new())
    })
    .await;
    cluster.define(definition(by_webhook(&hooks))).await;
    cluster.ok(Method::POST, V1, Some(host("v1", "a", json!({"hostPort": "a:1"})))).await;
    let text = "conversion webhook for example.com/v1, Kind=Host failed: cannot do that";
    for path in [format!("{V2}/a"), V2.to_owned()] {
        let (status, body) = cluster.send(Method::GET, &path, None).await;
        assert_eq!((status, &body["message"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!(text)));
        assert!(body.get("reason").is_none(), "{body}");
    }
    let before = cluster.store.revision();
    let (status, body) = cluster
        .send(Method::POST, V2, Some(host("v2", "b", json!({"host": "b", "port": "1"}))))
        .await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        body["message"],
        "conversion webhook for example.com/v2, Kind=Host failed: cannot do that"
    );
    assert_eq!(cluster.store.revision(), before, "nothing is stored unconverted");
    let events = cluster.watch(&format!("{V2}?watch=1&timeoutSeconds=1")).await;
    assert_eq!(
        (&events[0]["type"], &events[0]["object"]["message"]),
        (&json!("ERROR"), &json!(text))
    );
    cluster.ok(Method::GET, &format!("{V1}/a"), None).await;
}

#[tokio::test]
async fn a_webhook_that_returns_other_objects_is_not_believed() {
    let cluster = Cluster::start().await;
    let hooks = Hooks::start(|_, review| {
        let to = review["request"]["desiredAPIVersion"].as_str().unwrap();
        let objects = review["request"]["objects"].as_array().unwrap();
        let mut converted: Vec<Value> = objects.iter().map(|object| convert(object, to)).collect();
        match objects[0]["metadata"]["name"].as_str() {
            Some("renamed") => converted[0]["metadata"]["name"] = json!("other"),
            Some("lost") => converted.clear(),
            Some("unconverted") => converted[0]["apiVersion"] = json!("example.com/v1"),
            _ => {}
        }
        answer(review, json!({"status": "Success"}), converted)
    })
    .await;
    cluster.define(definition(by_webhook(&hooks))).await;
    let of = "conversion webhook for example.com/v1, Kind=Host returned";
    for (name, want) in [
        ("renamed", format!("{of} invalid object: must have the same name: renamed != other")),
        ("lost", format!("{of} 0 objects, expected 1")),
        (
            "unconverted",
            format!(
                "{of} invalid object at index 0: invalid groupVersion (expected example.com/v2, received example.com/v1)"
            ),
        ),
    ] {
        cluster.ok(Method::POST, V1, Some(host("v1", name, json!({"hostPort": "a:1"})))).await;
        let (status, body) = cluster.send(Method::GET, &format!("{V2}/{name}"), None).await;
        assert_eq!((status, &body["message"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!(want)));
    }
}
