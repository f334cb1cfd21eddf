//! Accepts, publishes and removes definitions. Only one at a time is looked at, so that of two rivals for a name exactly
//! one wins.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt, stream};
use serde_json::Value;
use tokio::task::JoinSet;

use super::names::{self, Names};
use super::{CLEANUP_FINALIZER, STORAGE, resources, status};
use crate::conditions;
use crate::controllers::Context;
use crate::controllers::api;
use crate::controllers::follow::{Seen, follow};
use crate::controllers::queue::{Next, Queue};
use crate::rest::meta;
use crate::status::{ApiError, Cause};
use crate::store::{ClusterStore, Key, ListOptions, ResourceId, Version, WatchEnd, Watcher};

/// Deletions of objects at once; enough to fill a group commit.
const PARALLEL_DELETIONS: usize = 32;

/// Looks after the definitions of a logical cluster.
pub(crate) struct Controller {
    context: Context,
    queue: Arc<Queue<String>>,
    known: Mutex<BTreeMap<String, Known>>,
    /// Tasks that watch the objects of definitions being deleted.
    drains: Mutex<BTreeMap<String, JoinSet<()>>>,
}

/// What the controller did about a definition.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    group: String,
    storage: ResourceId,
    accepted: Names,
    /// What was published, to not do it again.
    published: Option<Published>,
}

#[derive(Clone, Debug, PartialEq)]
struct Published {
    uid: String,
    generation: Option<i64>,
    names: Names,
    terminating: bool,
}

impl Controller {
    pub(crate) fn new(context: Context) -> Self {
        Self {
            context,
            queue: Queue::new().into(),
            known: Mutex::default(),
            drains: Mutex::default(),
        }
    }

    /// Serves what was established before the last stop. Later decisions need to know all names that are taken.
    pub(crate) fn publish_established(&self) {
        let page = self.context.store.list(&STORAGE.into(), &ListOptions::default());
        for version in page.into_iter().flat_map(|page| page.items) {
            let crd = version.object();
            let accepted = Names::parse(&crd["status"]["acceptedNames"]);
            self.remember(&version, &crd, accepted.clone());
            if conditions::is_true(&crd, "Established") {
                // What is wrong with it is reported when it is looked at.
                let _ = self.publish(&version, &crd, &accepted);
            }
        }
    }

    /// Runs until the store closes.
    pub(crate) async fn run(self) {
        let definitions = ResourceId::from(STORAGE);
        let following = follow(&self.context.store, &definitions, |seen| match seen {
            Seen::Listed(version) => self.queue.push(version.key.name.clone()),
            Seen::Changed(event) => self.queue.push(event.current.key.name.clone()),
            Seen::Missed => self.known().keys().for_each(|name| self.queue.push(name.clone())),
        });
        tokio::select! {
            () = following => {}
            () = self.queue.run(1, |name| self.process(name)) => {}
        }
    }

    async fn process(&self, name: String) -> Result<Next, ApiError> {
        let version = self.context.store.get(&STORAGE.into(), &Key::cluster_scoped(&name));
        match version {
            None => self.forget(&name),
            Some(version) if !version.attributes.deleting => self.accept(&version).await?,
            Some(version) => {
                let crd = version.object();
                if meta::finalizers(&crd).contains(&CLEANUP_FINALIZER) {
                    self.terminate(&version, crd).await?;
                }
            }
        }
        Ok(Next::Done)
    }

    /// Decides on the names, serves the resources, and only then says so.
    async fn accept(&self, version: &Version) -> Result<(), ApiError> {
        let crd = version.object();
        let name = &version.key.name;
        let requested = Names::parse(&crd["spec"]["names"]);
        let accepted = Names::parse(&crd["status"]["acceptedNames"]);
        let others = self.names_of_others(name, crd["spec"]["group"].as_str().unwrap_or_default());
        let (names, conflict) = names::accept(&requested, &accepted, &others);
        self.remember(version, &crd, names.clone());
        let is_served = conflict.is_none() || conditions::is_true(&crd, "Established");
        let problems = if is_served {
            self.publish(version, &crd, &names).err().unwrap_or_default()
        } else {
            Vec::new()
        };
        let next =
            status::accepted(&crd, &names, conflict.as_ref(), &problems, self.context.clock.now());
        self.write_status(name, &crd, next).await
    }

    /// Serves the resources of a definition, unless exactly these are served already.
    fn publish(&self, version: &Version, crd: &Value, names: &Names) -> Result<(), Vec<Cause>> {
        let terminating = meta::is_deleting(crd);
        let published = Published {
            uid: version.attributes.uid.clone(),
            generation: crd["metadata"]["generation"].as_i64(),
            names: names.clone(),
            terminating,
        };
        let name = &version.key.name;
        if self.known().get(name).is_some_and(|known| known.published.as_ref() == Some(&published))
        {
            return Ok(());
        }
        let rows = if terminating {
            resources::terminating(crd, names, &self.context.webhooks)?
        } else {
            resources::established(crd, names, &self.context.webhooks)?
        };
        if rows.is_empty() {
            self.context.registry.remove_custom(&resources::storage_id(crd));
        } else {
            self.context.registry.set_custom(rows).map_err(|occupied| {
                vec![Cause {
                    reason: "FieldValueInvalid".to_owned(),
                    message: occupied.to_string(),
                    field: "spec.names.plural".to_owned(),
                }]
            })?;
        }
        if let Some(known) = self.known().get_mut(name) {
            known.published = Some(published);
        }
        Ok(())
    }

