//! What the member agent reports about a Work.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Value, json};
use stolos_api::placement::names::{condition as type_, work_reason};
use stolos_api::placement::{
    ApplyStrategyType, BackReportedStatus, DiffDetails, DriftDetails, ManifestCondition,
    PatchDetail, Work, WorkResourceIdentifier, WorkStatus,
};

use super::Availability;
use crate::placement::condition::{Builder, Status};

#[cfg(test)]
mod tests;

/// Most bytes of a Work with its status; etcd takes 1.5 MiB.
const MAX_WORK: usize = 1_415_578;

/// How long an unchanged finding counts as last seen when it was noted. Writing the time of each look would make a busy
/// object on one member write on the hub.
const SAME_FINDING: SignedDuration = SignedDuration::from_secs(60);

/// How one manifest came out.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is applied.
    Applied(Applied),
    /// It is not.
    Failed {
        /// Condition reason.
        reason: &'static str,
        /// What is wrong.
        message: String,
        /// Generation of the object on the member; 0 when there is none.
        generation: i64,
        /// Why not.
        found: Found,
    },
    /// It was compared only, because the strategy says so.
    Compared {
        /// Generation of the object on the member; nothing when there is none.
        generation: Option<i64>,
        /// What differs.
        diffs: Vec<PatchDetail>,
        /// All fields were compared because the member refused to compare some.
        degraded: bool,
    },
    /// It should have been compared and was not.
    NotCompared {
        /// What is wrong.
        message: String,
        /// Generation of the object on the member; 0 when there is none.
        generation: i64,
    },
}

/// An applied object.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// Generation of the object on the member.
    pub generation: i64,
    /// Whether it serves.
    pub availability: Availability,
    /// What differs after it was applied, where all fields are compared.
    pub drifts: Vec<PatchDetail>,
    /// The object with its status alone, where that is wanted.
    pub status: Option<Value>,
}

/// What speaks against applying a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Found {
    /// Nothing in the object.
    #[default]
    Nothing,
    /// Somebody changed it since it was applied.
    Drifts(Vec<PatchDetail>),
    /// It differs from the manifest, and is not ours yet.
    Diffs(Vec<PatchDetail>),
}

/// A report about one manifest.
pub type Result = (WorkResourceIdentifier, Outcome);

/// Builds the status of a Work. Times of what did not change are taken from the status before.
#[must_use]
pub fn status(work: &Work, results: &[Result], now: Timestamp) -> WorkStatus {
    let before = work.status.as_ref();
    let generation = work.metadata.generation.unwrap_or(0);
    let previous = |identifier: &WorkResourceIdentifier| {
        let list = before.map_or(&[][..], |status| &status.manifest_conditions);
        list.iter().find(|manifest| same_object(&manifest.identifier, identifier))
    };
    let reported = results
        .iter()
        .map(|(identifier, outcome)| of_manifest(identifier, previous(identifier), outcome, now));
    let conditions = before.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let build = Builder { previous: conditions, generation, now };
    let strategy = work.spec.apply_strategy.as_ref();
    let compares_only =
        strategy.is_some_and(|strategy| strategy.type_ == ApplyStrategyType::ReportDiff);
    let mut status = WorkStatus {
        conditions: of_work(&build, results, compares_only),
        manifest_conditions: reported.collect(),
    };
    if size(work, &status) > MAX_WORK {
        status.manifest_conditions.iter_mut().for_each(trim);
        let message =
            "the details of differences were left out; they would make the work too large";
        let reason = work_reason::OVERSIZED;
        let trimmed = build.condition(type_::STATUS_TRIMMED, Status::True, reason, message);
        status.conditions.push(trimmed);
    }
    status
}

/// Tells whether two identifiers name one object, whatever their place in the Work.
#[must_use]
pub fn same_object(a: &WorkResourceIdentifier, b: &WorkResourceIdentifier) -> bool {
    (&a.group, &a.kind, &a.namespace, &a.name) == (&b.group, &b.kind, &b.namespace, &b.name)
}

