use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use proptest::prelude::*;
use stolos_api::cluster::names::{agent, condition};
use stolos_api::cluster::{AgentStatus, MemberClusterStatus, Taint};
use stolos_api::placement::{
    Affinity, ClusterAffinity, ClusterSelector, ClusterSelectorTerm, PreferredClusterSelector,
    TopologySpreadConstraint,
};

use super::*;

mod preferences;

const NOW: &str = "2026-01-01T00:10:00Z";

fn now() -> Timestamp {
    NOW.parse().expect("a timestamp")
}

fn cluster(name: &str, labels: &[(&str, &str)]) -> MemberCluster {
    let condition = |type_: &str| Condition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        last_transition_time: Time(now()),
        ..empty_condition()
    };
    let mut cluster = MemberCluster::default();
    cluster.metadata.name = Some(name.to_owned());
    cluster.metadata.labels =
        Some(labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
    cluster.status = Some(MemberClusterStatus {
        agent_status: vec![AgentStatus {
            type_: agent::MEMBER_AGENT.to_owned(),
            conditions: vec![condition(condition::JOINED), condition(condition::HEALTHY)],
            last_received_heartbeat: Some(Time(now())),
        }],
        ..MemberClusterStatus::default()
    });
    cluster
}

fn empty_condition() -> Condition {
    Condition {
        type_: String::new(),
        status: String::new(),
        reason: String::new(),
        message: String::new(),
        last_transition_time: Time(now()),
        observed_generation: None,
    }
}

/// The state that plans are carried out on.
#[derive(Clone, Debug, Default)]
struct Hub {
    clusters: Vec<MemberCluster>,
    namespace: Option<String>,
    policy: Option<PlacementPolicy>,
    n: Option<i32>,
    snapshot: String,
    bindings: Vec<(String, Option<BindingState>, ResourceBindingSpec)>,
}

impl Hub {
    fn new(clusters: Vec<MemberCluster>, policy: Option<PlacementPolicy>) -> Self {
        let n = policy.as_ref().and_then(|policy| policy.number_of_clusters);
        let snapshot = "web-0".to_owned();
        Self { clusters, namespace: None, policy, n, snapshot, bindings: Vec::new() }
    }

    fn plan(&self) -> Plan {
        self.decide(plan)
    }

