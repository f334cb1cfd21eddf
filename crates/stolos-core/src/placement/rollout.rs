//! The rolling update: which bindings may take the latest resources now (placement-rollout in the specification).
//!
//! The limits count clusters: never more than `maxUnavailable` of them without their resources, never more than
//! `maxSurge` above the wished number.

use std::collections::BTreeMap;

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
    pub hold: Vec<String>,
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
    let apply_strategy: Vec<String> =
        outdated_strategy.map(|binding| binding.name.to_owned()).collect();
    if !apply_strategy.is_empty() {
        return Ok(Plan { apply_strategy, ..Plan::default() });
    }
    if waits_for_removal(observed)? {
        // The removal of the old binding is an event and wakes us.
        return Ok(Plan::default());
    }
    Ok(Tally::count(observed).decide(observed))
}

/// Tells whether a cluster still has a binding on its way out beside a new one.
fn waits_for_removal(observed: &Observed<'_>) -> Result<bool, Error> {
    let mut seen: BTreeMap<&str, &Binding<'_>> = BTreeMap::new();
    let live =
        observed.bindings.iter().map(|(binding, _)| binding).filter(|binding| !binding.deleting);
    for binding in live {
        if let Some(other) = seen.insert(&binding.spec.target_cluster, binding) {
            return Err(Error::TwoBindings {
                cluster: binding.spec.target_cluster.clone(),
                first: other.name.to_owned(),
                second: binding.name.to_owned(),
            });
        }
    }
    let mut deleting =
        observed.bindings.iter().map(|(binding, _)| binding).filter(|binding| binding.deleting);
    Ok(deleting.any(|binding| {
        let beside = seen.get(binding.spec.target_cluster.as_str());
        beside.is_some_and(|other| other.spec.state != BindingState::Bound)
    }))
}

/// The bindings by what may happen to them, and the counts that the limits need.
#[derive(Default)]
struct Tally<'a> {
    n_targeted: usize,
    n_ready: usize,
    n_can_be_ready: usize,
    n_can_be_unavailable: usize,
    to_remove: Vec<&'a str>,
    to_bind: Vec<(&'a str, &'a Desired)>,
    to_update: Vec<(&'a str, &'a Desired)>,
    failed_to_update: Vec<(&'a str, &'a Desired)>,
    up_to_date: Vec<&'a str>,
    /// End of the shortest readiness wait.
    earliest_ready: Option<Timestamp>,
}

impl<'a> Tally<'a> {
    fn count(observed: &'a Observed<'a>) -> Self {
        let mut tally = Self::default();
        let mut bindings: Vec<&(Binding<'_>, Option<Desired>)> = observed.bindings.iter().collect();
        bindings.sort_by_key(|(binding, _)| binding.name);
        let patience = SignedDuration::from_secs(observed.limits.unavailable_period_seconds);
        for (binding, desired) in bindings {
            let readiness = readiness(binding, patience, observed.now);
            if let Readiness::At(at) = readiness {
                tally.earliest_ready =
                    Some(tally.earliest_ready.map_or(at, |earliest| earliest.min(at)));
            }
            let ready = readiness == Readiness::Ready;
            let can_be_ready =
                !failed(binding) && find(binding, condition::DIFF_REPORTED).is_none();
            match binding.spec.state {
                BindingState::Unscheduled => {
                    tally.n_can_be_ready += usize::from(can_be_ready);
                    tally.n_ready += usize::from(ready);
                    if !binding.deleting {
                        tally.to_remove.push(binding.name);
                    } else if ready {
                        tally.n_can_be_unavailable += 1;
                    }
                }
                BindingState::Scheduled => {
                    tally.n_targeted += 1;
                    tally.to_bind.extend(desired.as_ref().map(|desired| (binding.name, desired)));
                }
                BindingState::Bound => {
                    tally.n_targeted += 1;
                    tally.n_can_be_ready += usize::from(can_be_ready);
                    tally.n_ready += usize::from(ready);
                    if binding.deleting {
                        tally.n_can_be_unavailable += usize::from(ready);
                        continue;
                    }
                    match desired {
                        Some(desired) if !rolls_out(binding, desired) => {
                            let list = if failed(binding) {
                                &mut tally.failed_to_update
                            } else {
                                &mut tally.to_update
                            };
                            list.push((binding.name, desired));
                        }
                        _ => tally.up_to_date.push(binding.name),
                    }
                }
            }
        }
        tally
    }

    fn decide(self, observed: &Observed<'_>) -> Plan {
        let target = self.target(observed.policy);
        let max_unavailable = resolve(&observed.limits.max_unavailable, target);
        let max_surge = resolve(&observed.limits.max_surge, target);
        let sure_ready = self.n_ready - self.n_can_be_unavailable;
        let mut n_removable = sure_ready.saturating_sub(target.saturating_sub(max_unavailable));
        let n_addable = (target + max_surge).saturating_sub(self.n_can_be_ready);

        // What has failed serves nobody: updating it cannot make things worse.
        let mut plan = Plan { started: owned(&self.up_to_date), ..Plan::default() };
        let roll = |list: &[(&str, &Desired)]| -> Vec<(String, Desired)> {
            list.iter().map(|(name, desired)| ((*name).to_owned(), (*desired).clone())).collect()
        };
        let names = |list: &[(&str, &Desired)]| -> Vec<String> {
            list.iter().map(|(n, _)| (*n).to_owned()).collect()
        };
        plan.roll = roll(&self.failed_to_update);
        let (now, _) = self.to_remove.split_at(n_removable.min(self.to_remove.len()));
        plan.remove = owned(now);
        n_removable -= now.len();
        let (now, later) = self.to_update.split_at(n_removable.min(self.to_update.len()));
        plan.roll.extend(roll(now));
        plan.hold.extend(names(later));
        let (now, later) = self.to_bind.split_at(n_addable.min(self.to_bind.len()));
        plan.roll.extend(roll(now));
        plan.hold.extend(names(later));
        let waiting = !plan.hold.is_empty() || plan.remove.len() < self.to_remove.len();
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

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
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

#[derive(Debug, PartialEq, Eq)]
enum Readiness {
    Ready,
    /// Nothing tells when the resources are available; after this moment they are taken to be.
    At(Timestamp),
    No,
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
mod tests;
