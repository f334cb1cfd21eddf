//! What a data plane does for its user, and the handle of the one that proxies in user space.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io, thread};

use stolos_core::network::balance::{EndpointId, Standing, VipPort};
use tokio::sync::{mpsc, oneshot, watch};

use crate::control::{Control, Links};
use crate::desired::Desired;
use crate::handover::{self, Door};
use crate::limits::{Limits, TooFewDescriptors};
use crate::saved::{self, Keeper};
use crate::sockets::NotServed;
use crate::timeouts::Timeouts;
use crate::tls::{Identity, Keys};

/// Requests that wait for the task that serves them; each caller waits for its answer, so there are few.
const REQUESTS: usize = 16;

/// Brings the bytes of clients to endpoints.
///
/// Each way to do so (a proxy in user space, the kernel's own NAT, the load balancer of a cluster) is one
/// implementation; who decides what goes where does not see which.
pub trait DataPlane {
    /// Makes `desired` true, and nothing else: what is not in it ends, after its drain time.
    fn apply(&self, desired: Desired) -> impl Future<Output = Report> + Send;
    /// Returns what happened so far.
    fn stats(&self) -> impl Future<Output = BTreeMap<VipPort, VipStats>> + Send;
    /// Takes no more connections; returns when those that are there have ended, each after its drain time at the latest.
    fn drain(&self) -> impl Future<Output = ()> + Send;
}

/// What became of a desired state.
#[derive(Debug, Default)]
pub struct Report {
    /// VIP ports that are not served, and why.
    pub not_served: BTreeMap<VipPort, NotServed>,
}

/// What happened at a VIP port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VipStats {
    /// Which service the port is of, in the words of whoever asked for it.
    pub service: String,
    /// Connections or flows that are there.
    pub active: usize,
    /// Those that were taken.
    pub accepted: u64,
    /// Those turned away because as many as allowed were there, or their client may not connect.
    pub refused: u64,
    /// Those that found no endpoint that answers.
    pub unserved: u64,
    /// Those that did not begin with the PROXY header or the certificate that the port asks for.
    pub malformed: u64,
    /// What happened at its endpoints, those included that only end their connections.
    pub endpoints: BTreeMap<EndpointId, EndpointStats>,
    /// What happened at endpoints that are gone.
    pub departed: EndpointStats,
}

/// What happened at an endpoint of a VIP port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointStats {
    /// Whether it gets connections, and why not. None for one that only ends those that it has.
    pub standing: Option<Standing>,
    /// Connections or flows that are there.
    pub active: usize,
    /// Those that it got.
    pub connections: u64,
    /// Those that it did not get because it did not answer.
    pub connect_failures: u64,
    /// Those that it reset.
    pub resets: u64,
    /// Bytes that clients sent to it.
    pub bytes_from_clients: u64,
    /// Bytes that it sent to clients.
    pub bytes_from_endpoint: u64,
}

/// How a proxy runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Threads that move bytes; one per core is best.
    pub workers: usize,
    /// How long connections may take for what.
    pub timeouts: Timeouts,
    /// Bounds, or none to take as much as the file descriptors of the process allow.
    pub limits: Option<Limits>,
    /// What the times of health checks are spread by. Balancers should have different ones.
    pub seed: u64,
    /// Where the last state is kept and a successor is expected; without, neither is done. The folder is made if needed.
    pub folder: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        Self { workers, timeouts: Timeouts::default(), limits: None, seed: 0, folder: None }
    }
}

