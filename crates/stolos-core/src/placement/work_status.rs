//! How far a binding got, from what the member reports about its Works.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use stolos_api::placement::names::{condition as type_, label, reason, work_reason};
use stolos_api::placement::{
    ApplyStrategy, ApplyStrategyType, DiffedResourcePlacement, DriftedResourcePlacement,
    EnvelopeIdentifier, EnvelopeType, FailedResourcePlacement, ManifestCondition,
    ResourceBindingSpec, ResourceBindingStatus, ResourceIdentifier, Work,
};

use super::condition::{Builder, Status, find, find_current};

#[cfg(test)]
mod tests;

/// Most entries of each list of objects (CRD).
const MAX_ENTRIES: usize = 100;

/// Most names in a message; the rest is only counted.
const MAX_NAMES: usize = 3;

/// What became of writing the Works of a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An override could not be applied.
    OverrideFailed(String),
    /// A Work could not be written, or the objects for it could not be read.
    Failed(String),
    /// Works were written in this pass; the member cannot have applied them yet.
    Written,
    /// Every Work already was as it should be.
    Unchanged,
}

/// Everything that the status of a binding depends on.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// Generation of the binding.
    pub generation: i64,
    /// Spec of the binding.
    pub spec: &'a ResourceBindingSpec,
    /// Status of the binding so far.
    pub previous: &'a ResourceBindingStatus,
    /// What became of writing its Works.
    pub outcome: &'a Outcome,
    /// Its Works.
    pub works: &'a [&'a Work],
    /// The present moment.
    pub now: Timestamp,
}

/// Returns what became of writing Works that need no writing: until the member has reported on each as it is, they count as
/// just written. A member that is slow, or away, has not failed.
pub fn outcome(works: &[&Work], strategy: Option<&ApplyStrategy>) -> Outcome {
    let compares_only =
        strategy.is_some_and(|strategy| strategy.type_ == ApplyStrategyType::ReportDiff);
    let wanted = if compares_only { type_::DIFF_REPORTED } else { type_::APPLIED };
    let is_reported = |work: &&Work| reported(work, wanted).is_some();
    if works.iter().all(is_reported) { Outcome::Unchanged } else { Outcome::Written }
}

/// Returns the status of a binding. All but RolloutStarted is decided afresh.
pub fn aggregate(observed: &Observed<'_>) -> ResourceBindingStatus {
    let started = find(&observed.previous.conditions, type_::ROLLOUT_STARTED).cloned();
    let mut status = ResourceBindingStatus {
        conditions: started.into_iter().collect(),
        ..ResourceBindingStatus::default()
    };
    let build = Builder {
        previous: &observed.previous.conditions,
        generation: observed.generation,
        now: observed.now,
    };
    if let Outcome::OverrideFailed(message) = observed.outcome {
        let failed = reason::OVERRIDDEN_FAILED;
        status.conditions.push(build.condition(type_::OVERRIDDEN, Status::False, failed, message));
        return status;
    }
    status.conditions.push(overridden(&build, observed.spec));
    if let Outcome::Failed(message) = observed.outcome {
        let failed = reason::SYNC_WORK_FAILED;
        status.conditions.push(build.condition(
            type_::WORK_SYNCHRONIZED,
            Status::False,
            failed,
            message,
        ));
        return status;
    }
    status.conditions.push(build.condition(
        type_::WORK_SYNCHRONIZED,
        Status::True,
        reason::ALL_WORK_SYNCED,
        "All works are written",
    ));
    let strategy = observed.spec.apply_strategy.as_ref();
    let compares_only =
        strategy.is_some_and(|strategy| strategy.type_ == ApplyStrategyType::ReportDiff);
    match (observed.outcome, compares_only) {
        (Outcome::Written, _) => status.conditions.push(in_progress(&build, compares_only)),
        (_, true) => report_diff(&mut status, &build, observed.works),
        (_, false) => report_apply(&mut status, &build, observed.works),
    }
    status
}

fn overridden(build: &Builder<'_>, spec: &ResourceBindingSpec) -> Condition {
    let n_overrides =
        spec.resource_override_snapshots.len() + spec.cluster_resource_override_snapshots.len();
    let (reason, message) = if n_overrides == 0 {
        (reason::NO_OVERRIDE_SPECIFIED, "No override applies to this cluster".to_owned())
    } else {
        (reason::OVERRIDDEN_SUCCEEDED, format!("{n_overrides} overrides are applied"))
    };
    build.condition(type_::OVERRIDDEN, Status::True, reason, message)
}

