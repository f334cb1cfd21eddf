//! Policy snapshots: one per policy that differs in more than the number of clusters.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use stolos_api::placement::names::{annotation, label};
use stolos_api::placement::{PlacementPolicy, PlacementType, SchedulingPolicySnapshotSpec};

use super::{Action, Parent, Snapshot, n_kept, new_metadata};
use crate::placement::hash;

/// What to write, and which snapshot is the latest afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Writes, in order.
    pub actions: Vec<Action<SchedulingPolicySnapshotSpec>>,
    /// Name of the latest snapshot.
    pub latest: String,
}

/// Returns the name of a policy snapshot.
pub fn name(placement: &str, index: u64) -> String {
    format!("{placement}-{index}")
}

/// Returns the hash of a policy. The number of clusters is no part of it: scaling is no new policy.
pub fn hash(policy: Option<&PlacementPolicy>) -> String {
    let unscaled =
        policy.cloned().map(|policy| PlacementPolicy { number_of_clusters: None, ..policy });
    hash::of(&unscaled)
}

/// Decides which policy snapshots to write. Planning again after the writes plans nothing.
pub fn plan(
    parent: &Parent<'_>,
    policy: Option<&PlacementPolicy>,
    history_limit: i32,
    existing: &[Snapshot<'_, SchedulingPolicySnapshotSpec>],
) -> Plan {
    let by_index = by_index(existing);
    let hash = hash(policy);
    let mut actions = Vec::new();
    let latest = by_index.last_key_value();
    for snapshot in by_index.values() {
        let is_newest = latest.is_some_and(|(_, newest)| newest.name() == snapshot.name());
        if snapshot.is_marked_latest() && !is_newest {
            actions.push(Action::mark_latest(snapshot.name(), false));
        }
    }
    match latest {
        Some((_, snapshot)) if describes(snapshot, &hash) => {
            actions.extend(refresh(snapshot, parent, policy));
            Plan { actions, latest: snapshot.name().to_owned() }
        }
        _ => {
            if let Some((_, snapshot)) = latest.filter(|(_, latest)| latest.is_marked_latest()) {
                actions.push(Action::mark_latest(snapshot.name(), false));
            }
            let n_deleted = by_index.len().saturating_sub(n_kept(history_limit));
            let oldest = by_index.values().take(n_deleted);
            actions.extend(oldest.map(|old| Action::Delete { name: old.name().to_owned() }));
            let index = latest.map_or(0, |(index, _)| index + 1);
            actions.push(create(parent, policy, index, hash));
            Plan { actions, latest: name(parent.name, index) }
        }
    }
}

fn by_index<'a, 'b>(
    existing: &'b [Snapshot<'a, SchedulingPolicySnapshotSpec>],
) -> BTreeMap<u64, &'b Snapshot<'a, SchedulingPolicySnapshotSpec>> {
    let index = |snapshot: &Snapshot<'_, _>| snapshot.label(label::POLICY_INDEX)?.parse().ok();
    existing.iter().filter_map(|snapshot| Some((index(snapshot)?, snapshot))).collect()
}

/// Returns whether a snapshot is of the policy with this hash. Its own hash may have been made by
/// another program from another encoding, so the policy decides in the end.
fn describes(snapshot: &Snapshot<'_, SchedulingPolicySnapshotSpec>, wanted: &str) -> bool {
    snapshot.spec.policy_hash.0 == wanted.as_bytes()
        || hash(snapshot.spec.policy.as_ref()) == wanted
}

/// Brings the label and the annotations of the latest snapshot up to date, if they are not.
fn refresh(
    snapshot: &Snapshot<'_, SchedulingPolicySnapshotSpec>,
    parent: &Parent<'_>,
    policy: Option<&PlacementPolicy>,
) -> Option<Action<SchedulingPolicySnapshotSpec>> {
    let mut labels = BTreeMap::new();
    if !snapshot.is_marked_latest() {
        labels.insert(label::IS_LATEST_SNAPSHOT.to_owned(), "true".to_owned());
    }
    let annotations: BTreeMap<_, _> = annotations(parent, policy)
        .into_iter()
        .filter(|(key, value)| snapshot.annotation(key) != Some(value))
        .collect();
    let is_current = labels.is_empty() && annotations.is_empty();
    (!is_current).then(|| Action::Update { name: snapshot.name().to_owned(), labels, annotations })
}

