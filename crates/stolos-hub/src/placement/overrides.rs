//! Overrides: their snapshots, and which of them are for a placement and a member.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::object::HasSpec;
use kube::{Client, Resource};
use serde_json::Value;
use stolos_api::cluster::MemberCluster;
use stolos_api::placement::names::{finalizer, label};
use stolos_api::placement::{
    ClusterResourceBinding, ClusterResourceOverride, ClusterResourceOverrideSnapshot,
    ClusterResourcePlacement, ResourceOverride, ResourceOverrideSnapshot,
};
use stolos_controller::{How, Key, Plan, Table, Write, write_one};
use stolos_core::placement::overrides::history::{self, Parent, SnapshotSpec};
use stolos_core::placement::overrides::{self, Applicable, Content};
use stolos_core::placement::snapshot::Snapshot;

use super::object::{self, Job, Seen};
use super::selection::{has_finalizer, remove_finalizer, write};

/// Field manager of what is written here.
const MANAGER: &str = "override-controller";

/// Declares the kinds once.
macro_rules! kinds {
    ($($variant:ident: $kind:ident;)*) => {
        /// An override or a snapshot of one, of either scope.
        #[derive(Clone, Debug)]
        pub(crate) enum Object {
            $($variant($kind),)*
        }

        impl Object {
            pub(super) fn meta(&self) -> &ObjectMeta {
                match self {
                    $(Self::$variant(object) => &object.metadata,)*
                }
            }

            #[cfg(test)]
            pub(super) fn meta_mut(&mut self) -> &mut ObjectMeta {
                match self {
                    $(Self::$variant(object) => &mut object.metadata,)*
                }
            }

            /// Carries out a write.
            pub(super) async fn write(&self, client: &Client, how: How) -> Result<Option<Self>, kube::Error> {
                Ok(match self {
                    $(Self::$variant(object) => {
                        write_one(client, how, object, MANAGER).await?.map(Self::$variant)
                    })*
                })
            }
        }

        $(
            impl From<$kind> for object::Object {
                fn from(object: $kind) -> Self {
                    Self::Override(Box::new(Object::$variant(object)))
                }
            }

            impl From<$kind> for Seen {
                fn from(object: $kind) -> Self {
                    Self::Object(object.into())
                }
            }
        )*
    };
}

kinds! {
    Cluster: ClusterResourceOverride;
    Namespaced: ResourceOverride;
    ClusterSnapshot: ClusterResourceOverrideSnapshot;
    NamespacedSnapshot: ResourceOverrideSnapshot;
}

/// Whom a change of an override concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The override of this key, whose snapshots may have to be written.
    Override(Key),
    /// The placement of this key, which the override is for: it rolls the change out.
    Placement(Key),
    /// Every placement that is rolling something out anyway. An override that is for no placement in particular takes effect
    /// with the next rollout of each (placement-overrides 5.3).
    Rollouts,
}

/// The overrides that are known, and their snapshots.
pub(super) struct Overrides {
    cluster: Table<ClusterResourceOverride>,
    namespaced: Table<ResourceOverride>,
    cluster_snapshots: Table<ClusterResourceOverrideSnapshot>,
    namespaced_snapshots: Table<ResourceOverrideSnapshot>,
}

impl Default for Overrides {
    fn default() -> Self {
        Self {
            cluster: Table::default(),
            namespaced: Table::default(),
            cluster_snapshots: Table::indexed_by(|snapshot| parent_index(&snapshot.metadata)),
            namespaced_snapshots: Table::indexed_by(|snapshot| parent_index(&snapshot.metadata)),
        }
    }
}

impl Overrides {
    /// Takes a state in and returns whom it concerns.
    pub(super) fn apply(&mut self, object: Object) -> Vec<News> {
        let news = news_of(&object);
        let is_deleting = object.meta().deletion_timestamp.is_some();
        match object {
            Object::Cluster(object) => changed(self.cluster.insert(object), is_deleting, news),
            Object::Namespaced(object) => {
                changed(self.namespaced.insert(object), is_deleting, news)
            }
            Object::ClusterSnapshot(object) => {
                appeared(self.cluster_snapshots.insert(object), news)
            }
            Object::NamespacedSnapshot(object) => {
                appeared(self.namespaced_snapshots.insert(object), news)
            }
        }
    }

