//! Random writes from several clients at once, seen by lists, pages and watches, and held against each other.
//!
//! The watch without a selector is the log of what happened; everything else must agree with it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

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
const INCREMENTS: u64 = 10;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const LABELS: [&str; 2] = ["red", "blue"];
/// The object that the writers count with.
const COUNTER: &str = "counter";
/// The object that ends the watches.
const END: &str = "end";
const SELECTORS: [&str; 6] = ["", "l=red", "l=blue", "", "l", "l!=red"];

/// What a version holds; everything but its number.
#[derive(Clone, Debug, PartialEq)]
struct Content {
    label: Option<String>,
    data: BTreeMap<String, String>,
    /// Who owns what, without times.
    owners: Vec<(Option<String>, Option<String>, serde_json::Value)>,
}

/// Name → version and content.
type State = BTreeMap<String, (u64, Content)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Added,
    Modified,
    Deleted,
}

#[derive(Clone, Debug, PartialEq)]
struct Event {
    kind: Kind,
    name: String,
    version: u64,
    content: Content,
}

fn read(map: &ConfigMap) -> (String, u64, Content) {
    let label = map.metadata.labels.as_ref().and_then(|labels| labels.get("l")).cloned();
    let version = map.metadata.resource_version.as_ref().unwrap().parse().unwrap();
    let entries = map.metadata.managed_fields.clone().unwrap_or_default().into_iter();
    let owners = entries.map(|entry| (entry.manager, entry.operation, json!(entry.fields_v1)));
    let data = map.data.clone().unwrap_or_default();
    let content = Content { label, data, owners: owners.collect() };
    (map.metadata.name.clone().unwrap(), version, content)
}

fn map(name: &str, label: Option<&str>, value: u64) -> ConfigMap {
    let mut object = json!({ "metadata": { "name": name }, "data": { "v": value.to_string() } });
    if let Some(label) = label {
        object["metadata"]["labels"] = json!({ "l": label });
    }
    serde_json::from_value(object).unwrap()
}

/// Makes one random write; refusals (missing, present already) are part of the game.
async fn write(maps: &Api<ConfigMap>, random: &mut StdRng) {
    let name = NAMES[random.random_range(0..NAMES.len())];
    let label = [None, Some(LABELS[0]), Some(LABELS[1])][random.random_range(0..3)];
    let params = PatchParams::apply("model");
    match random.random_range(0..6) {
        0 | 1 => {
            let value = random.random_range(0..3);
            let _ = maps.create(&PostParams::default(), &map(name, label, value)).await;
        }
        2 => {
            let labels = json!({ "metadata": { "labels": { "l": label } } });
            let _ = maps.patch(name, &PatchParams::default(), &Patch::Merge(labels)).await;
        }
        3 => {
            let mut wanted = map(name, label, random.random_range(0..3));
            wanted.metadata.managed_fields = None;
            let _ = maps.patch(name, &params.force(), &Patch::Apply(wanted)).await;
        }
        4 => repeat(maps, name).await,
        _ => {
            let _ = maps.delete(name, &DeleteParams::default()).await;
        }
    }
}

/// Writes what is there already: nothing may come of it.
async fn repeat(maps: &Api<ConfigMap>, name: &str) {
    let Ok(found) = maps.get(name).await else { return };
    if let Ok(same) = maps.replace(name, &PostParams::default(), &found).await {
        assert_eq!(read(&same), read(&found), "writing the same changes nothing");
    }
}

/// Counts up, again and again where another writer was faster.
async fn increment(maps: &Api<ConfigMap>) {
    loop {
        let mut found = maps.get(COUNTER).await.unwrap();
        let count: u64 = found.data.as_ref().unwrap()["v"].parse().unwrap();
        found.data.as_mut().unwrap().insert("v".to_owned(), (count + 1).to_string());
        tokio::task::yield_now().await;
        match maps.replace(COUNTER, &PostParams::default(), &found).await {
            Ok(_) => return,
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(other) => panic!("{other}"),
        }
    }
}

/// Follows a watch from before the first write until the object that ends it appears.
async fn follow(maps: Api<ConfigMap>, labels: &str, from: String) -> Vec<Event> {
    let params = WatchParams::default().labels(labels).timeout(280);
    let mut events = maps.watch(&params, &from).await.unwrap().boxed();
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        let (kind, map) = match event.unwrap() {
            WatchEvent::Added(map) => (Kind::Added, map),
            WatchEvent::Modified(map) => (Kind::Modified, map),
            WatchEvent::Deleted(map) => (Kind::Deleted, map),
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) => panic!("the watch failed: {status:?}"),
        };
        let (name, version, content) = read(&map);
        if name == END {
            break;
        }
        seen.push(Event { kind, name, version, content });
    }
    seen
}

/// A list that was read page by page while others wrote.
struct Pages {
    version: u64,
    items: State,
}

