//! Empties namespaces that are being deleted, then lets them go.

mod plan;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, stream};

use super::Context;
use super::api;
use super::follow::{Observer, Seen, follow};
use super::queue::{Next, Queue};
use crate::status::ApiError;
use crate::store::{Key, ListOptions, ResourceId, Version};
use plan::Remaining;

/// Namespaces at once.
const CONCURRENCY: usize = 8;
/// Deletions at once per namespace; enough to fill a group commit.
const PARALLEL_DELETIONS: usize = 32;

pub(super) struct Controller {
    context: Context,
    queue: Queue<String>,
    /// Namespaces that wait for their content to go.
    waiting: Mutex<BTreeSet<String>>,
}

/// Runs until the store closes.
pub(super) async fn run(controller: Arc<Controller>) {
    let Controller { context, queue, .. } = &*controller;
    let namespaces = ResourceId::from("namespaces");
    let all = follow(&context.store, &namespaces, |seen| match seen {
        Seen::Listed(version) => queue.push(version.key.name.clone()),
        Seen::Changed(event) => queue.push(event.current.key.name.clone()),
        Seen::Missed => {}
    });
    tokio::select! {
        () = all => {}
        () = queue.run(CONCURRENCY, |name| controller.process(name)) => {}
    }
}

impl Observer for Controller {
    fn see(&self, _: &ResourceId, seen: &Seen<'_>) {
        match seen {
            // Only what vanishes, or loses a finalizer, brings a namespace further.
            Seen::Changed(event) => {
                let namespace = &event.current.key.namespace;
                if self.waiting().contains(namespace) {
                    self.queue.push(namespace.clone());
                }
            }
            Seen::Missed => {
                self.waiting().iter().for_each(|namespace| self.queue.push(namespace.clone()))
            }
            Seen::Listed(_) => {}
        }
    }
}

impl Controller {
    pub(super) fn new(context: Context) -> Self {
        Self { context, queue: Queue::new(), waiting: Mutex::default() }
    }

    async fn process(&self, name: String) -> Result<Next, ApiError> {
        let key = Key::cluster_scoped(&name);
        let Some(namespace) = self.context.store.get(&"namespaces".into(), &key) else {
            self.waiting().remove(&name);
            return Ok(Next::Done);
        };
        if !namespace.attributes.deleting {
            self.repair_label(&namespace).await?;
            return Ok(Next::Done);
        }
        let object = namespace.object();
        if !plan::is_held(&object) {
            return Ok(Next::Done);
        }
        // Before the first look, so that no change after it goes unnoticed.
        self.waiting().insert(name.clone());
        let failures = self.delete_content(&name).await;
        let remaining = self.remaining(&name);
        let path = format!("/api/v1/namespaces/{name}");
        if remaining.is_empty() && failures.is_empty() {
            self.context.api.replace(&format!("{path}/finalize"), plan::released(object)).await?;
            return Ok(Next::Done);
        }
        let next = plan::with_conditions(&object, &remaining, &failures, self.context.clock.now());
        if next != object {
            self.context.api.replace(&format!("{path}/status"), next).await?;
        }
        match failures.into_iter().next() {
            Some(failure) => Err(failure),
            None => Ok(Next::Done),
        }
    }

    /// Every namespace carries its name as a label.
    async fn repair_label(&self, namespace: &Version) -> Result<(), ApiError> {
        const LABEL: &str = "kubernetes.io/metadata.name";
        let name = &namespace.key.name;
        if namespace.attributes.labels.get(LABEL) == Some(name.as_str()) {
            return Ok(());
        }
        let labels = serde_json::json!({ "labels": { LABEL: name } });
        self.context
            .api
            .merge_metadata(&format!("/api/v1/namespaces/{name}"), namespace, labels)
            .await
    }

    /// Asks for the deletion of all content; pods first, since what they use must outlive them.
    async fn delete_content(&self, namespace: &str) -> Vec<ApiError> {
        let (pods, others): (Vec<_>, Vec<_>) =
            self.content(namespace).into_iter().partition(|(resource, _)| **resource == *"pods");
        let failures = self.delete_all(pods).await;
        if !failures.is_empty()
            || self.content(namespace).iter().any(|(resource, _)| **resource == *"pods")
        {
            return failures;
        }
        self.delete_all(others).await
    }

    async fn delete_all(&self, objects: Vec<(ResourceId, Arc<Version>)>) -> Vec<ApiError> {
        let asked = objects.into_iter().filter(|(_, version)| !version.attributes.deleting);
        let deletions = asked.map(|(resource, version)| async move {
            let Some(path) = api::stored_path(&self.context.registry, &resource, &version.key)
            else {
                return Ok(());
            };
            self.context.api.delete_in_any_state(&path, &version).await
        });
        let results = stream::iter(deletions).buffer_unordered(PARALLEL_DELETIONS);
        results.filter_map(|result| std::future::ready(result.err())).collect().await
    }

    /// Returns the objects of all served resources in a namespace.
    fn content(&self, namespace: &str) -> Vec<(ResourceId, Arc<Version>)> {
        let options =
            ListOptions { namespace: Some(namespace.to_owned()), ..ListOptions::default() };
        let snapshot = self.context.registry.snapshot();
        let namespaced = snapshot.all().iter().filter(|row| row.namespaced && row.is_stored());
        let resources: BTreeSet<&ResourceId> = namespaced.map(|row| &row.storage).collect();
        let pages = resources.into_iter().filter_map(|resource| {
            let page = self.context.store.list(resource, &options).ok()?;
            Some(page.items.into_iter().map(|version| (Arc::clone(resource), version)))
        });
        pages.flatten().collect()
    }

    fn remaining(&self, namespace: &str) -> Remaining {
        let mut remaining = Remaining::default();
        for (resource, version) in self.content(namespace) {
            remaining.add(&resource, &version.object());
        }
        remaining
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a condition of an object.
#[cfg(test)]
fn condition<'a>(object: &'a serde_json::Value, type_: &str) -> &'a serde_json::Value {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions
        .into_iter()
        .find(|condition| condition["type"] == type_)
        .unwrap_or(&serde_json::Value::Null)
}
