//! Group commit: one thread makes the writes of all logical clusters durable, batch by batch.
//!
//! While a batch syncs, the next one gathers. There is no timer: a lone writer waits for nobody. Clusters take turns, and
//! each turn is bounded, so that the flood of one does not hold up the others.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::cluster::{Cluster, Pending};
use super::disk::Disk;
use super::lock;

/// Bytes of one cluster per batch.
const TURN_BYTES: usize = 4 << 20;
/// Bytes of all clusters per batch: they are in memory twice while they are written.
const BATCH_BYTES: usize = 32 << 20;

/// The clusters that have something to flush.
pub(super) struct Flusher {
    state: Mutex<State>,
    wake: Condvar,
    /// Why nothing is written any more.
    failure: OnceLock<Arc<str>>,
}

#[derive(Default)]
struct State {
    /// Clusters with queued writes, in the order of their turns.
    ready: VecDeque<Arc<Cluster>>,
    /// Done before the writes that are taken with them.
    removals: Vec<Removal>,
    closing: bool,
}

/// A cluster whose objects are to go.
struct Removal {
    name: String,
    start: u64,
    done: oneshot::Sender<()>,
}

/// What the thread does next.
struct Work {
    removals: Vec<Removal>,
    batches: Vec<(Arc<Cluster>, Vec<Pending>)>,
}

impl Flusher {
    /// Starts the thread. It ends after [`Flusher::close`], when nothing is left to write.
    pub(super) fn spawn(disk: Disk) -> std::io::Result<(Arc<Self>, JoinHandle<()>)> {
        let flusher = Arc::new(Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            failure: OnceLock::new(),
        });
        let shared = Arc::clone(&flusher);
        let thread = std::thread::Builder::new()
            .name("store-flush".to_owned())
            .spawn(move || run(&shared, &disk))?;
        Ok((flusher, thread))
    }

    /// Asks for the queue of a cluster to be flushed; false when the store is closing.
    pub(super) fn schedule(&self, cluster: &Arc<Cluster>) -> bool {
        let mut state = lock::lock(&self.state);
        if state.closing {
            return false;
        }
        state.ready.push_back(Arc::clone(cluster));
        self.wake.notify_one();
        true
    }

    /// Asks for everything of a cluster to be deleted; the receiver hears when it is, and ends when it will not be.
    pub(super) fn remove(&self, name: &str, start: u64) -> oneshot::Receiver<()> {
        let (done, removed) = oneshot::channel();
        let mut state = lock::lock(&self.state);
        if !state.closing {
            state.removals.push(Removal { name: name.to_owned(), start, done });
            self.wake.notify_one();
        }
        removed
    }

    /// Returns why nothing is written any more.
    pub(super) fn failure(&self) -> Option<Arc<str>> {
        self.failure.get().cloned()
    }

    /// Lets the thread finish what is queued and end.
    pub(super) fn close(&self) {
        lock::lock(&self.state).closing = true;
        self.wake.notify_one();
    }

    /// Waits for work; nothing once the store is closed and drained.
    fn next(&self) -> Option<Work> {
        let mut state = lock::lock(&self.state);
        loop {
            if !state.ready.is_empty() || !state.removals.is_empty() {
                break;
            }
            if state.closing {
                return None;
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let removals = std::mem::take(&mut state.removals);
        let mut ready = std::mem::take(&mut state.ready);
        drop(state);
        let mut batches = Vec::new();
        let mut unfinished = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES
            && let Some(cluster) = ready.pop_front()
        {
            let (batch, has_more) = cluster.take(TURN_BYTES);
            bytes += batch.iter().map(Pending::bytes).sum::<usize>();
            if has_more {
                unfinished.push(Arc::clone(&cluster));
            }
            // The objects of a removed cluster are gone from the disk, and must not come back.
            if !cluster.is_removed() {
                batches.push((cluster, batch));
            }
        }
        // Those that have not had their turn come first, those that had it and have more come last.
        let mut state = lock::lock(&self.state);
        while let Some(cluster) = ready.pop_back() {
            state.ready.push_front(cluster);
        }
        state.ready.extend(unfinished);
        Some(Work { removals, batches })
    }
}

fn run(flusher: &Flusher, disk: &Disk) {
    while let Some(Work { removals, batches }) = flusher.next() {
        // After a failed commit nobody knows what the disk holds: no further write may claim to be durable.
        if flusher.failure.get().is_none()
            && let Err(why) = write(disk, &removals, &batches)
        {
            tracing::error!(%why, "store cannot write and is read-only until restart");
            let _ = flusher.failure.set(why.into());
        }
        for (cluster, batch) in batches {
            match flusher.failure.get() {
                None => cluster.publish(batch),
                // Dropping the batch tells its writers.
                Some(why) => cluster.fail(why),
            }
        }
        if flusher.failure.get().is_none() {
            for removal in removals {
                // Who stopped waiting needs no answer.
                let _ = removal.done.send(());
            }
        }
    }
}

fn write(
    disk: &Disk,
    removals: &[Removal],
    batches: &[(Arc<Cluster>, Vec<Pending>)],
) -> Result<(), String> {
    let all = || {
        for Removal { name, start, .. } in removals {
            disk.remove(name, *start)?;
        }
        if batches.is_empty() { Ok(()) } else { disk.write(batches) }
    };
    match catch_unwind(AssertUnwindSafe(all)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the database panicked".to_owned()),
    }
}
