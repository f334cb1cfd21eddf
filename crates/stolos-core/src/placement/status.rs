//! How far a placement got, from what the scheduler decided and what its bindings report.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::placement::names::{condition as type_, event, reason};
use stolos_api::placement::{
    ApplyStrategyType, BindingState, ClusterDecision, PerClusterPlacementStatus, PlacementPolicy,
    PlacementSpec, PlacementStatus, PlacementType, ResourceBindingSpec, ResourceBindingStatus,
    ResourceIdentifier, RolloutStrategyType, SchedulingPolicySnapshotStatus,
};

use super::condition::{Builder, Status, find, find_current, is_true, upsert};
use super::scheduler::MAX_DECISIONS;

mod cluster;
#[cfg(test)]
mod tests;

/// Everything that the status of a placement depends on.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// Kind of the placement; its condition types begin with it.
    pub kind: &'a str,
    /// Generation of the placement.
    pub generation: i64,
    /// Spec of the placement.
    pub spec: &'a PlacementSpec,
    /// Status of the placement so far.
    pub previous: &'a PlacementStatus,
    /// The latest policy snapshot.
    pub policy_snapshot: PolicySnapshot<'a>,
    /// The bindings of the placement, in any order.
    pub bindings: &'a [Binding<'a>],
    /// Index of the resource group in force. A placement with strategy External may have none.
    pub latest_index: Option<&'a str>,
    /// The resource groups that exist, by the name of their master.
    pub groups: &'a BTreeMap<String, Group>,
    /// The present moment.
    pub now: Timestamp,
}

/// A policy snapshot as the scheduler left it.
#[derive(Clone, Copy, Debug)]
pub struct PolicySnapshot<'a> {
    /// Name of the object.
    pub name: &'a str,
    /// Generation of the object.
    pub generation: i64,
    /// Decisions of the scheduler, if there are any yet.
    pub status: Option<&'a SchedulingPolicySnapshotStatus>,
}

/// A binding.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// Generation of the object.
    pub generation: i64,
    /// It is being deleted.
    pub deleting: bool,
    /// Its spec.
    pub spec: &'a ResourceBindingSpec,
    /// Its status, if it has one yet.
    pub status: Option<&'a ResourceBindingStatus>,
}

/// A group of resource snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Its index.
    pub index: String,
    /// The objects in it.
    pub resources: Vec<ResourceIdentifier>,
}

/// A step from scheduling to the end, with its reasons on a placement.
struct Step {
    type_: &'static str,
    holds: &'static str,
    fails: &'static str,
    unknown: &'static str,
    /// Begins the message "… on N of M selected clusters".
    done: &'static str,
    event: Option<&'static str>,
}

const ROLLOUT_STARTED: Step = Step {
    type_: type_::ROLLOUT_STARTED,
    holds: reason::ROLLOUT_STARTED,
    fails: reason::ROLLOUT_NOT_STARTED_YET,
    unknown: reason::ROLLOUT_STARTED_UNKNOWN,
    done: "the rollout started",
    event: Some(event::ROLLOUT_STARTED),
};

const OVERRIDDEN: Step = Step {
    type_: type_::OVERRIDDEN,
    holds: reason::OVERRIDDEN_SUCCEEDED,
    fails: reason::OVERRIDDEN_FAILED,
    unknown: reason::OVERRIDDEN_PENDING,
    done: "overrides are applied",
    event: Some(event::OVERRIDDEN_SUCCEEDED),
};

const WORK_SYNCHRONIZED: Step = Step {
    type_: type_::WORK_SYNCHRONIZED,
    holds: reason::WORK_SYNCHRONIZED,
    fails: reason::WORK_NOT_SYNCHRONIZED_YET,
    unknown: reason::WORK_SYNCHRONIZED_UNKNOWN,
    done: "works are written",
    event: Some(event::WORK_SYNCHRONIZED),
};

const APPLIED: Step = Step {
    type_: type_::APPLIED,
    holds: reason::APPLY_SUCCEEDED,
    fails: reason::APPLY_FAILED,
    unknown: reason::APPLY_PENDING,
    done: "resources are applied",
    event: Some(event::APPLIED),
};

const AVAILABLE: Step = Step {
    type_: type_::AVAILABLE,
    holds: reason::RESOURCE_AVAILABLE,
    fails: reason::RESOURCE_NOT_AVAILABLE_YET,
    unknown: reason::RESOURCE_AVAILABLE_UNKNOWN,
    done: "resources are available",
    event: Some(event::AVAILABLE),
};

