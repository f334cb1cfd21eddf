//! Words for placements, used by every view of them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use serde_json::{Value, json};
use stolos_api::placement::names::condition as type_;
use stolos_api::placement::{
    ApplyStrategyType, ClusterResourcePlacement, PerClusterPlacementStatus, PlacementSpec,
    PlacementType, RolloutStrategyType,
};
use stolos_core::placement::condition::{Status, find_current};

use super::hub::{kind_of, name_of};
use crate::output;

/// Returns a placement's name, after its namespace if it has one.
pub(super) fn full_name(placement: &ClusterResourcePlacement) -> String {
    match &placement.metadata.namespace {
        None => name_of(placement).to_owned(),
        Some(namespace) => format!("{namespace}/{}", name_of(placement)),
    }
}

/// Returns how a placement picks clusters: `PickN 3`.
pub(super) fn policy(spec: &PlacementSpec) -> String {
    let Some(policy) = &spec.policy else { return "PickAll".to_owned() };
    match policy.placement_type {
        PlacementType::PickAll => "PickAll".to_owned(),
        PlacementType::PickN => format!("PickN {}", policy.number_of_clusters.unwrap_or(0)),
        PlacementType::PickFixed => format!("PickFixed {}", policy.cluster_names.len()),
    }
}

/// Returns how a placement replaces what is there.
pub(super) fn strategy(spec: &PlacementSpec) -> String {
    let strategy = spec.strategy.clone().unwrap_or_default();
    match strategy.type_ {
        RolloutStrategyType::External => "External: by staged update runs".to_owned(),
        RolloutStrategyType::RollingUpdate => {
            let limits = strategy.rolling_update.unwrap_or_default();
            let text = |limit| match limit {
                k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(n) => n.to_string(),
                k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String(text) => text,
            };
            format!(
                "RollingUpdate: at most {} unavailable, {} more than wanted",
                text(limits.max_unavailable),
                text(limits.max_surge)
            )
        }
    }
}

/// Returns the types of the conditions that a placement goes through, in order, without the prefix of its kind.
pub(super) fn steps(spec: &PlacementSpec) -> &'static [&'static str] {
    let strategy = spec.strategy.as_ref();
    let apply = strategy.and_then(|strategy| strategy.apply_strategy.as_ref());
    match apply.map(|apply| apply.type_).unwrap_or_default() {
        ApplyStrategyType::ClientSideApply | ApplyStrategyType::ServerSideApply => &[
            type_::SCHEDULED,
            type_::ROLLOUT_STARTED,
            type_::OVERRIDDEN,
            type_::WORK_SYNCHRONIZED,
            type_::APPLIED,
            type_::AVAILABLE,
        ],
        ApplyStrategyType::ReportDiff => &[
            type_::SCHEDULED,
            type_::ROLLOUT_STARTED,
            type_::OVERRIDDEN,
            type_::WORK_SYNCHRONIZED,
            type_::DIFF_REPORTED,
        ],
    }
}

/// Returns a condition of a placement that speaks of its present generation.
pub(super) fn condition<'a>(
    placement: &'a ClusterResourcePlacement,
    type_: &str,
) -> Option<&'a Condition> {
    let type_ = type_::of_kind(kind_of(placement), type_);
    let conditions = &placement.status.as_ref()?.conditions;
    find_current(conditions, &type_, placement.metadata.generation.unwrap_or_default())
}

/// Tells whether everything is in place, as the placement is now. One that needs no cluster is.
pub(super) fn is_complete(placement: &ClusterResourcePlacement) -> bool {
    let holds = |type_: &&str| {
        condition(placement, type_).is_some_and(|found| Status::of(found) == Status::True)
    };
    let needs_none = clusters(placement).next().is_none() && holds(&type_::SCHEDULED);
    needs_none || steps(&placement.spec).iter().all(holds)
}

/// Returns the state of a placement in a word or two: the first condition that does not hold.
pub(super) fn state(placement: &ClusterResourcePlacement) -> String {
    if placement.metadata.deletion_timestamp.is_some() {
        return "Deleting".to_owned();
    }
    if is_complete(placement) {
        return "Complete".to_owned();
    }
    for step in steps(&placement.spec) {
        match condition(placement, step) {
            Some(found) if Status::of(found) == Status::True => {}
            Some(found) => return found.reason.clone(),
            None => break,
        }
    }
    "Pending".to_owned()
}

/// Returns the clusters that were picked.
pub(super) fn clusters(
    placement: &ClusterResourcePlacement,
) -> impl Iterator<Item = &PerClusterPlacementStatus> {
    let all = placement.status.as_ref().map(|status| &status.per_cluster_placement_statuses);
    all.into_iter().flatten().filter(|cluster| !cluster.cluster_name.is_empty())
}

/// Tells whether a cluster is where it should be.
pub(super) fn is_done(spec: &PlacementSpec, cluster: &PerClusterPlacementStatus) -> bool {
    steps(spec).iter().all(|step| {
        cluster.conditions.iter().any(|found| found.type_ == *step && found.status == "True")
    })
}

/// Returns the first condition of a cluster that does not hold; the last one if all do.
pub(super) fn step_of<'a>(
    spec: &PlacementSpec,
    cluster: &'a PerClusterPlacementStatus,
) -> Option<&'a Condition> {
    let mut last = None;
    for step in steps(spec) {
        let Some(found) = cluster.conditions.iter().find(|found| found.type_ == *step) else {
            break;
        };
        last = Some(found);
        if found.status != "True" {
            break;
        }
    }
    last
}

/// Returns how old an object is.
pub(super) fn age(meta: &ObjectMeta, now: Timestamp) -> String {
    let created = meta.creation_timestamp.as_ref();
    created.map_or_else(|| "-".to_owned(), |time| output::age(time.0, now))
}

/// Returns a placement as people read it: under its own kind, without who set which field.
pub(super) fn readable(placement: &ClusterResourcePlacement) -> Value {
    let mut placement = placement.clone();
    placement.metadata.managed_fields = None;
    let mut value = json!(placement);
    value["kind"] = json!(kind_of(&placement));
    value
}

/// Returns texts in columns of a list, each cut to the room that its line has.
pub(super) fn wrapped(
    words: impl IntoIterator<Item = String>,
    indent: usize,
    width: usize,
) -> String {
    let mut lines = vec![String::new()];
    for word in words {
        let line = lines.last_mut().expect("there is a first line");
        let separator = if line.is_empty() { "" } else { ", " };
        if !line.is_empty() && indent + line.chars().count() + 2 + word.chars().count() > width {
            line.push(',');
            lines.push(word);
        } else {
            line.push_str(separator);
            line.push_str(&word);
        }
    }
    let margin = " ".repeat(indent);
    lines.iter().map(|line| format!("{margin}{line}")).collect::<Vec<_>>().join("\n")
}
