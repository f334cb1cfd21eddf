//! Which objects of the hub a placement selects.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use stolos_api::placement::{ResourceSelectorTerm, SelectionScope};

use super::eligibility::Eligibility;
use super::object::{self, Gvk};
use super::order;
use crate::selector;

/// The objects of the hub, as far as they can be placed.
///
/// The hub's caches implement it, and [`Inventory`] for tests and dry runs.
pub trait Catalogue {
    /// Returns whether a kind exists, and whether its objects have namespaces.
    ///
    /// # Errors
    /// While it is not known which kinds exist. Incomplete discovery must not look like a kind that
    /// is gone: what is no longer selected is deleted on members.
    fn scope(&self, gvk: &Gvk) -> Result<Option<KindScope>, NotSynced>;

    /// Returns every kind whose objects have namespaces and can be listed and watched, each in its
    /// preferred version.
    ///
    /// # Errors
    /// While that is not known.
    fn namespaced_kinds(&self) -> Result<Vec<Gvk>, NotSynced>;

    /// Returns the objects of a kind.
    ///
    /// # Errors
    /// While they are not all known.
    fn objects(&self, gvk: &Gvk, query: Query<'_>) -> Result<Vec<Arc<Value>>, NotSynced>;
}

/// Whether the objects of a kind have namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindScope {
    /// They do not.
    Cluster,
    /// They do.
    Namespaced,
}

/// Narrows a list of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query<'a> {
    /// Only those in this namespace.
    pub namespace: Option<&'a str>,
    /// Only those of this name.
    pub name: Option<&'a str>,
}

/// The hub does not know enough about a kind yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hub has not read all objects of `{0}` yet")]
pub struct NotSynced(pub Gvk);

/// Why nothing can be selected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A selector selects a namespace that belongs to the hub.
    #[error("namespace {0} is not allowed to propagate")]
    ReservedNamespace(String),
    /// The namespace that the other selectors refer to cannot be placed.
    #[error(
        "NamespaceWithResourceSelectors requires exactly one namespace, but no namespaces were selected: `{0}` does not exist, is being deleted or is reserved"
    )]
    NoNamespace(String),
    /// A cluster-scoped placement selects objects in namespaces without saying which namespace.
    #[error("cannot select namespace-scoped resource `{0}` in a clusterResourcePlacement")]
    NamespacedKind(Gvk),
    /// A namespaced placement selects objects outside its namespace.
    #[error("cannot select cluster-scoped resource `{0}` in a resourcePlacement")]
    ClusterKind(Gvk),
    /// No such kind is served.
    #[error("resource `{0}` is not found in schema")]
    UnknownKind(Gvk),
    /// A placement whose status is copied into its namespace selects another namespace than before.
    #[error(
        "namespace `{now}` is selected but namespace `{before}` was before: the status of a NamespaceAccessible placement is in the namespace that it selected first"
    )]
    NamespaceChanged {
        /// The namespace that the status records.
        before: String,
        /// The namespace that the selector names.
        now: String,
    },
    /// Two selectors select the same object.
    #[error("found duplicate resource {0}")]
    Duplicate(String),
    /// The hub does not know enough yet.
    #[error(transparent)]
    NotSynced(#[from] NotSynced),
}

impl Error {
    /// Returns whether the author of the placement must act; otherwise trying again helps.
    pub fn is_user_error(&self) -> bool {
        !matches!(self, Self::NotSynced(_))
    }
}

/// Where a placement may select.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach<'a> {
    /// ClusterResourcePlacement: cluster-scoped objects, and namespaces with their content.
    Cluster,
    /// ResourcePlacement: objects in this namespace.
    Namespace(&'a str),
}

/// Returns the objects that a placement selects, in the fixed order of snapshots.
///
/// # Errors
/// See [`Error`].
pub fn select(
    selectors: &[ResourceSelectorTerm],
    reach: Reach<'_>,
    eligibility: &Eligibility,
    catalogue: &impl Catalogue,
) -> Result<Vec<Arc<Value>>, Error> {
    let selection = Selection { eligibility, catalogue, reach, inside: anchor(selectors, reach) };
    let mut objects = Vec::new();
    for selector in selectors {
        objects.extend(selection.selected_by(selector)?);
    }
    order::sort(&mut objects);
    refuse_duplicates(&objects)?;
    Ok(objects)
}

/// Returns the namespace that the selectors of namespaced kinds of a cluster-scoped placement refer
/// to.
pub(super) fn anchor<'a>(
    selectors: &'a [ResourceSelectorTerm],
    reach: Reach<'_>,
) -> Option<&'a str> {
    let is_anchor = |selector: &&ResourceSelectorTerm| {
        gvk_of(selector).is_namespace()
            && selector.selection_scope == SelectionScope::NamespaceWithResourceSelectors
    };
    match reach {
        Reach::Cluster => selectors.iter().find(is_anchor).map(|selector| selector.name.as_str()),
        Reach::Namespace(_) => None,
    }
}

