//! Which placements a change may concern, so that all others can sleep.
//!
//! Too often yes costs a look; a wrong no would leave members behind until the next change.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;
use stolos_api::cluster::names::property;
use stolos_api::cluster::{MemberCluster, Taint};
use stolos_api::placement::names::condition as type_;
use stolos_api::placement::{
    PlacementPolicy, PlacementSpec, PlacementStatus, PlacementType, ResourceSelectorTerm,
    SelectionScope,
};

use super::condition::is_true;
use super::eligibility::Eligibility;
use super::object::{self, Gvk};
use super::scheduler::check_eligibility;
use super::select::{Reach, anchor, gvk_of};
use crate::selector;

/// A change of an object of the hub.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The object before, unless it is new or was not known.
    pub before: Option<&'a Value>,
    /// The object after, unless it is gone.
    pub after: Option<&'a Value>,
    /// The namespace that it is in, as an object.
    pub namespace: Option<&'a Value>,
}

impl<'a> Change<'a> {
    fn states(&self) -> impl Iterator<Item = &'a Value> {
        self.before.into_iter().chain(self.after)
    }

    /// Returns whether the object could be placed before or can be now, a namespace aside: one that is reserved makes a
    /// placement an error.
    pub fn is_of_interest(&self, eligibility: &Eligibility) -> bool {
        self.states().any(|object| eligibility.permits(object, |_| false))
    }

    /// Returns whether a placement may select something else after the change.
    pub fn concerns(&self, selectors: &[ResourceSelectorTerm], reach: Reach<'_>) -> bool {
        let Some(object) = self.states().next() else { return false };
        let home = object::namespace(object);
        let inside = anchor(selectors, reach);
        selectors.iter().any(|selector| {
            let is_reached = match reach {
                Reach::Namespace(namespace) => namespace == home,
                Reach::Cluster => home.is_empty() || inside == Some(home),
            };
            let is_selected = is_reached
                && is_of_kind(object, &gvk_of(selector))
                && self.states().any(|object| matches(selector, object));
            is_selected || (reach == Reach::Cluster && self.is_content(selector, home))
        })
    }

    /// Returns whether the object is in a namespace that is selected with its content.
    fn is_content(&self, selector: &ResourceSelectorTerm, home: &str) -> bool {
        if home.is_empty()
            || !gvk_of(selector).is_namespace()
            || selector.selection_scope != SelectionScope::NamespaceWithResources
        {
            return false;
        }
        let is_named = selector.name.is_empty() || selector.name == home;
        // Labels of a namespace that is not known cannot match; its arrival is a change of its own.
        is_named
            && (selector.label_selector.is_none()
                || self.namespace.is_some_and(|namespace| has_labels(selector, namespace)))
    }
}

fn matches(selector: &ResourceSelectorTerm, object: &Value) -> bool {
    let is_named = selector.name.is_empty() || selector.name == object::name(object);
    // A Service decides about Endpoints of its name, whatever their labels.
    let is_itself = Gvk::of(object).kind == selector.kind;
    is_named && (!is_itself || has_labels(selector, object))
}

fn is_of_kind(object: &Value, selected: &Gvk) -> bool {
    let gvk = Gvk::of(object);
    // Which Endpoints are placed depends on the Services beside them.
    (gvk.group == selected.group && gvk.kind == selected.kind)
        || (gvk.is("", "Service") && selected.is("", "Endpoints"))
}

fn has_labels(selector: &ResourceSelectorTerm, object: &Value) -> bool {
    let labels = selector.label_selector.as_ref();
    labels.is_none_or(|labels| selector::matches_by(labels, |key| object::label(object, key)))
}

/// What is new about a member, as far as it can change where placements go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// Facts that policies may ask for. Most of them concern nobody: what is available on a member changes with every
    /// pod.
    Facts {
        /// Properties that appeared, went or changed.
        properties: BTreeSet<String>,
        /// Its resources changed.
        resources: bool,
        /// Its namespaces changed.
        namespaces: bool,
    },
    /// What every policy looks at.
    Member,
}

