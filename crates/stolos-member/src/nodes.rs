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
    /// Takes a node in; tells whether other addresses than before are `guarded`.
    pub(crate) fn learn(&mut self, node: &Node, guarded: &mut BTreeSet<IpAddr>) -> bool {
        let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        let addresses: BTreeSet<IpAddr> =
            addresses.filter_map(|address| address.address.parse().ok()).collect();
        let before = self.0.insert(Key::of(&node.metadata), addresses.clone()).unwrap_or_default();
        let is_less = self.release(before.difference(&addresses), guarded);
        let is_more = addresses.into_iter().filter(|one| guarded.insert(*one)).count() > 0;
        is_less || is_more
    }

    /// Forgets a node; tells whether other addresses than before are `guarded`.
    pub(crate) fn forget(&mut self, node: &ObjectMeta, guarded: &mut BTreeSet<IpAddr>) -> bool {
        let before = self.0.remove(&Key::of(node)).unwrap_or_default();
        self.release(before.iter(), guarded)
    }

    /// Forgets the nodes that a list lacks.
    pub(crate) fn retain(&mut self, listed: &BTreeSet<Key>, guarded: &mut BTreeSet<IpAddr>) {
        self.0.retain(|node, _| listed.contains(node));
        *guarded = self.0.values().flatten().copied().collect();
    }

    /// Guards addresses no longer that no other node has.
    fn release<'a>(
        &self,
        addresses: impl Iterator<Item = &'a IpAddr>,
        guarded: &mut BTreeSet<IpAddr>,
    ) -> bool {
        let is_free = |address: &&IpAddr| !self.0.values().any(|node| node.contains(*address));
        addresses.filter(is_free).filter(|one| guarded.remove(*one)).count() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_guarded_as_long_as_a_node_has_it() {
        let node = |name: &str, addresses: &[&str]| -> Node {
            let addresses = addresses
                .iter()
                .map(|address| serde_json::json!({"type": "InternalIP", "address": address}));
            let addresses: Vec<_> = addresses.collect();
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": name}, "status": {"addresses": addresses},
            }))
            .unwrap()
        };
        let (mut nodes, mut guarded) = (Nodes::default(), BTreeSet::new());
        let shown = |guarded: &BTreeSet<IpAddr>| {
            guarded.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert!(nodes.learn(&node("a", &["10.0.0.1", "10.0.0.9", "host-a"]), &mut guarded));
        assert!(nodes.learn(&node("b", &["10.0.0.2", "10.0.0.9"]), &mut guarded));
        assert_eq!(shown(&guarded), "10.0.0.1 10.0.0.2 10.0.0.9");
        assert!(!nodes.learn(&node("b", &["10.0.0.2", "10.0.0.9"]), &mut guarded));
        assert!(nodes.learn(&node("b", &["10.0.0.3"]), &mut guarded));
        assert_eq!(
            shown(&guarded),
            "10.0.0.1 10.0.0.3 10.0.0.9",
            "the other node has the last one"
        );
        assert!(nodes.forget(&node("a", &[]).metadata, &mut guarded));
        assert!(!nodes.forget(&node("a", &[]).metadata, &mut guarded));
        assert_eq!(shown(&guarded), "10.0.0.3");
        nodes.retain(&BTreeSet::new(), &mut guarded);
        assert_eq!(shown(&guarded), "");
    }
}
