//! Durable, revisioned object store with watches: in-memory index over `redb`.
//!
//! A write is sequenced, flushed with its batch, then published: nothing is visible before it is durable. All reads and
//! watches are served from memory. A store holds several logical clusters, each with its own revision counter.
//!
//! The way of a write through the modules: [`ClusterStore::commit`] → `canonical` (bytes) → `cluster` (order) → `flush`
//! and `disk` (durability) → `table` and `history` (visibility) → [`Watcher`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

mod canonical;
mod cluster;
mod disk;
mod flush;
mod history;
mod lock;
mod object;
mod packed;
mod pairs;
mod recovery;
mod rendition;
mod table;
#[cfg(test)]
mod tests;
mod watcher;

pub use disk::OpenError;
pub use history::Limits;
pub use object::{
    Attributes, Change, CommitError, Completeness, Event, Excess, Expect, Expired, Key, ResourceId,
    Version, Write,
};
pub use pairs::Pairs;
pub use rendition::Renditions;
pub use table::{At, Filter, ListOptions, Page};
pub use watcher::{WatchEnd, Watcher};

use cluster::Cluster;
use disk::Disk;
use flush::Flusher;
use recovery::{Found, Recovered};

/// All logical clusters of a process. Clones share the store; the last handle to go closes it.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    limits: Limits,
    flusher: Option<Arc<Flusher>>,
    state: Mutex<State>,
}

struct State {
    /// Revision that new clusters start from: after everything that a removed one of the same name may have shown.
    start: u64,
    clusters: BTreeMap<String, Arc<Cluster>>,
    thread: Option<JoinHandle<()>>,
    closed: bool,
}

/// The store was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is closed")]
pub struct Closed;

impl Store {
    /// Makes a store that forgets everything when the process ends.
    ///
    /// Revisions start at the microseconds since 1970, so that a client which survived the last process asks for a
    /// revision before the history, is told so, and lists again.
    #[must_use]
    pub fn memory() -> Self {
        let since_1970 =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::memory_from(u64::try_from(since_1970.as_micros()).unwrap_or(1), Limits::default())
    }

    /// Makes a store in memory whose revisions come after `start`.
    #[must_use]
    pub fn memory_from(start: u64, limits: Limits) -> Self {
        Self::new(start, limits, None, None)
    }

