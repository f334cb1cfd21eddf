//! The objects of the hub that can be placed, as last seen, and which kinds there are.
//!
//! It answers only what it knows for sure: while a list is not complete, selecting from it would look like removal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::api::{ApiResource, DynamicObject};
use serde_json::{Map, Value};
use stolos_controller::Key;
use stolos_core::placement::object::Gvk;
use stolos_core::placement::select::{self, KindScope, NotSynced, Query};

use super::feed::Fed;

/// A kind in all its versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupKind {
    pub(crate) group: String,
    pub(crate) kind: String,
}

impl GroupKind {
    fn of(gvk: &Gvk) -> Self {
        Self { group: gvk.group.clone(), kind: gvk.kind.clone() }
    }
}

/// How the hub serves a kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kind {
    /// In its preferred version.
    pub(crate) resource: ApiResource,
    pub(crate) scope: KindScope,
    /// Every version that a selector may name.
    pub(crate) versions: BTreeSet<String>,
    /// Its objects can be listed and watched, and may leave the hub or help to decide which do.
    pub(crate) watched: bool,
    /// It can be read already; otherwise its objects are not known.
    pub(crate) served: bool,
}

impl Kind {
    pub(crate) fn is_readable(&self) -> bool {
        self.watched && self.served
    }

    fn gvk(&self) -> Gvk {
        Gvk::new(&self.resource.group, &self.resource.version, &self.resource.kind)
    }
}

/// An object before and after a change.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    pub(crate) before: Option<Arc<Value>>,
    pub(crate) after: Option<Arc<Value>>,
}

/// What a message from the feed means for placements.
#[derive(Debug)]
pub(crate) enum News {
    /// Some objects are not what they were.
    Objects(Vec<Changed>),
    /// Something can be answered that could not before.
    Everything,
}

/// Objects of one kind.
#[derive(Debug, Default)]
struct Objects {
    /// A complete list has been seen.
    synced: bool,
    by_key: BTreeMap<Key, Arc<Value>>,
}

/// What there is to place.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    /// Absent until it is known which kinds there are.
    kinds: Option<BTreeMap<GroupKind, Kind>>,
    objects: BTreeMap<GroupKind, Objects>,
}

impl Catalogue {
    /// Takes a message from the feed in.
    pub(crate) fn learn(&mut self, fed: Fed) -> News {
        match fed {
            Fed::Kinds(kinds) => {
                self.take_kinds(kinds);
                News::Everything
            }
            Fed::Applied(kind, object) => self.apply(&kind, *object),
            Fed::Deleted(kind, object) => {
                let key = Key::of(&object.metadata);
                let gone = self.objects.get_mut(&kind).and_then(|known| known.by_key.remove(&key));
                News::Objects(gone.map(removed).into_iter().collect())
            }
            Fed::Listed(kind, keys) => self.complete(&kind, &keys),
        }
    }

    /// Returns how the objects of a kind are read, if the hub serves it.
    pub(crate) fn resource(&self, kind: &GroupKind) -> Option<ApiResource> {
        let kind = self.kinds.as_ref()?.get(kind).filter(|kind| kind.served)?;
        Some(kind.resource.clone())
    }

    /// Returns a namespace.
    pub(crate) fn namespace(&self, name: &str) -> Option<&Value> {
        let kind = GroupKind { group: String::new(), kind: "Namespace".to_owned() };
        Some(self.objects.get(&kind)?.by_key.get(&Key::cluster(name))?)
    }

    /// A kind whose preferred version has changed is read again.
    fn take_kinds(&mut self, kinds: BTreeMap<GroupKind, Kind>) {
        let known = self.kinds.take().unwrap_or_default();
        self.objects.retain(|kind, _| {
            kinds.get(kind).is_some_and(|new| new.is_readable() && known.get(kind) == Some(new))
        });
        let watched = kinds.iter().filter(|(_, kind)| kind.watched);
        for (kind, _) in watched {
            self.objects.entry(kind.clone()).or_default();
        }
        self.kinds = Some(kinds);
    }

