//! Resource snapshots: groups of objects that together hold what a placement selected at one moment.
//!
//! A group shares an index. Its first snapshot, the master, carries the hash and the number of
//! snapshots; the others exist because an object in a Kubernetes API has a size limit.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sha2::{Digest, Sha256};
use stolos_api::placement::names::{annotation, label};
use stolos_api::placement::{ResourceIdentifier, ResourceSnapshotSpec};

use super::{Action, Parent, Snapshot, n_kept, new_metadata};
use crate::placement::{hash, object};

/// Limits on groups and on how often they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most groups, `revisionHistoryLimit` of the placement.
    pub history: i32,
    /// Least time between two groups.
    pub minimum_interval: SignedDuration,
    /// Time for which changes are collected after the first one is seen.
    pub collection: SignedDuration,
    /// Most bytes of objects in one snapshot.
    pub max_bytes: usize,
    /// Least index of a new group. When snapshots were lost, an index that bindings still name must not come to mean
    /// something else.
    pub first_index: u64,
}

impl Limits {
    /// Returns the limits for a placement that keeps this many groups and does not wait. etcd
    /// refuses requests above 1.5 MiB; 800 KiB leave room for the metadata of a snapshot, and for
    /// the status of a Work with the same objects.
    pub fn without_waiting(history: i32) -> Self {
        let (minimum_interval, collection) = (SignedDuration::ZERO, SignedDuration::ZERO);
        Self { history, minimum_interval, collection, max_bytes: 800 * 1024, first_index: 0 }
    }

    fn waits(&self) -> bool {
        self.minimum_interval > SignedDuration::ZERO || self.collection > SignedDuration::ZERO
    }
}

/// What to write, and which group is in force afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Writes, in order.
    pub actions: Vec<Action<ResourceSnapshotSpec>>,
    /// Index of the group in force. While a newer selection waits, that is the older group.
    pub index: u64,
    /// When a selection that waits becomes a group.
    pub wake_at: Option<Timestamp>,
}

/// Returns the name of the master of a group.
pub fn master_name(placement: &str, index: u64) -> String {
    format!("{placement}-{index}-snapshot")
}

/// Returns the index in the name of a master.
pub fn index_of_master(placement: &str, name: &str) -> Option<u64> {
    name.strip_prefix(placement)?.strip_prefix('-')?.strip_suffix("-snapshot")?.parse().ok()
}

/// Returns the name of another snapshot of a group.
pub fn member_name(placement: &str, index: u64, subindex: u64) -> String {
    format!("{placement}-{index}-{subindex}")
}

/// The snapshots that share an index.
#[derive(Clone, Debug, Default)]
pub struct Group<'a> {
    master: Option<Snapshot<'a, ResourceSnapshotSpec>>,
    /// The others by their position.
    members: BTreeMap<u64, Snapshot<'a, ResourceSnapshotSpec>>,
}

/// Returns the groups by index.
pub fn groups<'a>(existing: &[Snapshot<'a, ResourceSnapshotSpec>]) -> BTreeMap<u64, Group<'a>> {
    let mut groups: BTreeMap<u64, Group<'a>> = BTreeMap::new();
    for snapshot in existing {
        let index = snapshot.label(label::RESOURCE_INDEX).and_then(|index| index.parse().ok());
        let Some(index) = index else { continue };
        let group = groups.entry(index).or_default();
        let subindex = snapshot.annotation(annotation::SUBINDEX_OF_RESOURCE_SNAPSHOT);
        match subindex.and_then(|subindex| subindex.parse().ok()) {
            Some(subindex) => _ = group.members.insert(subindex, *snapshot),
            None => group.master = Some(*snapshot),
        }
    }
    groups
}

