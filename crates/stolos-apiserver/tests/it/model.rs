//! Random writes from several clients at once, seen by lists and watches.

use std::collections::BTreeMap;

use futures::{StreamExt, future};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::harness::Cluster;

const WRITERS: u64 = 4;
const WRITES: usize = 40;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const LABELS: [&str; 2] = ["red", "blue"];

/// Name → resource version.
type Seen = BTreeMap<String, String>;

fn name_and_version(map: &ConfigMap) -> (String, String) {
    (map.metadata.name.clone().unwrap(), map.metadata.resource_version.clone().unwrap())
}

/// Makes one random write; refusals (missing, present already) are part of the game.
async fn write(maps: &Api<ConfigMap>, random: &mut StdRng) {
    let name = NAMES[random.random_range(0..NAMES.len())];
    let label = LABELS[random.random_range(0..LABELS.len())];
    let object = json!({"metadata": {"name": name, "labels": {"l": label}}});
    match random.random_range(0..4) {
        0 | 1 => {
            let map = serde_json::from_value(object).unwrap();
            let _ = maps.create(&PostParams::default(), &map).await;
        }
        2 => {
            let _ = maps.patch(name, &PatchParams::default(), &Patch::Merge(object)).await;
        }
        _ => {
            let _ = maps.delete(name, &DeleteParams::default()).await;
        }
    }
}

/// Follows a watch until an object named `end` appears, and returns what is left plus every version in order.
async fn follow(maps: Api<ConfigMap>, labels: &str) -> (Seen, Vec<u64>) {
    let params = WatchParams::default().labels(labels).timeout(280);
    let mut events = maps.watch(&params, "0").await.unwrap().boxed();
    let (mut seen, mut versions) = (Seen::new(), Vec::new());
    while let Some(event) = events.next().await {
        let (deleted, map) = match event.unwrap() {
            WatchEvent::Added(map) | WatchEvent::Modified(map) => (false, map),
            WatchEvent::Deleted(map) => (true, map),
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) => panic!("the watch failed: {status:?}"),
        };
        let (name, version) = name_and_version(&map);
        if name == "end" {
            break;
        }
        versions.push(version.parse().unwrap());
        if deleted {
            assert!(seen.remove(&name).is_some(), "{name} was deleted without having been seen");
        } else {
            seen.insert(name, version);
        }
    }
    (seen, versions)
}

async fn listed(maps: &Api<ConfigMap>, labels: &str) -> Seen {
    let list = maps.list(&ListParams::default().labels(labels)).await.unwrap();
    list.items.iter().map(name_and_version).filter(|(name, _)| name != "end").collect()
}

async fn play(seed: u64) {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let watchers =
        ["", "l=red", "l=blue", "", "l"].map(|labels| tokio::spawn(follow(maps.clone(), labels)));
    let writers = (0..WRITERS).map(|writer| {
        let maps = maps.clone();
        async move {
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(writer));
            for _ in 0..WRITES {
                write(&maps, &mut random).await;
                tokio::task::yield_now().await;
            }
        }
    });
    future::join_all(writers).await;
    // Carries both labels' selector only through the key; every watcher must see it to stop.
    for (name, labels) in [("end", json!({"l": "red"})), ("end", json!({"l": "blue"}))] {
        let patch = Patch::Merge(json!({"metadata": {"name": name, "labels": labels}}));
        let map =
            serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap();
        if maps.create(&PostParams::default(), &map).await.is_err() {
            maps.patch(name, &PatchParams::default(), &patch).await.unwrap();
        }
    }
    let mut orders = Vec::new();
    for (watcher, labels) in watchers.into_iter().zip(["", "l=red", "l=blue", "", "l"]) {
        let (seen, versions) = watcher.await.unwrap();
        assert_eq!(
            seen,
            listed(&maps, labels).await,
            "folding the events of `{labels}` gives the list"
        );
        assert!(versions.is_sorted_by(|a, b| a < b), "versions rise strictly: {versions:?}");
        orders.push(versions);
    }
    // Watchers that joined later have seen less, never something else.
    assert!(orders[0].ends_with(&orders[3]) || orders[3].ends_with(&orders[0]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn watches_fold_to_the_list_and_agree_on_order(seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(play(seed));
    }
}