    /// Opens the store in a directory, or creates it. Reads everything into memory, so it blocks for a while.
    ///
    /// # Errors
    ///
    /// When another process has it open, when it is damaged, or when the file system refuses. No file is changed then.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        Self::open_with(directory, Limits::default())
    }

    /// Opens like [`Store::open`], with other bounds.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn open_with(directory: &Path, limits: Limits) -> Result<Self, OpenError> {
        let (disk, found) = Disk::open(directory)?;
        Self::on_disk(disk, found, limits)
            .map_err(|source| OpenError::Io { path: directory.to_owned(), source })
    }

    fn on_disk(disk: Disk, found: Found, limits: Limits) -> std::io::Result<Self> {
        let (flusher, thread) = Flusher::spawn(disk)?;
        let store = Self::new(found.start, limits, Some(Arc::clone(&flusher)), Some(thread));
        let mut state = lock::lock(&store.0.state);
        for Recovered { name, revision, objects } in found.clusters {
            let cluster = Cluster::new(&name, revision, limits, Some(Arc::clone(&flusher)));
            for (resource, versions) in objects {
                cluster.load(&resource, versions);
            }
            state.clusters.insert(name, Arc::new(cluster));
        }
        drop(state);
        Ok(store)
    }

    fn new(
        start: u64,
        limits: Limits,
        flusher: Option<Arc<Flusher>>,
        thread: Option<JoinHandle<()>>,
    ) -> Self {
        let state = Mutex::new(State { start, clusters: BTreeMap::new(), thread, closed: false });
        Self(Arc::new(Shared { limits, flusher, state }))
    }

    /// Returns a logical cluster, a new one if the store has none of this name.
    ///
    /// # Errors
    ///
    /// When the store is closed.
    pub fn cluster(&self, name: &str) -> Result<ClusterStore, Closed> {
        let mut state = lock::lock(&self.0.state);
        if state.closed {
            return Err(Closed);
        }
        let Shared { limits, flusher, .. } = &*self.0;
        let State { start, clusters, .. } = &mut *state;
        let cluster = clusters
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(Cluster::new(name, *start, *limits, flusher.clone())));
        Ok(ClusterStore { cluster: Arc::clone(cluster), store: Arc::clone(&self.0) })
    }

    /// Removes a logical cluster and all its objects: its watches end, and its name is free for a new one, whose revisions
    /// come after those of this one. False when there is no such cluster.
    ///
    /// # Errors
    ///
    /// When the store is closed or cannot write. The objects may then be there again after the next start.
    pub async fn remove(&self, name: &str) -> Result<bool, CommitError> {
        let done = {
            let mut state = lock::lock(&self.0.state);
            if state.closed {
                return Err(CommitError::Failed(Closed.to_string()));
            }
            let Some(cluster) = state.clusters.remove(name) else { return Ok(false) };
            state.start = state.start.max(cluster.remove());
            // Ordered before the first write of a new cluster of this name, which needs the lock of the state.
            self.0.flusher.as_ref().map(|flusher| flusher.remove(name, state.start))
        };
        match done {
            None => Ok(true),
            Some(done) => done
                .await
                .map(|()| true)
                .map_err(|_| CommitError::Failed("the removal was not written".to_owned())),
        }
    }

    /// Returns the names of the logical clusters, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        lock::lock(&self.0.state).clusters.keys().cloned().collect()
    }

    /// Finishes accepted writes, ends watches and releases the files. Blocks until that is done. Reads go on.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Shared {
    fn close(&self) {
        let mut state = lock::lock(&self.state);
        state.closed = true;
        if let Some(flusher) = &self.flusher {
            flusher.close();
        }
        if let Some(thread) = state.thread.take() {
            // The thread catches the panics of the database; were it to panic itself, writers saw errors already.
            let _ = thread.join();
        }
        state.clusters.values().for_each(|cluster| cluster.close());
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

/// One logical cluster of a [`Store`]. Cheap to clone.
#[derive(Clone)]
pub struct ClusterStore {
    cluster: Arc<Cluster>,
    /// Keeps the store open.
    store: Arc<Shared>,
}

impl ClusterStore {
    /// Makes a change and returns what was written, once it is durable and visible.
    ///
    /// Waits while too many bytes are on their way to the disk. When the future is dropped, the change may happen.
    ///
    /// # Errors
    ///
    /// When what the write expects or requires does not hold; the caller finds the state that contradicts it when it
    /// reads again. When the object is too large. When the store is closed or cannot write.
    pub async fn commit(&self, write: Write) -> Result<Arc<Version>, CommitError> {
        self.cluster.commit(write, 0).await
    }

    /// As [`ClusterStore::commit`], for an object that holds all defaults of a schema: readers need not look for that.
    ///
    /// # Errors
    ///
    /// As [`ClusterStore::commit`].
    pub async fn commit_complete(
        &self,
        write: Write,
        schema: u64,
    ) -> Result<Arc<Version>, CommitError> {
        self.cluster.commit(write, schema).await
    }

    /// Returns an object.
    #[must_use]
    pub fn get(&self, resource: &ResourceId, key: &Key) -> Option<Arc<Version>> {
        self.cluster.table(resource).get(key)
    }

    /// Returns objects in order of their keys.
    ///
    /// # Errors
    ///
    /// When the asked revision is not in the history.
    pub fn list(&self, resource: &ResourceId, options: &ListOptions<'_>) -> Result<Page, Expired> {
        // Read first: what is visible is in the table.
        let visible = self.cluster.visible();
        self.cluster.table(resource).list(options, visible)
    }

    /// Follows the changes of a resource after revision `from`.
    ///
    /// # Errors
    ///
    /// When `from` is before the history of the resource.
    pub fn watch(&self, resource: &ResourceId, from: u64) -> Result<Watcher, Expired> {
        Watcher::new(Arc::clone(&self.cluster), resource, from)
    }

    /// Returns the revision up to which all changes are visible.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.cluster.visible()
    }

    /// Waits until a revision is visible; false when that takes too long.
    pub async fn wait_for(&self, revision: u64, timeout: Duration) -> bool {
        tokio::time::timeout(timeout, self.cluster.reached(revision)).await.unwrap_or(false)
    }

    /// Waits until the store is closed, or the cluster removed.
    pub async fn closed(&self) {
        self.cluster.closed().await;
    }

    /// Returns why the store takes no writes any more, after a write failed. Only a restart heals it.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<str>> {
        self.cluster.failed().or_else(|| self.store.flusher.as_ref()?.failure())
    }

    /// Forgets the changes until now. Who has not seen them is told so and lists anew.
    pub fn forget_history(&self) {
        self.cluster.forget_history();
    }

    /// Returns the objects with an owner reference to this uid.
    #[must_use]
    pub fn dependents(&self, owner_uid: &str) -> Vec<(ResourceId, Key)> {
        self.cluster.dependents(owner_uid)
    }

    /// Ends the watches of a resource that is served no more; they first hand out what happened until now.
    pub fn remove_resource(&self, resource: &ResourceId) {
        self.cluster.table(resource).remove(self.cluster.visible());
    }

    /// Returns the resources that have objects.
    #[must_use]
    pub fn resources(&self) -> Vec<ResourceId> {
        self.cluster.resources()
    }
}
