//! The scheduler alone: one cycle over fleets of 10, 1,000 and 10,000 members.
//!
//! An iteration is one call of `plan` for one placement, so placements per second are one second by its time. The
//! throughput that criterion prints counts clusters: each of them is decided about in every cycle.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use stolos_api::cluster::names::{agent, condition};
use stolos_api::cluster::{AgentStatus, MemberCluster, MemberClusterStatus};
use stolos_api::placement::{
    Affinity, BindingState, ClusterAffinity, ClusterSelector, ClusterSelectorTerm, PlacementPolicy,
    PlacementType, PreferredClusterSelector, ResourceBindingSpec,
};
use stolos_core::placement::scheduler::{self, Binding, Observed, Plan};

const SIZES: [usize; 3] = [10, 1_000, 10_000];

const REGIONS: [&str; 4] = ["westeurope", "northeurope", "eastus", "southeastasia"];

criterion_group!(benches, pick_all, pick_n);
criterion_main!(benches);

/// Every member, for a new placement, for one that half of the members have, and for one that all have.
fn pick_all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick_all");
    for size in SIZES {
        let fleet = fleet(size);
        let clusters: Vec<&MemberCluster> = fleet.iter().collect();
        let all = assignments(&plan(&clusters, None, &[]));
        group.throughput(Throughput::Elements(size as u64));
        for (case, n_bound) in [("new", 0), ("half_placed", size / 2), ("settled", size)] {
            let bindings = bindings(&all[..n_bound]);
            group.bench_function(BenchmarkId::new(case, size), |bencher| {
                bencher.iter(|| plan(black_box(&clusters), None, black_box(&bindings)))
            });
        }
    }
    group.finish();
}

/// A tenth of the members, chosen by required and preferred labels.
fn pick_n(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick_n");
    for size in SIZES {
        let fleet = fleet(size);
        let clusters: Vec<&MemberCluster> = fleet.iter().collect();
        let policy = affinity_policy(size / 10);
        let chosen = assignments(&plan(&clusters, Some(&policy), &[]));
        assert_eq!(chosen.len(), size / 10, "the fleet has enough members that match");
        group.throughput(Throughput::Elements(size as u64));
        for (case, n_bound) in [("new", 0), ("one_missing", chosen.len() - 1)] {
            let bindings = bindings(&chosen[..n_bound]);
            group.bench_function(BenchmarkId::new(case, size), |bencher| {
                bencher.iter(|| plan(black_box(&clusters), Some(&policy), black_box(&bindings)))
            });
        }
    }
    group.finish();
}

fn plan(
    clusters: &[&MemberCluster],
    policy: Option<&PlacementPolicy>,
    bindings: &[Binding<'_>],
) -> Plan {
    let observed = Observed {
        placement: "web",
        namespace: None,
        placement_uid: "5d3f9f4e-53b4-4f0e-8f0a-6c1f3f6f9f10",
        policy_snapshot: "web-0",
        policy,
        number_of_clusters: policy.and_then(|policy| policy.number_of_clusters),
        clusters,
        bindings,
        now: now(),
    };
    scheduler::plan(&observed).expect("the policy can be evaluated")
}

/// Returns what a plan creates, as it is once it was rolled out.
fn assignments(plan: &Plan) -> Vec<(String, ResourceBindingSpec)> {
    let bound = |spec: &ResourceBindingSpec| ResourceBindingSpec {
        state: BindingState::Bound,
        ..spec.clone()
    };
    plan.create.iter().map(|created| (created.name.clone(), bound(&created.spec))).collect()
}

fn bindings(assignments: &[(String, ResourceBindingSpec)]) -> Vec<Binding<'_>> {
    assignments
        .iter()
        .map(|(name, spec)| Binding { name, deleting: false, previous_state: None, spec })
        .collect()
}

/// Requires one of two regions, prefers one of them, and prefers one tier.
fn affinity_policy(number_of_clusters: usize) -> PlacementPolicy {
    let term = |key: &str, value: &str| ClusterSelectorTerm {
        label_selector: Some(LabelSelector {
            match_labels: Some([(key.to_owned(), value.to_owned())].into()),
            match_expressions: None,
        }),
        ..ClusterSelectorTerm::default()
    };
    let preferred = |weight: i32, preference: ClusterSelectorTerm| PreferredClusterSelector {
        weight,
        preference,
    };
    let required = ClusterSelector {
        cluster_selector_terms: vec![term("region", REGIONS[0]), term("region", REGIONS[1])],
    };
    PlacementPolicy {
        placement_type: PlacementType::PickN,
        number_of_clusters: i32::try_from(number_of_clusters).ok(),
        affinity: Some(Affinity {
            cluster_affinity: Some(ClusterAffinity {
                required_during_scheduling_ignored_during_execution: Some(required),
                preferred_during_scheduling_ignored_during_execution: vec![
                    preferred(60, term("region", REGIONS[1])),
                    preferred(30, term("tier", "gold")),
                ],
            }),
        }),
        ..PlacementPolicy::default()
    }
}

/// Returns members that are joined and healthy, spread over regions and tiers.
fn fleet(size: usize) -> Vec<MemberCluster> {
    (0..size).map(cluster).collect()
}

fn cluster(index: usize) -> MemberCluster {
    let condition = |type_: &str| Condition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: type_.to_owned(),
        message: String::new(),
        last_transition_time: Time(now()),
        observed_generation: Some(1),
    };
    let labels = [
        ("region", REGIONS[index % REGIONS.len()]),
        ("tier", if index.is_multiple_of(3) { "gold" } else { "silver" }),
        ("fleet.azure.com/member-name", "member"),
    ];
    let mut cluster = MemberCluster::default();
    cluster.metadata.name = Some(format!("member-{index}"));
    cluster.metadata.labels =
        Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
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

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a timestamp")
}