const DIFF_REPORTED: Step = Step {
    type_: type_::DIFF_REPORTED,
    holds: reason::DIFF_REPORTING_COMPLETED,
    fails: reason::DIFF_REPORTING_INCOMPLETE_OR_FAILED,
    unknown: reason::DIFF_REPORTING_PENDING,
    done: "differences are reported",
    event: None,
};

/// Returns the steps that a placement goes through, in order.
fn expected_steps(spec: &PlacementSpec) -> &'static [Step] {
    let strategy = spec.strategy.as_ref();
    let apply = strategy.and_then(|strategy| strategy.apply_strategy.as_ref());
    match apply.map(|apply| apply.type_).unwrap_or_default() {
        ApplyStrategyType::ClientSideApply | ApplyStrategyType::ServerSideApply => {
            &[ROLLOUT_STARTED, OVERRIDDEN, WORK_SYNCHRONIZED, APPLIED, AVAILABLE]
        }
        ApplyStrategyType::ReportDiff => {
            &[ROLLOUT_STARTED, OVERRIDDEN, WORK_SYNCHRONIZED, DIFF_REPORTED]
        }
    }
}

fn is_external(spec: &PlacementSpec) -> bool {
    spec.strategy.as_ref().is_some_and(|strategy| strategy.type_ == RolloutStrategyType::External)
}

/// Returns the status of a placement.
pub fn aggregate(observed: &Observed<'_>) -> PlacementStatus {
    let latest = observed
        .latest_index
        .and_then(|index| observed.groups.values().find(|group| group.index == index));
    let mut status = PlacementStatus {
        selected_resources: latest.map(|group| group.resources.clone()).unwrap_or_default(),
        observed_resource_index: observed.latest_index.unwrap_or_default().to_owned(),
        per_cluster_placement_statuses: Vec::new(),
        conditions: observed.previous.conditions.clone(),
    };
    let scheduled = scheduled(observed);
    let is_known = Status::of(&scheduled) != Status::Unknown;
    upsert(&mut status.conditions, scheduled);
    if is_known {
        let clusters = cluster::statuses(observed);
        let conditions = conditions_of(observed, &clusters, &mut status);
        let wanted: Vec<_> = conditions.iter().map(|condition| condition.type_.clone()).collect();
        let keep = [type_::SCHEDULED, type_::STATUS_SYNCED]
            .map(|type_| type_::of_kind(observed.kind, type_));
        status.conditions.retain(|condition| {
            keep.contains(&condition.type_) || wanted.contains(&condition.type_)
        });
        for condition in conditions {
            upsert(&mut status.conditions, condition);
        }
        status.per_cluster_placement_statuses = clusters;
    }
    status
}

/// Returns the status of a placement whose selectors cannot be used. All else stays as it was.
pub fn with_invalid_selectors(
    kind: &str,
    generation: i64,
    previous: &PlacementStatus,
    problem: &str,
    now: Timestamp,
) -> PlacementStatus {
    let mut status = previous.clone();
    let condition = Builder { previous: &previous.conditions, generation, now }.condition(
        &type_::of_kind(kind, type_::SCHEDULED),
        Status::False,
        reason::INVALID_RESOURCE_SELECTORS,
        format!("The resource selectors are invalid: {problem}"),
    );
    upsert(&mut status.conditions, condition);
    status
}

/// Returns whether everything that a placement asks for has been done for this generation.
pub fn is_complete(
    kind: &str,
    generation: i64,
    spec: &PlacementSpec,
    status: &PlacementStatus,
) -> bool {
    let holds = |step: &str| is_true(&status.conditions, &type_::of_kind(kind, step), generation);
    holds(type_::SCHEDULED) && expected_steps(spec).iter().all(|step| holds(step.type_))
}

/// How far a placement got, in one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Type of the first condition that is not True, or `Completed`.
    pub type_: String,
    /// Its status; `nil` if it is not about this generation.
    pub status: String,
    /// Its reason; `nil` if it is not about this generation.
    pub reason: String,
}

/// Returns how far a placement got.
pub fn progress(
    kind: &str,
    generation: i64,
    spec: &PlacementSpec,
    conditions: &[Condition],
) -> Progress {
    let steps = expected_steps(spec).iter().map(|step| step.type_);
    for step in [type_::SCHEDULED].into_iter().chain(steps) {
        let type_ = type_::of_kind(kind, step);
        let (status, reason) = match find_current(conditions, &type_, generation) {
            Some(found) if Status::of(found) == Status::True => continue,
            Some(found) => (found.status.clone(), found.reason.clone()),
            None => ("nil".to_owned(), "nil".to_owned()),
        };
        return Progress { type_, status, reason };
    }
    let completed = "Completed".to_owned();
    Progress { type_: completed.clone(), status: "True".to_owned(), reason: completed }
}

