//! Unknown and repeated fields: refused, warned of, or passed over, wherever a body is read.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use stolos_apiserver::auth::UserInfo;
use tower::ServiceExt;

use crate::harness::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// Sends a text and returns the status, the warnings and the body.
async fn send(
    cluster: &Cluster,
    (method, path): (Method, &str),
    content_type: &str,
    body: &str,
) -> (StatusCode, Vec<String>, Value) {
    let request = Request::builder().method(method).uri(path).header("content-type", content_type);
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    let service = cluster.server.as_user(UserInfo::internal("tester"));
    let response = service.oneshot(request).await.unwrap();
    let warnings = response.headers().get_all("warning").iter();
    let warnings = warnings.map(|warning| warning.to_str().unwrap().to_owned()).collect();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, warnings, serde_json::from_slice(&bytes).unwrap())
}

/// Pitfall: duplicate keys are lost in a JSON parser before anybody can object to them.
#[tokio::test]
async fn a_body_is_refused_warned_of_or_passed_over_as_the_client_wishes() {
    let cluster = Cluster::start().await;
    let body = |name: &str| {
        format!(r#"{{"metadata":{{"name":"{name}","x":1}},"data":{{"a":"1","a":"2"}},"foo":1}}"#)
    };
    let post = |query: &str| (Method::POST, format!("{MAPS}{query}"));
    let (method, path) = post("?fieldValidation=Strict");
    let (status, _, error) = send(&cluster, (method, &path), JSON, &body("a")).await;
    assert_eq!((status, &error["reason"]), (StatusCode::BAD_REQUEST, &json!("BadRequest")));
    assert_eq!(
        error["message"],
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \
         \"metadata.x\", duplicate field \"data.a\", unknown field \"foo\""
    );
    let (method, path) = post("");
    let (status, warnings, created) = send(&cluster, (method, &path), JSON, &body("b")).await;
    assert_eq!((status, &created["data"]["a"]), (StatusCode::CREATED, &json!("2")));
    let want = [
        r#"299 - "unknown field \"metadata.x\"""#,
        r#"299 - "duplicate field \"data.a\"""#,
        r#"299 - "unknown field \"foo\"""#,
    ];
    assert_eq!(warnings, want);
    let (method, path) = post("?fieldValidation=Ignore");
    let (status, warnings, _) = send(&cluster, (method, &path), JSON, &body("c")).await;
    assert_eq!((status, warnings.len()), (StatusCode::CREATED, 0));
    let (method, path) = post("?fieldValidation=Sometimes");
    let (status, ..) = send(&cluster, (method, &path), JSON, &body("d")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn yaml_names_repeated_keys_by_line() {
    let cluster = Cluster::start().await;
    let body = "metadata:\n  name: a\ndata:\n  k: '1'\n  k: '2'\nfoo: 1\n";
    let strict = format!("{MAPS}?fieldValidation=Strict");
    let yaml = "application/yaml";
    let (status, _, error) = send(&cluster, (Method::POST, &strict), yaml, body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let message = error["message"].as_str().unwrap();
    let want = "strict decoding error: yaml: unmarshal errors:\n  line 5: key \"k\" already set in map, unknown field \
                \"foo\"";
    assert!(message.ends_with(want), "{message}");
    let (status, warnings, _) = send(&cluster, (Method::POST, MAPS), yaml, body).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(warnings[0], r#"299 - "line 5: key \"k\" already set in map""#);
}

#[tokio::test]
async fn patches_are_looked_at_themselves_and_in_their_result() {
    let cluster = Cluster::start().await;
    cluster.ok(Method::POST, MAPS, Some(json!({"metadata": {"name": "a"}}))).await;
    let object = format!("{MAPS}/a?fieldValidation=Strict");
    for (content_type, patch, want) in [
        (MERGE, r#"{"data":{"a":"1","a":"2"}}"#, "duplicate field \"data.a\""),
        (MERGE, r#"{"foo":1}"#, "unknown field \"foo\""),
        ("application/strategic-merge-patch+json", r#"{"foo":1}"#, "unknown field \"foo\""),
        (
            "application/json-patch+json",
            r#"[{"op":"add","path":"/foo","value":1,"why":"x"}]"#,
            "json patch unknown field \"[0].why\", unknown field \"foo\"",
        ),
    ] {
        let (status, _, error) =
            send(&cluster, (Method::PATCH, &object), content_type, patch).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{patch}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.ends_with(&format!("strict decoding error: {want}")), "{message}");
        let (status, warnings, _) =
            send(&cluster, (Method::PATCH, &format!("{MAPS}/a")), content_type, patch).await;
        assert!(status.is_success() && !warnings.is_empty(), "{patch}");
    }
}

/// Pitfall: what is applied must fit the schema; fields that would be pruned would have owners all the same.
#[tokio::test]
async fn what_is_applied_must_be_known_to_the_schema() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}/a?fieldManager=m");
    let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"foo":1}"#;
    let (status, _, error) = send(&cluster, (Method::PATCH, &path), APPLY, body).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let want = "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .foo: field not declared in schema";
    assert_eq!(error["message"], want);
    let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"1","k":"2"}}"#;
    let strict = format!("{path}&fieldValidation=Strict");
    let (status, _, error) = send(&cluster, (Method::PATCH, &strict), APPLY, body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let want = "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 1: key \"k\" \
                already set in map";
    assert_eq!(error["message"], want);
    assert!(!cluster.exists(&format!("{MAPS}/a")).await, "neither created anything");
    let (status, warnings, _) = send(&cluster, (Method::PATCH, &path), APPLY, body).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(warnings, [r#"299 - "line 1: key \"k\" already set in map""#]);
}

#[tokio::test]
async fn bodies_of_subresources_are_looked_at_too() {
    let cluster = Cluster::start().await;
    let deployment = json!({"metadata": {"name": "web"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    cluster.ok(Method::POST, deployments, Some(deployment)).await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    cluster.ok(Method::POST, accounts, Some(json!({"metadata": {"name": "robot"}}))).await;
    let scale = format!("{deployments}/web/scale");
    let token = format!("{accounts}/robot/token");
    for (method, path, content_type) in
        [(Method::PUT, &scale, JSON), (Method::PATCH, &scale, MERGE), (Method::POST, &token, JSON)]
    {
        let name = if path == &token { "robot" } else { "web" };
        let body =
            json!({"metadata": {"name": name}, "spec": {"replicas": 2, "foo": 1}}).to_string();
        let strict = format!("{path}?fieldValidation=Strict");
        let (status, _, error) =
            send(&cluster, (method.clone(), &strict), content_type, &body).await;
        assert!(status.is_client_error(), "{path}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("unknown field \"spec.foo\""), "{message}");
        let (status, warnings, answer) = send(&cluster, (method, path), content_type, &body).await;
        assert!(status.is_success(), "{path}: {answer}");
        assert!(warnings.iter().any(|text| text.contains("spec.foo")), "{path}: {warnings:?}");
    }
}
