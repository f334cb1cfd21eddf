//! The rolling update: which bindings may take the latest resources now (placement-rollout in the specification).
//!
//! The limits count clusters: never more than `maxUnavailable` of them without their resources, never more than
//! `maxSurge` above the wished number.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use stolos_api::placement::names::{condition, reason, work_reason};
use stolos_api::placement::{
    ApplyStrategy, BindingState, NamespacedName, PlacementPolicy, PlacementType,
    ResourceBindingSpec, RollingUpdateConfig,
};

/// A binding as the rollout sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding<'a> {
    /// Name of the object.
    pub name: &'a str,
    /// Generation of the object; conditions count only at this one.
    pub generation: i64,
    /// It is being deleted.
    pub deleting: bool,
    /// Its spec.
    pub spec: &'a ResourceBindingSpec,
    /// Conditions of its status.
    pub conditions: &'a [Condition],
}

/// What a binding should roll out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// Name of the latest master resource snapshot.
    pub resource_snapshot: String,
    /// Override snapshots that apply to the cluster.
    pub resource_overrides: Vec<NamespacedName>,
    /// Cluster-scoped override snapshots that apply to the cluster.
    pub cluster_resource_overrides: Vec<String>,
}

/// Everything a decision depends on.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The policy; absent means PickAll.
    pub policy: Option<&'a PlacementPolicy>,
    /// Limits, with their defaults filled in.
    pub limits: &'a RollingUpdateConfig,
    /// How to apply, with its defaults filled in.
    pub apply_strategy: &'a ApplyStrategy,
    /// The bindings, each with what it should roll out; absent while there is no snapshot yet.
    pub bindings: &'a [(Binding<'a>, Option<Desired>)],
    /// The present moment.
    pub now: Timestamp,
}

/// A binding whose turn has not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Name of the binding.
    pub binding: String,
    /// What it waits for.
    pub wait: Wait,
}

/// What a binding waits for. The text depends on nothing that changes from one cluster's turn to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// For others to become available.
    MaxUnavailable {
        /// How many may be unavailable.
        limit: usize,
        /// How many clusters should have the resources.
        target: usize,
    },
    /// For others to become available or to be removed.
    MaxSurge {
        /// How many may have the resources beyond the target.
        limit: usize,
        /// How many clusters should have the resources.
        target: usize,
    },
    /// For an earlier binding of the cluster to be gone.
    Removal {
        /// Name of that binding.
        binding: String,
    },
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxUnavailable { limit, target } => write!(
                f,
                "The resources wait for other clusters: at most {limit} of {target} may be unavailable (maxUnavailable)"
            ),
            Self::MaxSurge { limit, target } => write!(
                f,
                "The resources wait for other clusters: at most {limit} beyond the {target} that are wanted may have them (maxSurge)"
            ),
            Self::Removal { binding } => {
                write!(
                    f,
                    "The resources wait until the earlier binding `{binding}` of the cluster is gone"
                )
            }
        }
    }
}

/// What to write, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Bindings that get the apply strategy of the placement; nothing else happens in the same pass.
    pub apply_strategy: Vec<String>,
    /// Bindings that become Bound with this content.
    pub roll: Vec<(String, Desired)>,
    /// Unscheduled bindings that are removed.
    pub remove: Vec<String>,
    /// Bindings whose turn has not come: `RolloutStarted` is False.
    pub hold: Vec<Hold>,
    /// Unscheduled bindings that cannot be removed yet.
    pub keep: Vec<Hold>,
    /// Bindings that are up to date: `RolloutStarted` is True.
    pub started: Vec<String>,
    /// When to look again without a change.
    pub wake_at: Option<Timestamp>,
}

/// Why nothing can be rolled out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Only a defect can bring this about; another pass may find it gone.
    #[error("cluster `{cluster}` has the bindings `{first}` and `{second}` of one placement")]
    TwoBindings {
        /// Member cluster.
        cluster: String,
        /// One binding.
        first: String,
        /// The other.
        second: String,
    },
}

/// Decides what moves now.
///
/// # Errors
/// When two live bindings of one placement target one cluster.
pub fn plan(observed: &Observed<'_>) -> Result<Plan, Error> {
    let outdated_strategy =
        observed.bindings.iter().map(|(binding, _)| binding).filter(|binding| {
            !binding.deleting
                && binding.spec.apply_strategy.as_ref() != Some(observed.apply_strategy)
        });
    let mut apply_strategy: Vec<String> =
        outdated_strategy.map(|binding| binding.name.to_owned()).collect();
    apply_strategy.sort_unstable();
    if !apply_strategy.is_empty() {
        return Ok(Plan { apply_strategy, ..Plan::default() });
    }
    check_clusters(observed)?;
    Ok(Tally::count(observed).decide(observed))
}

/// Checks that no cluster has two bindings that live.
fn check_clusters(observed: &Observed<'_>) -> Result<(), Error> {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    let mut live: Vec<_> =
        observed.bindings.iter().map(|(binding, _)| binding).filter(|b| !b.deleting).collect();
    live.sort_by_key(|binding| binding.name);
    for binding in live {
        if let Some(other) = seen.insert(&binding.spec.target_cluster, binding.name) {
            return Err(Error::TwoBindings {
                cluster: binding.spec.target_cluster.clone(),
                first: other.to_owned(),
                second: binding.name.to_owned(),
            });
        }
    }
    Ok(())
}

