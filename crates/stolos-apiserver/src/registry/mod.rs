//! The resources a logical cluster serves: one row per built-in resource, one per version of a CRD.

mod builtin;
mod resource;
mod selectable;

use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::discovery::Cache;
use crate::store::ResourceId;

pub use resource::{
    CREATE, Generation, LazySchema, READ_WRITE, Resource, STORED, STORED_ONE_BY_ONE, Scale,
    Subresource, UPDATE, resource_id,
};

/// The resources of one logical cluster. Clones share the content.
///
/// Built-in rows are shared by all clusters of the process; only custom ones take memory per cluster.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

struct Shared {
    current: ArcSwap<Snapshot>,
    generation: watch::Sender<u64>,
}

/// Another resource has this group and plural.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("resource `{0}` is built in and cannot be replaced")]
pub struct Occupied(pub ResourceId);

impl Registry {
    /// Returns a registry of the built-in resources.
    #[must_use]
    pub fn builtin() -> Self {
        let current = ArcSwap::new(BUILTIN.clone());
        Self(Arc::new(Shared { current, generation: watch::Sender::new(0) }))
    }

    /// Returns the present content, unaffected by later changes.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.current.load_full()
    }

    /// Looks a resource up by its URL parts.
    #[must_use]
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.0.current.load().resource(group, version, plural).cloned()
    }

    /// Looks a resource up by its kind.
    #[must_use]
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Resource>> {
        self.0.current.load().kind(group, version, kind).cloned()
    }

    /// Returns every resource in every version, ordered by group, version and plural.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Resource>> {
        self.0.current.load().all().to_vec()
    }

    /// Returns the number of changes so far, as a key for caches.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.current.load().generation
    }

    /// Returns a receiver that wakes at every change of the generation.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.generation.subscribe()
    }

    /// Publishes the served versions of custom resources; they replace all versions published before under the same
    /// [`Resource::storage`].
    ///
    /// # Errors
    /// Refuses everything when one of them would replace a built-in resource.
    pub fn set_custom(&self, resources: Vec<Resource>) -> Result<(), Occupied> {
        let taken = resources
            .iter()
            .find(|new| BUILTIN.all().iter().any(|builtin| builtin.storage == new.storage));
        if let Some(taken) = taken {
            return Err(Occupied(taken.storage.clone()));
        }
        let resources: Vec<_> = resources.into_iter().map(Arc::new).collect();
        self.change(|all| {
            all.retain(|old| resources.iter().all(|new| new.storage != old.storage));
            all.extend(resources.iter().cloned());
        });
        Ok(())
    }

    /// Stops serving a custom resource in all versions. Built-in resources stay.
    pub fn remove_custom(&self, storage: &ResourceId) {
        self.change(|all| all.retain(|old| !old.custom || old.storage != *storage));
    }

    fn change(&self, edit: impl Fn(&mut Vec<Arc<Resource>>)) {
        self.0.current.rcu(|old| {
            let mut all = old.by_plural.clone();
            edit(&mut all);
            Snapshot::new(old.generation + 1, all)
        });
        // Readers of the channel may see only the newest of two racing changes, never an older one than the content.
        self.0.generation.send_modify(|generation| *generation = self.generation());
    }
}

static BUILTIN: LazyLock<Arc<Snapshot>> = LazyLock::new(|| {
    let rows = builtin::resources().into_iter().map(Arc::new).collect();
    Arc::new(Snapshot::new(0, rows))
});

/// The content of a registry at one moment.
#[derive(Debug)]
pub struct Snapshot {
    generation: u64,
    by_plural: Vec<Arc<Resource>>,
    by_kind: Vec<Arc<Resource>>,
    /// Rendered discovery documents; they live exactly as long as what they describe.
    pub(crate) discovery: Cache,
}

impl Snapshot {
    fn new(generation: u64, mut all: Vec<Arc<Resource>>) -> Self {
        all.sort_by(|a, b| plural_key(a).cmp(&plural_key(b)));
        let mut by_kind = all.clone();
        by_kind.sort_by(|a, b| kind_key(a).cmp(&kind_key(b)));
        Self { generation, by_plural: all, by_kind, discovery: Cache::default() }
    }

    /// Returns the number of changes up to here.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns every resource in every version, ordered by group, version and plural.
    #[must_use]
    pub fn all(&self) -> &[Arc<Resource>] {
        &self.by_plural
    }

    /// Looks a resource up by its URL parts.
    #[must_use]
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        let wanted = (group, version, plural);
        let at = self.by_plural.binary_search_by(|row| plural_key(row).cmp(&wanted));
        at.ok().map(|at| &self.by_plural[at])
    }

    /// Looks a resource up by its kind.
    #[must_use]
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Resource>> {
        let wanted = (group, version, kind);
        let at = self.by_kind.binary_search_by(|row| kind_key(row).cmp(&wanted));
        at.ok().map(|at| &self.by_kind[at])
    }

    /// Returns the resource whose objects the store keeps under this id, in the version they are stored in.
    #[must_use]
    pub fn stored_as(&self, storage: &str) -> Option<&Arc<Resource>> {
        // Of the two event groups the core one is the stored form; it sorts first.
        self.by_plural.iter().find(|row| {
            *row.storage == *storage && row.storage_version == row.group_version.version
        })
    }
}

fn plural_key(row: &Resource) -> (&str, &str, &str) {
    (&row.group_version.group, &row.group_version.version, &row.plural)
}