/// An event to write about a placement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Reason of the event.
    pub reason: &'static str,
    /// Text of the event.
    pub message: String,
}

/// Returns the events that a change of status deserves: one for each step that became done, and one
/// when all are.
pub fn events(
    kind: &str,
    generation: i64,
    spec: &PlacementSpec,
    previous: &PlacementStatus,
    status: &PlacementStatus,
) -> Vec<Event> {
    let step_event = |step: &Step| {
        let type_ = type_::of_kind(kind, step.type_);
        let became_true = is_true(&status.conditions, &type_, generation)
            && !is_true(&previous.conditions, &type_, generation);
        let message = find(&status.conditions, &type_)?.message.clone();
        became_true.then_some(Event { reason: step.event?, message })
    };
    let mut events: Vec<_> = expected_steps(spec).iter().filter_map(step_event).collect();
    if is_complete(kind, generation, spec, status) && !is_complete(kind, generation, spec, previous)
    {
        let message = "Resources are placed on all selected clusters".to_owned();
        events.push(Event { reason: event::ROLLOUT_COMPLETED, message });
    }
    events
}

fn builder<'a>(observed: &Observed<'a>) -> Builder<'a> {
    Builder {
        previous: &observed.previous.conditions,
        generation: observed.generation,
        now: observed.now,
    }
}

/// Returns the placement's own Scheduled condition.
fn scheduled(observed: &Observed<'_>) -> Condition {
    let type_ = type_::of_kind(observed.kind, type_::SCHEDULED);
    let snapshot = observed.policy_snapshot;
    let decided = snapshot
        .status
        .filter(|status| status.observed_crp_generation >= observed.generation)
        .and_then(|status| find_current(&status.conditions, type_::SCHEDULED, snapshot.generation))
        .filter(|condition| Status::of(condition) != Status::Unknown);
    match decided {
        Some(decided) => builder(observed).condition(
            &type_,
            Status::of(decided),
            &decided.reason,
            decided.message.clone(),
        ),
        None => builder(observed).condition(
            &type_,
            Status::Unknown,
            reason::SCHEDULE_PENDING,
            "The scheduler has not decided on this generation yet",
        ),
    }
}

/// Returns the decisions on selected clusters and on others.
fn decisions<'a>(observed: &Observed<'a>) -> (Vec<&'a ClusterDecision>, Vec<&'a ClusterDecision>) {
    let decisions = observed.policy_snapshot.status.map(|status| &status.target_clusters);
    let (mut selected, others): (Vec<_>, Vec<_>) =
        decisions.into_iter().flatten().partition(|decision| decision.selected);
    if selected.len() >= MAX_DECISIONS {
        selected.extend(unlisted(observed, &selected));
    }
    (selected, others)
}

/// Returns the decisions that have no room in the policy snapshot. The bindings carry them too.
fn unlisted<'a>(observed: &Observed<'a>, listed: &[&ClusterDecision]) -> Vec<&'a ClusterDecision> {
    let listed: BTreeSet<&str> =
        listed.iter().map(|decision| decision.cluster_name.as_str()).collect();
    let is_picked = |binding: &&Binding<'_>| {
        !binding.deleting
            && binding.spec.state != BindingState::Unscheduled
            && binding.spec.scheduling_policy_snapshot_name == observed.policy_snapshot.name
            && !listed.contains(binding.spec.target_cluster.as_str())
    };
    let picked = observed.bindings.iter().filter(is_picked);
    let mut unlisted: Vec<_> = picked.map(|binding| &binding.spec.cluster_decision).collect();
    unlisted.sort_by(|a, b| a.cluster_name.cmp(&b.cluster_name));
    unlisted
}

/// Returns how many clusters the policy asks for beyond those that were selected.
fn n_missing(policy: Option<&PlacementPolicy>, n_selected: usize) -> usize {
    let n_wanted = policy.map_or(0, |policy| match policy.placement_type {
        PlacementType::PickAll => 0,
        PlacementType::PickN => {
            policy.number_of_clusters.and_then(|n| usize::try_from(n).ok()).unwrap_or(0)
        }
        PlacementType::PickFixed => policy.cluster_names.len(),
    });
    n_wanted.saturating_sub(n_selected)
}