    fn apply(&mut self, kind: &GroupKind, object: DynamicObject) -> News {
        let served = self.kinds.as_ref().and_then(|kinds| kinds.get(kind));
        let (Some(served), Some(known)) = (served, self.objects.get_mut(kind)) else {
            return News::Objects(Vec::new());
        };
        let key = Key::of(&object.metadata);
        let after = Arc::new(slim(object, &served.resource));
        let before = known.by_key.insert(key, after.clone());
        // While the first list is on its way, its end tells everybody.
        if !known.synced || before.as_ref() == Some(&after) {
            return News::Objects(Vec::new());
        }
        News::Objects(vec![Changed { before, after: Some(after) }])
    }

    fn complete(&mut self, kind: &GroupKind, keys: &BTreeSet<Key>) -> News {
        let Some(known) = self.objects.get_mut(kind) else { return News::Objects(Vec::new()) };
        let (kept, gone) =
            std::mem::take(&mut known.by_key).into_iter().partition(|(key, _)| keys.contains(key));
        known.by_key = kept;
        if !std::mem::replace(&mut known.synced, true) {
            return News::Everything;
        }
        let gone: BTreeMap<Key, Arc<Value>> = gone;
        News::Objects(gone.into_values().map(removed).collect())
    }

    fn kinds(&self, asked: &Gvk) -> Result<&BTreeMap<GroupKind, Kind>, NotSynced> {
        self.kinds.as_ref().ok_or_else(|| NotSynced(asked.clone()))
    }
}

fn removed(object: Arc<Value>) -> Changed {
    Changed { before: Some(object), after: None }
}