fn in_progress(build: &Builder<'_>, compares_only: bool) -> Condition {
    let (type_, reason, message) = if compares_only {
        (
            type_::DIFF_REPORTED,
            reason::DIFF_REPORT_IN_PROGRESS,
            "The works were just written; the member has not compared them yet",
        )
    } else {
        (
            type_::APPLIED,
            reason::APPLY_IN_PROGRESS,
            "The works were just written; the member has not applied them yet",
        )
    };
    build.condition(type_, Status::False, reason, message)
}

/// What all Works together say about one condition.
enum Total {
    /// The member has not reported on this generation of some.
    Missing(Vec<String>),
    /// It does not hold for some.
    Fails(Vec<String>),
    /// It holds for all.
    Holds,
}

fn total(works: &[&Work], type_: &str) -> Total {
    let status = |work: &Work| reported(work, type_).map(Status::of);
    let named = |wanted: fn(Option<Status>) -> bool| -> Vec<String> {
        let found = works.iter().filter(|work| wanted(status(work)));
        found.filter_map(|work| work.metadata.name.clone()).collect()
    };
    let missing = named(|status| status.is_none());
    let failing = named(|status| status != Some(Status::True));
    if !missing.is_empty() {
        Total::Missing(missing)
    } else if !failing.is_empty() {
        Total::Fails(failing)
    } else {
        Total::Holds
    }
}

/// Returns a condition of a Work if it is about the Work as it is.
fn reported<'a>(work: &'a Work, type_: &str) -> Option<&'a Condition> {
    let conditions = &work.status.as_ref()?.conditions;
    find_current(conditions, type_, work.metadata.generation?)
}

fn report_apply(status: &mut ResourceBindingStatus, build: &Builder<'_>, works: &[&Work]) {
    let not_applied = reason::NOT_ALL_WORK_HAVE_BEEN_APPLIED;
    let applied = total(works, type_::APPLIED);
    let is_informed = !matches!(applied, Total::Missing(_));
    match &applied {
        Total::Missing(names) => status.conditions.push(build.condition(
            type_::APPLIED,
            Status::False,
            not_applied,
            format!("{} has not yet completed the apply op", list(names)),
        )),
        Total::Fails(names) => {
            status.conditions.push(build.condition(
                type_::APPLIED,
                Status::False,
                not_applied,
                format!("The member could not apply all of {}", list(names)),
            ));
            status.failed_placements = failed(works);
            status.diffed_placements = diffed(works);
        }
        Total::Holds => {
            status.conditions.push(build.condition(
                type_::APPLIED,
                Status::True,
                reason::ALL_WORK_HAVE_BEEN_APPLIED,
                "The member applied all works",
            ));
            report_availability(status, build, works);
        }
    }
    if is_informed {
        status.drifted_placements = drifted(works);
    }
}

fn report_availability(status: &mut ResourceBindingStatus, build: &Builder<'_>, works: &[&Work]) {
    let not_available = reason::NOT_ALL_WORK_ARE_AVAILABLE;
    let (holds, reason, message) = match total(works, type_::AVAILABLE) {
        Total::Missing(names) => (
            Status::False,
            not_available,
            format!("It is not known yet whether {} is available", list(&names)),
        ),
        Total::Fails(names) => {
            status.failed_placements = failed(works);
            (Status::False, not_available, format!("Not all of {} is available", list(&names)))
        }
        Total::Holds if works.iter().any(|work| is_untrackable(work)) => (
            Status::True,
            reason::NOT_ALL_WORK_ARE_AVAILABILITY_TRACKABLE,
            "All works are available, as far as that can be observed".to_owned(),
        ),
        Total::Holds => {
            let message = "All works are available".to_owned();
            (Status::True, reason::ALL_WORK_ARE_AVAILABLE, message)
        }
    };
    status.conditions.push(build.condition(type_::AVAILABLE, holds, reason, message));
}

fn is_untrackable(work: &Work) -> bool {
    reported(work, type_::AVAILABLE)
        .is_some_and(|available| available.reason == work_reason::WORK_NOT_TRACKABLE)
}