/// Returns the placement's own conditions after Scheduled, up to the first that does not hold.
fn conditions_of(
    observed: &Observed<'_>,
    clusters: &[PerClusterPlacementStatus],
    status: &mut PlacementStatus,
) -> Vec<Condition> {
    let selected: Vec<_> =
        clusters.iter().filter(|cluster| !cluster.cluster_name.is_empty()).collect();
    if selected.is_empty() {
        return Vec::new();
    }
    if is_external(observed.spec)
        && let Some(waiting) = external(observed, &selected, status)
    {
        return vec![waiting];
    }
    let mut conditions = Vec::new();
    for step in expected_steps(observed.spec) {
        let condition = total(observed, step, &selected);
        let holds = Status::of(&condition) == Status::True;
        conditions.push(condition);
        if !holds {
            break;
        }
    }
    conditions
}

/// Returns one condition over all selected clusters: Unknown outweighs False, False outweighs True. Where nothing has failed,
/// a member that is not through with the newest manifests leaves the outcome unknown.
fn total(
    observed: &Observed<'_>,
    step: &Step,
    clusters: &[&PerClusterPlacementStatus],
) -> Condition {
    let found: Vec<_> = clusters
        .iter()
        .filter_map(|cluster| find_current(&cluster.conditions, step.type_, observed.generation))
        .collect();
    let count = |status| found.iter().filter(|found| Status::of(found) == status).count();
    let (n_true, n_false) = (count(Status::True), count(Status::False));
    let n_clusters = clusters.len();
    let n_under_way = found.iter().filter(|found| is_under_way(found)).count();
    let is_open = n_true + n_false < n_clusters || (n_under_way > 0 && n_under_way == n_false);
    let (status, reason) = if is_open {
        (Status::Unknown, step.unknown)
    } else if n_false > 0 {
        (Status::False, step.fails)
    } else if step.type_ == type_::OVERRIDDEN && clusters.iter().all(|c| !has_overrides(c)) {
        (Status::True, reason::NO_OVERRIDE_SPECIFIED)
    } else {
        (Status::True, step.holds)
    };
    let message = format!("{} on {n_true} of {n_clusters} selected clusters", step.done);
    let type_ = type_::of_kind(observed.kind, step.type_);
    builder(observed).condition(&type_, status, reason, message)
}

/// Tells whether a condition does not hold only because a member is still at it.
fn is_under_way(condition: &Condition) -> bool {
    let reasons = [reason::APPLY_IN_PROGRESS, reason::DIFF_REPORT_IN_PROGRESS];
    Status::of(condition) == Status::False && reasons.contains(&condition.reason.as_str())
}

fn has_overrides(cluster: &PerClusterPlacementStatus) -> bool {
    !cluster.applicable_resource_overrides.is_empty()
        || !cluster.applicable_cluster_resource_overrides.is_empty()
}

/// Under strategy External, makes the status describe the one group that all clusters are at, or
/// returns the condition that says that they are not.
fn external(
    observed: &Observed<'_>,
    clusters: &[&PerClusterPlacementStatus],
    status: &mut PlacementStatus,
) -> Option<Condition> {
    let index = &clusters[0].observed_resource_index;
    let agree = !index.is_empty()
        && clusters.iter().all(|cluster| cluster.observed_resource_index == *index);
    let group = observed.groups.values().find(|group| group.index == *index);
    let group = group.filter(|_| agree);
    status.observed_resource_index = group.map(|group| group.index.clone()).unwrap_or_default();
    status.selected_resources = group.map(|group| group.resources.clone()).unwrap_or_default();
    let started = clusters.iter().filter(|cluster| {
        find_current(&cluster.conditions, type_::ROLLOUT_STARTED, observed.generation)
            .is_some_and(|condition| Status::of(condition) != Status::Unknown)
    });
    let n_started = started.count();
    (!agree || n_started < clusters.len()).then(|| {
        let message = if agree {
            format!("{n_started} of {} selected clusters know their snapshot", clusters.len())
        } else {
            "selected clusters are at different resource snapshots, or at none".to_owned()
        };
        builder(observed).condition(
            &type_::of_kind(observed.kind, type_::ROLLOUT_STARTED),
            Status::Unknown,
            reason::ROLLOUT_CONTROLLED_BY_EXTERNAL_CONTROLLER,
            message,
        )
    })
}