/// A binding that could move.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    name: &'a str,
    /// What it would roll out; a binding to remove has nothing.
    desired: Option<&'a Desired>,
    /// It serves, so that moving it takes away from what is available.
    ready: bool,
}

impl Candidate<'_> {
    fn roll(&self) -> Option<(String, Desired)> {
        Some((self.name.to_owned(), self.desired?.clone()))
    }

    fn hold(&self, wait: &Wait) -> Hold {
        Hold { binding: self.name.to_owned(), wait: wait.clone() }
    }
}

/// The bindings by what may happen to them, and the counts that the limits need.
#[derive(Default)]
struct Tally<'a> {
    n_targeted: usize,
    n_ready: usize,
    n_can_be_ready: usize,
    n_can_be_unavailable: usize,
    to_remove: Vec<Candidate<'a>>,
    to_bind: Vec<Candidate<'a>>,
    to_update: Vec<Candidate<'a>>,
    failed_to_update: Vec<Candidate<'a>>,
    blocked: Vec<Hold>,
    up_to_date: Vec<&'a str>,
    /// End of the shortest readiness wait.
    earliest_ready: Option<Timestamp>,
}

impl<'a> Tally<'a> {
    fn count(observed: &'a Observed<'a>) -> Self {
        let mut tally = Self::default();
        let mut bindings: Vec<&(Binding<'_>, Option<Desired>)> = observed.bindings.iter().collect();
        bindings.sort_by_key(|(binding, _)| binding.name);
        let leaving: BTreeMap<&str, &str> = bindings
            .iter()
            .filter(|(binding, _)| binding.deleting)
            .map(|(binding, _)| (binding.spec.target_cluster.as_str(), binding.name))
            .collect();
        let patience = SignedDuration::from_secs(observed.limits.unavailable_period_seconds);
        for (binding, desired) in bindings {
            let readiness = readiness(binding, patience, observed.now);
            if let Readiness::At(at) = readiness {
                tally.earliest_ready =
                    Some(tally.earliest_ready.map_or(at, |earliest| earliest.min(at)));
            }
            let ready = readiness == Readiness::Ready;
            let earlier = leaving.get(binding.spec.target_cluster.as_str()).copied();
            tally.add(binding, desired.as_ref(), ready, earlier);
        }
        tally
    }

    /// Takes a binding in. `earlier` is a binding of the same cluster that is being deleted.
    fn add(
        &mut self,
        binding: &Binding<'a>,
        desired: Option<&'a Desired>,
        ready: bool,
        earlier: Option<&str>,
    ) {
        let candidate = Candidate { name: binding.name, desired, ready };
        let can_be_ready = !failed(binding) && find(binding, condition::DIFF_REPORTED).is_none();
        let is_placed = binding.spec.state != BindingState::Scheduled;
        self.n_can_be_ready += usize::from(is_placed && can_be_ready);
        self.n_ready += usize::from(is_placed && ready);
        self.n_targeted += usize::from(binding.spec.state != BindingState::Unscheduled);
        if binding.deleting {
            self.n_can_be_unavailable += usize::from(is_placed && ready);
            return;
        }
        match (binding.spec.state, desired) {
            (BindingState::Unscheduled, _) => self.to_remove.push(candidate),
            (BindingState::Scheduled, None) => {}
            (BindingState::Bound, Some(desired)) if rolls_out(binding, desired) => {
                self.up_to_date.push(binding.name);
            }
            (BindingState::Bound, None) => self.up_to_date.push(binding.name),
            (BindingState::Scheduled | BindingState::Bound, Some(_)) => {
                if let Some(earlier) = earlier {
                    let wait = Wait::Removal { binding: earlier.to_owned() };
                    self.blocked.push(candidate.hold(&wait));
                } else if binding.spec.state == BindingState::Scheduled {
                    self.to_bind.push(candidate);
                } else if failed(binding) {
                    self.failed_to_update.push(candidate);
                } else {
                    self.to_update.push(candidate);
                }
            }
        }
    }

    fn decide(self, observed: &Observed<'_>) -> Plan {
        let target = self.target(observed.policy);
        let max_unavailable = resolve(&observed.limits.max_unavailable, target);
        let max_surge = resolve(&observed.limits.max_surge, target);
        let sure_ready = self.n_ready - self.n_can_be_unavailable;
        // A target below `maxUnavailable` leaves room for what serves nobody.
        let mut n_removable = (sure_ready + max_unavailable).saturating_sub(target);
        let n_addable = (target + max_surge).saturating_sub(self.n_can_be_ready);
        // Only what serves takes from the reserve, but without a reserve nothing moves: what does not serve for all we know
        // may do so all the same.
        let mut may_move = |candidate: &Candidate<'_>| {
            let may = n_removable > 0;
            n_removable -= usize::from(may && candidate.ready);
            may
        };

        let started = self.up_to_date.iter().map(|name| (*name).to_owned()).collect();
        let mut plan = Plan { started, hold: self.blocked, ..Plan::default() };
        // What has failed serves nobody: updating it cannot make things worse.
        plan.roll = self.failed_to_update.iter().filter_map(Candidate::roll).collect();
        let wait = Wait::MaxUnavailable { limit: max_unavailable, target };
        for candidate in &self.to_remove {
            if may_move(candidate) {
                plan.remove.push(candidate.name.to_owned());
            } else {
                plan.keep.push(candidate.hold(&wait));
            }
        }
        for candidate in &self.to_update {
            if may_move(candidate) {
                plan.roll.extend(candidate.roll());
            } else {
                plan.hold.push(candidate.hold(&wait));
            }
        }
        let wait = Wait::MaxSurge { limit: max_surge, target };
        let (now, later) = self.to_bind.split_at(n_addable.min(self.to_bind.len()));
        plan.roll.extend(now.iter().filter_map(Candidate::roll));
        plan.hold.extend(later.iter().map(|candidate| candidate.hold(&wait)));
        let waiting = !plan.hold.is_empty() || !plan.keep.is_empty();
        plan.wake_at = self.earliest_ready.filter(|_| waiting);
        plan
    }