fn of_manifest(
    identifier: &WorkResourceIdentifier,
    before: Option<&ManifestCondition>,
    outcome: &Outcome,
    now: Timestamp,
) -> ManifestCondition {
    let previous = before.map(|before| before.conditions.as_slice()).unwrap_or_default();
    let mut report =
        ManifestCondition { identifier: identifier.clone(), ..ManifestCondition::default() };
    let condition = |type_: &str, status, reason: &str, message: &str, generation| {
        Builder { previous, generation, now }.condition(type_, status, reason, message)
    };
    match outcome {
        Outcome::Applied(applied) => {
            let (reason, message) = (work_reason::APPLIED, "the manifest is applied");
            let (serves, why, text) = availability(applied.availability);
            report.conditions = vec![
                condition(type_::APPLIED, Status::True, reason, message, applied.generation),
                condition(type_::AVAILABLE, serves, why, text, applied.generation),
            ];
            report.drift_details = drift(before, &applied.drifts, applied.generation, now);
            report.back_reported_status = mirror(before, applied.status.as_ref(), now);
        }
        Outcome::Failed { reason, message, generation, found } => {
            report.conditions =
                vec![condition(type_::APPLIED, Status::False, reason, message, *generation)];
            match found {
                Found::Nothing => {}
                Found::Drifts(drifts) => {
                    report.drift_details = drift(before, drifts, *generation, now);
                }
                Found::Diffs(diffs) => {
                    report.diff_details = diff(before, diffs, Some(*generation), now);
                }
            }
        }
        Outcome::Compared { generation, diffs, degraded } => {
            let (reason, message) = match (diffs.is_empty(), degraded) {
                (true, _) => (work_reason::NO_DIFF_FOUND, "the object is as the manifest says"),
                (false, false) => (work_reason::FOUND_DIFF, "the object differs from the manifest"),
                (false, true) => (
                    work_reason::FOUND_DIFF_IN_DEGRADED_MODE,
                    "the object differs from the manifest; all fields were compared, because the member refused the manifest",
                ),
            };
            let generation = *generation;
            report.conditions = vec![condition(
                type_::DIFF_REPORTED,
                Status::True,
                reason,
                message,
                generation.unwrap_or(0),
            )];
            report.diff_details = diff(before, diffs, generation, now);
        }
        Outcome::NotCompared { message, generation } => {
            let reason = work_reason::FAILED_TO_REPORT_DIFF;
            report.conditions =
                vec![condition(type_::DIFF_REPORTED, Status::False, reason, message, *generation)];
        }
    }
    report
}

fn availability(availability: Availability) -> (Status, &'static str, &'static str) {
    match availability {
        Availability::Available => (Status::True, work_reason::AVAILABLE, "the object serves"),
        Availability::NotTrackable => (
            Status::True,
            work_reason::NOT_TRACKABLE,
            "nothing tells whether an object of this kind serves",
        ),
        Availability::NotYet => (
            Status::False,
            work_reason::MANIFEST_NOT_AVAILABLE_YET,
            "the object does not serve yet",
        ),
    }
}

/// Returns when a finding was last and first seen, given how it was reported before.
fn seen(before: Option<(&Time, &Time)>, is_same: bool, now: Timestamp) -> (Time, Time) {
    let Some((last, first)) = before else { return (Time(now), Time(now)) };
    let is_recent = now.duration_since(last.0) < SAME_FINDING;
    let last = if is_same && is_recent { last.clone() } else { Time(now) };
    (last, first.clone())
}

fn drift(
    before: Option<&ManifestCondition>,
    drifts: &[PatchDetail],
    generation: i64,
    now: Timestamp,
) -> Option<DriftDetails> {
    if drifts.is_empty() {
        return None;
    }
    let before = before.and_then(|before| before.drift_details.as_ref());
    let is_same = before.is_some_and(|before| {
        before.observed_drifts == drifts
            && before.observed_in_member_cluster_generation == generation
    });
    let times = before.map(|b| (&b.observation_time, &b.first_drifted_observed_time));
    let (observation_time, first_drifted_observed_time) = seen(times, is_same, now);
    Some(DriftDetails {
        observation_time,
        observed_in_member_cluster_generation: generation,
        first_drifted_observed_time,
        observed_drifts: drifts.to_vec(),
    })
}

fn diff(
    before: Option<&ManifestCondition>,
    diffs: &[PatchDetail],
    generation: Option<i64>,
    now: Timestamp,
) -> Option<DiffDetails> {
    if diffs.is_empty() {
        return None;
    }
    let before = before.and_then(|before| before.diff_details.as_ref());
    let is_same = before.is_some_and(|before| {
        before.observed_diffs == diffs && before.observed_in_member_cluster_generation == generation
    });
    let times = before.map(|b| (&b.observation_time, &b.first_diffed_observed_time));
    let (observation_time, first_diffed_observed_time) = seen(times, is_same, now);
    Some(DiffDetails {
        observation_time,
        observed_in_member_cluster_generation: generation,
        first_diffed_observed_time,
        observed_diffs: diffs.to_vec(),
    })
}

