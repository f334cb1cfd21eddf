//! Sets of fields as tries of sorted vectors, and their JSON form `fieldsV1`.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::element;

/// Marks a node as a member beside its children in `fieldsV1`.
const SELF: &str = ".";

/// A set of paths. Below each element are the paths that begin with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldSet(Vec<Node>);

/// One path element with all that is below it. A node without children is a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Text form, see [`element`].
    pub(super) element: String,
    /// The path that ends here is a member.
    pub(super) owned: bool,
    /// Paths that go on.
    pub(super) children: FieldSet,
}

impl FieldSet {
    /// Builds a set of nodes with different elements; nodes that say nothing are left out.
    pub(super) fn from_nodes(mut nodes: Vec<Node>) -> Self {
        nodes.retain(|node| node.owned || !node.children.is_empty());
        // Mostly sorted already, which the sort notices.
        nodes.sort_by(|a, b| a.element.cmp(&b.element));
        Self(nodes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.0
    }

    pub(super) fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.0.iter_mut()
    }

    pub(super) fn get(&self, element: &str) -> Option<&Node> {
        let found = self.0.binary_search_by(|node| node.element.as_str().cmp(element)).ok()?;
        Some(&self.0[found])
    }

    /// Returns what is in one of both.
    #[must_use]
    pub(super) fn union(self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        let mut merged = Vec::with_capacity(self.0.len().max(other.0.len()));
        let mut others = other.0.into_iter().peekable();
        for mut node in self.0 {
            while let Some(before) = others.next_if(|other| other.element < node.element) {
                merged.push(before);
            }
            if let Some(same) = others.next_if(|other| other.element == node.element) {
                node.owned |= same.owned;
                node.children = node.children.union(same.children);
            }
            merged.push(node);
        }
        merged.extend(others);
        Self(merged)
    }

    /// Removes the members of `other`, but not what is below them.
    pub(super) fn subtract(&mut self, other: &Self) {
        let mut rest = other.0.as_slice();
        self.0.retain_mut(|node| {
            while rest.first().is_some_and(|other| other.element < node.element) {
                rest = &rest[1..];
            }
            match rest.first() {
                Some(other) if other.element == node.element => {
                    node.owned &= !other.owned;
                    node.children.subtract(&other.children);
                    node.owned || !node.children.is_empty()
                }
                _ => true,
            }
        });
    }

    /// Returns what is in both.
    #[must_use]
    pub(super) fn intersection(&self, other: &Self) -> Self {
        let mut common = Vec::new();
        let (mut left, mut right) = (self.0.as_slice(), other.0.as_slice());
        while let ([a, left_rest @ ..], [b, right_rest @ ..]) = (left, right) {
            let order = a.element.cmp(&b.element);
            if order == Ordering::Equal {
                let owned = a.owned && b.owned;
                let children = a.children.intersection(&b.children);
                if owned || !children.is_empty() {
                    common.push(Node { element: a.element.clone(), owned, children });
                }
            }
            left = if order == Ordering::Greater { left } else { left_rest };
            right = if order == Ordering::Less { right } else { right_rest };
        }
        Self(common)
    }

    /// Returns the members as conflicts show them, such as `.spec.replicas`; on each level members come before what is
    /// below them.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &str, paths: &mut Vec<String>) {
        let owned = self.0.iter().filter(|node| node.owned);
        paths.extend(owned.map(|node| format!("{prefix}{}", element::display(&node.element))));
        for node in self.0.iter().filter(|node| !node.children.is_empty()) {
            let prefix = format!("{prefix}{}", element::display(&node.element));
            node.children.collect_paths(&prefix, paths);
        }
    }

    /// Reads `fieldsV1`; elements of an unknown kind are left out.
    pub(super) fn from_json(json: Value) -> Option<Self> {
        let Value::Object(fields) = json else { return None };
        Self::from_fields(fields).map(|(_, set)| set)
    }

    /// Reads one level and whether it is a member itself.
    fn from_fields(fields: Map<String, Value>) -> Option<(bool, Self)> {
        let mut owned = fields.is_empty();
        let mut nodes = Vec::with_capacity(fields.len());
        for (key, below) in fields {
            if key == SELF {
                owned = true;
                continue;
            }
            let Value::Object(below) = below else { return None };
            let Some(element) = element::canonical(key) else { continue };
            let (owned, children) = Self::from_fields(below)?;
            nodes.push(Node { element, owned, children });
        }
        Some((owned, Self::from_nodes(nodes)))
    }

    /// Writes `fieldsV1`.
    pub(super) fn into_json(self) -> Value {
        Value::Object(self.into_fields())
    }

    fn into_fields(self) -> Map<String, Value> {
        let entry = |node: Node| {
            let leaf = node.children.is_empty();
            let mut below = node.children.into_fields();
            if node.owned && !leaf {
                below.insert(SELF.to_owned(), Value::Object(Map::new()));
            }
            (node.element, Value::Object(below))
        };
        self.0.into_iter().map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn set(json: Value) -> FieldSet {
        FieldSet::from_json(json).expect("a field set")
    }

    #[test]
    fn json_form_tells_members_from_ways_to_members() {
        let json = json!({
            "f:metadata": { "f:labels": { ".": {}, "f:app": {} } },
            "f:spec": { "f:ports": { "k:{\"port\":80}": { ".": {}, "f:port": {} }, "v:\"x\"": {}, "i:0": {} } },
        });
        let fields = set(json.clone());
        assert_eq!(
            fields.paths(),
            [
                ".metadata.labels",
                ".metadata.labels.app",
                ".spec.ports[0]",
                ".spec.ports[port=80]",
                ".spec.ports[=\"x\"]",
                ".spec.ports[port=80].port",
            ]
        );
        assert_eq!(fields.into_json(), json);
        assert_eq!(FieldSet::from_json(json!({ "f:a": 1 })), None);
        assert_eq!(FieldSet::from_json(json!([])), None);
    }

    /// Paths of up to three fields, the simple model of a set.
    fn path_sets() -> impl Strategy<Value = BTreeSet<Vec<String>>> {
        let path = proptest::collection::vec("f:[ab]", 1..4);
        proptest::collection::btree_set(path, 0..8)
    }

    fn trie(paths: &BTreeSet<Vec<String>>) -> FieldSet {
        let one = |path: &Vec<String>| {
            path.iter().rev().fold(FieldSet::default(), |children, element| {
                let owned = children.is_empty();
                FieldSet(vec![Node { element: element.clone(), owned, children }])
            })
        };
        paths.iter().map(one).fold(FieldSet::default(), FieldSet::union)
    }

    proptest! {
        #[test]
        fn operations_agree_with_sets_of_paths(a in path_sets(), b in path_sets()) {
            let (left, right) = (trie(&a), trie(&b));
            prop_assert_eq!(left.clone().union(right.clone()), trie(&(&a | &b)));
            prop_assert_eq!(left.intersection(&right), trie(&(&a & &b)));
            let mut rest = left.clone();
            rest.subtract(&right);
            prop_assert_eq!(rest, trie(&(&a - &b)));
            prop_assert_eq!(FieldSet::from_json(left.clone().into_json()), Some(left));
        }
    }
}
