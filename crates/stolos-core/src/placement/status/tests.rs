//! One placement on some clusters, through its whole life.

use proptest::prelude::*;
use serde_json::{Value, json};
use stolos_api::placement::BindingState;

use super::*;

const KIND: &str = "ClusterResourcePlacement";
const GENERATION: i64 = 3;

/// A binding whose conditions are given as `Type=Status` or `Type=Status/Reason`.
#[derive(Clone, Debug)]
struct Bound {
    deleting: bool,
    spec: ResourceBindingSpec,
    status: ResourceBindingStatus,
}

fn bound(cluster: &str, snapshot: &str, conditions: &[&str]) -> Bound {
    let spec = ResourceBindingSpec {
        state: BindingState::Bound,
        resource_snapshot_name: snapshot.into(),
        scheduling_policy_snapshot_name: "crp-0".into(),
        target_cluster: cluster.into(),
        ..ResourceBindingSpec::default()
    };
    let build = Builder { previous: &[], generation: 7, now: Timestamp::UNIX_EPOCH };
    let conditions = conditions
        .iter()
        .map(|text| {
            let (type_, rest) = text.split_once('=').unwrap();
            let (status, reason) = rest.split_once('/').unwrap_or((rest, "Reported"));
            let status = match status {
                "True" => Status::True,
                "False" => Status::False,
                _ => Status::Unknown,
            };
            build.condition(type_, status, reason, "")
        })
        .collect();
    let status = ResourceBindingStatus { conditions, ..ResourceBindingStatus::default() };
    Bound { deleting: false, spec, status }
}

const DONE: &[&str] = &[
    "RolloutStarted=True/RolloutStarted",
    "Overridden=True/NoOverrideSpecified",
    "WorkSynchronized=True/AllWorkSynced",
    "Applied=True/AllWorkHaveBeenApplied",
    "Available=True/AllWorkAreAvailable",
];

struct World {
    spec: PlacementSpec,
    previous: PlacementStatus,
    policy: SchedulingPolicySnapshotStatus,
    bindings: Vec<Bound>,
    latest_index: Option<&'static str>,
    groups: BTreeMap<String, Group>,
    now: Timestamp,
}

fn world(selected: &[&str], others: &[&str], bindings: Vec<Bound>) -> World {
    let decision = |selected| {
        move |name: &&str| ClusterDecision {
            cluster_name: (*name).to_owned(),
            selected,
            cluster_score: None,
            reason: format!("about {name}"),
        }
    };
    let build = Builder { previous: &[], generation: 1, now: Timestamp::UNIX_EPOCH };
    let scheduled =
        build.condition("Scheduled", Status::True, "SchedulingPolicyFulfilled", "found all");
    let decisions =
        selected.iter().map(decision(true)).chain(others.iter().map(decision(false))).collect();
    let group = |index: &str| Group {
        index: index.to_owned(),
        resources: vec![ResourceIdentifier { name: format!("r{index}"), ..Default::default() }],
    };
    World {
        spec: PlacementSpec::default(),
        previous: PlacementStatus::default(),
        policy: SchedulingPolicySnapshotStatus {
            observed_crp_generation: GENERATION,
            conditions: vec![scheduled],
            target_clusters: decisions,
        },
        bindings,
        latest_index: Some("1"),
        groups: [
            ("crp-0-snapshot".to_owned(), group("0")),
            ("crp-1-snapshot".to_owned(), group("1")),
        ]
        .into(),
        now: Timestamp::UNIX_EPOCH,
    }
}

impl World {
    fn spec(mut self, spec: Value) -> Self {
        let mut spec = spec;
        spec["resourceSelectors"] = json!([]);
        self.spec = serde_json::from_value(spec).unwrap();
        self
    }

    fn status(&self) -> PlacementStatus {
        let bindings: Vec<_> = self
            .bindings
            .iter()
            .map(|bound| Binding {
                generation: 7,
                deleting: bound.deleting,
                spec: &bound.spec,
                status: Some(&bound.status),
            })
            .collect();
        aggregate(&Observed {
            kind: KIND,
            generation: GENERATION,
            spec: &self.spec,
            previous: &self.previous,
            policy_snapshot: PolicySnapshot {
                name: "crp-0",
                generation: 1,
                status: Some(&self.policy),
            },
            bindings: &bindings,
            latest_index: self.latest_index,
            groups: &self.groups,
            now: self.now,
        })
    }

    fn summary(&self) -> Vec<String> {
        summary(&self.status())
    }
}

