//! Which state a read shows, what lists go on with, and writes that name no version.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use stolos_apiserver::controllers::Controllers;
use stolos_apiserver::server::Options;
use stolos_apiserver::store::{self, Store};

use crate::crds;
use crate::harness::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

async fn map(cluster: &Cluster, name: &str) -> u64 {
    let map = json!({"metadata": {"name": name, "labels": {"of": "us"}}});
    let made = cluster.ok(Method::POST, MAPS, Some(map)).await;
    made["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

async fn get(cluster: &Cluster, query: &str) -> (StatusCode, Value) {
    cluster.send(Method::GET, &format!("{MAPS}?labelSelector=of%3Dus&{query}"), None).await
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_version_and_its_match_choose_the_state_of_a_list() {
    let cluster = Cluster::start().await;
    let one = map(&cluster, "a").await;
    let two = map(&cluster, "b").await;
    let both: &[&str] = &["a", "b"];
    for (query, want) in [
        (String::new(), both),
        ("resourceVersion=0".to_owned(), both),
        (format!("resourceVersion={one}"), both),
        (format!("resourceVersion={one}&resourceVersionMatch=NotOlderThan"), both),
        (format!("resourceVersion={one}&resourceVersionMatch=Exact"), &["a"]),
        (format!("resourceVersion={one}&limit=5"), &["a"]),
        (format!("resourceVersion={two}&resourceVersionMatch=Exact&limit=1"), &["a"]),
    ] {
        let (status, list) = get(&cluster, &query).await;
        assert_eq!((status, names(&list)), (StatusCode::OK, want.to_vec()), "{query}");
        if query.contains("Exact") {
            let version: u64 =
                list["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
            assert!(version == one || version == two, "{query}");
        }
    }
}

#[tokio::test]
async fn contradictory_reads_are_refused_with_the_field_that_is_wrong() {
    let cluster = Cluster::start().await;
    let version = map(&cluster, "a").await;
    for (query, field) in [
        ("resourceVersionMatch=Exact".to_owned(), "resourceVersionMatch"),
        ("resourceVersionMatch=Exact&resourceVersion=0".to_owned(), "resourceVersionMatch"),
        (format!("resourceVersionMatch=Newest&resourceVersion={version}"), "resourceVersionMatch"),
        (
            format!("resourceVersionMatch=Exact&resourceVersion={version}&continue=x"),
            "resourceVersionMatch",
        ),
        ("sendInitialEvents=true".to_owned(), "sendInitialEvents"),
        ("watch=true&sendInitialEvents=true".to_owned(), "resourceVersionMatch"),
        ("watch=true&resourceVersionMatch=NotOlderThan".to_owned(), "resourceVersionMatch"),
    ] {
        let (status, error) = get(&cluster, &query).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{query}: {error}");
        let fields: Vec<_> = error["details"]["causes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|cause| cause["field"].as_str().unwrap())
            .collect();
        assert!(fields.contains(&field), "{query}: {fields:?}");
    }
    let (status, error) = get(&cluster, "fieldSelector=spec.x%3D1").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(error["message"].as_str().unwrap().contains("spec.x"), "{error}");
}

/// Pitfall: a list that takes longer than the history lasts ends in an error that clients must be able to go on from.
#[tokio::test]
async fn a_list_whose_state_is_forgotten_goes_on_with_the_latest() {
    let limits = store::Limits { min_events: 2, max_events: 4, ..store::Limits::default() };
    let store = Store::memory_from(1000, limits).cluster("test").unwrap();
    let controllers = Controllers::api_server_only();
    let cluster = Cluster::start_on(store, Options { controllers, ..Options::default() }).await;
    for name in ["a", "b", "c"] {
        map(&cluster, name).await;
    }
    let (_, first) = get(&cluster, "limit=1").await;
    assert!(first["metadata"].get("remainingItemCount").is_none(), "a selector hides how many");
    let token = first["metadata"]["continue"].as_str().unwrap();
    for n in 0..10 {
        map(&cluster, &format!("d{n}")).await;
    }
    let (status, error) = get(&cluster, &format!("limit=1&continue={token}")).await;
    assert_eq!((status, &error["reason"]), (StatusCode::GONE, &json!("Expired")));
    let token = error["metadata"]["continue"].as_str().unwrap();
    let (status, rest) = get(&cluster, &format!("limit=3&continue={token}")).await;
    assert_eq!((status, names(&rest)), (StatusCode::OK, vec!["b", "c", "d0"]));
}

#[tokio::test]
async fn the_old_way_to_watch_still_works() {
    let cluster = Cluster::start().await;
    map(&cluster, "a").await;
    for path in [
        "/api/v1/watch/namespaces/default/configmaps/a?timeoutSeconds=1",
        "/api/v1/watch/namespaces/default/configmaps?labelSelector=of%3Dus&timeoutSeconds=1",
        "/api/v1/watch/configmaps?labelSelector=of%3Dus&timeoutSeconds=1",
    ] {
        let events = cluster.watch(path).await;
        let [event] = &events[..] else { panic!("{path}: {events:?}") };
        assert_eq!(
            (&event["type"], &event["object"]["metadata"]["name"]),
            (&json!("ADDED"), &json!("a"))
        );
    }
}

/// Pitfall: which kinds are replaced without a version, and created by a replacement, differs from kind to kind.
#[tokio::test]
async fn replacing_follows_the_rules_of_the_kind() {
    let cluster = Cluster::start().await;
    let named = |name: &str| json!({"metadata": {"name": name}});
    map(&cluster, "a").await;
    cluster.ok(Method::PUT, &format!("{MAPS}/a"), Some(named("a"))).await;
    let (status, _) = cluster.send(Method::PUT, &format!("{MAPS}/none"), Some(named("none"))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = cluster.send(Method::PUT, &format!("{LEASES}/l"), Some(named("l"))).await;
    assert_eq!(status, StatusCode::CREATED);

    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    cluster.ok(Method::POST, definitions, Some(crds::widgets())).await;
    crds::until_established(&cluster, "widgets.example.com").await;
    crds::create_widget(&cluster, "default", named("w")["metadata"].clone()).await;
    let widget = "/apis/example.com/v1/namespaces/default/widgets/w";
    let read = cluster.ok(Method::GET, widget, None).await;
    let mut blind = read.clone();
    blind["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let (status, error) = cluster.send(Method::PUT, widget, Some(blind)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{error}");
    assert_eq!(error["details"]["causes"][0]["field"], "metadata.resourceVersion");
    cluster.ok(Method::PUT, widget, Some(read)).await;
}