impl<'a> Group<'a> {
    /// Returns the master, unless it is gone.
    pub fn master(&self) -> Option<Snapshot<'a, ResourceSnapshotSpec>> {
        self.master
    }

    /// Returns all snapshots, the master first, if none is missing.
    pub fn complete(&self) -> Option<Vec<Snapshot<'a, ResourceSnapshotSpec>>> {
        let master = self.master?;
        let n_snapshots: usize =
            master.annotation(annotation::NUMBER_OF_RESOURCE_SNAPSHOTS)?.parse().ok()?;
        let is_complete = n_snapshots == self.members.len() + 1;
        is_complete.then(|| [master].into_iter().chain(self.members.values().copied()).collect())
    }

    /// Returns how status names the objects of the group.
    pub fn identifiers(&self) -> Vec<ResourceIdentifier> {
        self.objects().map(object::identifier).collect()
    }

    fn objects(&self) -> impl Iterator<Item = &'a Value> {
        self.snapshots().flat_map(|snapshot| &snapshot.spec.selected_resources)
    }

    fn snapshots(&self) -> impl Iterator<Item = Snapshot<'a, ResourceSnapshotSpec>> {
        self.master.into_iter().chain(self.members.values().copied())
    }
}

/// Decides which resource snapshots to write for the selected objects, sanitised and in order.
/// Planning again after the writes plans nothing.
pub fn plan(
    parent: &Parent<'_>,
    objects: Vec<Value>,
    limits: &Limits,
    existing: &[Snapshot<'_, ResourceSnapshotSpec>],
    now: Timestamp,
) -> Plan {
    let wanted = Wanted::new(objects, limits.max_bytes);
    let groups = groups(existing);
    let latest = groups.iter().next_back();
    let mut actions: Vec<_> = stale_marks(&groups).collect();
    match latest {
        Some((&index, group)) if wanted.is_in(group) => {
            actions.extend(wanted.complete(parent, index, group));
            return Plan { actions, index, wake_at: None };
        }
        Some((&index, Group { master: Some(master), .. })) => {
            let wait = wait(*master, limits, now);
            if let Some((annotations, wake_at)) = wait {
                actions.extend(annotations);
                return Plan { actions, index, wake_at: Some(wake_at) };
            }
            if master.is_marked_latest() {
                actions.push(Action::mark_latest(master.name(), false));
            }
        }
        Some(_) | None => {}
    }
    let n_deleted = groups.len().saturating_sub(n_kept(limits.history));
    let oldest = groups.values().take(n_deleted).flat_map(Group::snapshots);
    actions.extend(oldest.map(|old| Action::Delete { name: old.name().to_owned() }));
    let index = latest.map_or(0, |(index, _)| index + 1).max(limits.first_index);
    actions.extend(wanted.create(parent, index));
    Plan { actions, index, wake_at: None }
}

/// Takes the mark of the latest group from groups that are not the latest.
fn stale_marks<'b>(
    groups: &'b BTreeMap<u64, Group<'_>>,
) -> impl Iterator<Item = Action<ResourceSnapshotSpec>> + 'b {
    let older = groups.values().rev().skip(1);
    older
        .filter_map(|group| group.master)
        .filter(Snapshot::is_marked_latest)
        .map(|master| Action::mark_latest(master.name(), false))
}

/// Returns until when a changed selection waits, and the note on the latest group that remembers
/// when the change was first seen.
fn wait(
    master: Snapshot<'_, ResourceSnapshotSpec>,
    limits: &Limits,
    now: Timestamp,
) -> Option<(Option<Action<ResourceSnapshotSpec>>, Timestamp)> {
    if !limits.waits() {
        return None;
    }
    let noted: Option<Timestamp> = master
        .annotation(annotation::NEXT_SNAPSHOT_DETECTION_TIME)
        .and_then(|time| time.parse().ok());
    let collected = noted.unwrap_or(now).saturating_add(limits.collection).ok()?;
    let created = master.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let spaced = created.saturating_add(limits.minimum_interval).ok()?;
    let due = collected.max(spaced);
    let note = || Action::Update {
        name: master.name().to_owned(),
        labels: BTreeMap::new(),
        annotations: [(annotation::NEXT_SNAPSHOT_DETECTION_TIME.to_owned(), now.to_string())]
            .into(),
    };
    (now < due).then(|| (noted.is_none().then(note), due))
}

/// A selection, divided into the snapshots that it needs.
struct Wanted {
    hash: String,
    n_envelopes: usize,
    /// Content of the master, then of the others.
    parts: Vec<Vec<Value>>,
}

