//! The kinds of the hub, and the objects that a placement could select.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::discovery::{Discovery, Scope, verbs};
use serde_json::Value;
use stolos_api::placement::{ResourceSelectorTerm, SelectionScope};
use stolos_core::placement::eligibility::Eligibility;
use stolos_core::placement::object::{self, Gvk};
use stolos_core::placement::select::{self, KindScope, NotSynced, Query, Reach};
use stolos_core::selector;

use crate::connect::explain;

/// Lists under way at once.
const AT_ONCE: usize = 8;
/// Objects of one page of a list.
const PAGE: u32 = 500;

/// The kinds that the hub serves.
pub(super) struct Kinds {
    served: BTreeMap<Gvk, (ApiResource, KindScope)>,
    /// Kinds in namespaces that can be listed and watched, each in its preferred version.
    namespaced: Vec<Gvk>,
}

impl Kinds {
    pub(super) async fn discover(client: &Client) -> anyhow::Result<Self> {
        let discovery = Discovery::new(client.clone()).run().await;
        let discovery = discovery
            .map_err(|error| explain("failed to see which kinds the hub serves", error))?;
        let gvk =
            |resource: &ApiResource| Gvk::new(&resource.group, &resource.version, &resource.kind);
        let mut kinds = Self { served: BTreeMap::new(), namespaced: Vec::new() };
        for group in discovery.groups() {
            for version in group.versions() {
                for (resource, capabilities) in group.versioned_resources(version) {
                    let scope = match capabilities.scope {
                        Scope::Cluster => KindScope::Cluster,
                        Scope::Namespaced => KindScope::Namespaced,
                    };
                    kinds.served.insert(gvk(&resource), (resource, scope));
                }
            }
            for (resource, capabilities) in group.recommended_resources() {
                let can_be_read = capabilities.supports_operation(verbs::LIST)
                    && capabilities.supports_operation(verbs::WATCH);
                if can_be_read && capabilities.scope == Scope::Namespaced {
                    kinds.namespaced.push(gvk(&resource));
                }
            }
        }
        Ok(kinds)
    }

    /// Returns the API of the kind of an object, in the namespace of the object.
    pub(super) fn api_for(
        &self,
        client: &Client,
        object: &Value,
    ) -> anyhow::Result<Api<DynamicObject>> {
        let gvk = Gvk::of(object);
        let served = self.served.get(&gvk);
        let (resource, scope) =
            served.with_context(|| format!("the hub does not serve the kind `{gvk}`"))?;
        Ok(match scope {
            KindScope::Cluster => Api::all_with(client.clone(), resource),
            KindScope::Namespaced => {
                Api::namespaced_with(client.clone(), object::namespace(object), resource)
            }
        })
    }

    async fn list(
        &self,
        client: &Client,
        gvk: &Gvk,
        namespace: Option<&str>,
    ) -> anyhow::Result<Vec<Arc<Value>>> {
        let Some((resource, _)) = self.served.get(gvk) else { return Ok(Vec::new()) };
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
            None => Api::all_with(client.clone(), resource),
        };
        let mut params = ListParams::default().limit(PAGE);
        let mut objects = Vec::new();
        loop {
            let page = api.list(&params).await;
            let page = page.map_err(|error| {
                explain(&format!("failed to list {} of the hub", resource.plural), error)
            })?;
            for object in page.items {
                let mut object =
                    serde_json::to_value(object).context("failed to read an object")?;
                // Items of a list do not tell their kind.
                object["apiVersion"] = resource.api_version.clone().into();
                object["kind"] = resource.kind.clone().into();
                objects.push(Arc::new(object));
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(objects),
            }
        }
    }
}

/// The objects that a placement could select, with those of a file in place of those on the hub.
pub(super) struct Catalogue<'a> {
    kinds: &'a Kinds,
    objects: BTreeMap<Gvk, Vec<Arc<Value>>>,
}

