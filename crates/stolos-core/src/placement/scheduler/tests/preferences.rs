//! Property selectors and sorters, soft spread constraints, and what is told of clusters that were not picked.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use stolos_api::cluster::{PropertyValue, ResourceUsage};
use stolos_api::placement::{
    PropertySelector, PropertySelectorRequirement, PropertySortOrder, PropertySorter,
    UnsatisfiableConstraintAction,
};

use super::*;

/// A member with so many nodes, if it tells, and so much free memory.
fn sized(name: &str, nodes: Option<&str>, memory: Option<&str>) -> MemberCluster {
    let mut cluster = cluster(name, &[]);
    let status = cluster.status.as_mut().expect("a status");
    if let Some(nodes) = nodes {
        let value = PropertyValue { value: nodes.to_owned(), observation_time: Time(now()) };
        status.properties.insert("kubernetes-fleet.io/node-count".to_owned(), value);
    }
    status.resource_usage = memory.map(|memory| ResourceUsage {
        available: [("memory".to_owned(), Quantity(memory.to_owned()))].into(),
        ..ResourceUsage::default()
    });
    cluster
}

fn fleet() -> Vec<MemberCluster> {
    vec![
        sized("a", Some("2"), Some("4Gi")),
        sized("b", Some("5"), Some("1Gi")),
        sized("c", Some("10"), Some("3Gi")),
        sized("silent", None, None),
    ]
}

fn property(name: &str, operator: &str, value: &str) -> ClusterSelectorTerm {
    let requirement = PropertySelectorRequirement {
        name: name.to_owned(),
        operator: operator.to_owned(),
        values: vec![value.to_owned()],
    };
    ClusterSelectorTerm {
        property_selector: Some(PropertySelector { match_expressions: vec![requirement] }),
        ..ClusterSelectorTerm::default()
    }
}

#[test]
fn properties_are_compared_as_quantities() {
    const NODES: &str = "kubernetes-fleet.io/node-count";
    const MEMORY: &str = "resources.kubernetes-fleet.io/available-memory";
    for (name, operator, value, want) in [
        (NODES, "Gt", "2", vec!["b", "c"]),
        (NODES, "Ge", "2000m", vec!["a", "b", "c"]),
        (NODES, "Lt", "5", vec!["a"]),
        (NODES, "Le", "5", vec!["a", "b"]),
        (NODES, "Eq", "10", vec!["c"]),
        // A member that does not tell matches nothing, not even "other than".
        (NODES, "Ne", "10", vec!["a", "b"]),
        (MEMORY, "Gt", "3000Mi", vec!["a", "c"]),
        ("unknown", "Ne", "1", vec![]),
    ] {
        let policy = required(PlacementPolicy::default(), property(name, operator, value));
        let mut hub = Hub::new(fleet(), Some(policy));
        let outcome = hub.settle();
        assert_eq!(hub.selected(), want, "{name} {operator} {value}");
        let rejected = outcome.decisions.iter().filter(|decision| !decision.selected);
        for decision in rejected {
            assert_eq!(
                decision.reason,
                "ClusterUnschedulable, cluster does not match with any of the required cluster affinity terms"
            );
        }
    }
}

#[test]
fn a_property_that_cannot_be_compared_decides_nothing() {
    let term = property("resources.kubernetes-fleet.io/available-x-y", "Gt", "1");
    let hub = Hub::new(fleet(), Some(required(PlacementPolicy::default(), term)));
    let clusters: Vec<_> = hub.clusters.iter().collect();
    let observed = Observed {
        placement: "web",
        namespace: None,
        placement_uid: "uid",
        policy_snapshot: "web-0",
        policy: hub.policy.as_ref(),
        number_of_clusters: None,
        clusters: &clusters,
        bindings: &[],
        now: now(),
    };
    let error = plan(&observed).expect_err("an extended name has more than two parts");
    assert!(error.to_string().contains("available-x-y"), "{error}");
}

fn sorted(order: PropertySortOrder, weight: i32) -> PlacementPolicy {
    let name = "kubernetes-fleet.io/node-count".to_owned();
    let term = ClusterSelectorTerm {
        property_sorter: Some(PropertySorter { name, sort_order: order }),
        ..ClusterSelectorTerm::default()
    };
    preferred(pick_n(4), weight, term)
}