impl Wanted {
    fn new(objects: Vec<Value>, max_bytes: usize) -> Self {
        let texts: Vec<_> = objects.iter().map(hash::canonical_json).collect();
        let n_envelopes =
            objects.iter().filter(|object| object::envelope_type(object).is_some()).count();
        let sizes = texts.iter().map(String::len);
        Self {
            hash: hash_of(&texts),
            n_envelopes,
            parts: split(objects.into_iter().zip(sizes), max_bytes),
        }
    }

    /// Returns whether a group holds this selection, as far as it is written. Its hash may have been
    /// made by another program, so the objects decide in the end.
    fn is_in(&self, group: &Group<'_>) -> bool {
        let Some(master) = group.master else { return false };
        if master.annotation(annotation::RESOURCE_HASH) == Some(self.hash.as_str()) {
            let n_snapshots = master.annotation(annotation::NUMBER_OF_RESOURCE_SNAPSHOTS);
            return n_snapshots == Some(self.parts.len().to_string().as_str());
        }
        group.complete().is_some()
            && hash_of(&group.objects().map(hash::canonical_json).collect::<Vec<_>>()) == self.hash
    }

    /// Writes what is missing of a group that holds this selection.
    fn complete(
        self,
        parent: &Parent<'_>,
        index: u64,
        group: &Group<'_>,
    ) -> Vec<Action<ResourceSnapshotSpec>> {
        let mut actions = Vec::new();
        let master = group.master.filter(|master| !master.is_marked_latest());
        actions.extend(master.map(|master| Action::mark_latest(master.name(), true)));
        if group.complete().is_some() {
            return actions;
        }
        let members = (0..).zip(self.parts.into_iter().skip(1));
        let missing = members.filter(|(subindex, _)| !group.members.contains_key(subindex));
        actions.extend(missing.map(|(subindex, part)| member(parent, index, subindex, part)));
        actions
    }

    /// Writes a new group.
    fn create(self, parent: &Parent<'_>, index: u64) -> Vec<Action<ResourceSnapshotSpec>> {
        let labels = [
            (label::IS_LATEST_SNAPSHOT, "true".to_owned()),
            (label::RESOURCE_INDEX, index.to_string()),
        ];
        let annotations = [
            (annotation::RESOURCE_HASH, self.hash),
            (annotation::NUMBER_OF_RESOURCE_SNAPSHOTS, self.parts.len().to_string()),
            (annotation::NUMBER_OF_ENVELOPED_OBJECTS, self.n_envelopes.to_string()),
        ];
        let metadata = new_metadata(parent, master_name(parent.name, index), labels, annotations);
        let mut parts = self.parts.into_iter();
        let spec = ResourceSnapshotSpec { selected_resources: parts.next().unwrap_or_default() };
        let master = Action::Create { metadata: Box::new(metadata), spec };
        let members =
            (0..).zip(parts).map(|(subindex, part)| member(parent, index, subindex, part));
        [master].into_iter().chain(members).collect()
    }
}

fn member(
    parent: &Parent<'_>,
    index: u64,
    subindex: u64,
    selected_resources: Vec<Value>,
) -> Action<ResourceSnapshotSpec> {
    let metadata = new_metadata(
        parent,
        member_name(parent.name, index, subindex),
        [(label::RESOURCE_INDEX, index.to_string())],
        [(annotation::SUBINDEX_OF_RESOURCE_SNAPSHOT, subindex.to_string())],
    );
    Action::Create {
        metadata: Box::new(metadata),
        spec: ResourceSnapshotSpec { selected_resources },
    }
}

