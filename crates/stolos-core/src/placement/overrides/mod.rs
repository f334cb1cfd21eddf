//! Overrides: changes to placed objects that only some members get (placement-overrides in the specification).
//!
//! [`history`] keeps immutable copies of each override. [`matching`] finds those that concern a placement, [`pick`] those of
//! them that concern a member; the rollout writes their names into the binding, together with the resource snapshot, so that a
//! member never gets one without the other. [`Applicable`] then changes the manifests.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use stolos_api::cluster::MemberCluster;
use stolos_api::placement::{
    ClusterResourceOverrideSpec, ClusterSelector, EnvelopeType, NamespacedName, OverridePolicy,
    PlacementRef, ResourceOverrideSpec, ResourceScope,
};

use super::object::{self, Gvk, envelope_type};
use crate::selector;

mod apply;
pub mod history;
mod patch;
#[cfg(test)]
mod tests;

pub use apply::{Applicable, Error};

/// A snapshot of an override, of either scope.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Snapshot<'a> {
    /// Name of the snapshot.
    pub name: &'a str,
    /// The override at that moment.
    pub content: Content<'a>,
}

/// What an override says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Content<'a> {
    /// A ClusterResourceOverride.
    Cluster(&'a ClusterResourceOverrideSpec),
    /// A ResourceOverride.
    Namespaced {
        /// Its namespace.
        namespace: &'a str,
        /// Its spec.
        spec: &'a ResourceOverrideSpec,
    },
}

impl<'a> Content<'a> {
    /// Returns the placement that it is for, if it is for one only.
    pub fn placement(self) -> Option<&'a PlacementRef> {
        match self {
            Self::Cluster(spec) => spec.placement.as_ref(),
            Self::Namespaced { spec, .. } => spec.placement.as_ref(),
        }
    }

    fn policy(self) -> &'a OverridePolicy {
        match self {
            Self::Cluster(spec) => &spec.policy,
            Self::Namespaced { spec, .. } => &spec.policy,
        }
    }

    /// Returns namespace, empty for none, and name of the placement that it is for, if it is for one only.
    pub fn target(self) -> Option<(&'a str, &'a str)> {
        let PlacementRef { name, scope } = self.placement()?;
        match (self, scope) {
            (Self::Namespaced { namespace, .. }, ResourceScope::Namespaced) => {
                Some((namespace, name))
            }
            (Self::Namespaced { .. } | Self::Cluster(_), _) => Some(("", name)),
        }
    }

    fn selects(self, key: &ObjectKey) -> bool {
        let is = |group: &str, version: &str, kind: &str, name: &str| {
            key.gvk.group == group
                && key.gvk.version == version
                && key.gvk.kind == kind
                && key.name == name
        };
        match self {
            Self::Cluster(spec) => {
                key.namespace.is_empty()
                    && spec
                        .cluster_resource_selectors
                        .iter()
                        .any(|s| is(&s.group, &s.version, &s.kind, &s.name))
            }
            Self::Namespaced { namespace, spec } => {
                key.namespace == namespace
                    && spec
                        .resource_selectors
                        .iter()
                        .any(|s| is(&s.group, &s.version, &s.kind, &s.name))
            }
        }
    }

    /// Tells whether the override changes an object: it names it, or its namespace.
    fn changes(self, object: &Value) -> bool {
        keys_of(object).iter().any(|key| self.selects(key))
    }
}

impl Snapshot<'_> {
    /// Tells whether a binding that names this namespace, empty for a ClusterResourceOverrideSnapshot, and name means this one.
    pub fn is_named(&self, namespace: &str, name: &str) -> bool {
        let here = match self.content {
            Content::Cluster(_) => "",
            Content::Namespaced { namespace, .. } => namespace,
        };
        (here, self.name) == (namespace, name)
    }

    /// Returns the order in which snapshots are named and applied: cluster-scoped ones first, so that the others win.
    fn rank(&self) -> (bool, &str, &str) {
        match self.content {
            Content::Cluster(_) => (false, "", self.name),
            Content::Namespaced { namespace, .. } => (true, namespace, self.name),
        }
    }
}

/// Names an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ObjectKey {
    gvk: Gvk,
    namespace: String,
    name: String,
}

/// Returns what an override may name to change an object: the object, and its namespace if it has one.
fn keys_of(object: &Value) -> Vec<ObjectKey> {
    let namespace = object::namespace(object);
    let itself = ObjectKey {
        gvk: Gvk::of(object),
        namespace: namespace.to_owned(),
        name: object::name(object).to_owned(),
    };
    if namespace.is_empty() {
        return vec![itself];
    }
    vec![itself, namespace_key(namespace)]
}