impl<'a> Catalogue<'a> {
    pub(super) async fn read(
        client: &Client,
        kinds: &'a Kinds,
        selectors: &[ResourceSelectorTerm],
        reach: Reach<'_>,
        eligibility: &Eligibility,
        file: &[Value],
    ) -> anyhow::Result<Self> {
        let namespace_kind = Gvk::new("", "v1", "Namespace");
        let mut known = Self { kinds, objects: BTreeMap::new() };
        let mut wanted: BTreeSet<(Gvk, Option<String>)> = BTreeSet::new();
        let selects_namespaces =
            selectors.iter().any(|selector| gvk_of(selector) == namespace_kind);
        if selects_namespaces && reach == Reach::Cluster {
            let namespaces = kinds.list(client, &namespace_kind, None).await?;
            known.add(&namespace_kind, namespaces, file);
        }
        for selector in selectors {
            let gvk = gvk_of(selector);
            if gvk == namespace_kind && reach == Reach::Cluster {
                if selector.selection_scope == SelectionScope::NamespaceWithResources {
                    for namespace in known.namespaces(&namespace_kind, selector) {
                        let inside =
                            kinds.namespaced.iter().filter(|gvk| eligibility.kinds.permit(gvk));
                        wanted.extend(inside.map(|gvk| (gvk.clone(), Some(namespace.clone()))));
                    }
                }
            } else {
                let inside = match reach {
                    Reach::Namespace(namespace) => Some(namespace.to_owned()),
                    Reach::Cluster => None,
                };
                wanted.insert((gvk, inside));
            }
        }
        let lists = wanted.into_iter().map(|(gvk, namespace)| async move {
            let objects = kinds.list(client, &gvk, namespace.as_deref()).await?;
            anyhow::Ok((gvk, objects))
        });
        let lists: Vec<_> =
            futures::stream::iter(lists).buffer_unordered(AT_ONCE).try_collect().await?;
        for (gvk, objects) in lists {
            known.add(&gvk, objects, file);
        }
        Ok(known)
    }

    fn add(&mut self, gvk: &Gvk, objects: Vec<Arc<Value>>, file: &[Value]) {
        let known = self.objects.entry(gvk.clone()).or_default();
        known.extend(objects);
        let place = |object: &Value| {
            (object::namespace(object).to_owned(), object::name(object).to_owned())
        };
        for replacement in file.iter().filter(|object| Gvk::of(object) == *gvk) {
            known.retain(|found| place(found) != place(replacement));
            known.push(Arc::new(replacement.clone()));
        }
        let mut seen = BTreeSet::new();
        known.retain(|found| seen.insert(place(found)));
    }

    /// Returns the names of the namespaces that a selector selects.
    fn namespaces(&self, kind: &Gvk, wanted: &ResourceSelectorTerm) -> Vec<String> {
        let is_selected = |namespace: &&Arc<Value>| {
            let by_label = wanted.label_selector.as_ref().is_none_or(|labels| {
                selector::matches_by(labels, |key| object::label(namespace, key))
            });
            by_label && (wanted.name.is_empty() || wanted.name == object::name(namespace))
        };
        let all = self.objects.get(kind).into_iter().flatten();
        all.filter(is_selected).map(|namespace| object::name(namespace).to_owned()).collect()
    }
}

fn gvk_of(selector: &ResourceSelectorTerm) -> Gvk {
    Gvk::new(&selector.group, &selector.version, &selector.kind)
}

impl select::Catalogue for Catalogue<'_> {
    fn scope(&self, gvk: &Gvk) -> Result<Option<KindScope>, NotSynced> {
        Ok(self.kinds.served.get(gvk).map(|(_, scope)| *scope))
    }

    fn namespaced_kinds(&self) -> Result<Vec<Gvk>, NotSynced> {
        Ok(self.kinds.namespaced.clone())
    }

    fn objects(&self, gvk: &Gvk, query: Query<'_>) -> Result<Vec<Arc<Value>>, NotSynced> {
        let is_asked_for = |found: &&Arc<Value>| {
            query.namespace.is_none_or(|namespace| object::namespace(found) == namespace)
                && query.name.is_none_or(|name| object::name(found) == name)
        };
        let known = self.objects.get(gvk).into_iter().flatten();
        Ok(known.filter(is_asked_for).cloned().collect())
    }
}
