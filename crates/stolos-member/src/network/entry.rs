//! Where other members come in to an exported Service, if they cannot reach its pods.

use k8s_openapi::api::core::v1::Service;
use stolos_api::network::ServiceExport;
use stolos_api::network::names::gateway as names;
use stolos_controller::Key;
use stolos_core::network::gateway::{self, Allocation};

use super::{Agent, Item, parse, text};

/// Returns the annotation that remembers an entry.
pub(super) fn annotation(allocation: &Allocation) -> (String, String) {
    (names::ENTRY.to_owned(), allocation.entry.text())
}

impl Agent {
    /// Decides about the entry of an export. None: it has none, or keeps the one that it has.
    pub(super) fn allocate(
        &self,
        export: &ServiceExport,
        service: Option<&Service>,
    ) -> Option<Allocation> {
        let settings = self.config.network.gateway.as_ref()?;
        if export.metadata.deletion_timestamp.is_some() {
            return None;
        }
        Some(gateway::allocate(settings, export, service?, &self.holders))
    }

    /// Takes in the entry of an export; returns the exports that have one of its ports, too.
    pub(super) fn learn_entry(&mut self, key: &Key) -> Vec<Item> {
        let Some(export) = self.exports.get(key) else { return Vec::new() };
        let rivals = self.holders.learn(export);
        rivals.iter().filter_map(|rival| parse(rival)).map(Item::Export).collect()
    }

    /// Frees the ports of an export that is gone; returns those that wait for ports.
    pub(super) fn forget_entry(&mut self, key: &Key) -> Vec<Item> {
        if !self.holders.forget(&text(key)) {
            return Vec::new();
        }
        let starved = self.exports.iter().filter(|export| gateway::is_starved(export));
        starved.map(|export| Item::Export(Key::of(&export.metadata))).collect()
    }
}
