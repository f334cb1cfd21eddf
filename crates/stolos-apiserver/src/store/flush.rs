//! Group commit: one thread makes the writes of all logical clusters durable, batch by batch.
//!
//! While a batch syncs, the next one gathers. There is no timer: a lone writer waits for nobody.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::cluster::{Cluster, Pending};
use super::disk::Disk;
use super::lock;

/// Bytes of one cluster per batch, so that the flood of one does not hold up the others.
const BATCH_BYTES: usize = 4 << 20;

/// The clusters that have something to flush.
pub(super) struct Flusher {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Arc<Cluster>>,
    closing: bool,
}

impl Flusher {
    /// Starts the thread. It ends after [`Flusher::close`], when nothing is left to write.
    pub(super) fn spawn(disk: Disk) -> std::io::Result<(Arc<Self>, JoinHandle<()>)> {
        let flusher = Arc::new(Self { state: Mutex::default(), wake: Condvar::new() });
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

    /// Lets the thread finish what is queued and end.
    pub(super) fn close(&self) {
        lock::lock(&self.state).closing = true;
        self.wake.notify_one();
    }

    /// Puts clusters back whose queue was longer than a batch.
    fn requeue(&self, clusters: Vec<Arc<Cluster>>) {
        lock::lock(&self.state).ready.extend(clusters);
    }

    /// Waits for work; nothing once the store is closed and drained.
    fn next(&self) -> Option<VecDeque<Arc<Cluster>>> {
        let mut state = lock::lock(&self.state);
        loop {
            if !state.ready.is_empty() {
                return Some(std::mem::take(&mut state.ready));
            }
            if state.closing {
                return None;
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn run(flusher: &Flusher, disk: &Disk) {
    // After a failed commit nobody knows what the disk holds: no further write may claim to be durable.
    let mut failure: Option<Arc<str>> = None;
    while let Some(ready) = flusher.next() {
        let mut batches = Vec::with_capacity(ready.len());
        let mut unfinished = Vec::new();
        for cluster in ready {
            let (batch, has_more) = cluster.take(BATCH_BYTES);
            if has_more {
                unfinished.push(Arc::clone(&cluster));
            }
            batches.push((cluster, batch));
        }
        flusher.requeue(unfinished);
        if failure.is_none()
            && let Err(why) = write(disk, &batches)
        {
            tracing::error!(%why, "store cannot write and is read-only until restart");
            failure = Some(why.into());
        }
        for (cluster, batch) in batches {
            match &failure {
                None => cluster.publish(batch),
                // Dropping the batch tells its writers.
                Some(why) => cluster.fail(why),
            }
        }
    }
}

fn write(disk: &Disk, batches: &[(Arc<Cluster>, Vec<Pending>)]) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(|| disk.write(batches))) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the database panicked".to_owned()),
    }
}
