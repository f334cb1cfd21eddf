//! Why a placement is not there yet: for each cluster the first step that is not done, and what it takes. Where all are
//! done: why the cluster was picked, and what it has.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;
use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::names::agent;
use stolos_api::placement::names::{condition as type_, reason};
use stolos_api::placement::{
    ApplyStrategyType, BindingState, ClusterDecision, FailedResourcePlacement, PlacementSpec,
    PlacementStatus, ResourceBindingSpec, ResourceBindingStatus, ResourceIdentifier,
    RolloutStrategyType, SchedulingPolicySnapshotStatus, Work, default_spec,
};

use super::condition::{Status, find, find_current};
use super::rollout;
use super::scheduler::check_eligibility;

#[cfg(test)]
mod tests;

/// Most objects named for one cluster; the rest is only counted.
const MAX_OBJECTS: usize = 5;
/// Most clusters named as those that others wait for.
const MAX_CLUSTERS: usize = 5;

/// Everything that the answer depends on.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// Kind of the placement.
    pub kind: &'a str,
    /// Generation of the placement.
    pub generation: i64,
    /// The placement is being deleted.
    pub deleting: bool,
    /// Spec of the placement.
    pub spec: &'a PlacementSpec,
    /// Status of the placement.
    pub status: Option<&'a PlacementStatus>,
    /// Status of its latest policy snapshot.
    pub scheduled: Option<&'a SchedulingPolicySnapshotStatus>,
    /// Its bindings.
    pub bindings: &'a [Binding<'a>],
    /// The Works of each binding, by its name.
    pub works: &'a BTreeMap<String, Vec<&'a Work>>,
    /// All members.
    pub members: &'a [&'a MemberCluster],
    /// The present moment.
    pub now: Timestamp,
}

/// A binding.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// Name of the object.
    pub name: &'a str,
    /// Generation of the object.
    pub generation: i64,
    /// It is being deleted.
    pub deleting: bool,
    /// Its spec.
    pub spec: &'a ResourceBindingSpec,
    /// Its status.
    pub status: Option<&'a ResourceBindingStatus>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Everything is where it should be.
    pub complete: bool,
    /// Index of the resource snapshot in force; empty under strategy External while clusters differ.
    pub snapshot: String,
    /// Number of objects in it.
    pub n_objects: usize,
    /// What stands in the way of the placement as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    /// Each cluster with a binding, those with a problem first.
    pub clusters: Vec<Cluster>,
    /// Clusters that were not picked, each with the reason.
    pub not_picked: Vec<ClusterDecision>,
}

/// How far a placement got on one cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Its name.
    pub cluster: String,
    /// The step where it is, as the type of a condition; the last one if all are done.
    pub step: &'static str,
    /// It is where it should be.
    pub done: bool,
    /// What stands in the way.
    pub finding: Finding,
}

