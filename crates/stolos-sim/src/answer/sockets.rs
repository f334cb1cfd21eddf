//! The bounds that all clusters of a process share.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ports::Port;

/// How much simulated pods take on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Pods that answer at once; others stay mute until there is room.
    pub pods: usize,
    /// Connections at once; one more is closed at once.
    pub connections: usize,
    /// How long a connection may be silent.
    pub idle: Duration,
}

/// A few sockets for each pod and one for each connection stay far below the descriptors that a process usually may have
/// (2^19 or more).
impl Default for Bounds {
    fn default() -> Self {
        Self { pods: 2_000, connections: 4_096, idle: Duration::from_secs(300) }
    }
}

/// The sockets of the simulated pods of a process. Clones share their bounds.
#[derive(Clone, Debug)]
pub struct Sockets(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    idle: Duration,
    pods: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    n_pods: usize,
    has_told_of_room: AtomicBool,
    /// Ports that could not be opened, and why: one line in the log is enough for all pods.
    told: Mutex<BTreeSet<(Port, String)>>,
}

/// Different failures that are remembered as told; more of them are told again.
const MAX_TOLD: usize = 1_000;

impl Default for Sockets {
    fn default() -> Self {
        Self::new(Bounds::default())
    }
}

impl Sockets {
    /// Returns sockets with these bounds.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let Bounds { pods, connections, idle } = bounds;
        let semaphore = |n: usize| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS)));
        Self(Arc::new(Shared {
            idle,
            pods: semaphore(pods),
            connections: semaphore(connections),
            n_pods: pods,
            has_told_of_room: AtomicBool::new(false),
            told: Mutex::default(),
        }))
    }

    pub(super) fn idle(&self) -> Duration {
        self.0.idle
    }

    /// Takes room for a pod, if there is any; free again on drop.
    pub(super) fn pod(&self) -> Option<OwnedSemaphorePermit> {
        self.0.pods.clone().try_acquire_owned().ok()
    }

    /// Takes room for a connection, if there is any; free again on drop.
    pub(super) fn connection(&self) -> Option<OwnedSemaphorePermit> {
        self.0.connections.clone().try_acquire_owned().ok()
    }

    /// Waits until there is room for a pod. Somebody else may take it first.
    pub(super) async fn room(&self) {
        // An error would mean that it is closed, which nobody does.
        drop(self.0.pods.acquire().await);
    }

    /// Logs, once, that pods stay mute for want of room.
    pub(super) fn tell_of_room(&self) {
        if !self.0.has_told_of_room.swap(true, Relaxed) {
            let most = self.0.n_pods;
            tracing::warn!(most, "simulated pods beyond the bound answer nobody");
        }
    }

    /// Logs, once for all pods, that a port cannot be opened.
    pub(super) fn tell_of_port(&self, cluster: &str, pod: &str, port: Port, error: &io::Error) {
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = (port, error.kind().to_string());
        if told.contains(&failure) {
            return;
        }
        if told.len() < MAX_TOLD {
            told.insert(failure);
        }
        drop(told);
        tracing::warn!(%cluster, %pod, %port, %error, "a simulated pod does not answer at one of its ports");
    }
}
