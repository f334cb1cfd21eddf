//! The kinds of the member that the agent has placed: where they are served, and a watch of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, ApiResource, DynamicObject, PartialObjectMeta};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, oneshot};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource};
use serde::Deserialize;
use stolos_api::placement::{AppliedWork, WorkResourceIdentifier};
use stolos_core::placement::apply::{Mapping, is_applied_work};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::debug;

/// Something that was placed has changed on the member.
#[derive(Clone, Debug)]
pub(crate) enum Placed {
    /// An object of this AppliedWork, or the AppliedWork itself.
    Of(String),
    /// A watch was interrupted: anything may have changed.
    Unknown,
}

/// A kind as the member serves it.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
}

impl Kind {
    pub(crate) fn mapping(&self) -> Mapping {
        Mapping { resource: self.resource.plural.clone(), namespaced: self.namespaced }
    }

    pub(crate) fn api(&self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        if self.namespaced {
            Api::namespaced_with(client.clone(), namespace, &self.resource)
        } else {
            Api::all_with(client.clone(), &self.resource)
        }
    }
}

/// Group, version and kind.
type Name = (String, String, String);

type Known = Arc<Mutex<BTreeMap<Name, Kind>>>;

/// Group, kind, namespace and name of an object.
type ObjectName = (String, String, String, String);

/// Which Works list an object. It need not be theirs: they may only compare it, or wait until it may become theirs.
#[derive(Default)]
struct Listed {
    by_object: BTreeMap<ObjectName, BTreeSet<String>>,
    by_work: BTreeMap<String, BTreeSet<ObjectName>>,
}

impl Listed {
    fn set(&mut self, work: &str, objects: BTreeSet<ObjectName>) {
        for gone in self.by_work.remove(work).unwrap_or_default().difference(&objects) {
            if let Some(works) = self.by_object.get_mut(gone) {
                works.remove(work);
                if works.is_empty() {
                    self.by_object.remove(gone);
                }
            }
        }
        for object in &objects {
            self.by_object.entry(object.clone()).or_default().insert(work.to_owned());
        }
        if !objects.is_empty() {
            self.by_work.insert(work.to_owned(), objects);
        }
    }
}

/// Known kinds and their watches. A watch lives as long as the agent.
pub(crate) struct Kinds {
    client: Client,
    notes: mpsc::Sender<Placed>,
    known: Known,
    listed: Arc<Mutex<Listed>>,
    watches: Mutex<Watches>,
}

#[derive(Default)]
struct Watches {
    watched: BTreeSet<Name>,
    tasks: JoinSet<()>,
}

impl Kinds {
    pub(crate) fn new(client: Client, notes: mpsc::Sender<Placed>) -> Self {
        let known = Known::default();
        let mut watches = Watches::default();
        watches.tasks.spawn(watch_records(client.clone(), notes.clone()));
        watches.tasks.spawn(watch_definitions(client.clone(), known.clone(), notes.clone()));
        Self { client, notes, known, listed: Arc::default(), watches: Mutex::new(watches) }
    }

    /// Says which objects a Work lists, so that their changes wake it whoever owns them.
    pub(crate) fn expect(&self, work: &str, objects: &[&WorkResourceIdentifier]) {
        let name = |object: &&WorkResourceIdentifier| {
            let WorkResourceIdentifier { group, kind, namespace, name, .. } = (*object).clone();
            (group, kind, namespace, name)
        };
        lock(&self.listed).set(work, objects.iter().map(name).collect());
    }

    /// Returns a kind, asking the member the first time, and watches it from then on. A kind that the member does not
    /// serve is asked for again next time; its definition, when it comes, is that time.
    pub(crate) async fn get(
        &self,
        group: &str,
        version: &str,
        kind: &str,
    ) -> Result<Option<Kind>, kube::Error> {
        let name = (group.to_owned(), version.to_owned(), kind.to_owned());
        if let Some(known) = lock(&self.known).get(&name) {
            return Ok(Some(known.clone()));
        }
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let found = match oneshot::pinned_kind(&self.client, &gvk).await {
            Ok((resource, capabilities)) => {
                Kind { resource, namespaced: capabilities.scope == Scope::Namespaced }
            }
            Err(kube::Error::Discovery(_)) => return Ok(None),
            // A server answers in plain text where it does not know the group; `is_not_found` would want a reason.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            Err(error) => return Err(error),
        };
        lock(&self.known).insert(name.clone(), found.clone());
        let mut watches = lock(&self.watches);
        if watches.watched.insert(name) {
            let (client, notes) = (self.client.clone(), self.notes.clone());
            let watch = watch(client, found.resource.clone(), self.listed.clone(), notes);
            watches.tasks.spawn(watch);
        }
        drop(watches);
        Ok(Some(found))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panics")
}

/// Notes every change of an object that an AppliedWork owns or a Work lists.
async fn watch(
    client: Client,
    resource: ApiResource,
    listed: Arc<Mutex<Listed>>,
    notes: mpsc::Sender<Placed>,
) {
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, &resource);
    let (group, kind) = (resource.group.clone(), resource.kind.clone());
    follow(api, &resource.kind, notes, move |object, _| {
        let meta = &object.metadata;
        let owners = meta.owner_references.iter().flatten();
        let mut works: BTreeSet<String> =
            owners.filter(|owner| is_applied_work(owner)).map(|owner| owner.name.clone()).collect();
        let namespace = meta.namespace.clone().unwrap_or_default();
        let name = meta.name.clone().unwrap_or_default();
        let listing = lock(&listed);
        let listing = listing.by_object.get(&(group.clone(), kind.clone(), namespace, name));
        works.extend(listing.into_iter().flatten().cloned());
        works.into_iter().collect()
    })
    .await;
}

