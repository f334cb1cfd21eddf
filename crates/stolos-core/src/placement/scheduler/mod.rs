//! The scheduler: which members a placement goes to.
//!
//! [`plan`] looks at a policy snapshot, the members of the fleet and the bindings of one placement, and returns the
//! bindings to write and the decisions with their reasons (placement-scheduler in the specification). Deciding again
//! after the plan was carried out changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use stolos_api::cluster::MemberCluster;
use stolos_api::placement::names::reason;
use stolos_api::placement::{
    BindingState, ClusterDecision, ClusterScore, PlacementPolicy, PlacementType,
    ResourceBindingSpec,
};

mod affinity;
mod eligibility;
mod namespace;
mod pick;
mod spread;
mod status;
mod taints;

pub use eligibility::check as check_eligibility;
pub(super) use status::MAX_DECISIONS;
pub use status::Outcome;

/// Why nothing can be decided. A person must change the placement or a member's properties.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A property selector or sorter cannot be evaluated.
    #[error("property `{name}` cannot be compared: {problem}")]
    Property {
        /// Name of the property.
        name: String,
        /// What would be right.
        problem: &'static str,
    },
    /// An unscheduled binding does not say which state it had.
    #[error("binding `{binding}` is unscheduled but does not tell its previous state")]
    PreviousState {
        /// Name of the binding.
        binding: String,
    },
}

/// A binding as the scheduler sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding<'a> {
    /// Name of the object.
    pub name: &'a str,
    /// It is being deleted.
    pub deleting: bool,
    /// State before it was unscheduled, from its annotation.
    pub previous_state: Option<BindingState>,
    /// Its spec.
    pub spec: &'a ResourceBindingSpec,
}

/// Everything a decision depends on.
#[derive(Debug)]
pub struct Observed<'a> {
    /// Name of the placement.
    pub placement: &'a str,
    /// Namespace of the placement, if it has one. Members must have it, as far as they tell.
    pub namespace: Option<&'a str>,
    /// Uid of the placement; names of bindings are drawn from it.
    pub placement_uid: &'a str,
    /// Name of the latest policy snapshot.
    pub policy_snapshot: &'a str,
    /// The policy; absent means PickAll.
    pub policy: Option<&'a PlacementPolicy>,
    /// Number of clusters of a PickN policy; kept beside the policy so that scaling is no new policy.
    pub number_of_clusters: Option<i32>,
    /// All members, in any order.
    pub clusters: &'a [&'a MemberCluster],
    /// All bindings of the placement, in any order.
    pub bindings: &'a [Binding<'a>],
    /// The present moment.
    pub now: Timestamp,
}

/// A binding to create or to give a new spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// Name of the binding.
    pub name: String,
    /// Its whole new spec.
    pub spec: ResourceBindingSpec,
}

/// What to write, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Deleting bindings that the scheduler lets go.
    pub release: Vec<String>,
    /// New bindings.
    pub create: Vec<Assignment>,
    /// Bindings that stay under the new policy, or come back from being unscheduled.
    pub patch: Vec<Assignment>,
    /// Bindings that are no longer wanted, with the state to remember.
    pub unschedule: Vec<(String, BindingState)>,
    /// The decisions to report; absent when they are not settled yet.
    pub outcome: Option<Outcome>,
    /// Only part of what is wanted is decided; decide again once this is written.
    pub again: bool,
}

/// Cycles in one plan. A spread constraint has clusters picked one by one; with very many of them others get their turn
/// in between.
const MAX_CYCLES: usize = 64;

/// Decides where a placement goes.
///
/// # Errors
/// When the policy cannot be evaluated; nothing is to be written then.
pub fn plan(observed: &Observed<'_>) -> Result<Plan, Error> {
    let mut plan = cycle(observed)?;
    let mut cycles = 1;
    while plan.again && cycles < MAX_CYCLES {
        let drafts = carried_out(observed, &plan);
        let bindings: Vec<Binding<'_>> = drafts.iter().map(Draft::binding).collect();
        plan = plan.followed_by(cycle(&Observed { bindings: &bindings, ..*observed })?);
        cycles += 1;
    }
    Ok(plan)
}

impl Plan {
    /// Joins the plan with one that was made for the state that it leaves behind.
    fn followed_by(mut self, next: Self) -> Self {
        let Self { release: _, create, patch, unschedule, outcome, again } = next;
        // What is picked after all was never given up.
        self.unschedule
            .retain(|(name, _)| !patch.iter().any(|assignment| assignment.name == *name));
        self.create.extend(create);
        self.patch.extend(patch);
        let known: BTreeSet<&str> = self.unschedule.iter().map(|(name, _)| name.as_str()).collect();
        let new: Vec<_> =
            unschedule.into_iter().filter(|(name, _)| !known.contains(name.as_str())).collect();
        self.unschedule.extend(new);
        Self { outcome, again, ..self }
    }
}