    /// Forgets an object and returns whom that concerns.
    pub(super) fn remove(&mut self, object: &Object) -> Vec<News> {
        match object {
            Object::Cluster(object) => drop(self.cluster.remove(&object.metadata)),
            Object::Namespaced(object) => drop(self.namespaced.remove(&object.metadata)),
            Object::ClusterSnapshot(object) => {
                drop(self.cluster_snapshots.remove(&object.metadata));
            }
            Object::NamespacedSnapshot(object) => {
                drop(self.namespaced_snapshots.remove(&object.metadata));
            }
        }
        news_of(object)
    }

    /// Forgets what a complete list of a kind does not show. Returns nothing for kinds that are none of ours.
    pub(super) fn relist(&mut self, kind: &str, keys: &BTreeSet<Key>) -> Option<Vec<News>> {
        fn forget<K: Clone + Resource<DynamicType = ()>>(
            table: &mut Table<K>,
            keys: &BTreeSet<Key>,
            object: fn(K) -> Object,
        ) -> Vec<News> {
            let gone =
                table.retain(keys).into_iter().map(|gone| object(Arc::unwrap_or_clone(gone)));
            gone.flat_map(|gone| news_of(&gone)).collect()
        }
        Some(match kind {
            "ClusterResourceOverride" => forget(&mut self.cluster, keys, Object::Cluster),
            "ResourceOverride" => forget(&mut self.namespaced, keys, Object::Namespaced),
            "ClusterResourceOverrideSnapshot" => {
                forget(&mut self.cluster_snapshots, keys, Object::ClusterSnapshot)
            }
            "ResourceOverrideSnapshot" => {
                forget(&mut self.namespaced_snapshots, keys, Object::NamespacedSnapshot)
            }
            _ => return None,
        })
    }

    /// Plans the snapshots of an override.
    pub(super) fn plan(&self, key: &Key) -> Plan<Job> {
        if key.namespace.is_empty() {
            let Some(found) = self.cluster.get(key) else { return Plan::default() };
            let new = |metadata, spec| ClusterResourceOverrideSnapshot { metadata, spec };
            plan_snapshots(&**found, &self.cluster_snapshots, new)
        } else {
            let Some(found) = self.namespaced.get(key) else { return Plan::default() };
            let new = |metadata, spec| ResourceOverrideSnapshot { metadata, spec };
            plan_snapshots(&**found, &self.namespaced_snapshots, new)
        }
    }

    /// Returns the newest snapshots that are for a placement of these objects. Nothing is returned while a snapshot of an
    /// override for it is about to be written: the rollout would leave it out.
    pub(super) fn matching<'a>(
        &'a self,
        placement: &ClusterResourcePlacement,
        objects: impl IntoIterator<Item = &'a Value> + Clone,
    ) -> Option<Vec<overrides::Snapshot<'a>>> {
        let namespace = placement.metadata.namespace.as_deref();
        let name = placement.metadata.name.as_deref().unwrap_or_default();
        let unwritten = self.unwritten();
        if !unwritten.is_empty() {
            let awaited = overrides::matching(namespace, name, objects.clone(), &unwritten);
            if !awaited.is_empty() {
                return None;
            }
        }
        Some(overrides::matching(namespace, name, objects, &self.newest()))
    }

    /// Returns the newest snapshot of each override. Those of an override that is being deleted are on their way out.
    fn newest(&self) -> Vec<overrides::Snapshot<'_>> {
        let cluster = self.cluster_snapshots.iter().filter_map(|snapshot| {
            let (parent, index) = place(&snapshot.metadata)?;
            let is_going = is_deleting(self.cluster.get(&parent).map(|found| &found.metadata));
            (!is_going).then(|| (parent, index, cluster_view(snapshot)))
        });
        let namespaced = self.namespaced_snapshots.iter().filter_map(|snapshot| {
            let (parent, index) = place(&snapshot.metadata)?;
            let is_going = is_deleting(self.namespaced.get(&parent).map(|found| &found.metadata));
            (!is_going).then(|| (parent, index, namespaced_view(snapshot)))
        });
        overrides::newest(cluster.chain(namespaced))
    }

    /// Returns what will be the newest snapshots of overrides whose content has none yet.
    fn unwritten(&self) -> Vec<overrides::Snapshot<'_>> {
        let cluster = self.cluster.iter().filter(|found| {
            !is_deleting(Some(&found.metadata)) && !is_written(&***found, &self.cluster_snapshots)
        });
        let namespaced = self.namespaced.iter().filter(|found| {
            !is_deleting(Some(&found.metadata))
                && !is_written(&***found, &self.namespaced_snapshots)
        });
        let cluster = cluster.map(|found| overrides::Snapshot {
            name: name_of(&found.metadata),
            content: Content::Cluster(&found.spec),
        });
        let namespaced = namespaced.map(|found| overrides::Snapshot {
            name: name_of(&found.metadata),
            content: Content::Namespaced {
                namespace: found.metadata.namespace.as_deref().unwrap_or_default(),
                spec: &found.spec,
            },
        });
        cluster.chain(namespaced).collect()
    }

    /// Returns the overrides that a binding names, for its member.
    pub(super) fn applicable<'a>(
        &'a self,
        binding: &ClusterResourceBinding,
        member: &'a MemberCluster,
    ) -> Result<Applicable<'a>, overrides::Error> {
        Applicable::of(&binding.spec, member, |namespace, name| {
            let key = Key::namespaced(namespace, name);
            if namespace.is_empty() {
                self.cluster_snapshots.get(&key).map(|found| cluster_view(found))
            } else {
                self.namespaced_snapshots.get(&key).map(|found| namespaced_view(found))
            }
        })
    }
}

