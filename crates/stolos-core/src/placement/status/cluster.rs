//! How far a placement got on each cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use std::collections::BTreeMap;

use stolos_api::placement::names::{condition as type_, reason};
use stolos_api::placement::{ClusterDecision, PerClusterPlacementStatus, ResourceBindingStatus};

use super::{Binding, Observed, Step, decisions, expected_steps, is_external, n_missing};
use crate::placement::condition::{Builder, Status, find_current};

/// Returns one entry per selected cluster, then one without a name per cluster that could not be
/// found.
pub(super) fn statuses(observed: &Observed<'_>) -> Vec<PerClusterPlacementStatus> {
    let (selected, others) = decisions(observed);
    let n_missing = n_missing(observed.spec.policy.as_ref(), selected.len());
    let bindings = by_cluster(observed);
    let previous = &observed.previous.per_cluster_placement_statuses;
    let previous: BTreeMap<&str, &PerClusterPlacementStatus> =
        previous.iter().map(|entry| (entry.cluster_name.as_str(), entry)).collect();
    let entries = selected.iter().map(|decision| {
        let name = decision.cluster_name.as_str();
        entry(observed, decision, bindings.get(name).copied(), previous.get(name).copied())
    });
    let missing = others.iter().take(n_missing).map(|decision| missing(observed, decision));
    entries.chain(missing).collect()
}

fn missing(observed: &Observed<'_>, decision: &ClusterDecision) -> PerClusterPlacementStatus {
    // Entries without a name cannot be told apart, so one with the same message is the same one.
    let previous = observed
        .previous
        .per_cluster_placement_statuses
        .iter()
        .filter(|entry| entry.cluster_name.is_empty())
        .find(|entry| entry.conditions.iter().any(|found| found.message == decision.reason));
    let build = builder(observed, previous);
    let message = decision.reason.clone();
    PerClusterPlacementStatus {
        conditions: vec![build.condition(
            type_::SCHEDULED,
            Status::False,
            reason::SCHEDULE_FAILED,
            message,
        )],
        ..PerClusterPlacementStatus::default()
    }
}

fn builder<'a>(
    observed: &Observed<'a>,
    previous: Option<&'a PerClusterPlacementStatus>,
) -> Builder<'a> {
    Builder {
        previous: previous.map(|entry| entry.conditions.as_slice()).unwrap_or_default(),
        generation: observed.generation,
        now: observed.now,
    }
}

/// Returns the live bindings that the policy in force has decided.
fn by_cluster<'a>(observed: &Observed<'a>) -> BTreeMap<&'a str, &'a Binding<'a>> {
    let policy = observed.policy_snapshot.name;
    let live = observed.bindings.iter().filter(|binding| {
        !binding.deleting && binding.spec.scheduling_policy_snapshot_name == policy
    });
    live.map(|binding| (binding.spec.target_cluster.as_str(), binding)).collect()
}

fn entry(
    observed: &Observed<'_>,
    decision: &ClusterDecision,
    binding: Option<&Binding<'_>>,
    previous: Option<&PerClusterPlacementStatus>,
) -> PerClusterPlacementStatus {
    let name = &decision.cluster_name;
    let build = builder(observed, previous);
    let mut entry = PerClusterPlacementStatus {
        cluster_name: name.clone(),
        conditions: vec![build.condition(
            type_::SCHEDULED,
            Status::True,
            reason::SCHEDULED,
            decision.reason.clone(),
        )],
        ..PerClusterPlacementStatus::default()
    };
    let external = is_external(observed.spec);
    if !external {
        observed.latest_index.unwrap_or_default().clone_into(&mut entry.observed_resource_index);
    }
    let Some(binding) = binding else {
        entry.conditions.push(build.condition(
            type_::ROLLOUT_STARTED,
            Status::Unknown,
            reason::ROLLOUT_STARTED_UNKNOWN,
            "Nothing is known about the rollout to this cluster yet",
        ));
        return entry;
    };
    let group = observed.groups.get(&binding.spec.resource_snapshot_name);
    let index = group.map(|group| group.index.as_str()).unwrap_or_default();
    if external {
        index.clone_into(&mut entry.observed_resource_index);
    } else if Some(index) != observed.latest_index {
        entry.conditions.push(waiting(&build, binding));
        return entry;
    }
    walk(&mut entry, expected_steps(observed.spec), &build, binding);
    entry
}

/// Returns the condition of a cluster that has not got the latest group.
fn waiting(build: &Builder<'_>, binding: &Binding<'_>) -> Condition {
    let conditions = binding.status.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let started = find_current(conditions, type_::ROLLOUT_STARTED, binding.generation);
    if started.is_some_and(|started| Status::of(started) == Status::False) {
        build.condition(
            type_::ROLLOUT_STARTED,
            Status::False,
            reason::ROLLOUT_NOT_STARTED_YET,
            "The latest resources wait for other clusters",
        )
    } else {
        build.condition(
            type_::ROLLOUT_STARTED,
            Status::Unknown,
            reason::ROLLOUT_STARTED_UNKNOWN,
            "It is not decided yet whether this cluster gets the latest resources",
        )
    }
}

/// Copies the steps that the binding reports, up to the first that does not hold.
fn walk(
    entry: &mut PerClusterPlacementStatus,
    steps: &[Step],
    build: &Builder<'_>,
    binding: &Binding<'_>,
) {
    let nothing = ResourceBindingStatus::default();
    let status = binding.status.unwrap_or(&nothing);
    for step in steps {
        let reported = find_current(&status.conditions, step.type_, binding.generation)
            .filter(|reported| Status::of(reported) != Status::Unknown);
        let Some(reported) = reported else {
            let message = format!("It is not known yet whether {}", step.done);
            let condition = build.condition(step.type_, Status::Unknown, step.unknown, message);
            entry.conditions.push(condition);
            return;
        };
        let holds = Status::of(reported);
        entry.conditions.push(build.condition(
            step.type_,
            holds,
            &reported.reason,
            reported.message.clone(),
        ));
        copy_details(entry, step.type_, holds, binding, status);
        if holds != Status::True {
            return;
        }
    }
}

fn copy_details(
    entry: &mut PerClusterPlacementStatus,
    step: &str,
    holds: Status,
    binding: &Binding<'_>,
    status: &ResourceBindingStatus,
) {
    match (step, holds) {
        (type_::ROLLOUT_STARTED, Status::True) => {
            let spec = binding.spec;
            entry.applicable_resource_overrides.clone_from(&spec.resource_override_snapshots);
            entry
                .applicable_cluster_resource_overrides
                .clone_from(&spec.cluster_resource_override_snapshots);
        }
        (type_::APPLIED | type_::AVAILABLE, _) => {
            if holds == Status::False {
                entry.failed_placements.clone_from(&status.failed_placements);
                entry.diffed_placements.clone_from(&status.diffed_placements);
            }
            entry.drifted_placements.clone_from(&status.drifted_placements);
        }
        (type_::DIFF_REPORTED, Status::True) => {
            entry.diffed_placements.clone_from(&status.diffed_placements);
        }
        _ => {}
    }
}
