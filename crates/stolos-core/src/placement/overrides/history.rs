//! Immutable copies of overrides, one per content.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Serialize;
use stolos_api::placement::names::label;
use stolos_api::placement::{
    ClusterResourceOverrideSnapshotSpec, ClusterResourceOverrideSpec, ResourceOverrideSnapshotSpec,
    ResourceOverrideSpec,
};

use crate::placement::hash;
use crate::placement::snapshot::{Action, Snapshot};

/// Most snapshots of an override (placement-overrides 5.1). Whenever it is looked at, the oldest go until there is room for
/// one more below this limit: right after the tenth content there are ten, and from the next look on nine.
pub const LIMIT: usize = 10;

/// The content of a snapshot of an override.
pub trait SnapshotSpec: Sized {
    /// The spec that it is a copy of.
    type Override: Clone + PartialEq + Serialize;

    /// Makes the content of a snapshot.
    fn new(spec: Self::Override, hash: ByteString) -> Self;

    /// Returns the copy.
    fn spec(&self) -> &Self::Override;

    /// Returns its hash.
    fn hash(&self) -> &ByteString;
}

macro_rules! snapshot_spec {
    ($snapshot:ident of $spec:ident) => {
        impl SnapshotSpec for $snapshot {
            type Override = $spec;

            fn new(override_spec: $spec, override_hash: ByteString) -> Self {
                Self { override_spec, override_hash }
            }

            fn spec(&self) -> &$spec {
                &self.override_spec
            }

            fn hash(&self) -> &ByteString {
                &self.override_hash
            }
        }
    };
}

snapshot_spec!(ClusterResourceOverrideSnapshotSpec of ClusterResourceOverrideSpec);
snapshot_spec!(ResourceOverrideSnapshotSpec of ResourceOverrideSpec);

/// The override that snapshots are copies of.
#[derive(Clone, Debug, PartialEq)]
pub struct Parent<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its namespace, if it has one; its snapshots are there too.
    pub namespace: Option<&'a str>,
    /// How its snapshots refer to it.
    pub owner: OwnerReference,
}

/// Returns the index of a snapshot, if it has one.
pub fn index(metadata: &ObjectMeta) -> Option<u64> {
    metadata.labels.as_ref()?.get(label::OVERRIDE_INDEX)?.parse().ok()
}