fn namespace_key(name: &str) -> ObjectKey {
    ObjectKey {
        gvk: Gvk::new("", "v1", "Namespace"),
        namespace: String::new(),
        name: name.to_owned(),
    }
}

/// Returns everything that an override may name to change one of these objects. The content of an envelope counts, the
/// envelope itself does not.
fn candidates<'a>(objects: impl IntoIterator<Item = &'a Value>) -> BTreeSet<ObjectKey> {
    let mut keys = BTreeSet::new();
    for object in objects {
        let Some(type_) = envelope_type(object) else {
            keys.extend(keys_of(object));
            continue;
        };
        let home = object::namespace(object);
        if type_ == EnvelopeType::ResourceEnvelope {
            keys.insert(namespace_key(home));
        }
        let wrapped = object.get("data").and_then(Value::as_object).into_iter().flatten();
        // What is in the wrong place, or no object at all, is reported when the envelope is opened.
        let wrapped = wrapped.map(|(_, entry)| entry).filter(|entry| {
            let is_object = !object::text(entry, "/kind").is_empty();
            is_object && object::namespace(entry) == home
        });
        keys.extend(wrapped.flat_map(keys_of));
    }
    keys
}

/// Returns the newest snapshots that concern a placement, in the order in which they are applied: those that are for it or for
/// every placement, and name one of the objects that it places.
///
/// `namespace` is that of a ResourcePlacement.
pub fn matching<'a, 'o>(
    namespace: Option<&str>,
    placement: &str,
    objects: impl IntoIterator<Item = &'o Value>,
    newest: &[Snapshot<'a>],
) -> Vec<Snapshot<'a>> {
    let here = (namespace.unwrap_or_default(), placement);
    let mut matching: Vec<_> = newest
        .iter()
        .copied()
        .filter(|snapshot| snapshot.content.target().is_none_or(|target| target == here))
        .collect();
    if matching.is_empty() {
        return matching;
    }
    let keys = candidates(objects);
    matching.retain(|snapshot| keys.iter().any(|key| snapshot.content.selects(key)));
    matching.sort_by(|one, other| one.rank().cmp(&other.rank()));
    matching
}

/// Names of the override snapshots that are in force on a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picked {
    /// ClusterResourceOverride snapshots, by name.
    pub cluster: Vec<String>,
    /// ResourceOverride snapshots, by namespace and name.
    pub namespaced: Vec<NamespacedName>,
}

/// Returns those of the matching snapshots that have a rule for a member.
pub fn pick(matching: &[Snapshot<'_>], member: &MemberCluster) -> Picked {
    let mut picked = Picked::default();
    for snapshot in matching {
        let mut rules = snapshot.content.policy().override_rules.iter();
        if !rules.any(|rule| is_for(rule.cluster_selector.as_ref(), member)) {
            continue;
        }
        match snapshot.content {
            Content::Cluster(_) => picked.cluster.push(snapshot.name.to_owned()),
            Content::Namespaced { namespace, .. } => picked.namespaced.push(NamespacedName {
                name: snapshot.name.to_owned(),
                namespace: namespace.to_owned(),
            }),
        }
    }
    picked
}

/// Tells whether a rule is for a member. Without a selector it is for none; with one that has no terms, for all.
fn is_for(selector: Option<&ClusterSelector>, member: &MemberCluster) -> bool {
    let Some(ClusterSelector { cluster_selector_terms }) = selector else { return false };
    let labels = member.metadata.labels.as_ref().unwrap_or(selector::NO_LABELS);
    cluster_selector_terms.is_empty()
        || cluster_selector_terms
            .iter()
            .filter_map(|term| term.label_selector.as_ref())
            .any(|selector| selector::matches(selector, labels))
}

/// Returns the newest snapshot of each override, given the snapshots with the names and indices of their overrides. The label
/// of the newest is not asked: it is taken off one before the next exists.
pub fn newest<K: Ord, S>(snapshots: impl IntoIterator<Item = (K, u64, S)>) -> Vec<S> {
    let mut newest: BTreeMap<K, (u64, S)> = BTreeMap::new();
    for (parent, index, snapshot) in snapshots {
        match newest.get(&parent) {
            Some((known, _)) if *known >= index => {}
            _ => {
                newest.insert(parent, (index, snapshot));
            }
        }
    }
    newest.into_values().map(|(_, snapshot)| snapshot).collect()
}