fn kind_key(row: &Resource) -> (&str, &str, &str) {
    (&row.group_version.group, &row.group_version.version, &row.kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::GroupVersion;
    use crate::schema::{Schema, SchemaRef};

    fn custom(version: &str, plural: &str) -> Resource {
        let deployments = Registry::builtin().resource("apps", "v1", "deployments");
        Resource {
            group_version: GroupVersion::new("example.com", version),
            storage_version: "v1".to_owned(),
            plural: plural.to_owned(),
            kind: "Widget".to_owned(),
            custom: true,
            schema: SchemaRef::new(Schema::default()).into(),
            storage: format!("{plural}.example.com").into(),
            ..(*deployments.expect("built in")).clone()
        }
    }

    #[test]
    fn every_row_is_found_by_plural_and_by_kind() {
        let registry = Registry::builtin();
        let all = registry.all();
        assert!(all.len() >= 50, "{}", all.len());
        for row in &all {
            let GroupVersion { group, version } = &row.group_version;
            let by_plural = registry.resource(group, version, &row.plural);
            let by_kind = registry.kind(group, version, &row.kind);
            assert!(by_plural.is_some_and(|found| Arc::ptr_eq(&found, row)), "{}", row.plural);
            assert!(by_kind.is_some_and(|found| Arc::ptr_eq(&found, row)), "{}", row.kind);
        }
    }

    /// Pitfall: kinds with code of their own drift apart; every kind goes through one table and one handler.
    #[test]
    fn every_row_has_a_schema_and_what_is_stored_has_columns() {
        for row in Registry::builtin().all() {
            assert!(!row.schema.properties.is_empty(), "{}", row.plural);
            assert!(!row.is_stored() || !row.columns.is_empty(), "{}", row.plural);
        }
    }

    #[test]
    fn names_do_not_collide_within_a_group() {
        for row in Registry::builtin().all() {
            let mut names = vec![row.plural.clone(), row.singular.clone()];
            names.extend(row.short_names.clone());
            let others = Registry::builtin().all().into_iter().filter(|other| {
                other.group_version.group == row.group_version.group && other.plural != row.plural
            });
            for other in others {
                assert!(!names.contains(&other.plural), "{} is also {}", row.plural, other.plural);
                assert!(!names.contains(&other.singular), "{} {}", row.plural, other.singular);
                assert!(
                    !other.short_names.iter().any(|name| names.contains(name)),
                    "{}",
                    row.plural
                );
            }
        }
    }

    #[test]
    fn rows_follow_the_update_rules_of_upstream() {
        let registry = Registry::builtin();
        let row =
            |group: &str, plural: &str| registry.resource(group, "v1", plural).expect("built in");
        let leases = row("coordination.k8s.io", "leases");
        assert!(leases.create_on_update && !leases.unconditional_update);
        assert_eq!(leases.generation, Generation::Absent);
        let deployments = row("apps", "deployments");
        assert!(
            !deployments.create_on_update
                && deployments.generation.counts()
                && deployments.scale.is_some()
        );
        assert!(!row("", "namespaces").offers("deletecollection"));
        assert!(!row("authorization.k8s.io", "subjectaccessreviews").is_stored());
        assert_eq!(row("networking.k8s.io", "ingresses").singular, "ingress");
        assert_eq!(row("events.k8s.io", "events").storage, row("", "events").storage);
        let stored = registry.snapshot().stored_as("events").cloned().expect("built in");
        assert_eq!(stored.group_version.group, "");
    }

    #[test]
    fn subresources_carry_the_kinds_of_their_bodies() {
        let registry = Registry::builtin();
        let pods = registry.resource("", "v1", "pods").expect("built in");
        let names: Vec<_> =
            pods.subresources().iter().map(|subresource| subresource.name).collect();
        assert_eq!(names, ["binding", "ephemeralcontainers", "eviction", "status"]);
        assert_eq!(pods.subresource("eviction").and_then(|s| s.api_version), Some("policy/v1"));
        let deployments = registry.resource("apps", "v1", "deployments").expect("built in");
        let scale = deployments.subresource("scale").expect("deployments scale");
        assert_eq!((scale.api_version, scale.kind), (Some("autoscaling/v1"), Some("Scale")));
    }

    #[test]
    fn custom_resources_come_change_and_go() {
        let registry = Registry::builtin();
        let mut changes = registry.subscribe();
        let before = registry.all().len();

        registry.set_custom(vec![custom("v1", "widgets"), custom("v1beta1", "widgets")]).unwrap();
        assert!(registry.resource("example.com", "v1beta1", "widgets").is_some());
        assert!(changes.has_changed().unwrap());
        assert_eq!(*changes.borrow_and_update(), 1);

        registry.set_custom(vec![custom("v1", "widgets")]).unwrap();
        assert!(registry.resource("example.com", "v1beta1", "widgets").is_none());
        assert!(registry.kind("example.com", "v1", "Widget").is_some());

        registry.remove_custom(&"widgets.example.com".into());
        assert_eq!((registry.all().len(), registry.generation()), (before, 3));
        assert_eq!(Registry::builtin().generation(), 0);
    }

    #[test]
    fn built_in_resources_cannot_be_replaced() {
        let registry = Registry::builtin();
        let taken = Resource { storage: "deployments.apps".into(), ..custom("v1", "deployments") };
        assert_eq!(registry.set_custom(vec![taken]), Err(Occupied("deployments.apps".into())));
        registry.remove_custom(&"deployments.apps".into());
        assert!(registry.resource("apps", "v1", "deployments").is_some());
    }
}
