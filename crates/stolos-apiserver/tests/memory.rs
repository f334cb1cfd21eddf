//! What clusters leave behind when they go, and requests when they are answered: nothing. Bytes are counted at the allocator, so the numbers are exact; the
//! test has a binary of its own because nothing else may allocate meanwhile.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::alloc::System;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use stolos_apiserver::ApiServer;
use stolos_apiserver::auth::UserInfo;
use stolos_apiserver::controllers::Controllers;
use stolos_apiserver::server::Options;
use stolos_apiserver::store::{Attributes, Change, Expect, Key, Limits, Store, Write};
use tower::ServiceExt;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that are allocated and not freed.
fn held() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.wrapping_sub(stats.bytes_deallocated)
}

async fn send(server: &ApiServer, method: Method, path: &str, body: Option<Value>) -> Value {
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let response = server.as_user(UserInfo::internal("t")).oneshot(request).await.unwrap();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::Deserializer::from_slice(&bytes).into_iter().next().unwrap().unwrap()
}

fn definition() -> Value {
    let schema = json!({ "type": "object", "properties": { "spec": { "type": "object",
        "properties": { "a": { "type": "string", "maxLength": 9 } },
        "x-kubernetes-validations": [{ "rule": "!has(self.a) || self.a != 'b'" }] } } });
    json!({
        "metadata": { "name": "things.example.com" },
        "spec": {
            "group": "example.com", "scope": "Cluster", "names": { "plural": "things", "kind": "Thing" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } }],
        },
    })
}

/// The life of a cluster with all controllers, a definition, objects, discovery, tokens and a watch nobody reads.
async fn live_and_go(store: &Store, round: usize) {
    let name = format!("c{}", round % 3);
    let cluster = store.cluster(&name).unwrap();
    let options = Options {
        controllers: Controllers { root_ca: Some("CA".to_owned()), ..Controllers::default() },
        ..Options::default()
    };
    let server = ApiServer::start(cluster, options).await.unwrap();
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    send(&server, Method::POST, crds, Some(definition())).await;
    let watch = Request::get("/api/v1/namespaces/default/configmaps?watch=true");
    let watch = watch.body(Full::new(Bytes::new())).unwrap();
    let watch = server.as_user(UserInfo::internal("t")).oneshot(watch).await.unwrap();
    for n in 0..20 {
        let object =
            json!({ "metadata": { "name": format!("m{n}") }, "data": { "k": "v".repeat(1000) } });
        send(&server, Method::POST, "/api/v1/namespaces/default/configmaps", Some(object)).await;
    }
    let account = "/api/v1/namespaces/default/serviceaccounts";
    send(&server, Method::POST, account, Some(json!({ "metadata": { "name": "a" } }))).await;
    send(&server, Method::POST, &format!("{account}/a/token"), Some(json!({ "spec": {} }))).await;
    for path in ["/apis", "/openapi/v3", "/api/v1/namespaces/default/configmaps"] {
        send(&server, Method::GET, path, None).await;
    }
    server.stop();
    assert!(store.remove(&name).await.unwrap());
    drop(watch);
}

/// What clients do all day: create, change, apply, list, watch and delete, in a namespace that goes at the end.
async fn use_and_leave(server: &ApiServer, round: usize) {
    let namespace = format!("n{}", round % 3);
    let create = json!({ "metadata": { "name": namespace } });
    send(server, Method::POST, "/api/v1/namespaces", Some(create)).await;
    let maps = format!("/api/v1/namespaces/{namespace}/configmaps");
    let watch = |accept: &str| {
        let request = Request::get(format!("{maps}?watch=true")).header("accept", accept);
        server
            .as_user(UserInfo::internal("t"))
            .oneshot(request.body(Full::<Bytes>::default()).unwrap())
    };
    let metadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let mut watches = Vec::new();
    for accept in ["application/json", metadata] {
        watches.push(watch(accept).await.unwrap().into_body());
    }
    for n in 0..10 {
        let object =
            json!({ "metadata": { "name": format!("m{n}") }, "data": { "k": "v".repeat(500) } });
        send(server, Method::POST, &maps, Some(object)).await;
        let change = json!({ "data": { "round": round.to_string() } });
        let path = format!("{maps}/m{n}");
        send(
            server,
            Method::PUT,
            &path,
            Some(json!({ "metadata": { "name": format!("m{n}") }, "data": change["data"] })),
        )
        .await;
    }
    for body in &mut watches {
        body.frame().await.unwrap().unwrap();
    }
    send(server, Method::GET, &format!("{maps}?limit=3"), None).await;
    let path = format!("/api/v1/namespaces/{namespace}");
    send(server, Method::DELETE, &path, None).await;
    while send(server, Method::GET, &path, None).await["kind"] == "Namespace" {
        tokio::task::yield_now().await;
    }
}

/// A history so short that it is full at once.
fn short_history() -> Limits {
    Limits { min_events: 5, max_events: 10, ..Limits::default() }
}

/// Parts that a measurement is made in: what is built once for all may be built late, what leaks does so in every part.
const PARTS: usize = 4;

/// Runs something some times, until what is built once for all is built, then often in some parts, and returns by how many
/// bytes more is held after each part, the least first.
async fn growth(warm_up: usize, rounds: usize, mut run: impl AsyncFnMut(usize)) -> [usize; PARTS] {
    for round in 0..warm_up {
        run(round).await;
    }
    let mut grown = [0; PARTS];
    for (part, grown) in grown.iter_mut().enumerate() {
        settle().await;
        let before = held();
        for round in 0..rounds / PARTS {
            run(warm_up + part * rounds + round).await;
        }
        settle().await;
        *grown = held().saturating_sub(before);
    }
    grown.sort_unstable();
    grown
}

/// Lets the tasks end that were told to.
async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

/// A write to a store without a server.
fn put(name: &str) -> Write {
    let object = json!({ "metadata": { "name": name }, "filler": "x".repeat(500) });
    let change = Change::Put(object, Attributes::default());
    let key = Key::cluster_scoped(name);
    Write { resource: "things".into(), key, expect: Expect::Absent, change, requires: None }
}

async fn fill_and_go(store: &Store, name: &str) {
    let cluster = store.cluster(name).unwrap();
    for n in 0..3 {
        cluster.commit(put(&n.to_string())).await.unwrap();
    }
    store.remove(name).await.unwrap();
}

#[test]
fn what_comes_and_goes_leaves_nothing_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let memory = Store::memory();
        let grown = growth(8, 60, async |round| live_and_go(&memory, round).await).await;
        assert!(grown[1] < 1024, "servers left {grown:?} bytes");

        let name = |round: usize| format!("store-{round}");
        let grown = growth(100, 10_000, async |n| fill_and_go(&memory, &name(n)).await).await;
        assert!(grown[1] < 1024, "clusters left {grown:?} bytes");

        let store = Store::memory_from(1, short_history()).cluster("c").unwrap();
        let server = ApiServer::start(store, Options::default()).await.unwrap();
        let run = async |round: usize| use_and_leave(&server, round).await;
        let grown = growth(20, 160, run).await;
        // Some thousand requests in each part: one byte kept by each would show.
        assert!(grown[1] < 1024, "requests left {grown:?} bytes");

        let directory = tempfile::tempdir().unwrap();
        let disk = Store::open(directory.path()).unwrap();
        let run = async |n: usize| fill_and_go(&disk, &name(n)).await;
        growth(200, 0, run).await;
        let size = || std::fs::metadata(directory.path().join("store.redb")).unwrap().len();
        let before = size();
        growth(0, 300, run).await;
        assert_eq!(size(), before, "the file uses again what was freed");
    });
}
