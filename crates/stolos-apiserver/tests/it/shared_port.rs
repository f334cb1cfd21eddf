//! Several clusters behind one port, told apart by the beginning of the path.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use stolos_apiserver::auth::UserInfo;
use stolos_apiserver::serve::Clusters;
use tower::ServiceExt;

use crate::harness::Cluster;

const MAPS: &str = "api/v1/namespaces/default/configmaps";

async fn send(
    port: &Clusters,
    method: Method,
    path: &str,
    token: &str,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"));
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let response = port.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

struct World {
    port: Clusters,
    one: Cluster,
    two: Cluster,
}

/// Two clusters, each with an administrator whose token is its name.
async fn world() -> World {
    let port = Clusters::new();
    let (one, two) = (Cluster::start().await, Cluster::start().await);
    for (name, cluster) in [("one", &one), ("two", &two)] {
        let admin = UserInfo::authenticated("admin", &["system:masters"]);
        cluster.server.auth().authenticator().add_static_token(name, admin);
        port.insert(name, cluster.server.service());
    }
    World { port, one, two }
}

#[tokio::test]
async fn each_cluster_has_its_own_objects_and_tokens() {
    let World { port, one, two } = world().await;
    let object = json!({ "metadata": { "name": "m" } });
    let path = format!("/clusters/one/{MAPS}");
    let (status, body) = send(&port, Method::POST, &path, "one", Some(object)).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    assert!(one.exists(&format!("/{MAPS}/m")).await);
    assert!(!two.exists(&format!("/{MAPS}/m")).await);

    let (status, _) =
        send(&port, Method::GET, &format!("/clusters/two/{MAPS}/m"), "two", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = send(&port, Method::GET, &format!("/clusters/two/{MAPS}"), "one", None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "a token is good in its own cluster only");
    let path = format!("/clusters/one/{MAPS}?watch=true&resourceVersion=0&timeoutSeconds=1");
    let (status, event) = send(&port, Method::GET, &path, "one", None).await;
    assert_eq!((status, &event["object"]["metadata"]["name"]), (StatusCode::OK, &json!("m")));
}

/// Pitfall: clients follow paths that the server names as they are, without the prefix of their cluster.
#[tokio::test]
async fn urls_that_the_server_names_begin_with_the_cluster() {
    let World { port, one, .. } = world().await;
    let (_, index) = send(&port, Method::GET, "/clusters/one/openapi/v3", "one", None).await;
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    assert!(url.starts_with("/clusters/one/openapi/v3/apis/apps/v1?hash="), "{url}");
    let (status, document) = send(&port, Method::GET, url, "one", None).await;
    assert_eq!(status, StatusCode::OK);
    assert!(document["paths"].is_object());
    let own = one.ok(Method::GET, "/openapi/v3", None).await;
    let url = own["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    assert!(url.starts_with("/openapi/v3/"), "a port of its own has no prefix: {url}");
}

#[tokio::test]
async fn paths_of_no_cluster_lead_nowhere() {
    let World { port, one, .. } = world().await;
    for path in ["/", "/api", "/clusters/three/api", "/clusters", "/clusters/", "/cluster/one/api"]
    {
        let (status, body) = send(&port, Method::GET, path, "one", None).await;
        assert_eq!(
            (status, body),
            (StatusCode::NOT_FOUND, json!("404 page not found\n")),
            "{path}"
        );
    }
    for path in ["/clusters/one", "/clusters/one/", "/clusters/one/api"] {
        let (status, body) = send(&port, Method::GET, path, "one", None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
    }
    let port = Clusters::with_root(one.server.service());
    let (status, _) = send(&port, Method::GET, "/api", "one", None).await;
    assert_eq!(status, StatusCode::OK, "a cluster may sit at the root");
    let (status, _) = send(&port, Method::GET, "/clusters/one/api", "one", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn clusters_come_and_go() {
    let World { port, .. } = world().await;
    let path = "/clusters/one/version";
    assert_eq!(send(&port, Method::GET, path, "one", None).await.0, StatusCode::OK);
    port.remove("one");
    assert_eq!(send(&port, Method::GET, path, "one", None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        send(&port, Method::GET, "/clusters/two/version", "two", None).await.0,
        StatusCode::OK
    );
}