fn mirror(
    before: Option<&ManifestCondition>,
    observed: Option<&Value>,
    now: Timestamp,
) -> Option<BackReportedStatus> {
    let observed = observed?;
    let before = before.and_then(|before| before.back_reported_status.clone());
    before.filter(|before| before.observed_status == *observed).or_else(|| {
        Some(BackReportedStatus { observed_status: observed.clone(), observation_time: Time(now) })
    })
}

/// Returns an object with its status alone, as it comes back to the hub; nothing if it has none.
#[must_use]
pub fn status_of(live: &Value) -> Option<Value> {
    let status = live.get("status").filter(|status| !status.is_null())?;
    Some(json!({"apiVersion": live["apiVersion"], "kind": live["kind"], "status": status}))
}

fn of_work(build: &Builder<'_>, results: &[Result], compares_only: bool) -> Vec<Condition> {
    let count = |wanted: fn(&Outcome) -> bool| {
        results.iter().filter(|(_, outcome)| wanted(outcome)).count()
    };
    let n_all = results.len();
    if compares_only {
        let n_failed = count(|outcome| matches!(outcome, Outcome::NotCompared { .. }));
        return vec![compared(build, n_failed, n_all)];
    }
    let n_failed = count(|outcome| matches!(outcome, Outcome::Failed { .. }));
    if n_failed > 0 {
        let message = format!("{n_failed} of {n_all} manifests are not applied");
        let reason = work_reason::SOME_MANIFESTS_ARE_NOT_APPLIED;
        return vec![build.condition(type_::APPLIED, Status::False, reason, message)];
    }
    let applied = build.condition(
        type_::APPLIED,
        Status::True,
        work_reason::ALL_MANIFESTS_APPLIED,
        "all manifests are applied",
    );
    let with = |wanted: Availability| {
        let is = |outcome: &Outcome| matches!(outcome, Outcome::Applied(applied) if applied.availability == wanted);
        results.iter().filter(|(_, outcome)| is(outcome)).count()
    };
    let n_waiting = with(Availability::NotYet);
    let (status, reason, message) = if n_waiting > 0 {
        let reason = work_reason::SOME_MANIFESTS_ARE_NOT_AVAILABLE;
        (Status::False, reason, format!("{n_waiting} of {n_all} objects do not serve yet"))
    } else if with(Availability::NotTrackable) > 0 {
        let reason = work_reason::WORK_NOT_TRACKABLE;
        (Status::True, reason, "some objects cannot be tracked".to_owned())
    } else {
        let reason = work_reason::ALL_MANIFESTS_AVAILABLE;
        (Status::True, reason, "all objects serve".to_owned())
    };
    vec![applied, build.condition(type_::AVAILABLE, status, reason, message)]
}

fn compared(build: &Builder<'_>, n_failed: usize, n_all: usize) -> Condition {
    if n_failed > 0 {
        let message = format!("{n_failed} of {n_all} manifests could not be compared");
        let reason = work_reason::SOME_MANIFESTS_HAVE_NOT_REPORTED_DIFF;
        return build.condition(type_::DIFF_REPORTED, Status::False, reason, message);
    }
    let reason = work_reason::ALL_MANIFESTS_DIFF_REPORTED;
    build.condition(type_::DIFF_REPORTED, Status::True, reason, "all manifests are compared")
}

fn size(work: &Work, status: &WorkStatus) -> usize {
    let manifests = work.spec.workload.manifests.iter().map(|manifest| manifest.to_string().len());
    let metadata = serde_json::to_string(&work.metadata).map_or(0, |text| text.len());
    let status = serde_json::to_string(status).map_or(0, |text| text.len());
    manifests.sum::<usize>() + metadata + status
}

/// Leaves details out.
fn trim(report: &mut ManifestCondition) {
    report.back_reported_status = None;
    if let Some(details) = &mut report.drift_details {
        collapse(&mut details.observed_drifts);
    }
    if let Some(details) = &mut report.diff_details {
        collapse(&mut details.observed_diffs);
    }
}

fn collapse(details: &mut Vec<PatchDetail>) {
    const OMITTED: &str = "(omitted)";
    let Some(first) = details.first() else { return };
    let path = match details.len() - 1 {
        0 => first.path.clone(),
        n_more => format!("{} and {n_more} more path(s)", first.path),
    };
    *details = vec![PatchDetail {
        path,
        value_in_member: OMITTED.to_owned(),
        value_in_hub: OMITTED.to_owned(),
    }];
}
