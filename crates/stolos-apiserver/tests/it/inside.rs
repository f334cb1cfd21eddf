//! Clients inside the process.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_refusal_is_an_error() {
    let cluster = Cluster::start().await;
    let map = json!({"metadata": {"name": "a"}});
    cluster.ok(Method::POST, MAPS, Some(map.clone())).await;
    let refused = async |method, path: &str, body: Option<Value>| {
        let error = cluster.server.local().call(method, path, body).await.unwrap_err();
        (error.code, error.reason)
    };
    let a = format!("{MAPS}/a");
    let other = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"resourceVersion": "1"}});
    let bad = json!({"metadata": {"name": "A"}});
    let nowhere = format!("{MAPS}/nowhere");
    for (method, path, body, want) in [
        (Method::DELETE, &*a, Some(other), (StatusCode::CONFLICT, "Conflict")),
        (Method::POST, MAPS, Some(map), (StatusCode::CONFLICT, "AlreadyExists")),
        (Method::POST, MAPS, Some(bad), (StatusCode::UNPROCESSABLE_ENTITY, "Invalid")),
        (Method::GET, &*nowhere, None, (StatusCode::NOT_FOUND, "NotFound")),
        (Method::GET, "/api/v1/nothings", None, (StatusCode::NOT_FOUND, "NotFound")),
        (Method::GET, "/apis/example.com/v1/things", None, (StatusCode::NOT_FOUND, "")),
    ] {
        assert_eq!(refused(method.clone(), path, body).await, want, "{method} {path}");
    }
    assert!(cluster.exists(&a).await);
}
