//! When to write immutable copies of a placement's policy ([`policy`]) and of what it selects
//! ([`resources`]), and which old ones to delete.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use stolos_api::placement::names::label;

pub mod policy;
pub mod resources;

/// The placement that snapshots belong to.
#[derive(Clone, Debug, PartialEq)]
pub struct Parent<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its namespace, if it has one; its snapshots are there too.
    pub namespace: Option<&'a str>,
    /// Its generation.
    pub generation: i64,
    /// How its snapshots refer to it.
    pub owner: OwnerReference,
}

/// A snapshot as it exists.
#[derive(Debug, PartialEq)]
pub struct Snapshot<'a, Spec> {
    /// Name, labels and annotations.
    pub metadata: &'a ObjectMeta,
    /// Content.
    pub spec: &'a Spec,
}

// Derived implementations would ask for `Spec: Copy`.
impl<Spec> Clone for Snapshot<'_, Spec> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Spec> Copy for Snapshot<'_, Spec> {}

impl<'a, Spec> Snapshot<'a, Spec> {
    fn label(&self, key: &str) -> Option<&'a str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    fn annotation(&self, key: &str) -> Option<&'a str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    pub(super) fn name(&self) -> &'a str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn is_marked_latest(&self) -> bool {
        self.label(label::IS_LATEST_SNAPSHOT) == Some("true")
    }
}

/// One write. Writes happen in the order of the plan, so that a crash between two of them leaves
/// something that the next plan completes.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<Spec> {
    /// Sets labels and annotations of a snapshot and leaves the others as they are.
    Update {
        /// Name of the snapshot.
        name: String,
        /// Labels to set.
        labels: BTreeMap<String, String>,
        /// Annotations to set.
        annotations: BTreeMap<String, String>,
    },
    /// Deletes a snapshot.
    Delete {
        /// Name of the snapshot.
        name: String,
    },
    /// Creates a snapshot.
    Create {
        /// Name, labels, annotations and owner.
        metadata: Box<ObjectMeta>,
        /// Content.
        spec: Spec,
    },
}

impl<Spec> Action<Spec> {
    pub(super) fn mark_latest(name: &str, is_latest: bool) -> Self {
        let labels = [(label::IS_LATEST_SNAPSHOT.to_owned(), is_latest.to_string())].into();
        Self::Update { name: name.to_owned(), labels, annotations: BTreeMap::new() }
    }
}

fn new_metadata<const L: usize, const A: usize>(
    parent: &Parent<'_>,
    name: String,
    labels: [(&str, String); L],
    annotations: [(&str, String); A],
) -> ObjectMeta {
    let owned = |(key, value): (&str, String)| (key.to_owned(), value);
    let mut labels: BTreeMap<_, _> = labels.into_iter().map(owned).collect();
    labels.insert(label::PARENT_PLACEMENT.to_owned(), parent.name.to_owned());
    ObjectMeta {
        name: Some(name),
        namespace: parent.namespace.map(ToOwned::to_owned),
        labels: Some(labels),
        annotations: Some(annotations.into_iter().map(owned).collect()),
        owner_references: Some(vec![parent.owner.clone()]),
        ..ObjectMeta::default()
    }
}

/// How many existing snapshots stay beside a new one, given `revisionHistoryLimit`.
fn n_kept(history_limit: i32) -> usize {
    usize::try_from(history_limit).unwrap_or(0).saturating_sub(1)
}

#[cfg(test)]
pub(super) mod testing {
    use super::{Action, ObjectMeta, Snapshot};

    /// Snapshots in memory, to which plans are applied.
    #[derive(Clone, Debug, PartialEq)]
    pub(in crate::placement) struct Store<Spec>(pub(in crate::placement) Vec<(ObjectMeta, Spec)>);

    impl<Spec: Clone> Store<Spec> {
        pub(in crate::placement) fn snapshots(&self) -> Vec<Snapshot<'_, Spec>> {
            self.0.iter().map(|(metadata, spec)| Snapshot { metadata, spec }).collect()
        }

        pub(in crate::placement) fn apply(&mut self, actions: &[Action<Spec>]) {
            for action in actions {
                match action.clone() {
                    Action::Update { name, labels, annotations } => {
                        let found = self.0.iter_mut().find(|(meta, _)| is_named(meta, &name));
                        let (meta, _) = found.expect("an existing snapshot");
                        meta.labels.get_or_insert_default().extend(labels);
                        meta.annotations.get_or_insert_default().extend(annotations);
                    }
                    Action::Delete { name } => self.0.retain(|(meta, _)| !is_named(meta, &name)),
                    Action::Create { metadata, spec } => {
                        let name = metadata.name.clone().expect("a name");
                        assert!(!self.0.iter().any(|(meta, _)| is_named(meta, &name)), "{name}");
                        self.0.push((*metadata, spec));
                    }
                }
            }
        }

        pub(in crate::placement) fn names(&self) -> Vec<&str> {
            self.0.iter().filter_map(|(meta, _)| meta.name.as_deref()).collect()
        }
    }

    fn is_named(metadata: &ObjectMeta, name: &str) -> bool {
        metadata.name.as_deref() == Some(name)
    }
}