/// A binding as a plan leaves it behind.
struct Draft {
    name: String,
    deleting: bool,
    previous_state: Option<BindingState>,
    spec: ResourceBindingSpec,
}

impl Draft {
    fn binding(&self) -> Binding<'_> {
        let Self { name, deleting, previous_state, spec } = self;
        Binding { name, deleting: *deleting, previous_state: *previous_state, spec }
    }
}

/// Returns the bindings after a plan is carried out.
fn carried_out(observed: &Observed<'_>, plan: &Plan) -> Vec<Draft> {
    let assigned: BTreeMap<&str, &ResourceBindingSpec> = plan
        .create
        .iter()
        .chain(&plan.patch)
        .map(|assignment| (assignment.name.as_str(), &assignment.spec))
        .collect();
    let unscheduled: BTreeMap<&str, BindingState> =
        plan.unschedule.iter().map(|(name, state)| (name.as_str(), *state)).collect();
    let existing = observed.bindings.iter().map(|binding| {
        let mut draft = Draft {
            name: binding.name.to_owned(),
            deleting: binding.deleting,
            previous_state: binding.previous_state,
            spec: binding.spec.clone(),
        };
        if let Some(spec) = assigned.get(binding.name) {
            draft.spec = (*spec).clone();
            draft.previous_state = None;
        } else if let Some(state) = unscheduled.get(binding.name) {
            draft.spec.state = BindingState::Unscheduled;
            draft.previous_state = Some(*state);
        }
        draft
    });
    let new = plan.create.iter().map(|assignment| Draft {
        name: assignment.name.clone(),
        deleting: false,
        previous_state: None,
        spec: assignment.spec.clone(),
    });
    existing.chain(new).collect()
}

/// Decides as far as that is possible without knowing what follows.
fn cycle(observed: &Observed<'_>) -> Result<Plan, Error> {
    let sorted = Sorted::new(observed);
    let mut plan = Plan {
        release: sorted.deleting.iter().map(|b| b.name.to_owned()).collect(),
        ..Plan::default()
    };
    for binding in &sorted.dangling {
        plan.unschedule.push((binding.name.to_owned(), binding.spec.state));
    }
    match observed.policy.map_or(PlacementType::PickAll, |policy| policy.placement_type) {
        PlacementType::PickAll => pick::all(observed, &sorted, &mut plan)?,
        PlacementType::PickN => pick::n(observed, &sorted, &mut plan)?,
        PlacementType::PickFixed => pick::fixed(observed, &sorted, &mut plan)?,
    }
    Ok(plan)
}

/// The bindings by what they mean for the cycle, each list in the order of binding names; the first match wins.
struct Sorted<'a> {
    clusters: Vec<&'a MemberCluster>,
    deleting: Vec<&'a Binding<'a>>,
    unscheduled: Vec<&'a Binding<'a>>,
    /// The cluster is gone.
    dangling: Vec<&'a Binding<'a>>,
    /// Decided by an older policy, and the cluster is leaving. Nothing more is decided about it: what it has, it keeps.
    leaving: Vec<&'a Binding<'a>>,
    /// Decided by an older policy.
    obsolete: Vec<&'a Binding<'a>>,
    scheduled: Vec<&'a Binding<'a>>,
    bound: Vec<&'a Binding<'a>>,
}

impl<'a> Sorted<'a> {
    fn new(observed: &'a Observed<'a>) -> Self {
        let mut clusters: Vec<&MemberCluster> = observed.clusters.to_vec();
        clusters.sort_by(|a, b| name_of(a).cmp(name_of(b)));
        let mut bindings: Vec<&Binding<'_>> = observed.bindings.iter().collect();
        bindings.sort_by_key(|binding| binding.name);
        let mut sorted = Self {
            clusters,
            deleting: Vec::new(),
            unscheduled: Vec::new(),
            dangling: Vec::new(),
            leaving: Vec::new(),
            obsolete: Vec::new(),
            scheduled: Vec::new(),
            bound: Vec::new(),
        };
        for binding in bindings {
            let is_obsolete =
                binding.spec.scheduling_policy_snapshot_name != observed.policy_snapshot;
            let cluster = sorted.cluster(&binding.spec.target_cluster);
            let list = if binding.deleting {
                &mut sorted.deleting
            } else if binding.spec.state == BindingState::Unscheduled {
                &mut sorted.unscheduled
            } else if cluster.is_none() {
                &mut sorted.dangling
            } else if is_obsolete && cluster.is_some_and(is_leaving) {
                &mut sorted.leaving
            } else if is_obsolete {
                &mut sorted.obsolete
            } else if binding.spec.state == BindingState::Scheduled {
                &mut sorted.scheduled
            } else {
                &mut sorted.bound
            };
            list.push(binding);
        }
        sorted
    }