/// Returns an object without what no placement looks at and what changes most often. A change of its status is no change.
fn slim(object: DynamicObject, resource: &ApiResource) -> Value {
    let DynamicObject { types: _, mut metadata, data } = object;
    metadata.managed_fields = None;
    metadata.resource_version = None;
    metadata.generation = None;
    let mut fields = match data {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    fields.remove("status");
    // Items of a list do not tell their kind.
    fields.insert("apiVersion".to_owned(), resource.api_version.clone().into());
    fields.insert("kind".to_owned(), resource.kind.clone().into());
    let metadata = serde_json::to_value(metadata).expect("metadata serialises to JSON");
    fields.insert("metadata".to_owned(), metadata);
    Value::Object(fields)
}

impl select::Catalogue for Catalogue {
    fn scope(&self, gvk: &Gvk) -> Result<Option<KindScope>, NotSynced> {
        let kind = self.kinds(gvk)?.get(&GroupKind::of(gvk));
        Ok(kind.filter(|kind| kind.versions.contains(&gvk.version)).map(|kind| kind.scope))
    }

    fn namespaced_kinds(&self) -> Result<Vec<Gvk>, NotSynced> {
        let kinds = self.kinds(&Gvk::default())?.values();
        let watched = kinds.filter(|kind| kind.watched && kind.scope == KindScope::Namespaced);
        Ok(watched.map(Kind::gvk).collect())
    }

    fn objects(&self, gvk: &Gvk, query: Query<'_>) -> Result<Vec<Arc<Value>>, NotSynced> {
        self.kinds(gvk)?;
        let known = self.objects.get(&GroupKind::of(gvk)).filter(|known| known.synced);
        let known = known.ok_or_else(|| NotSynced(gvk.clone()))?;
        let in_namespace = |namespace: &str| {
            let from = Key::namespaced(namespace, "");
            let namespace = namespace.to_owned();
            known.by_key.range(from..).take_while(move |(key, _)| key.namespace == namespace)
        };
        Ok(match query {
            Query { namespace, name: Some(name) } => {
                let key = Key::namespaced(namespace.unwrap_or_default(), name);
                known.by_key.get(&key).cloned().into_iter().collect()
            }
            Query { namespace: Some(namespace), name: None } => {
                in_namespace(namespace).map(|(_, object)| object.clone()).collect()
            }
            Query { namespace: None, name: None } => known.by_key.values().cloned().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stolos_core::placement::select::Catalogue as _;

    use super::*;

    fn config_maps() -> GroupKind {
        GroupKind { group: String::new(), kind: "ConfigMap".to_owned() }
    }

    fn gvk() -> Gvk {
        Gvk::new("", "v1", "ConfigMap")
    }

    fn kinds() -> BTreeMap<GroupKind, Kind> {
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&());
        let kind = Kind {
            resource,
            scope: KindScope::Namespaced,
            versions: ["v1".to_owned()].into(),
            watched: true,
            served: true,
        };
        [(config_maps(), kind)].into()
    }

    fn applied(name: &str, version: &str, value: &str) -> Fed {
        let object = json!({
            "metadata": {"name": name, "namespace": "app", "resourceVersion": version},
            "data": {"key": value}, "status": {"seen": version},
        });
        Fed::Applied(config_maps(), serde_json::from_value(object).unwrap())
    }

    fn listed(names: &[&str]) -> Fed {
        Fed::Listed(config_maps(), names.iter().map(|name| Key::namespaced("app", name)).collect())
    }

    fn all(catalogue: &Catalogue) -> Result<Vec<String>, NotSynced> {
        let objects = catalogue.objects(&gvk(), Query { namespace: Some("app"), name: None })?;
        Ok(objects
            .iter()
            .map(|object| object["metadata"]["name"].as_str().unwrap().to_owned())
            .collect())
    }

    #[test]
    fn nothing_is_known_before_kinds_and_the_first_list_are_complete() {
        let mut catalogue = Catalogue::default();
        assert!(catalogue.scope(&gvk()).is_err());
        assert!(catalogue.namespaced_kinds().is_err());
        assert!(catalogue.objects(&gvk(), Query::default()).is_err());
        catalogue.learn(Fed::Kinds(kinds()));
        assert_eq!(catalogue.scope(&gvk()), Ok(Some(KindScope::Namespaced)));
        assert!(all(&catalogue).is_err());
        catalogue.learn(applied("a", "1", "x"));
        assert!(all(&catalogue).is_err(), "one object is not the list");
        assert!(matches!(catalogue.learn(listed(&["a"])), News::Everything));
        assert_eq!(all(&catalogue).unwrap(), ["a"]);
    }

    #[test]
    fn a_kind_that_is_not_watched_is_never_answered() {
        let mut catalogue = Catalogue::default();
        let mut kinds = kinds();
        kinds.get_mut(&config_maps()).unwrap().watched = false;
        catalogue.learn(Fed::Kinds(kinds));
        catalogue.learn(listed(&[]));
        assert!(all(&catalogue).is_err());
    }

    #[test]
    fn a_kind_that_is_about_to_be_served_is_not_empty() {
        let mut catalogue = Catalogue::default();
        let mut kinds = kinds();
        kinds.get_mut(&config_maps()).unwrap().served = false;
        catalogue.learn(Fed::Kinds(kinds));
        assert_eq!(catalogue.namespaced_kinds(), Ok(vec![gvk()]));
        assert!(all(&catalogue).is_err());
    }

    #[test]
    fn a_kind_that_comes_back_is_read_again() {
        let mut catalogue = Catalogue::default();
        catalogue.learn(Fed::Kinds(kinds()));
        catalogue.learn(applied("a", "1", "x"));
        catalogue.learn(listed(&["a"]));
        catalogue.learn(Fed::Kinds(kinds()));
        assert_eq!(all(&catalogue).unwrap(), ["a"], "the same kinds again change nothing");
        catalogue.learn(Fed::Kinds(BTreeMap::new()));
        catalogue.learn(applied("b", "2", "x"));
        assert_eq!(catalogue.scope(&gvk()), Ok(None));
        catalogue.learn(Fed::Kinds(kinds()));
        assert!(all(&catalogue).is_err());
    }

    #[test]
    fn only_a_change_that_members_could_see_is_news() {
        let mut catalogue = Catalogue::default();
        catalogue.learn(Fed::Kinds(kinds()));
        catalogue.learn(applied("a", "1", "x"));
        catalogue.learn(applied("b", "1", "x"));
        catalogue.learn(listed(&["a", "b"]));
        let mut count = |fed: Fed| match catalogue.learn(fed) {
            News::Objects(changed) => changed.len(),
            News::Everything => panic!("not a new list"),
        };
        assert_eq!(count(applied("a", "2", "x")), 0, "only its status changed");
        assert_eq!(count(applied("a", "3", "y")), 1);
        assert_eq!(count(listed(&["a"])), 1, "`b` is gone");
        assert_eq!(count(listed(&["a"])), 0);
    }
}
