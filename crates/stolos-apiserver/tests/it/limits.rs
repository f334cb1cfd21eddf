//! What the server refuses, ends or survives.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use http::{Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Value, json};
use stolos_apiserver::controllers::Controllers;
use stolos_apiserver::rest::admission::{self, Plugin};
use stolos_apiserver::rest::{Body, Limits, Response};
use stolos_apiserver::server::Options;
use stolos_apiserver::status::ApiError;
use stolos_apiserver::store::{self, Key, ResourceId, Store};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::harness::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str) -> Value {
    json!({ "metadata": { "name": name } })
}

/// Panics on objects named `boom`, and lets those named `slow` pass once somebody opens the gate.
struct Trouble {
    gate: Arc<Semaphore>,
}

impl Plugin for Trouble {
    fn mutate<'a>(
        &'a self,
        request: &'a admission::Request<'a>,
        _: Option<&'a mut Value>,
    ) -> BoxFuture<'a, Result<bool, ApiError>> {
        async move {
            assert_ne!(request.name, "boom", "as asked");
            if request.name == "slow" {
                drop(self.gate.acquire().await.unwrap());
            }
            Ok(false)
        }
        .boxed()
    }
}

struct Troubled {
    cluster: Cluster,
    gate: Arc<Semaphore>,
}

async fn troubled(limits: Limits) -> Troubled {
    let gate = Arc::new(Semaphore::new(0));
    let options = Options {
        admission: vec![Arc::new(Trouble { gate: Arc::clone(&gate) })],
        controllers: Controllers::api_server_only(),
        limits,
        ..Options::default()
    };
    let store = Store::memory().cluster("test").unwrap();
    Troubled { cluster: Cluster::start_on(store, options).await, gate }
}

async fn get(cluster: &Cluster, path: &str) -> Response {
    let request = Request::get(path).body(Full::new(Bytes::new())).unwrap();
    cluster
        .server
        .as_user(stolos_apiserver::auth::UserInfo::internal("t"))
        .oneshot(request)
        .await
        .unwrap()
}

async fn json_of(response: Response) -> Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

fn assert_asks_to_come_back(response: &Response) {
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "1");
}

#[tokio::test]
async fn a_panic_in_a_handler_is_a_500_and_the_server_lives() {
    let Troubled { cluster, .. } = troubled(Limits::default()).await;
    let (status, body) = cluster.send(Method::POST, MAPS, Some(map("boom"))).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!((&body["kind"], &body["reason"]), (&json!("Status"), &json!("InternalError")));
    let want = "Internal error occurred: This request caused apiserver to panic. Look in the logs for details.";
    assert_eq!(body["message"], want);
    cluster.ok(Method::POST, MAPS, Some(map("fine"))).await;
    assert!(!cluster.exists(&format!("{MAPS}/boom")).await);
    // Also for a client inside the process.
    let error = cluster.server.local().call(Method::POST, MAPS, Some(map("boom"))).await;
    assert_eq!(error.unwrap_err().reason, "InternalError");
}