    /// Deletes all objects of a definition, then stops serving it and lets it go.
    async fn terminate(&self, version: &Version, crd: Value) -> Result<(), ApiError> {
        let name = &version.key.name;
        let storage = resources::storage_id(&crd);
        let names = Names::parse(&crd["status"]["acceptedNames"]);
        let is_ours = conditions::is_true(&crd, "Established");
        let mut deleted = Ok(());
        if is_ours {
            self.remember(version, &crd, names.clone());
            // A schema that no longer compiles must not keep the definition for ever.
            let _ = self.publish(version, &crd, &names);
            self.drain(name, &storage);
            deleted = self.delete_objects(&storage).await;
        }
        let remaining = if is_ours { self.objects(&storage).len() } else { 0 };
        if remaining > 0 {
            let next = status::terminating(&crd, remaining, self.context.clock.now());
            // What is in the way is told, and then tried again.
            return self.write_status(name, &crd, next).await.and(deleted);
        }
        self.forget(name);
        let kept: Vec<&str> = meta::finalizers(&crd)
            .into_iter()
            .filter(|finalizer| *finalizer != CLEANUP_FINALIZER)
            .collect();
        let finalizers = if kept.is_empty() { Value::Null } else { serde_json::json!(kept) };
        let patch = serde_json::json!({ "finalizers": finalizers });
        self.context.api.merge_metadata(&path(name), version, patch).await
    }

    /// Looks at the definition again whenever one of its objects goes.
    fn drain(&self, name: &str, storage: &ResourceId) {
        let mut drains = self.drains.lock().unwrap_or_else(PoisonError::into_inner);
        drains.entry(name.to_owned()).or_insert_with(|| {
            let mut task = JoinSet::new();
            // The watch begins here and not in the task, so that no deletion from now on is missed.
            if let Some(mut watcher) = watch_from_now(&self.context.store, storage) {
                let (queue, name) = (Arc::clone(&self.queue), name.to_owned());
                let (store, storage) = (self.context.store.clone(), Arc::clone(storage));
                task.spawn(async move {
                    loop {
                        match watcher.next().await {
                            Ok(events) if events.iter().all(|event| !event.deleted) => continue,
                            Ok(_) => {}
                            Err(WatchEnd::Expired(_)) => match watch_from_now(&store, &storage) {
                                Some(fresh) => watcher = fresh,
                                None => return,
                            },
                            Err(WatchEnd::ResourceRemoved | WatchEnd::Closed) => return,
                        }
                        queue.push(name.clone());
                    }
                });
            }
            task
        });
    }

    async fn delete_objects(&self, storage: &ResourceId) -> Result<(), ApiError> {
        let asked = self.objects(storage).into_iter().filter(|object| !object.attributes.deleting);
        let deletions = asked.map(|object| async move {
            match api::stored_path(&self.context.registry, storage, &object.key) {
                Some(path) => {
                    // A webhook must not keep a definition from going away, as upstream.
                    let api = self.context.api.without_admission();
                    api.delete_in_any_state(&path, &object).await
                }
                None => Ok(()),
            }
        });
        let mut results = stream::iter(deletions).buffer_unordered(PARALLEL_DELETIONS);
        let mut first_failure = Ok(());
        while let Some(result) = results.next().await {
            first_failure = first_failure.and(result);
        }
        first_failure
    }

    fn objects(&self, storage: &ResourceId) -> Vec<Arc<Version>> {
        let page = self.context.store.list(storage, &ListOptions::default());
        page.into_iter().flat_map(|page| page.items).collect()
    }

    /// Stops serving a definition, ends the watches on its objects, and frees its names for others.
    fn forget(&self, name: &str) {
        self.drains.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        let Some(Known { group, storage, published, .. }) = self.known().remove(name) else {
            return;
        };
        if published.is_some() {
            self.context.registry.remove_custom(&storage);
            self.context.store.remove_resource(&storage);
        }
        for (other, known) in &*self.known() {
            if known.group == group {
                self.queue.push(other.clone());
            }
        }
    }

    fn remember(&self, version: &Version, crd: &Value, accepted: Names) {
        let group = crd["spec"]["group"].as_str().unwrap_or_default().to_owned();
        let storage = resources::storage_id(crd);
        let mut known = self.known();
        let entry = known.entry(version.key.name.clone());
        let entry = entry.or_insert_with(|| Known {
            group,
            storage,
            accepted: Names::default(),
            published: None,
        });
        entry.accepted = accepted;
    }

    /// Returns the names that other definitions of the group have, and the built-in resources of the group.
    fn names_of_others(&self, name: &str, group: &str) -> Vec<Names> {
        let known = self.known();
        let others = known.iter().filter(|(other, known)| *other != name && known.group == group);
        let snapshot = self.context.registry.snapshot();
        let builtin =
            snapshot.all().iter().filter(|row| !row.custom && row.group_version.group == group);
        let builtin = builtin.map(|row| Names {
            plural: row.plural.clone(),
            singular: row.singular.clone(),
            short_names: row.short_names.clone(),
            kind: row.kind.clone(),
            list_kind: row.list_kind.clone(),
            categories: Vec::new(),
        });
        others.map(|(_, known)| known.accepted.clone()).chain(builtin).collect()
    }

    async fn write_status(&self, name: &str, crd: &Value, next: Value) -> Result<(), ApiError> {
        if next == *crd {
            return Ok(());
        }
        self.context.api.replace(&format!("{}/status", path(name)), next).await
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches a resource from its present state on; tries again should the history overtake even that.
fn watch_from_now(store: &ClusterStore, resource: &ResourceId) -> Option<Watcher> {
    (0..3).find_map(|_| store.watch(resource, store.revision()).ok())
}

fn path(name: &str) -> String {
    format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
}