    /// The number of clusters that should have the resources.
    fn target(&self, policy: Option<&PlacementPolicy>) -> usize {
        match policy.map_or(PlacementType::PickAll, |policy| policy.placement_type) {
            PlacementType::PickAll => self.n_targeted,
            PlacementType::PickFixed => policy.map_or(0, |policy| policy.cluster_names.len()),
            PlacementType::PickN => {
                usize::try_from(policy.and_then(|policy| policy.number_of_clusters).unwrap_or(0))
                    .unwrap_or(0)
            }
        }
    }
}

fn rolls_out(binding: &Binding<'_>, desired: &Desired) -> bool {
    binding.spec.resource_snapshot_name == desired.resource_snapshot
        && binding.spec.resource_override_snapshots == desired.resource_overrides
        && binding.spec.cluster_resource_override_snapshots == desired.cluster_resource_overrides
}

/// Returns a condition that speaks of the present generation.
fn find<'a>(binding: &Binding<'a>, type_: &str) -> Option<&'a Condition> {
    let current = |condition: &&Condition| {
        condition.type_ == type_ && condition.observed_generation == Some(binding.generation)
    };
    binding.conditions.iter().find(current)
}

/// Whether a cluster counts as having its resources.
#[derive(Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It has them.
    Ready,
    /// Nothing tells when the resources are available; after this moment they are taken to be.
    At(Timestamp),
    /// It has not.
    No,
}

/// Tells whether a binding counts towards what is available.
pub fn readiness_of(
    binding: &Binding<'_>,
    limits: &RollingUpdateConfig,
    now: Timestamp,
) -> Readiness {
    readiness(binding, SignedDuration::from_secs(limits.unavailable_period_seconds), now)
}

fn readiness(binding: &Binding<'_>, patience: SignedDuration, now: Timestamp) -> Readiness {
    if find(binding, condition::DIFF_REPORTED).is_some_and(|reported| reported.status == "True") {
        return Readiness::Ready;
    }
    let Some(available) =
        find(binding, condition::AVAILABLE).filter(|available| available.status == "True")
    else {
        return Readiness::No;
    };
    let untrackable =
        [reason::NOT_ALL_WORK_ARE_AVAILABILITY_TRACKABLE, work_reason::WORK_NOT_TRACKABLE];
    if !untrackable.contains(&available.reason.as_str()) {
        return Readiness::Ready;
    }
    match available.last_transition_time.0.checked_add(patience) {
        Ok(at) if at > now => Readiness::At(at),
        _ => Readiness::Ready,
    }
}

/// Tells whether a binding has failed, rather than being under way.
fn failed(binding: &Binding<'_>) -> bool {
    const UNDER_WAY: &[&str] = &[
        reason::OVERRIDDEN_PENDING,
        reason::WORK_NOT_SYNCHRONIZED_YET,
        reason::APPLY_PENDING,
        reason::RESOURCE_NOT_AVAILABLE_YET,
        // Upstream counts this one as failed, which lets a rollout exceed maxUnavailable while members still apply.
        reason::APPLY_IN_PROGRESS,
    ];
    [condition::OVERRIDDEN, condition::WORK_SYNCHRONIZED, condition::APPLIED, condition::AVAILABLE]
        .iter()
        .filter_map(|type_| find(binding, type_))
        .any(|condition| {
            condition.status == "False" && !UNDER_WAY.contains(&condition.reason.as_str())
        })
}

/// Resolves a number, or a percentage of `of` rounded up.
fn resolve(value: &IntOrString, of: usize) -> usize {
    match value {
        IntOrString::Int(number) => usize::try_from(*number).unwrap_or(0),
        IntOrString::String(text) => {
            let percent: usize = text.trim_end_matches('%').parse().unwrap_or(0);
            (of * percent).div_ceil(100)
        }
    }
}

#[cfg(test)]
mod histories;
#[cfg(test)]
mod tests;
