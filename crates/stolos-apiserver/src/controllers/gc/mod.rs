//! Garbage collector: deletes objects whose owners are gone, and carries out foreground and orphaning deletion.
//!
//! The store answers who depends on a uid and what stands under a name right now, so there is no graph to keep in step.

mod memory;
mod plan;

use std::sync::Arc;

use serde_json::{Value, json};

use super::Context;
use super::api;
use super::follow::{Observer, Seen, stored_resources};
use super::queue::{Next, Queue};
use crate::names::GroupVersion;
use crate::rest::meta::{self, FOREGROUND, ORPHAN};
use crate::status::ApiError;
use crate::store::{Event, Filter, Key, ListOptions, ResourceId, Version};
use memory::Memory;
use plan::{Action, Dependents, Owner, Reference};

/// Objects at once; enough to fill a group commit.
const CONCURRENCY: usize = 32;

/// Names an object.
type Id = (ResourceId, Key);

pub(super) struct Collector {
    context: Context,
    queue: Queue<Id>,
    memory: Memory,
}

/// Runs until the store closes.
pub(super) async fn run(collector: Arc<Collector>) {
    tokio::select! {
        () = collector.context.store.closed() => {}
        () = collector.retry_unresolved() => {}
        () = collector.queue.run(CONCURRENCY, |id| collector.process(id)) => {}
    }
}

impl Observer for Collector {
    fn see(&self, resource: &ResourceId, seen: &Seen<'_>) {
        match seen {
            Seen::Listed(version) => {
                if !version.attributes.owners.is_empty() || version.attributes.deleting {
                    self.queue.push((Arc::clone(resource), version.key.clone()));
                }
            }
            Seen::Changed(event) if event.deleted => self.see_deletion(resource, event),
            Seen::Changed(event) => self.see_change(resource, event),
            Seen::Missed => self.rescan(),
        }
    }
}

impl Collector {
    pub(super) fn new(context: Context) -> Self {
        Self { context, queue: Queue::new(), memory: Memory::default() }
    }

    fn see_deletion(&self, resource: &ResourceId, event: &Event) {
        self.memory.forget_unresolved(&(Arc::clone(resource), event.current.key.clone()));
        let attributes = &event.current.attributes;
        let dependents = self.context.store.dependents(&attributes.uid);
        if !dependents.is_empty() {
            self.memory.remember_gone(&attributes.uid);
        }
        for id in dependents {
            self.queue.push(id);
        }
        self.memory.forget_waiting(&attributes.uid);
        self.push_waiting_owners(event);
    }

    fn see_change(&self, resource: &ResourceId, event: &Event) {
        let now = &event.current.attributes;
        let before = event.previous.as_ref().map(|version| &version.attributes);
        let owners_changed = before.is_none_or(|before| before.owners != now.owners);
        if now.deleting || (owners_changed && !now.owners.is_empty()) {
            self.queue.push((Arc::clone(resource), event.current.key.clone()));
        }
        // The object may have stopped to block the deletion of an owner.
        self.push_waiting_owners(event);
    }

    fn push_waiting_owners(&self, event: &Event) {
        let versions = [Some(&event.current), event.previous.as_ref()];
        for owner in versions.into_iter().flatten().flat_map(|version| &version.attributes.owners) {
            if let Some(id) = self.memory.waiting(owner) {
                self.queue.push(id);
            }
        }
    }

    /// Looks at everything that has owners or is being deleted, because deletions may have gone unnoticed.
    fn rescan(&self) {
        let concerned: Filter<'_> =
            &|version| !version.attributes.owners.is_empty() || version.attributes.deleting;
        let options = ListOptions { filter: Some(concerned), ..ListOptions::default() };
        for resource in stored_resources(&self.context.registry) {
            let page = self.context.store.list(&resource, &options);
            for version in page.into_iter().flat_map(|page| page.items) {
                self.queue.push((Arc::clone(&resource), version.key.clone()));
            }
        }
    }

