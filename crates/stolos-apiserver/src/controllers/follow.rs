//! Following resources of the store: everything there is, then every change.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::Context;
use crate::registry::Registry;
use crate::store::{ClusterStore, Event, Expired, ListOptions, ResourceId, Version, WatchEnd};

/// One thing a follower sees.
pub(crate) enum Seen<'a> {
    /// An object that was there when following began, or began again.
    Listed(&'a Arc<Version>),
    /// A change.
    Changed(&'a Event),
    /// Changes were missed. Everything is listed next, but objects that vanished meanwhile are not.
    Missed,
}

/// Follows a resource until the store closes. `see` must be quick and must not wait.
pub(crate) async fn follow(
    store: &ClusterStore,
    resource: &ResourceId,
    mut see: impl FnMut(Seen<'_>),
) {
    follow_since(store, resource, None, &mut see).await;
}

/// Follows a resource; changes after revision `since` are seen even where the object is gone already.
async fn follow_since(
    store: &ClusterStore,
    resource: &ResourceId,
    mut since: Option<u64>,
    see: &mut impl FnMut(Seen<'_>),
) {
    loop {
        let page = match store.list(resource, &ListOptions::default()) {
            Ok(page) => page,
            Err(Expired { .. }) => unreachable!("the latest state never expires"),
        };
        for version in &page.items {
            see(Seen::Listed(version));
        }
        let from = since.take().map_or(page.revision, |since| since.min(page.revision));
        match watch(store, resource, from, see).await {
            WatchEnd::Closed => return,
            WatchEnd::Expired(_) => see(Seen::Missed),
            // It may come back, as when a CRD is deleted and created again.
            WatchEnd::ResourceRemoved => {}
        }
    }
}

async fn watch(
    store: &ClusterStore,
    resource: &ResourceId,
    from: u64,
    see: &mut impl FnMut(Seen<'_>),
) -> WatchEnd {
    let mut watcher = match store.watch(resource, from) {
        Ok(watcher) => watcher,
        Err(expired) => return expired.into(),
    };
    loop {
        match watcher.next().await {
            Ok(events) => events.iter().for_each(|event| see(Seen::Changed(event))),
            Err(end) => return end,
        }
    }
}

/// Sees what happens in every resource. It must be quick and must not wait.
pub(crate) trait Observer: Send + Sync {
    /// Takes note of one thing.
    fn see(&self, resource: &ResourceId, seen: &Seen<'_>);
}

/// Follows every stored resource that the registry has or gets, until the store closes. All observers share the watches.
pub(crate) async fn follow_all(context: Context, observers: Vec<Arc<dyn Observer>>) {
    let observers: Arc<[Arc<dyn Observer>]> = observers.into();
    // Not tasks of their own: there is one for each resource in each logical cluster.
    let mut following = FuturesUnordered::new();
    let mut followed = BTreeSet::new();
    let mut registry_changes = context.registry.subscribe();
    // A resource that appears between two looks at the registry is followed from the first look on.
    let mut looked_at = context.store.revision();
    loop {
        registry_changes.mark_unchanged();
        let since = looked_at;
        looked_at = context.store.revision();
        for resource in stored_resources(&context.registry) {
            if followed.insert(Arc::clone(&resource)) {
                let (store, observers) = (context.store.clone(), Arc::clone(&observers));
                following.push(async move {
                    let mut see = |seen: Seen<'_>| {
                        observers.iter().for_each(|observer| observer.see(&resource, &seen));
                    };
                    follow_since(&store, &resource, Some(since), &mut see).await;
                });
            }
        }
        tokio::select! {
            changed = registry_changes.changed() => if changed.is_err() { return },
            // The store closed, so all will end.
            Some(()) = following.next(), if !following.is_empty() => return,
        }
    }
}

/// Returns the ids of all resources whose objects are stored.
pub(crate) fn stored_resources(registry: &Registry) -> BTreeSet<ResourceId> {
    let snapshot = registry.snapshot();
    let stored = snapshot.all().iter().filter(|row| row.is_stored());
    stored.map(|row| Arc::clone(&row.storage)).collect()
}