fn annotations(parent: &Parent<'_>, policy: Option<&PlacementPolicy>) -> BTreeMap<String, String> {
    let generation = (annotation::PLACEMENT_GENERATION, parent.generation.to_string());
    let number = policy
        .filter(|policy| policy.placement_type == PlacementType::PickN)
        .and_then(|policy| policy.number_of_clusters)
        .map(|number| (annotation::NUMBER_OF_CLUSTERS, number.to_string()));
    [Some(generation), number]
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn create(
    parent: &Parent<'_>,
    policy: Option<&PlacementPolicy>,
    index: u64,
    hash: String,
) -> Action<SchedulingPolicySnapshotSpec> {
    let labels =
        [(label::IS_LATEST_SNAPSHOT, "true".to_owned()), (label::POLICY_INDEX, index.to_string())];
    let mut metadata = new_metadata(parent, name(parent.name, index), labels, []);
    metadata.annotations = Some(annotations(parent, policy));
    let policy_hash = ByteString(hash.into_bytes());
    let spec = SchedulingPolicySnapshotSpec { policy: policy.cloned(), policy_hash };
    Action::Create { metadata: Box::new(metadata), spec }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
    use proptest::prelude::*;

    use super::super::testing::Store;
    use super::*;

    type Policies = Store<SchedulingPolicySnapshotSpec>;

    fn parent(generation: i64) -> Parent<'static> {
        Parent { name: "crp", namespace: None, generation, owner: OwnerReference::default() }
    }

    fn fixed(name: &str) -> PlacementPolicy {
        PlacementPolicy {
            placement_type: PlacementType::PickFixed,
            cluster_names: vec![name.to_owned()],
            ..PlacementPolicy::default()
        }
    }

    fn pick(number: i32) -> PlacementPolicy {
        PlacementPolicy {
            placement_type: PlacementType::PickN,
            number_of_clusters: Some(number),
            ..PlacementPolicy::default()
        }
    }

    fn step(store: &mut Policies, generation: i64, policy: &PlacementPolicy, limit: i32) -> Plan {
        let plan = plan(&parent(generation), Some(policy), limit, &store.snapshots());
        store.apply(&plan.actions);
        plan
    }

    fn latest(store: &Policies) -> Vec<&str> {
        let marked = |snapshot: &Snapshot<'_, _>| snapshot.is_marked_latest();
        store
            .0
            .iter()
            .filter(|(metadata, spec)| marked(&Snapshot { metadata, spec }))
            .filter_map(|(metadata, _)| metadata.name.as_deref())
            .collect()
    }

    #[test]
    fn a_new_policy_becomes_the_latest_snapshot() {
        let mut store = Store(vec![]);
        assert_eq!(step(&mut store, 1, &fixed("a"), 10).latest, "crp-0");
        assert_eq!(step(&mut store, 2, &fixed("b"), 10).latest, "crp-1");
        assert_eq!(store.names(), ["crp-0", "crp-1"]);
        assert_eq!(latest(&store), ["crp-1"]);
    }

    #[test]
    fn scaling_changes_annotations_only() {
        let mut store = Store(vec![]);
        step(&mut store, 1, &pick(2), 10);
        assert_eq!(step(&mut store, 2, &pick(3), 10).latest, "crp-0");
        let annotations = store.0[0].0.annotations.as_ref().unwrap();
        assert_eq!(annotations[annotation::NUMBER_OF_CLUSTERS], "3");
        assert_eq!(annotations[annotation::PLACEMENT_GENERATION], "2");
        assert_eq!(store.0[0].1.policy, Some(pick(2)));
    }

    #[test]
    fn the_oldest_snapshots_go() {
        for (limit, want) in [(1, vec!["crp-3"]), (2, vec!["crp-2", "crp-3"])] {
            let mut store = Store(vec![]);
            for (generation, name) in (1..).zip(["a", "b", "c", "d"]) {
                step(&mut store, generation, &fixed(name), limit);
            }
            assert_eq!(store.names(), want);
        }
    }

    #[test]
    fn a_crash_between_two_writes_is_repaired() {
        let mut store = Store(vec![]);
        step(&mut store, 1, &fixed("a"), 10);
        let actions = plan(&parent(2), Some(&fixed("b")), 10, &store.snapshots()).actions;
        for n_done in 0..actions.len() {
            let mut crashed = store.clone();
            crashed.apply(&actions[..n_done]);
            let mut undone = crashed.clone();
            step(&mut crashed, 2, &fixed("b"), 10);
            assert_eq!(latest(&crashed), ["crp-1"]);
            step(&mut undone, 3, &fixed("a"), 10);
            assert_eq!(latest(&undone), ["crp-0"]);
        }
    }

    #[test]
    fn a_snapshot_hashed_by_another_program_is_recognised() {
        let mut store = Store(vec![]);
        step(&mut store, 1, &fixed("a"), 10);
        store.0[0].1.policy_hash = ByteString(b"other encoding".to_vec());
        assert_eq!(step(&mut store, 1, &fixed("a"), 10).actions, []);
    }

    proptest! {
        #[test]
        fn planning_again_changes_nothing(
            names in prop::collection::vec("[a-c]", 1..8), limit in 1..4_i32,
        ) {
            let mut store = Store(vec![]);
            for (generation, name) in (1..).zip(&names) {
                step(&mut store, generation, &fixed(name), limit);
                prop_assert_eq!(latest(&store).len(), 1);
                prop_assert!(store.0.len() <= usize::try_from(limit).unwrap());
                let mut shuffled = store.clone();
                shuffled.0.reverse();
                prop_assert_eq!(step(&mut shuffled, generation, &fixed(name), limit).actions, vec![]);
            }
        }
    }
}
