//! What no list proves.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stolos_api::network::{TrafficManagerBackend, TrafficManagerProfile};
use stolos_controller::{Change, Controller, Key};

use super::act::{Act, Object, Seen, Sought};
use super::{Item, Nobody, Traffic};

const FINALIZERS: [&str; 2] = [
    "networking.fleet.azure.com/metrics-cleanup",
    "networking.fleet.azure.com/traffic-manager-backend-cleanup",
];

fn object<K: DeserializeOwned>(name: &str, mut body: Value) -> K {
    let metadata = json!({
        "name": name, "namespace": "app", "uid": name, "generation": 1, "resourceVersion": "1",
        "finalizers": FINALIZERS,
    });
    let given = body["metadata"].as_object().cloned().unwrap_or_default();
    body["metadata"] = metadata;
    body["metadata"].as_object_mut().unwrap().extend(given);
    serde_json::from_value(body).unwrap()
}

fn key(name: &str) -> Key {
    Key::namespaced("app", name)
}

fn profile() -> TrafficManagerProfile {
    let programmed = json!({
        "type": "Programmed", "status": "True", "reason": "Programmed", "message": "",
        "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let body = json!({"spec": {"resourceGroup": "rg"}, "status": {"conditions": [programmed]}});
    object("shop", body)
}

fn backend(metadata: Value) -> TrafficManagerBackend {
    let spec = json!({"profile": {"name": "shop"}, "backend": {"name": "web"}, "weight": 1});
    object("web", json!({"metadata": metadata, "spec": spec}))
}

fn traffic(objects: Vec<Object>) -> Traffic {
    let mut traffic = Traffic::new(Arc::new(Nobody), Arc::default());
    for object in objects {
        traffic.learn(Change::Applied(Seen::Object(object)));
    }
    traffic
}

/// What the plan of the backend looks for, or how many other things it does.
fn looks(traffic: &Traffic) -> Result<Vec<Sought>, usize> {
    let plan = traffic.plan(&Item::Backend(key("web")), Timestamp::UNIX_EPOCH);
    let acts: Vec<_> = plan.steps.into_iter().flatten().collect();
    let n = acts.len();
    let sought = acts.into_iter().map(|act| match act {
        Act::Look(sought) => Some(sought),
        Act::Write(_) | Act::Ask(_) => None,
    });
    sought.collect::<Option<Vec<_>>>().filter(|sought| !sought.is_empty()).ok_or(n)
}

#[test]
fn what_a_list_leaves_out_is_looked_for_by_name_before_endpoints_are_taken_away() {
    let import = object("web", json!({"status": {"clusters": [{"cluster": "a"}]}}));
    let import: stolos_api::network::ServiceImport = import;
    let mut traffic =
        traffic(vec![profile().into(), backend(json!({})).into(), import.clone().into()]);
    assert_eq!(looks(&traffic), Err(0), "it waits for the provider to say that it has the profile");

    traffic.learn(Change::Listed { kind: "ServiceImport", keys: BTreeSet::new() });
    let sought = Sought::Import(key("web"));
    assert_eq!(looks(&traffic), Ok(vec![sought.clone()]));
    let items = traffic.learn(Change::Applied(Seen::Object(import.into())));
    assert_eq!(items, [Item::Backend(key("web"))]);
    assert_eq!(looks(&traffic), Err(0), "it was there");

    traffic.learn(Change::Listed { kind: "ServiceImport", keys: BTreeSet::new() });
    traffic.learn(Change::Applied(Seen::Absent(sought.clone())));
    assert_eq!(looks(&traffic), Err(0), "it is known to be gone");
    // What was gone before a list may be there after it.
    traffic.learn(Change::Listed { kind: "ServiceImport", keys: BTreeSet::new() });
    assert_eq!(looks(&traffic), Ok(vec![sought]));
}

#[test]
fn a_backend_that_leaves_looks_for_its_profile_before_it_leaves_endpoints_behind() {
    let leaving = backend(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}));
    let mut traffic = traffic(vec![leaving.into()]);
    let sought = Sought::Profile(key("shop"));
    assert_eq!(looks(&traffic), Ok(vec![sought.clone()]));
    traffic.learn(Change::Applied(Seen::Absent(sought)));
    assert_eq!(looks(&traffic), Err(1), "its finalizers go");
}