    fn decide(&self, how: impl Fn(&Observed<'_>) -> Result<Plan, Error>) -> Plan {
        let bindings: Vec<Binding<'_>> = self
            .bindings
            .iter()
            .map(|(name, previous, spec)| Binding {
                name,
                deleting: false,
                previous_state: *previous,
                spec,
            })
            .collect();
        let clusters: Vec<_> = self.clusters.iter().collect();
        let observed = Observed {
            placement: "web",
            namespace: self.namespace.as_deref(),
            placement_uid: "uid-of-web",
            policy_snapshot: &self.snapshot,
            policy: self.policy.as_ref(),
            number_of_clusters: self.n,
            clusters: &clusters,
            bindings: &bindings,
            now: now(),
        };
        how(&observed).expect("the policy can be evaluated")
    }

    /// As [`Hub::settle`], one cycle at a time.
    fn settle_step_by_step(&mut self) -> Outcome {
        loop {
            let plan = self.decide(cycle);
            self.carry_out(&plan);
            if !plan.again {
                return plan.outcome.expect("a final plan reports");
            }
        }
    }

    fn carry_out(&mut self, plan: &Plan) {
        for assignment in plan.create.iter().chain(&plan.patch) {
            self.bindings.retain(|(name, _, _)| *name != assignment.name);
            self.bindings.push((assignment.name.clone(), None, assignment.spec.clone()));
        }
        for (unwanted, state) in &plan.unschedule {
            for (name, previous, spec) in &mut self.bindings {
                if name == unwanted {
                    *previous = Some(*state);
                    spec.state = BindingState::Unscheduled;
                }
            }
        }
    }

    /// Plans and carries out until a plan is final, and returns its decisions.
    fn settle(&mut self) -> Outcome {
        for _ in 0..=self.clusters.len() {
            let plan = self.plan();
            self.carry_out(&plan);
            if !plan.again {
                return plan.outcome.expect("a final plan reports");
            }
        }
        panic!("the scheduler does not come to an end")
    }

    fn selected(&self) -> Vec<&str> {
        let live =
            self.bindings.iter().filter(|(_, _, spec)| spec.state != BindingState::Unscheduled);
        let mut names: Vec<&str> = live.map(|(_, _, spec)| spec.target_cluster.as_str()).collect();
        names.sort_unstable();
        names
    }
}

fn members(n: usize) -> Vec<MemberCluster> {
    (0..n)
        .map(|i| cluster(&format!("member-{i}"), &[("zone", if i % 2 == 0 { "a" } else { "b" })]))
        .collect()
}

fn pick_n(n: i32) -> PlacementPolicy {
    PlacementPolicy {
        placement_type: PlacementType::PickN,
        number_of_clusters: Some(n),
        ..PlacementPolicy::default()
    }
}

fn label_term(key: &str, value: &str) -> ClusterSelectorTerm {
    let match_labels = Some([(key.to_owned(), value.to_owned())].into());
    let selector = LabelSelector { match_labels, match_expressions: None };
    ClusterSelectorTerm { label_selector: Some(selector), ..ClusterSelectorTerm::default() }
}

fn required(mut policy: PlacementPolicy, term: ClusterSelectorTerm) -> PlacementPolicy {
    policy.affinity = Some(Affinity {
        cluster_affinity: Some(ClusterAffinity {
            required_during_scheduling_ignored_during_execution: Some(ClusterSelector {
                cluster_selector_terms: vec![term],
            }),
            ..ClusterAffinity::default()
        }),
    });
    policy
}

fn preferred(
    mut policy: PlacementPolicy,
    weight: i32,
    term: ClusterSelectorTerm,
) -> PlacementPolicy {
    policy.affinity = Some(Affinity {
        cluster_affinity: Some(ClusterAffinity {
            preferred_during_scheduling_ignored_during_execution: vec![PreferredClusterSelector {
                weight,
                preference: term,
            }],
            ..ClusterAffinity::default()
        }),
    });
    policy
}

#[test]
fn no_policy_picks_every_eligible_cluster() {
    let mut clusters = members(3);
    clusters[1].status = None;
    let mut hub = Hub::new(clusters, None);
    let outcome = hub.settle();
    assert_eq!(hub.selected(), ["member-0", "member-2"]);
    assert!(outcome.fulfilled);
    let why = &outcome.decisions.last().expect("the third cluster is explained").reason;
    assert_eq!(
        why,
        "ClusterUnschedulable, cluster is not connected to the fleet: member agent not online yet"
    );
}

#[test]
fn on_a_tie_the_greater_name_wins() {
    let mut hub = Hub::new(members(3), Some(pick_n(2)));
    hub.settle();
    assert_eq!(hub.selected(), ["member-1", "member-2"]);
}

#[test]
fn preference_beats_the_name() {
    let mut hub = Hub::new(members(3), Some(preferred(pick_n(1), 10, label_term("zone", "b"))));
    let outcome = hub.settle();
    assert_eq!(hub.selected(), ["member-1"]);
    let reason = &outcome.decisions[0].reason;
    assert!(reason.contains("(affinity score: 10, topology spread score: 0)"), "{reason}");
}

#[test]
fn too_few_clusters_leave_the_policy_unfulfilled() {
    let mut hub = Hub::new(members(3), Some(required(pick_n(3), label_term("zone", "a"))));
    let outcome = hub.settle();
    assert_eq!(hub.selected(), ["member-0", "member-2"]);
    assert!(!outcome.fulfilled);
    assert_eq!(outcome.condition().1, "SchedulingPolicyUnfulfilled");
}

#[test]
fn scaling_down_takes_scheduled_before_bound_and_smaller_names_first() {
    let mut hub = Hub::new(members(3), Some(pick_n(3)));
    hub.settle();
    for (_, _, spec) in &mut hub.bindings {
        if spec.target_cluster == "member-0" {
            spec.state = BindingState::Bound;
        }
    }
    hub.n = Some(1);
    hub.settle();
    assert_eq!(hub.selected(), ["member-0"]);
}

#[test]
fn scaling_down_lets_lower_scores_go_before_smaller_names() {
    let mut hub = Hub::new(members(3), Some(preferred(pick_n(3), 10, label_term("zone", "b"))));
    hub.settle();
    hub.bindings.iter_mut().for_each(|(_, _, spec)| spec.state = BindingState::Bound);
    hub.n = Some(2);
    hub.settle();
    assert_eq!(hub.selected(), ["member-1", "member-2"]);
    hub.n = Some(1);
    hub.settle();
    assert_eq!(hub.selected(), ["member-1"], "the name of the other one is greater");
}

#[test]
fn a_satisfied_placement_never_moves() {
    let mut hub = Hub::new(members(2), Some(pick_n(1)));
    hub.settle();
    hub.clusters.push(cluster("zebra", &[]));
    hub.settle();
    assert_eq!(hub.selected(), ["member-1"]);
}

#[test]
fn a_cluster_that_becomes_unhealthy_keeps_its_binding() {
    let mut hub = Hub::new(members(2), None);
    hub.settle();
    hub.clusters[0].status = None;
    hub.settle();
    assert_eq!(hub.selected(), ["member-0", "member-1"]);
}

fn leave(cluster: &mut MemberCluster) {
    cluster.metadata.deletion_timestamp = Some(Time(now()));
}

#[test]
fn a_cluster_on_its_way_out_stays_selected() {
    let fixed = PlacementPolicy {
        placement_type: PlacementType::PickFixed,
        cluster_names: vec!["member-0".into(), "member-1".into()],
        ..PlacementPolicy::default()
    };
    for policy in [PlacementPolicy::default(), pick_n(2), fixed] {
        let mut hub = Hub::new(members(2), Some(policy));
        hub.settle();
        leave(&mut hub.clusters[0]);
        let outcome = hub.settle();
        assert_eq!(hub.selected(), ["member-0", "member-1"]);
        assert_eq!((outcome.n_selected, outcome.fulfilled), (2, true));
    }
}

#[test]
fn a_cluster_on_its_way_out_is_not_picked() {
    let mut hub = Hub::new(members(3), Some(pick_n(2)));
    leave(&mut hub.clusters[2]);
    hub.settle();
    assert_eq!(hub.selected(), ["member-0", "member-1"]);
}

#[test]
fn scaling_down_lets_the_cluster_that_leaves_go_by_itself() {
    let mut hub = Hub::new(members(3), Some(pick_n(3)));
    hub.settle();
    leave(&mut hub.clusters[2]);
    hub.n = Some(2);
    let outcome = hub.settle();
    assert_eq!(outcome.n_selected, 2);
    assert_eq!(hub.selected(), ["member-0", "member-1", "member-2"], "it keeps what it has");
    hub.clusters.remove(2);
    hub.settle();
    assert_eq!(hub.selected(), ["member-0", "member-1"]);
}

#[test]
fn a_cluster_that_leaves_loses_its_binding() {
    let mut hub = Hub::new(members(2), None);
    hub.settle();
    hub.clusters.remove(0);
    hub.settle();
    assert_eq!(hub.selected(), ["member-1"]);
}

#[test]
fn a_cluster_picked_again_gets_its_former_state_back() {
    let mut hub = Hub::new(members(2), Some(pick_n(2)));
    hub.settle();
    hub.bindings.iter_mut().for_each(|(_, _, spec)| spec.state = BindingState::Bound);
    hub.n = Some(1);
    hub.settle();
    assert_eq!(hub.selected(), ["member-1"]);
    hub.n = Some(2);
    hub.settle();
    assert_eq!(hub.bindings.len(), 2, "no second binding for the cluster");
    assert!(hub.bindings.iter().all(|(_, _, spec)| spec.state == BindingState::Bound));
}

#[test]
fn a_new_policy_moves_what_no_longer_matches_and_keeps_the_rest() {
    let mut hub = Hub::new(members(4), Some(PlacementPolicy::default()));
    hub.settle();
    hub.policy = Some(required(PlacementPolicy::default(), label_term("zone", "a")));
    hub.snapshot = "web-1".to_owned();
    hub.settle();
    assert_eq!(hub.selected(), ["member-0", "member-2"]);
}

#[test]
fn taints_repel_new_placements_only() {
    let mut clusters = members(2);
    clusters[0].spec.taints = vec![Taint { key: "k".into(), ..Taint::default() }];
    let mut hub = Hub::new(clusters, None);
    hub.settle();
    assert_eq!(hub.selected(), ["member-1"]);
    hub.clusters[1].spec.taints = vec![Taint { key: "k".into(), ..Taint::default() }];
    hub.settle();
    assert_eq!(hub.selected(), ["member-1"]);
}

#[test]
fn a_namespaced_placement_goes_where_its_namespace_is() {
    let mut clusters = members(4);
    let collected = Condition {
        type_: condition::NAMESPACE_COLLECTION_SUCCEEDED.to_owned(),
        status: "False".to_owned(),
        ..empty_condition()
    };
    for (cluster, namespaces) in clusters.iter_mut().zip([
        Some([("app".to_owned(), String::new())].into()),
        Some([("other".to_owned(), String::new())].into()),
        None,
    ]) {
        let status = cluster.status.as_mut().expect("a status");
        status.namespaces = namespaces;
        status.conditions.push(collected.clone());
    }
    let mut hub = Hub::new(clusters.clone(), None);
    hub.namespace = Some("app".to_owned());
    let outcome = hub.settle();
    assert_eq!(hub.selected(), ["member-0", "member-3"], "the last one does not tell");
    let reasons: Vec<_> =
        outcome.decisions.iter().skip(2).map(|decision| decision.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "ClusterUnschedulable, target namespace does not exist on cluster",
            "ClusterUnschedulable, cluster has no namespace information available",
        ]
    );
    let mut everywhere = Hub::new(clusters, None);
    everywhere.settle();
    assert_eq!(everywhere.selected().len(), 4, "a cluster-scoped placement brings its namespaces");
}

