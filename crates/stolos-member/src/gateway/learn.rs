//! Takes changes into the world of the gateway, and tells what they concern.

use std::collections::BTreeSet;
use std::sync::Arc;

use stolos_controller::{Change, Key};

use super::act::{Doubt, Seen, member};
use super::decide::Outcome;
use super::{Gateway, Item, concerned};
use crate::balance::learn::{missing, remove};

impl<P> Gateway<P> {
    pub(super) fn take_in(&mut self, change: Change<Seen>) -> Vec<Item> {
        match change {
            Change::Deleted(Seen::Member(object)) => {
                self.forget(&object);
                vec![Item::Plane]
            }
            Change::Applied(seen) | Change::Deleted(seen) => match seen {
                Seen::Member(object) => self.learn_of(object),
                Seen::Applied(outcome) => self.learn_outcome(outcome),
                Seen::Gone(doubt) => self.believe(&doubt),
            },
            Change::Listed { kind, keys } => self.compare(kind, &keys),
        }
    }

    fn learn_of(&mut self, object: member::Object) -> Vec<Item> {
        match object {
            member::Object::EndpointSlice(slice) => {
                let news = self.slices.insert(*slice).is_ok();
                if news { vec![Item::Plane] } else { Vec::new() }
            }
            member::Object::ServiceExport(export) => {
                let key = Key::of(&export.metadata);
                let news = self.exports.insert(*export).is_ok();
                if news { vec![Item::Plane, Item::Export(key)] } else { Vec::new() }
            }
        }
    }

    /// Forgets an object that the API server says to be deleted.
    fn forget(&mut self, object: &member::Object) {
        match object {
            member::Object::EndpointSlice(slice) => drop(self.slices.remove(&slice.metadata)),
            member::Object::ServiceExport(export) => {
                self.exports.remove(&export.metadata);
                self.served.remove(&Key::of(&export.metadata));
            }
        }
    }

    /// Looks for what a complete list lacks.
    fn compare(&self, kind: &str, keys: &BTreeSet<Key>) -> Vec<Item> {
        let doubts: Vec<Doubt> = if kind == "EndpointSlice" {
            missing(&self.slices, keys).map(Doubt::Slice).collect()
        } else {
            let served = self.served.keys().filter(|key| !keys.contains(key)).cloned();
            let exports: BTreeSet<Key> = missing(&self.exports, keys).chain(served).collect();
            exports.into_iter().map(Doubt::Export).collect()
        };
        doubts.into_iter().map(Item::Doubt).chain([Item::Plane]).collect()
    }

    /// Forgets an object that is not there by name.
    fn believe(&mut self, doubt: &Doubt) -> Vec<Item> {
        match doubt {
            Doubt::Slice(key) => remove(&mut self.slices, key),
            Doubt::Export(key) => {
                remove(&mut self.exports, key);
                self.served.remove(key);
            }
        }
        vec![Item::Plane]
    }

    fn learn_outcome(&mut self, outcome: Arc<Outcome>) -> Vec<Item> {
        let mut items = concerned(&self.served, &outcome.decision);
        let before = std::mem::replace(&mut self.served, outcome.decision.clone());
        // What went away while the data plane was asked stays away.
        self.served.retain(|key, _| before.contains_key(key) || self.exports.get(key).is_some());
        if outcome.n_failures > 0 {
            items.push(Item::Plane);
        }
        self.outcome = Some(outcome);
        items
    }
}