    fn cluster(&self, name: &str) -> Option<&'a MemberCluster> {
        let found = self.clusters.binary_search_by(|cluster| name_of(cluster).cmp(name));
        found.ok().map(|index| self.clusters[index])
    }

    /// Clusters with a scheduled or bound binding of the current policy.
    fn selected(&self) -> BTreeSet<&'a str> {
        self.scheduled
            .iter()
            .chain(&self.bound)
            .map(|binding| binding.spec.target_cluster.as_str())
            .collect()
    }

    fn by_cluster(bindings: &[&'a Binding<'a>]) -> BTreeMap<&'a str, &'a Binding<'a>> {
        bindings.iter().map(|binding| (binding.spec.target_cluster.as_str(), *binding)).collect()
    }
}

/// Tells whether a cluster is on its way out of the fleet. It keeps what it has, unless somebody withdraws that.
fn is_leaving(cluster: &MemberCluster) -> bool {
    cluster.metadata.deletion_timestamp.is_some()
}

fn name_of(cluster: &MemberCluster) -> &str {
    cluster.metadata.name.as_deref().unwrap_or_default()
}

/// Returns the name of a new binding: both names cut to fit 63 characters, and eight characters that tell placements of
/// the same name apart. They are drawn from the placement's uid, so that deciding again asks for the same object; a
/// binding on its way out keeps its name, and the next in the row is taken.
fn binding_name(observed: &Observed<'_>, cluster: &str) -> String {
    let taken: BTreeSet<&str> = observed.bindings.iter().map(|binding| binding.name).collect();
    let cut = |text: &'_ str, at: usize| -> String {
        let end = text.char_indices().nth(at).map_or(text.len(), |(index, _)| index);
        text[..end].trim_end_matches(['-', '.']).to_owned()
    };
    (0_u32..)
        .map(|n| {
            let digest = Sha256::digest(format!("{}/{cluster}/{n}", observed.placement_uid));
            format!(
                "{}-{}-{}",
                cut(observed.placement, 26),
                cut(cluster, 27),
                &hex::encode(digest)[..8]
            )
        })
        .find(|name| !taken.contains(name.as_str()))
        .expect("a placement has fewer bindings than there are names")
}

/// Makes the spec of a binding for a cluster that was picked.
fn assigned(
    observed: &Observed<'_>,
    state: BindingState,
    decision: ClusterDecision,
) -> ResourceBindingSpec {
    ResourceBindingSpec {
        state,
        scheduling_policy_snapshot_name: observed.policy_snapshot.to_owned(),
        target_cluster: decision.cluster_name.clone(),
        cluster_decision: decision,
        ..ResourceBindingSpec::default()
    }
}

/// Keeps what a binding rolls out and gives it the new decision.
fn reassigned(
    observed: &Observed<'_>,
    binding: &Binding<'_>,
    state: BindingState,
    decision: ClusterDecision,
) -> Assignment {
    let spec = ResourceBindingSpec {
        state,
        scheduling_policy_snapshot_name: observed.policy_snapshot.to_owned(),
        cluster_decision: decision,
        ..binding.spec.clone()
    };
    Assignment { name: binding.name.to_owned(), spec }
}

fn decision(
    cluster: &str,
    selected: bool,
    score: Option<Score>,
    reason: String,
) -> ClusterDecision {
    let cluster_score = score.map(|score| ClusterScore {
        affinity_score: Some(score.affinity),
        priority_score: Some(score.spread),
    });
    ClusterDecision { cluster_name: cluster.to_owned(), selected, cluster_score, reason }
}

/// Score of a cluster; compared in the order of the fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    spread: i32,
    affinity: i32,
    /// The cluster holds a binding of an older policy; staying beats moving.
    obsolete: i32,
}

/// Reasons that the condition `Scheduled` of a policy snapshot carries.
const FULFILLED: &str = reason::SCHEDULING_POLICY_FULFILLED;
const UNFULFILLED: &str = reason::SCHEDULING_POLICY_UNFULFILLED;

#[cfg(test)]
mod tests;