fn line(conditions: &[Condition]) -> String {
    let show = |condition: &Condition| {
        assert_eq!(condition.observed_generation, Some(GENERATION));
        let type_ = condition.type_.strip_prefix(KIND).unwrap_or(&condition.type_);
        format!("{type_}={}/{}", condition.status, condition.reason)
    };
    conditions.iter().map(show).collect::<Vec<_>>().join(" ")
}

/// The placement's conditions, then those of each cluster.
fn summary(status: &PlacementStatus) -> Vec<String> {
    let clusters = status.per_cluster_placement_statuses.iter().map(|cluster| {
        format!(
            "{}@{}: {}",
            cluster.cluster_name,
            cluster.observed_resource_index,
            line(&cluster.conditions)
        )
    });
    [line(&status.conditions)].into_iter().chain(clusters).collect()
}

const CLUSTER_DONE: &str = "Scheduled=True/Scheduled RolloutStarted=True/RolloutStarted \
    Overridden=True/NoOverrideSpecified WorkSynchronized=True/AllWorkSynced \
    Applied=True/AllWorkHaveBeenApplied Available=True/AllWorkAreAvailable";

#[test]
fn a_placement_that_is_everywhere_is_complete() {
    let world = world(
        &["a", "b"],
        &[],
        vec![bound("b", "crp-1-snapshot", DONE), bound("a", "crp-1-snapshot", DONE)],
    );
    assert_eq!(
        world.summary(),
        [
            "Scheduled=True/SchedulingPolicyFulfilled RolloutStarted=True/RolloutStarted \
         Overridden=True/NoOverrideSpecified WorkSynchronized=True/WorkSynchronized \
         Applied=True/ApplySucceeded Available=True/ResourceAvailable",
            &format!("a@1: {CLUSTER_DONE}"),
            &format!("b@1: {CLUSTER_DONE}"),
        ]
    );
    let status = world.status();
    assert_eq!(status.selected_resources[0].name, "r1");
    assert!(is_complete(KIND, GENERATION, &world.spec, &status));
    let before = PlacementStatus::default();
    let reasons: Vec<_> = events(KIND, GENERATION, &world.spec, &before, &status)
        .into_iter()
        .map(|event| event.reason)
        .collect();
    assert_eq!(
        reasons,
        [
            "PlacementRolloutStarted",
            "PlacementOverriddenSucceeded",
            "PlacementWorkSynchronized",
            "PlacementApplied",
            "PlacementAvailable",
            "PlacementRolloutCompleted",
        ]
    );
    assert_eq!(events(KIND, GENERATION, &world.spec, &status, &status), []);
}

#[test]
fn unknown_outweighs_false_and_false_outweighs_true() {
    let failed = &[&DONE[..3], &["Applied=False/NotAllWorkHaveBeenApplied"]].concat();
    let rows: [(Vec<Bound>, &str); 3] = [
        (
            vec![bound("a", "crp-1-snapshot", DONE), bound("b", "crp-1-snapshot", failed)],
            "WorkSynchronized=True/WorkSynchronized Applied=False/ApplyFailed",
        ),
        (
            vec![bound("a", "crp-1-snapshot", &DONE[..3]), bound("b", "crp-1-snapshot", failed)],
            "WorkSynchronized=True/WorkSynchronized Applied=Unknown/ApplyPending",
        ),
        (
            vec![bound("a", "crp-1-snapshot", DONE)],
            "Scheduled=True/SchedulingPolicyFulfilled \
             RolloutStarted=Unknown/RolloutStartedUnknown",
        ),
    ];
    for (bindings, want) in rows {
        let summary = world(&["a", "b"], &[], bindings).summary();
        assert!(summary[0].ends_with(want), "{}", summary[0]);
    }
}

#[test]
fn progress_is_the_first_condition_that_does_not_hold() {
    let failed = &[&DONE[..3], &["Applied=False/NotAllWorkHaveBeenApplied"]].concat();
    let of = |conditions: &[&str], generation| {
        let world = world(&["a"], &[], vec![bound("a", "crp-1-snapshot", conditions)]);
        let Progress { type_, status, reason } =
            progress(KIND, generation, &world.spec, &world.status().conditions);
        format!("{} {status} {reason}", type_.trim_start_matches(KIND))
    };
    assert_eq!(of(DONE, GENERATION), "Completed True Completed");
    assert_eq!(of(failed, GENERATION), "Applied False ApplyFailed");
    assert_eq!(of(&[], GENERATION), "RolloutStarted Unknown RolloutStartedUnknown");
    assert_eq!(of(DONE, GENERATION + 1), "Scheduled nil nil");
}