/// Notes every AppliedWork that goes.
async fn watch_records(client: Client, notes: mpsc::Sender<Placed>) {
    let api: Api<PartialObjectMeta<AppliedWork>> = Api::all(client);
    // Nobody but us writes records; only the end of one is news.
    follow(api, "AppliedWork", notes, |record, deleted| {
        record.metadata.name.iter().filter(|_| deleted).cloned().collect()
    })
    .await;
}

/// What counts of a CustomResourceDefinition. Their schemas are large, and nobody here reads them.
type Definition = kube::core::object::Object<Defined, Published>;

#[derive(Clone, Debug, Deserialize)]
struct Defined {
    group: String,
    names: Names,
}

#[derive(Clone, Debug, Deserialize)]
struct Names {
    kind: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Published {
    #[serde(default)]
    conditions: Vec<Condition>,
}

/// Notes every custom kind that starts to be served, because Works may wait for it, and forgets those that end.
async fn watch_definitions(client: Client, known: Known, notes: mpsc::Sender<Placed>) {
    let resource = ApiResource::erase::<CustomResourceDefinition>(&());
    let api: Api<Definition> = Api::all_with(client, &resource);
    let events = watcher(api, watcher::Config::default().timeout(0)).default_backoff();
    let mut events = std::pin::pin!(events);
    let mut served = BTreeSet::new();
    while let Some(event) = events.next().await {
        let (definition, gone) = match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                (object, false)
            }
            Ok(watcher::Event::Delete(object)) => (object, true),
            Ok(watcher::Event::Init | watcher::Event::InitDone) => continue,
            Err(error) => {
                debug!(%error, "watch of the member's definitions failed; it starts over");
                continue;
            }
        };
        let kind = (definition.spec.group.clone(), definition.spec.names.kind.clone());
        if gone {
            served.remove(&kind);
            lock(&known).retain(|(group, _, name), _| (group, name) != (&kind.0, &kind.1));
        } else if is_established(&definition)
            && served.insert(kind)
            && notes.send(Placed::Unknown).await.is_err()
        {
            return;
        }
    }
}

fn is_established(definition: &Definition) -> bool {
    let conditions = definition.status.as_ref().map_or(&[][..], |status| &status.conditions);
    conditions
        .iter()
        .any(|condition| condition.type_ == "Established" && condition.status == "True")
}

/// Follows a kind until nobody listens. `applied_works` tells whom a change concerns, given the object and whether it is gone. What a first list shows is looked at with its Work anyway.
async fn follow<K>(
    api: Api<K>,
    kind: &str,
    notes: mpsc::Sender<Placed>,
    applied_works: impl Fn(&K, bool) -> Vec<String>,
) where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let events = watcher(api, watcher::Config::default().timeout(0)).default_backoff();
    let mut events = std::pin::pin!(events);
    let mut started = false;
    while let Some(event) = events.next().await {
        let changed = match event {
            Ok(watcher::Event::Apply(object)) => {
                applied_works(&object, false).into_iter().map(Placed::Of).collect()
            }
            Ok(watcher::Event::Delete(object)) => {
                applied_works(&object, true).into_iter().map(Placed::Of).collect()
            }
            Ok(watcher::Event::InitDone) if std::mem::replace(&mut started, true) => {
                vec![Placed::Unknown]
            }
            Ok(_) => continue,
            Err(error) => {
                debug!(kind, %error, "watch of the member failed; it starts over");
                continue;
            }
        };
        for note in changed {
            if notes.send(note).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_work_no_longer_lists_does_not_wake_it() {
        let object = |name: &str| -> ObjectName {
            (String::new(), "ConfigMap".to_owned(), "app".to_owned(), name.to_owned())
        };
        let mut listed = Listed::default();
        listed.set("one", [object("a"), object("b")].into());
        listed.set("two", [object("b")].into());
        listed.set("one", [object("a")].into());
        assert_eq!(listed.by_object[&object("b")], ["two".to_owned()].into());
        listed.set("one", BTreeSet::new());
        listed.set("two", BTreeSet::new());
        assert!(listed.by_object.is_empty() && listed.by_work.is_empty());
    }
}