#[test]
fn a_spread_placement_is_decided_at_once() {
    let mut policy = pick_n(4);
    policy.topology_spread_constraints =
        vec![TopologySpreadConstraint { topology_key: "zone".into(), ..Default::default() }];
    let plan = Hub::new(members(6), Some(policy)).plan();
    assert_eq!((plan.create.len(), plan.again), (4, false));
    assert!(plan.outcome.expect("a final plan reports").fulfilled);
}

#[test]
fn fixed_names_explain_what_is_missing() {
    let policy = PlacementPolicy {
        placement_type: PlacementType::PickFixed,
        cluster_names: vec!["member-1".into(), "nowhere".into()],
        ..PlacementPolicy::default()
    };
    let mut hub = Hub::new(members(2), Some(policy));
    let outcome = hub.settle();
    assert_eq!(hub.selected(), ["member-1"]);
    assert!(!outcome.fulfilled);
    assert_eq!(outcome.decisions[1].reason, "Specified cluster \"nowhere\" is not found");
}

#[test]
fn an_emptied_list_of_fixed_names_withdraws_nothing() {
    let policy = PlacementPolicy {
        placement_type: PlacementType::PickFixed,
        cluster_names: vec!["member-1".into()],
        ..PlacementPolicy::default()
    };
    let mut hub = Hub::new(members(2), Some(policy));
    hub.settle();
    hub.policy.as_mut().expect("a policy").cluster_names.clear();
    hub.snapshot = "web-1".to_owned();
    let plan = hub.plan();
    assert_eq!(plan, Plan::default());
}