/// Returns the hash of the spec that holds all objects, given in canonical JSON.
fn hash_of(texts: &[String]) -> String {
    let mut hash = Sha256::new();
    hash.update(r#"{"selectedResources":["#);
    for (i, text) in texts.iter().enumerate() {
        if i > 0 {
            hash.update(",");
        }
        hash.update(text);
    }
    hash.update("]}");
    hex::encode(hash.finalize())
}

/// Packs objects into as few parts as their order allows. An object that is too large for any part
/// has one for itself; no objects at all make one empty part.
fn split(objects: impl Iterator<Item = (Value, usize)>, max_bytes: usize) -> Vec<Vec<Value>> {
    let mut parts = vec![Vec::new()];
    let mut used = 0;
    for (object, size) in objects {
        let part = parts.last_mut().expect("there is always a part");
        if used + size > max_bytes && !part.is_empty() {
            parts.push(vec![object]);
            used = size;
        } else {
            part.push(object);
            used += size;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::testing::Store;
    use super::*;

    type Resources = Store<ResourceSnapshotSpec>;

    /// Snapshots are small in tests, where hashing is slow.
    const KIB: usize = 10;
    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn parent() -> Parent<'static> {
        let owner = OwnerReference::default();
        Parent { name: "crp", namespace: None, generation: 1, owner }
    }

    fn config_map(name: &str, n_bytes: usize) -> Value {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
            "data": {"text": "x".repeat(n_bytes)},
        })
    }

    fn step_at(
        store: &mut Resources,
        objects: Vec<Value>,
        limits: &Limits,
        now: Timestamp,
    ) -> Plan {
        let plan = plan(&parent(), objects, limits, &store.snapshots(), now);
        store.apply(&plan.actions);
        for (metadata, _) in &mut store.0 {
            metadata.creation_timestamp.get_or_insert(Time(now));
        }
        plan
    }

    fn limits(history: i32) -> Limits {
        Limits { max_bytes: 800 * KIB, ..Limits::without_waiting(history) }
    }

    fn step(store: &mut Resources, objects: Vec<Value>, limit: i32) -> Plan {
        step_at(store, objects, &limits(limit), START)
    }

    #[test]
    fn a_changed_selection_becomes_the_latest_group() {
        let mut store = Store(vec![]);
        assert_eq!(step(&mut store, vec![], 10).index, 0);
        assert_eq!(step(&mut store, vec![config_map("a", 1)], 10).index, 1);
        assert_eq!(store.names(), ["crp-0-snapshot", "crp-1-snapshot"]);
        let marks: Vec<_> = store.snapshots().iter().map(Snapshot::is_marked_latest).collect();
        assert_eq!(marks, [false, true]);
        let snapshots = store.snapshots();
        let groups = groups(&snapshots);
        assert_eq!(groups[&1].identifiers()[0].name, "a");
        assert_eq!(groups[&0].identifiers(), []);
    }

    #[test]
    fn an_index_that_is_still_named_is_not_used_again() {
        let mut store = Store(vec![]);
        let limits = Limits { first_index: 5, ..limits(10) };
        assert_eq!(step_at(&mut store, vec![], &limits, START).index, 5);
        assert_eq!(step(&mut store, vec![config_map("a", 1)], 10).index, 6);
        assert_eq!(index_of_master("crp", "crp-5-snapshot"), Some(5));
        for other in ["", "crp-5-0", "other-5-snapshot", "crp-x-5-snapshot"] {
            assert_eq!(index_of_master("crp", other), None);
        }
    }

    #[test]
    fn a_large_selection_is_split_in_order() {
        let sizes = [300 * KIB, 400 * KIB, 300 * KIB, 900 * KIB, 1];
        let objects: Vec<_> =
            (0..).zip(sizes).map(|(i, n)| config_map(&format!("{i}"), n)).collect();
        let mut store = Store(vec![]);
        step(&mut store, objects.clone(), 10);
        assert_eq!(store.names(), ["crp-0-snapshot", "crp-0-0", "crp-0-1", "crp-0-2"]);
        let n_objects: Vec<_> =
            store.0.iter().map(|(_, spec)| spec.selected_resources.len()).collect();
        assert_eq!(n_objects, [2, 1, 1, 1]);
        let snapshots = store.snapshots();
        let group = &groups(&snapshots)[&0];
        assert_eq!(group.objects().cloned().collect::<Vec<_>>(), objects);
        assert!(group.complete().is_some());
    }

    #[test]
    fn a_crash_between_two_writes_is_repaired() {
        let before = vec![config_map("a", 1)];
        let large: Vec<_> = (0..3).map(|i| config_map(&format!("{i}"), 700 * KIB)).collect();
        let mut store = Store(vec![]);
        step(&mut store, before, 10);
        let actions =
            plan(&parent(), large.clone(), &limits(10), &store.snapshots(), START).actions;
        assert_eq!(actions.len(), 4);
        for n_done in 0..actions.len() {
            let mut crashed = store.clone();
            crashed.apply(&actions[..n_done]);
            step(&mut crashed, large.clone(), 10);
            let snapshots = crashed.snapshots();
            let groups = groups(&snapshots);
            assert_eq!(groups.len(), 2);
            assert_eq!(groups[&1].complete().unwrap().len(), 3);
            assert!(groups[&1].master().unwrap().is_marked_latest());
            assert!(!groups[&0].master().unwrap().is_marked_latest());
        }
    }

    #[test]
    fn old_groups_go_as_a_whole() {
        let mut store = Store(vec![]);
        for name in ["a", "b", "c"] {
            let large = vec![config_map(name, 700 * KIB), config_map("z", 700 * KIB)];
            step(&mut store, large, 2);
        }
        assert_eq!(store.names(), ["crp-1-snapshot", "crp-1-0", "crp-2-snapshot", "crp-2-0"]);
    }

    #[test]
    fn a_group_hashed_by_another_program_is_recognised() {
        let mut store = Store(vec![]);
        step(&mut store, vec![config_map("a", 1)], 10);
        let annotations = store.0[0].0.annotations.as_mut().unwrap();
        annotations.insert(annotation::RESOURCE_HASH.into(), "other encoding".into());
        assert_eq!(step(&mut store, vec![config_map("a", 1)], 10).actions, []);
    }

    #[test]
    fn envelopes_are_counted() {
        let envelope = json!({
            "apiVersion": "placement.kubernetes-fleet.io/v1beta1", "kind": "ResourceEnvelope",
            "metadata": {"name": "e"},
        });
        let mut store = Store(vec![]);
        step(&mut store, vec![config_map("a", 1), envelope], 10);
        let annotations = store.0[0].0.annotations.as_ref().unwrap();
        assert_eq!(annotations[annotation::NUMBER_OF_ENVELOPED_OBJECTS], "1");
    }

    #[test]
    fn changes_are_collected_when_asked() {
        let limits = Limits {
            minimum_interval: SignedDuration::from_secs(30),
            collection: SignedDuration::from_secs(15),
            ..limits(10)
        };
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let mut store = Store(vec![]);
        assert_eq!(step_at(&mut store, vec![], &limits, at(0)).wake_at, None);

        let change = || vec![config_map("a", 1)];
        let seen = step_at(&mut store, change(), &limits, at(20));
        assert_eq!((seen.index, seen.wake_at), (0, Some(at(35))));
        let early = step_at(&mut store, change(), &limits, at(30));
        assert_eq!((early.actions, early.wake_at), (vec![], Some(at(35))));
        let due = step_at(&mut store, change(), &limits, at(35));
        assert_eq!((due.index, due.wake_at), (1, None));

        let soon = step_at(&mut store, vec![], &limits, at(36));
        assert_eq!(soon.wake_at, Some(at(65)), "the minimum interval counts from the creation");
    }

    proptest! {
        #[test]
        fn planning_again_changes_nothing(
            selections in prop::collection::vec(prop::collection::btree_set("[a-d]", 0..4), 1..6),
            n_bytes in prop::sample::select(vec![1_usize, 500 * KIB]),
            limit in 1..4_i32,
        ) {
            let mut store = Store(vec![]);
            for names in &selections {
                let objects = || names.iter().map(|name| config_map(name, n_bytes)).collect();
                step(&mut store, objects(), limit);
                let mut shuffled = store.clone();
                shuffled.0.reverse();
                prop_assert_eq!(step(&mut shuffled, objects(), limit).actions, vec![]);
                let snapshots = store.snapshots();
                let groups = groups(&snapshots);
                prop_assert!(groups.len() <= usize::try_from(limit).unwrap());
                prop_assert!(groups.values().all(|group| group.complete().is_some()));
            }
        }
    }
}
