//! Following a store without a task: each look first takes in what has changed since the last one, so a write counts as
//! soon as it has been answered.

use std::sync::Arc;

use futures::FutureExt;

use crate::store::{ClusterStore, Key, ListOptions, ResourceId, Version, WatchEnd, Watcher};

/// What has changed; `T` says in which of the resources.
pub(crate) enum News<'a, T> {
    /// What is known is worth nothing: everything that is there follows.
    Restart,
    /// An object is there in this state.
    Put(T, &'a Arc<Version>),
    /// An object is gone.
    Gone(T, &'a Key),
}

/// How far somebody has followed some resources.
pub(crate) struct Mirror<T: 'static> {
    resources: &'static [(&'static str, T)],
    /// Everything up to this revision has been seen; absent before the first look.
    revision: Option<u64>,
    watchers: Vec<(Watcher, T)>,
}

impl<T: Copy> Mirror<T> {
    /// Follows resources of a store, each with what tells it apart.
    pub(crate) const fn of(resources: &'static [(&'static str, T)]) -> Self {
        Self { resources, revision: None, watchers: Vec::new() }
    }

    /// Tells whether there may be something to take in.
    pub(crate) fn is_behind(&self, store: &ClusterStore) -> bool {
        self.revision.is_none_or(|revision| revision < store.revision())
    }

    /// Shows what has changed in everything that is visible by now; tells whether there was anything.
    pub(crate) fn catch_up(
        &mut self,
        store: &ClusterStore,
        mut see: impl FnMut(News<'_, T>),
    ) -> bool {
        // Read first: what is visible at this revision is in the tables.
        let visible = store.revision();
        if self.revision.is_some_and(|revision| revision >= visible) {
            return false;
        }
        let changed = self.revision.and_then(|_| self.drain(&mut see));
        let changed = changed.unwrap_or_else(|| {
            self.restart(store, &mut see);
            true
        });
        self.revision = Some(visible);
        changed
    }

    /// Shows every event there is; nothing when a watcher fell behind the history.
    fn drain(&mut self, see: &mut impl FnMut(News<'_, T>)) -> Option<bool> {
        let mut changed = false;
        for (watcher, tag) in &mut self.watchers {
            while let Some(news) = watcher.next().now_or_never() {
                match news {
                    Ok(events) => {
                        changed |= !events.is_empty();
                        for event in events {
                            if event.deleted {
                                see(News::Gone(*tag, &event.current.key));
                            } else {
                                see(News::Put(*tag, &event.current));
                            }
                        }
                    }
                    Err(WatchEnd::Closed) => break,
                    Err(WatchEnd::Expired(_) | WatchEnd::ResourceRemoved) => return None,
                }
            }
        }
        Some(changed)
    }

    fn restart(&mut self, store: &ClusterStore, see: &mut impl FnMut(News<'_, T>)) {
        see(News::Restart);
        self.watchers.clear();
        for (resource, tag) in self.resources {
            let (items, watcher) = list_and_watch(store, &ResourceId::from(*resource));
            for version in &items {
                see(News::Put(*tag, version));
            }
            self.watchers.push((watcher, *tag));
        }
    }
}

fn list_and_watch(store: &ClusterStore, resource: &ResourceId) -> (Vec<Arc<Version>>, Watcher) {
    loop {
        let page = store
            .list(resource, &ListOptions::default())
            .expect("the latest state is always there");
        // Between the two the history may have moved on, but not again and again.
        if let Ok(watcher) = store.watch(resource, page.revision) {
            return (page.items, watcher);
        }
    }
}
