//! What the scheduler reports: decisions with reasons, and whether the policy is fulfilled.

use std::collections::BTreeSet;

use stolos_api::placement::ClusterDecision;

use super::{FULFILLED, Score, UNFULFILLED, decision};

/// Upper bound of decisions in a policy snapshot's status (CRD).
pub(in crate::placement) const MAX_DECISIONS: usize = 1000;

/// How many clusters that were not picked are explained (placement-scheduler 4.6).
const MAX_REJECTED: usize = 20;

/// A cluster that was not picked, with the reason.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rejected {
    decision: ClusterDecision,
}

impl Rejected {
    pub(super) fn filtered(cluster: &str, why: &str) -> Self {
        Self { decision: decision(cluster, false, None, format!("ClusterUnschedulable, {why}")) }
    }

    pub(super) fn outscored(cluster: &str, score: Score) -> Self {
        let Score { affinity, spread, .. } = score;
        let reason = format!(
            "Cluster \"{cluster}\" does not score high enough (affinity score: {affinity}, topology spread score: {spread})"
        );
        Self { decision: decision(cluster, false, Some(score), reason) }
    }

    pub(super) fn ineligible(cluster: &str, why: &str) -> Self {
        let reason =
            format!("Cluster \"{cluster}\" is not eligible for resource placement yet: {why}");
        Self { decision: decision(cluster, false, None, reason) }
    }

    pub(super) fn missing(cluster: &str) -> Self {
        let reason = format!("Specified cluster \"{cluster}\" is not found");
        Self { decision: decision(cluster, false, None, reason) }
    }
}

/// Decisions of a cycle, ready for the status of the policy snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Selected clusters, then some that were not, each with its reason.
    pub decisions: Vec<ClusterDecision>,
    /// Those that were not selected and that the status has no room for.
    pub unlisted: Vec<ClusterDecision>,
    /// The policy has all the clusters it asks for.
    pub fulfilled: bool,
    /// Number of selected clusters.
    pub n_selected: usize,
}

impl Outcome {
    /// PickAll is fulfilled by whatever passes.
    pub(super) fn all(selected: Vec<ClusterDecision>, rejected: Vec<Rejected>) -> Self {
        Self::new(true, selected, rejected)
    }

    pub(super) fn number(
        selected: Vec<ClusterDecision>,
        wished: usize,
        rejected: Vec<Rejected>,
    ) -> Self {
        Self::new(selected.len() >= wished, selected, rejected)
    }

    /// PickFixed is fulfilled when no listed cluster is missing or ineligible.
    pub(super) fn fixed(selected: Vec<ClusterDecision>, rejected: Vec<Rejected>) -> Self {
        Self::new(rejected.is_empty(), selected, rejected)
    }

    fn new(fulfilled: bool, selected: Vec<ClusterDecision>, rejected: Vec<Rejected>) -> Self {
        let n_selected = selected.len();
        let (decisions, unlisted) = list(selected, rejected);
        Self { decisions, unlisted, fulfilled, n_selected }
    }

    /// Returns status, reason and message of the condition `Scheduled`.
    #[must_use]
    pub fn condition(&self) -> (&'static str, &'static str, String) {
        let n = self.n_selected;
        if self.fulfilled {
            let message = format!(
                "found all cluster needed as specified by the scheduling policy, found {n} cluster(s)"
            );
            return ("True", FULFILLED, message);
        }
        let message = format!(
            "could not find all clusters needed as specified by the scheduling policy, found {n} cluster(s) instead"
        );
        ("False", UNFULFILLED, message)
    }

    /// Tells whether a status says the same, in whatever order.
    #[must_use]
    pub fn same_decisions(&self, reported: &[ClusterDecision]) -> bool {
        let sorted = |decisions: &[ClusterDecision]| {
            let mut decisions = decisions.to_vec();
            decisions.sort_by(|a, b| a.cluster_name.cmp(&b.cluster_name));
            decisions
        };
        sorted(&self.decisions) == sorted(reported)
    }
}

/// Returns the decisions that the status has room for, and the others.
fn list(
    selected: Vec<ClusterDecision>,
    rejected: Vec<Rejected>,
) -> (Vec<ClusterDecision>, Vec<ClusterDecision>) {
    let names: BTreeSet<String> =
        selected.iter().map(|decision| decision.cluster_name.clone()).collect();
    let mut decisions: Vec<ClusterDecision> = selected.into_iter().take(MAX_DECISIONS).collect();
    let room = MAX_REJECTED.min(MAX_DECISIONS - decisions.len());
    let others = rejected.into_iter().map(|rejected| rejected.decision);
    let mut others = others.filter(|other| !names.contains(&other.cluster_name));
    decisions.extend(others.by_ref().take(room));
    (decisions, others.collect())
}
