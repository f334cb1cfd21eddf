//! Topology spread constraints: how much placing one more resource in a domain unbalances it.

use std::collections::BTreeMap;

use stolos_api::cluster::MemberCluster;
use stolos_api::placement::{TopologySpreadConstraint, UnsatisfiableConstraintAction};

/// Penalty for a violated `ScheduleAnyway` constraint (placement-scheduler 4.4).
const VIOLATION: i32 = -1000;

/// The constraints of a policy against the present distribution.
#[derive(Debug)]
pub(super) struct Spread<'a> {
    constraints: Vec<Domains<'a>>,
}

#[derive(Debug)]
struct Domains<'a> {
    constraint: &'a TopologySpreadConstraint,
    /// Clusters with a current binding, by the value of the topology label.
    counts: BTreeMap<&'a str, i32>,
}

impl<'a> Spread<'a> {
    /// Counts the domains over all clusters; `holds` tells which have a scheduled or bound binding.
    pub(super) fn new(
        constraints: &'a [TopologySpreadConstraint],
        fleet: &[&'a MemberCluster],
        holds: impl Fn(&MemberCluster) -> bool,
    ) -> Self {
        let count = |constraint: &'a TopologySpreadConstraint| {
            let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
            for cluster in fleet {
                let Some(domain) = domain(cluster, &constraint.topology_key) else { continue };
                *counts.entry(domain).or_insert(0) += i32::from(holds(cluster));
            }
            Domains { constraint, counts }
        };
        Self { constraints: constraints.iter().map(count).collect() }
    }

    /// Returns the reason why a cluster is out, if a `DoNotSchedule` constraint says so.
    pub(super) fn violation(&self, cluster: &MemberCluster) -> Option<String> {
        let hard = |domains: &&Domains| {
            domains.constraint.when_unsatisfiable == UnsatisfiableConstraintAction::DoNotSchedule
        };
        let violated = self
            .constraints
            .iter()
            .filter(hard)
            .find(|domains| domains.change(cluster).is_some_and(|(_, violates)| violates))?;
        let TopologySpreadConstraint { topology_key, max_skew, .. } = violated.constraint;
        Some(format!(
            "violated doNotSchedule topology spread constraint \"{topology_key}\" (max skew {max_skew})"
        ))
    }

    /// Returns the topology spread score of a cluster.
    pub(super) fn score(&self, cluster: &MemberCluster) -> i32 {
        let of = |domains: &Domains| match domains.change(cluster) {
            None => 0,
            Some((_, true)) => VIOLATION,
            Some((change, false)) => -change,
        };
        self.constraints.iter().map(of).sum()
    }
}

impl Domains<'_> {
    /// Returns by how much one more in the cluster's domain changes the skew, and whether that breaks the constraint.
    /// A cluster without the label belongs to no domain.
    fn change(&self, cluster: &MemberCluster) -> Option<(i32, bool)> {
        let count = *self.counts.get(domain(cluster, &self.constraint.topology_key)?)?;
        let smallest = self.counts.values().copied().min()?;
        let largest = self.counts.values().copied().max()?;
        let lone_smallest = self.counts.values().filter(|other| **other == smallest).count() == 1;
        let change = if smallest == largest || count == largest {
            1
        } else if count == smallest && lone_smallest {
            -1
        } else {
            0
        };
        Some((change, largest - smallest + change > self.constraint.max_skew))
    }
}

fn domain<'a>(cluster: &'a MemberCluster, key: &str) -> Option<&'a str> {
    cluster.metadata.labels.as_ref()?.get(key).map(String::as_str)
}