fn affinities(policy: PlacementPolicy, clusters: Vec<MemberCluster>) -> Vec<(String, i32)> {
    let outcome = Hub::new(clusters, Some(policy)).settle();
    let score = |decision: &ClusterDecision| {
        let score = decision.cluster_score.expect("picked clusters have a score");
        (decision.cluster_name.clone(), score.affinity_score.unwrap_or_default())
    };
    let mut scores: Vec<_> = outcome.decisions.iter().map(score).collect();
    scores.sort();
    scores
}

#[test]
fn a_sorter_places_members_between_the_smallest_and_the_largest() {
    let scores = |order, weight| {
        let scores = affinities(sorted(order, weight), fleet());
        scores.into_iter().map(|(_, score)| score).collect::<Vec<_>>()
    };
    // (2, 5, 10 nodes): shares 0, 0.375 and 1; who does not tell gets nothing.
    assert_eq!(scores(PropertySortOrder::Descending, 100), [0, 38, 100, 0]);
    assert_eq!(scores(PropertySortOrder::Ascending, 100), [100, 63, 0, 0]);
    assert_eq!(scores(PropertySortOrder::Descending, -100), [0, -38, -100, 0]);
    // Half away from zero.
    assert_eq!(scores(PropertySortOrder::Descending, 4), [0, 2, 4, 0]);
    let equal = vec![sized("a", Some("3"), None), sized("b", Some("3"), None)];
    let scores = affinities(sorted(PropertySortOrder::Descending, 100), equal);
    assert!(scores.iter().all(|(_, score)| *score == 0), "{scores:?}");
}

#[test]
fn a_filtered_member_still_bounds_the_scale() {
    let mut clusters = fleet();
    clusters[2].spec.taints = vec![Taint { key: "k".into(), ..Taint::default() }];
    let policy = PlacementPolicy {
        number_of_clusters: Some(2),
        ..sorted(PropertySortOrder::Descending, 100)
    };
    let mut hub = Hub::new(clusters, Some(policy));
    let outcome = hub.settle();
    assert_eq!(hub.selected(), ["b", "silent"], "on a tie the greater name wins");
    let reason = &outcome.decisions[0].reason;
    assert!(reason.contains("(affinity score: 38, topology spread score: 0)"), "{reason}");
    let tainted = outcome.decisions.iter().find(|decision| decision.cluster_name == "c");
    let reason = &tainted.expect("it is explained").reason;
    assert!(reason.starts_with("ClusterUnschedulable, taint k="), "{reason}");
}

#[test]
fn a_soft_spread_constraint_gives_way_when_nothing_better_is_left() {
    let policy = |action| {
        let mut policy = pick_n(3);
        policy.topology_spread_constraints = vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "zone".to_owned(),
            when_unsatisfiable: action,
        }];
        policy
    };
    let clusters: Vec<_> = ["a1", "a2", "a3", "b1"]
        .iter()
        .map(|name| cluster(name, &[("zone", &name[..1])]))
        .collect();
    let mut hard =
        Hub::new(clusters.clone(), Some(policy(UnsatisfiableConstraintAction::DoNotSchedule)));
    assert!(hard.settle().fulfilled);
    let mut soft = Hub::new(clusters, Some(policy(UnsatisfiableConstraintAction::ScheduleAnyway)));
    soft.n = Some(4);
    assert!(soft.settle().fulfilled, "all four, though the skew is two");
    hard.n = Some(4);
    let outcome = hard.settle();
    assert!(!outcome.fulfilled);
    let last = outcome.decisions.last().expect("the fourth is explained");
    assert_eq!(
        last.reason,
        "ClusterUnschedulable, violated doNotSchedule topology spread constraint \"zone\" (max skew 1)"
    );
}

#[test]
fn twenty_members_that_were_not_picked_are_explained_the_best_first() {
    let mut hub = Hub::new(members(30), Some(pick_n(1)));
    let outcome = hub.settle();
    let rejected: Vec<_> = outcome.decisions.iter().filter(|decision| !decision.selected).collect();
    assert_eq!(rejected.len(), 20);
    assert_eq!(
        rejected[0].reason,
        "Cluster \"member-8\" does not score high enough (affinity score: 0, topology spread score: 0)"
    );
}