/// What was found, and what it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// One sentence.
    pub what: String,
    /// What it rests on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    /// What a person can do about it, if that would help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Finding {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), ..Self::default() }
    }

    fn because(mut self, reasons: impl IntoIterator<Item = String>) -> Self {
        self.because.extend(reasons);
        self
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Explains a placement.
pub fn explain(observed: &Observed<'_>) -> Explanation {
    let mut clusters: Vec<Cluster> =
        observed.bindings.iter().map(|binding| cluster(observed, binding)).collect();
    clusters.sort_by(|a, b| (a.done, &a.cluster, &a.step).cmp(&(b.done, &b.cluster, &b.step)));
    let finding = whole(observed);
    let decisions = observed.scheduled.map_or(&[][..], |status| &status.target_clusters);
    Explanation {
        complete: finding.is_none() && clusters.iter().all(|cluster| cluster.done),
        snapshot: observed.status.map(|s| s.observed_resource_index.clone()).unwrap_or_default(),
        n_objects: observed.status.map_or(0, |status| status.selected_resources.len()),
        finding,
        clusters,
        not_picked: decisions.iter().filter(|decision| !decision.selected).cloned().collect(),
    }
}

/// Looks for what concerns the placement as a whole.
fn whole(observed: &Observed<'_>) -> Option<Finding> {
    if observed.deleting {
        let n = observed.bindings.len();
        let what =
            format!("the placement is being deleted; {n} clusters still hold what it placed");
        return Some(Finding::new(what));
    }
    let conditions = observed.status.map_or(&[][..], |status| &status.conditions);
    let scheduled = type_::of_kind(observed.kind, type_::SCHEDULED);
    let Some(scheduled) = find_current(conditions, &scheduled, observed.generation) else {
        return Some(
            Finding::new("the hub has not looked at the placement as it is now")
                .hint("is `stolos hub` or `stolos up` running?"),
        );
    };
    match (Status::of(scheduled), scheduled.reason.as_str()) {
        (Status::True, _) => None,
        (_, reason::INVALID_RESOURCE_SELECTORS) => Some(
            Finding::new("the resource selectors cannot be used")
                .because([scheduled.message.clone()])
                .hint("change spec.resourceSelectors; what is placed already stays until then"),
        ),
        (Status::Unknown, _) => Some(Finding::new("the scheduler has not decided yet")),
        (Status::False, _) => Some(
            Finding::new("the policy asks for more clusters than can be picked")
                .because([scheduled.message.clone()])
                .hint("see below why the others were not picked"),
        ),
    }
}

fn cluster(observed: &Observed<'_>, binding: &Binding<'_>) -> Cluster {
    let (step, done, finding) = progress(observed, binding);
    Cluster { cluster: binding.spec.target_cluster.clone(), step, done, finding }
}

fn progress(observed: &Observed<'_>, binding: &Binding<'_>) -> (&'static str, bool, Finding) {
    let name = &binding.spec.target_cluster;
    if binding.deleting {
        let finding =
            Finding::new("what was placed is being removed").because(heard(observed, name));
        return (type_::SCHEDULED, false, finding);
    }
    if binding.spec.state == BindingState::Unscheduled {
        let what =
            "the cluster is no longer picked and keeps what it has until others are available";
        let finding = Finding::new(what).because(waited_for(observed, binding));
        return (type_::SCHEDULED, false, finding);
    }
    let steps: &[&'static str] = match binding.spec.apply_strategy.as_ref().map(|s| s.type_) {
        Some(ApplyStrategyType::ReportDiff) => &[
            type_::ROLLOUT_STARTED,
            type_::OVERRIDDEN,
            type_::WORK_SYNCHRONIZED,
            type_::DIFF_REPORTED,
        ],
        Some(ApplyStrategyType::ClientSideApply | ApplyStrategyType::ServerSideApply) | None => &[
            type_::ROLLOUT_STARTED,
            type_::OVERRIDDEN,
            type_::WORK_SYNCHRONIZED,
            type_::APPLIED,
            type_::AVAILABLE,
        ],
    };
    let conditions = binding.status.map_or(&[][..], |status| &status.conditions);
    for step in steps {
        let current = find_current(conditions, step, binding.generation);
        match current {
            Some(found) if Status::of(found) == Status::True => {}
            found => return (step, false, stuck(observed, binding, step, found)),
        }
    }
    let last = steps.last().copied().unwrap_or(type_::AVAILABLE);
    let finding = find(conditions, last).map_or_else(Finding::default, |found| {
        let since = found.last_transition_time.0;
        Finding::new(format!("everything is in place since {since:.0}"))
    });
    (last, true, finding.because(what_it_has(binding)))
}

/// Tells why a cluster was picked, and what is particular to it.
fn what_it_has(binding: &Binding<'_>) -> Vec<String> {
    let spec = binding.spec;
    let mut lines = Vec::new();
    if !spec.cluster_decision.reason.is_empty() {
        lines.push(spec.cluster_decision.reason.clone());
    }
    let of_namespaces =
        spec.resource_override_snapshots.iter().map(|o| format!("`{}/{}`", o.namespace, o.name));
    let overrides = spec.cluster_resource_override_snapshots.iter().map(|o| format!("`{o}`"));
    lines.extend(counted("overrides in force", overrides.chain(of_namespaces)));
    let Some(status) = binding.status else { return lines };
    let untracked = find(&status.conditions, type_::AVAILABLE)
        .is_some_and(|found| found.reason == reason::NOT_ALL_WORK_ARE_AVAILABILITY_TRACKABLE);
    if untracked {
        lines.push("of some objects nothing tells whether they are available".to_owned());
    }
    let drifted = status.drifted_placements.iter().map(|drift| described(&drift.resource));
    lines.extend(counted("changed on the member", drifted));
    let differing = status.diffed_placements.iter().map(|diff| described(&diff.resource));
    lines.extend(counted("different on the member", differing));
    lines
}

/// Names things under a heading, the first few of them.
fn counted(heading: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let mut names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(MAX_OBJECTS);
    names.truncate(MAX_OBJECTS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!names.is_empty()).then(|| format!("{heading}: {}{more}", names.join(", ")))
}

/// Explains why a step of a binding is not done.
fn stuck(
    observed: &Observed<'_>,
    binding: &Binding<'_>,
    step: &str,
    found: Option<&Condition>,
) -> Finding {
    let name = &binding.spec.target_cluster;
    let said = found.map(|found| found.message.clone());
    let failed = binding.status.map_or(&[][..], |status| &status.failed_placements);
    let is_in_progress = found.is_none_or(|found| found.reason == reason::APPLY_IN_PROGRESS);
    match (step, found) {
        (type_::ROLLOUT_STARTED, _) if is_external(observed.spec) => Finding::new(
            "a staged update run decides when the cluster gets the resources",
        )
        .hint("create a ClusterStagedUpdateRun, or a StagedUpdateRun for a ResourcePlacement"),
        (type_::ROLLOUT_STARTED, None) => {
            Finding::new("the rollout has not reached the cluster yet")
        }
        (type_::ROLLOUT_STARTED, Some(_)) => {
            let waits = waited_for(observed, binding);
            Finding::new("the cluster's turn in the rollout has not come")
                .because(said.into_iter().chain(waits))
        }
        (type_::OVERRIDDEN, Some(_)) => Finding::new("an override cannot be applied here")
            .because(said)
            .hint("change the override; only this cluster waits for it"),
        (type_::WORK_SYNCHRONIZED, Some(_)) => {
            Finding::new("the manifests for the cluster cannot be made").because(said)
        }
        (type_::APPLIED | type_::DIFF_REPORTED, _) if is_in_progress => {
            Finding::new("the cluster has not reported on the newest manifests yet")
                .because(unreported(observed, binding))
                .because(heard(observed, name))
        }
        (type_::APPLIED, Some(_)) => {
            Finding::new("the cluster does not take every object").because(objects(failed, said))
        }
        (type_::AVAILABLE, Some(_)) => {
            Finding::new("not every object is available yet").because(objects(failed, said))
        }
        (_, Some(_)) => Finding::new("the cluster cannot compare every object").because(said),
        (_, None) => Finding::new("the hub has not got to this step yet"),
    }
}

fn is_external(spec: &PlacementSpec) -> bool {
    spec.strategy.as_ref().is_some_and(|strategy| strategy.type_ == RolloutStrategyType::External)
}

/// Names the clusters that a binding waits for.
fn waited_for(observed: &Observed<'_>, waiting: &Binding<'_>) -> Option<String> {
    let mut spec = observed.spec.clone();
    default_spec(&mut spec);
    let limits = spec.strategy.unwrap_or_default().rolling_update.unwrap_or_default();
    let mut names: Vec<String> = observed
        .bindings
        .iter()
        .filter(|binding| binding.name != waiting.name)
        .filter(|binding| binding.spec.state != BindingState::Scheduled)
        .filter_map(|binding| {
            let view = rollout::Binding {
                name: binding.name,
                generation: binding.generation,
                deleting: binding.deleting,
                spec: binding.spec,
                conditions: binding.status.map_or(&[][..], |status| &status.conditions),
            };
            let name = format!("`{}`", binding.spec.target_cluster);
            match rollout::readiness_of(&view, &limits, observed.now) {
                rollout::Readiness::Ready => None,
                rollout::Readiness::At(at) => Some(format!("{name} (until {at:.0})")),
                rollout::Readiness::No => Some(name),
            }
        })
        .collect();
    names.sort();
    let more = names.len().saturating_sub(MAX_CLUSTERS);
    names.truncate(MAX_CLUSTERS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!names.is_empty()).then(|| format!("not available yet: {}{more}", names.join(", ")))
}

/// Names the Works of a binding that its member has not reported on.
fn unreported(observed: &Observed<'_>, binding: &Binding<'_>) -> Vec<String> {
    let works = observed.works.get(binding.name).map_or(&[][..], Vec::as_slice);
    let is_old = |work: &&&Work| {
        let conditions = work.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let generation = work.metadata.generation.unwrap_or_default();
        let current = |type_: &str| find_current(conditions, type_, generation).is_some();
        !current(type_::APPLIED) && !current(type_::DIFF_REPORTED)
    };
    let name = |work: &&Work| {
        let (namespace, name) = (&work.metadata.namespace, &work.metadata.name);
        let generation = work.metadata.generation.unwrap_or_default();
        let (namespace, name) =
            (namespace.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default());
        format!(
            "work `{namespace}/{name}` is at generation {generation}, of which nothing is known"
        )
    };
    works.iter().filter(is_old).take(MAX_OBJECTS).map(name).collect()
}

/// Tells when a member was last heard of, if that is of interest.
fn heard(observed: &Observed<'_>, name: &str) -> Option<String> {
    let is_named = |member: &&&MemberCluster| member.metadata.name.as_deref() == Some(name);
    let Some(member) = observed.members.iter().find(is_named) else {
        return Some(format!("there is no member cluster `{name}`"));
    };
    if let Err(why) = check_eligibility(member, observed.now) {
        return Some(why);
    }
    let agent = member.status.as_ref()?.agent(agent::MEMBER_AGENT)?;
    let at = agent.last_received_heartbeat.as_ref()?.0;
    let seconds = observed.now.duration_since(at).max(SignedDuration::ZERO).as_secs();
    Some(format!("the agent of `{name}` was last heard of {seconds}s ago"))
}

/// Lists the objects that failed, each with the reason.
fn objects(failed: &[FailedResourcePlacement], otherwise: Option<String>) -> Vec<String> {
    if failed.is_empty() {
        return otherwise.into_iter().collect();
    }
    let mut lines: Vec<String> = failed
        .iter()
        .take(MAX_OBJECTS)
        .map(|failed| {
            let Condition { reason, message, .. } = &failed.condition;
            format!("{}: {reason}: {message}", described(&failed.resource))
        })
        .collect();
    let more = failed.len().saturating_sub(MAX_OBJECTS);
    if more > 0 {
        lines.push(format!("and {more} more objects"));
    }
    lines
}

/// Returns how people name an object.
pub fn described(resource: &ResourceIdentifier) -> String {
    let ResourceIdentifier { kind, name, namespace, envelope, .. } = resource;
    let place = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
    let wrapped = envelope.as_ref().map(|envelope| format!(" in envelope `{}`", envelope.name));
    format!("{kind} `{place}{name}`{}", wrapped.unwrap_or_default())
}