#[test]
fn a_member_that_is_still_at_it_has_not_failed() {
    let applying = &[&DONE[..3], &["Applied=False/ApplyInProgress"]].concat();
    let failed = &[&DONE[..3], &["Applied=False/NotAllWorkHaveBeenApplied"]].concat();
    for (other, want) in [
        (DONE, "Applied=Unknown/ApplyPending"),
        (applying, "Applied=Unknown/ApplyPending"),
        (failed, "Applied=False/ApplyFailed"),
    ] {
        let bindings =
            vec![bound("a", "crp-1-snapshot", applying), bound("b", "crp-1-snapshot", other)];
        let summary = world(&["a", "b"], &[], bindings).summary();
        assert!(summary[0].ends_with(want), "{}", summary[0]);
        assert!(summary[1].ends_with("Applied=False/ApplyInProgress"), "{}", summary[1]);
    }
    let comparing = &[&DONE[..3], &["DiffReported=False/DiffReportInProgress"]].concat();
    let world = world(&["a"], &[], vec![bound("a", "crp-1-snapshot", comparing)])
        .spec(json!({"strategy": {"applyStrategy": {"type": "ReportDiff"}}}));
    let summary = world.summary();
    assert!(summary[0].ends_with("DiffReported=Unknown/DiffReportingPending"), "{}", summary[0]);
}

#[test]
fn a_cluster_without_the_latest_snapshot_waits() {
    for (reported, want) in [
        ("RolloutStarted=False", "RolloutStarted=False/RolloutNotStartedYet"),
        ("RolloutStarted=True", "RolloutStarted=Unknown/RolloutStartedUnknown"),
    ] {
        let summary = world(&["a"], &[], vec![bound("a", "crp-0-snapshot", &[reported])]).summary();
        assert_eq!(
            summary,
            [
                format!("Scheduled=True/SchedulingPolicyFulfilled {want}"),
                format!("a@1: Scheduled=True/Scheduled {want}"),
            ]
        );
    }
}

#[test]
fn a_binding_of_another_policy_or_on_its_way_out_does_not_count() {
    let mut leaving = bound("a", "crp-1-snapshot", DONE);
    leaving.deleting = true;
    let mut old = bound("a", "crp-1-snapshot", DONE);
    old.spec.scheduling_policy_snapshot_name = "crp-9".into();
    let summary = world(&["a"], &[], vec![leaving, old]).summary();
    assert!(summary[1].ends_with("RolloutStarted=Unknown/RolloutStartedUnknown"), "{summary:?}");
}

#[test]
fn missing_clusters_are_explained_without_a_name() {
    let fixed = json!({"policy": {"placementType": "PickFixed", "clusterNames": ["a", "b", "c"]}});
    let some = json!({"policy": {"placementType": "PickN", "numberOfClusters": 2}});
    for (spec, n_entries) in [(fixed, 3), (some, 2), (json!({}), 1)] {
        let world = world(&["a"], &["b", "c", "d"], vec![bound("a", "crp-1-snapshot", DONE)]);
        let summary = world.spec(spec).summary();
        assert_eq!(summary.len(), 1 + n_entries);
        for entry in &summary[2..] {
            assert_eq!(entry, "@: Scheduled=False/ScheduleFailed");
        }
    }
}

#[test]
fn nothing_but_scheduled_remains_when_no_cluster_is_selected() {
    let mut world = world(&[], &[], vec![]);
    world.previous = self::world(&["a"], &[], vec![bound("a", "crp-1-snapshot", DONE)]).status();
    assert_eq!(world.summary(), ["Scheduled=True/SchedulingPolicyFulfilled"]);
}

#[test]
fn an_undecided_policy_empties_the_clusters_and_leaves_other_conditions() {
    let mut world = world(&["a"], &[], vec![bound("a", "crp-1-snapshot", DONE)]);
    world.previous = world.status();
    world.policy.observed_crp_generation = GENERATION - 1;
    let status = world.status();
    assert_eq!(status.per_cluster_placement_statuses, []);
    assert_eq!(status.observed_resource_index, "1");
    assert!(
        summary(&status)[0]
            .starts_with("Scheduled=Unknown/SchedulePending RolloutStarted=True/RolloutStarted")
    );
}

#[test]
fn wrong_selectors_touch_only_the_scheduled_condition() {
    let previous = world(&["a"], &[], vec![bound("a", "crp-1-snapshot", DONE)]).status();
    let status = with_invalid_selectors(KIND, GENERATION, &previous, "why", Timestamp::UNIX_EPOCH);
    assert_eq!(status.conditions[0].reason, "InvalidResourceSelectors");
    assert_eq!(status.conditions[1..], previous.conditions[1..]);
    assert_eq!(status.per_cluster_placement_statuses, previous.per_cluster_placement_statuses);
}