    /// Looks again at objects with owners of unknown kinds whenever kinds come or go.
    async fn retry_unresolved(&self) {
        let mut changes = self.context.registry.subscribe();
        while changes.changed().await.is_ok() {
            for id in self.memory.take_unresolved() {
                self.queue.push(id);
            }
        }
    }

    async fn process(&self, (resource, key): Id) -> Result<Next, ApiError> {
        let Some(version) = self.context.store.get(&resource, &key) else { return Ok(Next::Done) };
        let Some(path) = api::stored_path(&self.context.registry, &resource, &key) else {
            return Ok(Next::Done);
        };
        let object = version.object();
        if plan::waits_with(&object, ORPHAN) {
            self.orphan(&path, &version, &object).await?;
        } else if plan::waits_with(&object, FOREGROUND) {
            self.release_when_unblocked((resource, key), &path, &version, &object).await?;
        } else if !meta::is_deleting(&object) {
            self.collect((resource, key), &path, &version, &object).await?;
        }
        Ok(Next::Done)
    }

    /// Takes the reference to the object out of all its dependents, then lets it go.
    async fn orphan(&self, path: &str, version: &Version, object: &Value) -> Result<(), ApiError> {
        let uids = [version.attributes.uid.clone()];
        for (resource, key) in self.context.store.dependents(&uids[0]) {
            let dependent = self.context.store.get(&resource, &key);
            let path = api::stored_path(&self.context.registry, &resource, &key);
            if let (Some(dependent), Some(path)) = (dependent, path) {
                let patch = plan::without_owners(&dependent.object(), &uids);
                self.context.api.merge_metadata(&path, &dependent, patch).await?;
            }
        }
        let patch = plan::without_finalizer(object, ORPHAN);
        self.context.api.merge_metadata(path, version, patch).await
    }

    /// Lets a deleted object go once no dependent blocks it; until then, its dependents are asked to go.
    async fn release_when_unblocked(
        &self,
        id: Id,
        path: &str,
        version: &Version,
        object: &Value,
    ) -> Result<(), ApiError> {
        let uid = &version.attributes.uid;
        // Before the first look, so that no change after it goes unnoticed.
        self.memory.remember_waiting(uid, &id);
        let mut is_blocked = false;
        for dependent in self.context.store.dependents(uid) {
            // An object that owns itself does not wait for itself.
            if dependent == id {
                continue;
            }
            let Some(found) = self.context.store.get(&dependent.0, &dependent.1) else { continue };
            let references = plan::references(&found.object());
            is_blocked |=
                references.iter().any(|reference| reference.uid == *uid && reference.blocks_owner);
            if !found.attributes.deleting {
                self.queue.push(dependent);
            }
        }
        if is_blocked {
            return Ok(());
        }
        let patch = plan::without_finalizer(object, FOREGROUND);
        self.context.api.merge_metadata(path, version, patch).await?;
        self.memory.forget_waiting(uid);
        Ok(())
    }

    /// Does what the state of the owners asks for.
    async fn collect(
        &self,
        id: Id,
        path: &str,
        version: &Version,
        object: &Value,
    ) -> Result<(), ApiError> {
        let generation = self.context.registry.generation();
        let references = plan::references(object);
        let owners: Vec<Owner> =
            references.iter().map(|reference| self.owner(reference, &id.1.namespace)).collect();
        let dependents = self.dependents(&version.attributes.uid);
        let api = &self.context.api;
        match plan::decide(object, &references, &owners, dependents) {
            Action::Keep => Ok(()),
            Action::Unresolved => {
                self.memory.remember_unresolved(&id);
                if self.context.registry.generation() != generation {
                    // The kind may have come between the look at the registry and the note above.
                    self.queue.push(id.clone());
                }
                self.report_unusable_owners(&id, object, &references).await
            }
            Action::Release(uids) => {
                api.merge_metadata(path, version, plan::without_owners(object, &uids)).await
            }
            Action::Delete { unblock: true, .. } if references.iter().any(|r| r.blocks_owner) => {
                api.merge_metadata(path, version, plan::unblocked(object)).await?;
                // The deletion is decided afresh on the new state.
                self.queue.push(id);
                Ok(())
            }
            Action::Delete { propagation, .. } => api.delete(path, version, propagation).await,
        }
    }

