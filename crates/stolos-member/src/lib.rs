//! Member agent: joins, applies, reports.
//!
//! It pulls from its own namespace on the hub and writes to its member cluster. It needs no other right on the hub, and
//! nothing ever connects to it. While the hub is away, the member keeps what it runs.

use std::sync::Arc;

use kube::Client;
use stolos_controller::Clock;

mod agent;
pub mod cluster;
pub mod placement;

pub use agent::run;

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
}

/// Shared by the tasks of one agent.
pub(crate) type Context = Arc<Config>;
