//! Addresses of the nodes of this cluster, which are no endpoints of other clusters.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use stolos_controller::Key;

/// The addresses by node. Nodes are large, and nothing else of them is kept.
#[derive(Debug, Default)]
pub(crate) struct Nodes(BTreeMap<Key, BTreeSet<IpAddr>>);

impl Nodes {
    /// Takes a node in; tells whether its addresses are other ones than before.
    pub(crate) fn learn(&mut self, node: &Node) -> bool {
        let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        let addresses: BTreeSet<_> =
            addresses.filter_map(|address| address.address.parse().ok()).collect();
        self.0.insert(Key::of(&node.metadata), addresses.clone()) != Some(addresses)
    }

    /// Forgets a node; tells whether it was known.
    pub(crate) fn forget(&mut self, node: &ObjectMeta) -> bool {
        self.0.remove(&Key::of(node)).is_some()
    }

    /// Forgets the nodes that a list lacks.
    pub(crate) fn retain(&mut self, listed: &BTreeSet<Key>) {
        self.0.retain(|node, _| listed.contains(node));
    }

    /// Returns the addresses of all nodes.
    pub(crate) fn addresses(&self) -> BTreeSet<IpAddr> {
        self.0.values().flatten().copied().collect()
    }
}