    /// Finds out what became of an owner of an object in this namespace.
    fn owner(&self, reference: &Reference, namespace: &str) -> Owner {
        if self.memory.is_gone(&reference.uid) {
            return Owner::Absent;
        }
        let Some((resource, key)) = self.locate(reference, namespace) else {
            return Owner::Unknown;
        };
        match self.context.store.get(&resource, &key) {
            Some(owner) if owner.attributes.uid == reference.uid => {
                if owner.attributes.deleting && plan::waits_with(&owner.object(), FOREGROUND) {
                    Owner::Waiting
                } else {
                    Owner::Present
                }
            }
            Some(_) | None => Owner::Absent,
        }
    }

    /// Returns where the owner has to be, if its kind is served and can own objects of this namespace.
    fn locate(&self, reference: &Reference, namespace: &str) -> Option<Id> {
        let GroupVersion { group, version } = GroupVersion::parse(&reference.api_version);
        let row = self.context.registry.kind(&group, &version, &reference.kind)?;
        if !row.is_stored() || (row.namespaced && namespace.is_empty()) {
            return None;
        }
        let namespace = if row.namespaced { namespace } else { "" };
        Some((Arc::clone(&row.storage), Key::namespaced(namespace, &reference.name)))
    }

    fn dependents(&self, uid: &str) -> Dependents {
        let ids = self.context.store.dependents(uid);
        let waits = |(resource, key): &Id| {
            let version = self.context.store.get(resource, key);
            version.is_some_and(|version| {
                version.attributes.deleting && plan::waits_with(&version.object(), FOREGROUND)
            })
        };
        Dependents { any: !ids.is_empty(), any_waiting: ids.iter().any(waits) }
    }

    /// Tells by an event that a cluster-scoped object names an owner that lives in a namespace.
    async fn report_unusable_owners(
        &self,
        (resource, key): &Id,
        object: &Value,
        references: &[Reference],
    ) -> Result<(), ApiError> {
        let lives_in_a_namespace = |reference: &&Reference| {
            let GroupVersion { group, version } = GroupVersion::parse(&reference.api_version);
            let row = self.context.registry.kind(&group, &version, &reference.kind);
            row.is_some_and(|row| row.namespaced)
        };
        if !key.namespace.is_empty() {
            return Ok(());
        }
        let Some(reference) = references.iter().find(lives_in_a_namespace) else { return Ok(()) };
        let uid = meta::text(object, "uid");
        let now = meta::seconds(self.context.clock.now());
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            // One per object and owner, however often it is looked at.
            "metadata": {"namespace": "default", "name": format!("{}.{uid}.{}", key.name.replace(':', "-"), reference.uid)},
            "involvedObject": {
                "apiVersion": object["apiVersion"], "kind": object["kind"], "name": key.name, "uid": uid,
            },
            "reason": "OwnerRefInvalidNamespace", "type": "Warning", "count": 1,
            "message": format!(
                "{resource} `{}` is cluster-scoped and cannot be owned by {} `{}`, which lives in a namespace",
                key.name, reference.kind, reference.name
            ),
            "source": {"component": "garbage-collector-controller"},
            "firstTimestamp": now, "lastTimestamp": now,
        });
        let told = self.context.api.ensure("/api/v1/namespaces/default/events", event).await;
        if let Err(error) = told {
            tracing::debug!(%error, "an event cannot be written");
        }
        Ok(())
    }
}
