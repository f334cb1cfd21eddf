//! Takes changes into the world of the balancer, and tells what they concern.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use stolos_api::network::EndpointSliceImport;
use stolos_api::network::names::label;
use stolos_controller::{Change, Key, Table, Tracked};
use stolos_core::network::serve::Wanted;

use super::decide::Outcome;
use super::objects::{Doubt, Seen, member};
use super::{Balancer, Item};

/// Returns `<namespace>/<name>` of the Service of a slice.
pub(crate) fn service_of(slice: &EndpointSlice) -> Option<String> {
    let name = slice.metadata.labels.as_ref()?.get(label::SERVICE_NAME)?;
    Some(format!("{}/{name}", slice.metadata.namespace.as_deref()?))
}

impl<P> Balancer<P> {
    pub(super) fn take_in(&mut self, change: Change<Seen>) -> Vec<Item> {
        match change {
            Change::Deleted(Seen::Member(object)) => self.forget(&object),
            Change::Applied(seen) | Change::Deleted(seen) => self.hear(seen),
            Change::Listed { kind, keys } => self.compare(kind, &keys),
        }
    }

    fn hear(&mut self, seen: Seen) -> Vec<Item> {
        match seen {
            Seen::Member(object) => self.learn_of(object),
            Seen::Hub(change) => self.learn_of_hub(*change),
            Seen::Applied(outcome) => self.learn_outcome(outcome),
            Seen::Told(key, told) => {
                self.told.insert(key, told);
                Vec::new()
            }
            Seen::Gone(doubt) => self.believe(&doubt),
        }
    }

    fn learn_of(&mut self, object: member::Object) -> Vec<Item> {
        let news = match object {
            member::Object::Service(service) => {
                let key = Key::of(&service.metadata);
                return match self.services.insert(*service) {
                    Ok(_) => vec![Item::Plane, Item::Service(key)],
                    Err(()) => Vec::new(),
                };
            }
            member::Object::EndpointSlice(slice) => self.slices.insert(*slice).is_ok(),
            member::Object::MultiClusterService(service) => self.origins.insert(*service).is_ok(),
            member::Object::ServiceImport(import) => self.imports.insert(*import).is_ok(),
            member::Object::Node(node) => self.nodes.learn(&node, &mut self.guard.nodes),
            member::Object::Event(_) => false,
        };
        if news { vec![Item::Plane] } else { Vec::new() }
    }

    /// Forgets an object that the API server says to be deleted.
    fn forget(&mut self, object: &member::Object) -> Vec<Item> {
        match object {
            member::Object::Service(service) => {
                self.services.remove(&service.metadata);
                self.forget_service(&Key::of(&service.metadata));
            }
            member::Object::EndpointSlice(slice) => drop(self.slices.remove(&slice.metadata)),
            member::Object::MultiClusterService(service) => {
                self.origins.remove(&service.metadata);
            }
            member::Object::ServiceImport(import) => drop(self.imports.remove(&import.metadata)),
            member::Object::Node(node) => {
                self.nodes.forget(&node.metadata, &mut self.guard.nodes);
            }
            member::Object::Event(_) => return Vec::new(),
        }
        vec![Item::Plane]
    }

    fn forget_service(&mut self, key: &Key) {
        self.served.remove(key);
        self.told.remove(key);
    }

    fn learn_of_hub(&mut self, change: Change<EndpointSliceImport>) -> Vec<Item> {
        match change {
            Change::Applied(import) => match self.told_by_hub.insert(import) {
                Ok(_) => vec![Item::Plane],
                Err(()) => Vec::new(),
            },
            Change::Deleted(import) => {
                self.told_by_hub.remove(&import.metadata);
                vec![Item::Plane]
            }
            Change::Listed { kind: _, keys } => {
                self.hub_has_told = true;
                let missing = missing(&self.told_by_hub, &keys).map(Doubt::Import);
                missing.map(Item::Doubt).chain([Item::Plane]).collect()
            }
        }
    }

    /// Looks for what a complete list lacks.
    fn compare(&self, kind: &str, keys: &BTreeSet<Key>) -> Vec<Item> {
        let doubts: Vec<Doubt> = match kind {
            "EndpointSlice" => missing(&self.slices, keys).map(Doubt::Slice).collect(),
            "MultiClusterService" => {
                missing(&self.origins, keys).map(Doubt::MultiClusterService).collect()
            }
            "ServiceImport" => missing(&self.imports, keys).map(Doubt::ServiceImport).collect(),
            "Service" => {
                let served = self.served.keys().filter(|key| !keys.contains(key)).cloned();
                let services: BTreeSet<Key> = missing(&self.services, keys).chain(served).collect();
                services.into_iter().map(Doubt::Service).collect()
            }
            // Nodes only say which endpoints are refused; one that was missed is heard of again.
            _ => Vec::new(),
        };
        doubts.into_iter().map(Item::Doubt).chain([Item::Plane]).collect()
    }

    /// Forgets an object that is not there by name.
    fn believe(&mut self, doubt: &Doubt) -> Vec<Item> {
        match doubt {
            Doubt::Import(key) => remove(&mut self.told_by_hub, key),
            Doubt::Slice(key) => remove(&mut self.slices, key),
            Doubt::MultiClusterService(key) => remove(&mut self.origins, key),
            Doubt::ServiceImport(key) => remove(&mut self.imports, key),
            Doubt::Service(key) => {
                remove(&mut self.services, key);
                self.forget_service(key);
            }
        }
        vec![Item::Plane]
    }

    fn learn_outcome(&mut self, outcome: Arc<Outcome>) -> Vec<Item> {
        let services = &outcome.decision.services;
        // What is not served keeps no address.
        let is_served = |wanted: &Wanted| !wanted.ports.is_empty();
        // What went away while the data plane was asked stays away.
        let is_known =
            |key: &Key| self.served.contains_key(key) || self.services.get(key).is_some();
        let served = services.iter().filter(|(key, wanted)| is_served(wanted) && is_known(key));
        self.served = served.map(|(key, wanted)| (key.clone(), wanted.clone())).collect();
        let mut items: Vec<Item> = services.keys().cloned().map(Item::Service).collect();
        if outcome.retry_at().is_some() {
            items.push(Item::Plane);
        }
        self.outcome = Some(outcome);
        items
    }
}

/// Returns what a table has and a list has not.
pub(crate) fn missing<K: Tracked>(
    table: &Table<K>,
    listed: &BTreeSet<Key>,
) -> impl Iterator<Item = Key> {
    let keys: Vec<Key> = table.iter().map(|object| Key::of(object.meta())).collect();
    keys.into_iter().filter(|key| !listed.contains(key))
}

pub(crate) fn remove<K: Tracked>(table: &mut Table<K>, key: &Key) {
    let Some(object) = table.get(key).cloned() else { return };
    table.remove(object.meta());
}