fn cluster_view(snapshot: &ClusterResourceOverrideSnapshot) -> overrides::Snapshot<'_> {
    let content = Content::Cluster(&snapshot.spec.override_spec);
    overrides::Snapshot { name: name_of(&snapshot.metadata), content }
}

fn namespaced_view(snapshot: &ResourceOverrideSnapshot) -> overrides::Snapshot<'_> {
    let namespace = snapshot.metadata.namespace.as_deref().unwrap_or_default();
    let content = Content::Namespaced { namespace, spec: &snapshot.spec.override_spec };
    overrides::Snapshot { name: name_of(&snapshot.metadata), content }
}

/// Returns whom the appearance or the end of an object concerns.
fn news_of(object: &Object) -> Vec<News> {
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    let content = match object {
        Object::Cluster(object) => Content::Cluster(&object.spec),
        Object::Namespaced(object) => Content::Namespaced { namespace, spec: &object.spec },
        Object::ClusterSnapshot(object) => Content::Cluster(&object.spec.override_spec),
        Object::NamespacedSnapshot(object) => {
            Content::Namespaced { namespace, spec: &object.spec.override_spec }
        }
    };
    let parent = match object {
        Object::Cluster(_) | Object::Namespaced(_) => Some(Key::of(object.meta())),
        Object::ClusterSnapshot(_) | Object::NamespacedSnapshot(_) => parent_of(object.meta()),
    };
    let rollout = match content.target() {
        Some((namespace, name)) => News::Placement(Key::namespaced(namespace, name)),
        None => News::Rollouts,
    };
    parent.map(News::Override).into_iter().chain([rollout]).collect()
}

/// A new or changed override has its snapshots written first; only its deletion takes effect at once.
fn changed<K>(before: Result<Option<Arc<K>>, ()>, is_deleting: bool, news: Vec<News>) -> Vec<News> {
    match before {
        Err(()) => Vec::new(),
        Ok(_) if is_deleting => news,
        Ok(_) => news.into_iter().filter(|news| matches!(news, News::Override(_))).collect(),
    }
}

/// A new snapshot takes effect; a new label on an old one does not.
fn appeared<K>(before: Result<Option<Arc<K>>, ()>, news: Vec<News>) -> Vec<News> {
    match before {
        Err(()) => Vec::new(),
        Ok(None) => news,
        Ok(Some(_)) => news.into_iter().filter(|news| matches!(news, News::Override(_))).collect(),
    }
}