/// The proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The process may open too little.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// The folder cannot be made.
    #[error("failed to make the folder `{path}`")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The predecessor is there but does not hand over.
    #[error(transparent)]
    HandOver(#[from] handover::Error),
    /// A thread or its runtime does not start.
    #[error("failed to start the threads of the data plane")]
    Threads(#[source] io::Error),
}

/// A data plane in user space: works wherever sockets do, also across NAT, and can say who the client is (PROXY protocol).
///
/// Dropping it closes everything at once.
pub struct Proxy {
    requests: mpsc::Sender<Request>,
    superseded: watch::Receiver<bool>,
    begun_with: Option<Desired>,
    keys: Arc<Keys>,
    /// Where the identity is kept.
    identity: Option<PathBuf>,
}

/// What is asked of the task that owns the state.
pub(crate) enum Request {
    Apply(Desired, oneshot::Sender<Report>),
    Stats(oneshot::Sender<BTreeMap<VipPort, VipStats>>),
    Drain(oneshot::Sender<()>),
}

impl Proxy {
    /// Starts the threads. With a folder, takes over from the process that runs there, if there is one, and begins with
    /// the last state that was applied; otherwise nothing is served before the first [`DataPlane::apply`].
    ///
    /// # Errors
    ///
    /// The process may have too few file descriptors or cannot start threads, the folder cannot be used, or the process
    /// before this one does not hand over its sockets.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let n_workers = config.workers.max(1);
        let limits = match config.limits {
            Some(limits) => limits,
            None => Limits::of_process(n_workers)?,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Threads)?;
        let entered = runtime.enter();
        let (links, superseded, last) = link(config.folder.as_deref())?;
        drop(entered);
        let begun_with = last.clone();
        let control =
            Control::start(config, n_workers, limits, links).map_err(StartError::Threads)?;
        let keys = control.keys();
        let identity = config.folder.as_deref().map(|folder| folder.join("identity.json"));
        if let Some(last) = identity.as_deref().and_then(Identity::load) {
            keys.set(last);
        }
        let (requests, asked) = mpsc::channel(REQUESTS);
        thread::Builder::new()
            .name("dataplane".to_owned())
            .spawn(move || runtime.block_on(control.run(last, asked)))
            .map_err(StartError::Threads)?;
        Ok(Self { requests, superseded, begun_with, keys, identity })
    }

    /// Lets it be `identity` to gateways of other members from the next connection on. With a folder, that is kept there,
    /// for which it blocks.
    pub fn identify(&self, identity: Identity) {
        if let Some(path) = &self.identity
            && let Err(error) = identity.save(path)
        {
            let path = path.display();
            tracing::warn!(%path, %error, "the certificate of the data plane is not saved");
        }
        self.keys.set(identity);
    }

    /// Returns the state that it began with, which is the last one of the process before; none without a folder, or if there
    /// was no process before.
    pub fn begun_with(&self) -> Option<&Desired> {
        self.begun_with.as_ref()
    }

    /// Waits until a successor has taken over. What is left to do then is to [`drain`](DataPlane::drain).
    pub async fn superseded(&self) {
        // An error would mean that the task is gone, which lives as long as this handle.
        let _ = self.superseded.clone().wait_for(|superseded| *superseded).await;
    }

    /// The task lives as long as this handle, so a missing answer is a bug of the task.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> T {
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.send(request(answer)).await;
        sent.map_err(drop).expect("the control task of the data plane runs as long as its handle");
        answered.await.expect("the control task of the data plane answers every request")
    }
}

/// Takes over from the process before, waits for the one after, and reads the last state.
fn link(
    folder: Option<&Path>,
) -> Result<(Links, watch::Receiver<bool>, Option<Desired>), StartError> {
    let (superseded, is_superseded) = watch::channel(false);
    let Some(folder) = folder else {
        let door_path = PathBuf::new();
        let links = Links { taken: None, door: None, door_path, keeper: None, superseded };
        return Ok((links, is_superseded, None));
    };
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| StartError::Folder { path: folder.to_owned(), source })?;
    let (door_path, file) = (folder.join("handover.sock"), folder.join("state.json"));
    let taken = handover::take(&door_path)?;
    let last = saved::load(&file).unwrap_or_else(|error| {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "beginning without the last state"
        );
        None
    });
    let door = if taken.is_none() { Some(Door::open(&door_path)?) } else { None };
    let keeper = Arc::new(Keeper::new(file));
    tokio::spawn(keeper.clone().run());
    let links = Links { taken, door, door_path, keeper: Some(keeper), superseded };
    Ok((links, is_superseded, last))
}

impl DataPlane for Proxy {
    async fn apply(&self, desired: Desired) -> Report {
        self.ask(|answer| Request::Apply(desired, answer)).await
    }

    async fn stats(&self) -> BTreeMap<VipPort, VipStats> {
        self.ask(Request::Stats).await
    }

    async fn drain(&self) {
        self.ask(Request::Drain).await;
    }
}

impl EndpointStats {
    pub(crate) fn add(&mut self, other: Self) {
        let Self {
            standing: _,
            active,
            connections,
            connect_failures,
            resets,
            bytes_from_clients,
            bytes_from_endpoint,
        } = other;
        self.active += active;
        self.connections += connections;
        self.connect_failures += connect_failures;
        self.resets += resets;
        self.bytes_from_clients += bytes_from_clients;
        self.bytes_from_endpoint += bytes_from_endpoint;
    }
}
