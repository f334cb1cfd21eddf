//! Member agent: joins, applies, reports.
//!
//! It pulls from its own namespace on the hub and writes to its member cluster. It needs no other right on the hub, and
//! nothing ever connects to it. While the hub is away, the member keeps what it runs.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use stolos_api::placement::Work;
use stolos_controller::{Clock, Readiness};
use stolos_core::cluster::provider::Provider;

mod agent;
pub mod balance;
pub mod cluster;
mod failure;
pub mod gateway;
mod metrics;
pub mod network;
mod nodes;
pub mod placement;

pub use metrics::Metrics;

/// What an agent needs.
#[derive(Clone)]
pub struct Config {
    /// Name of the member; the hub namespace is `fleet-member-<name>`.
    pub name: String,
    /// Client of the hub, with the member's identity.
    pub hub: Client,
    /// Client of the member cluster.
    pub member: Client,
    /// Clock for heartbeats and reports.
    pub clock: Clock,
    /// How long the end of a Work waits for objects that others own too.
    pub deletion_wait: Duration,
    /// Whether heartbeats list the namespaces of the member, so that ResourcePlacements can avoid members without theirs.
    pub collect_namespaces: bool,
    /// What the agent counts.
    pub metrics: Arc<Metrics>,
    /// Where it says which first lists it still waits for.
    pub readiness: Readiness,
    /// Whose properties are told besides those of every cluster.
    pub provider: Provider,
    /// Services across clusters.
    pub network: network::Options,
}

/// Runs the agent until the future is dropped.
pub async fn run(config: Config) {
    let network = async {
        if config.network.enabled {
            network::run(config.clone()).await;
        }
    };
    let clusterset = async {
        if config.network.clusterset.enabled {
            network::clusterset::run(config.clone()).await;
        }
    };
    tokio::join!(agent::run(config.clone()), network, clusterset);
}

/// Default of [`Config::deletion_wait`].
pub const DELETION_WAIT: Duration = Duration::from_secs(5 * 60);

impl Config {
    /// Returns when the end of a Work no longer waits for objects that others own too.
    pub(crate) fn overdue_at(&self, work: &Work) -> Option<Timestamp> {
        let deleted = work.metadata.deletion_timestamp.as_ref()?.0;
        let wait = SignedDuration::try_from(self.deletion_wait).unwrap_or(SignedDuration::MAX);
        deleted.checked_add(wait).ok()
    }

    pub(crate) fn is_overdue(&self, work: &Work) -> bool {
        self.overdue_at(work).is_some_and(|at| at <= (self.clock)())
    }
}

/// Shared by the tasks of one agent.
pub(crate) type Context = Arc<Config>;