fn plan_snapshots<O, S>(
    parent: &O,
    table: &Table<S>,
    new: impl Fn(ObjectMeta, S::Spec) -> S,
) -> Plan<Job>
where
    O: Resource<DynamicType = ()> + HasSpec<Spec = <S::Spec as SnapshotSpec>::Override> + Clone,
    S: Resource<DynamicType = ()> + HasSpec<Spec: SnapshotSpec> + Clone,
    O: Into<object::Object>,
    S: Into<object::Object>,
{
    let meta = parent.meta();
    let existing: Vec<_> = table.indexed(&index(&Key::of(meta))).collect();
    if meta.deletion_timestamp.is_some() {
        return release(parent, existing.into_iter().map(|snapshot| S::clone(snapshot)));
    }
    // Without it, snapshots could outlive the override.
    if !has_finalizer(meta, finalizer::OVERRIDE_CLEANUP) {
        let mut marked = parent.clone();
        let finalizers = marked.meta_mut().finalizers.get_or_insert_default();
        finalizers.push(finalizer::OVERRIDE_CLEANUP.to_owned());
        return vec![Job(Write::Replace(marked.into()))].into();
    }
    let snapshots: Vec<_> = existing.iter().map(|snapshot| view(&***snapshot)).collect();
    let described = Parent {
        name: name_of(meta),
        namespace: meta.namespace.as_deref(),
        owner: OwnerReference {
            api_version: O::api_version(&()).into_owned(),
            kind: O::kind(&()).into_owned(),
            name: name_of(meta).to_owned(),
            uid: meta.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        },
    };
    let actions = history::plan(&described, parent.spec(), &snapshots);
    let jobs = actions.into_iter().filter_map(|action| {
        let find = |name: &str| {
            let key =
                Key { namespace: meta.namespace.clone().unwrap_or_default(), name: name.into() };
            table.get(&key)
        };
        write(action, find, &new)
    });
    jobs.collect::<Vec<_>>().into()
}

/// Deletes the snapshots of an override that is being deleted, and lets it go.
fn release<O, S>(parent: &O, snapshots: impl Iterator<Item = S>) -> Plan<Job>
where
    O: Resource + Clone + Into<object::Object>,
    S: Resource + Into<object::Object>,
{
    if !has_finalizer(parent.meta(), finalizer::OVERRIDE_CLEANUP) {
        return Plan::default();
    }
    let live = snapshots.filter(|snapshot| snapshot.meta().deletion_timestamp.is_none());
    let deletions = live.map(|snapshot| Job(Write::Delete(snapshot.into())));
    let mut released = parent.clone();
    remove_finalizer(released.meta_mut(), finalizer::OVERRIDE_CLEANUP);
    Plan::default().then(deletions.collect()).then(vec![Job(Write::Replace(released.into()))])
}

fn is_written<O, S>(parent: &O, table: &Table<S>) -> bool
where
    O: Resource + HasSpec<Spec = <S::Spec as SnapshotSpec>::Override>,
    S: Resource<DynamicType = ()> + HasSpec<Spec: SnapshotSpec>,
{
    let existing: Vec<_> = table.indexed(&index(&Key::of(parent.meta()))).collect();
    let snapshots: Vec<_> = existing.iter().map(|snapshot| view(&***snapshot)).collect();
    history::is_current(parent.spec(), &snapshots)
}

fn view<S: Resource + HasSpec>(snapshot: &S) -> Snapshot<'_, S::Spec> {
    Snapshot { metadata: snapshot.meta(), spec: snapshot.spec() }
}

fn is_deleting(meta: Option<&ObjectMeta>) -> bool {
    meta.is_some_and(|meta| meta.deletion_timestamp.is_some())
}