#[test]
fn comparing_only_ends_with_the_report() {
    let compared = &[&DONE[..3], &["DiffReported=True/AllWorkHaveDiffReported"]].concat();
    let world = world(&["a"], &[], vec![bound("a", "crp-1-snapshot", compared)])
        .spec(json!({"strategy": {"applyStrategy": {"type": "ReportDiff"}}}));
    assert!(world.summary()[0].ends_with("DiffReported=True/DiffReportingCompleted"));
    assert!(is_complete(KIND, GENERATION, &world.spec, &world.status()));
}

#[test]
fn under_an_external_strategy_the_clusters_say_which_snapshot_counts() {
    let external = || json!({"strategy": {"type": "External"}});
    let mut same = world(
        &["a", "b"],
        &[],
        vec![bound("a", "crp-0-snapshot", DONE), bound("b", "crp-0-snapshot", DONE)],
    )
    .spec(external());
    same.latest_index = None;
    let status = same.status();
    assert_eq!(status.observed_resource_index, "0");
    assert_eq!(status.selected_resources[0].name, "r0");
    assert!(is_complete(KIND, GENERATION, &same.spec, &status));

    let waiting = "Scheduled=True/SchedulingPolicyFulfilled \
        RolloutStarted=Unknown/RolloutControlledByExternalController";
    let apart = vec![bound("a", "crp-0-snapshot", DONE), bound("b", "crp-1-snapshot", DONE)];
    let gone = vec![bound("a", "crp-9-snapshot", DONE), bound("b", "crp-9-snapshot", DONE)];
    let stale = vec![bound("a", "crp-1-snapshot", DONE), bound("b", "crp-1-snapshot", &[])];
    for (bindings, index) in [(apart, ""), (gone, ""), (stale, "1")] {
        let world = world(&["a", "b"], &[], bindings).spec(external());
        let status = world.status();
        assert_eq!(summary(&status)[0], waiting);
        assert_eq!(status.observed_resource_index, index);
        assert_eq!(status.selected_resources.is_empty(), index.is_empty());
    }
}

#[test]
fn the_mirror_condition_survives() {
    let mut world = world(&["a"], &[], vec![bound("a", "crp-1-snapshot", DONE)]);
    let synced = Builder { previous: &[], generation: GENERATION, now: world.now };
    let type_ = "ClusterResourcePlacementStatusSynced";
    world.previous.conditions = vec![synced.condition(type_, Status::True, "Synced", "")];
    assert!(find(&world.status().conditions, type_).is_some());
}

proptest! {
    #[test]
    fn reporting_again_changes_nothing(
        n_done in prop::collection::vec(0..=5_usize, 1..5),
        order in any::<prop::sample::Index>(),
    ) {
        let names: Vec<_> = (0..n_done.len()).map(|i| format!("c{i}")).collect();
        let selected: Vec<_> = names.iter().map(String::as_str).collect();
        let bindings: Vec<_> = selected
            .iter()
            .zip(&n_done)
            .map(|(name, n)| bound(name, "crp-1-snapshot", &DONE[..*n]))
            .collect();
        let mut world = world(&selected, &["z"], bindings);
        let first = world.status();
        let middle = order.index(world.bindings.len());
        world.bindings.rotate_left(middle);
        world.previous = first.clone();
        world.now = Timestamp::MAX;
        prop_assert_eq!(world.status(), first);
    }
}

#[test]
fn clusters_beyond_the_limit_of_the_policy_snapshot_have_entries_too() {
    let names: Vec<String> = (0..MAX_DECISIONS + 2).map(|i| format!("c{i:04}")).collect();
    let listed: Vec<&str> = names.iter().take(MAX_DECISIONS).map(String::as_str).collect();
    let mut bindings: Vec<_> =
        names.iter().map(|name| bound(name, "crp-1-snapshot", DONE)).collect();
    for (bound, name) in bindings.iter_mut().zip(&names) {
        bound.spec.cluster_decision.cluster_name.clone_from(name);
        bound.spec.cluster_decision.selected = true;
    }
    bindings[MAX_DECISIONS].spec.state = BindingState::Unscheduled;
    let status = world(&listed, &[], bindings).status();
    let entries = &status.per_cluster_placement_statuses;
    assert_eq!(entries.len(), MAX_DECISIONS + 1, "the one that is no longer picked has none");
    assert_eq!(entries.last().unwrap().cluster_name, names[MAX_DECISIONS + 1]);
}