async fn page_through(maps: &Api<ConfigMap>, limit: u32) -> Pages {
    let mut params = ListParams { limit: Some(limit), ..ListParams::default() };
    let mut pages: Option<Pages> = None;
    loop {
        let list = maps.list(&params).await.unwrap();
        let version = list.metadata.resource_version.unwrap().parse().unwrap();
        let pages = pages.get_or_insert(Pages { version, items: State::new() });
        assert_eq!(pages.version, version, "all pages are of one moment");
        for item in &list.items {
            let (name, version, content) = read(item);
            let twice = pages.items.insert(name, (version, content));
            assert_eq!(twice, None, "no page repeats an item");
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => break,
        }
        tokio::task::yield_now().await;
    }
    pages.unwrap()
}

fn selects(selector: &str, content: &Content) -> bool {
    let label = content.label.as_deref();
    match selector {
        "" => true,
        "l" => label.is_some(),
        "l!=red" => label != Some("red"),
        other => label == other.strip_prefix("l="),
    }
}

/// The states that a log builds up, by version, and a check that the log itself makes sense.
fn states(log: &[Event], first: u64) -> BTreeMap<u64, State> {
    let mut states = BTreeMap::from([(first, State::new())]);
    let mut state = State::new();
    let mut last = first;
    for event in log {
        let Event { kind, name, version, content } = event;
        assert!(*version > last, "versions rise strictly: {event:?} after {last}");
        last = *version;
        let before = state.get(name);
        match kind {
            Kind::Added => assert_eq!(before, None, "{event:?}"),
            Kind::Modified => {
                let (_, before) = before.unwrap_or_else(|| panic!("{event:?} of nothing"));
                assert_ne!(before, content, "no event without a change: {event:?}");
            }
            Kind::Deleted => {
                let (_, before) = before.unwrap_or_else(|| panic!("{event:?} of nothing"));
                assert_eq!(before, content, "a deletion shows the last state");
            }
        }
        match kind {
            Kind::Deleted => drop(state.remove(name)),
            _ => drop(state.insert(name.clone(), (*version, content.clone()))),
        }
        states.insert(*version, state.clone());
    }
    states
}

/// What a watch with a selector must have seen, told from the log.
fn selected(log: &[Event], selector: &str) -> Vec<Event> {
    let mut before: BTreeMap<&str, &Content> = BTreeMap::new();
    let mut seen = Vec::new();
    for event in log {
        let old = before.get(&*event.name).copied();
        let was = old.is_some_and(|old| selects(selector, old));
        let is = event.kind != Kind::Deleted && selects(selector, &event.content);
        let kind = match (was, is) {
            (false, false) => None,
            (false, true) => Some(Kind::Added),
            (true, true) => Some(Kind::Modified),
            (true, false) => Some(Kind::Deleted),
        };
        if let Some(kind) = kind {
            // An object that leaves the selection is shown as it was when it belonged to it.
            let left = event.kind != Kind::Deleted && kind == Kind::Deleted;
            let content = if left { old.unwrap() } else { &event.content };
            seen.push(Event { kind, content: content.clone(), ..event.clone() });
        }
        match event.kind {
            Kind::Deleted => before.remove(&*event.name),
            _ => before.insert(&event.name, &event.content),
        };
    }
    seen
}

async fn play(seed: u64) {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let first = maps.list(&ListParams::default()).await.unwrap();
    assert_eq!(first.items.len(), 0);
    let from = first.metadata.resource_version.unwrap();
    let first: u64 = from.parse().unwrap();
    let watches = SELECTORS.map(|labels| tokio::spawn(follow(maps.clone(), labels, from.clone())));
    maps.create(&PostParams::default(), &map(COUNTER, None, 0)).await.unwrap();

    let writers = (0..WRITERS).map(|writer| {
        let maps = maps.clone();
        async move {
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(writer));
            for n in 0..WRITES {
                write(&maps, &mut random).await;
                if n % (WRITES / usize::try_from(INCREMENTS).unwrap()) == 0 {
                    increment(&maps).await;
                }
                tokio::task::yield_now().await;
            }
        }
    });
    let readers = (1..=3).map(|limit| {
        let maps = maps.clone();
        async move {
            let mut lists = Vec::new();
            for _ in 0..10 {
                lists.push(page_through(&maps, limit).await);
            }
            lists
        }
    });
    let (_, lists) = future::join(future::join_all(writers), future::join_all(readers)).await;
    let listed = page_through(&maps, NonZeroU32::MAX.get()).await;
    // Every selector but two finds it red, those two find it blue or without a label.
    for label in [Some("red"), Some("blue"), None] {
        maps.create(&PostParams::default(), &map(END, label, 0)).await.unwrap();
        maps.delete(END, &DeleteParams::default()).await.unwrap();
    }

    let mut seen = Vec::new();
    for watch in watches {
        seen.push(watch.await.unwrap());
    }
    let log = &seen[0];
    let states = states(log, first);
    let at = |version: u64| states.range(..=version).next_back().unwrap().1;
    for (selector, events) in SELECTORS.iter().zip(&seen) {
        assert_eq!(events, &selected(log, selector), "what a watch of `{selector}` saw");
    }
    for Pages { version, items } in lists.iter().flatten().chain([&listed]) {
        assert_eq!(items, at(*version), "a list at {version}");
    }
    let count = &listed.items[COUNTER].1.data["v"];
    assert_eq!(*count, (WRITERS * INCREMENTS).to_string(), "no update is lost");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn lists_pages_and_watches_agree_on_what_happened(seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(play(seed));
    }
}
