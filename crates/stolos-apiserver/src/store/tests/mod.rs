//! Tests of the store as its users see it.

mod clusters;
mod disk;
mod model;
mod power;
mod reads;
mod watching;
mod writes;

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

/// Revision that the stores of these tests start from.
const START: u64 = 1000;

fn cluster() -> ClusterStore {
    Store::memory_from(START, Limits::default()).cluster("hub").unwrap()
}

fn tiny_history() -> Limits {
    Limits { min_events: 2, max_events: 3, ..Limits::default() }
}

fn pods() -> ResourceId {
    ResourceId::from("pods")
}

fn namespaces() -> ResourceId {
    ResourceId::from("namespaces")
}

fn key(text: &str) -> Key {
    let (namespace, name) = text.split_once('/').unwrap_or(("", text));
    Key::namespaced(namespace, name)
}

fn object(key: &Key, value: u32) -> Value {
    json!({
        "metadata": {"name": key.name, "namespace": key.namespace, "uid": key.name, "labels": {"v": value.to_string()}},
        "spec": {"value": value},
    })
}

fn write(resource: ResourceId, key: &Key, expect: Expect, value: u32) -> Write {
    let object = object(key, value);
    let attributes = Attributes::of(&object);
    let change = Change::Put(object, attributes);
    Write { resource, key: key.clone(), expect, change, requires: None }
}

fn create(name: &str) -> Write {
    write(pods(), &key(name), Expect::Absent, 0)
}

fn update(name: &str, revision: u64, value: u32) -> Write {
    write(pods(), &key(name), Expect::Revision(revision), value)
}

fn delete(name: &str, revision: u64) -> Write {
    let Write { resource, key, expect, change, requires } = update(name, revision, 0);
    let Change::Put(object, attributes) = change else { unreachable!() };
    Write { resource, key, expect, change: Change::Delete(object, attributes), requires }
}

fn names(page: &Page) -> Vec<String> {
    page.items
        .iter()
        .map(|version| format!("{}/{}", version.key.namespace, version.key.name))
        .collect()
}

fn revisions(events: &[Arc<Event>]) -> Vec<u64> {
    events.iter().map(|event| event.revision).collect()
}