/// Returns whether the newest of these snapshots is a copy of this spec.
pub fn is_current<S: SnapshotSpec>(spec: &S::Override, existing: &[Snapshot<'_, S>]) -> bool {
    by_index(existing)
        .last_key_value()
        .is_some_and(|(_, newest)| newest.spec.spec() == spec || describes(newest, &hash::of(spec)))
}

/// Returns the name of the snapshot that is the newest once this spec has one.
pub fn newest_name<S: SnapshotSpec>(
    parent: &str,
    spec: &S::Override,
    existing: &[Snapshot<'_, S>],
) -> String {
    let newest = by_index(existing).last_key_value().map(|(index, _)| *index);
    match newest {
        Some(index) if is_current(spec, existing) => name(parent, index),
        newest => name(parent, newest.map_or(0, |index| index + 1)),
    }
}

fn name(parent: &str, index: u64) -> String {
    format!("{parent}-{index}")
}

/// Decides which snapshots to write. Planning again after the writes makes room at most, and then nothing more.
pub fn plan<S: SnapshotSpec>(
    parent: &Parent<'_>,
    spec: &S::Override,
    existing: &[Snapshot<'_, S>],
) -> Vec<Action<S>> {
    let by_index = by_index(existing);
    let hash = hash::of(spec);
    let latest = by_index.last_key_value();
    let is_kept = latest.is_some_and(|(_, newest)| describes(newest, &hash));
    let mut actions: Vec<Action<S>> = by_index
        .iter()
        .filter(|(index, snapshot)| {
            let is_newest = latest.is_some_and(|(newest, _)| newest == *index);
            snapshot.is_marked_latest() && !(is_newest && is_kept)
        })
        .map(|(_, snapshot)| Action::mark_latest(snapshot.name(), false))
        .collect();
    let n_deleted = (by_index.len() + 1).saturating_sub(LIMIT);
    let oldest = by_index.values().take(n_deleted);
    let deletions = oldest.map(|old| Action::Delete { name: old.name().to_owned() });
    if is_kept {
        let unmarked = latest.filter(|(_, newest)| !newest.is_marked_latest());
        actions.extend(unmarked.map(|(_, newest)| Action::mark_latest(newest.name(), true)));
        actions.extend(deletions);
        return actions;
    }
    actions.extend(deletions);
    let index = latest.map_or(0, |(index, _)| index + 1);
    actions.push(create(parent, spec, index, hash));
    actions
}

fn by_index<'a, 's, S>(existing: &'s [Snapshot<'a, S>]) -> BTreeMap<u64, &'s Snapshot<'a, S>> {
    existing.iter().filter_map(|snapshot| Some((index(snapshot.metadata)?, snapshot))).collect()
}

/// Another program may have made the hash from another encoding, so the content decides in the end.
fn describes<S: SnapshotSpec>(snapshot: &Snapshot<'_, S>, wanted: &str) -> bool {
    snapshot.spec.hash().0 == wanted.as_bytes() || hash::of(snapshot.spec.spec()) == wanted
}

fn create<S: SnapshotSpec>(
    parent: &Parent<'_>,
    spec: &S::Override,
    index: u64,
    hash: String,
) -> Action<S> {
    let labels = [
        (label::PARENT_OVERRIDE, parent.name.to_owned()),
        (label::IS_LATEST_SNAPSHOT, true.to_string()),
        (label::OVERRIDE_INDEX, index.to_string()),
    ];
    let metadata = ObjectMeta {
        name: Some(name(parent.name, index)),
        namespace: parent.namespace.map(ToOwned::to_owned),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
        owner_references: Some(vec![parent.owner.clone()]),
        ..ObjectMeta::default()
    };
    let spec = S::new(spec.clone(), ByteString(hash.into_bytes()));
    Action::Create { metadata: Box::new(metadata), spec }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::placement::snapshot::testing::Store;

    type Spec = ResourceOverrideSnapshotSpec;

    fn parent() -> Parent<'static> {
        Parent { name: "o", namespace: Some("app"), owner: OwnerReference::default() }
    }

    fn spec(revision: u64) -> ResourceOverrideSpec {
        let patch = json!({"op": "add", "path": "/data/revision", "value": revision});
        serde_json::from_value(json!({
            "resourceSelectors": [{"group": "", "version": "v1", "kind": "ConfigMap", "name": "a"}],
            "policy": {"overrideRules": [{"jsonPatchOverrides": [patch]}]},
        }))
        .expect("a spec")
    }

    fn write(store: &mut Store<Spec>, revision: u64) {
        let actions = plan(&parent(), &spec(revision), &store.snapshots());
        store.apply(&actions);
    }

    #[test]
    fn every_content_gets_a_snapshot_and_the_newest_is_marked() {
        let mut store = Store(Vec::new());
        write(&mut store, 1);
        write(&mut store, 2);
        write(&mut store, 2);
        assert_eq!(store.names(), ["o-0", "o-1"]);
        let marked: Vec<_> = store.snapshots().iter().map(Snapshot::is_marked_latest).collect();
        assert_eq!(marked, [false, true]);
        let newest = &store.0[1];
        assert_eq!(newest.0.namespace.as_deref(), Some("app"));
        assert_eq!(newest.1.override_spec, spec(2));
        assert_eq!(newest.1.override_hash.0, hash::of(&spec(2)).into_bytes());
        assert_eq!(newest_name("o", &spec(2), &store.snapshots()), "o-1");
        assert_eq!(newest_name("o", &spec(1), &store.snapshots()), "o-2");
        assert_eq!(newest_name::<Spec>("o", &spec(1), &[]), "o-0");
        assert!(is_current(&spec(2), &store.snapshots()));
        assert!(!is_current(&spec(1), &store.snapshots()));
    }

    #[test]
    fn a_snapshot_that_another_program_hashed_is_kept() {
        let mut store = Store(Vec::new());
        write(&mut store, 1);
        store.0[0].1.override_hash = ByteString(b"made from another encoding".to_vec());
        assert_eq!(plan(&parent(), &spec(1), &store.snapshots()), []);
    }

    #[test]
    fn a_new_snapshot_is_the_tenth_at_most_and_nine_remain_at_the_next_look() {
        let mut store = Store(Vec::new());
        (0..9).for_each(|revision| write(&mut store, revision));
        write(&mut store, 8);
        assert_eq!(store.names().len(), 9, "nine are within the limit");
        write(&mut store, 9);
        assert_eq!((store.names().len(), store.names()[0]), (LIMIT, "o-0"));
        write(&mut store, 9);
        assert_eq!((store.names().len(), store.names()[0]), (9, "o-1"));
        assert_eq!(plan(&parent(), &spec(9), &store.snapshots()), []);
        // Two changes between looks: there are never more than ten.
        write(&mut store, 10);
        write(&mut store, 11);
        assert_eq!(store.names().len(), LIMIT);
        assert_eq!((store.names()[0], store.names()[9]), ("o-2", "o-11"));
        assert!(store.snapshots()[9].is_marked_latest());
    }

    proptest! {
        /// A crash after any number of writes is made good by the next plan, and deciding twice changes nothing.
        #[test]
        fn a_crash_between_writes_is_made_good(revisions in prop::collection::vec((0..3u64, 0..4usize), 1..60)) {
            let mut store = Store(Vec::new());
            let mut last = 0;
            for (revision, n_written) in revisions {
                let mut actions = plan(&parent(), &spec(revision), &store.snapshots());
                actions.truncate(n_written);
                store.apply(&actions);
                last = revision;
            }
            write(&mut store, last);
            prop_assert!(store.0.len() <= LIMIT);
            write(&mut store, last);
            prop_assert_eq!(plan(&parent(), &spec(last), &store.snapshots()), []);
            prop_assert!(store.0.len() < LIMIT);
            let marked: Vec<_> = store.snapshots().into_iter().filter(Snapshot::is_marked_latest).map(|s| s.name().to_owned()).collect();
            prop_assert_eq!(marked.len(), 1);
        }
    }
}