/// Returns what is new about a member. A heartbeat is nothing; neither is losing a label, but gaining one is something, and
/// the two look alike.
pub fn news(before: Option<&MemberCluster>, after: &MemberCluster, now: Timestamp) -> News {
    // A member that leaves keeps what it has until it is gone.
    if after.metadata.deletion_timestamp.is_some() {
        return News::None;
    }
    let Some(before) = before else { return News::Member };
    if before.metadata.labels != after.metadata.labels
        || lost_taint(&before.spec.taints, &after.spec.taints)
        || (check_eligibility(before, now).is_err() && check_eligibility(after, now).is_ok())
    {
        return News::Member;
    }
    let (before, after) = (facts(before), facts(after));
    if before == after {
        return News::None;
    }
    let names = before.properties.keys().chain(after.properties.keys());
    let changed = names.filter(|name| before.properties.get(*name) != after.properties.get(*name));
    News::Facts {
        properties: changed.map(|name| (*name).to_owned()).collect(),
        resources: before.resources != after.resources,
        namespaces: before.namespaces != after.namespaces,
    }
}

fn lost_taint(before: &[Taint], after: &[Taint]) -> bool {
    before.iter().any(|taint| !after.contains(taint))
}

/// What schedulers look at, without the times at which it was observed.
#[derive(Default, PartialEq)]
struct Facts<'a> {
    properties: BTreeMap<&'a str, &'a str>,
    namespaces: Option<&'a BTreeMap<String, String>>,
    resources: Option<[&'a BTreeMap<String, Quantity>; 3]>,
}

fn facts(member: &MemberCluster) -> Facts<'_> {
    let Some(status) = &member.status else { return Facts::default() };
    let properties = status.properties.iter();
    let usage = status.resource_usage.as_ref();
    let resources = usage.map(|usage| [&usage.capacity, &usage.allocatable, &usage.available]);
    Facts {
        properties: properties.map(|(name, fact)| (name.as_str(), fact.value.as_str())).collect(),
        namespaces: status.namespaces.as_ref(),
        resources,
    }
}

/// A placement, as far as news of a member can concern it.
#[derive(Clone, Copy, Debug)]
pub struct Placement<'a> {
    /// Its kind.
    pub kind: &'a str,
    /// Whether it is in a namespace.
    pub namespaced: bool,
    /// Its generation.
    pub generation: i64,
    /// Its spec.
    pub spec: &'a PlacementSpec,
    /// Its status.
    pub status: Option<&'a PlacementStatus>,
}

impl Placement<'_> {
    /// Returns whether it is to be scheduled again when a member has news: if its policy looks at them, PickAll always and
    /// others while they lack clusters.
    pub fn wants(&self, news: &News) -> bool {
        let policy = self.spec.policy.as_ref();
        let is_asked_for = match news {
            News::None => false,
            News::Member => true,
            News::Facts { properties, resources, namespaces } => {
                let asked = policy.into_iter().flat_map(properties_of).any(|name| {
                    properties.contains(name)
                        || (*resources && name.starts_with(property::RESOURCE_PREFIX))
                });
                asked || (*namespaces && self.namespaced)
            }
        };
        is_asked_for && self.lacks_clusters()
    }

    fn lacks_clusters(&self) -> bool {
        let picks = self.spec.policy.as_ref().map_or(PlacementType::PickAll, |p| p.placement_type);
        let scheduled = type_::of_kind(self.kind, type_::SCHEDULED);
        match picks {
            PlacementType::PickAll => true,
            PlacementType::PickFixed | PlacementType::PickN => self
                .status
                .is_none_or(|status| !is_true(&status.conditions, &scheduled, self.generation)),
        }
    }
}

/// Returns the properties that a policy asks for.
fn properties_of(policy: &PlacementPolicy) -> impl Iterator<Item = &str> {
    let affinity = policy.affinity.as_ref().and_then(|affinity| affinity.cluster_affinity.as_ref());
    let terms = affinity.into_iter().flat_map(|affinity| {
        let required = &affinity.required_during_scheduling_ignored_during_execution;
        let preferred = &affinity.preferred_during_scheduling_ignored_during_execution;
        let required = required.iter().flat_map(|required| &required.cluster_selector_terms);
        required.chain(preferred.iter().map(|preferred| &preferred.preference))
    });
    terms.flat_map(|term| {
        let selected = term.property_selector.iter().flat_map(|found| &found.match_expressions);
        let sorted = term.property_sorter.iter().map(|sorter| sorter.name.as_str());
        selected.map(|requirement| requirement.name.as_str()).chain(sorted)
    })
}

#[cfg(test)]
mod tests;