#[tokio::test]
async fn requests_beyond_the_limit_are_asked_to_come_back() {
    let Troubled { cluster, gate } = troubled(Limits { requests: 1, ..Limits::default() }).await;
    let mut slow = Box::pin(cluster.send(Method::POST, MAPS, Some(map("slow"))));
    assert!(slow.as_mut().now_or_never().is_none());

    let refused = get(&cluster, MAPS).await;
    assert_asks_to_come_back(&refused);
    let body = json_of(refused).await;
    assert_eq!((&body["reason"], &body["code"]), (&json!("TooManyRequests"), &json!(429)));
    assert_eq!(body["details"]["retryAfterSeconds"], 1);
    assert_eq!(get(&cluster, "/version?watch=true").await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(get(&cluster, "/healthz").await.status(), StatusCode::OK, "health needs no room");
    let watch = get(&cluster, &format!("{MAPS}?watch=true")).await;
    assert_eq!(watch.status(), StatusCode::OK, "watches have limits of their own");
    cluster.server.local().call(Method::GET, MAPS, None).await.unwrap();

    gate.add_permits(1);
    assert_eq!(slow.await.0, StatusCode::CREATED);
    assert_eq!(get(&cluster, MAPS).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn watches_beyond_the_limit_are_asked_to_come_back() {
    let Troubled { cluster, .. } = troubled(Limits { watches: 2, ..Limits::default() }).await;
    let path = format!("{MAPS}?watch=true");
    let first = get(&cluster, &path).await;
    let _second = get(&cluster, "/api/v1/watch/pods").await;
    assert_asks_to_come_back(&get(&cluster, &path).await);
    assert_eq!(get(&cluster, MAPS).await.status(), StatusCode::OK);
    drop(first);
    assert_eq!(get(&cluster, &path).await.status(), StatusCode::OK, "a closed watch makes room");
}

#[tokio::test(start_paused = true)]
async fn requests_that_take_too_long_end_with_a_timeout() {
    let Troubled { cluster, .. } = troubled(Limits::default()).await;
    for (query, seconds) in [("", 60), ("?timeout=5s", 5), ("?timeout=2h", 60)] {
        let begin = tokio::time::Instant::now();
        let path = format!("{MAPS}{query}");
        let (status, body) = cluster.send(Method::POST, &path, Some(map("slow"))).await;
        assert_eq!(begin.elapsed().as_secs(), seconds, "{query}");
        assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(body["reason"], "Timeout");
        let want = "Timeout: request did not complete within the allotted timeout";
        assert_eq!(body["message"], want);
    }
    let (status, _) = cluster.send(Method::GET, &format!("{MAPS}?timeout=x"), None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let request =
        Request::get(format!("{MAPS}?watch=true&timeout=1s")).body(Full::<Bytes>::default());
    let watch = cluster.server.as_user(stolos_apiserver::auth::UserInfo::internal("t"));
    let mut body = watch.oneshot(request.unwrap()).await.unwrap().into_body();
    let frame = tokio::time::timeout(Duration::from_secs(100), body.frame()).await;
    assert!(frame.is_err(), "a watch goes on");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_does_not_hold_the_server() {
    let Troubled { cluster, .. } = troubled(Limits { requests: 1, ..Limits::default() }).await;
    let begin = futures::stream::iter([Ok::<_, std::io::Error>(Frame::data(Bytes::from("{")))]);
    let body = StreamBody::new(begin.chain(futures::stream::pending()));
    let request = Request::post(MAPS).body(body).unwrap();
    let user = stolos_apiserver::auth::UserInfo::internal("t");
    let response = cluster.server.as_user(user).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(get(&cluster, MAPS).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn bodies_and_objects_have_a_largest_size() {
    let cluster = Cluster::start().await;
    // A kind without a limit of its own, as ConfigMaps have one.
    let revisions = "/apis/apps/v1/namespaces/default/controllerrevisions";
    let sized = |bytes: usize| json!({ "metadata": { "name": "m" }, "revision": 1, "data": { "k": "x".repeat(bytes) } });
    for (bytes, want) in [
        (3 << 20, "Request entity too large: limit is 3145728"),
        (2 << 20, "Request entity too large: etcdserver: request is too large"),
    ] {
        let (status, body) = cluster.send(Method::POST, revisions, Some(sized(bytes))).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(body["reason"], "RequestEntityTooLarge");
        assert_eq!(body["message"], want);
    }
    cluster.ok(Method::POST, revisions, Some(sized(1_400_000))).await;
}

#[tokio::test]
async fn a_full_cluster_refuses_with_a_reason() {
    let limits = store::Limits { objects: 150, ..store::Limits::default() };
    let store = Store::memory_from(1000, limits).cluster("test").unwrap();
    let controllers = Controllers::api_server_only();
    let cluster = Cluster::start_on(store, Options { controllers, ..Options::default() }).await;
    let mut refused = None;
    for n in 0..150 {
        let (status, body) = cluster.send(Method::POST, MAPS, Some(map(&format!("m{n}")))).await;
        if status != StatusCode::CREATED {
            refused = Some((n, status, body));
            break;
        }
    }
    let (n, status, body) = refused.unwrap();
    assert!(n > 0, "there was room at first");
    assert_eq!((status, &body["reason"]), (StatusCode::FORBIDDEN, &json!("Forbidden")));
    let want = format!(
        "configmaps \"m{n}\" is forbidden: exceeded quota: the cluster holds 150 objects and may hold no more"
    );
    assert_eq!(body["message"], want);
    cluster.ok(Method::DELETE, &format!("{MAPS}/m0"), None).await;
    cluster.ok(Method::POST, MAPS, Some(map("again"))).await;
}

/// A cluster whose history is short.
async fn forgetful(max_events: usize) -> Cluster {
    let limits = store::Limits { min_events: 2, max_events, ..store::Limits::default() };
    let store = Store::memory_from(1000, limits).cluster("test").unwrap();
    let controllers = Controllers::api_server_only();
    Cluster::start_on(store, Options { controllers, ..Options::default() }).await
}

/// Reads the events that are left of a watch.
async fn rest_of(body: Body) -> Vec<Value> {
    let bytes = body.collect().await.unwrap().to_bytes();
    serde_json::Deserializer::from_slice(&bytes).into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_watch_that_is_not_read_is_told_what_it_missed_and_ends() {
    let cluster = forgetful(5).await;
    let watch = get(&cluster, &format!("{MAPS}?watch=true&resourceVersion=0")).await.into_body();
    for n in 0..20 {
        cluster.ok(Method::POST, MAPS, Some(map(&format!("m{n}")))).await;
    }
    let events = rest_of(watch).await;
    let [error] = &events[..] else { panic!("{events:?}") };
    assert_eq!(error["type"], "ERROR");
    assert_eq!(
        (&error["object"]["code"], &error["object"]["reason"]),
        (&json!(410), &json!("Expired"))
    );
}

async fn fill(cluster: &Cluster, count: usize) {
    for n in 0..count {
        cluster.ok(Method::POST, MAPS, Some(map(&format!("m{n:04}")))).await;
    }
}

/// Pitfall: a buffer for each slow watcher ends in too little memory.
#[tokio::test]
async fn a_watch_that_is_not_read_holds_no_objects() {
    let cluster = forgetful(5).await;
    fill(&cluster, 1200).await;
    let path = format!(
        "{MAPS}?watch=true&sendInitialEvents=true&allowWatchBookmarks=true\
                        &resourceVersionMatch=NotOlderThan"
    );
    let mut watch = get(&cluster, &path).await.into_body();
    let first = watch.frame().await.unwrap().unwrap();
    assert!(first.data_ref().unwrap().starts_with(br#"{"type":"ADDED""#));

    let resource = ResourceId::from("configmaps");
    let find = |name| cluster.store.get(&resource, &Key::namespaced("default", name)).unwrap();
    let last = Arc::downgrade(&find("m1110"));
    for n in 1100..1200 {
        cluster.ok(Method::DELETE, &format!("{MAPS}/m{n:04}"), None).await;
    }
    assert_eq!(
        last.strong_count(),
        0,
        "a deleted object is gone although a watch has yet to send it"
    );
    let events = rest_of(watch).await;
    assert_eq!(events.last().unwrap()["type"], "ERROR", "it cannot be told any more");
    assert_eq!(events.last().unwrap()["object"]["code"], 410);
}

#[tokio::test]
async fn a_long_beginning_is_the_state_at_one_revision() {
    let cluster = forgetful(1000).await;
    fill(&cluster, 1200).await;
    let path = format!(
        "{MAPS}?watch=true&sendInitialEvents=true&allowWatchBookmarks=true\
                        &resourceVersionMatch=NotOlderThan&timeoutSeconds=1"
    );
    let mut watch = get(&cluster, &path).await.into_body();
    let mut bytes = watch.frame().await.unwrap().unwrap().into_data().unwrap().to_vec();
    cluster.ok(Method::DELETE, &format!("{MAPS}/m1199"), None).await;
    cluster.ok(Method::POST, MAPS, Some(map("a-new-one"))).await;
    bytes.extend_from_slice(&watch.collect().await.unwrap().to_bytes());

    let events = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>();
    let said: Vec<(String, String)> = events
        .map(|event| {
            let event = event.unwrap();
            let name = event["object"]["metadata"]["name"].as_str().unwrap_or("-").to_owned();
            (event["type"].as_str().unwrap().to_owned(), name)
        })
        .collect();
    let at = said.iter().position(|(kind, _)| kind == "BOOKMARK").unwrap();
    let names = said[..at].iter().map(|(_, name)| name.clone());
    let want = (0..1200).map(|n| format!("m{n:04}"));
    assert!(names.eq(want), "all that was there at the beginning, in order");
    let later: Vec<_> = said[at + 1..].iter().filter(|(kind, _)| kind != "BOOKMARK").collect();
    let want = [("DELETED", "m1199"), ("ADDED", "a-new-one")];
    assert!(later.iter().map(|(kind, name)| (kind.as_str(), name.as_str())).eq(want), "{later:?}");
}