pub(super) fn gvk_of(selector: &ResourceSelectorTerm) -> Gvk {
    Gvk::new(&selector.group, &selector.version, &selector.kind)
}

fn refuse_duplicates(objects: &[Arc<Value>]) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for object in objects {
        let (namespace, name) = (object::namespace(object), object::name(object));
        if !seen.insert((Gvk::of(object), namespace, name)) {
            return Err(Error::Duplicate(format!("{} {namespace}/{name}", Gvk::of(object))));
        }
    }
    Ok(())
}

struct Selection<'a, C> {
    eligibility: &'a Eligibility,
    catalogue: &'a C,
    reach: Reach<'a>,
    /// Namespace to which selectors of namespaced kinds of a cluster-scoped placement refer.
    inside: Option<&'a str>,
}

impl<C: Catalogue> Selection<'_, C> {
    fn selected_by(&self, selector: &ResourceSelectorTerm) -> Result<Vec<Arc<Value>>, Error> {
        let gvk = gvk_of(selector);
        if !self.eligibility.kinds.permit(&gvk) {
            return Ok(Vec::new());
        }
        let scope = self.catalogue.scope(&gvk)?.ok_or_else(|| Error::UnknownKind(gvk.clone()))?;
        match (self.reach, scope) {
            (Reach::Cluster, KindScope::Cluster) if gvk.is_namespace() => {
                self.namespaces(&gvk, selector)
            }
            (Reach::Cluster, KindScope::Cluster) => self.matching(&gvk, selector, None),
            (Reach::Cluster, KindScope::Namespaced) => match self.inside {
                Some(namespace) => self.matching(&gvk, selector, Some(namespace)),
                None => Err(Error::NamespacedKind(gvk)),
            },
            (Reach::Namespace(namespace), KindScope::Namespaced) => {
                self.matching(&gvk, selector, Some(namespace))
            }
            (Reach::Namespace(_), KindScope::Cluster) => Err(Error::ClusterKind(gvk)),
        }
    }

    fn namespaces(
        &self,
        gvk: &Gvk,
        selector: &ResourceSelectorTerm,
    ) -> Result<Vec<Arc<Value>>, Error> {
        let is_reserved = |name: &str| self.eligibility.is_reserved_namespace(name);
        let is_anchor = selector.selection_scope == SelectionScope::NamespaceWithResourceSelectors;
        if !is_anchor && is_reserved(&selector.name) {
            return Err(Error::ReservedNamespace(selector.name.clone()));
        }
        let namespaces = self.matching(gvk, selector, None)?;
        let reserved = namespaces.iter().find(|namespace| is_reserved(object::name(namespace)));
        if is_anchor && (namespaces.is_empty() || reserved.is_some()) {
            return Err(Error::NoNamespace(selector.name.clone()));
        }
        if let Some(reserved) = reserved {
            return Err(Error::ReservedNamespace(object::name(reserved).to_owned()));
        }
        let mut objects = Vec::new();
        for namespace in namespaces {
            if selector.selection_scope == SelectionScope::NamespaceWithResources {
                objects.extend(self.content(object::name(&namespace))?);
            }
            objects.push(namespace);
        }
        Ok(objects)
    }

    fn content(&self, namespace: &str) -> Result<Vec<Arc<Value>>, Error> {
        let mut objects = Vec::new();
        for gvk in self.catalogue.namespaced_kinds()? {
            if self.eligibility.kinds.permit(&gvk) {
                let query = Query { namespace: Some(namespace), name: None };
                objects.extend(self.permitted(self.catalogue.objects(&gvk, query)?)?);
            }
        }
        Ok(objects)
    }

    fn matching(
        &self,
        gvk: &Gvk,
        selector: &ResourceSelectorTerm,
        namespace: Option<&str>,
    ) -> Result<Vec<Arc<Value>>, Error> {
        let name = (!selector.name.is_empty()).then_some(selector.name.as_str());
        let mut objects = self.catalogue.objects(gvk, Query { namespace, name })?;
        if let Some(labels) = &selector.label_selector {
            objects.retain(|object| selector::matches_by(labels, |key| object::label(object, key)));
        }
        self.permitted(objects)
    }

    fn permitted(&self, objects: Vec<Arc<Value>>) -> Result<Vec<Arc<Value>>, Error> {
        let mut permitted = Vec::with_capacity(objects.len());
        for object in objects {
            let has_service = self.is_endpoints_of_service(&object)?;
            if self.eligibility.permits(&object, |_| has_service) {
                permitted.push(object);
            }
        }
        Ok(permitted)
    }

    fn is_endpoints_of_service(&self, object: &Value) -> Result<bool, Error> {
        if !Gvk::of(object).is("", "Endpoints") {
            return Ok(false);
        }
        let query =
            Query { namespace: Some(object::namespace(object)), name: Some(object::name(object)) };
        Ok(!self.catalogue.objects(&Gvk::new("", "v1", "Service"), query)?.is_empty())
    }
}