fn name_of(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

/// Returns the override that a snapshot is of.
fn parent_of(meta: &ObjectMeta) -> Option<Key> {
    let name = meta.labels.as_ref()?.get(label::PARENT_OVERRIDE)?.clone();
    Some(Key { namespace: meta.namespace.clone().unwrap_or_default(), name })
}

fn place(meta: &ObjectMeta) -> Option<(Key, u64)> {
    Some((parent_of(meta)?, history::index(meta)?))
}

fn parent_index(meta: &ObjectMeta) -> Option<String> {
    parent_of(meta).map(|key| index(&key))
}

fn index(key: &Key) -> String {
    format!("{}/{}", key.namespace, key.name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn override_of(name: &str, meta: Value, placement: Value) -> ResourceOverride {
        let selector =
            json!({"group": "", "version": "v1", "kind": "ConfigMap", "name": "settings"});
        let mut found = json!({
            "metadata": {"name": name, "namespace": "app", "uid": "u", "resourceVersion": "1"},
            "spec": {
                "placement": placement, "resourceSelectors": [selector],
                "policy": {"overrideRules": []},
            },
        });
        for (key, value) in meta.as_object().into_iter().flatten() {
            found["metadata"][key] = value.clone();
        }
        serde_json::from_value(found).expect("an override")
    }

    fn snapshot_of(parent: &ResourceOverride, index: u64) -> ResourceOverrideSnapshot {
        let name = parent.metadata.name.as_deref().expect("a name");
        serde_json::from_value(json!({
            "metadata": {
                "name": format!("{name}-{index}"), "namespace": "app", "resourceVersion": "2",
                "labels": {
                    "kubernetes-fleet.io/parent-resource-override": name,
                    "kubernetes-fleet.io/override-index": index.to_string(),
                },
            },
            "spec": {"overrideSpec": parent.spec, "overrideHash": ""},
        }))
        .expect("a snapshot")
    }

    fn matching(known: &Overrides) -> Option<Vec<String>> {
        let placement: ClusterResourcePlacement = serde_json::from_value(
            json!({"metadata": {"name": "crp"}, "spec": {"resourceSelectors": []}}),
        )
        .expect("a placement");
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "app"},
        });
        let found = known.matching(&placement, [&object])?;
        Some(found.iter().map(|snapshot| snapshot.name.to_owned()).collect())
    }

    #[test]
    fn a_rollout_waits_for_the_snapshot_of_an_override_that_is_for_it() {
        let mut known = Overrides::default();
        let own = override_of("own", json!({}), json!({"name": "crp"}));
        let news = known.apply(Object::Namespaced(own.clone()));
        assert_eq!(news, [News::Override(Key::namespaced("app", "own"))]);
        assert_eq!(matching(&known), None);
        let news = known.apply(Object::NamespacedSnapshot(snapshot_of(&own, 0)));
        assert!(news.contains(&News::Placement(Key::cluster("crp"))));
        assert_eq!(matching(&known), Some(vec!["own-0".to_owned()]));
        known.apply(Object::Namespaced(override_of("other", json!({}), json!({"name": "other"}))));
        assert_eq!(matching(&known), Some(vec!["own-0".to_owned()]), "it is for another placement");
    }

    #[test]
    fn an_override_that_goes_counts_no_more_and_its_older_snapshots_neither() {
        let mut known = Overrides::default();
        let own = override_of("own", json!({}), Value::Null);
        let first = known.apply(Object::Namespaced(own.clone()));
        assert!(!first.contains(&News::Rollouts));
        let snapshots = [0, 1].map(|index| snapshot_of(&own, index));
        for snapshot in snapshots.clone() {
            let news = known.apply(Object::NamespacedSnapshot(snapshot));
            assert!(news.contains(&News::Rollouts));
        }
        assert_eq!(matching(&known), Some(vec!["own-1".to_owned()]));
        let going = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "9"});
        known.apply(Object::Namespaced(override_of("own", going, Value::Null)));
        assert_eq!(matching(&known), Some(Vec::new()));
        known.remove(&Object::NamespacedSnapshot(snapshots[1].clone()));
        assert_eq!(matching(&known), Some(Vec::new()), "no older content comes back");
    }

    #[test]
    fn only_the_snapshots_of_an_override_that_is_being_deleted_go() {
        let mut known = Overrides::default();
        let meta = json!({"finalizers": ["kubernetes-fleet.io/override-cleanup"]});
        let (own, other) = (
            override_of("own", meta.clone(), Value::Null),
            override_of("other", meta, Value::Null),
        );
        for parent in [&own, &other] {
            known.apply(Object::Namespaced(parent.clone()));
            known.apply(Object::NamespacedSnapshot(snapshot_of(parent, 0)));
        }
        let deletions = |known: &Overrides, name: &str| {
            let plan = known.plan(&Key::namespaced("app", name));
            let writes = plan.steps.into_iter().flatten();
            writes
                .filter(|job| matches!(job.0, Write::Delete(_) | Write::DeleteUnchanged(_)))
                .count()
        };
        assert_eq!((deletions(&known, "own"), deletions(&known, "other")), (0, 0));
        // An override that is not there says nothing about its snapshots.
        known.remove(&Object::Namespaced(other));
        assert_eq!(deletions(&known, "other"), 0);
        let going = json!({
            "deletionTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "9",
            "finalizers": ["kubernetes-fleet.io/override-cleanup"],
        });
        known.apply(Object::Namespaced(override_of("own", going, Value::Null)));
        assert_eq!((deletions(&known, "own"), deletions(&known, "other")), (1, 0));
    }
}