#[test]
fn names_of_bindings_fit_and_stay_the_same() {
    let long = "c".repeat(60);
    let hub = Hub::new(vec![cluster(&long, &[])], None);
    let (first, second) = (hub.plan(), hub.plan());
    assert_eq!(first.create[0].name, second.create[0].name);
    assert_eq!(first.create[0].name.len(), 3 + 1 + 27 + 1 + 8);
}

fn any_hub() -> impl Strategy<Value = Hub> {
    (1..12usize, 0..14i32, prop::option::of(1..3i32), any::<bool>()).prop_map(
        |(n, wished, skew, prefer)| {
            let mut policy = pick_n(wished);
            if prefer {
                policy = preferred(policy, -5, label_term("zone", "a"));
            }
            if let Some(max_skew) = skew {
                policy.topology_spread_constraints = vec![TopologySpreadConstraint {
                    max_skew,
                    topology_key: "zone".to_owned(),
                    ..TopologySpreadConstraint::default()
                }];
            }
            Hub::new(members(n), Some(policy))
        },
    )
}

proptest! {
    #[test]
    fn never_more_clusters_than_wished(mut hub in any_hub()) {
        hub.settle();
        let wished = usize::try_from(hub.n.unwrap_or(0)).unwrap_or(0);
        prop_assert!(hub.selected().len() <= wished);
    }

    #[test]
    fn nothing_is_withdrawn_from_a_cluster_on_its_way_out(
        mut hub in any_hub(), leaving in prop::collection::vec(any::<bool>(), 12),
        scale in 0..14i32, new_policy: bool,
    ) {
        hub.settle();
        let held = hub.selected().iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        for (cluster, leaves) in hub.clusters.iter_mut().zip(leaving) {
            if leaves {
                leave(cluster);
            }
        }
        hub.n = Some(scale);
        if new_policy {
            hub.policy = Some(required(pick_n(scale), label_term("zone", "a")));
            hub.snapshot = "web-1".to_owned();
        }
        hub.settle();
        let selected = hub.selected();
        for cluster in hub.clusters.iter().filter(|cluster| is_leaving(cluster)) {
            let name = name_of(cluster);
            prop_assert_eq!(held.contains(name), selected.contains(&name), "{}", name);
        }
    }

    #[test]
    fn planning_again_changes_nothing(mut hub in any_hub()) {
        hub.settle();
        let again = hub.plan();
        prop_assert!(again.create.is_empty() && again.patch.is_empty() && again.unschedule.is_empty());
    }

    #[test]
    fn the_order_of_clusters_and_bindings_does_not_matter(mut hub in any_hub(), scale in 0..6i32) {
        let mut turned = hub.clone();
        turned.clusters.reverse();
        hub.settle();
        turned.settle();
        prop_assert_eq!(hub.selected(), turned.selected());
        turned.bindings.reverse();
        (hub.n, turned.n) = (Some(scale), Some(scale));
        hub.settle();
        turned.settle();
        prop_assert_eq!(hub.selected(), turned.selected());
    }

    #[test]
    fn deciding_at_once_is_deciding_step_by_step(mut hub in any_hub(), scale in 0..8i32, soft: bool) {
        if soft && let Some(constraint) = hub.policy.as_mut().and_then(|p| p.topology_spread_constraints.first_mut()) {
            constraint.when_unsatisfiable = stolos_api::placement::UnsatisfiableConstraintAction::ScheduleAnyway;
        }
        let mut slow = hub.clone();
        prop_assert_eq!(hub.settle(), slow.settle_step_by_step());
        // Another policy, and another number.
        for hub in [&mut hub, &mut slow] {
            hub.snapshot = "web-1".to_owned();
            hub.n = Some(scale);
        }
        hub.settle();
        slow.settle_step_by_step();
        prop_assert_eq!(hub.selected(), slow.selected());
        let states = |hub: &Hub| {
            let mut states: Vec<_> = hub.bindings.iter().map(|(name, _, spec)| (name.clone(), spec.state)).collect();
            states.sort_by(|a, b| a.0.cmp(&b.0));
            states
        };
        prop_assert_eq!(states(&hub), states(&slow));
    }

    #[test]
    fn spread_constraints_hold(mut hub in any_hub()) {
        hub.settle();
        let Some(constraint) = hub.policy.as_ref().and_then(|p| p.topology_spread_constraints.first()) else {
            return Ok(());
        };
        let in_zone = |zone: usize| {
            let of_zone = |name: &&&str| name.trim_start_matches("member-").parse::<usize>().is_ok_and(|i| i % 2 == zone);
            hub.selected().iter().filter(of_zone).count()
        };
        // With one cluster there is one domain only.
        if hub.clusters.len() > 1 {
            let skew = in_zone(0).abs_diff(in_zone(1));
            prop_assert!(skew <= usize::try_from(constraint.max_skew).unwrap_or(0));
        }
    }
}