fn report_diff(status: &mut ResourceBindingStatus, build: &Builder<'_>, works: &[&Work]) {
    let not_reported = reason::NOT_ALL_WORK_HAVE_DIFF_REPORTED;
    let (holds, reason, message) = match total(works, type_::DIFF_REPORTED) {
        Total::Missing(names) => {
            (Status::False, not_reported, format!("{} is not compared yet", list(&names)))
        }
        Total::Fails(names) => (
            Status::False,
            not_reported,
            format!("The member could not compare all of {}", list(&names)),
        ),
        Total::Holds => {
            status.diffed_placements = diffed(works);
            let message = "The member compared all works".to_owned();
            (Status::True, reason::ALL_WORK_HAVE_DIFF_REPORTED, message)
        }
    };
    status.conditions.push(build.condition(type_::DIFF_REPORTED, holds, reason, message));
}

/// Names the Works in a message.
fn list(names: &[String]) -> String {
    let mut sorted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    sorted.sort();
    let n_more = sorted.len().saturating_sub(MAX_NAMES);
    sorted.truncate(MAX_NAMES);
    let shown = sorted.join(", ");
    if n_more == 0 { format!("work {shown}") } else { format!("work {shown} and {n_more} more") }
}

/// Every manifest with the Work that it is from, by name of the Work.
fn manifests<'a>(works: &[&'a Work]) -> impl Iterator<Item = (&'a Work, &'a ManifestCondition)> {
    let mut works = works.to_vec();
    works.sort_by_key(|work| work.metadata.name.as_deref());
    works.into_iter().flat_map(|work| {
        let conditions = work.status.as_ref().map(|status| status.manifest_conditions.as_slice());
        conditions.unwrap_or_default().iter().map(move |manifest| (work, manifest))
    })
}

fn failed(works: &[&Work]) -> Vec<FailedResourcePlacement> {
    let failing = |manifest: &ManifestCondition| {
        let fails = |type_: &str| {
            find(&manifest.conditions, type_).filter(|c| Status::of(c) == Status::False)
        };
        fails(type_::APPLIED).or_else(|| fails(type_::AVAILABLE)).cloned()
    };
    manifests(works)
        .filter_map(|(work, manifest)| {
            let resource = identifier(work, manifest);
            Some(FailedResourcePlacement { resource, condition: failing(manifest)? })
        })
        .take(MAX_ENTRIES)
        .collect()
}

fn drifted(works: &[&Work]) -> Vec<DriftedResourcePlacement> {
    let mut drifted: Vec<_> = manifests(works)
        .filter_map(|(work, manifest)| {
            let details = manifest.drift_details.clone()?;
            Some(DriftedResourcePlacement {
                resource: identifier(work, manifest),
                observation_time: details.observation_time,
                target_cluster_observed_generation: details.observed_in_member_cluster_generation,
                first_drifted_observed_time: details.first_drifted_observed_time,
                observed_drifts: details.observed_drifts,
            })
        })
        .collect();
    drifted.sort_by(|left, right| left.resource.cmp(&right.resource));
    drifted.truncate(MAX_ENTRIES);
    drifted
}

fn diffed(works: &[&Work]) -> Vec<DiffedResourcePlacement> {
    let mut diffed: Vec<_> = manifests(works)
        .filter_map(|(work, manifest)| {
            let details = manifest.diff_details.clone()?;
            Some(DiffedResourcePlacement {
                resource: identifier(work, manifest),
                observation_time: details.observation_time,
                target_cluster_observed_generation: details.observed_in_member_cluster_generation,
                first_diffed_observed_time: details.first_diffed_observed_time,
                observed_diffs: details.observed_diffs,
            })
        })
        .collect();
    diffed.sort_by(|left, right| left.resource.cmp(&right.resource));
    diffed.truncate(MAX_ENTRIES);
    diffed
}

fn identifier(work: &Work, manifest: &ManifestCondition) -> ResourceIdentifier {
    let identifier = manifest.identifier.clone();
    ResourceIdentifier {
        group: identifier.group,
        version: identifier.version,
        kind: identifier.kind,
        name: identifier.name,
        namespace: identifier.namespace,
        envelope: envelope(work),
    }
}

fn envelope(work: &Work) -> Option<EnvelopeIdentifier> {
    let labels = work.metadata.labels.as_ref()?;
    let type_ = match labels.get(label::ENVELOPE_TYPE)?.as_str() {
        "ClusterResourceEnvelope" => EnvelopeType::ClusterResourceEnvelope,
        "ResourceEnvelope" => EnvelopeType::ResourceEnvelope,
        _ => return None,
    };
    Some(EnvelopeIdentifier {
        name: labels.get(label::ENVELOPE_NAME).cloned().unwrap_or_default(),
        namespace: labels.get(label::ENVELOPE_NAMESPACE).cloned().unwrap_or_default(),
        type_,
    })
}