/// A catalogue in memory.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    kinds: Vec<(Gvk, KindScope)>,
    objects: Vec<Arc<Value>>,
}

impl Inventory {
    /// Returns a catalogue of these kinds and objects.
    pub fn new(kinds: Vec<(Gvk, KindScope)>, objects: Vec<Value>) -> Self {
        Self { kinds, objects: objects.into_iter().map(Arc::new).collect() }
    }
}

impl Catalogue for Inventory {
    fn scope(&self, gvk: &Gvk) -> Result<Option<KindScope>, NotSynced> {
        Ok(self.kinds.iter().find(|(kind, _)| kind == gvk).map(|(_, scope)| *scope))
    }

    fn namespaced_kinds(&self) -> Result<Vec<Gvk>, NotSynced> {
        let namespaced = self.kinds.iter().filter(|(_, scope)| *scope == KindScope::Namespaced);
        Ok(namespaced.map(|(gvk, _)| gvk.clone()).collect())
    }

    fn objects(&self, gvk: &Gvk, query: Query<'_>) -> Result<Vec<Arc<Value>>, NotSynced> {
        let matches = |object: &&Arc<Value>| {
            Gvk::of(object) == *gvk
                && query.namespace.is_none_or(|namespace| object::namespace(object) == namespace)
                && query.name.is_none_or(|name| object::name(object) == name)
        };
        Ok(self.objects.iter().filter(matches).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object(api_version: &str, kind: &str, namespace: &str, name: &str) -> Value {
        json!({"apiVersion": api_version, "kind": kind, "metadata": {
            "name": name, "namespace": namespace, "labels": {"name": name},
        }})
    }

    fn objects() -> Vec<Value> {
        let mut leaving = object("v1", "Namespace", "", "leaving");
        leaving["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:00Z");
        vec![
            object("v1", "Namespace", "", "app"),
            object("v1", "Namespace", "", "other"),
            object("v1", "Namespace", "", "kube-system"),
            leaving,
            object("v1", "ConfigMap", "app", "a"),
            object("v1", "ConfigMap", "app", "b"),
            object("v1", "ConfigMap", "other", "a"),
            object("v1", "Secret", "app", "a"),
            object("v1", "Pod", "app", "a"),
            object("v1", "Service", "app", "web"),
            object("v1", "Endpoints", "app", "web"),
            object("v1", "Endpoints", "app", "own"),
            object("rbac.authorization.k8s.io/v1", "ClusterRole", "", "reader"),
        ]
    }

    fn inventory(objects: Vec<Value>) -> Inventory {
        let namespaced = ["ConfigMap", "Secret", "Pod", "Service", "Endpoints"];
        let mut kinds: Vec<_> = namespaced
            .into_iter()
            .map(|kind| (Gvk::new("", "v1", kind), KindScope::Namespaced))
            .collect();
        kinds.push((Gvk::new("", "v1", "Namespace"), KindScope::Cluster));
        let role = Gvk::new("rbac.authorization.k8s.io", "v1", "ClusterRole");
        kinds.push((role, KindScope::Cluster));
        Inventory::new(kinds, objects)
    }

    fn selected(selectors: &Value, reach: Reach<'_>) -> Result<Vec<String>, Error> {
        selected_from(selectors, reach, &inventory(objects()))
    }

    fn selected_from(
        selectors: &Value,
        reach: Reach<'_>,
        inventory: &Inventory,
    ) -> Result<Vec<String>, Error> {
        let selectors: Vec<ResourceSelectorTerm> =
            serde_json::from_value(selectors.clone()).unwrap();
        let objects = select(&selectors, reach, &Eligibility::default(), inventory)?;
        let path = |object: &Arc<Value>| {
            let kind = Gvk::of(object).kind;
            format!("{kind} {}/{}", object::namespace(object), object::name(object))
        };
        Ok(objects.iter().map(path).collect())
    }

    fn namespace(name: &str, scope: &str) -> Value {
        json!({"group": "", "version": "v1", "kind": "Namespace", "name": name, "selectionScope": scope})
    }

    fn kind(kind: &str) -> Value {
        json!({"group": "", "version": "v1", "kind": kind})
    }

    const APP: &[&str] = &[
        "Namespace /app",
        "Secret app/a",
        "ConfigMap app/a",
        "ConfigMap app/b",
        "Service app/web",
        "Endpoints app/own",
    ];

    #[test]
    fn a_cluster_placement_selects_namespaces_and_cluster_scoped_objects() {
        let by_label = json!({
            "group": "", "version": "v1", "kind": "Namespace",
            "labelSelector": {"matchLabels": {"name": "app"}},
        });
        let role = json!({
            "group": "rbac.authorization.k8s.io", "version": "v1", "kind": "ClusterRole",
        });
        let cases: &[(Value, &[&str])] = &[
            (json!([namespace("app", "NamespaceWithResources")]), APP),
            (json!([by_label]), APP),
            (json!([namespace("app", "NamespaceOnly")]), &["Namespace /app"]),
            (json!([namespace("missing", "NamespaceWithResources")]), &[]),
            (json!([namespace("leaving", "NamespaceWithResources")]), &[]),
            (json!([role]), &["ClusterRole /reader"]),
            (json!([kind("Pod")]), &[]),
            (
                json!([
                    kind("ConfigMap"),
                    namespace("app", "NamespaceWithResourceSelectors"),
                    role
                ]),
                &["Namespace /app", "ConfigMap app/a", "ConfigMap app/b", "ClusterRole /reader"],
            ),
        ];
        for (selectors, want) in cases {
            assert_eq!(selected(selectors, Reach::Cluster).unwrap(), *want, "{selectors}");
        }
    }

    #[test]
    fn a_namespaced_placement_selects_in_its_namespace() {
        let want = ["ConfigMap other/a"];
        assert_eq!(selected(&json!([kind("ConfigMap")]), Reach::Namespace("other")).unwrap(), want);
    }

    #[test]
    fn a_selector_that_cannot_mean_anything_is_an_error_of_its_author() {
        let config_map = Gvk::new("", "v1", "ConfigMap");
        let namespaces = Gvk::new("", "v1", "Namespace");
        let anchor = |name: &str| json!([namespace(name, "NamespaceWithResourceSelectors")]);
        let cases = [
            (
                json!([namespace("kube-system", "NamespaceWithResources")]),
                Reach::Cluster,
                Error::ReservedNamespace("kube-system".into()),
            ),
            (
                json!([kind("Namespace")]),
                Reach::Cluster,
                Error::ReservedNamespace("kube-system".into()),
            ),
            (anchor("missing"), Reach::Cluster, Error::NoNamespace("missing".into())),
            (anchor("leaving"), Reach::Cluster, Error::NoNamespace("leaving".into())),
            (anchor("kube-system"), Reach::Cluster, Error::NoNamespace("kube-system".into())),
            (json!([kind("ConfigMap")]), Reach::Cluster, Error::NamespacedKind(config_map)),
            (json!([kind("Namespace")]), Reach::Namespace("app"), Error::ClusterKind(namespaces)),
            (
                json!([kind("Widget")]),
                Reach::Cluster,
                Error::UnknownKind(Gvk::new("", "v1", "Widget")),
            ),
            (
                json!([namespace("app", "NamespaceOnly"), namespace("app", "NamespaceOnly")]),
                Reach::Cluster,
                Error::Duplicate("/v1, Kind=Namespace /app".into()),
            ),
        ];
        for (selectors, reach, want) in cases {
            let error = selected(&selectors, reach).unwrap_err();
            assert!(error.is_user_error());
            assert_eq!(error, want, "{selectors}");
        }
    }

    struct Unread;

    impl Catalogue for Unread {
        fn scope(&self, _: &Gvk) -> Result<Option<KindScope>, NotSynced> {
            Ok(Some(KindScope::Cluster))
        }

        fn namespaced_kinds(&self) -> Result<Vec<Gvk>, NotSynced> {
            Ok(Vec::new())
        }

        fn objects(&self, gvk: &Gvk, _: Query<'_>) -> Result<Vec<Arc<Value>>, NotSynced> {
            Err(NotSynced(gvk.clone()))
        }
    }

    #[test]
    fn objects_that_are_not_read_yet_are_not_an_empty_selection() {
        let selectors: Vec<ResourceSelectorTerm> =
            serde_json::from_value(json!([kind("Namespace")])).unwrap();
        let error =
            select(&selectors, Reach::Cluster, &Eligibility::default(), &Unread).unwrap_err();
        assert!(!error.is_user_error());
    }

    proptest! {
        #[test]
        fn the_order_of_objects_and_selectors_does_not_matter(
            objects in Just(objects()).prop_shuffle(),
            selectors in Just(vec![
                namespace("app", "NamespaceWithResourceSelectors"), kind("ConfigMap"), kind("Secret"),
            ]).prop_shuffle(),
        ) {
            let got = selected_from(&json!(selectors), Reach::Cluster, &inventory(objects)).unwrap();
            prop_assert_eq!(
                got,
                ["Namespace /app", "Secret app/a", "ConfigMap app/a", "ConfigMap app/b"]
            );
        }
    }
}
