//! Watches through a kube client, on paused time.

use std::pin::pin;

use futures::{StreamExt, TryStreamExt};
use http::Method;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};

use crate::harness::Cluster;

fn config_map(name: &str, label: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"l": label}}})).unwrap()
}

async fn relabel(maps: &Api<ConfigMap>, name: &str, label: &str) -> ConfigMap {
    let merge = Patch::Merge(json!({"metadata": {"labels": {"l": label}}}));
    maps.patch(name, &PatchParams::default(), &merge).await.unwrap()
}

fn brief(event: &WatchEvent<ConfigMap>) -> String {
    let name = |map: &ConfigMap| map.metadata.name.clone().unwrap();
    match event {
        WatchEvent::Added(map) => format!("added {}", name(map)),
        WatchEvent::Modified(map) => format!("modified {}", name(map)),
        WatchEvent::Deleted(map) => format!("deleted {}", name(map)),
        WatchEvent::Bookmark(_) => "bookmark".to_owned(),
        WatchEvent::Error(status) => format!("error {}", status.code),
    }
}

#[tokio::test(start_paused = true)]
async fn every_change_is_seen_once_in_order() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    let mut events = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    assert_eq!(brief(&events.next().await.unwrap().unwrap()), "added a");
    relabel(&maps, "a", "2").await;
    maps.create(&PostParams::default(), &config_map("b", "1")).await.unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let seen: Vec<_> = events.take(3).map_ok(|event| brief(&event)).try_collect().await.unwrap();
    assert_eq!(seen, ["modified a", "added b", "deleted a"]);
}

#[tokio::test(start_paused = true)]
async fn leaving_a_selector_is_a_deletion_at_the_new_version() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let params = WatchParams::default().labels("l=1");
    let mut events = maps.watch(&params, "0").await.unwrap().boxed();
    maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    let left = relabel(&maps, "a", "2").await;
    relabel(&maps, "a", "3").await;
    relabel(&maps, "a", "1").await;
    assert_eq!(brief(&events.next().await.unwrap().unwrap()), "added a");
    match events.next().await.unwrap().unwrap() {
        WatchEvent::Deleted(map) => {
            assert_eq!(map.metadata.resource_version, left.metadata.resource_version);
            assert_eq!(map.metadata.labels.unwrap()["l"], "1");
        }
        other => panic!("expected a deletion, got {}", brief(&other)),
    }
    assert_eq!(brief(&events.next().await.unwrap().unwrap()), "added a");
}

/// Pitfall: a deletion told with the version of the last write makes reflectors resume in the past.
#[tokio::test(start_paused = true)]
async fn a_deletion_carries_its_own_version() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let created = maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    let version = created.metadata.resource_version.unwrap();
    let mut events = maps.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let WatchEvent::Deleted(map) = events.next().await.unwrap().unwrap() else {
        panic!("expected a deletion")
    };
    let deleted: u64 = map.metadata.resource_version.unwrap().parse().unwrap();
    assert!(deleted > version.parse().unwrap());
}

/// Pitfall: informers wait ten seconds for the mark at the end of the first events, and then begin anew without it.
#[tokio::test(start_paused = true)]
async fn initial_events_end_with_a_marked_bookmark() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    let params = WatchParams::default().initial_events();
    let mut events = maps.watch(&params, "0").await.unwrap().boxed();
    assert_eq!(brief(&events.next().await.unwrap().unwrap()), "added a");
    let WatchEvent::Bookmark(bookmark) = events.next().await.unwrap().unwrap() else {
        panic!("expected a bookmark")
    };
    assert_eq!(bookmark.metadata.annotations["k8s.io/initial-events-end"], "true");
    maps.create(&PostParams::default(), &config_map("b", "1")).await.unwrap();
    assert_eq!(brief(&events.next().await.unwrap().unwrap()), "added b");
}

#[tokio::test(start_paused = true)]
async fn an_idle_watch_gets_bookmarks_and_ends_on_time() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let opened = tokio::time::Instant::now();
    let params = WatchParams::default().timeout(120);
    let events = maps.watch(&params, "0").await.unwrap();
    let seen: Vec<_> = events.map_ok(|event| brief(&event)).try_collect().await.unwrap();
    assert_eq!(seen, ["bookmark", "bookmark", "bookmark"]);
    assert_eq!(opened.elapsed().as_secs(), 120);
}

/// Pitfall: clients expect an outdated watch to begin well and end with an error event, not a 410 answer.
#[tokio::test(start_paused = true)]
async fn a_version_before_history_is_an_error_event_in_a_successful_answer() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=1";
    let (status, event) = cluster.send(Method::GET, path, None).await;
    assert_eq!(status.as_u16(), 200);
    assert_eq!(event["type"], "ERROR");
    assert_eq!(
        (&event["object"]["code"], &event["object"]["reason"]),
        (&json!(410), &json!("Expired"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_not_reached_times_out() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/configmaps?resourceVersion=99999999999999999";
    for path in [path.to_owned(), format!("{path}&watch=1")] {
        let (status, body) = cluster.send(Method::GET, &path, None).await;
        assert_eq!(status.as_u16(), 504, "{path}");
        assert_eq!(body["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    }
}

#[tokio::test(start_paused = true)]
async fn a_runtime_watcher_follows_by_list_and_by_streaming_list() {
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let cluster = Cluster::start().await;
        let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
        maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
        let mut objects = pin!(watcher(maps.clone(), config).applied_objects());
        let first = objects.try_next().await.unwrap().unwrap();
        assert_eq!(first.metadata.name.as_deref(), Some("a"));
        maps.create(&PostParams::default(), &config_map("b", "1")).await.unwrap();
        let second = objects.try_next().await.unwrap().unwrap();
        assert_eq!(second.metadata.name.as_deref(), Some("b"));
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_the_server_ends_watches() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let events = maps.watch(&WatchParams::default().timeout(280), "0").await.unwrap();
    cluster.server.stop();
    let opened = tokio::time::Instant::now();
    let seen: Vec<Value> = events.map_ok(|event| json!(brief(&event))).try_collect().await.unwrap();
    assert_eq!(seen, [] as [Value; 0]);
    assert_eq!(opened.elapsed().as_secs(), 0);
}
